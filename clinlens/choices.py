"""Which SAE of a run or of a sweep to take at each hook point: from files to figures, the rule, and the reasons.

The rule is `training.choice`. SAEs are compared at the same hook point of the same model, text and capture; seeds may
differ, and then say how far apart chance alone puts two SAEs.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from analysis import seed_stability
from analysis.seed_stability import SHARED_COSINE, SeedStability
from clinlens.report.gather import SAEResult
from sae import artefact
from sae.saelens_format import WEIGHTS_FILE
from training.choice import Candidate, Choice, ChoiceConfig, choose, paragraph

FILE = "choice.json"
RULE = (
    "Of the SAEs that neither diverged nor have too many dead features, the one worth most: CE loss score (explained "
    "variance where not all have one) − price × log2(L0); of those within the tolerance, the sparsest, then the smallest."
)


class PlaceChoice(NamedTuple):
    """The choice at one hook point."""

    hook_point: str
    choice: Choice
    runs: tuple[Path, ...]
    """Run folders of the SAEs compared: several where their seeds differ."""
    stability: SeedStability | None
    """How far the seeds of the recommended settings agree; none if there is one seed."""
    reasons: str
    """One paragraph."""


def choices(saes: Sequence[SAEResult], cfg: ChoiceConfig) -> list[PlaceChoice]:
    """The choice at each hook point, in the order of the SAEs; those without an evaluation take no part."""
    groups: dict[tuple[str, str], list[SAEResult]] = {}
    for sae in saes:
        if sae.evaluation is not None:
            groups.setdefault((sae.hook_point, store_settings(sae)), []).append(sae)
    return [choice_at(hook_point, some, cfg) for (hook_point, _), some in groups.items()]


def choice_at(hook_point: str, saes: Sequence[SAEResult], cfg: ChoiceConfig) -> PlaceChoice:
    """The choice among SAEs that can be compared."""
    found = choose([candidate(sae) for sae in saes], cfg)
    alike = [sae for sae in saes if found.recommended is not None and settings(sae) == found.recommended.settings]
    stability = agreement(alike) if len(alike) > 1 else None
    reasons = paragraph(found) + ("" if stability is None else f" {stability_words(stability, len(alike))}")
    runs = tuple(dict.fromkeys(sae.run for sae in saes))
    return PlaceChoice(hook_point, found, runs, stability, reasons)


def candidate(sae: SAEResult) -> Candidate:
    """The figures that decide of an evaluated SAE."""
    figures, splice, concepts = sae.reconstruction or {}, sae.splice or {}, sae.concepts or {}
    return Candidate(
        sae.sae_id,
        sae.architecture,
        settings(sae),
        int(sae.origin.get("seed", 0)),
        int(sae.cfg["d_in"]),
        sae.d_sae,
        figures["l0"],
        figures["explained_variance"],
        figures["dead_fraction"],
        splice.get("ce_loss_score"),
        splice.get("kl"),
        concepts.get("n_recovered"),
        concepts.get("n_concepts"),
        sae.metrics.get("n_tokens"),
    )


def settings(sae: SAEResult) -> str:
    """Hash of what an SAE was made with, its seed and its store apart."""
    training = {key: value for key, value in sae.origin["training"].items() if key != "hook_points"}
    return artefact.content_hash(sae.origin["sae"], training, sae.origin.get("threads"))


def store_settings(sae: SAEResult) -> str:
    """Hash of what its activations were made from, the seed of the split apart."""
    origin = dict(sae.origin.get("store", {}))
    origin["split"] = {key: value for key, value in origin.get("split", {}).items() if key != "seed"}
    return artefact.content_hash(origin)


def agreement(saes: Sequence[SAEResult]) -> SeedStability:
    """How far the live features of SAEs agree, over all pairs."""
    rows = []
    for sae in saes:
        with safe_open(sae.folder / WEIGHTS_FILE, framework="pt") as file:
            w_dec = file.get_tensor("W_dec")
        live = [index for index, density in enumerate(sae.density) if density > 0]
        rows.append(w_dec[live] if live else w_dec)
    return seed_stability.mean([seed_stability.compare(a, b) for a, b in combinations(rows, 2)])


def stability_words(stability: SeedStability, n_seeds: int) -> str:
    """A sentence on what other seeds find again."""
    nearest = f"a feature's nearest neighbour in another seed has a mean cosine of {stability.mean_max_cosine:.2f}"
    if stability.shared_fraction is None:
        return f"Over {n_seeds} seeds of it, {nearest} (too many features to match one to one)."
    return (
        f"Over {n_seeds} seeds of it, {100 * stability.shared_fraction:.0f} % of live features are found by two seeds alike "
        f"(matched one to one, cosine ≥ {SHARED_COSINE:g}), and {nearest}."
    )


def record(cfg: ChoiceConfig, found: Sequence[PlaceChoice], folder: Path) -> dict[str, Any]:
    """What choice.json holds; places are relative to the folder."""
    return {
        "rule": RULE,
        "settings": cfg.model_dump(mode="json"),
        "choices": [place_record(place, folder) for place in found],
    }


def place_record(place: PlaceChoice, folder: Path) -> dict[str, Any]:
    """One hook point in choice.json."""
    choice = place.choice
    rivals = [
        candidate_record(rival.candidate, choice) | {"is_indistinguishable": rival.is_indistinguishable}
        for rival in choice.rivals
    ]
    taken = None
    if choice.recommended is not None:
        paths = [run / "saes" / place.hook_point / choice.recommended.sae_id for run in place.runs]
        where = next(path for path in paths if path.is_dir())
        taken = candidate_record(choice.recommended, choice) | {"folder": str(where.relative_to(folder))}
    return {
        "hook_point": place.hook_point,
        "runs": [str(run.relative_to(folder)) for run in place.runs],
        "measure": choice.measure,
        "price_range": prices_record(choice),
        "tolerance": choice.tolerance,
        "n_repeated": choice.n_repeated,
        "recommended": taken,
        "rivals": rivals,
        "front": [one.sae_id for one in choice.front],
        "left_out": [{"sae_id": one.candidate.sae_id, "reason": one.reason} for one in choice.left_out],
        "seed_stability": place.stability and place.stability._asdict(),
        "reasons": place.reasons,
    }


def candidate_record(one: Candidate, choice: Choice) -> dict[str, Any]:
    """An SAE's figures in choice.json."""
    return one._asdict() | {"worth": one.worth(choice.measure, choice.price)}


def prices_record(choice: Choice) -> list[float | None] | None:
    """The prices that choose the same in choice.json; a null as the upper one stands for no limit."""
    found = choice.price_range
    return None if found is None else [found[0], None if math.isinf(found[1]) else found[1]]
