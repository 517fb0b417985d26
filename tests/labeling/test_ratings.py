"""Judgements in long form: what is refused, and what is counted."""

import numpy as np
import pytest

from labeling.ratings import Ratings
from labeling.votes import entropy, smoothed_share, vote_share, winner
from sae.errors import UserError


def of(*rows: tuple[float, float, float]) -> Ratings:
    item, rater, label = np.asarray(rows).T
    return Ratings(item, rater, label, 3, 2, 3)


def test_answers_are_counted_by_item_and_rater():
    found = of((0, 0, 1), (0, 1, 1), (0, 1, 2), (2, 0, 0))
    assert found.counts().tolist() == [[0, 2, 1], [0, 0, 0], [1, 0, 0]]
    assert found.n_judgements().tolist() == [3, 0, 1]
    assert found.n_by_rater().tolist() == [2, 2]
    table = found.answers
    assert isinstance(table, np.ndarray)
    assert table.tolist() == [[0, 1, 0, 0, 1, 1], [0] * 6, [1, 0, 0, 0, 0, 0]]


def test_shares_of_votes_are_equal_where_nobody_judged():
    found = of((0, 0, 1), (0, 1, 1), (0, 1, 2), (2, 0, 0))
    assert vote_share(found)[0] == pytest.approx([0, 2 / 3, 1 / 3])
    assert vote_share(found)[1] == pytest.approx([1 / 3] * 3)
    assert smoothed_share(found, 3.0)[2] == pytest.approx([0.5, 0.25, 0.25])


def test_a_tie_has_no_winner_and_entropy_counts_bits():
    assert winner(np.asarray([[0.5, 0.5, 0], [0.4, 0.6, 0]])).tolist() == [-1, 1]
    assert entropy(np.asarray([[0.5, 0.5, 0], [0, 1, 0]])) == pytest.approx([1, 0])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((0, 0, 3), "column 'label' of the judgements runs from 3 to 3, expected 0 to 2"),
        ((-1, 0, 0), "column 'item' of the judgements runs from -1 to -1, expected 0 to 2"),
        ((0, 0.5, 0), "column 'rater' of the judgements holds numbers that are not whole"),
        ((0, 0, np.nan), "column 'label' of the judgements holds numbers that are not whole"),
    ],
)
def test_what_is_no_rank_of_the_panel_or_the_codebook_is_refused(row: tuple[float, float, float], words: str):
    with pytest.raises(UserError, match=words):
        of(row)


def test_columns_of_different_lengths_and_codebooks_of_one_answer_are_refused():
    with pytest.raises(UserError, match=r"have \[1, 2\] rows"):
        Ratings(np.zeros(2), np.zeros(1), np.zeros(1), 1, 1, 2)
    with pytest.raises(UserError, match="codebook has 1 categories"):
        Ratings(np.zeros(1), np.zeros(1), np.zeros(1), 1, 1, 1)
