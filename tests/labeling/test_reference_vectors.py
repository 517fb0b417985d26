"""Published tables with known results, to the digits they are known to: `raters/vectors.json` of the materials."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.agreement import agreement
from labeling.alpha import alpha, matrix_alpha
from labeling.bootstrap import BootstrapConfig
from labeling.cohen import cohen, kappa
from labeling.fleiss import fleiss
from labeling.gwet import analytic, coefficient, conger
from labeling.label_sets import label_sets, masi_distance, set_agreement
from labeling.scale import Weighting, categories, counts_of, weights_of

FEW = BootstrapConfig(n_bootstraps=100)
KINDS = {"gwet": "ac", "fleiss": "pi", "bp": "brennan_prediger", "conger": "conger", "krippendorff": "alpha"}
WEIGHTS: dict[str, Weighting] = {
    "identity": "identity", "linear": "linear", "quadratic": "quadratic", "ordinal": "gwet_ordinal",
}  # fmt: skip


@pytest.fixture
def vectors(materials: Path) -> dict[str, Any]:
    path = materials / "raters" / "vectors.json"
    if not path.is_file():
        pytest.skip("no raters/vectors.json in ../shared/materials")
    return json.loads(path.read_text(encoding="utf-8"))


def table_of(rows: list[list[float | None]]) -> np.ndarray:
    return np.asarray([[np.nan if cell is None else cell for cell in row] for row in rows], float)


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-6)


def test_krippendorffs_own_examples_on_every_level(vectors: dict[str, Any]):
    names = [name for name, one in vectors.items() if isinstance(one, dict) and "raters_x_items" in one]
    assert len(names) == 4
    for name in names:
        ratings = table_of(vectors[name]["raters_x_items"]).T
        levels = np.unique(ratings[~np.isnan(ratings)])
        for level, expected in vectors[name]["alpha"].items():
            assert alpha(counts_of(ratings, levels), levels, level).value == close(expected)


@pytest.mark.parametrize("name", ["gwet_4raters_12x4", "fleiss1971_30x6"])
def test_gwets_coefficients_standard_errors_and_intervals(vectors: dict[str, Any], name: str):
    ratings, levels = table_of(vectors[name]["items_x_raters"]), np.asarray(vectors[name]["categories"])
    counts = counts_of(ratings, levels)
    n_checked = 0
    for weighting, of_kind in vectors[name]["cac"].items():
        weights = weights_of(levels, WEIGHTS[weighting])
        for key, expected in of_kind.items():
            kind: Any = KINDS[key]
            found = analytic(kind, ratings, levels, weights)
            assert list(found) == close([expected["value"], expected["se"], *expected["ci95"]])
            if kind == "conger":
                assert conger(ratings, levels, weights).value == close(expected["value"])
            elif kind == "alpha":
                assert matrix_alpha(counts, 1 - weights).value == close(expected["value"])
            else:
                assert coefficient(kind, counts, weights).value == close(expected["value"])
            n_checked += 1
    assert n_checked == 20


def test_fleiss_table_of_1971(vectors: dict[str, Any]):
    one = vectors["fleiss1971_30x6"]
    found = fleiss(counts_of(table_of(one["items_x_raters"]), np.asarray(one["categories"])))
    assert found is not None
    assert found.overall.value == close(one["kappa"])
    assert found.overall.z == pytest.approx(one["z_H0"], abs=5e-4)
    assert [each.value for each in found.by_category] == pytest.approx(one["per_category_kappa"], abs=5e-4)


def test_two_by_two_tables_of_the_paradox(vectors: dict[str, Any]):
    names = [name for name, one in vectors.items() if isinstance(one, dict) and "table" in one]
    assert len(names) == 4
    for name in names:
        one = vectors[name]
        table = np.asarray(one["table"])
        q = len(table)
        pairs = np.asarray([(i, j) for i in range(q) for j in range(q) for _ in range(table[i, j])], float)
        found = agreement(pairs, categories(q), FEW)
        keys = {"po": "percent_agreement", "cohen": "cohen_kappa", "scott": "fleiss_pi", "ac1": "ac1"}
        keys["brennan_prediger"] = "brennan_prediger"
        for key, label in keys.items():
            assert found.coefficients[label].value == close(one[key])
        if "p_pos" in one:
            specific = [each.specific_agreement.value for each in found.categories]
            assert specific == close([one["p_pos"], one["p_neg"]])


def rated_by(rows: list[list[int]], rater: int, sitting: int) -> np.ndarray:
    return np.asarray([label - 1 for _, who, when, label in rows if (who, when) == (rater, sitting)], float)


def test_an_anaesthetist_three_times(vectors: dict[str, Any]):
    one = vectors["dawid_skene_1979"]
    rows, expected = one["rows_task_worker_rep_label"], one["rater1_test_retest"]
    sittings = np.column_stack([rated_by(rows, 1, when) for when in range(3)])
    levels = np.arange(4.0)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for weighting, key in (("identity", "cohen_kappa"), ("quadratic", "quadratic_kappa")):
        weights = weights_of(levels, weighting)
        found = [cohen(sittings[:, a], sittings[:, b], levels, weights).value for a, b in pairs]
        assert found == close(expected[key])
    same = [(sittings[:, a] == sittings[:, b]).mean() for a, b in pairs]
    assert same == close(expected["percent_agreement_pairs_12_13_23"])
    counts = counts_of(sittings, levels)
    assert alpha(counts, levels, "nominal").value == close(expected["alpha_nominal_3_sessions"])
    assert alpha(counts, levels, "ordinal").value == close(expected["alpha_ordinal_3_sessions"])


def test_five_anaesthetists_once(vectors: dict[str, Any]):
    one = vectors["dawid_skene_1979"]
    ratings = np.column_stack([rated_by(one["rows_task_worker_rep_label"], who, 0) for who in range(1, 6)])
    expected = one["five_raters_first_session"]
    found = agreement(ratings, categories(4, "ordinal"), FEW).coefficients
    assert found["alpha_ordinal"].value == close(expected["alpha"]["ordinal"])
    assert found["alpha_nominal"].value == close(expected["alpha"]["nominal"])
    levels = np.arange(4.0)
    assert alpha(counts_of(ratings, levels), levels, "interval").value == close(expected["alpha"]["interval"])
    names = {"fleiss": "fleiss_pi", "bp": "brennan_prediger", "conger": "conger_kappa"}
    for weighting, suffix, ac in (("identity", "", "ac1"), ("quadratic", "_quadratic", "ac2")):
        of_kind = expected[weighting]
        assert found[ac + suffix].value == close(of_kind[ac])
        for key, name in names.items():
            assert found[name + suffix].value == close(of_kind[key])
    assert found["percent_agreement"].value == close(expected["identity"]["pa"])


def test_sets_of_labels(vectors: dict[str, Any]):
    one = vectors["multi_label_30x3"]
    answers = [
        [None if given is None else {str(x) for x in given} for given in row] for row in one["items_raters_sets"]
    ]
    labels = sorted({label for row in answers for given in row if given for label in given})
    found = set_agreement(label_sets(answers, labels), FEW).coefficients
    assert found["alpha_masi"].value == close(one["alpha_masi"])
    assert found["alpha_jaccard"].value == close(one["alpha_jaccard"])
    assert masi_distance("12", "1234") == close(one["distances"]["masi({1,2},{1,2,3,4})"])


def test_edge_cases(vectors: dict[str, Any]):
    one = vectors["edge_cases"]
    unused = one["ac1_unused_categories"]
    for q in (2, 3, 5):
        found = agreement(table_of(unused["items"]), categories(q), FEW).coefficients
        assert found["ac1"].value == pytest.approx(unused[f"q{q}"], abs=5e-6)  # five digits there
        assert found["alpha_nominal"].value == close(unused["alpha_nominal_any_q"])
    strings = one["ordinal_strings"]
    order = ["low", "mid", "high"]
    ratings = np.asarray([[order.index(x) for x in pair] for pair in strings["pairs"]], float)
    found = agreement(ratings, categories(order, "ordinal"), FEW).coefficients
    assert found["cohen_kappa_quadratic"].value == close(strings["true_quadratic_cohen"])
    assert found["ac2_quadratic"].value == pytest.approx(strings["true_ac2_quadratic"], abs=5e-6)  # five digits there


def test_the_kappa_of_sas_manual(vectors: dict[str, Any]):
    table = np.asarray(vectors["sas_cohen_3x3"]["table"], float)
    assert float(kappa(table, np.eye(3))) == close(vectors["sas_cohen_3x3"]["cohen"])
