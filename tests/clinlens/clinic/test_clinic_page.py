"""The documentation page says what the code does."""

import json
from pathlib import Path

from clinlens.clinic import model_folder
from clinlens.clinic.model_card import figure_rows
from clinlens.clinic.notes import ClinicConfig
from clinlens.clinic.tables import concept_table, diagnosis_table

PAGE = (Path(__file__).parents[3] / "docs" / "clinic.md").read_text(encoding="utf-8")


def test_the_page_holds_the_rules_of_the_code():
    assert diagnosis_table() in PAGE


def test_the_page_holds_the_concepts_of_the_code():
    assert concept_table() in PAGE


def test_the_page_holds_the_figures_of_the_packaged_model():
    last_line = (model_folder() / "training_log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert figure_rows(json.loads(last_line)["figures"]) in PAGE


def test_the_page_names_every_setting_of_the_notes():
    assert all(f"`{name}`" in PAGE for name in ClinicConfig.model_fields)
