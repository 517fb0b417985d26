"""Evidence spans: tokens they touch, alpha over tokens, F1 of pairs."""

import numpy as np
import pytest

from benchmarks.harness.rated import slow_alpha
from labeling.bootstrap import BootstrapConfig
from labeling.spans import mean_f1, span_agreement, token_marks
from sae.errors import UserError

FEW = BootstrapConfig(n_bootstraps=200)


def test_a_token_is_marked_where_a_span_touches_it():
    tokens = [(0, 3), (4, 9), (10, 12)]
    assert token_marks(tokens, [(2, 5)]).tolist() == [True, True, False]
    assert token_marks(tokens, [(3, 4)]).tolist() == [False, False, False]
    assert token_marks(tokens, []).tolist() == [False, False, False]
    with pytest.raises(UserError, match="A span goes from 5 to 5"):
        token_marks(tokens, [(5, 5)])


def test_f1_of_pairs_by_hand():
    marks = np.asarray([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], float)
    assert mean_f1(marks) == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert mean_f1(np.zeros((2, 4))) == 1.0


def test_alpha_is_that_of_all_tokens():
    rng = np.random.default_rng(0)
    items = []
    for _ in range(40):
        truth = rng.random(int(rng.integers(5, 30))) < 0.2
        items.append(
            np.where(rng.random((3, len(truth))) < 0.85, truth, rng.random((3, len(truth))) < 0.2).astype(float)
        )
    items[0][1] = np.nan
    items[1][:2] = np.nan
    found = span_agreement(items, FEW)
    expected = slow_alpha(np.concatenate([one.T for one in items]), "nominal")
    assert found.alpha_tokens.value == pytest.approx(expected, abs=1e-12)
    assert found.alpha_tokens.n_items == found.f1_tokens.n_items == 39
    assert found.n_tokens == sum(one.shape[1] for one in items) - items[1].shape[1]
    assert found.alpha_tokens.low is not None
    assert found.alpha_tokens.low < found.alpha_tokens.value


def test_marks_of_nobody_have_no_alpha_and_a_reason():
    nobody = span_agreement([np.zeros((2, 5))] * 3, FEW)
    assert (nobody.alpha_tokens.value, nobody.f1_tokens.value) == (None, 1.0)
    assert "Every token is marked by all raters, or none by any." in nobody.alpha_tokens.reason
    alone = span_agreement([np.ones((1, 5))], FEW)
    assert (alone.alpha_tokens.value, alone.f1_tokens.value) == (None, None)
    assert alone.alpha_tokens.reason == "No item has marks of two raters."
