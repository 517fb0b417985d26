"""Absorption worked by hand, beside a slow reading of the definition, and on planted dictionaries."""

import numpy as np
import pytest

from analysis.feature_quality.absorption import absorbed, absorption, fractions
from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import patients_of
from analysis.feature_quality.probes import dense_probes
from analysis.feature_quality.splitting import Parts, parts_of
from tests.analysis.feature_quality.worlds import absorbing, one_feature_each

CFG = QualityConfig(n_bootstraps=50)
DECODER = np.asarray([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
P = np.asarray([2.0, 0.0])


def test_fractions_worked_by_hand():
    projection = np.asarray([1.0, 1.0, 1.0, 1.0, -1.0])
    main = np.asarray([1.0, 0.5, 0.0, 0.5, -2.0])
    taken = np.asarray([0.9, 0.8, 0.6, 0.3, 0.9])
    # main suffices; min(.8, .5) / (.5 + .5); nothing of its own; the absorber is too weak; the probe says no
    assert fractions(projection, main, taken, CFG) == pytest.approx([0, 0.5, 1, 0, 0])


def test_a_mention_is_fully_absorbed_where_only_another_aligned_feature_fires():
    features = np.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.1, 1.0, 0.0]])
    found = absorbed(features, features @ DECODER, DECODER, P, np.asarray([0]), CFG)
    assert found.is_full.tolist() == [
        False,
        True,
        False,
        False,
    ]  # the third is across the probe; in the last the part fires
    assert found.fraction == pytest.approx([0, 1, 0, 0.6 / 0.7])
    assert found.absorber.tolist() == [-1, 1, -1, 1]


def test_fractions_are_those_of_the_definition_read_slowly():
    rng = np.random.default_rng(1)
    decoder, p = rng.normal(size=(12, 5)), rng.normal(size=5)
    features, x = np.maximum(rng.normal(size=(200, 12)), 0), rng.normal(size=(200, 5)) * 2
    parts = np.asarray([3, 7])
    found = absorbed(features, x, decoder, p, parts, CFG).fraction
    p = p / np.linalg.norm(p)
    for row in range(200):
        gains = {i: features[row, i] * float(decoder[i] @ p) for i in range(12)}
        main, projection = gains[3] + gains[7], float(x[row] @ p)
        able = [
            gains[i] for i in range(12)
            if i not in (3, 7) and gains[i] > 0 and decoder[i] @ p / np.linalg.norm(decoder[i]) >= 0.1
        ]  # fmt: skip
        taken = sum(sorted(able, reverse=True)[:3])
        if projection <= 0 or main >= projection or taken / projection < 0.4:
            expected = 0.0
        elif main <= 0:
            expected = 1.0
        else:
            rest = min(taken, projection - main)
            expected = rest / (rest + main)
        assert found[row] == pytest.approx(expected)
    assert 0.1 < (found > 0).mean() < 0.9


def test_planted_absorption_is_found_and_its_absorber_named():
    material, is_foot = absorbing()
    names = ["cough", "diabetes", "fever"]
    probes, patients = dense_probes(material, names, CFG), patients_of(material, CFG)
    parts = [Parts(np.asarray([one]), []) for one in (2, 0, 1)]
    found = absorption(material, names, probes, parts, patients, CFG)["concepts"]
    share = is_foot[(material.label == "diabetes") & material.is_estimate].mean()
    assert found["diabetes"]["full"]["value"] == pytest.approx(share, abs=0.02)
    assert found["diabetes"]["absorbers"][0]["feature"] == 3
    assert found["fever"]["fraction"]["value"] == found["cough"]["fraction"]["value"] == 0
    assert found["diabetes"]["full"]["low"] <= share <= found["diabetes"]["full"]["high"]


def test_nothing_is_absorbed_where_each_concept_has_its_feature():
    material = one_feature_each()
    names = ["cough", "diabetes", "fever"]
    parts = [parts_of(material, is_positive, CFG) for is_positive in material.is_positive(names)]
    found = absorption(material, names, dense_probes(material, names, CFG), parts, patients_of(material, CFG), CFG)
    assert found["fraction"] == {"value": 0, "low": 0, "high": 0}


def test_the_estimating_half_chooses_nothing():
    material, _ = absorbing()
    names = ["diabetes", "fever"]
    before = dense_probes(material, names, CFG)
    material.dense[material.is_estimate] = 7.0
    after = dense_probes(material, names, CFG)
    assert all(np.array_equal(a.direction, b.direction) for a, b in zip(before, after, strict=True))
