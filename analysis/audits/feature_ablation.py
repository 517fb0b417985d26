"""What features do to answers: taken out of the residual stream, beside random features like them.

1. Ablation is in delta mode: x − f(x) · W_dec for the ablated features, at every token, so that the autoencoder's error stays
   in the stream and is not counted as an effect.
2. A control is a set of random features at the same hook points, each the nearest in how often and how strongly it fires
   among some drawn at random. The effect is beyond the controls' where it exceeds all but 5 % of them.
3. What is measured: how the right answer's probability changes, how often the leading answer does, and by how much the gap
   that a group has closes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from analysis.audits.answers import answer_probabilities
from analysis.audits.cohort import Cohort
from analysis.audits.features import Pooled
from analysis.audits.permutation import bootstrap_weights, interval
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from hooks.passage import Edit
from sae.base import SAE
from sae.errors import UserError

N_NEAREST = 10
"""Features alike, of which a control is drawn."""


class Scene(NamedTuple):
    """A model with its autoencoders before some texts."""

    lm: LanguageModel
    saes: Mapping[HookPoint, SAE]
    cohort: Cohort
    found: Mapping[HookPoint, Pooled]
    """Features on the texts, from which controls are matched."""
    clean: np.ndarray
    """[n, n_answers] probabilities without an edit."""


class Ablated(NamedTuple):
    """What ablating a set of features does."""

    features: list[str]
    """HOOK/INDEX of each."""
    effect: float
    """Change of the right answer's probability."""
    low: float
    high: float
    """95 % interval, by resampling patients."""
    moved: float
    """Mean |change| of the answers' probabilities, half their sum: total variation."""
    flipped: float
    """Share of texts whose leading answer changes."""
    control_moved: tuple[float, float, float]
    """Mean total variation of the controls, and the 2.5 % and 97.5 % of them."""
    p: float
    """Share of controls that move answers as much, the set itself counted."""
    n_controls: int


def delta(sae: SAE, features: Sequence[int]) -> Edit:
    """The edit that takes some features out and leaves all else."""
    index = torch.tensor(list(features), dtype=torch.long)

    def edit(value: torch.Tensor) -> torch.Tensor:
        x = value.float().cpu()
        taken = sae.encode(x)[..., index] @ sae.W_dec[index]
        return (x - taken).to(value)

    return edit


def ablate(
    scene: Scene, wanted: Mapping[HookPoint, Sequence[int]], n_controls: int, seed: int, n_bootstraps: int = 1000
) -> Ablated:
    """Ablates features, and as many sets like them.

    Args:
        scene: Model, autoencoders and texts.
        wanted: Features at each hook point.
        n_controls: Random sets.
        seed: Of their draws.
        n_bootstraps: Resamples of patients.
    """
    cohort, clean = scene.cohort, scene.clean
    truth, rows = cohort.truth(), np.arange(len(cohort))
    changed = without(scene, wanted)
    change = changed[rows, truth] - clean[rows, truth]
    weights = bootstrap_weights(cohort.patients, n_bootstraps, seed)
    moved = variation(changed, clean)
    rng = np.random.default_rng(seed)
    sets = [matched(scene.found, wanted, rng) for _ in range(n_controls)]
    controls = np.asarray([variation(without(scene, one), clean) for one in sets])
    low, high = np.quantile(controls, [0.025, 0.975])
    return Ablated(
        [f"{point}/{feature}" for point, some in wanted.items() for feature in some],
        float(change.mean()), *interval(weights @ change / weights.sum(1)), moved,
        float((changed.argmax(1) != clean.argmax(1)).mean()), (float(controls.mean()), float(low), float(high)),
        float((1 + (controls >= moved).sum()) / (1 + n_controls)), n_controls,
    )  # fmt: skip


def without(
    scene: Scene, wanted: Mapping[HookPoint, Sequence[int]], prompts: Sequence[str] | None = None
) -> np.ndarray:
    """[n, n_answers] probabilities with features ablated; of the cohort's prompts, or of others."""
    edits = {point: delta(scene.saes[point], some) for point, some in wanted.items() if len(some)}
    texts = prompts or [one.prompt for one in scene.cohort.subjects]
    return answer_probabilities(scene.lm, texts, scene.cohort.answers, edits)


def variation(changed: np.ndarray, clean: np.ndarray) -> float:
    """Mean total variation between two sets of answers."""
    return float(np.abs(changed - clean).sum(1).mean() / 2)


def matched(
    found: Mapping[HookPoint, Pooled], wanted: Mapping[HookPoint, Sequence[int]], rng: np.random.Generator
) -> dict[HookPoint, list[int]]:
    """Random features at the same hook points that fire about as often and as strongly; none twice.

    Raises:
        UserError: No feature is left that fires.
    """
    drawn: dict[HookPoint, list[int]] = {}
    for point, some in wanted.items():
        pool = found[point]
        density = np.log10(pool.share.mean(0) + 1e-6)
        n_firing = pool.fires.sum(0)
        strength = np.log10(pool.largest.sum(0) / np.maximum(n_firing, 1) + 1e-6)
        taken = set(some)
        for feature in some:
            distance = np.hypot(density - density[feature], strength - strength[feature])
            distance[(n_firing == 0) | np.isin(np.arange(len(density)), list(taken))] = np.inf
            order = [i for i in np.argsort(distance)[:N_NEAREST] if np.isfinite(distance[i])]
            if not order:
                raise UserError(
                    f"At {point} all {int((n_firing > 0).sum())} features that fire are ablated or drawn, expected some left for "
                    "controls. Lower n_carriers, or take more texts."
                )
            pick = int(rng.choice(order))
            taken.add(pick)
            drawn.setdefault(point, []).append(pick)
    return drawn
