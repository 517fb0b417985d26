"""Labels tested blindly, in the report: counted by hand, whole tasks resampled."""

from dataclasses import replace

import pytest

from labeling.bootstrap import BootstrapConfig
from labeling.judgement_table import FeatureRef, Gold, JudgementRow, JudgementTable
from labeling.report.config import ReportConfig
from labeling.report.findings import findings
from labeling.report.page import page
from labeling.report.study import Study
from labeling.report.validity import validity
from tests.labeling.report.panel import codebook, table

CFG = BootstrapConfig(n_bootstraps=200)
TRUTH = [True, True, False, False]


def marked(item: str, rater: str, fires: list[bool], revision: int = 1, is_withdrawn: bool = False) -> JudgementRow:
    """What a rater said of a task."""
    return JudgementRow(
        judgement_id=f"{item}{rater}{revision}", item_id=item, feature=FeatureRef("blocks.1.hook_resid_post", "topk", 7),
        stratum="detection", round_n=2, round_kind="detection", codebook_n=1, rater_id=rater, pseudonym=rater, institution="",
        answers={"fires": fires}, submitted_at="2026-09-01T08:00:00.000000Z", revision=revision, is_withdrawn=is_withdrawn,
    )  # fmt: skip


def table_of(*rows: JudgementRow) -> JudgementTable:
    golds = tuple(Gold(item, {"fires": TRUTH}) for item in ("a", "b"))
    return JudgementTable("Hearts", rows, {1: codebook()}, golds=golds)


def test_marks_are_counted_beside_the_truth():
    done = validity(
        table_of(
            marked("a", "x", [True, False, False, False]),  # finds one of two, passes both silent ones
            marked("a", "y", [True, True, True, False]),  # finds both, passes one
            marked("b", "x", [True, True, False, False]),
        ),
        CFG,
    )
    assert done is not None
    assert (done["n_tasks"], done["n_raters"], done["n_answers"]) == (2, 2, 3)
    first, second = done["labels"]
    assert (first["sensitivity"], first["specificity"], first["n_raters"], first["n_contexts"]) == (0.75, 0.75, 2, 4)
    assert first["low"] < first["balanced_accuracy"] == 0.75 < first["high"]
    assert second["balanced_accuracy"] == 1
    pooled = done["pooled"]
    assert pooled["sensitivity"]["value"] == pytest.approx(5 / 6)
    assert pooled["balanced_accuracy"]["value"] == pytest.approx(5 / 6)
    assert pooled["balanced_accuracy"]["low"] >= 0.75 - 1e-12  # a resample of tasks is between the worse and the better


def test_the_last_answer_counts_and_a_withdrawn_one_does_not():
    wrong, right = [False, False, True, True], TRUTH
    done = validity(
        table_of(
            marked("a", "x", wrong),
            marked("a", "x", right, revision=2),
            marked("b", "y", wrong, is_withdrawn=True),
        ),
        CFG,
    )
    assert done is not None
    assert [one["balanced_accuracy"] for one in done["labels"]] == [1]


def test_without_a_tested_label_there_is_none():
    assert validity(table_of(), CFG) is None


def test_the_report_shows_the_tests_and_says_where_there_are_none():
    some = table()
    without = findings(some, ReportConfig(n_bootstraps=50), Study(), "test")
    assert "No label was given alone" in page(without)
    extra = (marked("a", "R-00", TRUTH), marked("a", "R-01", [True, False, False, True]))
    beside = replace(some, rows=(*some.rows, *extra), golds=(*some.golds, Gold("a", {"fires": TRUTH})))
    report = findings(beside, ReportConfig(n_bootstraps=50), Study(), "test")
    assert report["validity"]["labels"][0]["balanced_accuracy"] == 0.75
    assert "Labels tested blindly" in page(report)
    assert "1 label were tested" not in report["methods"]
    assert report["fields"] == without["fields"]
