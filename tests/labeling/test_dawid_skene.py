"""Dawid and Skene's own patients: 45 of them, five anaesthetists, the first of whom judged each three times."""

import csv
from pathlib import Path

import numpy as np
import pytest

from labeling.dawid_skene import dawid_skene
from labeling.ratings import Ratings
from labeling.votes import vote_share

TABLE = Path(__file__).parent / "data" / "dawid_skene_1979.csv"


@pytest.fixture(scope="module")
def patients() -> Ratings:
    """Table 1 of Dawid and Skene 1979, Appl. Stat. 28:20–28."""
    with TABLE.open(encoding="utf-8") as file:
        rows = np.asarray([[int(row[name]) - 1 for name in ("item", "rater", "label")] for row in csv.DictReader(file)])
    return Ratings(rows[:, 0], rows[:, 1], rows[:, 2], 45, 5, 4)


def test_likelihood_rises_from_that_of_the_vote_shares_to_the_published_maximum(patients: Ratings):
    found = dawid_skene(patients)
    assert len(patients) == 315
    assert found.objectives[0] == pytest.approx(-205.091138, abs=1e-6)
    assert found.log_likelihood == pytest.approx(-192.890881, abs=1e-6)
    assert min(np.diff(found.objectives)) >= 0


def test_class_shares_and_posteriors_are_the_published_ones(patients: Ratings):
    found = dawid_skene(patients)
    assert found.classes == pytest.approx([0.3996, 0.4220, 0.1118, 0.0667], abs=5e-5)
    doubtful = {
        7: (0.981, 0.019, 0, 0),
        30: (0.9991, 0.0009, 0, 0),
        35: (0, 0.948, 0.052, 0),
        38: (0, 0.0212, 0.9788, 0),
    }
    for patient, expected in doubtful.items():
        assert found.posterior[patient - 1] == pytest.approx(expected, abs=5e-4)
    others = np.delete(found.posterior, [patient - 1 for patient in doubtful], axis=0)
    assert others.max(axis=1).min() > 0.999


def test_three_patients_get_another_class_than_most_judgements_say(patients: Ratings):
    share, found = vote_share(patients), dawid_skene(patients).posterior
    moved = {
        int(i) + 1: (int(share[i].argmax()) + 1, int(found[i].argmax()) + 1)
        for i in range(45)
        if share[i].argmax() != found[i].argmax()
    }
    assert {2: (3, 4), 12: (2, 3), 36: (3, 4)}.items() <= moved.items()


def test_the_first_anaesthetists_error_rates_are_the_published_ones(patients: Ratings):
    rates = dawid_skene(patients).confusion[0]
    assert rates[:3] == pytest.approx(
        np.asarray([[0.889, 0.111, 0, 0], [0.071, 0.876, 0.053, 0], [0, 0.339, 0.661, 0]]), abs=5e-4
    )
