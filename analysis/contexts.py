"""Finding, in one pass and bounded memory, the contexts that show what each feature responds to.

1. Documents are cut into windows; in each, every feature has its strongest token.
2. The strongest windows of each feature are kept (top), with the feature's value on every token around the peak.
3. Beside them a uniform random sample of the windows it fires in (each gets a random key, the largest keys stay),
   which is sorted and thinned at the end to an equal number per quantile.
4. And a uniform random sample of windows in which, and beside which, it is silent (contrasts).

Memory is d_sae × contexts × window_tokens, whatever the number of tokens.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.config import ExamplesConfig
from analysis.examples import before

RESERVOIR_PER_QUANTILE = 8
"""Windows sampled for each one that is kept: the quantiles of a sample of 40 are within 8 % of the true ones."""


class Kept(NamedTuple):
    """The contexts of one kind, best first; a key of −inf marks an empty place."""

    key: Float[Tensor, "d_sae n"]
    """What they are ranked by."""
    row: Int[Tensor, "d_sae n"]
    """Row of the strongest token, counted over all rows searched."""
    activation: Float[Tensor, "d_sae n"]
    """Activation on it."""
    around: Float[Tensor, "d_sae n window"]
    """Activations on the tokens around it; see `examples.before`."""

    @classmethod
    def empty(cls, d_sae: int, n: int, window: int) -> "Kept":
        return cls(
            torch.full((d_sae, n), -torch.inf),
            torch.full((d_sae, n), -1, dtype=torch.int64),
            torch.zeros(d_sae, n),
            torch.zeros(d_sae, n, window, dtype=torch.float16),
        )

    def merged(self, key: Tensor, row: Tensor, activation: Tensor) -> tuple["Kept", Bool[Tensor, "d_sae n"]]:
        """The best of these and others [d_sae, m], as many as there are here; and which of them are new.

        What is around the new ones is still to be filled in.
        """
        n = self.key.shape[1]
        both = [torch.cat(pair, dim=1) for pair in zip(self[:3], (key, row, activation), strict=True)]
        order = both[0].topk(n, dim=1).indices
        wide = order.clamp_max(n - 1)[..., None].expand(*order.shape, self.around.shape[-1])
        best = (values.gather(1, order) for values in both)
        kept = Kept(*best, around=self.around.gather(1, wide))
        return kept, (order >= n) & torch.isfinite(kept.key)


class Search:
    """The running state of the pass for one autoencoder."""

    def __init__(self, d_sae: int, cfg: ExamplesConfig, seed: int) -> None:
        self.cfg = cfg
        self.generator = torch.Generator().manual_seed(seed)
        self.n_rows = 0
        self.fired = torch.zeros(d_sae, dtype=torch.int64)
        reservoir = cfg.n_quantiles * RESERVOIR_PER_QUANTILE
        self.top = Kept.empty(d_sae, cfg.n_top, cfg.window_tokens)
        self.sample = Kept.empty(d_sae, reservoir, cfg.window_tokens)
        self.silent = Kept.empty(d_sae, cfg.n_contrasts, cfg.window_tokens)

    def add(
        self,
        acts: Float[Tensor, "rows d_sae"],
        document: Int[Tensor, "rows"],
        position: Int[Tensor, "rows"],
        counted: Bool[Tensor, "rows"],
        first_row: int,
    ) -> None:
        """Adds a block of whole documents.

        Args:
            acts: Feature activations; rows not counted must be 0.
            document: Document of each row.
            position: Row number within the document.
            counted: Rows that are no special tokens.
            first_row: Number of the block's first row among all rows searched.
        """
        self.n_rows += int(counted.sum())
        self.fired += (acts > 0).sum(dim=0)
        windows = window_starts(document, position, self.cfg.window_tokens)
        peak, row = peaks(acts, windows, self.cfg.window_tokens)
        random = torch.rand(peak.shape, generator=self.generator)
        fires = peak > 0
        self.top = self.keep(self.top, peak.where(fires, -torch.inf), peak, row, acts, document, first_row)
        self.sample = self.keep(self.sample, random.where(fires, -torch.inf), peak, row, acts, document, first_row)
        middle = middles(windows, len(acts))[:, None].expand_as(row)
        quiet = ~fires_near(fires, document[windows])
        self.silent = self.keep(self.silent, random.where(quiet, -torch.inf), peak, middle, acts, document, first_row)

    def keep(
        self, kept: Kept, key: Tensor, peak: Tensor, row: Tensor, acts: Tensor, document: Tensor, first_row: int
    ) -> Kept:
        """Merges the block's best windows into what is kept.

        Activations are looked up for those alone that stay: ever fewer from block to block, and each a jump in memory.
        """
        best = key.topk(min(kept.key.shape[1], len(key)), dim=0)
        rows, activation = (values.gather(0, best.indices).T for values in (row, peak))
        kept, is_new = kept.merged(best.values.T, rows + first_row, activation)
        feature = is_new.nonzero()[:, 0]
        around = surroundings(acts, document, feature, kept.row[is_new] - first_row, self.cfg.window_tokens)
        kept.around[is_new] = around
        return kept

    def quantiles(self) -> Kept:
        """An equal number of the sampled windows from each quantile of their activations, strongest first."""
        n_bins, per_bin = self.cfg.n_quantiles, self.cfg.n_per_quantile
        found = torch.isfinite(self.sample.key)
        order = self.sample.activation.where(found, -1.0).argsort(dim=1, descending=True, stable=True)
        n_found = found.sum(dim=1, keepdim=True)
        wanted = n_bins * per_bin
        place = (torch.arange(wanted)[None] + 0.5) * n_found / wanted
        chosen = order.gather(1, place.long().clamp_max(order.shape[1] - 1))
        repeated = torch.cat([torch.zeros(len(chosen), 1, dtype=torch.bool), chosen[:, 1:] == chosen[:, :-1]], dim=1)
        wide = chosen[..., None].expand(*chosen.shape, self.cfg.window_tokens)
        key, row, activation = (values.gather(1, chosen) for values in self.sample[:3])
        kept = Kept(key, row, activation, self.sample.around.gather(1, wide))
        return kept._replace(row=kept.row.masked_fill(repeated | (n_found == 0), -1))


def window_starts(document: Int[Tensor, "rows"], position: Int[Tensor, "rows"], length: int) -> Int[Tensor, "windows"]:
    """Rows at which a window begins: each document's first, and every `length`th after it."""
    is_first = torch.ones_like(document, dtype=torch.bool)
    is_first[1:] = document[1:] != document[:-1]
    return (is_first | (position % length == 0)).nonzero()[:, 0]


def peaks(acts: Float[Tensor, "rows d_sae"], starts: Int[Tensor, "windows"], length: int) -> tuple[Tensor, Tensor]:
    """The largest activation of each feature in each window, and its row; both [windows, d_sae]."""
    ends = torch.cat([starts[1:], torch.tensor([len(acts)])])
    inside = torch.arange(length)[None] < (ends - starts)[:, None]
    rows = (starts[:, None] + torch.arange(length)).clamp_max(len(acts) - 1)
    values, offset = acts[rows].masked_fill(~inside[..., None], -1.0).max(dim=1)
    return values, starts[:, None] + offset


def fires_near(fires: Bool[Tensor, "windows d_sae"], document: Int[Tensor, "windows"]) -> Bool[Tensor, "windows d_sae"]:
    """Whether a feature fires in a window or the one before or after it, which a context around its middle may show."""
    together = (document[1:] == document[:-1])[:, None]
    near = fires.clone()
    near[1:] |= fires[:-1] & together
    near[:-1] |= fires[1:] & together
    return near


def middles(starts: Int[Tensor, "windows"], n_rows: int) -> Int[Tensor, "windows"]:
    """The row in the middle of each window."""
    ends = torch.cat([starts[1:], torch.tensor([n_rows])])
    return (starts + ends) // 2


def surroundings(
    acts: Float[Tensor, "rows d_sae"],
    document: Int[Tensor, "rows"],
    feature: Int[Tensor, "n"],
    row: Int[Tensor, "n"],
    length: int,
) -> Float[Tensor, "n length"]:
    """Activations of features on the tokens around rows; 0 beyond the document's ends."""
    near = row[:, None] + torch.arange(length) - before(length)
    inside = (near >= 0) & (near < len(acts))
    near = near.clamp(0, len(acts) - 1)
    inside &= document[near] == document[row][:, None]
    return (acts[near, feature[:, None]] * inside).half()
