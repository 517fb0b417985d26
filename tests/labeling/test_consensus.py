"""The consensus on panels whose truth is known, and what it says where nobody can know."""

import numpy as np
import pytest

from labeling import held_out
from labeling.consensus import MODELS, ConsensusConfig, consensus, prior_of, weighted_prior
from labeling.hierarchy import Pooling, hierarchical, tempered
from labeling.label_sets import set_consensus
from labeling.one_coin import even_errors, matrices, one_coin
from labeling.ordinal import summary
from labeling.ratings import Ratings
from labeling.votes import vote_share
from sae.errors import UserError
from tests.labeling.panels import Panel, even, shifted, simulated

CFG = ConsensusConfig()
ACCURACIES = (0.9, 0.8, 0.75, 0.65, 0.55)


def accuracy(distribution: np.ndarray, truth: np.ndarray) -> float:
    """Share of right winners; a tie among m counts 1 / m."""
    best = distribution >= distribution.max(axis=1, keepdims=True) - 1e-9
    return float((best[np.arange(len(truth)), truth] / best.sum(axis=1)).mean())


@pytest.fixture(scope="module")
def systematic() -> Panel:
    return simulated(shifted(ACCURACIES, 4), 300, 3, 0)


def test_common_confusions_are_seen_through_where_votes_cannot(systematic: Panel):
    found = consensus(systematic.ratings, CFG)
    assert accuracy(found.vote.distribution, systematic.truth) < 0.86
    assert accuracy(found.map.distribution, systematic.truth) > 0.93
    assert found.choice.best != "one_coin"
    assert found.accuracy == pytest.approx(ACCURACIES, abs=0.08)


def test_where_errors_are_random_the_models_that_borrow_most_are_believed():
    panel = simulated(even(ACCURACIES, 4), 150, 3, 3)
    found = consensus(panel.ratings, CFG)
    assert sum(found.choice.share[:2]) > 0.9, MODELS[:2]
    assert sum(found.choice.share) == pytest.approx(1)
    assert accuracy(found.map.distribution, panel.truth) >= accuracy(found.vote.distribution, panel.truth) - 0.01


def test_the_models_foretell_left_out_answers_better_than_shares_of_votes(systematic: Panel):
    found = consensus(systematic.ratings, CFG)
    assert min(found.choice.log_loss) < found.vote_log_loss
    assert found.choice.names == MODELS
    assert found.choice.n_judgements == 900


def test_the_same_input_gives_the_same_bytes(systematic: Panel):
    one, two = consensus(systematic.ratings, CFG), consensus(systematic.ratings, CFG)
    assert one.map.distribution.tobytes() == two.map.distribution.tobytes()


def test_the_order_of_judgements_and_raters_does_not_decide():
    panel = simulated(shifted(ACCURACIES, 3), 80, 3, 4).ratings
    order = np.random.default_rng(0).permutation(len(panel))
    shuffled = Ratings(panel.item[order], panel.rater[order], panel.label[order], 80, 5, 3)
    coin = consensus(panel, CFG.model_copy(update={"seed": 1})).map.distribution
    assert consensus(shuffled, CFG.model_copy(update={"seed": 1})).map.distribution == pytest.approx(coin, abs=1e-6)


def test_answers_are_kept_and_an_item_without_any_has_no_winner():
    ratings = Ratings(np.asarray([0, 0, 0]), np.asarray([0, 1, 2]), np.asarray([1, 1, 0]), 2, 3, 3)
    found = consensus(ratings, CFG)
    assert found.counts.tolist() == [[1, 2, 0], [0, 0, 0]]
    assert found.vote.winner.tolist() == [1, -1]
    assert found.map.winner[1] == -1
    assert found.map.distribution.sum(axis=1) == pytest.approx(1)
    assert not found.is_ambiguous[1], "nobody judged it"


def test_two_raters_who_differ_leave_an_item_ambiguous_and_five_who_agree_do_not():
    panel = simulated(even((0.9,) * 5, 3), 60, 5, 3)
    item = np.r_[panel.ratings.item, [60, 60], [61] * 5]
    rater = np.r_[panel.ratings.rater, [0, 1], np.arange(5)]
    label = np.r_[panel.ratings.label, [0, 1], [2] * 5]
    found = consensus(Ratings(item, rater, label, 62, 5, 3), CFG)
    assert found.is_ambiguous[60]
    assert not found.is_ambiguous[61]
    assert found.map.distribution[61, 2] > 0.98
    assert found.map.entropy[60] > found.map.entropy[61]


def test_items_whose_winner_depends_on_the_reading_are_listed():
    panel = simulated(shifted(ACCURACIES, 4), 200, 3, 5)
    found = consensus(panel.ratings, CFG, weights=np.asarray([1, 0.9, 0.8, 0.5, 0.3]))
    assert found.weighted_map is not None
    flipped = {flip.item for flip in found.flips}
    columns = np.stack([found.vote.winner, found.map.winner, found.weighted_map.winner])
    assert flipped == set(np.flatnonzero((columns != columns[0]).any(axis=0)))
    assert flipped
    one = found.flips[0]
    assert (one.vote, one.map, one.weighted_map) == tuple(columns[:, one.item])


def test_a_weight_decides_between_two_strangers_and_is_outweighed_by_judgements():
    item, rater = np.asarray([0, 0, 1, 1]), np.asarray([0, 1, 0, 1])
    few = Ratings(item, rater, np.asarray([0, 1, 2, 2]), 2, 2, 3)
    trusted = consensus(few, CFG, weights=np.asarray([1.0, 0.4])).weighted_map
    assert trusted is not None
    assert trusted.winner[0] == 0
    assert consensus(few, CFG).map.winner[0] == -1, "without weights neither is preferred"
    panel = simulated(even((0.55, 0.95, 0.9, 0.9), 3), 400, 3, 7)
    late = consensus(panel.ratings, CFG, weights=np.asarray([1.0, 0.3, 0.3, 0.3])).weighted_map
    assert late is not None
    assert accuracy(late.distribution, panel.truth) > 0.93, "400 items speak louder than a wrong weight"


def test_weights_move_the_prior_about_chance_and_leave_its_mean():
    ratings = Ratings(np.asarray([0]), np.asarray([0]), np.asarray([0]), 1, 2, 4)
    prior = prior_of(ratings, CFG, is_ordinal=False)
    found = weighted_prior(prior, np.asarray([1.0, 0.5]), ratings, CFG)
    # mean .75; chance .25; .25 + .45 · 4/3 and .25 + .45 · 2/3
    assert found.accuracy == pytest.approx([0.85, 0.55])
    assert found.accuracy.mean() == pytest.approx(CFG.prior_accuracy)
    with pytest.raises(UserError, match="expected 2 positive numbers"):
        weighted_prior(prior, np.asarray([1.0, 0.0]), ratings, CFG)


def test_a_tempered_matrix_keeps_the_proportions_of_errors_and_the_order_of_raters():
    panel = np.asarray([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.0, 0.4, 0.6]])
    found = tempered(panel, np.asarray([0.8, 0.7, 0.5]), 0.7)
    assert found[1] == pytest.approx(panel)
    assert found[0, 0, 1] / found[0, 0, 2] == pytest.approx(2)
    assert (np.diagonal(found[0]) > np.diagonal(found[2])).all()
    assert found.sum(axis=2) == pytest.approx(1)


def test_strong_pooling_with_even_errors_is_one_coin_and_weak_pooling_is_not():
    panel = simulated(shifted(ACCURACIES, 4), 60, 3, 8).ratings
    prior = prior_of(panel, CFG, is_ordinal=False)
    coin = one_coin(panel, prior, [vote_share(panel)])
    strong = hierarchical(panel, coin, prior, Pooling(1e9, 1e9))
    assert strong.fit.posterior == pytest.approx(coin.fit.posterior, abs=0.02)
    weak = hierarchical(panel, coin, prior, Pooling(5, 30))
    assert np.abs(weak.fit.posterior - coin.fit.posterior).max() > 0.2
    assert min(np.diff(weak.fit.objectives)) >= -1e-9


def test_a_left_out_judgement_is_foretold_from_the_others_alone():
    ratings = Ratings(np.asarray([0, 0, 1]), np.asarray([0, 1, 0]), np.asarray([0, 1, 1]), 2, 2, 2)
    seen: list[int] = []

    def models(some: Ratings) -> dict[str, held_out.Predictive]:
        seen.append(len(some))
        return {"half": held_out.Predictive(np.full((2, 2), 0.5), matrices(np.asarray([0.9, 0.6]), even_errors(2)))}

    losses = held_out.left_out_losses(ratings, models, 3, 0)["half"]
    assert losses == pytest.approx(-np.log([0.5] * 3)), ".5 · .9 + .5 · .1 whatever the rater"
    assert sum(len(ratings) - n for n in seen) == 3, "each judgement is left out once"


def test_judgements_of_an_item_fall_into_different_folds_and_repeats_into_one():
    panel = simulated(even(ACCURACIES, 4), 50, 3, 9).ratings
    twice = Ratings(
        np.r_[panel.item, panel.item], np.r_[panel.rater, panel.rater], np.r_[panel.label, panel.label], 50, 5, 4
    )
    fold = held_out.folds(twice, 3, 0)
    assert (fold[: len(panel)] == fold[len(panel) :]).all()
    for i in range(50):
        assert sorted(fold[: len(panel)][panel.item == i]) == [0, 1, 2]


def test_every_label_of_a_set_has_its_own_consensus_and_an_empty_set_is_a_no():
    rng = np.random.default_rng(0)
    truth = rng.random((120, 3)) < (0.5, 0.2, 0.3)
    item, rater = np.repeat(np.arange(120), 3), np.tile(np.arange(3), 120)
    chosen = truth[item] ^ (rng.random((360, 3)) < 0.1)
    found = set_consensus(item, rater, chosen, 121, 3, CFG)
    assert (found.chosen[:120] == truth).mean() > 0.95
    assert len(found.by_label) == 3
    assert not found.chosen[120].any()
    assert np.isnan(found.share[120]).all()
    nothing = set_consensus(np.zeros(3), np.arange(3), np.zeros((3, 2)), 1, 3, CFG)
    assert nothing.share[0].tolist() == [0, 0]
    assert not nothing.chosen.any()
    with pytest.raises(UserError, match="expected one row per judgement"):
        set_consensus(np.zeros(3), np.arange(3), np.full((3, 2), 2), 1, 3, CFG)


def test_ordered_answers_have_a_median_and_a_range():
    found = summary(np.asarray([[0.0, 0.5, 0.5], [0.02, 0.08, 0.9], [1, 0, 0]]))
    assert found.median.tolist() == [1, 2, 0]
    assert found.low.tolist() == [1, 1, 0]
    assert found.high.tolist() == [2, 2, 0]
    assert found.mean == pytest.approx([1.5, 1.88, 0])


def test_order_makes_far_errors_unlikely_before_much_is_known():
    ratings = Ratings(np.asarray([0, 0]), np.asarray([0, 1]), np.asarray([0, 1]), 1, 2, 5)
    ordered = consensus(ratings, CFG, is_ordinal=True).map.distribution[0]
    plain = consensus(ratings, CFG).map.distribution[0]
    assert ordered[4] < plain[4]
    assert ordered[:2].sum() > plain[:2].sum()
