"""Judgements that the adaptive queue saves against a fixed overlap of equal accuracy, with skills estimated on the way.

    python benchmarks/queue_policy.py [--quick] [--json]

Ten raters (two each of accuracy .90, .80, .75, .65, .55), four classes, errors random or systematic (k taken for k + 1). Raters
ask in random order, the weak as often as the strong. The queue knows nothing but the answers: matrices and posteriors come
from the shipped consensus, fitted anew every tenth of the way, and from Bayes' rule in between.

The fixed overlap deals every item to 2, 3, … 8 raters at random and is read by the same consensus. Where its curve, drawn
straight between neighbours, reaches the adaptive accuracy, is the overlap of equal accuracy.

- `saved_random`, `saved_systematic`: 1 − judgements per item ÷ that overlap. With systematic errors the consensus reads a
  fixed overlap of three almost without error, and two judgements are the least that the stop rule allows, so that little is
  left to save; `…_saved_against_votes` says what is saved where the fixed overlap is read by counting.
- `choose_ms`: one choice among 100,000 items for one of 50 raters, processor time, median and quartiles.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.harness.report import Report, Table, arguments_of
from benchmarks.harness.rounds import Figure, spread
from labeling.consensus import ConsensusConfig, consensus
from labeling.eligibility import History, Rater, Served
from labeling.policy import Choice, choose
from labeling.pool import Candidate, Pool
from labeling.queue_policy import QueuePolicy
from labeling.ratings import Ratings
from labeling.votes import vote_share

ACCURACIES = (0.90, 0.80, 0.75, 0.65, 0.55) * 2
N_CLASSES = 4
OVERLAPS = (2, 3, 4, 5, 6, 7, 8)
POLICY = QueuePolicy(gold_hazard=0)
CFG = ConsensusConfig(n_restarts=0)
TARGETS = {"saved_random": "≥ 0.35", "choose_ms": "≤ 20"}


class Outcome(NamedTuple):
    """What a round came to."""

    accuracy: float
    judgements_per_item: float


def matrices(errors: str) -> np.ndarray:
    """[n_raters, n_classes, n_classes]."""
    even = (1 - np.eye(N_CLASSES)) / (N_CLASSES - 1)
    wrong = even if errors == "random" else np.roll(np.eye(N_CLASSES), 1, axis=1)
    return np.asarray([a * np.eye(N_CLASSES) + (1 - a) * wrong for a in ACCURACIES])


def answers(errors: str, n_items: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The truth, and [n_items, n_raters] what each rater says of each item when asked."""
    truth = rng.integers(0, N_CLASSES, n_items)
    chances = matrices(errors)[:, truth].cumsum(axis=2)[..., :-1]
    return truth, (rng.random((len(ACCURACIES), n_items, 1)) > chances).sum(axis=2).T


def fixed(said: np.ndarray, truth: np.ndarray, overlap: int, rng: np.random.Generator) -> dict[str, float]:
    """Accuracy of the consensus, and of the votes, where every item goes to so many raters."""
    n_items, n_raters = said.shape
    raters = rng.random(said.shape).argsort(axis=1)[:, :overlap].ravel()
    items = np.repeat(np.arange(n_items), overlap)
    ratings = Ratings(items, raters, said[items, raters], n_items, n_raters, N_CLASSES)
    return {
        "consensus": accuracy(consensus(ratings, CFG).map.distribution, truth),
        "votes": accuracy(vote_share(ratings), truth),
    }


def accuracy(distribution: np.ndarray, truth: np.ndarray) -> float:
    """Share of right winners; a tie among m counts 1 / m."""
    best = distribution >= distribution.max(axis=1, keepdims=True) - 1e-9
    return float((best[np.arange(len(truth)), truth] / best.sum(axis=1)).mean())


class Round:
    """A round that is being rated."""

    def __init__(self, said: np.ndarray) -> None:
        """Nothing has been asked yet."""
        self.said = said
        self.n_items, self.n_raters = said.shape
        self.rows: list[tuple[int, int, int]] = []
        self.rated: list[set[str]] = [set() for _ in range(self.n_raters)]
        even = (1 / N_CLASSES,) * N_CLASSES
        self.pool = Pool.of([Candidate(str(i), "adaptive", str(i), even) for i in range(self.n_items)])
        self.confusion = np.repeat((0.6 * np.eye(N_CLASSES) + 0.1)[None], self.n_raters, axis=0)

    def ask(self, rater: int, seed: int) -> bool:
        """Serves one item, if there is one for this rater."""
        history = History(frozenset(self.rated[rater]), n_served=len(self.rated[rater]))
        found = choose(self.pool, Rater(str(rater), self.confusion[rater]), history, POLICY, seed)
        if not isinstance(found, Choice):
            return False
        item = int(found.item_id)
        self.rows.append((item, rater, int(self.said[item, rater])))
        self.rated[rater].add(found.item_id)
        posterior = self.pool.posterior[item] * self.confusion[rater][:, self.said[item, rater]]
        self.pool.update(found.item_id, int(self.pool.n_judgements[item]) + 1, 0, posterior / posterior.sum())
        return True

    def refit(self) -> np.ndarray:
        """Estimates everybody's skill anew; the consensus' distribution."""
        item, rater, label = np.asarray(self.rows).T
        found = consensus(Ratings(item, rater, label, self.n_items, self.n_raters, N_CLASSES), CFG)
        self.confusion = found.confusion
        for place in range(self.n_items):
            self.pool.update(str(place), int(found.n_judgements[place]), 0, found.map.distribution[place])
        return found.map.distribution


def adaptive(said: np.ndarray, truth: np.ndarray, seed: int) -> Outcome:
    """One round until the queue has nothing more for anybody."""
    rng, state = np.random.default_rng((seed, 7)), Round(said)
    every, idle = max(len(truth) // 4, 1), 0
    while True:
        found = sum(state.ask(int(rater), seed) for rater in rng.integers(0, state.n_raters, every))
        distribution = state.refit()
        idle = 0 if found else idle + 1
        if idle == 2:
            return Outcome(accuracy(distribution, truth), len(state.rows) / len(truth))


def equal_overlap(curve: dict[int, float], wanted: float) -> float:
    """The overlap at which a curve reaches an accuracy; the largest one if it never does."""
    points = sorted(curve.items())
    for (a, low), (b, high) in pairwise(points):
        if wanted <= low:
            return float(a)
        if wanted <= high:
            return a + (b - a) * (wanted - low) / (high - low)
    return float(points[-1][0])


def choice_times(n_choices: int) -> list[float]:
    """Milliseconds of processor time of single choices among 100,000 items, half of them judged already."""
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(N_CLASSES, 0.5), 100_000)
    posterior[::2] = 1 / N_CLASSES
    pool = Pool.of(
        [
            Candidate(
                f"item-{i}", "adaptive", f"family-{i % 20_000}", tuple(posterior[i]), n_judgements=2 * (i % 2),
                authors=frozenset({f"rater-{i % 50}"}), sites=frozenset({f"site-{i % 10}"}),
            )
            for i in range(100_000)
        ]
    )  # fmt: skip
    rated = frozenset(f"item-{i}" for i in range(2_000))
    recent = tuple(Served(f"item-{i}", f"family-{i}", "adaptive") for i in range(5))
    found = []
    for number in range(n_choices):
        rater = Rater(f"rater-{number % 50}", matrices("random")[number % 10], sites=frozenset({"site-1"}))
        start = time.process_time()
        choose(pool, rater, History(rated, recent, number), QueuePolicy(), 0)
        found.append(1000 * (time.process_time() - start))
    return found


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__)
    n_items, n_rounds, overlaps = (150, 2, (2, 3, 4, 5, 6)) if arguments.quick else (600, 5, OVERLAPS)
    report = Report(targets=TARGETS)
    report.say(f"{n_rounds} rounds of {n_items} items, ten raters: stop at {POLICY.stop_posterior}, 2 to 6 judgements")
    for errors in ("random", "systematic"):
        curves: dict[str, dict[int, list[float]]] = {"consensus": {}, "votes": {}}
        outcomes = []
        for seed in range(n_rounds):
            rng = np.random.default_rng((seed, n_items))
            truth, said = answers(errors, n_items, rng)
            outcomes.append(adaptive(said, truth, seed))
            for overlap in overlaps:
                for name, value in fixed(said, truth, overlap, rng).items():
                    curves[name].setdefault(overlap, []).append(value)
        means = {name: {k: float(np.mean(v)) for k, v in curve.items()} for name, curve in curves.items()}
        found = Outcome(*np.mean(outcomes, axis=0))
        saved = 1 - found.judgements_per_item / equal_overlap(means["consensus"], found.accuracy)
        votes = 1 - found.judgements_per_item / equal_overlap(means["votes"], found.accuracy)
        each = [1 - one.judgements_per_item / equal_overlap(means["consensus"], one.accuracy) for one in outcomes]
        report.figures[f"saved_{errors}"] = Figure(saved, *map(float, np.percentile(each, [25, 75])))
        report.peers |= {
            f"{errors}_adaptive_accuracy": found.accuracy,
            f"{errors}_adaptive_judgements_per_item": found.judgements_per_item,
            f"{errors}_equal_overlap": equal_overlap(means["consensus"], found.accuracy),
            f"{errors}_saved_against_votes": votes,
            f"{errors}_equal_overlap_read_by_votes": equal_overlap(means["votes"], found.accuracy),
        }
        rows = [[float(k), means["consensus"][k], means["votes"][k]] for k in overlaps]
        report.tables.append(Table(f"Fixed overlap, {errors} errors", ["overlap", "consensus", "votes"], rows))
    report.figures["choose_ms"] = spread(choice_times(5 if arguments.quick else 50))
    report.deliver(arguments)


if __name__ == "__main__":
    main()
