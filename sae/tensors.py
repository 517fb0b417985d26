"""Looking at weights from elsewhere before they are used."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sae.errors import UserError


def refuse_wrong_shapes(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Stops where a file holds other tensors than its format has, or values that are no numbers.

    Raises:
        UserError: A tensor is missing, is one too many, has another shape, or holds NaN or infinity.
    """
    if weights.keys() != shapes.keys():
        raise UserError(
            f"{path} holds {', '.join(sorted(weights))}, expected {', '.join(sorted(shapes))}. "
            "Name an SAE of this format, whole and of one module."
        )
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise UserError(
                f"{path} has {name} of shape {list(weights[name].shape)}, expected {list(shape)} as the rest of the SAE "
                "says. Fetch its files again."
            )
        if not bool(weights[name].isfinite().all()):
            raise UserError(f"{path} has values in {name} that are no numbers, expected none. Fetch its files again.")
