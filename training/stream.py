"""Shuffled batches of activations from the store, the same for the same seed and to be entered at any batch.

1. Rows are read in blocks of neighbours, the blocks in random order, so that the disk is read in large pieces.
2. Blocks fill a pool, the pool's rows are mixed, and batches are cut from one pool after another.
3. Every epoch has its own order. Which rows a pool holds follows from counts alone, so that a resumed run skips
   whole pools without reading them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooks.shard import ShardReader, Span, read_spans
from hooks.store import Store
from sae.errors import UserError
from training.config import TrainingConfig

BLOCK_ROWS = 256
"""Source: measured, whole blocks of 256 to 1,024 rows in random order read as fast as in sequence."""


class Block(NamedTuple):
    """Neighbouring rows of one shard."""

    shard: int
    start: int
    stop: int
    n_kept: int
    """Rows that take part in training."""


class RowCounts(NamedTuple):
    """What happened to the rows of the train side."""

    kept: int
    special: int
    """Left out as special tokens."""
    outlier: int
    """Left out for their norm."""


@dataclass(frozen=True)
class ActivationStream:
    """The train rows of one hook point."""

    store: Store
    hook_point: str
    cfg: TrainingConfig
    seed: int

    @cached_property
    def shards(self) -> list[ShardReader]:
        return self.store.shards("train")

    @cached_property
    def _masks(self) -> tuple[list[np.ndarray], RowCounts, float]:
        norms = [shard.norm(self.hook_point) for shard in self.shards]
        for shard, norm in zip(self.shards, norms, strict=True):
            if not np.isfinite(norm).all():
                raise UserError(
                    f"{shard.path} has a value that is no number at {self.hook_point}, row {int(np.argmin(np.isfinite(norm)))}, "
                    "expected finite activations. Capture with capture.dtype=float32 or bfloat16, or leave that document out."
                )
        special = [shard.is_special & self.cfg.exclude_special_tokens for shard in self.shards]
        limit = np.inf
        if self.cfg.max_norm_ratio is not None:
            ordinary = np.concatenate([norm[~mask] for norm, mask in zip(norms, special, strict=True)])
            limit = self.cfg.max_norm_ratio * float(np.median(ordinary)) if len(ordinary) else np.inf
        keep = [~mask & (norm <= limit) for norm, mask in zip(norms, special, strict=True)]
        n_special, n_kept = sum(int(mask.sum()) for mask in special), sum(int(mask.sum()) for mask in keep)
        counts = RowCounts(n_kept, n_special, sum(len(mask) for mask in keep) - n_special - n_kept)
        if n_kept < self.cfg.batch_tokens:
            raise UserError(
                f"The store has {n_kept} rows to train on at {self.hook_point}, expected at least "
                f"batch_tokens={self.cfg.batch_tokens}. Capture more documents or lower training.batch_tokens."
            )
        return keep, counts, limit

    def refuse_damage(self) -> None:
        """Names the first value of the store that is no number, which its norms did not tell: a damaged file.

        Raises:
            UserError: There is one.
        """
        for shard in self.shards:
            for start in range(0, shard.n_tokens, BLOCK_ROWS):
                rows = shard.acts(self.hook_point, start, min(start + BLOCK_ROWS, shard.n_tokens))
                is_whole = rows.isfinite().all(dim=1)
                if not bool(is_whole.all()):
                    row = start + int(is_whole.int().argmin())
                    raise UserError(
                        f"{shard.path} has a value that is no number at {self.hook_point}, row {row}, where none was captured. "
                        "Run `clinlens capture --verify` to find what is damaged, then `clinlens capture`."
                    )

    def refuse_repetition(self, n_tokens: int) -> None:
        """Stops where tokens would be seen twice and should not.

        Raises:
            UserError: The store has fewer tokens than asked.
        """
        if not self.cfg.repeat and self.counts.kept < n_tokens:
            raise UserError(
                f"training.n_tokens is {n_tokens:,}, but the store has {self.counts.kept:,} rows to train on at "
                f"{self.hook_point}, expected as many since training.repeat is false. Capture more documents, lower "
                "n_tokens, or set training.repeat=true."
            )

    @property
    def norm_limit(self) -> float | None:
        """Norm above which rows are left out; none if there is no limit."""
        return self._masks[2] if np.isfinite(self._masks[2]) else None

    @property
    def counts(self) -> RowCounts:
        """Rows kept and left out."""
        return self._masks[1]

    @cached_property
    def input_scale(self) -> float:
        """Factor that gives the kept rows a mean norm of √d_in. Source: Conerly et al. 2024."""
        keep, counts, _ = self._masks
        total = sum(
            float(shard.norm(self.hook_point)[mask].sum(dtype=np.float64))
            for shard, mask in zip(self.shards, keep, strict=True)
        )
        return float(np.sqrt(self.store.hook_points[self.hook_point]) / (total / counts.kept))

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks, in the store's order."""
        return [
            Block(index, start, min(start + BLOCK_ROWS, len(mask)), int(mask[start : start + BLOCK_ROWS].sum()))
            for index, mask in enumerate(self._masks[0])
            for start in range(0, len(mask), BLOCK_ROWS)
        ]

    def batches(self, first: int = 0) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Endless scaled batches, from batch number `first` on."""
        epoch, offset = divmod(first * self.cfg.batch_tokens, self.counts.kept)
        rest: list[Tensor] = []
        n_rest = 0
        while True:
            for number, pool in enumerate(self._pools(epoch)):
                n_pool = sum(block.n_kept for block in pool)
                if offset >= n_pool:
                    offset -= n_pool
                    continue
                rest.append(self._mixed(pool, epoch, number)[offset:])
                n_rest += n_pool - offset
                offset = 0
                if n_rest < self.cfg.batch_tokens:
                    continue
                rows = torch.cat(rest)
                n_whole = n_rest // self.cfg.batch_tokens * self.cfg.batch_tokens
                yield from rows[:n_whole].split(self.cfg.batch_tokens)
                rest, n_rest = [rows[n_whole:]], n_rest - n_whole
            epoch += 1

    def sample(self) -> Float[Tensor, "n d_in"]:
        """The first pool of the first epoch, scaled: what an autoencoder is initialised on."""
        return self._mixed(self._pools(0)[0], 0, 0)

    def _pools(self, epoch: int) -> list[list[Block]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.blocks))
        pools: list[list[Block]] = [[]]
        room = self.cfg.shuffle_tokens
        for index in order:
            block = self.blocks[index]
            if block.n_kept > room and pools[-1]:
                pools.append([])
                room = self.cfg.shuffle_tokens
            pools[-1].append(block)
            room -= block.n_kept
        return pools

    def _mixed(self, pool: list[Block], epoch: int, number: int) -> Tensor:
        keep = self._masks[0]
        rows = read_spans(self.hook_point, [Span(self.shards[b.shard], b.start, b.stop) for b in pool])
        kept = np.flatnonzero(np.concatenate([keep[block.shard][block.start : block.stop] for block in pool]))
        order = np.random.default_rng([self.seed, epoch, number]).permutation(len(kept))
        return rows[torch.from_numpy(kept[order])].float() * self.input_scale
