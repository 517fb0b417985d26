"""Synthetic breast-cancer cases: the rule by hand, its evidence, and what stands in a statement's place."""

import collections

from clinlens.clinic.breast_cancer import STATEMENTS, TREATMENTS, WORDS, Patient, cases

SAID = {subject: some[0] for subject, some in STATEMENTS.items()}


def decided(**changes: str) -> tuple[str, tuple[str, ...]]:
    return Patient(SAID | changes).decision()


def test_the_rules_hold_in_their_order():
    assert decided(her2="HER2-positive", er="ER-negative") == ("trastuzumab", ("her2",))
    assert decided(er="ER-negative") == ("chemotherapy", ("er", "her2"))
    assert decided(nodes="node-positive", grade="grade-3")[0] == "chemotherapy"
    assert decided(nodes="node-positive", grade="grade-2") == ("tamoxifen", ("menopause", "er", "her2", "grade"))
    assert decided(menopause="postmenopausal")[0] == "letrozole"


def test_evidence_is_what_the_rule_looked_at_and_stands_in_the_scope():
    for one in cases(50, seed=0):
        words = {one.prompt[a:b] for a, b in one.evidence}
        assert all(a < one.scope[1] for a, _ in one.evidence)
        if one.answer == " trastuzumab":
            assert words == {"HER2-positive"}
        else:
            assert "HER2-negative" in words
        assert one.prompt.endswith("first treatment :")
        assert set(one.prompt.split()) <= set(WORDS)


def test_a_replacement_says_something_of_the_same_subject():
    for one in cases(20, seed=1):
        for donor in one.donors:
            for word, other in zip(one.prompt.split(), donor.split(), strict=True):
                same = [some for some in STATEMENTS.values() if word in some]
                assert other in same[0] if same else other == word


def test_every_treatment_is_given_and_cases_follow_from_their_seed():
    found = collections.Counter(one.answer.strip() for one in cases(400, seed=2))
    assert set(found) == set(TREATMENTS)
    assert min(found.values()) > 40
    assert list(cases(3, seed=2)) == list(cases(3, seed=2))
