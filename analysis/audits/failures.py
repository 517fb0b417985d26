"""Wrong answers as a triage list: which features and tokens tell them from right ones.

1. Every wrong answer is matched with right answers of other patients to the same question: the same right answer where there
   are enough, nearest in length.
2. A feature's difference is the mean over wrong answers of its activation where the answer is read off, minus that of the
   matches. Which of a set, the wrong answer or one of its matches, is the wrong one is exchanged at random; the largest
   studentised difference over all features corrects every p-value.
3. For each wrong answer its tokens are attributed by the log-odds of what was answered against what is right: positive tokens
   spoke for the mistake.
4. The list is ordered by how sure the model was of the wrong answer: the surest mistakes first.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.attribution import case as cases
from analysis.attribution.build import attribute, methods
from analysis.attribution.config import DEFAULT
from analysis.attribution.problem import Problem
from analysis.attribution.target import next_token
from analysis.audits.cohort import Cohort
from analysis.audits.config import FailureConfig
from analysis.audits.features import Pooled
from analysis.audits.permutation import corrected
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from sae.base import SAE
from sae.errors import UserError


class Suspect(NamedTuple):
    """A feature that differs between wrong and right answers."""

    hook_point: str
    feature: int
    wrong: float
    """Mean activation where a wrong answer is read off."""
    right: float
    """Mean over the matched right answers."""
    z: float
    p: float
    """Corrected for all features."""


class Word(NamedTuple):
    """A token and what it did for the mistake."""

    text: str
    position: int
    score: float


class Failure(NamedTuple):
    """One wrong answer."""

    id: str
    truth: str
    answer: str
    probability: float
    """Of the wrong answer."""
    of_truth: float
    """Of the right one."""
    matches: list[str]
    """Ids of the right answers it is compared with."""
    tokens: list[Word]
    """Strongest first; positive ones spoke for the mistake."""
    features: list[tuple[str, float, float]]
    """HOOK/INDEX, activation here, mean of the matches: those that differ most, in deviations of right answers."""


class Triage(NamedTuple):
    """All wrong answers."""

    n: int
    n_wrong: int
    failures: list[Failure]
    suspects: list[Suspect]
    """Features over all wrong answers; none where there are too few."""
    remark: str
    """Why there are none; empty otherwise."""
    confusions: list[tuple[str, str, int]]
    """Right answer, given answer, how often."""


def triage(
    lm: LanguageModel, saes: Mapping[HookPoint, SAE], cohort: Cohort, found: Mapping[HookPoint, Pooled],
    probabilities: np.ndarray, cfg: FailureConfig, most: int = 20,
) -> Triage:  # fmt: skip
    """The triage list of a cohort.

    Args:
        lm: The model.
        saes: Its autoencoders.
        cohort: The texts.
        found: Features on the texts.
        probabilities: [n, n_answers].
        cfg: Sizes.
        most: Wrong answers to attribute, the surest first.

    Raises:
        UserError: No answer is wrong, or none is right.
    """
    truth, given = cohort.truth(), probabilities.argmax(1)
    wrong = np.flatnonzero(given != truth)
    if not len(wrong) or len(wrong) == len(cohort):
        raise UserError(
            f"{len(wrong)} of {len(cohort)} answers are wrong, expected some wrong and some right ones to compare. "
            "Take more or other texts (--texts, --cohort)."
        )
    wrong = wrong[np.argsort(-probabilities[wrong, given[wrong]], kind="stable")]
    lengths = next(iter(found.values())).n_tokens
    matches = [matched(row, cohort, given, lengths, cfg.n_matches) for row in wrong]
    names = [f"{point}/{i}" for point, pool in found.items() for i in range(pool.last.shape[1])]
    acts = np.concatenate([pool.last for pool in found.values()], 1)
    scale = acts[given == truth].std(0)
    few = len(wrong) < cfg.min_wrong
    failures = [
        Failure(
            cohort.subjects[row].id, cohort.answers[truth[row]], cohort.answers[given[row]],
            float(probabilities[row, given[row]]), float(probabilities[row, truth[row]]),
            [cohort.subjects[i].id for i in some],
            tokens_for(lm, cohort, row, cohort.answers[given[row]], cfg), unusual(acts, scale, row, some, names, cfg),
        )
        for row, some in zip(wrong[:most], matches, strict=False)
    ]  # fmt: skip
    pairs, counts = np.unique(np.stack([truth[wrong], given[wrong]]), axis=1, return_counts=True)
    confusions = sorted(
        ((cohort.answers[a], cohort.answers[b], int(n)) for (a, b), n in zip(pairs.T, counts, strict=True)),
        key=lambda one: -one[2],
    )
    remark = f"{len(wrong)} wrong answers are too few to test features, {cfg.min_wrong} are needed." if few else ""
    return Triage(
        len(cohort), len(wrong), failures, [] if few else suspects(acts, wrong, matches, names, cfg), remark, confusions
    )


def matched(row: int, cohort: Cohort, given: np.ndarray, lengths: np.ndarray, n: int) -> list[int]:
    """Right answers of other patients: of the same right answer first, then nearest in length."""
    truth = cohort.truth()
    patients = np.asarray(cohort.patients)
    right = np.flatnonzero((given == truth) & (patients != patients[row]))
    order = np.lexsort((np.abs(lengths[right] - lengths[row]), truth[right] != truth[row]))
    return [int(i) for i in right[order[:n]]]


def suspects(
    acts: np.ndarray, wrong: Sequence[int] | np.ndarray, matches: Sequence[Sequence[int]], names: Sequence[str],
    cfg: FailureConfig,
) -> list[Suspect]:  # fmt: skip
    """Features that differ over all wrong answers, strongest first.

    Args:
        acts: [n, n_features] where the answer is read off.
        wrong: Rows of wrong answers.
        matches: For each, rows of its right answers.
        names: HOOK/INDEX of each feature.
        cfg: Permutations and level.
    """
    sets = np.asarray([[row, *some] for row, some in zip(wrong, matches, strict=True) if len(some) == cfg.n_matches])
    if not len(sets):
        return []
    values = acts[sets]  # [n_sets, 1 + n_matches, n_features]
    total = values.sum(1)
    k = values.shape[1] - 1
    each = values - (total[:, None] - values) / k  # the difference, were this one the wrong answer
    rng = np.random.default_rng(cfg.seed)
    place = np.arange(len(sets))
    floor = (0.1 * acts.std(0)) ** 2 + 1e-9
    seen = t_of(each[:, 0], floor)
    largest = np.asarray(
        [np.abs(t_of(each[place, rng.integers(0, k + 1, len(sets))], floor)).max() for _ in range(cfg.n_permutations)]
    )
    p = corrected(seen, largest)
    order = [i for i in np.argsort(-np.abs(seen), kind="stable")[: cfg.n_features] if total[:, i].any()]
    places = [str(names[i]).rpartition("/") for i in order]
    return [
        Suspect(
            point, int(number), float(values[:, 0, i].mean()),
            float(values[:, 1:, i].mean()), float(seen[i]), float(p[i]),
        )
        for i, (point, _, number) in zip(order, places, strict=True)
    ]  # fmt: skip


def t_of(difference: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """[n_features] mean difference in standard errors, with a floor under the variance."""
    variance = np.maximum(difference.var(0), floor)
    return difference.mean(0) / np.sqrt(variance / len(difference))


def unusual(
    acts: np.ndarray, scale: np.ndarray, row: int, some: Sequence[int], names: Sequence[str], cfg: FailureConfig
) -> list[tuple[str, float, float]]:
    """The features of one wrong answer that differ most from its matches."""
    usual = acts[list(some)].mean(0)
    distance = np.abs(acts[row] - usual) / (scale + 0.1 * np.abs(acts).max(initial=1e-9))
    order = np.argsort(-distance, kind="stable")[: cfg.n_features]
    return [(str(names[i]), float(acts[row, i]), float(usual[i])) for i in order if distance[i] > 0]


def tokens_for(lm: LanguageModel, cohort: Cohort, row: int, given: str, cfg: FailureConfig) -> list[Word]:
    """The tokens that did most for the mistake, by the default method."""
    one = cohort.subjects[row]
    case = cases.read(one.prompt, lm, name=one.id)
    mistake, right = first_word(lm, given, one.truth)
    problem = Problem(lm, case, next_token(case, lm, mistake, contrast=right))
    raw = attribute(problem, methods([DEFAULT])[0], cfg.seed).raw[:, 0]
    order = np.argsort(-np.abs(raw), kind="stable")[: cfg.n_tokens]
    return [Word(case.tokens[i].strip(), int(i), float(raw[i])) for i in order if raw[i] != 0]


def first_word(lm: LanguageModel, given: str, right: str) -> tuple[str, str]:
    """The first tokens of two answers, as text, with the space before them.

    Raises:
        UserError: They are the same token, so that it tells them apart at no place.
    """
    ids = [lm.tokenizer(f" {one}", add_special_tokens=False)["input_ids"][0] for one in (given, right)]
    if ids[0] == ids[1]:
        raise UserError(
            "A wrong answer begins with the same token as the right one, expected another: no token's part in the mistake can "
            "be read off there. Give answers that differ in their first token."
        )
    texts = lm.tokenizer.batch_decode([[one] for one in ids])
    return tuple(text if text.startswith(" ") else f" {text}" for text in texts)  # type: ignore[return-value]
