"""What ClinLens saves, sae-lens reads the same; what would be read differently is refused."""

import json
from pathlib import Path

import pytest
import torch
from sae_lens import SAE as SAELensSAE
from safetensors.torch import load_file, save_file

from sae import saelens_format
from sae.build import build
from sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    L1Config,
    MatryoshkaConfig,
    SAEConfig,
    TopKConfig,
)
from sae.errors import UserError

CONFIGS: list[SAEConfig] = [
    L1Config(expansion_factor=4),
    TopKConfig(expansion_factor=4, k=5),
    JumpReLUConfig(expansion_factor=4, target_l0=5),
    BatchTopKConfig(expansion_factor=4, k=5),
    MatryoshkaConfig(expansion_factor=4, k=5),
    GatedConfig(expansion_factor=4),
]


def saved(cfg: SAEConfig, folder: Path) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator) * 3 + 1
    sae = build(cfg, 16)
    sae.initialise(x * 0.5, generator, 0.5)
    sae.fold(0.5)
    saelens_format.save(sae, cfg, folder, {"model_name": "tiny", "hook_name": "blocks.0.hook_resid_post"})
    return x


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_sae_lens_reads_the_same_features_and_reconstruction(cfg: SAEConfig, tmp_path: Path):
    x = saved(cfg, tmp_path)
    ours, theirs = saelens_format.load(tmp_path), SAELensSAE.load_from_disk(tmp_path)
    assert (ours.encode(x) - theirs.encode(x)).abs().max() <= 1e-5
    assert (ours(x).reconstruction - theirs(x)).abs().max() <= 1e-5
    assert (ours.encode(x) > 0).any()


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_saving_twice_gives_the_same_bytes(cfg: SAEConfig, tmp_path: Path):
    saved(cfg, tmp_path / "a")
    saved(cfg, tmp_path / "b")
    for name in ("cfg.json", "sae_weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_an_encoder_that_is_fed_the_input_as_it_is_gives_what_sae_lens_gives(cfg: SAEConfig, tmp_path: Path):
    x = saved(cfg, tmp_path)
    path = tmp_path / "cfg.json"
    before = saelens_format.load(tmp_path).encode(x)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"apply_b_dec_to_input": False}))
    ours, theirs = saelens_format.load(tmp_path), SAELensSAE.load_from_disk(tmp_path)
    assert (ours.encode(x) - theirs.encode(x)).abs().max() <= 2e-5
    assert (ours(x).reconstruction - theirs(x)).abs().max() <= 2e-5
    assert (ours.encode(x) - before).abs().max() > 0.1


def test_thresholds_below_zero_give_what_sae_lens_gives(tmp_path: Path):
    x = saved(next(cfg for cfg in CONFIGS if cfg.architecture == "jumprelu"), tmp_path)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    weights["threshold"] -= 2 * weights["threshold"].max()
    save_file(weights, tmp_path / "sae_weights.safetensors")
    theirs, ours = SAELensSAE.load_from_disk(tmp_path), saelens_format.load(tmp_path)
    assert (weights["threshold"] < 0).any()
    torch.testing.assert_close(ours.encode(x), theirs.encode(x), rtol=1e-4, atol=1e-5)


def test_a_setting_that_means_another_computation_is_refused(tmp_path: Path):
    saved(TopKConfig(k=5), tmp_path)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_acts_by_decoder_norm": True}))
    with pytest.raises(UserError, match="says rescale_acts_by_decoder_norm=True, expected False"):
        saelens_format.load(tmp_path)


def test_an_unknown_architecture_names_the_known_ones(tmp_path: Path):
    saved(TopKConfig(k=5), tmp_path)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architecture": "temporal"}))
    with pytest.raises(
        UserError, match="says architecture 'temporal', expected one of gated, jumprelu, standard, topk"
    ):
        saelens_format.load(tmp_path)
