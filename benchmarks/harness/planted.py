"""Data whose directions are known, and how much of it a trainer gives back."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize


class Planted:
    """Rows made of a few known directions each, and a little noise.

    Args:
        d_in: Their width.
        n_features: Directions.
        active: Of them, in each row.
    """

    def __init__(self, d_in: int, n_features: int, active: int) -> None:
        self._generator = torch.Generator().manual_seed(7)
        self.directions = normalize(torch.randn(n_features, d_in, generator=self._generator), dim=1)
        odds = 1 / torch.arange(1, n_features + 1) ** 0.5
        self._odds, self._active = odds / odds.sum(), active

    def sample(self, n: int) -> Tensor:
        """n rows, of a mean norm of √d_in."""
        which = torch.multinomial(self._odds.expand(n, -1), self._active, generator=self._generator)
        weights = torch.rand(which.shape, generator=self._generator) + 0.5
        rows = embedding_bag(which, self.directions, per_sample_weights=weights, mode="sum")
        rows += 0.02 * torch.randn(rows.shape, generator=self._generator)
        return rows * rows.shape[1] ** 0.5 / rows.norm(dim=1).mean()

    def mcc(self, W_dec: Tensor) -> float:
        """Mean cosine of directions with decoder rows, each row used once."""
        cosines = (self.directions @ normalize(W_dec, dim=1).T).abs().numpy()
        return float(cosines[linear_sum_assignment(-cosines)].mean())


def explained_variance(x: Tensor, reconstruction: Tensor) -> float:
    """Share of the variance of x that a reconstruction has: 1 − ‖x − x̂‖² / ‖x − mean(x)‖²."""
    return float(1 - (x - reconstruction).square().sum() / (x - x.mean(0)).square().sum())
