"""Gemma Scope's files are read with the same features, values included; other kinds of its files are refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from sae import gemma_scope, saelens_format
from sae.config import JumpReLUConfig
from sae.errors import UserError

D_IN, D_SAE = 16, 40


def arrays() -> dict[str, np.ndarray]:
    """Weights as Gemma Scope has them: a large b_dec, decoder rows of any norm, thresholds of any sign."""
    rng = np.random.default_rng(0)
    shapes = {
        "W_enc": (D_IN, D_SAE),
        "W_dec": (D_SAE, D_IN),
        "b_enc": (D_SAE,),
        "b_dec": (D_IN,),
        "threshold": (D_SAE,),
    }
    found = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return found | {"b_dec": found["b_dec"] * 20}


def foreign(folder: Path, **changes: np.ndarray) -> torch.Tensor:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **(arrays() | changes))  # type: ignore[arg-type]
    return torch.randn(200, D_IN, generator=torch.Generator().manual_seed(0)) * 3 + 1


def theirs(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`JumpReLUSAE` of Gemma Scope's tutorial, in float64, so that only our rounding is seen."""
    found = {name: torch.from_numpy(value).double() for name, value in np.load(folder / "params.npz").items()}
    pre_acts = x.double() @ found["W_enc"] + found["b_enc"]
    feature_acts = (pre_acts > found["threshold"]) * torch.relu(pre_acts)
    return feature_acts, feature_acts @ found["W_dec"] + found["b_dec"]


def test_features_and_reconstruction_are_theirs(tmp_path: Path):
    x = foreign(tmp_path)
    feature_acts, reconstruction = gemma_scope.load(tmp_path)(x)
    expected_acts, expected_reconstruction = theirs(tmp_path, x)
    assert torch.equal(feature_acts > 0, expected_acts > 0)
    torch.testing.assert_close(feature_acts.double(), expected_acts, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(reconstruction.double(), expected_reconstruction, rtol=1e-4, atol=1e-3)
    assert 0 < (feature_acts > 0).float().mean() < 1


def test_decoder_rows_keep_their_norms(tmp_path: Path):
    foreign(tmp_path)
    assert np.array_equal(gemma_scope.load(tmp_path).W_dec.numpy(), arrays()["W_dec"])


def test_sae_lens_reads_the_same_once_it_is_saved(tmp_path: Path):
    from sae_lens import SAE as SAELensSAE

    x = foreign(tmp_path / "theirs")
    sae = gemma_scope.load(tmp_path / "theirs")
    saelens_format.save(sae, JumpReLUConfig(), tmp_path / "ours", {})
    there = SAELensSAE.load_from_disk(tmp_path / "ours")
    expected_acts, expected_reconstruction = theirs(tmp_path / "theirs", x)
    torch.testing.assert_close(there.encode(x).double(), expected_acts, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there(x).double(), expected_reconstruction, rtol=1e-4, atol=1e-3)


def test_a_scaling_factor_of_1_changes_nothing_and_any_other_is_refused(tmp_path: Path):
    x = foreign(tmp_path / "plain")
    foreign(tmp_path / "one", scaling_factor=np.ones(D_SAE, np.float32))
    foreign(tmp_path / "two", scaling_factor=np.full(D_SAE, 2, np.float32))
    plain, one = (gemma_scope.load(tmp_path / name)(x) for name in ("plain", "one"))
    assert torch.equal(plain.feature_acts, one.feature_acts)
    with pytest.raises(UserError, match="has a scaling_factor other than 1, expected none"):
        gemma_scope.load(tmp_path / "two")


@pytest.mark.parametrize("name", ["gemma-scope-2b-pt-transcoders", "embedding"])
def test_other_kinds_with_the_same_tensors_are_refused(tmp_path: Path, name: str):
    foreign(tmp_path / name / "width_16k")
    with pytest.raises(UserError, match=r"lies in a folder named after (transcoder|embedding)s"):
        gemma_scope.load(tmp_path / name / "width_16k")


def test_other_tensors_are_refused(tmp_path: Path):
    foreign(tmp_path, W_skip=np.zeros((D_IN, D_IN), np.float32))
    with pytest.raises(
        UserError, match="holds W_dec, W_enc, W_skip, b_dec, b_enc, threshold, expected W_dec, W_enc, b_"
    ):
        gemma_scope.load(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path):
    foreign(tmp_path, b_enc=np.full(D_SAE, np.nan, np.float32))
    with pytest.raises(UserError, match="has values in b_enc that are no numbers"):
        gemma_scope.load(tmp_path)


def test_a_file_that_would_execute_code_is_not_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was executed",))

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    np.savez(tmp_path / "params.npz", W_enc=trap)
    with pytest.raises(UserError, match="is no plain archive of arrays"):
        gemma_scope.load(tmp_path)
    (tmp_path / "params.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="is no plain archive of arrays"):
        gemma_scope.load(tmp_path)
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "bare.npy").rename(tmp_path / "params.npz")
    with pytest.raises(UserError, match="is no plain archive of arrays"):
        gemma_scope.load(tmp_path)


def test_the_shift_is_the_same_however_many_features_are_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    foreign(tmp_path)
    whole = gemma_scope.load(tmp_path).b_enc
    monkeypatch.setattr(gemma_scope, "FEATURES_AT_ONCE", 7)
    torch.testing.assert_close(gemma_scope.load(tmp_path).b_enc, whole, rtol=1e-7, atol=1e-6)
