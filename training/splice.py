"""What the model loses when an autoencoder's reconstruction takes the place of its activations.

For a decoder, over held-out tokens: cross-entropy of the next token with the clean, the spliced, the zero-ablated and the
mean-ablated model, the KL divergence of each one's answers from the clean model's, and

    ce_loss_score = (CE_zero − CE_spliced) / (CE_zero − CE_clean)        1: nothing lost, 0: as bad as zeros

Special tokens keep their activations when spliced, since no autoencoder was trained on them; positions that hold one
are not scored; zero-ablation zeroes every position. These are the conventions of sae-lens' `run_evals`. Mean-ablation, which
it has not, puts the mean activation where a reconstruction would stand: it is the splice of an autoencoder that knows
nothing but the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks import passage
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from hooks.windows import Batch
from sae.base import SAE
from sae.errors import UserError


@dataclass
class Answers:
    """Sums over scored positions for one way of running the model."""

    ce: float = 0.0
    kl: float = 0.0
    n_ce: int = 0
    n_kl: int = 0

    def add(self, log_probs: Tensor, clean: Tensor, batch: Batch, scored: Bool[Tensor, "batch position"]) -> None:
        """Adds a batch, given log-probabilities of this way and of the clean model."""
        targets = batch.input_ids[:, 1:]
        has_next = scored[:, :-1] & batch.attention_mask[:, 1:].bool()
        chosen = log_probs[:, :-1].gather(-1, targets[..., None])[..., 0]
        self.ce -= float(chosen[has_next].double().sum())
        self.n_ce += int(has_next.sum())
        kl = (clean.exp() * (clean - log_probs)).sum(dim=-1)
        self.kl += float(kl[scored].double().sum())
        self.n_kl += int(scored.sum())


@dataclass
class Splice:
    """Measures several autoencoders at one hook point, sharing the clean and the ablated passes."""

    lm: LanguageModel
    point: HookPoint
    saes: dict[str, SAE]
    mean: Float[Tensor, "d_in"]
    """Mean activation, of the rows autoencoders are measured on."""
    exclude_special: bool
    norm_limit: float | None = None
    """Rows of a larger norm keep their activations, as they took no part in training."""
    clean: Answers = field(default_factory=Answers)
    zero: Answers = field(default_factory=Answers)
    mean_ablated: Answers = field(default_factory=Answers)
    spliced: dict[str, Answers] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Runs one batch every way."""
        scored = batch.is_row & ~batch.is_special if self.exclude_special else batch.is_row
        clean = self.log_probs(batch, None)
        self.clean.add(clean, clean, batch, scored)
        self.zero.add(self.log_probs(batch, torch.zeros_like), clean, batch, scored)
        mean = replacement(self.mean.expand_as, scored, self.norm_limit)
        self.mean_ablated.add(self.log_probs(batch, mean), clean, batch, scored)
        for name, sae in self.saes.items():
            answers = self.spliced.setdefault(name, Answers())
            edit = replacement(lambda rows, sae=sae: sae(rows).reconstruction, scored, self.norm_limit)
            answers.add(self.log_probs(batch, edit), clean, batch, scored)

    def log_probs(self, batch: Batch, edit: passage.Edit | None) -> Float[Tensor, "batch position vocabulary"]:
        """Next-token log-probabilities with the value at the hook point edited."""
        edits = {} if edit is None else {self.point: edit}
        found = passage.logits(self.lm, batch.input_ids, batch.attention_mask, edits)
        return found.float().cpu().log_softmax(dim=-1)

    def figures(self, name: str) -> dict[str, float]:
        """The means for one autoencoder."""
        spliced = self.spliced[name]
        if spliced.n_ce == 0:
            raise UserError(
                "The held-out documents have no token to score after a special one, expected some. Hold out more documents."
            )
        clean_ce, zero_ce = self.clean.ce / self.clean.n_ce, self.zero.ce / self.zero.n_ce
        spliced_ce = spliced.ce / spliced.n_ce
        return {
            "ce_clean": clean_ce,
            "ce_spliced": spliced_ce,
            "ce_zero": zero_ce,
            "ce_mean": self.mean_ablated.ce / self.mean_ablated.n_ce,
            "ce_loss_score": (zero_ce - spliced_ce) / (zero_ce - clean_ce) if zero_ce != clean_ce else float("nan"),
            "kl": spliced.kl / spliced.n_kl,
            "kl_zero": self.zero.kl / self.zero.n_kl,
            "kl_mean": self.mean_ablated.kl / self.mean_ablated.n_kl,
            "n_tokens": spliced.n_ce,
        }


def replacement(
    replace: Callable[[Tensor], Tensor], where: Bool[Tensor, "batch position"], limit: float | None
) -> passage.Edit:
    """An edit that puts other rows at the marked positions, rows of outlying norm apart."""

    def edit(value: Tensor) -> Tensor:
        rows = value.float().cpu()
        ordinary = where if limit is None else where & (rows.norm(dim=-1) <= limit)
        return torch.where(ordinary[..., None], replace(rows), rows).to(value)

    return edit
