"""Sets of labels: distances by hand, the empty set, single labels, parents."""

import numpy as np
import pytest

from labeling.agreement import agreement
from labeling.bootstrap import BootstrapConfig
from labeling.label_sets import at_parents, jaccard_and_overlap, label_sets, masi_distance, set_agreement
from labeling.scale import categories
from sae.errors import UserError

FEW = BootstrapConfig(n_bootstraps=200)
LABELS = ("infarction", "angina", "pneumonia")


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("12", "1234", 2 / 3),  # a subset: 1 − ½ · ⅔; older NLTK printed .665, having rounded ⅔ to .67
        ("12", "23", 1 - 1 / 3 * 1 / 3),
        ("12", "12", 0.0),
        ("12", "34", 1.0),
        ("", "", 0.0),  # NLTK 3.10 divides by zero
        ("", "1", 1.0),
    ],
)
def test_masi_by_hand(first: str, second: str, distance: float):
    assert masi_distance(first, second) == pytest.approx(distance)
    assert masi_distance(second, first) == pytest.approx(distance)


def test_distances_equal_nltk():
    metrics = pytest.importorskip("nltk.metrics.distance")
    kinds = np.asarray([[i >> k & 1 for k in range(4)] for i in range(1, 16)], bool)
    sets = [frozenset(np.flatnonzero(kind)) for kind in kinds]
    jaccard, factor = jaccard_and_overlap(kinds)
    for a, first in enumerate(sets):
        for b, second in enumerate(sets):
            assert 1 - jaccard[a, b] == pytest.approx(metrics.jaccard_distance(first, second))
            assert 1 - jaccard[a, b] * factor[a, b] == pytest.approx(metrics.masi_distance(first, second), abs=1e-9)


def random_answers(n: int, seed: int) -> list[list[set[str] | None]]:
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 1, 3)) < [0.5, 0.3, 0.2]
    given = np.where(rng.random((n, 3, 3)) < 0.8, truth, rng.random((n, 3, 3)) < 0.3)
    seen = rng.random((n, 3)) > 0.1
    return [
        [{label for label, has in zip(LABELS, row, strict=True) if has} if seen[i, j] else None for j, row in enumerate(one)]
        for i, one in enumerate(given)
    ]  # fmt: skip


def test_a_label_is_a_yes_or_no_of_its_own():
    answers = random_answers(80, 0)
    found = set_agreement(label_sets(answers, LABELS), FEW)
    for label, one in zip(LABELS, found.labels, strict=True):
        ratings = np.asarray([[np.nan if given is None else label in given for given in row] for row in answers], float)
        alone = agreement(ratings, categories(["no", "yes"]), FEW)
        assert one.alpha.value == pytest.approx(alone.coefficients["alpha_nominal"].value)
        assert one.ac1.value == pytest.approx(alone.coefficients["ac1"].value)
        assert one.positive_agreement.value == pytest.approx(alone.categories[1].specific_agreement.value)
        assert one.n_items == alone.categories[1].n_items
        assert one.prevalence.value == pytest.approx(alone.categories[1].prevalence.value)
    macro = np.mean([one.alpha.value for one in found.labels])
    assert found.coefficients["alpha_macro"].value == pytest.approx(macro)
    assert all(one.low is not None for one in found.coefficients.values())


def test_an_empty_set_is_an_answer_and_no_answer_is_none():
    answers = [[set(), set()], [{"angina"}, {"angina"}], [set(), {"angina"}], [None, set()]]
    found = set_agreement(label_sets(answers, LABELS), FEW)
    assert (found.n_items, found.n_ratings) == (4, 7)
    assert found.coefficients["percent_exact"].value == pytest.approx(2 / 3)
    assert found.coefficients["percent_exact"].n_items == 3
    missing = set_agreement(label_sets([[None, None], *answers[1:3]], LABELS), FEW)
    assert missing.coefficients["percent_exact"].value == pytest.approx(1 / 2)


def test_labels_nobody_gave_have_no_alpha_and_leave_the_macro_mean():
    found = set_agreement(label_sets(random_answers(60, 1), (*LABELS, "sepsis")), FEW)
    unused = found.labels[3]
    assert (unused.alpha.value, unused.ac1.value, unused.n_items) == (None, None, 0)
    assert "nothing to disagree on" in unused.alpha.reason
    rest = np.mean([one.alpha.value for one in found.labels[:3]])
    assert found.coefficients["alpha_macro"].value == pytest.approx(rest)


def test_labels_that_nobody_gave_move_no_figure_over_all_labels():
    answers = random_answers(60, 2)
    plain = set_agreement(label_sets(answers, LABELS), FEW).coefficients
    padded = set_agreement(label_sets(answers, (*LABELS, *(f"unused {n}" for n in range(20)))), FEW).coefficients
    for name in plain:
        for end in ("value", "low", "high"):
            assert getattr(padded[name], end) == pytest.approx(getattr(plain[name], end)), name


def test_a_label_that_everybody_gives_leaves_the_macro_mean_of_ac1():
    answers = [[None if one is None else {*one, "fever"} for one in row] for row in random_answers(60, 3)]
    with_it = set_agreement(label_sets(answers, (*LABELS, "fever")), FEW)
    assert with_it.labels[3].ac1.value is None
    rest = np.mean([one.ac1.value or 0.0 for one in with_it.labels[:3]])
    assert with_it.coefficients["ac1_macro"].value == pytest.approx(rest)


def test_raters_who_guess_have_no_micro_alpha_however_unlike_the_labels_prevalences_are():
    rng = np.random.default_rng(4)
    given = rng.random((400, 3, 3)) < [0.9, 0.5, 0.05]
    answers = [[{LABELS[k] for k in np.flatnonzero(one)} for one in row] for row in given]
    found = set_agreement(label_sets(answers, LABELS), FEW).coefficients
    for name in ("alpha_micro", "alpha_macro"):
        assert abs(found[name].value or 1) < 0.05, name


def test_micro_alpha_by_hand():
    """Two labels, two raters, three items: observed 2 of 6 pairs on the first; expected 2·3·3 and 2·2·4; n = 6."""
    answers = [[{"a"}, {"a"}], [{"a"}, set()], [{"b"}, {"b"}]]
    found = set_agreement(label_sets(answers, ("a", "b")), FEW).coefficients["alpha_micro"]
    assert found.value == pytest.approx(1 - 5 * 2 / (2 * 3 * 3 + 2 * 2 * 4))


def test_siblings_disagree_and_agree_on_their_parent():
    parents = {"infarction": "ischaemia", "angina": "ischaemia"}
    answers = [[{"infarction"}, {"angina"}], [{"angina"}, {"infarction"}], [{"pneumonia"}, {"pneumonia"}]] * 12
    sets = label_sets(answers, LABELS)
    assert at_parents(sets, parents).labels == ("ischaemia", "pneumonia")
    found = set_agreement(sets, FEW, parents).coefficients
    assert found["percent_exact"].value == pytest.approx(1 / 3)
    assert found["percent_exact_parents"].value == 1.0
    assert found["alpha_masi_parents"].value == 1.0
    assert found["alpha_masi"].value is not None
    assert found["alpha_masi"].value < 0.4


def test_the_same_set_everywhere_has_no_alpha():
    found = set_agreement(label_sets([[{"angina"}, {"angina"}]] * 40, LABELS), FEW).coefficients
    assert found["alpha_masi"].value is None
    assert "nothing to disagree on" in found["alpha_masi"].reason
    assert found["percent_exact"].value == 1.0


def test_a_label_that_the_codebook_does_not_name_is_refused():
    with pytest.raises(UserError, match="Item 1 holds 1 labels that the codebook does not name"):
        label_sets([[{"gout"}, None]], LABELS)
    with pytest.raises(UserError, match="0 answers of 2 raters"):
        set_agreement(label_sets([[None, None]], LABELS))
