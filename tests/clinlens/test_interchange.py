"""From the command line: exports in both formats with a model card that holds, conversions, uploads only where named."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from clinlens import config as configs
from clinlens import hub
from clinlens.conversion import convert
from clinlens.export import Publication, export
from clinlens.pipeline import Run
from sae import formats
from sae.errors import UserError

SAES = [
    {"architecture": "topk", "expansion_factor": 2, "k": 6},
    {"architecture": "jumprelu", "expansion_factor": 2, "target_l0": 6},
    {"architecture": "l1", "expansion_factor": 2},
]


@pytest.fixture(scope="module")
def run(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with three SAEs at one hook point, evaluated."""
    folder = tmp_path_factory.mktemp("interchange")
    values: dict[str, Any] = {
        "folder": str(folder / "run"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus), "id_column": "id", "held_out": 0.3},
        "capture": {"hook_points": ["blocks.1.hook_resid_post"], "context_tokens": 16},
        "sae": SAES,
        "training": {"n_tokens": 3200, "batch_tokens": 32, "lr": 5e-3},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    Run(configs.read(folder / "run.yaml")).stages(("capture", "train", "evaluate"))
    return Run(configs.read(folder / "run"))


def texts(corpus: Path) -> list[str]:
    return [json.loads(line)["text"] for line in corpus.read_text().splitlines()]


def saes_in(target: Path) -> list[str]:
    return json.loads((target / "index.json").read_text())["saes"]


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def code_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    return found[1]


def test_an_export_for_sparsify_has_the_same_features(run: Run, tmp_path: Path):
    result = export(run, tmp_path, "sparsify", only="*/topk-*")
    assert (result["n_saes"], result["format"]) == (1, "sparsify")
    assert result["largest_difference"] <= 1e-5
    (name,) = saes_in(tmp_path)
    assert {"cfg.json", "sae.safetensors", "origin.json", "metrics.json", "evaluation.json"} == set(
        os.listdir(tmp_path / name)
    )
    there, ours = formats.load(tmp_path / name).sae, formats.load(run.folder / "saes" / name).sae
    assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in there.state_dict().items())


def test_what_sparsify_cannot_hold_is_refused_before_anything_is_written(run: Run, tmp_path: Path):
    with pytest.raises(UserError, match=r"2 of 3 SAEs \(.*jumprelu.* first\) are no TopK SAEs.*Add --only"):
        export(run, tmp_path / "out", "sparsify")
    assert not (tmp_path / "out").exists()


def test_a_folder_never_holds_two_formats(run: Run, tmp_path: Path):
    export(run, tmp_path, "saelens")
    with pytest.raises(UserError, match=r"holds sae_weights.safetensors, expected no SAE of another format than spars"):
        export(run, tmp_path, "sparsify", only="*/topk-*")


def test_a_pattern_that_matches_nothing_shows_one_that_would(run: Run, tmp_path: Path):
    with pytest.raises(
        UserError, match=r"--only 'blocks.9\*' matches none of 3 SAEs, expected a pattern such as 'blocks.1"
    ):
        export(run, tmp_path, only="blocks.9*")


def test_the_card_has_every_sae_with_the_figures_that_were_measured(run: Run, tmp_path: Path):
    export(run, tmp_path, publication=Publication(licence="cc-by-4.0"))
    card = (tmp_path / "README.md").read_text()
    assert front_matter(card)["library_name"] == "saelens"
    assert front_matter(card)["license"] == "cc-by-4.0"
    assert len(saes_in(tmp_path)) == 3
    for name in saes_in(tmp_path):
        found = json.loads((tmp_path / name / "evaluation.json").read_text())
        figures, splice = found["reconstruction"], found["splice"]
        cells = [
            f"`{name}`", "32", "64", f"{figures['l0']:.1f}", f"{figures['explained_variance']:.3f}",
            f"{figures['dead_fraction']:.1%}", f"{splice['ce_loss_score']:.3f}", f"{figures['n_tokens']:,}",
        ]  # fmt: skip
        assert "| " + " | ".join(cells) + " |" in card
    for word in ("k 6", "target_l0 6.0", "3,200", "Not a medical device", "seed", "ClinLens 0"):
        assert word in card


def test_a_figure_that_was_not_measured_is_a_dash(run: Run, tmp_path: Path):
    shutil.copytree(run.folder, tmp_path / "run")
    for path in (tmp_path / "run").rglob("saes/*/*/evaluation.json"):
        path.unlink()
    export(Run(configs.read(tmp_path / "run")), tmp_path / "out")
    assert "| 32 | 64 | — | — | — | — | — |" in (tmp_path / "out" / "README.md").read_text()


def test_the_cards_code_runs_in_five_lines(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export(run, tmp_path)
    code = code_of((tmp_path / "README.md").read_text())
    assert len(code.splitlines()) == 1 + 5  # import torch, and five
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["reconstruction"].shape == (1, 32)


def test_an_export_holds_no_text_and_the_card_no_path(run: Run, tiny_corpus: Path, tmp_path: Path):
    export(run, tmp_path)
    card = (tmp_path / "README.md").read_text()
    for path in tmp_path.rglob("*.*"):
        if path.is_file() and path.suffix in (".json", ".md"):
            assert not any(text in path.read_text() for text in texts(tiny_corpus))
    assert str(tiny_corpus.parent) not in card
    assert tiny_corpus.name not in card
    assert str(run.folder) not in card


class FakeHub:
    """Stands in for HfApi: notes what it was asked."""

    asked: list[tuple[str, dict[str, Any]]]
    files: dict[str, bytes]
    fails = False

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.asked.append(("create_repo", {"repo_id": repo_id, **options}))

    def upload_folder(self, **options: Any) -> Any:
        from huggingface_hub.utils import filter_repo_objects

        if self.fails:
            raise ConnectionError("no such host: secret.example")
        self.asked.append(("upload_folder", options))
        folder = Path(options["folder_path"])
        every = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        sent = filter_repo_objects(every, allow_patterns=options["allow_patterns"])
        type(self).files = {name: (folder / name).read_bytes() for name in sent}
        return type("Commit", (), {"commit_url": "https://huggingface.co/ward/saes/commit/1"})()


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    import huggingface_hub

    fake = type("Fake", (FakeHub,), {"asked": [], "files": {}})
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    return fake


def test_nothing_is_uploaded_unless_a_repository_is_named(run: Run, tmp_path: Path, fake_hub: type[FakeHub]):
    assert "pushed" not in export(run, tmp_path)
    assert fake_hub.asked == []


def test_a_push_makes_a_private_repository_and_sends_only_what_was_exported(
    run: Run, tiny_model: Path, tiny_corpus: Path, tmp_path: Path, fake_hub: type[FakeHub]
):
    (tmp_path / "notes.txt").write_text("patient text that happens to lie here")
    result = export(run, tmp_path, publication=Publication(repo_id="ward/saes"))
    assert result["pushed"] == "https://huggingface.co/ward/saes/commit/1"
    (_, made), (_, sent) = fake_hub.asked
    assert (made["repo_id"], made["private"], made["exist_ok"]) == ("ward/saes", True, True)
    assert sent["repo_id"] == "ward/saes"
    assert "token" not in made | sent
    assert "notes.txt" not in fake_hub.files
    assert {"README.md", "index.json"} < set(fake_hub.files)
    assert sum(name.endswith("sae_weights.safetensors") for name in fake_hub.files) == 3
    assert b'SAE.from_pretrained("ward/saes", "blocks.1.hook_resid_post/topk' in fake_hub.files["README.md"]
    for name, data in fake_hub.files.items():
        for place in (tiny_model.parent, tiny_corpus.parent, run.folder, tmp_path, Path(tiny_corpus.name)):
            assert str(place).encode() not in data, name
    cfg = json.loads(next(data for name, data in fake_hub.files.items() if name.endswith("cfg.json")))
    assert (cfg["metadata"]["model_name"], cfg["metadata"]["dataset_path"]) == ("decoder", "local")


def test_a_hub_that_does_not_take_it_is_one_sentence(run: Run, tmp_path: Path, fake_hub: type[FakeHub]):
    fake_hub.fails = True
    with pytest.raises(
        UserError, match=r"The hub did not take ward/saes \(ConnectionError\), expected a token"
    ) as error:
        export(run, tmp_path, publication=Publication(repo_id="ward/saes"))
    assert "secret.example" not in str(error.value)


@pytest.mark.parametrize("name", ["saes", "https://huggingface.co/ward/saes", "ward/../saes", ""])
def test_a_name_that_is_no_repository_stops_before_any_work(name: str, run: Run, tmp_path: Path):
    with pytest.raises(UserError, match="is no repository, expected OWNER/NAME"):
        export(run, tmp_path / "out", publication=Publication(repo_id=name))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "model", "corpus"),
    [
        ("Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-1.5B"),
        ("gpt2", "gpt2", "gpt2"),
        ("/data/ward 7/model", "model", "local"),
        ("~/model", "model", "local"),
        ("wards/smith.jsonl", "smith.jsonl", "local"),
        ("a/b/c", "c", "local"),
    ],
)
def test_what_is_published_of_a_name(name: str, model: str, corpus: str):
    assert (hub.public_model(name), hub.public_corpus(name)) == (model, corpus)


@pytest.mark.parametrize("kind", ["saelens", "sparsify"])
def test_a_converted_sae_has_the_same_weights_and_says_where_it_came_from(
    run: Run, tmp_path: Path, kind: formats.WritableFormat
):
    (name,) = (f"{point}/{sae}" for point, ids in run.sae_ids.items() for sae in ids if sae.startswith("topk"))
    source = run.folder / "saes" / name
    result = convert(source, tmp_path / "out", kind)
    assert (result["from_format"], result["architecture"], result["unknown"]) == ("saelens", "topk", [])
    assert result["decoder_has_unit_norm"]
    before, after = formats.load(source).sae.state_dict(), formats.load(tmp_path / "out").sae.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    origin = json.loads((tmp_path / "out" / "origin.json").read_text())["converted_from"]
    assert (origin["format"], origin["folder"]) == ("saelens", source.name)
    assert origin["weights_hash"] == formats.load(source).weights_hash
    assert origin["origin"] == json.loads((source / "origin.json").read_text())


def gemma_scope(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir()
    np.savez(
        folder / "params.npz",
        W_enc=rng.standard_normal((16, 40)), W_dec=rng.standard_normal((40, 16)), b_enc=rng.standard_normal(40),
        b_dec=rng.standard_normal(16), threshold=rng.random(40),
    )  # fmt: skip
    return folder


def test_gemma_scope_becomes_saelens_with_the_names_that_were_given(tmp_path: Path):
    source = gemma_scope(tmp_path / "average_l0_82")
    result = convert(source, tmp_path / "out", "saelens", "google/gemma-2-2b", "blocks.12.hook_resid_post")
    assert (result["from_format"], result["d_sae"], result["decoder_has_unit_norm"]) == ("gemma_scope", 40, False)
    assert (result["largest_difference"], result["unknown"]) == (0.0, [])
    metadata = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]
    assert (metadata["model_name"], metadata["hook_name"]) == ("google/gemma-2-2b", "blocks.12.hook_resid_post")
    assert convert(source, tmp_path / "other", "saelens")["unknown"] == ["model_name", "hook_name"]


def test_gemma_scope_is_no_topk_for_sparsify(tmp_path: Path):
    with pytest.raises(UserError, match="was to hold a JumpReLU SAE in sparsify's format, expected a TopK SAE"):
        convert(gemma_scope(tmp_path / "in"), tmp_path / "out", "sparsify")


@pytest.mark.parametrize("name", ["layers.3", "blocks.*.hook_resid_post", "blocks.3.hook_resid"])
def test_a_hook_point_nobody_knows_is_refused(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"is no hook point, expected one such as blocks.12.hook_resid_post"):
        convert(gemma_scope(tmp_path / "in"), tmp_path / "out", "saelens", hook_point=name)


def test_an_sae_is_not_converted_onto_itself(tmp_path: Path):
    source = gemma_scope(tmp_path / "in")
    with pytest.raises(UserError, match=r"is the folder to read from, expected another to write to"):
        convert(source, tmp_path / "in" / "." / "", "saelens")
    assert [path.name for path in source.iterdir()] == ["params.npz"]
