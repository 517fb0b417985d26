"""Copying a run's SAEs for other tools, and proving that sae-lens reads them as we do."""

import shutil
from pathlib import Path
from typing import Any

from clinlens.pipeline import Run
from hooks.store import Store
from sae import artefact, saelens_format
from sae.errors import UserError
from training.evaluation import rows
from training.spec import Fit

FILES = (saelens_format.CONFIG_FILE, saelens_format.WEIGHTS_FILE, "origin.json", "metrics.json", "evaluation.json")
TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest value."""
CHECK_ROWS = 512


def export(run: Run, target: Path) -> dict[str, Any]:
    """Copies every trained SAE to `target/<hook_point>/<sae_id>` and compares sae-lens' reading with ours.

    Raises:
        UserError: None is trained, or sae-lens gives other features.
    """
    ready = [fit for fit in run.fits if fit.is_complete]
    if not ready:
        raise UserError(
            f"{run.folder} has no trained SAE, expected at least one. Run `clinlens train` with its config first."
        )
    store = Store.open(run.folder / "acts")
    differences = {}
    for fit in ready:
        folder = target / fit.hook_point / fit.sae_id
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (fit.folder / name).is_file():
                shutil.copyfile(fit.folder / name, folder / name)
        differences[f"{fit.hook_point}/{fit.sae_id}"] = checked(fit, folder, store)
    artefact.write_json(target / "index.json", {"saes": list(differences), "store_id": store.id})
    return {"to": str(target), "n_saes": len(ready), "largest_difference": max(differences.values())}


def checked(fit: Fit, folder: Path, store: Store) -> float:
    """The largest relative difference between sae-lens' features and reconstruction and ours.

    Raises:
        UserError: It is larger than the tolerance.
    """
    import torch
    from sae_lens import SAE  # slow to import

    ours, theirs = saelens_format.load(folder), SAE.load_from_disk(folder)
    x = next(rows(store, fit.hook_point, "held_out", CHECK_ROWS, exclude_special=True))
    with torch.inference_mode():
        acts, reconstruction = ours(x)
        pairs = ((acts, theirs.encode(x)), (reconstruction, theirs(x)))
        difference = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if difference > TOLERANCE:
        raise UserError(
            f"sae-lens reads {folder} with a difference of {difference:.1e}, expected at most {TOLERANCE:.0e}. "
            "Install the release of sae-lens that `clinlens doctor` names."
        )
    return difference
