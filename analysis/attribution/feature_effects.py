"""Feature → answer: what each active feature does to the score, in five tiers.

| tier | effect of feature j at position p | cost |
|---|---|---|
| `patching` | a_j · ⟨W_dec[j], ∂F/∂h_p⟩, attribution patching | one forward, one backward |
| `relp` | the same with AttnLRP's rules in the backward pass (RelP) | one forward, one backward |
| `integrated` | the gradient averaged on the way from bias alone to h, features and error together | n_steps of both |
| `exact` | F(h) − F(h − a_j · W_dec[j]), delta ablation | one partial forward for each |
| `halfway` | as `patching`, the gradient the mean of those at h and where all asked for are halved | two of both |

The first three come with a *balance*: what features, error, bias and special tokens contribute, and the total they ought to
add up to. In the linear tiers that is Σ_p ⟨h_p, ∂F/∂h_p⟩, in `integrated` F(h) − F(bias alone).

Source: attribution patching, Syed et al. 2023 (arXiv:2310.10348); RelP, Jafari et al. 2025 (arXiv:2508.21258); integrated,
Marks et al. 2024, "Sparse Feature Circuits" (arXiv:2403.19647).
# Differs from Marks et al.: because ten left-Riemann nodes leave a gap of 6–42 %, nodes lie where F changes and each
# segment is scaled to F's exact change over it; the gap before that is kept beside (`gap_before`).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.feature_site import Active, FeatureSite
from analysis.attribution.integrated_gradients import Sum, corrected_shares, equal_variation, nodes_between
from analysis.attribution.rules import Rules, changed_backward

Tier = Literal["patching", "relp", "integrated", "exact", "halfway"]


class Balance(NamedTuple):
    """Whether contributions add up."""

    features: float
    """Of all active features at all positions, the sum."""
    error: float
    """Of what the SAE does not explain."""
    bias: float
    """Of the decoder's bias; 0 where the way begins at it."""
    special: float
    """Of special tokens, whose value is not taken apart; 0 where they stay as they are."""
    total: float
    """What the four should add up to."""
    gap_before: float
    """|sum − total| as a share of |total|, before any correction."""

    @property
    def gap(self) -> float:
        """|sum − total|."""
        return abs(self.features + self.error + self.bias + self.special - self.total)

    @property
    def error_share(self) -> float:
        """How much of what features and error contribute, by size, is the error's."""
        return abs(self.error) / max(abs(self.error) + abs(self.features), 1e-12)


class Effects(NamedTuple):
    """Effects of active features on the score, summed over targets."""

    active: Active
    effect: Float[np.ndarray, "n"]
    """Positive speaks for the target."""
    tier: Tier
    balance: Balance | None = None
    """None for tiers that promise no sum: `exact`, `halfway`."""


def patching(site: FeatureSite, active: Active) -> Effects:
    """Attribution patching."""
    return linear(site, active, "patching")


def relp(site: FeatureSite, active: Active) -> Effects:
    """Attribution patching with the coefficients of AttnLRP."""
    return linear(site, active, "relp")


def linear(site: FeatureSite, active: Active, tier: Literal["patching", "relp"]) -> Effects:
    """First order in h: one gradient serves all features at all positions."""
    value = site.value
    with changed_backward(site.problem.lm, Rules()) if tier == "relp" else nullcontext():
        gradient = site.gradients(value[None])[0].double()
    free = gradient * site.is_free[:, None]
    parts = {
        "features": float(((site.acts @ site.sae.W_dec).double() * free).sum()),
        "error": float((site.error.double() * free).sum()),
        "bias": float((site.sae.b_dec.double() * free).sum()),
        "special": float((value.double() * (gradient - free)).sum()),
    }
    total = float((value.double() * gradient).sum())
    miss = abs(sum(parts.values()) - total) / max(abs(total), 1e-12)
    return Effects(active, first_order(site, active, gradient), tier, Balance(**parts, total=total, gap_before=miss))


def first_order(site: FeatureSite, active: Active, gradient: Float[Tensor, "length d_in"]) -> Float[np.ndarray, "n"]:
    """Each feature's part of h times the gradient at its position."""
    products = (site.sae.W_dec[active.feature].double() * gradient[active.position].double()).sum(-1)
    return (active.activation.double() * products).cpu().numpy()


def halfway(site: FeatureSite, active: Active) -> Effects:
    """First order again, with a gradient that has seen something of what lies ahead.

    An ablation goes from h all the way to h − a_j · W_dec[j], and the score bends on the way. Halving all features at once goes
    too far for each, so the mean with the gradient at h is taken. Source: measured, docs/faithfulness.md.
    """
    half = site.value.clone()
    half.index_put_(
        (active.position,), -0.5 * active.activation[:, None] * site.sae.W_dec[active.feature], accumulate=True
    )
    gradient = site.gradients(torch.stack([site.value, half])).mean(0)
    return Effects(active, first_order(site, active, gradient), "halfway")


def integrated(site: FeatureSite, active: Active, n_steps: int) -> Effects:
    """Integrated gradients over features and error at once, from the bias alone."""
    start = torch.where(site.is_free[:, None], site.sae.b_dec.detach().expand_as(site.value), site.value)
    step = site.value - start
    probes = np.linspace(0, 1, 2 * n_steps + 1)
    edges = equal_variation(probes, along(site, start, step, probes), n_steps)
    nodes = nodes_between(edges)
    everywhere = site.active()
    products = torch.cat(
        [part_products(site, everywhere, some) for some in node_gradients(site, start, step, nodes.places)]
    )
    found = Sum(products.cpu().numpy()[None] * nodes.weights[None, :, None], nodes)
    at_edges = along(site, start, step, edges)
    total = float(at_edges[-1, 0] - at_edges[0, 0])
    miss = abs(found.scores.sum() - total) / max(abs(total), 1e-12)
    shares = corrected_shares(found, at_edges)[0].sum(0)
    n = len(everywhere.feature)
    balance = Balance(float(shares[:n].sum()), float(shares[n:].sum()), 0.0, 0.0, total, float(miss))
    return Effects(active, shares[:n][rows_of(active, everywhere)], "integrated", balance)


def along(site: FeatureSite, start: Tensor, step: Tensor, places: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m 1"]:
    """F along the way."""
    found, size = [], site.problem.rows_per_batch
    with torch.no_grad():
        for some in torch.from_numpy(places).to(start).split(size):
            found.append(site.scores(start + some[:, None, None] * step).sum(1, keepdim=True))
    return torch.cat(found).double().cpu().numpy()


def node_gradients(site: FeatureSite, start: Tensor, step: Tensor, places: Float[np.ndarray, "k"]) -> list[Tensor]:
    """∂F/∂h at each node, [some nodes, length, d_in] at a time."""
    size = site.problem.rows_per_batch
    shares = torch.from_numpy(places).to(start).split(size)
    return [site.gradients(start + some[:, None, None] * step) for some in shares]


def part_products(site: FeatureSite, active: Active, gradients: Tensor) -> Float[Tensor, "k parts"]:
    """Each node's gradient times each feature's part of h, then times each position's error."""
    directions = site.sae.W_dec[active.feature] * active.activation[:, None]
    of_features = torch.einsum("knd,nd->kn", gradients[:, active.position].double(), directions.double())
    of_errors = torch.einsum("kpd,pd->kp", gradients.double(), site.error.double())
    return torch.cat([of_features, of_errors], dim=1)


def rows_of(some: Active, every: Active) -> np.ndarray:
    """Where the rows of one list stand in another that holds them all."""
    place = {pair: row for row, pair in enumerate(zip(every.position.tolist(), every.feature.tolist(), strict=True))}
    return np.asarray([place[pair] for pair in zip(some.position.tolist(), some.feature.tolist(), strict=True)], int)


def exact(site: FeatureSite, active: Active) -> Effects:
    """Delta ablation of each."""
    ablated = site.changed(active, torch.zeros_like(active.activation))
    effect = (site.clean - ablated).sum(1).double().cpu().numpy()
    return Effects(active, effect, "exact")


class Shortlisted(NamedTuple):
    """Effects of all active features, those that count most measured."""

    active: Active
    effect: Float[np.ndarray, "n"]
    """Exact where `is_exact`, else by the tier `halfway`."""
    is_exact: np.ndarray
    """[n] bool."""
    estimate: Effects
    """Of those that ranked, the one that came nearest to what was measured."""


def shortlist(estimates: Sequence[Effects], share: float, at_least: int) -> np.ndarray:
    """[n] bool: the features that stand highest in any of several orders: each estimate's, by size, and the activations'.

    Orders are mixed because each misses others: a gradient sees nothing where the score is flat, rules may halve what is whole, and
    a large activation may do nothing. Source: measured, docs/faithfulness.md.
    """
    first = estimates[0]
    n = len(first.effect)
    size = min(n, max(at_least, int(share * n)))
    orders = [ranks(np.abs(one.effect)) for one in estimates]
    orders.append(ranks(first.active.activation.double().cpu().numpy()))
    best = np.lexsort((np.sum(orders, axis=0), np.min(orders, axis=0)))[:size]
    return np.isin(np.arange(n), best)


def ranks(sizes: np.ndarray) -> np.ndarray:
    """0 for the largest."""
    found = np.empty(len(sizes), int)
    found[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return found


def shortlisted(site: FeatureSite, estimates: Sequence[Effects], share: float, at_least: int = 1) -> Shortlisted:
    """Measures the shortlist by delta ablation; the rest is estimated anew, from halfway.

    Args:
        site: The features' place.
        estimates: What ranks, beside the activations and an estimate from halfway.
        share: Of the features that is measured.
        at_least: How many are, however small the share.
    """
    active = estimates[0].active
    chosen = shortlist([*estimates, halfway(site, active)], share, at_least)
    measured = exact(site, rows(active, chosen)).effect
    nearest = min(estimates, key=lambda one: float(np.abs(one.effect[chosen] - measured).mean()))
    effect = np.empty(len(chosen))
    effect[chosen] = measured
    if not chosen.all():
        effect[~chosen] = halfway(site, rows(active, ~chosen)).effect
    return Shortlisted(active, effect, chosen, nearest)


def rows(active: Active, which: np.ndarray) -> Active:
    """Some of the features, by flags or by numbers."""
    where = torch.from_numpy(which).to(active.feature.device)
    return Active(*(one[where] for one in active))
