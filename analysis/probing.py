"""k-sparse probing: how well do k features of an autoencoder tell an annotated concept?

1. The unit is a mention or a passage of background (`analysis.units`); a feature's value there is its largest activation.
2. The documents are halved at random, once per seed. On the first half the k features are chosen whose mean differs most
   between the concept's mentions and all other units, and a logistic regression is fitted to them.
3. Its AUROC on the second half is the figure: the mean over seeds, with a 95 % interval of Student's t over them. The
   halves of different seeds overlap, so that the interval shows how much the split matters, and not all that another
   corpus would change.
4. Beside it stands the same probe on the model's own activations (their mean over the unit's tokens), which an
   autoencoder cannot be expected to surpass by much. The smallest k that comes within a margin of it tells over how many
   features a concept is split.

Source: Gurnee et al. 2023, arXiv:2305.01610; Kantamneni et al. 2025, arXiv:2502.16681 (sae-probes), whose choice by
difference of means, logistic regression and AUROC are taken over. SCR and TPP are left out: "Are SAE Benchmarks
Reliable?", arXiv:2605.18229, finds them unreliable at their usual settings, and this kind of probe the most reliable,
though it cannot tell variants of one architecture apart.

Differs from sae-probes: the penalty is fixed at scikit-learn's default and not searched for, because mentions are few; the
largest k is not the reference, but the model's activations are, because they are the same for all autoencoders.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import t as student

from analysis.auroc import auroc
from analysis.config import ConceptsConfig
from analysis.units import Unit, enough, named

L2 = 1.0
"""Weight of ½‖w‖² beside the summed log-loss, on standardised inputs: C = 1. Source: scikit-learn's default."""

FITTED_UNITS = 512
"""Of a concept, and of all else, that a probe is fitted on, at most. Source: sae-probes fits on 1,024."""
NEWTON_COLUMNS = 160
"""Up to so many columns Newton's method takes some milliseconds; its cost grows with their square."""
NEWTON_STEPS = 50
LBFGS_STEPS = 100
"""Enough for an AUROC; weights of strongly correlated columns still move after it."""
TOLERANCE = 1e-6
"""Change of a weight, on standardised inputs, that counts as none."""


class Halves(NamedTuple):
    """One way to halve the documents, and what is probed in it."""

    fitted: np.ndarray
    """[n_units] bool: units that probes are fitted on; the others tell how good they are."""
    names: list[str]
    """Concepts with mentions enough on both sides."""
    is_positive: np.ndarray
    """[n_concepts, n_units] bool."""


def halves(units: Sequence[Unit], cfg: ConceptsConfig, seed: int) -> Iterator[Halves]:
    """The halvings of all seeds. Concepts that have too few mentions in one of them are left out there."""
    bundle = np.asarray([unit.bundle for unit in units])
    label = np.asarray([unit.label for unit in units])
    for number in range(cfg.probe_seeds):
        shuffled = np.random.default_rng((seed, number)).permutation(np.unique(bundle))
        fitted = np.isin(bundle, shuffled[: len(shuffled) // 2])
        names = [name for name in named(units) if enough(label == name, ~fitted, cfg.min_mentions)]
        yield Halves(fitted, names, np.asarray([label == name for name in names]).reshape(len(names), len(units)))


def dense_probe(acts: np.ndarray, units: Sequence[Unit], cfg: ConceptsConfig, seed: int) -> list[dict[str, float]]:
    """AUROC of each concept's probe on the model's activations; one dict per seed.

    Args:
        acts: [n_units, d_in].
        units: What the rows are.
        cfg: Number of seeds and smallest number of mentions.
        seed: Of the halves.
    """
    found = []
    for split in halves(units, cfg, seed):
        x, y = standardised(acts, split.fitted), split.is_positive
        values = []
        for row in range(len(split.names)):
            rows = drawn(split.fitted, y[row], seed)
            weights = logistic(x[rows], y[[row]][:, rows])
            values.append(auroc(x[~split.fitted] @ weights.T, y[[row]][:, ~split.fitted])[0, 0])
        found.append(dict(zip(split.names, map(float, values), strict=True)))
    return found


def sparse_probes(
    scores: np.ndarray, units: Sequence[Unit], cfg: ConceptsConfig, seed: int, dense: list[dict[str, float]]
) -> dict[str, Any]:
    """Figures of the probes on k features.

    Args:
        scores: [n_units, d_sae].
        units: What the rows are.
        cfg: Numbers of features, of seeds, the margin, and the smallest number of mentions.
        seed: Of the halves.
        dense: What `dense_probe` found with the same settings.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for split in halves(units, cfg, seed):
        chosen = most_different(scores[split.fitted], split.is_positive[:, split.fitted], max(cfg.probe_features))
        for row, name in enumerate(split.names):
            is_positive = split.is_positive[[row]]
            x = standardised(scores[:, chosen[row]], split.fitted)
            rows = drawn(split.fitted, is_positive[0], seed)
            for k in cfg.probe_features:
                some = x[:, : 1 + k]  # after the ones
                weights = logistic(some[rows], is_positive[:, rows])
                value = auroc(some[~split.fitted] @ weights.T, is_positive[:, ~split.fitted])[0, 0]
                found.setdefault(name, {}).setdefault(k, []).append(float(value))
    complete = {name: by_k for name, by_k in found.items() if len(by_k[cfg.probe_features[0]]) == cfg.probe_seeds}
    concepts: dict[str, Any] = {}
    for name, by_k in sorted(complete.items()):
        model = interval([one[name] for one in dense])
        concepts[name] = {
            "features": {str(k): interval(values) for k, values in by_k.items()},
            "model": model,
            "n_features_needed": n_needed({k: float(np.mean(v)) for k, v in by_k.items()}, model["auroc"], cfg),
        }
    means = {
        str(k): interval(np.mean([by_k[k] for by_k in complete.values()], axis=0))
        for k in cfg.probe_features
        if complete
    }
    model = interval([float(np.mean([one[name] for name in complete])) for one in dense]) if complete else None
    return {"n_concepts": len(concepts), "features": means, "model": model, "concepts": concepts}


def drawn(fitted: np.ndarray, is_positive: np.ndarray, seed: int) -> np.ndarray:
    """Rows to fit on: of the concept's units, and of the others, all or so many drawn at random."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(fitted & is_positive), np.flatnonzero(fitted & ~is_positive)]
    return np.concatenate([rng.permutation(rows)[:FITTED_UNITS] for rows in kinds])


def most_different(scores: np.ndarray, is_positive: np.ndarray, k: int) -> np.ndarray:
    """[n_concepts, k] features whose mean differs most between a concept's units and the others, strongest first.

    Args:
        scores: [n_units, d_sae].
        is_positive: [n_concepts, n_units] bool.
        k: How many; all features if there are fewer.
    """
    n_positive = is_positive.sum(axis=1, keepdims=True)
    inside = is_positive.astype(np.float32) @ scores
    outside = scores.sum(axis=0) - inside
    difference = np.abs(inside / n_positive - outside / (len(scores) - n_positive))
    return np.argsort(-difference, axis=1, kind="stable")[:, :k]


def standardised(x: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over the fitted rows, those that do not vary there at 0, and a column of ones."""
    x = x.astype(np.float64)
    spread = x[fitted].std(axis=0)
    scaled = np.where(spread > 0, (x - x[fitted].mean(axis=0)) / np.where(spread > 0, spread, 1), 0)
    return np.concatenate([np.ones((len(x), 1)), scaled], axis=1)


def logistic(x: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """Weights of one logistic regression per concept.

    Args:
        x: [n, d], the first column being the intercept, which is not penalised.
        is_positive: [n_concepts, n] bool.

    Returns:
        [n_concepts, d].
    """
    y = is_positive.astype(np.float64)
    if x.shape[1] > NEWTON_COLUMNS:
        return many_columns(x, y)
    return np.asarray([few_columns(x, one) for one in y]).reshape(len(y), x.shape[1])


def few_columns(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[d] weights by Newton's method, a step being halved while it does not lower the loss."""
    w, penalty = np.zeros(x.shape[1]), L2 * penalised(x)
    value = loss(w, x, y)
    for _ in range(NEWTON_STEPS):
        p = expit(x @ w)
        gradient = x.T @ (p - y) + penalty * w
        hessian = (x.T * (p * (1 - p))) @ x + np.diag(penalty + 1e-9)  # where a column does not vary
        step = np.linalg.solve(hessian, gradient)
        while (after := loss(w - step, x, y)) > value and np.abs(step).max() > TOLERANCE:
            step /= 2
        w, value = w - step, after
        if np.abs(step).max() <= TOLERANCE:
            break
    return w


def many_columns(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n_concepts, d] weights by L-BFGS, all concepts at once, since their losses add up."""

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(len(y), -1)
        gradient = (expit(w @ x.T) - y) @ x + L2 * penalised(x) * w
        return loss(w.T, x, y.T), gradient.ravel()

    start = np.zeros(y.shape[0] * x.shape[1])
    options = {"maxiter": LBFGS_STEPS}
    return minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x.reshape(len(y), -1)


def loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Summed log-loss and penalty of [d] weights, or of [d, n_concepts]."""
    logits = x @ w
    log_loss = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits))) - y * logits
    return float(log_loss.sum() + L2 / 2 * ((penalised(x) * w.T) * w.T).sum())


def penalised(x: np.ndarray) -> np.ndarray:
    """[d] 1 for each column but the intercept."""
    return np.r_[0.0, np.ones(x.shape[1] - 1)]


def interval(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The mean over seeds and its 95 % interval by Student's t."""
    mean, n = float(np.mean(values)), len(values)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"auroc": round(mean, 6), "low": round(max(mean - half, 0), 6), "high": round(min(mean + half, 1), 6)}


def n_needed(auroc_of_k: dict[int, float], model: float, cfg: ConceptsConfig) -> int | None:
    """The smallest k whose probe comes within the margin of the model's; none if no k does."""
    return next((k for k in sorted(auroc_of_k) if auroc_of_k[k] >= model - cfg.probe_margin), None)
