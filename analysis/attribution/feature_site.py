"""The residual stream at an SAE's hook point, taken apart into features, bias and error, and put together otherwise.

    h = Σ_j a_j · W_dec[j] + b_dec + e

*Delta mode*: an intervention adds (a_j′ − a_j) · W_dec[j] to h and leaves everything else, the error included, as it was. So
an intervention that changes nothing changes no bit of what follows, and the effect of a feature is not mixed with what the
reconstruction loses.

Rows that start from a changed h share the layers before it: they are run once, and the hook hands on many rows in the place
of one.

Source: delta mode against substitution, 86 times less perturbation noise in a clinical model (arXiv:2605.04072).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.attribution.problem import Problem
from hooks.hook_points import HookPoint
from hooks.passage import edited
from sae.base import SAE
from sae.errors import UserError

NO_VARIANCE = 1e-10
"""Variance, as a share of the values' squares, that is rounding of float32."""


class Active(NamedTuple):
    """Features that fire, one row for each position and feature."""

    position: Int[Tensor, "n"]
    feature: Int[Tensor, "n"]
    activation: Float[Tensor, "n"]


@dataclass(frozen=True)
class FeatureSite:
    """One problem seen from an SAE's hook point.

    Special tokens keep their value whole: no autoencoder was trained on them.
    """

    problem: Problem
    """What is to be answered: next tokens, or a class."""
    sae: SAE
    point: HookPoint

    @cached_property
    def value(self) -> Float[Tensor, "length d_in"]:
        """h, for every position the model reads."""
        with torch.no_grad():
            return self.problem.heard(self.rows, self.point)[0].float()

    @cached_property
    def rows(self) -> Float[Tensor, "1 length d"]:
        """The embeddings the model reads."""
        whole = torch.cat([self.problem.embeds, self.problem.answer_embeds])
        return whole[None, : len(self.problem.sequence_ids)]

    @cached_property
    def is_free(self) -> Bool[Tensor, "length"]:
        """Positions whose value is taken apart."""
        special = self.problem.case.is_special
        n_more = len(self.rows[0]) - len(special)
        flags = torch.cat([~special, torch.ones(max(n_more, 0), dtype=torch.bool)])
        return flags[: len(self.rows[0])].to(self.value.device)

    @cached_property
    def acts(self) -> Float[Tensor, "length d_sae"]:
        """Feature activations; 0 on special tokens."""
        with torch.no_grad():
            return self.sae.encode(self.value) * self.is_free[:, None]

    @cached_property
    def error(self) -> Float[Tensor, "length d_in"]:
        """What the features and the bias leave over; 0 on special tokens."""
        with torch.no_grad():
            return (self.value - self.sae.decode(self.acts)) * self.is_free[:, None]

    @cached_property
    def clean(self) -> Float[Tensor, "targets"]:
        """The scores when nothing is changed."""
        return self.scores(self.value[None])[0]

    @property
    def explained_variance(self) -> float | None:
        """Of this text's own values around their mean; none where they do not vary, as those of one token."""
        kept = self.value[self.is_free].double()
        if len(kept) < 2:
            return None
        variance = float((kept - kept.mean(0)).square().sum())
        if variance <= NO_VARIANCE * float(kept.square().sum()):
            return None
        return 1 - float(self.error[self.is_free].double().square().sum()) / variance

    def active(self, positions: tuple[int, ...] | None = None) -> Active:
        """The features that fire, at some positions or at all.

        Raises:
            UserError: None fires there.
        """
        acts = self.acts
        if positions is not None:
            acts = only_at(acts, positions)
        position, feature = acts.nonzero(as_tuple=True)
        if len(feature) == 0:
            raise UserError(
                f"No feature of the SAE at {self.point} fires where it was asked for, expected some. "
                "Choose other positions, a longer text or an SAE of this model."
            )
        return Active(position, feature, acts[position, feature])

    def scores(self, values: Float[Tensor, "batch length d_in"]) -> Float[Tensor, "batch targets"]:
        """The scores when the model goes on from other values; differentiable."""
        self.problem.cost.add(len(values) - 1, values.shape[1])
        with edited(self.problem.lm, {self.point: lambda value: values.to(value.dtype)}):
            return self.problem.score(self.problem.embeds[None])

    def changed(self, active: Active, to: Float[Tensor, "n"]) -> Float[Tensor, "n targets"]:
        """The scores when one feature at one position has another activation, one row for each (delta mode)."""
        deltas = (to - active.activation)[:, None] * self.sae.W_dec[active.feature]
        found = []
        size = self.problem.rows_per_batch
        with torch.no_grad():
            for position, delta in zip(active.position.split(size), deltas.split(size), strict=True):
                values = self.value.repeat(len(delta), 1, 1)
                values[torch.arange(len(delta), device=values.device), position] += delta
                found.append(self.scores(values))
        return torch.cat(found)

    def gradients(self, values: Float[Tensor, "batch length d_in"]) -> Float[Tensor, "batch length d_in"]:
        """∂F/∂h, F the sum over targets, at some values."""
        self.problem.refuse_without_gradients()
        leaf = values.detach().requires_grad_()
        scores = self.scores(leaf)
        self.problem.cost.n_backwards += len(values)
        return torch.autograd.grad(scores.sum(), leaf)[0].float()


def only_at(acts: Float[Tensor, "length d_sae"], positions: tuple[int, ...]) -> Float[Tensor, "length d_sae"]:
    """Activations at some positions, 0 at the others."""
    where = torch.tensor(positions, device=acts.device)
    return torch.zeros_like(acts).index_copy_(0, where, acts.index_select(0, where))
