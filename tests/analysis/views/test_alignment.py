"""Tokenisations on common units, and the differential matrix on them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.views.alignment import Span, Unit, aligned, output_spans
from analysis.views.difference import difference, on_units


def cut(text: str, *ends: int) -> list[Span]:
    """Spans that end at some characters."""
    return list(zip([0, *ends], [*ends, len(text)], strict=True))


def test_units_are_as_fine_as_both_allow() -> None:
    text = "heart failure"
    units = aligned(text, cut(text, 5), text, cut(text, 3, 5, 9))
    assert units == [Unit((0,), (0, 1), False), Unit((1,), (2, 3), False)]


def test_special_tokens_are_in_no_unit() -> None:
    units = aligned("ab", [(-1, -1), (0, 2)], "ab", [(0, 1), (1, 2), (-1, -1)])
    assert units == [Unit((1,), (0, 1), False)]


def test_a_replaced_word_stands_beside_its_replacement() -> None:
    left, right = "no fever today", "no chest pain today"
    units = aligned(left, cut(left, 2, 8), right, cut(right, 2, 8, 13))
    assert units == [Unit((0,), (0,), False), Unit((1,), (1, 2), True), Unit((2,), (3,), False)]


def test_what_one_side_alone_has_stands_alone() -> None:
    units = aligned("a b", [(0, 1), (1, 3)], "a x b", [(0, 1), (1, 3), (3, 5)])
    assert next((unit.left, unit.right) for unit in units if not unit.is_changed) == ((0,), (0,))
    assert sorted(i for unit in units for i in unit.right) == [0, 1, 2]
    assert aligned("", [], "ab", [(0, 2)]) == [Unit((), (0,), True)]
    assert aligned("", [], "", []) == []


def test_bytes_of_one_character_hang_together() -> None:
    units = aligned("é!", [(0, 1), (0, 1), (1, 2)], "é!", [(0, 1), (1, 2)])
    assert units == [Unit((0, 1), (0,), False), Unit((2,), (1,), False)]


WORDS = st.lists(st.sampled_from(["no", " fever", " of", " 38", ".", "é", "\n"]), max_size=8)


@given(WORDS, WORDS, st.randoms())
def test_every_token_is_in_exactly_one_unit_and_sums_stay(left: list[str], right: list[str], random: object) -> None:
    one, other = output_spans(left), output_spans(right)
    units = aligned(*one, *other)
    assert sorted(i for unit in units for i in unit.left) == list(range(len(left)))
    assert sorted(i for unit in units for i in unit.right) == list(range(len(right)))
    firsts = [unit.left[0] for unit in units if unit.left]
    assert firsts == sorted(firsts)
    if left == right:
        assert not any(unit.is_changed for unit in units)
    values = np.arange(len(left), dtype=float)[:, None]
    summed = on_units(values, [unit.left for unit in units], [[0]])
    assert np.nansum(summed) == values.sum()


def test_the_difference_of_equal_tokens_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    rows = aligned("a b c", cut("a b c", 1, 3), "a b c", cut("a b c", 1, 3))
    columns = aligned(*output_spans(["x", "y"]), *output_spans(["x", "y"]))
    np.testing.assert_allclose(difference(left, right, rows, columns), left - right)
    np.testing.assert_allclose(difference(left, right, rows, columns), -difference(right, left, rows, columns))


def test_a_cell_that_one_side_does_not_have_is_no_number() -> None:
    found = difference(
        np.ones((2, 1)), np.ones((1, 1)), [Unit((0,), (0,), False), Unit((1,), (), True)], [Unit((0,), (0,), False)]
    )
    assert found[0, 0] == 0
    assert np.isnan(found[1, 0])
    assert on_units(np.ones((2, 1)), [], [[0]]).shape == (0, 1)
