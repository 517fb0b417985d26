"""The parts below the addresses: evidence as shown, forms as answers, rubrics, plans, the worker, the start."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.datastructures import FormData

from labeling.codebook_file import default_codebook
from labeling.web import form, panel
from labeling.web.pages import figure, visible
from labeling.web.routes.rounds import numbers
from labeling.web.rubric import to_html
from labeling.web.statistics_worker import Worker
from sae.errors import UserError
from tests.labeling.web.premises import HOSTILE, answers, snapshot

ROOT = Path(__file__).resolve().parents[3]


def test_evidence_is_ordered_by_kind_and_strength_and_does_not_name_the_feature():
    found = panel.panel(snapshot(7).body)
    assert [group.heading for group in found.groups] == ["Strongest contexts", "Across its range", "Silent contrasts"]
    assert [window.label for window in found.groups[1].windows] == ["2 part 1", "3 part 4"]
    body = panel.evidence(snapshot(7).body)
    assert "feature" not in body
    assert all(context.keys() == {"kind", "quantile", "tokens", "acts", "peak"} for context in body["contexts"])


def test_everything_that_fires_is_shaded_and_the_strongest_most():
    tokens = panel.panel(snapshot(1).body).groups[0].windows[0].tokens
    assert [token.level for token in tokens[:4]] == [0, 1, 10, 3]
    assert [token.is_peak for token in tokens[:4]] == [False, False, True, False]
    assert panel.level(1e-9, 5.0) == 1


def test_invisible_characters_of_a_note_are_made_visible():
    assert visible("a\nb\tc\u202e\x00") == "a↵b⇥c··"
    assert visible("") == "∅"
    assert [figure(one) for one in (0.0, 0.5, 12.345, 4321, 0.00001, None)] == [
        "0",
        "0.5",
        "12.3",
        "4,321",
        "1.0e-05",
        "–",
    ]


def test_a_form_without_scripts_gives_the_answers_that_the_api_takes():
    given = answers()
    fields = [(key, value) for key, value in given.items() if isinstance(value, str)]
    fields += [("concept.codes", "heart_failure"), ("concept.words", given["concept"]["words"])]
    fields += [("rationale.text", given["rationale"]["text"]), ("rationale.cite", "0")]
    found = form.answers_of(default_codebook(), FormData(fields), {0: 2})
    assert found == given


def test_what_was_left_alone_is_left_out_and_none_of_these_is_an_answer():
    assert form.answers_of(default_codebook(), FormData([]), {}) == {}
    none = form.answers_of(default_codebook(), FormData([("concept.none", "on")]), {})
    assert none == {"concept": {"codes": [], "words": ""}}
    with pytest.raises(UserError, match="Cite them once more"):
        form.spans_of("[{]")


def test_concepts_are_found_by_their_beginnings_before_anything_else():
    book = default_codebook()
    assert form.concepts(book, "heart f")[0]["code"] == "heart_failure"
    assert form.concepts(book, "MI")[0]["code"] == "myocardial_infarction"
    assert form.concepts(book, "zzzz") == form.concepts(book, " ") == []
    assert len(form.concepts(book, "a")) == 12


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_rubric_holds_no_markup_of_its_own(hostile: str):
    found = str(to_html(f"# Title\n\n{hostile}\n\n[a](javascript:x) ![b](//evil.example/x.png)"))
    assert "<h1>Title</h1>" in found
    assert not any(tag in found for tag in ("<script", "<img", "<svg", "<iframe", "<a ", "</textarea"))


def test_feature_numbers_are_numbers():
    assert numbers("12, 40 7") == [12, 40, 7]
    with pytest.raises(UserError, match="such as 12, 40, 7"):
        numbers("12; rm")


def test_a_quick_result_is_there_at_once_and_a_slow_one_later_and_each_is_computed_once():
    worker, calls = Worker(), []

    def slow() -> str:
        calls.append(1)
        time.sleep(1.3)
        return "slow"

    def wrong() -> str:
        raise UserError("Too few items, expected two. Add some.")

    assert worker.outcome("quick", lambda: 5) == (True, 5, "")
    assert worker.outcome("slow", slow).is_ready is False
    assert worker.outcome("slow", slow) == (True, "slow", "")
    assert len(calls) == 1
    assert worker.outcome("wrong", wrong).problem == "Too few items, expected two. Add some."
    assert "on our side" in worker.outcome("broken", lambda: 1 / 0).problem
    worker.close()


def test_a_computation_that_failed_once_is_tried_again():
    worker, calls = Worker(), []

    def compute() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("No space left on device")
        return 7

    assert "failed on our side" in worker.outcome("a", compute).problem
    assert worker.outcome("a", compute).value == 7
    worker.close()


def test_the_application_is_imported_without_torch_or_statistics():
    heavy = {"torch", "transformers", "scipy.stats", "matplotlib", "pyarrow"}
    code = f"import sys, labeling.web.application; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_test_that_the_security_table_names_exists():
    written = (ROOT / "docs" / "review-queue.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", written)
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "labeling").rglob("test_*.py")}
    assert len(named) > 30
    assert [(file, name) for file, name in named if f"def {name}(" not in files[file] and name] == []
