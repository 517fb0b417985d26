"""A profile is read as it was written, holds no text of a case, and is refused by another model or SAE."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.faithfulness.intervals import Mean
from analysis.steering import profile as profiles
from analysis.steering.change import Change
from analysis.steering.profile import Effect, Figure, KeptChange, ModelStamp, Profile
from analysis.steering.steering import Site
from sae.errors import UserError
from tests.analysis.attribution.test_bridge import axis_sae

POINT = "blocks.1.hook_resid_post"
CHANGE = Change(hook_point=POINT, feature=3, mode="clamp", strength=2.0, scale=1.5)


def figure(value: float) -> Figure:
    return Figure(**Mean(value, value - 1, value + 1, 8).record())


def site(sae_hash: str = "aaaabbbb") -> Site:
    return Site(POINT, "topk-1", axis_sae(), sae_hash, None)


def kept(name: str = "calm", **changes: Any) -> Profile:
    effect = Effect(
        answer=" acute", clean_probability=figure(0.2), probability=figure(0.7), log_odds_change=figure(2.2),
        kl_answers=figure(0.4), beyond_controls=figure(2.0), n_controls=20, p_value=1 / 21, clean_perplexity=3.0,
        perplexity=figure(3.1), kl_held_out=figure(0.01), kl_unrelated=figure(0.02), changed_unrelated=figure(0.0),
    )  # fmt: skip
    values: dict[str, Any] = {
        "name": name, "model": ModelStamp(model="tiny", weight_hash="11112222", tokenizer_hash="33334444"),
        "changes": profiles.kept((CHANGE,), (site(),)), "effect": effect, "store_id": "s", "seed": 0, "clinlens": "0",
        "created_at": "2026-01-01T00:00:00.000+00:00",
    }  # fmt: skip
    return Profile(**(values | changes))


def model(weights: str = "11112222", words: str = "33334444") -> Any:
    stamp = {"model": "tiny", "weight_hash": weights, "tokenizer_hash": words}
    return SimpleNamespace(fingerprint=stamp, name="tiny")


def test_a_profile_is_read_as_it_was_written(tmp_path: Path):
    path = profiles.write(kept(), tmp_path)
    assert path == tmp_path / "calm.yaml"
    assert profiles.read(tmp_path, "calm") == kept()
    assert profiles.read(tmp_path, "calm").changes[0].change == CHANGE


def test_a_profile_is_never_replaced(tmp_path: Path):
    profiles.write(kept(), tmp_path)
    with pytest.raises(UserError, match="exists already, expected a new name"):
        profiles.write(kept(note="another"), tmp_path)


def test_its_own_model_and_autoencoder_take_it():
    profiles.refuse_foreign(kept(), model(), (site(),))


@pytest.mark.parametrize(
    ("lm", "sites", "sentence"),
    [
        (model(weights="99990000"), (site(),), r"with weight_hash 11112222, but this run's 'tiny' has 99990000"),
        (model(words="99990000"), (site(),), r"with tokenizer_hash 33334444, but this run's 'tiny' has 99990000"),
        (model(), (site("ccccdddd"),), r"\(hash aaaabbbb\), but the run's has hash ccccdddd, expected the same weights"),
        (model(), (), r"but the run's has hash none"),
    ],
    ids=["weights", "tokenizer", "sae", "no-sae"],
)  # fmt: skip
def test_another_model_or_autoencoder_refuses_it(lm: Any, sites: tuple[Site, ...], sentence: str):
    with pytest.raises(UserError, match=sentence):
        profiles.refuse_foreign(kept(), lm, sites)


@pytest.mark.parametrize("name", ["../calm", "", ".hidden", "a b", "x" * 65])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, tmp_path: Path):
    with pytest.raises(UserError, match="is no name of a profile"):
        profiles.read(tmp_path, name)


def test_an_unknown_profile_is_named_beside_those_that_are_there(tmp_path: Path):
    profiles.write(kept(), tmp_path)
    with pytest.raises(UserError, match=r"holds calm, expected other\."):
        profiles.read(tmp_path, "other")


def test_a_file_that_somebody_changed_is_a_clear_error(tmp_path: Path):
    path = profiles.write(kept(), tmp_path)
    path.write_text(path.read_text().replace("strength: 2.0", "strength: -2.0"))
    with pytest.raises(UserError, match=r"changes\.0\.strength: input should be greater than or equal to 0"):
        profiles.read(tmp_path, "calm")
    path.write_text("{")
    with pytest.raises(UserError, match="is no YAML, expected a profile"):
        profiles.read(tmp_path, "calm")


def test_a_kept_change_knows_its_autoencoder():
    (one,) = profiles.kept((CHANGE,), (site(),))
    assert isinstance(one, KeptChange)
    assert (one.sae_id, one.sae_hash, one.scale) == ("topk-1", "aaaabbbb", 1.5)
