"""The clinic's notes as cases: evidence, contrast, and the finding that alone tells two twins apart."""

from clinlens.clinic.known import cases, changed_clause, first_difference


def test_a_case_and_its_twin_differ_in_the_first_piece_of_evidence_alone():
    found = list(cases(40, seed=5))
    assert len(found) == 40
    for one, other in zip(found[0::2], found[1::2], strict=True):
        assert (one.twin, other.twin) == (other.prompt, one.prompt)
        assert (one.answer, one.contrast) == (other.contrast, other.answer)
        for case in (one, other):
            start, end = changed_clause(case.prompt, str(case.twin))
            first, last = case.evidence[0]
            assert first <= end
            assert start <= last
            assert all(b <= case.scope[1] for _, b in case.evidence)


def test_what_two_texts_say_differently_is_found_by_hand():
    assert first_difference("temp 37", "temp 39") == 5 + 1
    assert changed_clause("a no rash b", "a rash b") == (2, 4)
    assert changed_clause("a rash b", "a no rash b") == (2, 3)
