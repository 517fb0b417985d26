"""Every method on the same cases, by every figure, with intervals over cases, and what each is flagged for.

One case costs a method its own run, then a few hundred sequences of the case's length for the curves. The reference and the
random order take part like any other method, so that "good" and "nothing" stand in the same table.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from analysis.attribution.case import Case
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from analysis.faithfulness import additivity, agreement, concentration, deletion, soft
from analysis.faithfulness.config import FaithfulnessConfig
from analysis.faithfulness.contender import RANDOM, REFERENCE, Contender
from analysis.faithfulness.intervals import Mean, mean, ratio
from analysis.faithfulness.perturbed import Perturbed
from analysis.faithfulness.randomisation import STAGES, cascade, similarity
from analysis.ground_truth.localisation import dsa, localise
from analysis.ground_truth.opened import OpenCase
from hooks.model import LanguageModel
from sae.errors import UserError

NAN = float("nan")
JUDGE = 1_000_003
"""Added to the seed of what judges: by the methods' own seed the reference would be judged on the replacements it was made with."""
Rows = dict[str, list[float]]
"""Figure → one value per case; nan where a case has none."""


@dataclass(frozen=True)
class Comparison:
    """What one suite says of every method."""

    suite: str
    n_cases: int
    rows: dict[str, Rows]
    """Method → figure → cases."""
    tau: dict[str, dict[str, float]]
    """Method → method → mean Kendall's τ."""
    jaccard: dict[str, dict[str, float]]
    cfg: FaithfulnessConfig

    def mean(self, method: str, figure: str) -> Mean:
        """A figure's mean over cases."""
        return mean(np.asarray(self.rows[method].get(figure, []), float), self.cfg.seed)

    def share_of_reference(self, method: str) -> Mean:
        """A method's ABPC as a share of the causal reference's."""
        a, b = (np.asarray(self.rows[name]["abpc"]) for name in (method, REFERENCE))
        return ratio(a, b, self.cfg.seed)

    def flags(self, method: str) -> list[str]:
        """Why not to believe a method; empty for one that passed, and for the random order, which claims nothing."""
        if method in (RANDOM, REFERENCE):
            return []
        found = []
        margin = np.asarray(self.rows[method]["abpc"]) - np.asarray(self.rows[RANDOM]["abpc"])
        if mean(margin, self.cfg.seed).low <= 0:
            found.append("no better than a random order")
        elif self.share_of_reference(method).value < self.cfg.least_share:
            found.append("orders tokens worse than replacing each")
        if self.mean(method, "similarity_head").value > self.cfg.most_similarity:
            found.append("unmoved by a shuffled head")
        return found

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "suite": self.suite,
            "n_cases": self.n_cases,
            "methods": {
                method: {
                    "figures": {figure: self.mean(method, figure).record() for figure in rows},
                    "share_of_reference": self.share_of_reference(method).record(),
                    "flags": self.flags(method),
                }
                for method, rows in self.rows.items()
            },
            "kendall_tau": self.tau,
            "jaccard": self.jaccard,
        }


def compare(
    suite: str, cases: Sequence[OpenCase], contenders: Sequence[Contender], cfg: FaithfulnessConfig,
    done: Callable[[int], Any] = lambda _amount: None,
) -> Comparison:  # fmt: skip
    """Runs every method on every case.

    Args:
        suite: Its name.
        cases: Cases that the model answers rightly.
        contenders: Methods; the reference and the random order must be among them.
        cfg: How much.
        done: Told of every method finished on a case.

    Raises:
        UserError: There is no case.
    """
    if not cases:
        raise UserError(
            f"The model answers none of the cases of {suite!r} rightly, expected some: of wrong answers it is not known what "
            "should have decided them. Choose another suite with --suite."
        )
    rows: dict[str, Rows] = {one.name: defaultdict(list) for one in contenders}
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for number, case in enumerate(cases):
        scores = {one.name: one.run(case.problem, cfg.seed) for one in contenders}
        perturbed = Perturbed(case.problem, cfg.n_draws, cfg.seed + JUDGE)
        probe = Probe.of(perturbed, cfg)
        for one in contenders:
            found = case_figures(case, scores[one.name], perturbed, probe, cfg)
            if number < cfg.n_checked:
                found |= checks(case, one, scores[one.name], perturbed, cfg)
            for name, value in found.items():
                rows[one.name][name].append(value)
            done(1)
        kept = {name: one.importance[case.scope] for name, one in scores.items()}
        for a, b in combinations(kept, 2):
            k = min(cfg.top_k, int(case.scope.sum()))
            pairs[a, b].append((agreement.tau(kept[a], kept[b]), agreement.jaccard(kept[a], kept[b], k)))
    tau, jaccard = (matrix(pairs, i) for i in (0, 1))
    return Comparison(suite, len(cases), {name: dict(one) for name, one in rows.items()}, tau, jaccard, cfg)


@dataclass(frozen=True)
class Probe:
    """Random sets of tokens and what their loss does; the same for all methods of a case."""

    gone: np.ndarray
    changes: np.ndarray

    @classmethod
    def of(cls, perturbed: Perturbed, cfg: FaithfulnessConfig) -> "Probe":
        gone = additivity.subsets(perturbed.problem.is_free.numpy(), cfg.n_subsets, np.random.default_rng(cfg.seed))
        return cls(gone, perturbed.changes(gone))


def case_figures(
    case: OpenCase, scores: Scores, perturbed: Perturbed, probe: Probe, cfg: FaithfulnessConfig
) -> dict[str, float]:
    """All figures of one method on one case that need the model as it is."""
    importance, scope = scores.importance, case.scope
    rng = np.random.default_rng(cfg.seed)
    ranked = deletion.order(importance, scope, rng)
    curves = deletion.curves(ranked, case.problem.n_tokens, perturbed.probability)
    found = deletion.figures(curves)._asdict()
    found |= soft.figures(importance, scope, perturbed.soft_probability)._asdict()
    found |= additivity.figures(importance, probe.gone, probe.changes)._asdict()
    found |= concentration.figures(importance[scope])._asdict()
    found |= completeness_of(scores)
    found["seconds"] = scores.seconds
    if case.evidence.any():
        localised = localise(importance, case.evidence, case.judged, case.direct)
        found |= {
            "precision_first": localised.first,
            "precision_hit": localised.hit, "precision_at_evidence": localised.at_evidence,
            "auroc_evidence": localised.auroc, "mass_at_evidence": localised.mass,
        }  # fmt: skip
        found["precision_both"] = localised.at_evidence if localised.n_evidence > 1 else NAN
    if case.distractor.any():
        found["dsa"] = dsa(importance, case.evidence, case.distractor)
    return found


def completeness_of(scores: Scores) -> dict[str, float]:
    """The gap, as a share of the total and of the mass; nan where a method promises no sum."""
    if not scores.completeness:
        return {"completeness_gap": NAN, "completeness_gap_of_mass": NAN}
    worst = max(scores.completeness, key=lambda one: one.gap)
    return {"completeness_gap": worst.gap, "completeness_gap_of_mass": worst.gap_of_mass}


def checks(
    case: OpenCase, one: Contender, scores: Scores, perturbed: Perturbed, cfg: FaithfulnessConfig
) -> dict[str, float]:
    """Figures that cost whole runs: a neutral edit, another seed, randomised models."""
    found = {f"similarity_{stage}": NAN for stage in STAGES}
    if one.cfg is None:
        return found | {"stability": NAN, "stability_seed": NAN}
    before, scope = scores.importance, case.scope
    for stage, lm in cascade(case.problem.lm, cfg.seed):
        problem = like(case.problem, lm, case.problem.case)
        found[f"similarity_{stage}"] = similarity(before[scope], one.run(problem, cfg.seed).importance[scope])
    again = one.run(case.problem, cfg.seed + 1).importance
    found["stability_seed"] = correlation(before[scope], again[scope])
    found["stability"] = stability(case, one, before, perturbed, cfg)
    return found


def stability(
    case: OpenCase, one: Contender, before: np.ndarray, perturbed: Perturbed, cfg: FaithfulnessConfig
) -> float:
    """Correlation of the scores of tokens that stay when others, which decide nothing, are replaced; nan without evidence."""
    free = np.flatnonzero(case.judged & ~case.evidence)
    n = int(cfg.neutral_share * len(free))
    if n == 0 or not case.evidence.any():
        return NAN
    chosen = np.random.default_rng(cfg.seed).choice(free, n, replace=False)
    ids = case.problem.case.input_ids.clone()
    ids[torch.from_numpy(chosen)] = perturbed.draws[0, torch.from_numpy(chosen)]
    problem = like(case.problem, case.problem.lm, replace(case.problem.case, input_ids=ids))
    stay = case.scope.copy()
    stay[chosen] = False
    return correlation(before[stay], one.run(problem, cfg.seed).importance[stay])


def like(problem: Problem, lm: LanguageModel, case: Case) -> Problem:
    """The same question to another model or about another text."""
    return Problem(lm, case, problem.target, fixed=problem.fixed, sampler=problem.sampler)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; nan where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return NAN
    found: Any = spearmanr(a, b)
    return float(found.statistic)


def matrix(pairs: dict[tuple[str, str], list[tuple[float, float]]], column: int) -> dict[str, dict[str, float]]:
    """Means of one figure over cases, both ways; pairs that no case has are left out."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (a, b), values in pairs.items():
        kept = [value[column] for value in values if not np.isnan(value[column])]
        if kept:
            found[a][b] = found[b][a] = float(np.mean(kept))
    return dict(found)
