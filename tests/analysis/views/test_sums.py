"""Sums, scales and combinations of matrices: formulas 4 to 7 and 9 to 11 of paper 003, against loops as the paper writes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analysis.views.combination import columns_as_shares, combined
from analysis.views.dimensions import over_dimensions
from analysis.views.importance import importance, shares
from analysis.views.intensity import intensity, signed_intensity
from analysis.views.reduction import reduced
from analysis.views.temporal import decay_weights, over_turns
from analysis.views.window import input_centred, largest_window, output_centred

HAND = np.array([[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]])
NUMBERS = st.integers(-(10**9), 10**9).map(lambda whole: whole / 1000)
MATRICES = arrays.arrays(float, st.tuples(st.integers(1, 7), st.integers(1, 6)), elements=NUMBERS)


def test_windows_by_hand() -> None:
    assert input_centred(HAND, 0).tolist() == [1.0, -2.0]
    assert input_centred(HAND, 0, 3).tolist() == [1.5, -2.0]  # cut at the edge
    assert input_centred(HAND, 1, 3).tolist() == [4.5, -1.0]
    assert input_centred(HAND, 1, 2).tolist() == input_centred(HAND, 1, 3).tolist()  # ⌊2/2⌋ = ⌊3/2⌋
    assert output_centred(HAND, 1, 1).tolist() == [-2.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="k=3"):
        input_centred(HAND, 3)


@given(MATRICES, st.integers(1, 9), st.data())
def test_windows_are_the_papers_sums(matrix: np.ndarray, c: int, data: st.DataObject) -> None:
    n, t = matrix.shape
    k = data.draw(st.integers(1, n))
    expected = [
        sum(matrix[i - 1, j - 1] for i in range(max(1, k - c // 2), min(n, k + c // 2) + 1)) for j in range(1, t + 1)
    ]
    np.testing.assert_allclose(input_centred(matrix, k - 1, c), expected, rtol=1e-12, atol=1e-6)
    np.testing.assert_array_equal(output_centred(matrix.T, k - 1, c), input_centred(matrix, k - 1, c))


@given(MATRICES)
def test_a_window_over_everything_is_the_importance(matrix: np.ndarray) -> None:
    n, t = matrix.shape
    found = importance(matrix)
    np.testing.assert_allclose(input_centred(matrix, n // 2, 2 * n), found.output, atol=1e-6)
    np.testing.assert_allclose(output_centred(matrix, t // 2, 2 * t), found.input, atol=1e-6)
    assert found.input.sum() == pytest.approx(found.output.sum(), abs=1e-5)


@pytest.mark.parametrize(("n", "t", "c"), [(512, 4, 2), (3, 3, 1), (5, 1, 1), (10, 10, 5)])
def test_the_bound_of_a_window_is_never_below_one(n: int, t: int, c: int) -> None:
    assert largest_window(n, t) == c


def test_intensity_by_hand() -> None:
    np.testing.assert_allclose(intensity(HAND), [[0.6, 0.0], [0.5, 0.4], [1.0, 0.6]])
    assert not intensity(np.full((2, 2), 7.0)).any()  # the paper divides by zero here
    np.testing.assert_allclose(signed_intensity(HAND), HAND / 3)
    assert intensity(np.array([-1.7e308, 1.7e308])).tolist() == [0.0, 1.0]
    assert intensity(np.array([0.0, 5e-324])).tolist() == [0.0, 1.0]


@given(MATRICES)
def test_intensities_keep_order_and_bounds(matrix: np.ndarray) -> None:
    found = intensity(matrix)
    assert found.min() >= 0
    assert found.max() <= 1
    order = np.argsort(matrix, axis=None)
    assert (np.diff(found.ravel()[order]) >= 0).all()
    signed = signed_intensity(matrix)
    assert (np.sign(signed) == np.sign(matrix)).all()
    assert np.abs(signed).max() <= 1


def test_dimensions_by_hand() -> None:
    scores = np.array([[[3.0, 4.0], [-1.0, 1.0]]])
    assert over_dimensions(scores, "l2")[0, 0] == 5
    assert over_dimensions(scores, "sum").tolist() == [[7.0, 0.0]]
    assert over_dimensions(scores, "mean").tolist() == [[3.5, 0.0]]


def test_methods_are_averaged_as_written_or_as_shares() -> None:
    other = 1000 * HAND[::-1]
    np.testing.assert_allclose(combined([HAND, other], "raw"), (HAND + other) / 2)
    found = combined([HAND, other])
    np.testing.assert_allclose(found, (columns_as_shares(HAND) + columns_as_shares(HAND[::-1])) / 2)
    with pytest.raises(ValueError, match="one shape"):
        combined([HAND, HAND.T])


@given(MATRICES, st.floats(1e-3, 1e3))
def test_a_methods_unit_does_not_count(matrix: np.ndarray, factor: float) -> None:
    np.testing.assert_allclose(combined([matrix * factor]), combined([matrix]), atol=1e-9)
    np.testing.assert_allclose(np.abs(columns_as_shares(matrix)).sum(axis=0), matrix.any(axis=0), atol=1e-9)
    assert np.abs(shares(matrix)).sum() == pytest.approx(float(matrix.any()))


def test_turns_are_weighed_and_what_was_not_there_counts_nothing() -> None:
    weights = decay_weights(3, 0.5)
    np.testing.assert_allclose(weights, [1 / 7, 2 / 7, 4 / 7])
    found = over_turns([np.ones((1, 1)), np.ones((2, 1)), np.ones((3, 2))], np.array([1.0, 10.0, 100.0]))
    assert found.tolist() == [[111.0, 100.0], [110.0, 100.0], [100.0, 100.0]]
    assert decay_weights(4, 0.0).tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(decay_weights(4, 1.0), 0.25)
    with pytest.raises(ValueError, match="decay=2"):
        decay_weights(2, 2)
    with pytest.raises(ValueError, match="as many of both"):
        over_turns([HAND], weights)


@given(MATRICES, st.integers(0, 3))
def test_a_reduced_cell_is_its_strongest(matrix: np.ndarray, level: int) -> None:
    found, step = reduced(matrix, level), 2**level
    for i, row in enumerate(found):
        for j, value in enumerate(row):
            piece = matrix[i * step : (i + 1) * step, j * step : (j + 1) * step]
            assert abs(value) == np.abs(piece).max()
            assert value in piece or value == 0
