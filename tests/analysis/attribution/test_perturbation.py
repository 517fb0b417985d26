"""Occlusion, resampling, Shapley values and the surrogate: by hand on a linear model, and by their own promises."""

import numpy as np
import pytest
import torch

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.ablation import coalitions
from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.build import attribute, methods
from analysis.attribution.case import MarkedSpan
from analysis.attribution.config import (
    METHODS,
    ExpectedGradientsConfig,
    OcclusionConfig,
    ResamplingConfig,
    ShapleyConfig,
    SurrogateConfig,
)
from analysis.attribution.occlusion import free_units
from analysis.attribution.problem import Problem
from analysis.attribution.shapley import error_over_pairs
from analysis.attribution.surrogate import held_out_r_squared, lasso
from analysis.attribution.vocabulary import kind_of
from hooks.hook_points import HookPoint
from sae.errors import UserError
from tests.analysis.attribution.test_target import random_sae
from tests.analysis.attribution.worlds import TEXT, gradient_by_hand, linear_problem, opened, problem


@pytest.fixture(scope="module")
def by_hand() -> np.ndarray:
    """What each token adds in the linear model, over the mean embedding."""
    found = linear_problem()
    difference = found.embeds - baseline_embeds(found, "vocabulary_mean")
    gradient = gradient_by_hand(found.case, found.lm.model, found.target.token_ids[0])  # type: ignore[arg-type, union-attr]
    return (gradient * difference).sum(-1).numpy()


@pytest.mark.parametrize(
    "cfg",
    [
        OcclusionConfig(),
        ShapleyConfig(unit="tokens", n_permutations=3),
        SurrogateConfig(unit="tokens", alpha=0.0, n_ablations=64),
    ],
)
def test_of_a_linear_model_every_method_says_what_each_token_adds(cfg, by_hand: np.ndarray):
    np.testing.assert_allclose(attribute(without_reuse(), cfg).raw[:, 0], by_hand, atol=1e-4)


def without_reuse():
    """The linear model has no keys and values to keep."""
    found = linear_problem()
    object.__setattr__(found.lm, "kind", "encoder")
    found.__dict__["sequence_ids"] = found.case.input_ids
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "biogpt"])
def test_occlusion_from_the_first_change_on_is_occlusion_of_the_whole_text(kind: str):
    found = problem(kind)
    scores = attribute(found, OcclusionConfig(batch_tokens=40))
    absent = baseline_embeds(found, "vocabulary_mean")
    for place in (1, 6, 12):
        row = found.embeds.clone()
        row[place] = absent[place]
        expected = found.clean_scores - found.scores_without_grad(row[None])[0]
        np.testing.assert_allclose(scores.raw[place], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "biogpt"])
def test_a_feature_before_the_first_attention_is_occluded_and_resampled_at_its_own_position(kind: str):
    lm, sae = opened(kind), random_sae()
    case = cases.read(TEXT, lm)
    point = HookPoint(0, "hook_resid_pre")
    feature = int(targets.activations(case, lm, sae, point)[8].argmax())
    target = targets.features_of(case, lm, sae, "blocks.0.hook_resid_pre", [feature], position=8)
    found = Problem(lm, case, target, sae)
    absent = baseline_embeds(found, "vocabulary_mean")
    expected = torch.zeros(13)
    for place in range(1, 13):
        row = found.embeds.clone()
        row[place] = absent[place]
        expected[place] = found.clean_scores[0] - found.scores_without_grad(row[None])[0, 0]
    np.testing.assert_allclose(attribute(found, OcclusionConfig()).raw[:, 0], expected.numpy(), atol=1e-5)
    drawn = attribute(found, ResamplingConfig()).raw[:, 0]
    assert np.flatnonzero(np.abs(drawn) > 1e-5).tolist() == [8]


def test_a_units_effect_is_shared_among_its_tokens():
    found = problem("llama")
    start = TEXT.index("no cough")
    object.__setattr__(found.case, "spans", (MarkedSpan(start, start + 8, "cough, denied"),))
    scores = attribute(found, OcclusionConfig(unit="spans"))
    assert np.flatnonzero(scores.raw[:, 0]).tolist() == [7, 8]
    assert scores.raw[7, 0] == scores.raw[8, 0]


def test_shapley_values_add_up_and_a_unit_that_does_nothing_has_none():
    found = problem("llama")
    scores = attribute(found, ShapleyConfig(n_permutations=4))
    assert max(one.gap_of_mass for one in scores.completeness) < 1e-5
    absent = baseline_embeds(found, "vocabulary_mean")
    found.__dict__["embeds"] = torch.where(torch.arange(13)[:, None] == 5, absent, found.embeds)
    found.__dict__.pop("clean_scores", None)
    again = attribute(found, ShapleyConfig(n_permutations=4))
    assert np.abs(again.raw[5]).max() < 1e-5 < np.abs(again.raw[6]).max()


def test_resampling_draws_the_same_with_the_same_seed_and_other_tokens_of_the_kind():
    one, again = (attribute(problem("gpt2"), ResamplingConfig(), seed=3) for _ in range(2))
    assert np.array_equal(one.raw, again.raw)
    assert not np.array_equal(one.raw, attribute(problem("gpt2"), ResamplingConfig(), seed=4).raw)
    found = problem("gpt2")
    drawn = found.sampler.sample(found.case.input_ids, (11,), 20, 0)[:, 0].tolist()
    tokens = found.vocabulary.tokens
    assert {kind_of(tokens[i]) for i in drawn} == {"piece number"}
    assert int(found.case.input_ids[11]) not in drawn


def test_resampling_is_the_mean_over_its_draws():
    found = problem("llama")
    scores = attribute(found, ResamplingConfig(n_samples=3), seed=1)
    rows = found.case.input_ids.repeat(3, 1)
    rows[:, 4] = found.sampler.sample(found.case.input_ids, (4,), 3, 1)[:, 0]
    expected = (found.clean_scores - found.score_ids(rows)).mean(0)
    np.testing.assert_allclose(scores.raw[4], expected.numpy(), atol=1e-5)


def test_the_lasso_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 12)), rng.normal(size=40)
    expected = linear_model.Lasso(alpha=0.05, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(x, y).coef_
    np.testing.assert_allclose(lasso(x, y, 0.05), expected, atol=1e-6)


def test_a_surrogate_reports_how_much_it_explains_of_ablations_it_has_not_seen():
    scores = attribute(problem("llama"), SurrogateConfig())
    assert all(0 < one < 1 for one in scores.diagnostics["held_out_r_squared"])
    assert "r_squared" not in scores.diagnostics
    alone = attribute(problem("llama"), SurrogateConfig(n_ablations=1))
    assert alone.diagnostics["held_out_r_squared"] == [None] * 3


def test_a_surrogate_of_noise_explains_nothing():
    rng = np.random.default_rng(0)
    columns = (rng.random((64, 40)) < 0.5).astype(float)
    noise, linear = rng.normal(size=64), columns @ rng.normal(size=40)
    of_noise, of_sum = (held_out_r_squared(columns, y, 0.001) for y in (noise, linear))
    assert of_noise is not None
    assert of_sum is not None
    assert of_noise < 0
    assert of_sum > 0.99
    assert held_out_r_squared(columns, np.ones(64), 0.01) is None


def test_expected_gradients_come_near_the_mean_difference():
    scores = attribute(problem("llama"), ExpectedGradientsConfig(n_samples=256))
    assert np.median([one.gap_of_mass for one in scores.completeness]) < 0.1


def test_shapley_values_are_captums():
    captum = pytest.importorskip("captum.attr")
    found = problem("llama", answer=" acute")
    absent = baseline_embeds(found, "vocabulary_mean")
    groups = torch.arange(13)[None, :, None].expand(1, 13, 32).contiguous()

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return found.scores_without_grad(rows)[:, 0]

    torch.manual_seed(0)
    reference = captum.ShapleyValueSampling(forward).attribute(
        found.embeds[None], absent[None], feature_mask=groups, n_samples=60
    )[0, :, 0]
    ours = attribute(found, ShapleyConfig(unit="tokens", n_permutations=60))
    spread = ours.terms["standard_error"][1:, 0] * 5 + 1e-3  # both are random: within five standard errors
    assert (np.abs(ours.raw[1:, 0] - reference[1:].numpy()) < 2 * spread).all()


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="'magic' is no method, expected one of integrated_gradients"):
        methods(["magic"])


def test_all_means_every_method_once():
    assert len({cfg.method for cfg in methods(["all"])}) == len(methods(["all"])) == 16


@pytest.mark.parametrize("method", ["occlusion", "resampling", "shapley", "surrogate"])
@pytest.mark.parametrize(("span", "fixed"), [((0, 7), (1,)), ((7, 8), ())])
def test_units_of_which_none_may_change_are_refused(method: str, span: tuple[int, int], fixed: tuple[int, ...]):
    lm = opened("llama")
    case = cases.read(TEXT, lm, spans=[MarkedSpan(*span, "x")])
    found = Problem(lm, case, targets.next_token(case, lm, " acute"), fixed=fixed)
    with pytest.raises(UserError, match="Units are 'spans', but none of the case's holds a token that may change"):
        attribute(found, METHODS[method](unit="spans"))


@pytest.mark.parametrize("method", ["gim", "hidden_state", "expected_gradients"])
def test_a_text_that_is_fixed_as_a_whole_is_refused(method: str):
    lm = opened("llama")
    case = cases.read(TEXT, lm)
    found = Problem(lm, case, targets.next_token(case, lm, " acute"), fixed=range(13))
    with pytest.raises(UserError, match="All 13 tokens of the text are special or held fixed"):
        attribute(found, METHODS[method]())


def nested(order: tuple[int, int]) -> Problem:
    """A span within a span, listed in some order."""
    lm = opened("llama")
    spans = (MarkedSpan(12, 26, "outer"), MarkedSpan(12, 17, "inner"))
    case = cases.read(TEXT, lm, spans=[spans[i] for i in order])
    return Problem(lm, case, targets.next_token(case, lm, " acute"))


@pytest.mark.parametrize("method", ["occlusion", "resampling", "shapley", "surrogate"])
def test_scores_of_nested_spans_do_not_rest_on_their_order(method: str):
    one, other = (attribute(nested(order), METHODS[method](unit="spans")) for order in ((0, 1), (1, 0)))
    assert np.array_equal(one.raw, other.raw)


def test_a_token_of_two_units_is_there_only_where_both_are():
    found = nested((0, 1))
    absent = baseline_embeds(found, "vocabulary_mean")
    units = free_units(found, "spans")
    assert [unit.label for unit in units] == ["inner", "outer"]
    scores = coalitions(found, units, absent, np.array([[False, True], [True, False], [True, True]]))
    row = found.embeds.clone()
    row[list(units[0].tokens)] = absent[list(units[0].tokens)]
    np.testing.assert_allclose(scores[0], found.scores_without_grad(row[None])[0].numpy(), atol=1e-6)
    assert len({round(float(one), 6) for one in scores[:, 0]}) == 3


def test_shapleys_standard_error_is_that_of_pairs_of_orders():
    values = np.array([[1.0], [-1.0], [3.0], [-3.0], [2.0], [4.0]])
    assert error_over_pairs(values)[0] == pytest.approx(np.std([0, 0, 3], ddof=1) / np.sqrt(3))
    assert (error_over_pairs(values[:4]) == 0).all()  # each order's reverse takes all of its error away
    assert error_over_pairs(values[:5])[0] > 0
    assert error_over_pairs(values[:2]).tolist() == error_over_pairs(values[:1]).tolist() == [0]
    assert ShapleyConfig().n_permutations % 2 == 0


def test_shapleys_standard_error_is_the_spread_over_seeds():
    found = problem("llama", answer=" acute")
    runs = [attribute(found, ShapleyConfig(unit="words", n_permutations=8), seed) for seed in range(30)]
    spread = np.stack([one.raw[1:, 0] for one in runs]).std(0, ddof=1)
    told = np.sqrt(np.square([one.terms["standard_error"][1:, 0] for one in runs]).mean(0))
    assert np.median(told / spread) == pytest.approx(1, abs=0.25)


def test_one_draw_has_no_standard_error():
    scores = attribute(problem("llama"), ExpectedGradientsConfig(n_samples=1))
    assert (scores.terms["standard_error"] == 0).all()
