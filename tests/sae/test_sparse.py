"""Sparse steps: the same losses and gradients as the dense ones, whatever the back end, and no matrix [batch, d_sae]."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.base import SAE, Losses, squared_error
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
from sae.gated import GatedSAE
from sae.jumprelu import upper_quantile
from sae.sparse import engine as engines
from sae.sparse.engine import Encoder, SparseEngine
from sae.sparse.kernels import Kernels, TorchKernels, choose, radix_order
from sae.sparse.support import Support

CONFIGS: list[SAEConfig] = [
    L1Config(expansion_factor=6),
    TopKConfig(expansion_factor=6, k=5),
    JumpReLUConfig(expansion_factor=6, target_l0=5),
    JumpReLUConfig(expansion_factor=6, target_l0=None, l0_coefficient=0.1),
    BatchTopKConfig(expansion_factor=6, k=5),
    MatryoshkaConfig(expansion_factor=6, k=5),
    GatedConfig(expansion_factor=6),
]
D_IN = 12


def kernels() -> list[Kernels]:
    found: list[Kernels] = [TorchKernels()]
    numba = pytest.importorskip("numba", reason="numba is an extra") and choose("numba")
    return [*found, numba]


@pytest.fixture(params=["torch", "numba"])
def kernel(request: pytest.FixtureRequest) -> Kernels:
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is an extra")
    return choose(request.param)


def fresh(cfg: SAEConfig, n: int = 150) -> tuple[SAE, torch.Tensor]:
    """An autoencoder in the midst of training: nothing is zero, and decoder rows differ in norm where they may."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, D_IN, generator=generator) * 1.5 + 0.5
    sae = build(cfg, D_IN)
    sae.initialise(x, generator, 0.7)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            if name != "threshold":
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return sae, x


def gradients(sae: SAE, losses: Losses) -> dict[str, torch.Tensor]:
    sae.zero_grad(set_to_none=True)
    losses.total.backward()
    return {name: parameter.grad for name, parameter in sae.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("n_dead", [0, 9])
@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_losses_and_gradients_equal_those_of_the_dense_step(
    cfg: SAEConfig, n_dead: int, kernel: Kernels, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engines, "BUFFER_BYTES", 64 * 4 * D_IN * 6)  # three chunks, the last one ragged
    sae, x = fresh(cfg)
    dead = torch.zeros(sae.d_sae, dtype=torch.bool)
    dead[:n_dead] = True
    dense = sae.losses(x, dead, 0.8)
    expected = gradients(sae, dense)
    sparse = sae.sparse_losses(x, dead, 0.8, SparseEngine(kernel))
    found = gradients(sae, sparse)
    assert sparse.terms.keys() == dense.terms.keys()
    for name, value in dense.terms.items():
        assert sparse.terms[name].item() == pytest.approx(value.item(), rel=2e-5, abs=1e-7), name
    assert torch.equal(sparse.fired, dense.fired)
    assert sparse.n_codes == dense.n_codes
    torch.testing.assert_close(sparse.reconstruction, dense.reconstruction, rtol=1e-4, atol=1e-5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
        assert found[name].stride() == dict(sae.named_parameters())[name].stride(), "fused Adam wants one layout"


@pytest.mark.parametrize("cfg", [one for one in CONFIGS if hasattr(one, "aux_k")], ids=lambda cfg: cfg.architecture)
def test_the_auxiliary_loss_is_sparse_where_most_features_are_dead_and_the_same(
    cfg: SAEConfig, kernel: Kernels, monkeypatch: pytest.MonkeyPatch
):
    sae, x = fresh(cfg.model_copy(update={"aux_k": 2, "aux_coefficient": 1.0}))
    dead = torch.ones(sae.d_sae, dtype=torch.bool)
    dead[::3] = False
    expected = gradients(sae, sae.losses(x, dead, 0.8))
    sizes: list[int] = []
    top = SparseEngine.top
    monkeypatch.setattr(SparseEngine, "top", lambda *given: sizes.append(len(given[2].bias)) or top(*given))
    found = gradients(sae, sae.sparse_losses(x, dead, 0.8, SparseEngine(kernel)))
    assert sizes[-1] == int(dead.sum()), "the dead features alone"
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
    few = torch.zeros_like(dead)
    few[:6] = True
    sizes.clear()
    sae.sparse_losses(x, few, 0.8, SparseEngine(kernel))
    assert few.sum() not in sizes, "2 of 6 are no few"


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_codes_are_the_encoding_without_its_zeros(cfg: SAEConfig, kernel: Kernels):
    sae, x = fresh(cfg)
    with torch.inference_mode():
        codes, expected = sae.codes(x, SparseEngine(kernel)), sae(x)
        torch.testing.assert_close(codes.support.dense(codes.values), expected.feature_acts, rtol=1e-5, atol=1e-6)
        assert torch.equal(codes.fired, (expected.feature_acts > 0).sum(dim=0))
        torch.testing.assert_close(codes.decode(sae.W_dec) + sae.b_dec, expected.reconstruction, rtol=1e-4, atol=1e-5)


def frozen_total(sae: SAE, x: torch.Tensor, start: SAE) -> torch.Tensor:
    """The dense loss, in which what has no gradient stays as it was at the start: the decoder in a gate's own term."""
    losses = sae.losses(x, torch.zeros(sae.d_sae, dtype=torch.bool), 0.8)
    if not isinstance(sae, GatedSAE):
        return losses.total
    by_gate = torch.relu(sae.pre_acts(x)) @ start.W_dec + start.b_dec
    return losses.total - losses.terms["gate_mse"] + squared_error(x, by_gate)


def difference(sae: SAE, x: torch.Tensor, name: str, entry: tuple[int, ...]) -> float:
    """How the loss changes with one entry of a parameter, by steps so small that no feature turns on or off."""
    totals = []
    for step in (1e-6, -1e-6):
        moved = copy.deepcopy(sae)
        with torch.no_grad():
            moved.get_parameter(name)[entry] += step
            totals.append(frozen_total(moved, x, sae).item())
    return (totals[0] - totals[1]) / 2e-6


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_gradients_equal_finite_differences(cfg: SAEConfig):
    """Of the dense loss in float64, at the entries of largest gradient and at others. Not of thresholds: theirs are estimates."""
    sae, x = fresh(cfg)
    losses = sae.sparse_losses(x, torch.zeros(sae.d_sae, dtype=torch.bool), 0.8, SparseEngine(TorchKernels()))
    found = gradients(sae, losses)
    exact, exact_x = copy.deepcopy(sae).double(), x.double()
    generator = torch.Generator().manual_seed(11)
    for name in sorted(found.keys() - {"threshold"}):
        grad = found[name]
        largest = grad.abs().flatten().topk(4).indices
        places = torch.cat([largest, torch.randint(grad.numel(), (6,), generator=generator)])
        assert grad.flatten()[largest].all(), name
        for place in places:
            entry = tuple(int(one) for one in torch.unravel_index(place, grad.shape))
            expected = difference(exact, exact_x, name, entry)
            assert grad[entry].item() == pytest.approx(expected, rel=1e-3, abs=2e-6), (name, entry)


@given(st.integers(1, 40), st.integers(1, 700), st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_largest_are_chosen_whatever_the_width(k: int, width: int, seed: int, has_ties: bool):
    k = min(k, width)
    generator = torch.Generator().manual_seed(seed)
    products = torch.randn(7, width, generator=generator)
    products = products.round(decimals=0) if has_ties else products
    bias = torch.zeros(width) if has_ties else torch.randn(width, generator=generator)
    expected = (products + bias).topk(k, dim=1).values
    for kernel in kernels():
        counts, index, values = kernel.top(products.clone(), bias, k)
        assert counts.tolist() == [k] * 7
        places = index.view(7, k).long()
        assert all(len(set(row.tolist())) == k for row in places)
        assert torch.equal(values.view(7, k), (products + bias).gather(1, places))
        assert torch.equal(values.view(7, k).sort(dim=1, descending=True).values, expected)


def test_a_value_that_is_no_number_is_chosen_so_that_the_loss_tells(kernel: Kernels):
    products = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    products[1, 5] = torch.nan
    values = kernel.top(products, torch.zeros(64), 4).values.view(3, 4)
    assert values.isnan().any(dim=1).tolist() == [False, True, False]


def test_all_above_their_floor_are_taken_in_order(kernel: Kernels):
    generator = torch.Generator().manual_seed(1)
    products, bias, floor = (torch.randn(*shape, generator=generator) for shape in ((40, 130), (130,), (130,)))
    floor += 1
    expected = products > floor - bias
    counts, index, values = kernel.above(products.clone(), bias, floor)
    assert counts.tolist() == expected.sum(dim=1).tolist()
    assert index.tolist() == expected.nonzero()[:, 1].tolist()
    assert torch.equal(values, (products + bias)[expected])
    assert kernel.above(products, bias, torch.full((130,), 99.0)).features.numel() == 0


@given(st.integers(0, 5000), st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_the_batchs_largest_are_found_by_threshold_search(seed: int, k: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(33, 6, generator=generator)
    encoder = Encoder(torch.randn(48, 6, generator=generator).T, torch.randn(48, generator=generator), torch.zeros(6))
    pre_acts = (x @ encoder.W_enc + encoder.bias).flatten()
    expected = pre_acts[pre_acts > 0].sort(descending=True).values[:k]
    codes = SparseEngine(TorchKernels()).top_of_batch(x, encoder, k)
    assert codes.values.sort(descending=True).values.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert (codes.support.dense(codes.values) != 0).sum() == len(expected)


def test_turning_a_support_round_orders_it_by_feature(kernel: Kernels):
    support = Support(
        torch.tensor([0, 2, 2, 5], dtype=torch.int32), torch.tensor([3, 0, 3, 1, 0], dtype=torch.int32), 5, kernel
    )
    by_feature = support.transposed
    assert by_feature.feature_ptr.tolist() == [0, 2, 3, 3, 5, 5]
    assert by_feature.row.tolist() == [0, 2, 2, 0, 2]
    assert by_feature.order.tolist() == [1, 4, 3, 0, 2]
    assert support.row.tolist() == [0, 0, 2, 2, 2]


def test_radix_order_is_stable_beyond_sixteen_bits():
    import numpy as np

    index = np.random.default_rng(0).integers(0, 200_000, 5000).astype(np.int32)
    assert np.array_equal(radix_order(index), np.argsort(index, kind="stable"))


def test_a_bfloat16_encoder_selects_and_float32_computes():
    sae, x = fresh(TopKConfig(expansion_factor=6, k=5))
    codes = SparseEngine(TorchKernels(), "bfloat16").top(x, sae.encoder, 5)
    exact = sae.pre_acts(x)
    torch.testing.assert_close(codes.values, exact[codes.support.row.long(), codes.support.index.long()])
    chosen = torch.zeros_like(exact, dtype=torch.bool)
    chosen[codes.support.row.long(), codes.support.index.long()] = True
    best = torch.zeros_like(chosen).scatter(1, exact.topk(5).indices, value=True)
    assert (chosen & best).sum() / best.sum() > 0.97


@given(st.integers(0, 5000), st.sampled_from([3, 12, 65]), st.integers(1, 9), st.sampled_from([1.0, 300.0]))
@settings(max_examples=40, deadline=None)
def test_integers_propose_what_floats_would_choose(seed: int, d_in: int, k: int, outlier: float):
    pytest.importorskip("numba", reason="numba is an extra")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, d_in, generator=generator)
    x[::3, 0] *= outlier  # one large entry leaves the others of its row few of the 127 steps
    weights = torch.randn(150, d_in, generator=generator) * torch.rand(150, 1, generator=generator)
    encoder = Encoder(weights.T, torch.randn(150, generator=generator), torch.randn(d_in, generator=generator))
    codes = SparseEngine(choose("numba"), "int8").top(x, encoder, k)
    exact = (x - encoder.b_dec) @ encoder.W_enc + encoder.bias
    places = codes.support.index.view(40, k).long()
    assert all(len(set(row.tolist())) == k for row in places)
    torch.testing.assert_close(codes.values.view(40, k), exact.gather(1, places), rtol=1e-4, atol=1e-4)
    found, expected = (values.sort(dim=1).values for values in (codes.values.view(40, k), exact.topk(k, dim=1).values))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_integers_leave_rows_without_numbers_to_floats_so_that_the_loss_tells():
    pytest.importorskip("numba", reason="numba is an extra")
    sae, x = fresh(TopKConfig(expansion_factor=6, k=5))
    x[7, 3] = torch.nan
    values = SparseEngine(choose("numba"), "int8").top(x, sae.encoder, 5).values.view(-1, 5)
    assert values.isnan().any(dim=1).nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("n_dead", [0, 9])
def test_losses_and_gradients_after_integers_equal_those_of_the_dense_step(n_dead: int):
    pytest.importorskip("numba", reason="numba is an extra")
    sae, x = fresh(TopKConfig(expansion_factor=6, k=5))
    dead = torch.arange(sae.d_sae) < n_dead
    expected = gradients(sae, sae.losses(x, dead, 0.8))
    found = gradients(sae, sae.sparse_losses(x, dead, 0.8, SparseEngine(choose("numba"), "int8")))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=1e-5)


def test_integers_without_numba_are_refused():
    with pytest.raises(UserError, match=r"encoder_dtype is int8, but the kernels are torch, expected numba"):
        SparseEngine(TorchKernels(), "int8")


def test_weights_of_a_feature_lie_together():
    sae, _ = fresh(TopKConfig(expansion_factor=6, k=5))
    assert sae.W_enc.T.is_contiguous()
    assert sae.W_dec.is_contiguous()


def test_numba_for_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"training.kernels is numba, but the SAE is on cuda"):
        choose("numba", "cuda")


def test_broken_weights_do_not_keep_the_search_for_a_threshold_going():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(torch.ones(3, 4), torch.full((4,), float("inf")), torch.zeros(3))
    codes = SparseEngine(TorchKernels()).top_of_batch(x, encoder, 5)
    assert codes.values.isinf().all()


@pytest.mark.parametrize("share", [0.0, 1 / 300, 0.013, 0.25, 0.5])
def test_the_upper_quantile_is_that_of_torch(share: float):
    values = torch.randn(301, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(upper_quantile(values, share), torch.quantile(values, 1 - share, dim=0))
    torch.testing.assert_close(upper_quantile(values[:1], share), values[0])
