"""Windows cover a long text, keep its last words in each, and change nothing for a text that fits in one."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.build import attribute
from analysis.attribution.case import MarkedSpan
from analysis.attribution.config import METHODS, AttnLRPConfig, IntegratedGradientsConfig, OcclusionConfig
from analysis.attribution.problem import Problem
from analysis.attribution.windows import taken, windowed, windows
from sae.errors import UserError
from tests.analysis.attribution.worlds import TEXT, opened, problem


def test_windows_overlap_by_half_and_end_in_the_tail():
    case = cases.read(" ".join([TEXT] * 7), opened("llama"), may_be_long=True)
    found = windows(case, 31, 6)
    assert all(rows[0] == 0 and rows[-6:] == list(range(79, 85)) for rows in found)
    assert all(len(rows) <= 31 for rows in found)
    assert sorted({row for rows in found for row in rows}) == list(range(85))
    counts = np.bincount([row for rows in found for row in rows[1:-6]])
    assert set(counts[1:79].tolist()) == {1, 2}


def test_a_text_that_fits_in_one_window_has_the_scores_of_the_whole():
    found = problem("llama")
    for cfg in (AttnLRPConfig(), OcclusionConfig()):
        np.testing.assert_allclose(windowed(found, cfg, 0, 40, 4).raw, attribute(found, cfg).raw, atol=1e-6)


def test_tokens_in_several_windows_get_the_mean():
    lm = opened("gpt2")
    case = cases.read(" ".join([TEXT] * 3), lm)
    whole = Problem(lm, case, targets.next_token(case, lm, " acute"))
    scores = windowed(whole, AttnLRPConfig(), 0, 20, 3)
    assert scores.diagnostics["n_windows"] == len(windows(case, 20, 3)) == 4
    assert (scores.raw[1:] != 0).all()
    assert "Read in windows" in scores.caveat


def test_windows_keep_what_the_scores_are_made_of_and_how_far_they_add_up():
    lm = opened("gpt2")
    case = cases.read(" ".join([TEXT] * 3), lm)
    whole = Problem(lm, case, targets.next_token(case, lm, " acute"))
    cfg = IntegratedGradientsConfig(refine_until=1e-9, max_steps=16)
    pieces = windows(case, 20, 3)
    each = []
    for rows in pieces:
        part = taken(case, rows)
        each.append(attribute(Problem(lm, part, targets.next_token(part, lm, " acute")), cfg))
    found = windowed(whole, cfg, 0, 20, 3)
    assert found.completeness[0] == max((one.completeness[0] for one in each), key=lambda one: one.gap)
    assert found.corrected[0].gap == max(one.corrected[0].gap for one in each)
    assert found.diagnostics["is_converged"] is all(one.diagnostics["is_converged"] for one in each)
    resampled = windowed(whole, METHODS["shapley"](n_permutations=4), 0, 20, 3)
    assert resampled.terms["standard_error"].shape == resampled.raw.shape
    assert (resampled.terms["standard_error"][1:] > 0).all()


def test_a_window_without_room_is_refused():
    with pytest.raises(UserError, match="A window of 8 tokens has no room besides 1 special ones and the last 6"):
        windows(cases.read(TEXT, opened("llama")), 8, 6)


def long_problem(fixed: Sequence[int] = (), spans: Sequence[MarkedSpan] = ()) -> Problem:
    """Of 37 tokens, read in four windows."""
    lm = opened("gpt2")
    case = cases.read(" ".join([TEXT] * 3), lm, spans=spans)
    return Problem(lm, case, targets.next_token(case, lm, " acute"), fixed=fixed)


@pytest.mark.parametrize("method", ["gim", "hidden_state", "expected_gradients", "shapley", "resampling"])
def test_a_window_that_is_fixed_as_a_whole_is_not_run(method: str):
    found = windowed(long_problem(range(14, 37)), METHODS[method](), 0, 20, 3)
    assert (found.raw[1:14] != 0).all()
    assert (found.raw[14:] == 0).all()
    assert found.diagnostics["n_windows"] == 4


def test_a_window_without_a_span_is_not_run():
    found = long_problem(spans=[MarkedSpan(12, 17, "fever")])
    scores = windowed(found, OcclusionConfig(unit="spans"), 0, 20, 3)
    assert np.flatnonzero(scores.raw[:, 0]).tolist() == list(found.case.units("spans")[0].tokens)
    with pytest.raises(UserError, match="None of the 4 windows holds a unit with a token that may change"):
        windowed(long_problem(range(37), found.case.spans), OcclusionConfig(unit="spans"), 0, 20, 3)


def test_windows_keep_what_their_caveats_tell_to_look_at():
    found = windowed(long_problem(range(14, 37)), METHODS["surrogate"](baseline="zero"), 0, 20, 3).diagnostics
    assert found["baseline_warning"].startswith("Zeros are far from any text")
    assert [one is None for one in found["held_out_r_squared"]] == [False, False, True, True]
    assert found["n_windows"] == 4
    whole = long_problem()
    high = windowed(whole, METHODS["hidden_state"](), 0, 20, 3).diagnostics
    assert len(high["is_high"]) == whole.n_tokens
    assert [len(row) for row in high["flow"]] == [whole.n_tokens] * 3
    piece = attribute(
        Problem(whole.lm, taken(whole.case, windows(whole.case, 20, 3)[0]), whole.target), METHODS["hidden_state"]()
    )
    np.testing.assert_allclose(np.array(high["flow"])[:, :9], np.array(piece.diagnostics["flow"])[:, :9], rtol=1e-6)
