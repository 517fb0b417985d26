"""The verbs on a small run: a record that holds together, a page, a kept profile, clear refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.steering import profile as profiles
from clinlens import config as configs
from clinlens.__main__ import cli
from clinlens.attribution.saes import sae_folder
from clinlens.finetune import finetune
from clinlens.pipeline import Run
from clinlens.steer import page
from clinlens.steer.command import lines, steer_command
from sae import artefact, saelens_format
from sae.errors import UserError
from training.choice import ChoiceConfig

POINT = "blocks.1.hook_resid_post"
TEXT = "patient 7 has fever and pain . no cough"
DEFAULTS = {param.name: param.default for param in cli.commands["steer"].params if param.name not in ("run", "as_json")}


@pytest.fixture(scope="module")
def run(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a TopK SAE at one hook point."""
    folder = tmp_path_factory.mktemp("steered") / "run"
    values: dict[str, Any] = {
        "folder": str(folder), "model": {"name": str(tiny_model)}, "corpus": {"name": str(tiny_corpus), "held_out": 0.3},
        "capture": {"hook_points": [POINT], "context_tokens": 16, "shard_tokens": 300},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 6}],
        "training": {"n_tokens": 4800, "batch_tokens": 32, "lr": 5e-3}, "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"}, "finetuning": {"n_tokens": 256, "batch_tokens": 64},
    }  # fmt: skip
    Run(configs.validated(values, "here")).stages(("capture", "train"))
    return folder


@pytest.fixture(scope="module")
def feature(run: Path) -> str:
    """A feature that fires on the text."""
    folder = sae_folder(run, POINT, None, ChoiceConfig())
    found = artefact.read_json(folder / "metrics.json")
    assert found["l0"] == 6
    from clinlens.steer.sites import sites, tables
    from hooks.model import load

    opened = Run(configs.read(run))
    table = tables(opened, sites(opened, load(opened.model), [(POINT, None)]), 500)[POINT]
    return f"{POINT}/{int((table.density * (table.density < 0.5)).argmax())}"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "case.txt"
    path.write_text(TEXT)
    return path


def given(**changed: Any) -> dict[str, Any]:
    small = {"features": (), "strengths": (), "controls": 4, "generate": 3, "held_out_tokens": 200, "note": ""}
    plain = {name: value if isinstance(value, str | int) else None for name, value in DEFAULTS.items()}
    return plain | small | changed


def test_a_curve_from_the_command_line(run: Path, feature: str, text: Path, tmp_path: Path):
    target = tmp_path / "page.html"
    found = steer_command(
        run, given(features=(feature,), mode="clamp", strengths=("2,0.5", "1"), text=str(text), target=" given",
                   contrast=" today", report=target)
    )  # fmt: skip
    assert [dose["strength"] for dose in found["doses"]] == [0.5, 1, 2]
    assert len(found["control_sets"]) == 4
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["doses"][0]["changes"][0]["scale"] == found["features"][0]["largest"] > 0
    assert [one["dose"] for one in found["cases"][0]["generated"]] == [None, 0, 1, 2]
    written = target.read_text()
    assert "script" not in written
    assert "default-src &#39;none&#39;" in written
    assert "<polyline" in written
    assert target.stat().st_mode & 0o077 == 0
    assert any(line.startswith("0.5") for line in lines(found))


def test_strength_nothing_changes_nothing_at_all(run: Path, feature: str, text: Path):
    found = steer_command(
        run, given(features=(feature,), mode="amplify", strengths=("1",), text=str(text), target=" given")
    )
    (dose,) = found["doses"]
    assert (dose["change"]["value"], dose["kl"]["value"], dose["side_effects"]["perplexity_ratio"]) == (0, 0, 1)
    assert dose["side_effects"]["kl_held_out"]["value"] == dose["side_effects"]["kl_unrelated"]["value"] == 0
    clean, changed = found["cases"][0]["generated"]
    assert clean["text"] == changed["text"]


def test_a_kept_profile_does_again_what_was_measured(run: Path, feature: str, text: Path, tmp_path: Path):
    first = steer_command(
        run, given(features=(feature,), mode="clamp", strengths=("2",), text=str(text), target=" given",
                   save_profile="calm", profiles=tmp_path, note="for a test")
    )  # fmt: skip
    again = steer_command(run, given(profile="calm", profiles=tmp_path, text=str(text), target=" given"))
    assert again["doses"] == first["doses"]
    kept = profiles.read(tmp_path, "calm")
    assert kept.effect.log_odds_change.value == first["doses"][0]["change"]["value"]
    assert kept.effect.answer == " given"
    assert kept.note == "for a test"
    assert TEXT not in (tmp_path / "calm.yaml").read_text()
    with pytest.raises(UserError, match="a profile is never changed"):
        steer_command(run, given(features=(feature,), mode="clamp", strengths=("2",), text=str(text),
                                 save_profile="calm", profiles=tmp_path))  # fmt: skip


def test_a_profile_of_other_weights_is_refused(run: Path, feature: str, text: Path, tmp_path: Path):
    steer_command(
        run, given(features=(feature,), mode="suppress", strengths=("1",), text=str(text), save_profile="mine",
                   profiles=tmp_path, controls=0, generate=0)
    )  # fmt: skip
    weights = sae_folder(run, POINT, None, ChoiceConfig()) / saelens_format.WEIGHTS_FILE
    saved = weights.read_bytes()
    weights.write_bytes(saved[:-1] + bytes([saved[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match="Make a profile for this SAE"):
            steer_command(run, given(profile="mine", profiles=tmp_path, text=str(text)))
    finally:
        weights.write_bytes(saved)


def test_what_does_not_fit_together_is_said_in_a_sentence(run: Path, feature: str, text: Path, tmp_path: Path):
    place = str(text)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"text": place}, "Neither --profile nor --feature given"),
        ({"text": place, "features": (feature,), "profile": "calm"}, "Both --profile and --feature given"),
        ({"text": place, "features": (feature,)}, "--feature given without --mode"),
        ({"text": place, "features": ("nowhere",), "mode": "clamp"}, "expected HOOK/INDEX"),
        ({"text": place, "features": (feature,), "mode": "clamp", "strengths": ("much",)}, "expected numbers such as"),
        ({"text": place, "features": (feature,), "mode": "suppress", "strengths": ("2",)}, "expected a share from 0 to 1"),
        ({"features": (feature,), "mode": "clamp"}, "Neither --text nor --cases given"),
        ({"text": place, "features": (f"{POINT}/9999",), "mode": "clamp"}, "has features 0 to 63"),
        ({"text": place, "features": ("blocks.0.hook_resid_post/1",), "mode": "clamp"}, "no trained SAE"),
        ({"text": place, "features": (feature,), "mode": "clamp", "save_profile": "x"}, "with 4 strengths, expected the one"),
        ({"text": place, "profile": "none", "profiles": tmp_path}, "holds no profile, expected none"),
    ]  # fmt: skip
    for changed, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            steer_command(run, given(**changed))


def test_a_strength_that_destroys_text_is_warned_of_with_its_perplexity(run: Path, feature: str, text: Path):
    found = steer_command(
        run, given(features=(feature,), mode="clamp", strengths=("1,60",), text=str(text), controls=0, destroys_at=0.5)
    )
    last = found["doses"][1]
    perplexity = last["side_effects"]["perplexity"]["value"]
    assert last["side_effects"]["perplexity_ratio"] > 0.5
    assert f"At clamp 60 the perplexity of held-out text is {perplexity:.4g}" in last["warnings"][0]
    assert any(line.startswith("WARNING: At clamp 60") for line in lines(found))


def test_many_cases_have_intervals_and_a_file_of_unrelated_prompts(run: Path, feature: str, tmp_path: Path):
    cases, unrelated, target = tmp_path / "cases.jsonl", tmp_path / "other.jsonl", tmp_path / "page.html"
    rows = [{"id": f"c{n}", "text": f"patient {n} has fever", "target": " and"} for n in range(4)]
    cases.write_text("\n".join(map(json.dumps, rows)))
    unrelated.write_text("\n".join(json.dumps({"text": f"given drug {n}"}) for n in range(3)))
    options = {"features": (feature,), "mode": "clamp", "strengths": ("1,2",), "cases": cases, "unrelated": unrelated}
    found = steer_command(run, given(**options, report=target))
    change = found["doses"][1]["change"]
    assert change["low"] <= change["value"] <= change["high"]
    assert (change["n"], found["n_unrelated"]) == (4, 3)
    assert target.read_text().count('class="bar"') == 2
    cases.write_text(json.dumps({"text": "patient has fever", "generate": 3}))
    with pytest.raises(UserError, match="expected a target or a continuation"):
        steer_command(run, given(**options))


def test_a_fine_tuned_one_lies_beside_and_can_be_steered(run: Path, feature: str, text: Path):
    source = sae_folder(run, POINT, None, ChoiceConfig())
    made = finetune(run, POINT, None)
    folder = Path(made["folder"])
    assert folder.parent == source.parent
    assert folder.name.startswith(f"{source.name}-e2e-")
    assert finetune(run, POINT, source.name) == made
    found = steer_command(
        run,
        given(features=(feature,), mode="amplify", strengths=("1",), text=str(text), sae_id=folder.name, controls=0),
    )
    assert found["saes"][0]["sae_id"] == folder.name
    found = steer_command(run, given(features=(feature,), mode="amplify", strengths=("1",), text=str(text), controls=0))
    assert found["saes"][0]["sae_id"] == source.name  # unless --sae names the other


def test_a_page_without_an_answer_has_no_curve():
    assert page.chart([{"change": {"value": None}, "strength": 1.0}] * 2) is None
