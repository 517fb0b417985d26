"""The verb on a tiny run: records and exports from spans and words, the same again, refusals in one sentence."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinlens.__main__ import main
from clinlens.trace.concept import folded, from_spans, from_words, words_of
from clinlens.trace.labelled import merged
from hooks.corpus import Document
from sae import artefact

FAST = ("--set", "n_permutations=50", "--set", "n_bootstraps=50", "--set", "n_texts=2", "--set", "n_controls=3")


@pytest.fixture(scope="module")
def config(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a run whose autoencoders are trained: one at each of two layers, of two seeds at the first."""
    folder = tmp_path_factory.mktemp("trace")
    corpus = folder / "notes.jsonl"
    rows = [json.loads(line) for line in tiny_corpus.read_text().splitlines()]
    corpus.write_text("\n".join(json.dumps(row | {"sex": "fm"[i // 2 % 2]}) for i, row in enumerate(rows)))
    path = folder / "run.yaml"
    sections = {
        "folder": str(folder / "run"),
        "model": {"name": str(tiny_model)},
        "corpus": {
            "name": str(corpus), "id_column": "id", "span_column": "spans", "group_column": "patient", "held_out": 0.8,
        },
        "capture": {"hook_points": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"], "context_tokens": 24},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 6}],
        "training": {"n_tokens": 9600, "batch_tokens": 32, "lr": 5e-3},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(sections))
    for verb in ("capture", "train"):
        main([verb, str(path)])
    (sae,) = (folder / "run" / "saes" / "blocks.0.hook_resid_post").iterdir()
    other = sae.with_name("topk-other-seed")
    shutil.copytree(sae, other)
    artefact.write_json(other / "origin.json", artefact.read_json(other / "origin.json") | {"seed": 1})
    return path


def said(config: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    main(["trace", str(config), "--sae", "topk-x2*", *FAST, *more, "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(config: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["trace", str(config), *more])
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_trace_from_spans_has_the_whole_record_and_its_exports(config: Path, capsys: pytest.CaptureFixture[str]):
    found = said(config, capsys, "--concept", "Fever", "--attribute", "sex")
    record, files = found["record"], [Path(file) for file in found["files"]]
    assert json.loads(files[0].read_text()) == record
    assert record["concept"] == {
        "name": "Fever", "source": "spans", "definition": "spans annotated with the label fever", "defined_by": [],
    }  # fmt: skip
    assert record["emerges_at"] == 0  # the word is in the embedding already
    assert [layer["layer"] for layer in record["layers"]] == [0, 1]
    assert record["cohort"]["n_positive"] == record["cohort"]["n_negative"] > 40
    assert record["stability"]["share"] == 1.0  # the other seed is a copy
    assert record["edges"] and all(edge["causal"] for edge in record["edges"])
    assert record["causality"]["answer"]["kind"] == "kl"
    assert {one["value"] for one in record["nodes"][0]["protected"]} == {"f", "m"}
    assert 0 <= record["layers"][0]["error_mass"]["positive"] < 5
    with files[1].open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 2 * 7
    assert float(rows[0]["auroc"]) == record["layers"][0]["detectors"][0]["auroc"]
    assert files[2].read_text().startswith("<?xml")
    graph = json.loads(files[3].read_text())
    assert {node["node_id"] for node in graph["nodes"]} == {node["id"] for node in record["nodes"]}
    matched = [edge for edge in record["edges"] if edge["n_kinds_above_null"] >= 2]
    assert len(graph["links"]) == len(matched)


def test_the_same_question_is_read_and_a_fresh_answer_is_the_same(config: Path, capsys: pytest.CaptureFixture[str]):
    one = said(config, capsys, "--concept", "fever", "--no-ablation")
    kept = said(config, capsys, "--concept", "fever", "--no-ablation")
    anew = said(config, capsys, "--concept", "fever", "--no-ablation", "--fresh")
    assert kept == one
    clocks = {"created_at": None}
    assert anew["record"] | clocks == one["record"] | clocks
    assert one["record"]["causality"] is None and "--no-ablation" in one["record"]["notes"][0]


def test_words_and_documents(config: Path, capsys: pytest.CaptureFixture[str]):
    found = said(
        config, capsys, "--concept", "low number", "--words", "drug 1,drug 2,drug 3,drug 4", "--no-ablation",
        "--set", "unit=document", "--set", "aggregation=mean",
    )["record"]  # fmt: skip
    assert found["concept"]["source"] == "words"
    assert found["cohort"]["unit"] == "document" and found["cohort"]["aggregation"] == "mean"
    assert found["cohort"]["n_documents"] == found["cohort"]["n_positive"] + found["cohort"]["n_negative"]


def test_spans_of_a_file(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    spans = tmp_path / "spans.jsonl"
    rows = [json.loads(line) for line in (config.parent / "notes.jsonl").read_text().splitlines()]
    places = [(row["id"], row["text"].index("cough")) for row in rows]
    lines = [{"id": name, "spans": [{"start": a, "end": a + 5, "label": "cough"}]} for name, a in places]
    spans.write_text("\n".join(map(json.dumps, lines)))
    found = said(config, capsys, "--concept", "cough", "--spans", str(spans), "--no-ablation")["record"]
    assert found["cohort"]["n_positive"] > 40
    spans.write_text('{"id": "n0"}')
    assert "line 1 is no document with spans" in refused(
        config, capsys, "--concept", "cough", "--spans", str(spans), "--sae", "topk-x2*"
    )
    spans.write_text('{"id": "nobody", "spans": []}')
    assert "none of which is one of the corpus' 60" in refused(
        config, capsys, "--concept", "x", "--spans", str(spans), "--sae", "topk-x2*"
    )


def test_refusals(config: Path, capsys: pytest.CaptureFixture[str]):
    several = refused(config, capsys, "--concept", "fever")
    assert "there are the SAEs topk-other-seed, topk-x2" in several and "--sae" in several
    one = ("--sae", "topk-x2*")
    assert "expected one of fever" in refused(config, capsys, "--concept", "gout", *one)
    few = refused(config, capsys, "--concept", "seven", "--words", "drug 6", *one)
    assert "expected at least 10 there, so about 20 in all" in few
    assert "no physicians' labels" in refused(config, capsys, "--concept", "x", "--from-labels", *one)
    assert "stands in any of 60 documents" in refused(config, capsys, "--concept", "x", "--words", "zzz", *one)
    assert "names no setting" in refused(config, capsys, "--concept", "fever", "--set", "unitt=document")
    assert "unit" in refused(config, capsys, "--concept", "fever", "--set", "unit=word")
    both = refused(config, capsys, "--concept", "x", "--from-labels", "--words", "a", *one)
    assert "--words and --from-labels define the concept" in both
    assert "no column 'race'" in refused(config, capsys, "--concept", "fever", "--attribute", "race", *FAST, *one)
    assert "none fits" in refused(config, capsys, "--concept", "fever", "--sae", "l1-*")


def test_features_of_another_model_are_refused(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    shutil.copytree(config.parent / "run", tmp_path / "run")
    text = yaml.safe_load(config.read_text()) | {"folder": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(text))
    for path in (tmp_path / "run" / "saes").glob("*/topk-x2*/origin.json"):
        origin = artefact.read_json(path)
        origin["store"]["model"]["weight_hash"] = "0" * 32
        artefact.write_json(path, origin)
    sentence = refused(tmp_path / "run.yaml", capsys, "--concept", "fever", "--sae", "topk-x2*")
    assert "was trained on the model with weights 00000000" in sentence


def doc(text: str, *spans: dict[str, Any]) -> Document:
    return Document(index=0, id="a", text=text, group=None, spans=spans)


def test_words_are_whole_words_in_any_case_and_the_longest_wins():
    found = from_words("hf", ["HF", "heart failure", "heart"], [doc("Heart failure; hf, not chf nor hearty")])
    assert [(span["start"], span["end"]) for span in found.documents[0].spans] == [(0, 13), (15, 17)]


def test_a_status_leaves_denied_mentions_among_the_others():
    spans = [
        {"start": 0, "end": 5, "label": "fever", "status": "affirmed"},
        {"start": 9, "end": 14, "label": "fever", "status": "denied"},
    ]
    found = from_spans("fever", [doc("fever, no fever", *spans)], ("affirmed",))
    assert [span["label"] for span in found.documents[0].spans] == ["fever", "other"]


def test_names_are_one_in_any_spelling():
    assert folded("Heart-Failure ") == folded("heart_failure") == "heart_failure"
    assert words_of(" a , b,") == ["a", "b"]
    assert merged([(6, 9), (0, 5), (20, 22)]) == [(0, 9), (20, 22)]
