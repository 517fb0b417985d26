"""Triton's kernels beside torch's: on the GPU where there is one, else in Triton's interpreter on the CPU (conftest)."""

import sys

import pytest
import torch

from sae.build import build
from sae.config import SAEConfig, TopKConfig
from sae.errors import UserError
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import Kernels, TorchKernels, choose
from sae.sparse.support import Support

pytest.importorskip("triton", reason="Triton is for Linux on x86-64")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WIDTHS = (1, 37, 128, 300)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    # The checks of shapes that the tests put into `sae` hide a kernel's names from Triton's interpreter.
    finders = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("jaxtyping")]
    monkeypatch.setattr(sys, "meta_path", finders)
    return choose("triton", DEVICE)


def ragged(n_rows: int, d_sae: int) -> tuple[Support, torch.Tensor]:
    """Entries of which a row has none, one more than a tile, or any number; and their values."""
    generator = torch.Generator().manual_seed(5)
    counts = torch.tensor([0, 1, 16, 17, 0, *torch.randint(0, 30, (n_rows - 5,), generator=generator).tolist()])
    ptr = torch.zeros(n_rows + 1, dtype=torch.int32)
    ptr[1:] = counts.cumsum(0)
    index = torch.randint(0, d_sae - 1, (int(ptr[-1]),), generator=generator).int()  # the last feature never fires
    values = torch.randn(len(index), generator=generator)
    return Support(ptr.to(DEVICE), index.to(DEVICE), d_sae, TorchKernels()), values.to(DEVICE)


@pytest.mark.parametrize("d", WIDTHS)
def test_every_operation_gives_what_torch_gives(kernel: Kernels, d: int):
    support, values = ragged(n_rows=9, d_sae=20)
    generator = torch.Generator().manual_seed(d)
    table, rows = torch.randn(20, d, generator=generator).to(DEVICE), torch.randn(9, d, generator=generator).to(DEVICE)
    torch_kernels, ptr = TorchKernels(), support.row_ptr
    pairs = [
        (
            one.weighted_sums(table, support.index, ptr, values),
            one.dots(rows, table, support),
            one.sums(values, support),
        )
        for one in (kernel, torch_kernels)
    ]
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    by_hand = torch.stack(
        [
            sum(
                (values[j] * table[support.index[j]] for j in range(int(ptr[row]), int(ptr[row + 1]))),
                start=torch.zeros(d, device=DEVICE),
            )
            for row in range(9)
        ]
    )
    torch.testing.assert_close(pairs[0][0], by_hand, rtol=1e-5, atol=1e-5)


def test_no_entries_give_zeros(kernel: Kernels):
    nothing = Support(
        torch.zeros(4, dtype=torch.int32, device=DEVICE), torch.empty(0, dtype=torch.int32, device=DEVICE), 6, kernel
    )
    none = torch.empty(0, device=DEVICE)
    table = torch.ones(6, 5, device=DEVICE)
    assert torch.equal(kernel.weighted_sums(table, nothing.index, nothing.row_ptr, none).cpu(), torch.zeros(3, 5))
    assert torch.equal(kernel.sums(none, nothing).cpu(), torch.zeros(6))
    assert kernel.dots(table, table, nothing).shape == (0,)


@pytest.mark.parametrize("cfg", [TopKConfig(expansion_factor=3, k=4, aux_k=3)], ids=lambda cfg: cfg.architecture)
def test_a_step_has_the_gradients_of_the_dense_one_and_the_same_bytes_each_time(kernel: Kernels, cfg: SAEConfig):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 10, generator=generator)
    sae = build(cfg, 10)
    sae.initialise(x, generator, 0.7)
    sae, x = sae.to(DEVICE), x.to(DEVICE)
    dead = torch.zeros(sae.d_sae, dtype=torch.bool, device=DEVICE)
    dead[:6] = True
    ends = []
    for losses in (
        sae.losses(x, dead, 1.0),
        sae.sparse_losses(x, dead, 1.0, SparseEngine(kernel)),
        sae.sparse_losses(x, dead, 1.0, SparseEngine(kernel)),
    ):
        sae.zero_grad(set_to_none=True)
        losses.total.backward()
        ends.append({name: p.grad.clone() for name, p in sae.named_parameters() if p.grad is not None})
    dense, sparse, again = ends
    assert dense.keys() == sparse.keys()
    for name, value in dense.items():
        torch.testing.assert_close(sparse[name], value, rtol=2e-4, atol=1e-5)
        assert torch.equal(sparse[name], again[name])


def test_triton_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        UserError, match=r"training.kernels is triton, but the SAE is on cpu, expected Triton, .* and a GPU"
    ):
        choose("triton", "cpu")
