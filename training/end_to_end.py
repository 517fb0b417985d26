"""The end-to-end loss of a sparse autoencoder: what the model answers when it goes on from the reconstruction.

Braun et al. 2024, "Identifying Functionally Important Features with End-to-End Sparse Dictionary Learning"
(arXiv:2405.12241):

1. The clean model reads a text and answers p; the model whose activation at the hook point is replaced by x̂ answers q.
2. L = KL(p ‖ q), averaged over tokens, + the sparsity terms; the gradient passes through the layers above the hook point,
   whose weights stay.
3. A share of the squared error may be added (their e2e + downstream, here at the hook point itself), which keeps features
   near what they reconstructed before.

Differs from the paper: a trained autoencoder is tuned further, not a new one trained, which needs a hundredth of the tokens
(Karvonen 2025, "Revisiting End-To-End Sparse Autoencoder Training", arXiv:2503.17272). So that its own sparsity terms weigh
against the KL divergence as they weighed against its squared error, they are multiplied by the ratio of the two before the
first step. Positions keep their activations where training left them out: special tokens and rows of outlying norm.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from hooks.passage import edited
from hooks.windows import Batch
from sae.base import SAE, Losses


class Weights(NamedTuple):
    """What the terms are multiplied by; the KL divergence has weight 1."""

    reconstruction: float
    sparsity: float
    exchange: float
    """Nats of KL divergence that one unit of the SAE's own loss is worth."""


class Found(NamedTuple):
    """The loss of a batch."""

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    """Its parts by name, weights applied."""
    kl: Float[Tensor, ""]
    """Mean over scored positions, in nats."""
    own: Losses
    """What the autoencoder says of its rows."""
    rows: Float[Tensor, "rows d_in"]
    """The rows it reconstructed, scaled."""


@dataclass(frozen=True)
class EndToEnd:
    """The loss at one hook point of one model."""

    lm: LanguageModel
    point: HookPoint
    sae: SAE
    """In the scale it is trained in."""
    input_scale: float
    """What activations are multiplied by before the autoencoder."""
    exclude_special: bool
    norm_limit: float | None

    def __call__(self, batch: Batch, dead: Bool[Tensor, "d_sae"], weights: Weights) -> Found:
        """The loss of a batch of texts."""
        scored = (batch.is_row & ~batch.is_special if self.exclude_special else batch.is_row).to(self.lm.device)
        with torch.no_grad():
            clean = self.log_probs(batch, scored)
        splice = Reconstructing(self, scored, dead)
        with edited(self.lm, {self.point: splice}):
            spliced = self.log_probs(batch, scored)
        kl = (clean.exp() * (clean - spliced)).sum(-1).mean()
        own, rows = splice.heard()
        mse = own.terms["mse"]
        terms = {
            "kl": kl,
            "mse": weights.exchange * weights.reconstruction * mse,
            "sparsity": weights.exchange * weights.sparsity * (own.total - mse),
        }
        return Found(torch.stack(list(terms.values())).sum(), terms, kl, own, rows)

    def log_probs(self, batch: Batch, scored: Bool[Tensor, "batch position"]) -> Float[Tensor, "rows vocabulary"]:
        """Next-token log-probabilities at scored positions."""
        ids, mask = (one.to(self.lm.device) for one in batch.inputs)
        logits = self.lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[scored].float().log_softmax(-1)


class Reconstructing:
    """An edit that puts reconstructions in the place of rows, with gradient, and keeps what the autoencoder said of them."""

    def __init__(self, loss: EndToEnd, scored: Bool[Tensor, "batch position"], dead: Bool[Tensor, "d_sae"]) -> None:
        self.loss, self.scored, self.dead = loss, scored, dead
        self._found: tuple[Losses, Tensor] | None = None

    def __call__(self, value: Tensor) -> Tensor:
        loss, limit = self.loss, self.loss.norm_limit
        where = self.scored if limit is None else self.scored & (value.float().norm(dim=-1) <= limit)
        rows = value[where].float() * loss.input_scale
        own = loss.sae.losses(rows, self.dead, 1.0)
        self._found = own, rows
        return value.masked_scatter(where[..., None], (own.reconstruction / loss.input_scale).to(value.dtype))

    def heard(self) -> tuple[Losses, Tensor]:
        """The autoencoder's own losses of the last pass, and the rows they are of."""
        assert self._found is not None  # noqa: S101 - the pass went through the hook point
        return self._found


@torch.no_grad()
def exchange_rate(loss: EndToEnd, batches: list[Batch]) -> float:
    """KL divergence per unit of squared error over some batches, by the autoencoder as it is."""
    dead = torch.zeros(loss.sae.d_sae, dtype=torch.bool, device=loss.lm.device)
    found = [loss(batch, dead, Weights(0.0, 0.0, 1.0)) for batch in batches]
    kl, mse = (sum(map(float, one)) for one in ([f.kl for f in found], [f.own.terms["mse"] for f in found]))
    return kl / max(mse, 1e-12)
