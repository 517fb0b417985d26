"""What is made for a model stands where the model does: tried with tensors that are on a GPU in name only."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.feature_site import only_at
from hooks.hook_points import HookPoint
from tests.analysis.attribution.test_target import random_sae
from tests.analysis.attribution.worlds import TEXT, opened


def test_some_positions_are_kept_where_the_activations_lie():
    acts = torch.arange(12.0).reshape(4, 3)
    assert only_at(acts, (1, 3)).tolist() == [[0, 0, 0], [3, 4, 5], [0, 0, 0], [9, 10, 11]]
    assert only_at(torch.zeros(5, 4, device="meta"), (4,)).device.type == "meta"
    with FakeTensorMode():
        assert only_at(torch.zeros(5, 4, device="cuda"), (1, 4)).device.type == "cuda"


def test_features_are_encoded_where_the_autoencoder_lies(monkeypatch):
    lm, sae = opened("llama"), random_sae()
    case = cases.read(TEXT, lm)
    expected = targets.activations(case, lm, sae, HookPoint(1, "hook_resid_post"))
    seen = []

    def encode(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.device.type)
        return expected

    monkeypatch.setattr(sae, "encode", encode)
    sae.W_dec = torch.nn.Parameter(sae.W_dec.to("meta"))
    found = targets.activations(case, lm, sae, HookPoint(1, "hook_resid_post"))
    assert seen == ["meta"]
    assert torch.equal(found, expected)
