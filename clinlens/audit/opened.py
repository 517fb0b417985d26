"""What an audit works on: the run's model, one autoencoder at each hook point, and the texts."""

import fnmatch
import json
from pathlib import Path
from typing import Any, NamedTuple

from analysis.audits.cohort import Cohort
from clinlens.attribution.saes import recommended
from clinlens.audit.clinic_cohort import clinic_cohort
from clinlens.audit.cohort_file import read_cohort
from clinlens.pipeline import EMBEDDED, Run
from hooks.hook_points import HookPoint, parse
from hooks.model import LanguageModel, load
from sae import artefact, saelens_format
from sae.base import SAE
from sae.errors import UserError


class Opened(NamedTuple):
    """A run with its model and autoencoders."""

    run: Run
    lm: LanguageModel
    saes: dict[HookPoint, SAE]
    """In the order of the hook points."""
    ids: dict[str, str]
    """Hook point → autoencoder."""

    def origin(self) -> dict[str, Any]:
        """What the figures come from."""
        return {"folder": str(self.run.folder), "model": self.lm.fingerprint, "saes": self.ids}


def opened(run: Run, pattern: str | None) -> Opened:
    """Loads the model and the autoencoders.

    Args:
        run: The run.
        pattern: Which autoencoder to take at each hook point, such as `topk-*`.

    Raises:
        UserError: A hook point has none, or several and no word which.
    """
    folders = {point: sae_folder(run.folder, point, ids, pattern) for point, ids in sae_ids(run.folder).items()}
    lm = load(run.model)
    saes = {parse(point): saelens_format.load(folder).requires_grad_(False) for point, folder in folders.items()}
    return Opened(run, lm, saes, {point: folder.name for point, folder in folders.items()})


def sae_ids(run: Path) -> dict[str, tuple[str, ...]]:
    """The trained autoencoders of a run folder at each hook point, in the order of the layers.

    Raises:
        UserError: There is none.
    """
    found: dict[str, list[str]] = {}
    for path in sorted((run / "saes").glob(f"*/*/{saelens_format.WEIGHTS_FILE}")):
        found.setdefault(path.parent.parent.name, []).append(path.parent.name)
    if not found:
        raise UserError(f"{run} holds no trained SAE, expected one at some hook point. Run `clinlens train` first.")
    layer = {point: -1 if parse(point).layer is None else parse(point).layer for point in found}
    return {point: tuple(found[point]) for point in sorted(found, key=lambda point: (layer[point], point))}


def sae_folder(run: Path, point: str, ids: tuple[str, ...], pattern: str | None) -> Path:
    """The autoencoder of one hook point: the one that matches, the recommended, or the only one.

    Raises:
        UserError: None or several match.
    """
    matching = [one for one in ids if pattern is None or fnmatch.fnmatchcase(one, pattern)]
    if len(matching) > 1 and (best := recommended(run, point)) in matching:
        matching = [best]
    if len(matching) != 1:
        raise UserError(
            f"At {point} {len(matching)} of the SAEs {', '.join(ids)} match {pattern or '*'!r}, expected one. "
            "Choose it with --sae, such as --sae 'topk-*'."
        )
    return run / "saes" / point / matching[0]


def cohort_of(run: Run, file: Path | None, n: int, seed: int) -> Cohort:
    """The cohort of a file, or fresh patients of the clinic.

    Raises:
        UserError: No file is given, and the corpus is not the clinic.
    """
    if file is not None:
        return read_cohort(file)
    if run.cfg.corpus.name != EMBEDDED:
        raise UserError(
            f"The corpus {run.cfg.corpus.name!r} does not say what is right nor who the patients are, expected a cohort: "
            "JSONL with prompt, answer and attributes. Name it with --cohort."
        )
    return clinic_cohort(n, run.cfg.clinic.seed + seed)


def write(run: Run, kind: str, result: dict[str, Any]) -> Path:
    """Writes a result into RUN/audits, for its owner alone, since it may hold words of texts; its name says what it rests on."""
    name = f"{kind}-{artefact.content_hash(result['origin'], result['settings'], result['about'])}.json"
    path = run.folder / "audits" / name
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    artefact.write_text(path, text, artefact.PRIVATE)
    return path
