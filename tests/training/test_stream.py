"""Batches come from every row once per epoch, in an order that follows from the seed, from any point on."""

from itertools import islice

import numpy as np
import pytest
import torch

from hooks.store import Store
from sae.errors import UserError
from training import stream as streams
from training.config import TrainingConfig
from training.stream import ActivationStream

POINT = "blocks.1.hook_resid_post"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK_ROWS", 16)


def stream(store: Store, seed: int = 0, **settings: object) -> ActivationStream:
    values: dict[str, object] = {"batch_tokens": 37, "shuffle_tokens": 100, "n_tokens": 10_000}
    return ActivationStream(store, POINT, TrainingConfig.model_validate(values | settings), seed)


def kept_rows(store: Store) -> torch.Tensor:
    parts = [s.acts(POINT, 0, s.n_tokens)[torch.from_numpy(~s.is_special)] for s in store.shards("train")]
    return torch.cat(parts)


def as_set(rows: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(tuple(row[:4].tolist()) for row in rows)


def test_an_epoch_holds_every_kept_row_exactly_once(store: Store):
    found = stream(store, batch_tokens=1)
    rows = torch.cat(list(islice(found.batches(), found.counts.kept)))
    expected = kept_rows(store) * found.input_scale
    assert as_set(rows) == as_set(expected)


def test_special_tokens_are_left_out_and_counted(store: Store):
    n_special = sum(int(shard.is_special.sum()) for shard in store.shards("train"))
    assert n_special > 0
    assert stream(store).counts == (len(kept_rows(store)), n_special, 0)
    assert stream(store, exclude_special_tokens=False).counts.special == 0


def test_rows_of_outlying_norm_are_left_out_and_counted(store: Store):
    norms = kept_rows(store).norm(dim=1)
    ratio = float(norms.quantile(0.9) / norms.median())
    counts = stream(store, max_norm_ratio=ratio).counts
    assert counts.outlier == pytest.approx(0.1 * len(norms), abs=2)


@pytest.mark.parametrize("first", [1, 2, 3, 7, 20, 61])
def test_entering_at_any_batch_gives_the_same_batches(store: Store, first: int):
    whole = list(islice(stream(store).batches(), first + 4))
    entered = list(islice(stream(store).batches(first), 4))
    assert all(torch.equal(a, b) for a, b in zip(whole[first:], entered, strict=True))


def test_the_order_follows_the_seed_and_changes_with_the_epoch(store: Store):
    first = next(stream(store).batches())
    assert torch.equal(first, next(stream(store).batches()))
    assert not torch.equal(first, next(stream(store, seed=1).batches()))
    one = stream(store, batch_tokens=1)
    n = one.counts.kept
    rows = torch.cat(list(islice(one.batches(), 2 * n)))
    assert not torch.equal(rows[:n], rows[n:])
    assert as_set(rows[:n]) == as_set(rows[n:])


def test_neighbours_in_a_batch_are_no_neighbours_in_the_text(store: Store):
    rows = kept_rows(store)
    in_order = (rows[1:] - rows[:-1]).norm(dim=1).mean()
    shuffled = stream(store, batch_tokens=len(rows), shuffle_tokens=10_000)
    batch = next(shuffled.batches()) / shuffled.input_scale
    centred = batch - batch.mean(0)
    correlation = float((centred[1:] * centred[:-1]).sum() / centred.square().sum())
    assert abs(correlation) < 0.1
    assert in_order > 0


def test_batches_have_a_mean_norm_of_root_d(store: Store):
    found = stream(store, batch_tokens=1)
    rows = torch.cat(list(islice(found.batches(), found.counts.kept)))
    assert rows.norm(dim=1).mean().item() == pytest.approx(np.sqrt(32), rel=1e-3)


def test_too_few_rows_for_one_batch_is_an_error(store: Store):
    with pytest.raises(UserError, match=r"expected at least batch_tokens=100000. Capture more documents or lower"):
        stream(store, batch_tokens=100_000).batches().__next__()
