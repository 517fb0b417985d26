"""A folder's format is recognised by its files; a folder that could be two things is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sae import formats, saelens_format, sparsify_format
from sae.build import build
from sae.config import JumpReLUConfig, SAEConfig, TopKConfig
from sae.errors import UserError

TOPK = TopKConfig(expansion_factor=4, k=5)


def sae_of(cfg: SAEConfig):
    sae = build(cfg, 16)
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    sae.initialise(x, torch.Generator().manual_seed(1), 1.0)
    return sae


def put_gemma_scope(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        name: tensor.detach().numpy()
        for name, tensor in sae_of(JumpReLUConfig(expansion_factor=4)).state_dict().items()
    }
    np.savez(folder / "params.npz", **found)  # type: ignore[arg-type]


def put(folder: Path, kind: str) -> Path:
    if kind == "gemma_scope":
        put_gemma_scope(folder)
    elif kind == "sparsify":
        sparsify_format.save(sae_of(TOPK), folder)
    else:
        saelens_format.save(sae_of(TOPK), TOPK, folder, {"model_name": "tiny"})
    return folder


@pytest.mark.parametrize("kind", list(formats.WEIGHTS_FILES))
def test_each_format_is_recognised(kind: str, tmp_path: Path):
    found = formats.load(put(tmp_path, kind))
    assert found.format == kind
    assert found.cfg.architecture == ("jumprelu" if kind == "gemma_scope" else "topk")
    assert (found.sae.d_in, found.sae.d_sae) == (16, 64)
    assert len(found.weights_hash) == 32


@pytest.mark.parametrize(("first", "second"), [("saelens", "sparsify"), ("sparsify", "gemma_scope")])
def test_weights_of_two_formats_in_one_folder_are_refused(first: str, second: str, tmp_path: Path):
    put(tmp_path, first)
    put(tmp_path, second)
    with pytest.raises(UserError, match=r"holds .* and .*, expected the weights of one format"):
        formats.load(tmp_path)


@pytest.mark.parametrize(("weights", "config"), [("saelens", "sparsify"), ("sparsify", "saelens")])
def test_the_config_of_another_format_is_refused(weights: str, config: str, tmp_path: Path):
    put(tmp_path / "a", weights)
    (tmp_path / "a" / "cfg.json").write_bytes((put(tmp_path / "b", config) / "cfg.json").read_bytes())
    with pytest.raises(UserError, match=f"is no config of {weights}, expected one beside"):
        formats.load(tmp_path / "a")


def test_weights_without_a_config_are_refused(tmp_path: Path):
    (put(tmp_path, "sparsify") / "cfg.json").unlink()
    with pytest.raises(UserError, match=r"cfg.json does not exist, expected the config of sae.safetensors"):
        formats.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_none_is_refused(text: str, tmp_path: Path):
    (put(tmp_path, "sparsify") / "cfg.json").write_text(text)
    with pytest.raises(UserError, match=r"cfg.json is no (JSON|config of sparsify)"):
        formats.load(tmp_path)


def test_a_folder_without_an_sae_names_what_is_read(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no SAE, expected one of sae_weights.safetensors \(saelens\), "):
        formats.load(tmp_path)


@pytest.mark.parametrize("kind", ["saelens", "sparsify"])
def test_writing_beside_another_format_is_refused(kind: formats.WritableFormat, tmp_path: Path):
    put(tmp_path, "gemma_scope")
    with pytest.raises(UserError, match=rf"holds params.npz, expected no SAE of another format than {kind}"):
        formats.save(sae_of(TOPK), TOPK, tmp_path, kind, {})


def test_from_sparsify_to_saelens_and_back_gives_the_same_bytes(tmp_path: Path):
    there = formats.load(put(tmp_path / "sparsify", "sparsify"))
    formats.save(there.sae, there.cfg, tmp_path / "saelens", "saelens", {})
    back = formats.load(tmp_path / "saelens")
    formats.save(back.sae, back.cfg, tmp_path / "again", "sparsify", {})
    for name in ("cfg.json", "sae.safetensors"):
        assert (tmp_path / "sparsify" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert json.loads((tmp_path / "saelens" / "cfg.json").read_text())["architecture"] == "topk"


def test_saelens_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path):
    put(tmp_path, "saelens")
    path = tmp_path / "cfg.json"
    settings = json.loads(path.read_text())
    for wrong in (settings | {"d_sae": 80}, settings | {"architecture": "jumprelu"}, settings | {"k": None}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(
            UserError, match=r"holds weights that do not fit its cfg.json \(.*\), expected those of one SAE"
        ):
            formats.load(tmp_path)


def test_saelens_weights_that_are_no_numbers_are_refused(tmp_path: Path):
    sae = sae_of(TOPK)
    with torch.no_grad():
        sae.b_dec[3] = float("nan")
    saelens_format.save(sae, TOPK, tmp_path, {})
    with pytest.raises(UserError, match=r"has values in b_dec that are no numbers"):
        formats.load(tmp_path)
