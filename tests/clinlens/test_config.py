"""Every mistake in a config is one exact sentence; overrides reach what they name."""

from pathlib import Path

import pytest
import yaml

from clinlens import config, settings_page
from clinlens.config import RunConfig
from sae.config import JumpReLUConfig, TopKConfig
from sae.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"folder": "runs/x"}

BAD = {
    "unknown key": (
        {"training": {"learning_rate": 1}},
        "training.learning_rate is no setting, expected one of batch_tokens, checkpoint_every_steps, dead_after_tokens, device, "
        "encoder_dtype, exclude_special_tokens, gradient_clip, hook_points, hook_points_at_once, kernels, log_every_steps, "
        "lr, lr_decay, lr_warmup, "
        "max_norm_ratio, n_tokens, repeat, saes_at_once, shuffle_tokens, sparsity_warmup. Correct or remove it.",
    ),
    "misspelt key": (
        {"training": {"n_token": 1}},
        "training.n_token is no setting, did you mean 'n_tokens'. Correct or remove it.",
    ),
    "misspelt section": ({"trainning": {}}, "trainning is no setting, did you mean 'training'. Correct or remove it."),
    "misspelt SAE key": (
        {"sae": [{"architecture": "topk", "kk": 3}]},
        "sae.0.kk is no setting, did you mean 'k'. Correct or remove it.",
    ),
    "k of an L1 SAE": (
        {"sae": [{"architecture": "l1", "k": 3}]},
        "sae.0.k is no setting, expected one of architecture, expansion_factor, l1_coefficient. Correct or remove it.",
    ),
    "unknown architecture": (
        {"sae": [{"architecture": "transformer"}]},
        "sae.0.architecture is 'transformer', expected one of l1, topk, jumprelu, batchtopk, matryoshka, gated. Correct it.",
    ),
    "no architecture": (
        {"sae": {"k": 3}},
        "sae.0.architecture is None, expected one of l1, topk, jumprelu, batchtopk, matryoshka, gated. Correct it.",
    ),
    "negative k": (
        {"sae": [{"architecture": "topk", "k": -1}]},
        "sae.0.k is -1, expected greater than 0. Correct it.",
    ),
    "negative coefficient": (
        {"sae": [{"architecture": "l1", "l1_coefficient": -2}]},
        "sae.0.l1_coefficient is -2, expected greater than or equal to 0. Correct it.",
    ),
    "word for a number": (
        {"training": {"lr": "fast"}},
        "training.lr is 'fast', expected a valid number, unable to parse string as a number. Correct it.",
    ),
    "unknown choice": (
        {"engine": {"kind": "cloud"}},
        "engine.kind is 'cloud', expected 'inline', 'processes', 'ray' or 'slurm'. Correct it.",
    ),
    "share out of range": ({"corpus": {"held_out": 1.5}}, "corpus.held_out is 1.5, expected less than 1. Correct it."),
    "no hook points": (
        {"capture": {"hook_points": []}},
        "capture.hook_points is empty, expected at least one entry. Add one.",
    ),
    "the same SAE twice": (
        {"sae": [{"architecture": "topk"}, {"architecture": "topk"}]},
        "sae lists the same settings twice, expected different ones. Correct it.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_setting_is_one_exact_sentence(name: str):
    values, sentence = BAD[name]
    with pytest.raises(UserError) as error:
        config.validated(GOOD | values, "run.yaml")
    assert str(error.value) == f"run.yaml: {sentence}"


def test_a_config_without_a_folder_says_so():
    with pytest.raises(UserError) as error:
        config.validated({}, "run.yaml")
    assert str(error.value) == "run.yaml: folder is not set, expected a value. Add it."


def test_several_mistakes_are_counted():
    with pytest.raises(UserError, match=r"^run.yaml \(1 more after it\): "):
        config.validated(GOOD | {"seed": -1, "nonsense": 1}, "run.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("folder: [", "is no YAML at line 1, expected `key: value` lines. Correct it there."),
        ("- a\n- b", "holds list, expected sections such as `model:`. Begin from configs/quickstart.yaml."),
    ],
)
def test_a_file_that_is_no_config_says_where(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        config.read(path)
    assert str(error.value) == f"{path} {sentence}"


def write(tmp_path: Path, values: dict) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(GOOD | values))
    return path


def test_an_override_of_sae_reaches_every_sae_that_has_the_key(tmp_path: Path):
    path = write(tmp_path, {"sae": [{"architecture": "topk"}, {"architecture": "jumprelu"}]})
    cfg = config.read(path, ("sae.k=64", "sae.expansion_factor=2", "training.lr=1e-4"))
    assert cfg.sae == (TopKConfig(k=64, expansion_factor=2), JumpReLUConfig(expansion_factor=2))
    assert cfg.training.lr == 1e-4


def test_an_override_reaches_default_saes_and_single_ones(tmp_path: Path):
    assert config.read(write(tmp_path, {}), ("sae.k=64",)).sae[0] == TopKConfig(k=64)
    assert config.read(write(tmp_path, {"sae": {"architecture": "topk"}}), ("sae.k=64",)).sae == (TopKConfig(k=64),)
    assert config.read(write(tmp_path, {"sae": [{"architecture": "topk"}]}), ("sae.0.k=5",)).sae == (TopKConfig(k=5),)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.lr", "--set training.lr has no `=`, expected section.key=value. Write it so."),
        ("seed.x=1", "--set seed.x=1: 'seed' is no section, expected section.key=value. Correct the path."),
        (
            "sae.width=1",
            "--set sae.width=1: none of the SAEs under `sae:` has 'width', expected a setting of one of them. Correct the key.",
        ),
        ("sae.9.k=1", "--set sae.9.k=1: '9' is no section, expected section.key=value. Correct the path."),
    ],
)
def test_a_wrong_override_is_one_exact_sentence(tmp_path: Path, override: str, sentence: str):
    with pytest.raises(UserError) as error:
        config.read(write(tmp_path, {"seed": 1}), (override,))
    assert str(error.value) == sentence


def test_the_config_in_a_run_folder_is_the_one_it_was_made_with(tmp_path: Path):
    cfg = config.read(write(tmp_path, {"sae": [{"architecture": "l1"}], "seed": 3}))
    config.write(cfg, tmp_path / "run")
    assert config.read(tmp_path / "run") == cfg.model_copy(update={"folder": tmp_path / "run"})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path):
    assert isinstance(config.read(path), RunConfig)


def test_the_settings_page_and_the_schema_are_what_the_code_says():
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page.page()
    assert (ROOT / "configs" / "schema.json").read_text(encoding="utf-8") == settings_page.schema()


def test_every_setting_has_a_sentence():
    lines = [line for line in settings_page.page().splitlines() if line.startswith("| `")]
    assert len(lines) > 60
    assert all(line.split("|")[-2].strip().endswith(".") for line in lines)
