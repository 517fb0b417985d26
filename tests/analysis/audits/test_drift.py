"""Drift: alarms at their nominal rate on equal data, and where the data changed; what changed is named."""

import numpy as np
import pytest

from analysis.audits.config import DriftConfig
from analysis.audits.drift import divisions, documents, drift, missing, standard_scores
from analysis.audits.features import Pooled
from hooks.hook_points import HookPoint
from sae.errors import UserError

POINT = HookPoint(1, "hook_resid_post")
CFG = DriftConfig(n_permutations=199, n_pairs=20)


def pool(rng: np.random.Generator, n: int = 120, d: int = 30) -> Pooled:
    """Features of documents: half rare, half common."""
    fires = rng.random((n, d)) < np.linspace(0.05, 0.7, d)
    share = (fires * rng.random((n, d)) * 0.2).astype(np.float32)
    return Pooled(share * 9, share, share, rng.random(n), np.ones(n) * 4, np.full(n, 50.0))


def audit(found: Pooled, n_reference: int = 70, patients: list[str] | None = None, cfg: DriftConfig = CFG):
    names = patients or [str(i) for i in range(len(found.error))]
    return drift(documents({POINT: found}, cfg), names, n_reference, cfg)


def test_equal_data_raise_an_alarm_as_often_as_they_may():
    rng = np.random.default_rng(0)
    cfg = DriftConfig(n_permutations=99, n_pairs=10)
    alarms = [audit(pool(rng, 60, 12), 35, cfg=cfg.model_copy(update={"seed": i})).is_alarm for i in range(300)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.038)  # three deviations


def test_a_feature_that_fires_more_often_is_found_and_named():
    found = pool(np.random.default_rng(1))
    found.share[70:, 20] += 0.2
    found.largest[70:, 20] += 1
    result = audit(found)
    assert result.is_alarm
    assert (result.shifted[0].hook_point, result.shifted[0].feature) == (str(POINT), 20)
    assert result.shifted[0].after > result.shifted[0].before


def test_a_feature_that_fires_as_often_but_stronger_is_found():
    found = pool(np.random.default_rng(6))
    found.largest[70:, 28] += 2 * (found.largest[70:, 28] > 0)
    result = audit(found)
    assert result.is_alarm
    assert min(result.signs, key=lambda sign: result.signs[sign]["p"]) == "strength"


def test_dead_and_novel_features_are_named():
    found = pool(np.random.default_rng(2))
    for values in (found.share, found.largest, found.last):
        values[70:, 25] = 0
        values[:70, 28] = 0
    result = audit(found)
    assert result.dead == [f"{POINT}/25"]
    assert result.novel == [f"{POINT}/28"]
    assert result.is_alarm


def test_worse_reconstruction_alone_is_an_alarm():
    found = pool(np.random.default_rng(3))
    found.error[70:] += 1.0
    result = audit(found)
    assert result.is_alarm
    assert min(result.signs, key=lambda sign: result.signs[sign]["p"]) == "reconstruction"


def test_features_that_begin_to_fire_together_are_found_though_their_rates_stay():
    rng = np.random.default_rng(4)
    a, b = rng.random((400, 1)) < 0.5, rng.random((400, 1)) < 0.5
    b[200:] = a[200:]
    fires = np.concatenate([a, b], 1)
    share = (fires * 0.1).astype(np.float32)
    found = Pooled(share, share, share, np.ones(400) + 0.01 * rng.random(400), np.ones(400), np.full(400, 9.0))
    result = audit(found, 200)
    assert result.signs["coactivation"]["p"] == pytest.approx(1 / 200)
    assert result.is_alarm


def test_whole_patients_change_sides():
    patients = ["a", "a", "b", "c", "d", "d", "e", "f"]
    for row in divisions(patients, 4, 50, 0):
        assert row.sum() == 4
        assert row[0] == row[1]
        assert row[4] == row[5]


def test_a_patient_on_both_sides_is_an_error():
    with pytest.raises(UserError, match="1 patients have documents in both"):
        divisions(["a", "b", "b", "c"], 2, 5, 0)


def test_too_few_patients_are_an_error():
    with pytest.raises(UserError, match="The new data has 4 patients, expected at least 20"):
        audit(pool(np.random.default_rng(0), 64), 60)


def test_scores_of_a_division_are_those_of_a_plain_formula():
    rng = np.random.default_rng(5)
    x, is_new = rng.random((20, 3)), np.arange(20) >= 12
    plain = (x[12:].mean(0) - x[:12].mean(0)) / (x.std(0) * np.sqrt(1 / 8 + 1 / 12))
    assert standard_scores(x, is_new[None])[0] == pytest.approx(plain, rel=1e-4)


def test_the_surprise_of_a_missing_feature_grows_with_how_often_it_is_expected():
    fires = np.zeros((10, 2))
    fires[:2, 0], fires[:5, 1] = 1, 1
    gone, novel = missing(fires, np.arange(10)[None] >= 5)
    assert gone[0] == pytest.approx(7 * np.log(2))
    assert novel[0] == 0
