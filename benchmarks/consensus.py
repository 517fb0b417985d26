"""The shipped consensus beside vote shares and Dawid–Skene's maximum likelihood, in 24 simulated scenarios.

    python benchmarks/consensus.py [--quick] [--json]

Five raters of accuracy .90, .80, .75, .65, .55; three of them, drawn at random, judge each item; four classes. Scenarios are
items (40, 150, 600) × errors × frequencies of the classes (even; .55, .25, .15, .05). Errors:

- `random`: on all other classes alike;
- `systematic`: every rater takes class k for k + 1;
- `mixed`: half of the errors are of each of those two kinds;
- `own`: each rater takes each class for one other class, which is theirs.

Accuracy counts a tie among m winners as 1 / m. Log-loss of vote shares needs a floor: two are tried, one more vote spread
evenly, and 1 % spread evenly, and the better one counts. Calibration error has ten bins of the best answer's probability,
over all items of all panels of a scenario (a panel of 40 items has too few for ten bins). The figures are worst cases over
the scenarios:

- `worst_accuracy_gain`: accuracy less that of the vote shares, in points;
- `worst_log_loss_ratio`: log-loss ÷ that of the vote shares;
- `worst_calibration_error`.

crowd-kit is not among the peers: it wants transformers of another major version, and its Dawid–Skene stops early.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.harness.report import Report, Table, arguments_of
from benchmarks.harness.rounds import Figure
from labeling.consensus import ConsensusConfig, consensus
from labeling.dawid_skene import dawid_skene
from labeling.ratings import Ratings
from labeling.votes import smoothed_share, vote_share

ACCURACIES = (0.90, 0.80, 0.75, 0.65, 0.55)
OVERLAP = 3
N_CLASSES = 4
ITEMS = (40, 150, 600)
ERRORS = ("random", "systematic", "mixed", "own")
FREQUENCIES = {"even": (0.25, 0.25, 0.25, 0.25), "skewed": (0.55, 0.25, 0.15, 0.05)}
N_BINS = 10
TARGETS = {
    "worst_accuracy_gain": "≥ −1 point",
    "worst_log_loss_ratio": "≤ 1",
    "worst_calibration_error": "≤ .05",
}


class Scores(NamedTuple):
    """How good a distribution is."""

    accuracy: float
    log_loss: float
    calibration_error: float
    overconfidence: float


def confusion(errors: str, rng: np.random.Generator) -> np.ndarray:
    """[n_raters, n_classes, n_classes] of one panel."""
    even = (1 - np.eye(N_CLASSES)) / (N_CLASSES - 1)
    shifted = np.roll(np.eye(N_CLASSES), 1, axis=1)
    kinds = {"random": even, "systematic": shifted, "mixed": (even + shifted) / 2}
    matrices = []
    for accuracy in ACCURACIES:
        wrong = kinds.get(errors)
        if wrong is None:
            other = (np.arange(N_CLASSES) + rng.integers(1, N_CLASSES, N_CLASSES)) % N_CLASSES
            wrong = np.eye(N_CLASSES)[other]
        matrices.append(accuracy * np.eye(N_CLASSES) + (1 - accuracy) * wrong)
    return np.asarray(matrices)


def panel(errors: str, frequencies: tuple[float, ...], n_items: int, seed: int) -> tuple[Ratings, np.ndarray]:
    """The judgements of one simulated panel, and the truth."""
    rng = np.random.default_rng((seed, n_items, ERRORS.index(errors)))
    matrices = confusion(errors, rng)
    truth = rng.choice(N_CLASSES, n_items, p=frequencies)
    raters = rng.random((n_items, len(ACCURACIES))).argsort(axis=1)[:, :OVERLAP].ravel()
    items = np.repeat(np.arange(n_items), OVERLAP)
    chances = matrices[raters, truth[items]].cumsum(axis=1)
    labels = (rng.random((len(items), 1)) > chances[:, :-1]).sum(axis=1)
    return Ratings(items, raters, labels, n_items, len(ACCURACIES), N_CLASSES), truth


def scores(distribution: np.ndarray, truth: np.ndarray) -> Scores:
    """Of [n_items, n_classes] distributions over all panels of a scenario."""
    best = distribution >= distribution.max(axis=1, keepdims=True) - 1e-9
    right = best[np.arange(len(truth)), truth] / best.sum(axis=1)
    sure = distribution.max(axis=1)
    loss = -np.log(np.maximum(distribution[np.arange(len(truth)), truth], 1e-12))
    bins = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    n = np.maximum(np.bincount(bins, minlength=N_BINS), 1)
    gap = np.bincount(bins, sure, N_BINS) / n - np.bincount(bins, right, N_BINS) / n
    error = (np.abs(gap) * np.bincount(bins, minlength=N_BINS)).sum() / len(truth)
    return Scores(float(right.mean()), float(loss.mean()), float(error), float(sure.mean() - right.mean()))


def scenario(errors: str, frequencies: tuple[float, ...], n_items: int, n_panels: int) -> dict[str, Scores]:
    """Scores of every way to read the judgements."""
    found: dict[str, list[np.ndarray]] = {}
    truths = []
    for seed in range(n_panels):
        ratings, truth = panel(errors, frequencies, n_items, seed)
        truths.append(truth)
        ways = {
            "map": consensus(ratings, ConsensusConfig()).map.distribution,
            "ds_mle": dawid_skene(ratings, 200).posterior,
            "vote": vote_share(ratings),
            "vote_one_more": smoothed_share(ratings, 1.0),
            "vote_floor": 0.99 * vote_share(ratings) + 0.01 / N_CLASSES,
        }
        for name, distribution in ways.items():
            found.setdefault(name, []).append(distribution)
    return {name: scores(np.concatenate(parts), np.concatenate(truths)) for name, parts in found.items()}


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__)
    n_panels = {40: 8, 150: 3, 600: 1} if arguments.quick else {40: 100, 150: 50, 600: 30}
    report = Report(targets=TARGETS)
    report.say(f"24 scenarios: panels of each size {n_panels}; raters {ACCURACIES}, three per item, four classes")
    gains, ratios, errors_found, rows = [], [], [], []
    for n_items in ITEMS:
        for errors in ERRORS:
            for name, frequencies in FREQUENCIES.items():
                found = scenario(errors, frequencies, n_items, n_panels[n_items])
                ours, mle = found["map"], found["ds_mle"]
                votes = min(found["vote_one_more"].log_loss, found["vote_floor"].log_loss)
                gains.append(100 * (ours.accuracy - found["vote"].accuracy))
                ratios.append(ours.log_loss / votes)
                errors_found.append(ours.calibration_error)
                rows.append((n_items, errors, name, found["vote"].accuracy, votes, mle, ours))
    for n_items, errors, name, accuracy, votes, mle, ours in rows:
        report.settings.append(
            f"{n_items:4} items, {errors:10} {name:7} votes {accuracy:.3f} / {votes:.2f}   "
            f"DS-MLE {mle.accuracy:.3f} / {mle.log_loss:.2f} / {mle.overconfidence:+.2f}   MAP {ours.accuracy:.3f} / "
            f"{ours.log_loss:.2f} / {ours.overconfidence:+.2f}, calibration error {ours.calibration_error:.3f}"
        )
    report.figures["worst_accuracy_gain"] = worst(gains, min(gains))
    report.figures["worst_log_loss_ratio"] = worst(ratios, max(ratios))
    report.figures["worst_calibration_error"] = worst(errors_found, max(errors_found))
    report.peers["mean_accuracy_map"] = float(np.mean([row[6].accuracy for row in rows]))
    report.peers["mean_accuracy_vote_share"] = float(np.mean([row[3] for row in rows]))
    report.peers["mean_accuracy_ds_mle"] = float(np.mean([row[5].accuracy for row in rows]))
    report.peers["worst_accuracy_gain_ds_mle"] = min(100 * (row[5].accuracy - row[3]) for row in rows)
    report.peers["worst_calibration_error_ds_mle"] = max(row[5].calibration_error for row in rows)
    report.tables.append(
        Table("MAP: accuracy by vote shares' accuracy", ["votes", "MAP"], [[row[3], row[6].accuracy] for row in rows])
    )
    report.deliver(arguments)


def worst(values: list[float], extreme: float) -> Figure:
    """The worst scenario's value, with the quartiles over scenarios."""
    low, high = np.percentile(values, [25, 75])
    return Figure(extreme, float(low), float(high))


if __name__ == "__main__":
    main()
