"""Copying a run's SAEs for other tools, and proving that those read them as we do."""

import fnmatch
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from clinlens import feature_labels, hub, model_card
from clinlens.pipeline import Run
from hooks.store import Store
from sae import artefact, formats, saelens_format
from sae.base import SAE
from sae.config import TopKConfig
from sae.errors import UserError
from sae.formats import WritableFormat
from training import evaluation
from training.evaluation import rows
from training.spec import METRICS_FILE, Fit

ORIGIN_FILE = "origin.json"
RECORDS = (ORIGIN_FILE, METRICS_FILE, evaluation.FILE)
"""What is copied beside an SAE, where it is there; no text of the corpus is in it."""
INDEX_FILE = "index.json"
LABELS_FILE = "labels.json"
TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest value."""
CHECK_ROWS = 512


class Publication(NamedTuple):
    """What is said to whom about exported SAEs."""

    licence: str | None = None
    """The hub's name of a licence, for the model card."""
    repo_id: str | None = None
    """Repository on the hub to upload to; nothing touches the network without it."""


def export(
    run: Run,
    target: Path,
    kind: WritableFormat = "saelens",
    only: str = "*",
    publication: Publication = Publication(),  # noqa: B008 - it cannot be changed
) -> dict[str, Any]:
    """Writes trained SAEs to `target/<hook_point>/<sae_id>`, compares their reading with ours, and adds a model card.

    Args:
        run: Where they were trained.
        target: Folder to write to.
        kind: The format.
        only: Pattern of `<hook_point>/<sae_id>`, as in a shell.
        publication: Licence, and where to upload.

    Raises:
        UserError: None is trained, the format cannot hold one, it gives other features, or the upload failed.
    """
    if publication.repo_id is not None:
        hub.refuse_bad_name(publication.repo_id)
    ready = chosen(run, only)
    if kind == "sparsify":
        refuse_other_than_topk(ready)
    store = Store.open(run.folder / "acts")
    differences = {name_of(fit): copy(fit, target / name_of(fit), kind, store) for fit in ready}
    artefact.write_json(target / INDEX_FILE, {"saes": list(differences), "store_id": store.id})
    n_labels = write_labels(run.folder, ready, target)
    if publication.repo_id is not None:
        hub.hide_local_names(target / name for name in differences)
    text = model_card.card(target, list(differences), kind, publication.licence, publication.repo_id, n_labels)
    artefact.write_text(target / model_card.FILE, text)
    result = {"to": str(target), "n_saes": len(ready), "largest_difference": max(differences.values()), "format": kind}
    if n_labels:
        result["n_labels"] = n_labels
    if publication.repo_id is not None:
        patterns = [model_card.FILE, INDEX_FILE, LABELS_FILE, *(f"{name}/*" for name in differences)]
        result["pushed"] = hub.push(target, publication.repo_id, patterns)
    return result


def write_labels(folder: Path, fits: Sequence[Fit], target: Path) -> int:
    """Writes physicians' labels of the features beside the SAEs, where there are some; how many there are."""
    found = feature_labels.records(folder, [(fit.hook_point, fit.sae_id) for fit in fits])
    if found:
        artefact.write_json(target / LABELS_FILE, {"caveat": feature_labels.CAVEAT, "labels": found})
    else:
        (target / LABELS_FILE).unlink(missing_ok=True)
    return len(found)


def name_of(fit: Fit) -> str:
    """Where an SAE lies below the target."""
    return f"{fit.hook_point}/{fit.sae_id}"


def chosen(run: Run, only: str) -> list[Fit]:
    """The trained SAEs whose names match.

    Raises:
        UserError: None is trained, or none matches.
    """
    ready = [fit for fit in run.fits if fit.is_complete]
    if not ready:
        raise UserError(
            f"{run.folder} has no trained SAE, expected at least one. Run `clinlens train` with its config first."
        )
    found = [fit for fit in ready if fnmatch.fnmatch(name_of(fit), only)]
    if not found:
        raise UserError(
            f"--only {only!r} matches none of {len(ready)} SAEs, expected a pattern such as {name_of(ready[0])!r} "
            "or '*/topk-*'. Correct it."
        )
    return found


def refuse_other_than_topk(fits: Sequence[Fit]) -> None:
    """Stops before anything is written in a format that cannot hold it."""
    others = [name_of(fit) for fit in fits if not isinstance(fit.sae, TopKConfig)]
    if others:
        raise UserError(
            f"{len(others)} of {len(fits)} SAEs ({others[0]} first) are no TopK SAEs, expected TopK alone in sparsify's "
            "format. Add --only '*/topk-*', or choose --format saelens."
        )


def copy(fit: Fit, folder: Path, kind: WritableFormat, store: Store) -> float:
    """Writes one SAE and its records; gives the largest difference found when it is read back."""
    formats.refuse_others(folder, kind)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "saelens":
        for name in (saelens_format.WEIGHTS_FILE, saelens_format.CONFIG_FILE):
            shutil.copyfile(fit.folder / name, folder / name)
    else:
        formats.save(saelens_format.load(fit.folder), fit.sae, folder, kind, {})
    for name in RECORDS:
        if (fit.folder / name).is_file():
            shutil.copyfile(fit.folder / name, folder / name)
    return checked(fit, folder, kind, store)


def checked(fit: Fit, folder: Path, kind: WritableFormat, store: Store) -> float:
    """The largest difference between what was written and what was trained, on held-out activations."""
    x = next(rows(store, fit.hook_point, "held_out", CHECK_ROWS, exclude_special=True))
    return largest_difference(saelens_format.load(fit.folder), folder, kind, x)


def largest_difference(sae: SAE, folder: Path, kind: WritableFormat, x: Float[Tensor, "rows d_in"]) -> float:
    """How far features and reconstruction of an SAE that was written are from ours, relative to the largest value.

    SAELens' format is read by sae-lens; sparsify's, which is no dependency, by our own reader.

    Args:
        sae: What was written.
        folder: Where to.
        kind: The format.
        x: Inputs to compare on.

    Raises:
        UserError: It is more than the tolerance.
    """
    import torch
    from sae_lens import SAE as SAELensSAE  # noqa: N811 - slow to import

    with torch.inference_mode():
        ours = sae(x)
        if kind == "saelens":
            theirs = SAELensSAE.load_from_disk(folder)
            again = theirs.encode(x), theirs(x)
        else:
            again = formats.load(folder).sae(x)
        pairs = zip(ours, again, strict=True)
        difference = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if difference > TOLERANCE:
        raise UserError(
            f"{folder} is read with a difference of {difference:.1e}, expected at most {TOLERANCE:.0e}. "
            "Install the release of sae-lens that `clinlens doctor` names."
        )
    return difference
