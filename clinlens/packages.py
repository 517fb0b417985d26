"""A guard: our packages have short names, and another distribution could bring one of the same name."""

from importlib.util import find_spec
from pathlib import Path

from sae.errors import UserError

OWN = ("sae", "hooks", "training", "analysis", "labeling")


def refuse_strangers(root: Path | None = None) -> None:
    """Says so where Python would import somebody else's package under one of our names.

    Args:
        root: The folder that holds our packages; the one beside `clinlens` if not given.

    Raises:
        UserError: One of them lies elsewhere.
    """
    home = root or Path(__file__).resolve().parent.parent
    for name in OWN:
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if found != home / name:
            raise UserError(
                f"Python finds the package {name!r} in {found or 'no folder'}, expected {home / name}: another distribution "
                "shadows it. Uninstall that one, leave the folder that holds it, or use a fresh environment."
            )
