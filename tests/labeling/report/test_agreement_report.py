"""The agreement report: the same bytes twice, all fifteen items of GRRAS, figures that are those of the statistics."""

import base64
import csv
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.codebook import Codebook
from labeling.judgement_table import FeatureRef, JudgementRow, JudgementTable
from labeling.ratings import Ratings
from labeling.report import grras
from labeling.report.config import ReportConfig
from labeling.report.findings import findings
from labeling.report.page import json_text, page
from labeling.report.study import Study, read_study
from labeling.report.tables import coefficient_name, in_words, minus
from sae.errors import UserError
from tests.labeling.panels import two_schools
from tests.labeling.report.panel import CATEGORIES, codebook, table

CFG = ReportConfig(n_bootstraps=100)


@pytest.fixture(scope="module")
def report() -> dict:
    return findings(table(), CFG, Study(), "ClinLens test")


def test_the_same_judgements_give_the_same_bytes(report: dict):
    again = findings(table(), CFG, Study(), "ClinLens test")
    assert json_text(again) == json_text(report)
    assert page(again) == page(report)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("active_ms", 9000),
        ("family", "twins"),
        ("sae_sha256", "b" * 64),
        ("stratum", "adaptive"),
        ("specialty", "none"),
    ],
)
def test_whatever_of_a_judgement_moves_a_figure_moves_the_digest(name: str, value: object):
    some = table(n_items=5)
    other = replace(some, rows=(replace(some.rows[0], **{name: value}), *some.rows[1:]))
    assert other.digest != some.digest


def test_how_long_the_evidence_is_moves_the_digest_and_evidence_that_nobody_judged_does_not():
    some = table(n_items=5)
    shown = some.rows[0].snapshot_sha256
    assert replace(some, context_tokens={}).digest != some.digest
    assert replace(some, context_tokens={**some.context_tokens, shown: (8, 9)}).digest != some.digest
    assert replace(some, context_tokens={**some.context_tokens, "f" * 64: (8, 8)}).digest == some.digest
    assert replace(some, context_tokens=dict(reversed(list(some.context_tokens.items())))).digest == some.digest


def test_the_methods_paragraph_names_every_way_in_which_an_interval_was_made(report: dict):
    assert re.search(r"\d+ BCa", report["methods"])
    assert "BCa intervals from" not in report["methods"]
    same = table()
    rows = tuple(
        replace(row, answers={**row.answers, "category": f"{CATEGORIES[int(row.item_id[1:6]) % 2]}"})
        for row in same.rows
    )
    found = findings(replace(same, rows=rows), CFG, Study(), "ClinLens test")
    assert "exact bounds by Clopper and Pearson, where all items say the same" in found["methods"]


def test_pooled_gold_and_repeats_count_items_and_not_answers(report: dict):
    gold = report["gold"][0]
    assert gold["pooled"]["accuracy"]["method"] == "BCa"
    assert gold["pooled"]["accuracy"]["n_items"] == gold["n_items"] == 12
    assert not gold["pooled"]["accuracy"]["is_reliable"]
    assert {one["accuracy"]["method"] for one in gold["raters"].values()} == {"Wilson"}
    assert report["retests"][0]["pooled"]["figures"]["ac1"]["n_items"] == 4
    assert "whole items are resampled" in page(report)


def test_the_codebook_gate_stands_beside_the_primary_fields_alpha(report: dict):
    field, *others = report["fields"]
    assert not any("gate" in one for one in others)
    assert field["gate"]["low"] == field["agreement"]["coefficients"]["alpha_nominal"]["low"]
    assert (field["gate"]["is_passed"], field["gate"]["target"]) == (False, 0.667)
    assert "Codebook gate, which wants a lower bound of α of 0.667: not passed." in page(report)
    assert "the codebook goes to discussion" in page(report)
    same = table()
    rows = tuple(
        replace(row, answers={**row.answers, "category": CATEGORIES[int(row.item_id[1:6]) % 2]}) for row in same.rows
    )
    assert findings(replace(same, rows=rows), CFG, Study(), "ClinLens test")["fields"][0]["gate"]["is_passed"]


def test_two_schools_are_reported_with_both_readings(report: dict):
    found = findings(of_ratings(two_schools(0)), CFG, Study(), "ClinLens test")
    split = found["consensus"]["schools"]
    assert split["is_split"]
    assert [one["raters"] for one in split["readings"]] in ([FIRST, SECOND], [SECOND, FIRST])
    assert len(split["differing"]) > 20
    assert {frozenset(one["schools"]) for one in split["differing"]} >= {frozenset(("Symptom", "Medication"))}
    assert "The panel has two schools (p = 0.025 against 39 panels simulated without schools)" in page(found)
    assert "Items on which the schools differ" in page(found)
    assert "both readings are reported" in found["methods"]
    assert json_text(findings(of_ratings(two_schools(0)), CFG, Study(), "ClinLens test")) == json_text(found)
    assert not report["consensus"]["schools"]["is_split"]
    assert "Two schools were looked for" in page(report)
    few = findings(table(n_raters=2), CFG, Study(), "ClinLens test")
    assert few["consensus"]["schools"] is None
    assert "too few to look for two schools" in page(few)


FIRST, SECOND = ["R-0", "R-1", "R-2"], ["R-3", "R-4", "R-5"]


def of_ratings(ratings: Ratings) -> JudgementTable:
    """Judgements on the primary field alone."""
    rows = [
        JudgementRow(
            f"{item}-{rater}", f"p{item:03}", FeatureRef("h", "s", int(item)), "irr_fixed", 1, "main", 1, f"u{rater}",
            f"R-{rater}", "North", {"category": CATEGORIES[label]}, "2026-01-01T00:00:00.000000Z",
        )
        for item, rater, label in zip(ratings.item, ratings.rater, ratings.label, strict=True)
    ]  # fmt: skip
    return JudgementTable("Schools", tuple(rows), {1: codebook()})


def test_another_seed_moves_intervals_and_no_value(report: dict):
    other = findings(table(), ReportConfig(n_bootstraps=100, seed=1), Study(), "ClinLens test")
    one, two = (found["fields"][0]["agreement"]["coefficients"]["alpha_nominal"] for found in (report, other))
    assert one["value"] == two["value"]
    assert one["low"] != two["low"]


def test_dawid_and_skenes_anaesthetists_have_their_published_figures():
    found = findings(anaesthetists(), CFG, Study(), "ClinLens test")["fields"][0]["agreement"]["coefficients"]
    assert found["alpha_ordinal"]["value"] == pytest.approx(0.8119, abs=5e-5)
    assert found["alpha_nominal"]["value"] == pytest.approx(0.5843, abs=5e-5)
    assert found["ac1"]["value"] == pytest.approx(0.6467, abs=5e-5)
    assert found["ac2_quadratic"]["value"] == pytest.approx(0.9038, abs=5e-5)


def anaesthetists() -> JudgementTable:
    """45 patients by 5 anaesthetists, first session. Source: Dawid and Skene 1979."""
    levels = [{"code": f"asa_{n}", "name": str(n)} for n in range(1, 5)]
    book = Codebook.model_validate(
        {
            "title": "ASA",
            "primary": "grade",
            "questions": [{"key": "grade", "kind": "scale", "name": "Grade", "categories": levels}],
        }
    )
    rows = []
    path = Path(__file__).parents[1] / "data" / "dawid_skene_1979.csv"
    for line in csv.DictReader(path.read_text().splitlines()):
        patient, rater, label = (int(line[name]) for name in ("item", "rater", "label"))
        if line["occasion"] != "1":
            continue
        rows.append(
            JudgementRow(
                f"{patient}-{rater}", f"p{patient:02}", FeatureRef("h", "s", patient), "irr_fixed", 1, "main", 1, f"u{rater}",
                f"R-{rater}", "North", {"grade": f"asa_{label}"}, "2026-01-01T00:00:00.000000Z",
            )
        )  # fmt: skip
    return JudgementTable("Anaesthetists", tuple(rows), {1: book})


def test_all_fifteen_items_of_the_guideline_are_answered_or_asked_for(report: dict):
    assert [one["number"] for one in report["grras"]] == list(range(1, 16))
    assert all(one["report"] or one["study"] or one["todo"] for one in report["grras"])
    open_items = {one["number"] for one in report["grras"] if one["status"] != "answered"}
    assert open_items == grras.NEEDS_PEOPLE
    words = Study(**{name: f"About {name}." for name in Study.model_fields})
    full = findings(table(), CFG, words, "ClinLens test")
    assert all(one["status"] == "answered" and not one["todo"] for one in full["grras"])
    assert all(f"About {item.study_field}." in page(full) for item in grras.ITEMS if item.study_field)
    anchors = {item.anchor for item in grras.ITEMS if item.anchor}
    assert all(f'id="{anchor}"' in page(full) for anchor in anchors)


def test_only_the_fixed_stratum_is_counted(report: dict):
    flow = report["flow"]
    assert flow["n_counted"] + sum(one["n"] for one in flow["left_out"]) == flow["n_judgements"]
    assert flow["n_counted"] == report["fields"][1]["agreement"]["n_ratings"] == 360
    reasons = {one["reason"] for one in flow["left_out"]}
    assert "given after the item had all its raters" in reasons
    assert "given after a machine's explanation was shown" in reasons


def test_without_the_fixed_stratum_there_is_no_headline():
    some = table()
    adaptive = replace(some, rows=tuple(replace(row, stratum="adaptive") for row in some.rows))
    found = findings(adaptive, CFG, Study(), "ClinLens test")
    assert found["fields"] == []
    assert "there is no headline" in page(found)
    assert found["methods"].startswith("There is no headline sample: no judgement is a first, blind one")
    assert not re.search(r"\b0 (rater|feature|item)|Krippendorff", found["methods"])
    words = Study(**{name: f"About {name}." for name in Study.model_fields})
    for one in (found, findings(adaptive, CFG, words, "ClinLens test")):
        items = {item["number"]: item for item in one["grras"]}
        assert {n for n, item in items.items() if item["status"] != "answered"} >= {11, 12, 13}
        for n in (3, 4, 6, 7, 11, 12, 13):
            assert items[n]["report"].startswith("There is no headline sample"), n
        assert not any("panel's table" in item["report"] for item in items.values())


def test_an_item_of_the_guideline_that_nobody_answers_is_asked_for():
    found = {one.item.number: one for one in grras.answers({2: "A codebook."}, Study())}
    assert (found[2].status, found[13].status) == ("answered", "to fill in")
    assert found[13].todo == "For the lead to write."
    assert found[15].todo == "For the lead to write, as `availability:` in the study's file."


def test_judgements_of_another_codebook_are_never_pooled():
    some = table()
    two = replace(
        some,
        rows=tuple(replace(row, codebook_n=2) if row.pseudonym == "R-00" else row for row in some.rows),
        codebooks={1: some.codebooks[1], 2: some.codebooks[1]},
    )
    found = findings(two, CFG, Study(), "ClinLens test")
    assert found["fields"][0]["agreement"]["n_raters"] == 5
    assert "never pooled" in page(found)
    with pytest.raises(UserError, match="No judgement is under codebook version 3"):
        findings(two, ReportConfig(codebook=3), Study(), "ClinLens test")


def test_the_page_runs_nothing_loads_nothing_and_escapes_everything(report: dict):
    html = page(report)
    assert "<script" not in html
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert " style=" not in html
    assert "Names of &lt;features&gt; &amp; more" in html
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert (
        f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;" in html.replace("&#x27;", "&#39;")
        or digest in html
    )


def test_no_persons_id_nor_rationale_is_in_the_report(report: dict):
    text = json_text(report) + page(report)
    assert "u00" not in text
    assert "Because it fires" not in text


def test_a_panel_of_one_and_a_unanimous_panel_are_told_why(report: dict):
    some = table(n_items=5, n_raters=2)
    alone = findings(some.where(lambda row: row.pseudonym == "R-00"), CFG, Study(), "ClinLens test")
    assert "expected at least one item and two raters" in alone["fields"][0]["reason"]
    same = replace(
        some, rows=tuple(replace(row, answers={**row.answers, "category": "diagnosis"}) for row in some.rows)
    )
    one = findings(same, CFG, Study(), "ClinLens test")["fields"][0]["agreement"]["coefficients"]["alpha_nominal"]
    assert one["value"] is None
    assert "nothing to disagree on" in one["reason"]


def test_where_everybody_cannot_judge_the_abstentions_are_still_reported():
    some = table(n_items=8, n_raters=3)
    nobody = replace(
        some, rows=tuple(replace(row, answers={**row.answers, "category": "cannot_judge"}) for row in some.rows)
    )
    found = findings(nobody, CFG, Study(), "ClinLens test")
    field = found["fields"][0]
    assert "answers are 'cannot judge'" in field["reason"]
    assert (field["cannot_judge"]["n"], field["cannot_judge"]["share"]) == (24, 1.0)
    outcome = field["cannot_judge"]["outcome"]["coefficients"]
    assert outcome["percent_agreement"]["value"] == 1.0
    assert outcome["alpha_nominal"]["value"] is None
    assert "“Cannot judge” was said 24 times (100.0%)" in page(found)
    one = some.rows[0].item_id
    nearly = replace(
        some,
        rows=tuple(row if row.item_id == one else new for row, new in zip(some.rows, nobody.rows, strict=True)),
    )
    field = findings(nearly, CFG, Study(), "ClinLens test")["fields"][0]
    assert field["cannot_judge"]["outcome"]["coefficients"]["ac1"]["value"] > 0.5


def test_a_study_file_with_an_unknown_key_is_refused(tmp_path: Path):
    (tmp_path / "study.yaml").write_text("hypothesis: none\n")
    with pytest.raises(UserError, match="hypothesis is not as expected"):
        read_study(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text("a: [\n")
    with pytest.raises(UserError, match="is no YAML"):
        read_study(tmp_path / "study.yaml")
    assert read_study(None) == Study()


def test_coefficients_have_names_for_people():
    assert coefficient_name("alpha_masi") == "Krippendorff’s α, MASI distance"
    assert coefficient_name("ac2_quadratic") == "Gwet’s AC2, quadratic weights"
    assert in_words("alpha_ordinal -0.02 and ac1 0.5") == "Krippendorff’s α, ordinal −0.02 and Gwet’s AC1 0.5"
    assert minus("-0.000") == "0.000"
