"""One gradient, by hand."""

import numpy as np

from analysis.attribution.build import attribute
from analysis.attribution.config import GradientInputConfig, GradientNormConfig
from tests.analysis.attribution.worlds import gradient_by_hand, linear_problem


def test_length_and_product_are_those_of_the_linear_models_gradient():
    found = linear_problem()
    expected = gradient_by_hand(found.case, found.lm.model, found.target.token_ids[0])  # type: ignore[arg-type, union-attr]
    norm = attribute(found, GradientNormConfig())
    np.testing.assert_allclose(norm.raw[1:, 0], expected.norm(dim=-1)[1:].numpy(), rtol=1e-5)
    assert norm.raw[0, 0] == 0
    assert (norm.n_forwards, norm.n_backwards) == (1, 1)
    product = attribute(found, GradientInputConfig())
    np.testing.assert_allclose(product.raw[1:, 0], (expected * found.embeds).sum(-1)[1:].numpy(), rtol=1e-4, atol=1e-5)
