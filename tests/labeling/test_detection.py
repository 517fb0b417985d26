"""Blind detection: what is drawn, what is sent, and how marks are scored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.detection import Shown, Task, by_author, detection_task, fuzzing_task, score
from sae.errors import UserError

POSITIVES = {quantile: [f"p{quantile}-{n}" for n in range(5)] for quantile in range(5)}
NEGATIVES = [f"n{n}" for n in range(12)]


@given(st.integers(0, 1000), st.sampled_from((10, 12, 20)))
def test_half_of_the_contexts_fire_and_come_evenly_from_the_quantiles(seed: int, n: int):
    task = detection_task(POSITIVES, NEGATIVES, n, seed, "item")
    fire = [one for one in task.contexts if one.is_positive]
    assert len(fire) == n // 2
    assert len(set(task.blind)) == n
    counts = [sum(one.quantile == quantile for one in fire) for quantile in range(5)]
    assert max(counts) - min(counts) <= 1
    assert task == detection_task(POSITIVES, NEGATIVES, n, seed, "item")


def test_the_order_tells_nothing_and_each_item_has_its_own():
    tasks = [detection_task(POSITIVES, NEGATIVES, 10, seed, "item") for seed in range(300)]
    first = sum(task.contexts[0].is_positive for task in tasks)
    assert 110 < first < 190, "150 ± 4.6 standard deviations of 8.7"
    assert detection_task(POSITIVES, NEGATIVES, 10, 0, "a") != detection_task(POSITIVES, NEGATIVES, 10, 0, "b")
    assert all(isinstance(one, str) for one in tasks[0].blind)


def test_in_fuzzing_all_fire_and_half_are_highlighted_wrongly():
    task = fuzzing_task(POSITIVES, 20, 0, "item")
    assert sum(one.is_positive for one in task.contexts) == 10
    assert all(one.quantile is not None for one in task.contexts)
    right = [one.quantile for one in task.contexts if one.is_positive]
    assert set(right) == set(range(5)), "all quantiles on both sides"


def shown(n_positive: int, n_negative: int) -> Task:
    fire = [Shown(f"p{n}", True, n % 2) for n in range(n_positive)]
    return Task((*fire, *(Shown(f"n{n}", False, None) for n in range(n_negative))), "detection")


def test_a_score_is_worked_by_hand():
    found = score([(shown(5, 5), frozenset({"p0", "p2", "p3", "p4", "n0"}))])
    assert found.balanced_accuracy == pytest.approx(0.8)
    # Wilson of 4/5: (.8 + z²/10 ± z √(.16/5 + z²/100)) / (1 + z²/5), z = 1.959964: .375535 and .963776
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx((0.375535, 0.963776), abs=1e-6)
    assert found.low == pytest.approx(0.8 - 0.424465 * 2**0.5 / 2, abs=1e-5)
    assert found.high == pytest.approx(0.8 + 0.163776 * 2**0.5 / 2, abs=1e-5)
    assert found.by_quantile == pytest.approx({0: 1.0, 1: 0.5})


def test_marking_everything_or_nothing_is_guessing():
    task = shown(6, 6)
    assert score([(task, frozenset(task.blind))]).balanced_accuracy == 0.5
    assert score([(task, frozenset())]).balanced_accuracy == 0.5


def test_authors_are_scored_over_all_their_labels():
    task = shown(5, 5)
    right = frozenset(f"p{n}" for n in range(5))
    found = by_author([("a", task, right), ("b", task, frozenset()), ("a", task, right)])
    assert found["a"].balanced_accuracy == 1
    assert found["a"].sensitivity.n == 10
    assert found["b"].balanced_accuracy == 0.5
    assert found["a"].high - found["a"].low < 0.5


def test_too_few_contexts_overlaps_and_strange_marks_are_refused():
    with pytest.raises(UserError, match="9 contexts"):
        detection_task(POSITIVES, NEGATIVES, 9, 0, "i")
    with pytest.raises(UserError, match="There are 3 held-out hard negatives, expected 5"):
        detection_task(POSITIVES, NEGATIVES[:3], 10, 0, "i")
    with pytest.raises(UserError, match="There are 2 held-out contexts that fire, expected 5"):
        detection_task({0: ["a", "b"]}, NEGATIVES, 10, 0, "i")
    with pytest.raises(UserError, match="1 contexts stand among both"):
        detection_task({0: [*POSITIVES[0], "n3"]}, NEGATIVES, 10, 0, "i")
    with pytest.raises(UserError, match="1 marked contexts were not shown"):
        score([(shown(5, 5), frozenset({"x"}))])
