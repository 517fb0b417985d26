"""sparsify's folders are read and written with the same features; what means another computation is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sae import sparsify_format
from sae.build import build
from sae.config import JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from sae.errors import UserError

D_IN, D_SAE, K = 16, 40, 5


def foreign(folder: Path, **settings: object) -> torch.Tensor:
    """A folder as eai-sparsify 1.3.3 writes it; its decoder rows have no unit norm, d_sae is no multiple of d_in."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "encoder.weight": torch.randn(D_SAE, D_IN, generator=generator),
        "encoder.bias": torch.randn(D_SAE, generator=generator),
        "W_dec": torch.randn(D_SAE, D_IN, generator=generator),
        "b_dec": torch.randn(D_IN, generator=generator),
    }
    save_file(weights, folder / "sae.safetensors")
    cfg = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": D_SAE, "k": K,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(cfg | settings))
    return torch.randn(100, D_IN, generator=generator) * 3 + 1


def theirs(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and reconstruction as `SparseCoder.encode` and `decode` compute them. Source: eai-sparsify 1.3.3."""
    weights, k = load_file(folder / "sae.safetensors"), json.loads((folder / "cfg.json").read_text())["k"]
    pre_acts = torch.relu(
        torch.nn.functional.linear(x - weights["b_dec"], weights["encoder.weight"], weights["encoder.bias"])
    )
    values, indices = pre_acts.topk(k, dim=-1)
    feature_acts = torch.zeros_like(pre_acts).scatter(-1, indices, values)
    return feature_acts, feature_acts @ weights["W_dec"] + weights["b_dec"]


def trained(cfg: SAEConfig):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, D_IN, generator=generator) * 3 + 1
    sae = build(cfg, D_IN)
    sae.initialise(x * 0.5, generator, 0.5)
    sae.fold(0.5)
    return sae, x


def test_their_folder_gives_their_features_and_reconstruction(tmp_path: Path):
    x = foreign(tmp_path)
    feature_acts, reconstruction = sparsify_format.load(tmp_path)(x)
    expected_acts, expected_reconstruction = theirs(tmp_path, x)
    assert torch.equal(feature_acts > 0, expected_acts > 0)
    torch.testing.assert_close(feature_acts, expected_acts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reconstruction, expected_reconstruction, rtol=1e-5, atol=1e-4)


def test_what_we_write_gives_our_features_there(tmp_path: Path):
    sae, x = trained(TopKConfig(expansion_factor=4, k=K))
    sparsify_format.save(sae, tmp_path)
    with torch.no_grad():
        ours = sae(x)
    feature_acts, reconstruction = theirs(tmp_path, x)
    assert torch.equal(ours.feature_acts > 0, feature_acts > 0)
    torch.testing.assert_close(ours.feature_acts, feature_acts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.reconstruction, reconstruction, rtol=1e-5, atol=1e-4)


def test_writing_and_reading_gives_the_same_bits(tmp_path: Path):
    sae, _ = trained(TopKConfig(expansion_factor=4, k=K))
    sparsify_format.save(sae, tmp_path)
    for name, tensor in sparsify_format.load(tmp_path).state_dict().items():
        assert torch.equal(tensor, sae.state_dict()[name])


def test_sparsify_itself_reads_ours_and_we_read_its(tmp_path: Path):
    sparsify = pytest.importorskip("sparsify")
    sae, x = trained(TopKConfig(expansion_factor=4, k=K))
    sparsify_format.save(sae, tmp_path / "ours")
    there = sparsify.SparseCoder.load_from_disk(tmp_path / "ours")
    there.save_to_disk(tmp_path / "theirs")
    back = sparsify_format.load(tmp_path / "theirs")
    with torch.no_grad():
        top_acts, top_indices, _ = there.encode(x)
        feature_acts, reconstruction = sae(x)
        dense = torch.zeros_like(feature_acts).scatter(-1, top_indices, top_acts)
        torch.testing.assert_close(feature_acts, dense, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reconstruction, there.decode(top_acts, top_indices), rtol=1e-5, atol=1e-4)
    for name, tensor in back.state_dict().items():
        assert torch.equal(tensor, sae.state_dict()[name])


def test_the_config_says_whether_decoder_rows_have_norm_1(tmp_path: Path):
    sae, _ = trained(TopKConfig(expansion_factor=4, k=K))
    sparsify_format.save(sae, tmp_path / "unit")
    foreign(tmp_path / "other")
    sparsify_format.save(sparsify_format.load(tmp_path / "other"), tmp_path / "again")
    said = [json.loads((tmp_path / name / "cfg.json").read_text()) for name in ("unit", "again")]
    assert [cfg["normalize_decoder"] for cfg in said] == [True, False]
    assert [cfg["num_latents"] for cfg in said] == [4 * D_IN, D_SAE]


@pytest.mark.parametrize("name", ["transcode", "skip_connection", "signed"])
def test_what_is_no_autoencoder_is_refused(tmp_path: Path, name: str):
    foreign(tmp_path, **{name: True})
    with pytest.raises(UserError, match=rf"says {name}=True \(.*\), expected an autoencoder. Name one without it."):
        sparsify_format.load(tmp_path)


@pytest.mark.parametrize("activation", ["groupmax", "relu"])
def test_another_activation_is_refused(tmp_path: Path, activation: str):
    foreign(tmp_path, activation=activation)
    with pytest.raises(UserError, match=f"says activation='{activation}', expected 'topk'"):
        sparsify_format.load(tmp_path)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path):
    foreign(tmp_path, num_latents=80)
    with pytest.raises(UserError, match=r"has encoder.weight of shape \[40, 16\], expected \[80, 16\]"):
        sparsify_format.load(tmp_path)


def test_a_config_without_its_settings_is_refused(tmp_path: Path):
    foreign(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps({"d_in": D_IN, "num_latents": D_SAE}))
    with pytest.raises(UserError, match="has no 'k', expected the settings of sparsify's SparseCoder"):
        sparsify_format.load(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("k", "5"), ("d_in", -16), ("num_latents", 40.0), ("k", True)])
def test_a_setting_that_is_no_whole_number_is_refused(tmp_path: Path, name: str, value: object):
    foreign(tmp_path, **{name: value})
    with pytest.raises(UserError, match=rf"says {name}={value!r}, expected a whole number of at least 1"):
        sparsify_format.load(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path):
    foreign(tmp_path)
    path = tmp_path / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"is no whole safetensors file, expected the weights of an SAE"):
        sparsify_format.load(tmp_path)


@pytest.mark.parametrize("cfg", [L1Config(expansion_factor=4), JumpReLUConfig(expansion_factor=4)])
def test_only_topk_is_written(tmp_path: Path, cfg: SAEConfig):
    sae, _ = trained(cfg)
    with pytest.raises(UserError, match="SAE in sparsify's format, expected a TopK SAE"):
        sparsify_format.save(sae, tmp_path)
    assert not list(tmp_path.iterdir())
