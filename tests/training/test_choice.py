"""Which SAE to take: cases worked by hand, and what must hold whatever the figures are."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.choice import (
    Candidate,
    ChoiceConfig,
    choose,
    dominates,
    paragraph,
    pareto_front,
    seed_spread,
)

CFG = ChoiceConfig()


def sae(sae_id: str, l0: float, explained_variance: float, **more: Any) -> Candidate:
    """An SAE of a stream of width 64, of settings of its own."""
    figures: dict[str, Any] = {"architecture": "topk", "settings": sae_id, "seed": 0, "d_in": 64, "d_sae": 256}
    figures |= {"l0": l0, "explained_variance": explained_variance, "dead_fraction": 0.0}
    return Candidate(sae_id, **(figures | more))


def test_the_knee_is_taken():
    # by hand, kept − 0.02 × log2(L0): 0.50 − 0.02, 0.80 − 0.06, 0.81 − 0.08, 0.82 − 0.10
    saes = [sae("k2", 2, 0.50), sae("k8", 8, 0.80), sae("k16", 16, 0.81), sae("k32", 32, 0.82)]
    choice = choose(saes, CFG)
    assert choice.recommended is not None
    assert choice.recommended.sae_id == "k8"
    assert [round(rival.worth, 5) for rival in choice.rivals] == [0.73, 0.72, 0.48]
    # k32 is ahead by 0.02 − 2 p, no more than the tolerance from p = 0.0075 on (k16 by 0.01 − p, from 0.005); k2 is behind
    # by 0.30 − 2 p, more than the tolerance below p = 0.1475
    assert choice.price_range == pytest.approx((0.0075, 0.1475))
    # without a tolerance, from k8 on a doubling buys 0.01 (0.81 − 0.80, and (0.82 − 0.80) / 2); to it (0.80 − 0.50) / 2
    assert choose(saes, ChoiceConfig(tolerance=0)).price_range == pytest.approx((0.01, 0.15))
    assert [one.sae_id for one in choice.front] == ["k2", "k8", "k16", "k32"]
    assert choice.measure == "explained_variance"


def test_a_ce_loss_score_counts_before_explained_variance_where_all_have_one():
    saes = [sae("faithful", 8, 0.9, ce_loss_score=0.80), sae("useful", 8, 0.7, ce_loss_score=0.95)]
    choice = choose(saes, CFG)
    assert (choice.measure, choice.recommended) == ("ce_loss_score", saes[1])
    mixed = choose([saes[0], saes[1]._replace(ce_loss_score=None)], CFG)
    assert (mixed.measure, mixed.recommended) == ("explained_variance", saes[0])


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"dead_fraction": 0.51}, "51 % of its features are dead"),
        ({"explained_variance": -0.2}, "no better than the mean (explained variance -0.200)"),
        ({"explained_variance": math.nan}, "a figure is no finite number"),
        ({"l0": 0.0}, "none of its features ever fires"),
        ({"ce_loss_score": math.inf}, "a figure is no finite number"),
    ],
)
def test_the_dead_and_the_diverged_are_left_out_and_named(figures: dict[str, float], reason: str):
    good, bad = sae("good", 30, 0.6), sae("bad", 2, 0.99)._replace(**figures)
    choice = choose([bad, good], CFG)
    assert choice.recommended == good
    assert reason in choice.left_out[0].reason
    assert f"Left out: bad ({choice.left_out[0].reason})" in paragraph(choice)


def test_where_all_are_left_out_nothing_is_recommended():
    choice = choose([sae("a", 2, 0.9, dead_fraction=0.9)], CFG)
    assert choice.recommended is None
    assert paragraph(choice) == "No SAE can be recommended here. Left out: a (90 % of its features are dead)."


def test_within_the_tolerance_the_sparsest_then_the_smallest_is_taken():
    dense, sparse = sae("dense", 16, 0.824), sae("sparse", 8, 0.80)  # worth 0.744 and 0.74
    choice = choose([dense, sparse], CFG)
    assert choice.recommended == sparse
    assert (
        "Indistinguishable from it is dense (0.824 at L0 16.0), worth the same within the tolerance of 0.005"
        in paragraph(choice)
    )
    assert choose([dense, sparse], ChoiceConfig(tolerance=0.001)).recommended == dense
    wide, narrow = sae("wide", 8, 0.803, d_sae=512), sae("narrow", 8, 0.80)
    assert choose([wide, narrow], CFG).recommended == narrow


def test_the_spread_between_seeds_takes_the_place_of_the_tolerance():
    # two seeds 0.02 apart: s = 0.01 √2, and 2.8 s = 0.0396; a rival 0.02 ahead is then not ahead
    seeds = [sae("a-0", 8, 0.80, settings="a"), sae("a-1", 8, 0.82, settings="a", seed=1)]
    rival = sae("b", 16, 0.86)
    choice = choose([*seeds, rival], CFG)
    assert choice.tolerance == pytest.approx(2.8 * 0.01 * math.sqrt(2))
    assert (choice.recommended, choice.n_repeated) == (seeds[1], 2)
    assert [one.candidate for one in choice.rivals] == [rival], "another seed of the same settings is no rival"
    assert "Of 2 settings, some with several seeds, it is" in paragraph(choice)
    assert "(what 2 SAEs of repeated settings differ by from seed to seed)" in paragraph(choice)
    assert choose([seeds[1], rival], CFG).recommended == rival


def test_the_spread_is_pooled_over_settings():
    groups = [("a", 1.0), ("a", 3.0), ("b", 2.0), ("b", 2.0), ("b", 2.0), ("c", 9.0)]
    saes = [sae(str(n), l0, 0.5, settings=name) for n, (name, l0) in enumerate(groups)]
    assert seed_spread(saes, lambda one: one.l0) == (pytest.approx(math.sqrt(2 / 3)), 5)  # by hand: 2 / (1 + 2)
    assert seed_spread(saes[-1:], lambda one: one.l0) == (None, 0)


def test_reasons_are_one_paragraph_with_figures():
    saes = [
        sae("k2", 2, 0.50, n_recovered=2, n_concepts=9),
        sae("k8", 8, 0.80, n_recovered=3, n_concepts=9, dead_fraction=0.25),
        sae("k32", 32, 0.82, n_recovered=5, n_concepts=9),
    ]
    assert paragraph(choose(saes, CFG)) == (
        "Take k8: with 8.0 active features per token it keeps an explained variance of 0.800, with 25.0 % of its 256 "
        "features dead. Of 3 SAEs it is worth most where twice as many active features must pay for themselves with 0.02 of "
        "explained variance; any price between about 0.0075 and 0.148 chooses the same. Next comes k32 (0.820 at L0 32.0), "
        "worth 0.020 less, more than the tolerance of 0.005 (no seeds were varied). For fidelity above all, k32 (0.820 at L0 "
        "32.0); for the fewest active features, k2 (0.500 at L0 2.0). It recovers 3 of 9 annotated concepts; most, 5, does k32."
    )


@st.composite
def some_saes(draw: st.DrawFn) -> list[Candidate]:
    """SAEs with figures on a coarse grid, so that equal ones occur."""
    n = draw(st.integers(1, 8))
    has_scores = draw(st.booleans())
    return [
        sae(
            f"sae-{number}",
            draw(st.sampled_from([1.0, 2.0, 4.0, 8.0, 8.1, 16.0])),
            draw(st.integers(-1, 20)) / 20,
            d_sae=draw(st.sampled_from([128, 256])),
            dead_fraction=draw(st.sampled_from([0.0, 0.4, 0.6])),
            ce_loss_score=draw(st.integers(0, 20)) / 20 if has_scores else None,
        )
        for number in range(n)
    ]


@given(some_saes(), st.sampled_from([0.0, 0.005, 0.1]))
def test_the_recommended_is_never_dominated(saes: list[Candidate], tolerance: float):
    choice = choose(saes, ChoiceConfig(tolerance=tolerance))
    if choice.recommended is None:
        assert len(choice.left_out) == len(saes)
        return
    able = [rival.candidate for rival in choice.rivals]
    assert not any(dominates(one, choice.recommended, choice.measure) for one in able)
    if tolerance == 0:
        best = choice.recommended.kept(choice.measure)
        assert any(one.l0 == choice.recommended.l0 and one.kept(choice.measure) == best for one in choice.front)


@given(some_saes(), st.randoms(use_true_random=False))
def test_the_order_plays_no_part(saes: list[Candidate], order: random.Random):
    shuffled = saes.copy()
    order.shuffle(shuffled)
    assert choose(shuffled, CFG) == choose(saes, CFG)


@given(some_saes(), some_saes())
def test_an_sae_that_is_dominated_changes_nothing(saes: list[Candidate], more: list[Candidate]):
    before = choose(saes, CFG)
    able = [rival.candidate for rival in before.rivals] + ([before.recommended] if before.recommended else [])
    renamed = [one._replace(sae_id=f"more-{one.sae_id}", settings=f"more-{one.sae_id}") for one in more]
    has_scores = all(one.ce_loss_score is not None for one in saes)
    beaten = [
        one._replace(ce_loss_score=one.explained_variance if has_scores else None)
        for one in renamed
        if one.explained_variance > 0
    ]
    beaten = [one for one in beaten if any(dominates(other, one, before.measure) for other in able)]
    after = choose(saes + beaten, CFG)
    assert after.recommended == before.recommended
    assert [(one.l0, one.kept(before.measure)) for one in after.front] == [
        (one.l0, one.kept(before.measure)) for one in before.front
    ]


TOLERANCES = [0.0, CFG.tolerance, 0.1]


@given(some_saes(), st.sampled_from(TOLERANCES), st.floats(0, 0.2), st.floats(0, 1), st.booleans())
def test_any_price_in_the_range_chooses_the_same(
    saes: list[Candidate], tolerance: float, price: float, share: float, has_seeds: bool
):
    if has_seeds:
        saes = [one._replace(settings=str(number // 2), seed=number % 2) for number, one in enumerate(saes)]
    cfg = ChoiceConfig(tolerance=tolerance, price=price)
    choice = choose(saes, cfg)
    if choice.price_range is None:
        assert choice.recommended is None
        return
    low, high = choice.price_range
    assert low <= price <= high
    other = low + share * (min(high, low + 1) - low)
    if low + 1e-7 < other < high - 1e-7:
        assert choose(saes, cfg.model_copy(update={"price": other})).recommended == choice.recommended


@given(some_saes(), st.sampled_from(TOLERANCES), st.floats(0, 0.2), st.booleans())
def test_where_the_range_of_prices_ends_another_is_chosen(
    saes: list[Candidate], tolerance: float, price: float, has_seeds: bool
):
    if has_seeds:
        saes = [one._replace(settings=str(number // 2), seed=number % 2) for number, one in enumerate(saes)]
    cfg = ChoiceConfig(tolerance=tolerance, price=price)
    choice = choose(saes, cfg)
    low, high = choice.price_range or (0.0, math.inf)
    for end, outside in ((low, low - 1e-7), (high, high + 1e-7)):
        if 0 <= outside < math.inf:  # lines that meet in one point may make another the one to take there alone
            around = [choose(saes, cfg.model_copy(update={"price": at})).recommended for at in (end, outside)]
            assert any(one != choice.recommended for one in around)


def test_the_range_holds_though_the_taken_is_only_within_the_tolerance():
    dense, sparse = sae("dense", 16, 0.824), sae("sparse", 8, 0.80)
    choice = choose([dense, sparse], CFG)
    assert choice.recommended == sparse
    # by hand: dense is ahead by 0.024 − p, no more than 0.005 from p = 0.019 on
    assert choice.price_range == pytest.approx((0.019, math.inf))
    assert "among those worth most" in paragraph(choice)
    assert "any price above about 0.019 chooses the same" in paragraph(choice)


def test_the_range_follows_a_tolerance_from_seeds():
    # by hand: two seeds with L0 8 and 16, both keeping 0.80: their worths differ by p, so s = p / √2 and the tolerance is
    # 2.8 p / √2 = 1.98 p; dense, 2 doublings from the sparser seed and 0.2 ahead, is ahead of it by 0.2 − 2 p
    seeds = [sae("a-0", 8, 0.80, settings="a"), sae("a-1", 16, 0.80, settings="a", seed=1)]
    choice = choose([*seeds, sae("dense", 32, 1.0)], CFG.model_copy(update={"price": 0.06}))
    assert choice.recommended == seeds[0]
    assert choice.price_range == pytest.approx((0.2 / (2 + 2.8 / math.sqrt(2)), math.inf))


@given(some_saes())
def test_the_front_rises_and_holds_all_that_none_beats(saes: list[Candidate]):
    front = pareto_front(saes, "explained_variance")
    pairs = [(one.l0, one.explained_variance) for one in front]
    assert pairs == sorted(set(pairs))
    for one in saes:
        reached = max((ev for l0, ev in pairs if l0 <= one.l0), default=-math.inf)
        assert reached >= one.explained_variance
