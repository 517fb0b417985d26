"""Integrated gradients: the gradient along the straight path from a baseline x′ to the text x, summed.

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365):

    IG_i = ⟨x_i − x′_i, ∫₀¹ ∂F/∂x_i (x′ + α(x − x′)) dα⟩        Σ_i IG_i = F(x) − F(x′)

1. The integral is a weighted sum over nodes α_k, run in batches; one forward serves all targets.
2. Sharp models change within a small part of the path, which fixed nodes miss. *Adaptive* nodes are placed by forwards
   alone: F at 2K + 1 probes, its variation summed up, and K segments of equal variation, the gradient at the middle of
   each.
3. *Segment correction*: each segment's share is scaled to the exact change of F over it. The scores then add up by
   construction, which is no evidence any more; the gap before it is reported beside.
4. *Refining* doubles K until that gap is small, or says that it is not.

Source: steps 2 and 3 follow the equal-variation splitting of Kapishnikov et al. 2021, "Guided Integrated Gradients"
(arXiv:2106.09788) and Yang et al. 2023, "IDGI" (arXiv:2303.14242).
# Differs from IDGI: because it spreads a segment's change by squared gradients, which loses the sign; here the segment's own
# signed shares are scaled, and only where they cannot be (too little or of the other sign) is the rest spread by size.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.baseline import WARNINGS, baseline_embeds
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import IntegratedGradientsConfig
from analysis.attribution.gradient import free
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores, completeness

MOST_SCALING = 4.0
"""A segment whose share would have to grow or shrink by more is not scaled: its gradient does not stand for it."""
EVEN = 0.05
"""Part of the variation that is spread evenly, so that flat stretches get nodes too."""


class Path(NamedTuple):
    """The straight way from the baseline to the text, in float32 or better: in bfloat16 neighbouring points would be one."""

    start: Float[Tensor, "n d"]
    step: Float[Tensor, "n d"]
    dtype: torch.dtype
    """The model's."""

    @staticmethod
    def between(start: Float[Tensor, "n d"], end: Float[Tensor, "n d"]) -> "Path":
        """From one text's embeddings to another's."""
        wide = torch.promote_types(start.dtype, torch.float32)
        return Path(start.to(wide), end.to(wide) - start.to(wide), start.dtype)

    def at(self, places: Float[np.ndarray, "k"]) -> Float[Tensor, "k n d"]:
        """Points of the path, 0 the baseline and 1 the text, as the model reads them."""
        shares = torch.from_numpy(places).to(self.start)
        return (self.start + shares[:, None, None] * self.step).to(self.dtype)


class Nodes(NamedTuple):
    """Where the gradient is taken, and what it counts."""

    places: Float[np.ndarray, "k"]
    weights: Float[np.ndarray, "k"]
    edges: Float[np.ndarray, "k_plus_1"] | None = None
    """Ends of the segments that the nodes stand for; none for rules without segments."""


class Sum(NamedTuple):
    """The integral with one set of nodes."""

    shares: Float[np.ndarray, "targets k n"]
    """What each node contributes to each token."""
    nodes: Nodes

    @property
    def scores(self) -> Float[np.ndarray, "targets n"]:
        return self.shares.sum(1)


def integrated_gradients(problem: Problem, cfg: IntegratedGradientsConfig, seed: int) -> Scores:
    """Scores of every token, with the completeness gap before and after the correction."""
    problem.refuse_without_gradients()
    start = baseline_embeds(problem, cfg.baseline, cfg.baseline_token)
    path = Path.between(start, problem.embeds)
    ends = problem.scores_without_grad(path.at(np.array([0.0, 1.0]))).double().cpu().numpy()
    totals = ends[1] - ends[0]
    found, gaps, is_converged = refined(problem, path, cfg, totals)
    raw = [completeness(float(total), row) for total, row in zip(totals, found.scores, strict=True)]
    corrected, shares = (), found.shares
    if cfg.segment_correction and found.nodes.edges is not None:
        shares = corrected_shares(found, scores_at(problem, path, found.nodes.edges))
        corrected = tuple(completeness(float(t), row) for t, row in zip(totals, shares.sum(1), strict=True))
    diagnostics = {
        "n_steps": len(found.nodes.places), "is_converged": is_converged, "gaps": gaps,
        "baseline_warning": WARNINGS.get(cfg.baseline, ""),
    }  # fmt: skip
    caveat = CAVEATS["integrated_gradients"]
    scores = free(problem, torch.from_numpy(shares.sum(1)))
    return Scores(
        "integrated_gradients", scores, problem.labels, tuple(raw), corrected, diagnostics=diagnostics, caveat=caveat
    )


def refined(
    problem: Problem, path: Path, cfg: IntegratedGradientsConfig, totals: Float[np.ndarray, "targets"]
) -> tuple[Sum, list[float], bool | None]:
    """The integral, its largest gap at each number of nodes tried, and whether it is small enough, where that is asked."""
    n_steps, gaps = cfg.n_steps, []
    while True:
        found = integral(problem, path, chosen_nodes(problem, path, cfg, n_steps))
        gap = max(completeness(float(t), row).gap for t, row in zip(totals, found.scores, strict=True))
        gaps.append(gap)
        if cfg.refine_until is None:
            return found, gaps, None
        if gap <= cfg.refine_until or 2 * n_steps > cfg.max_steps:
            return found, gaps, gap <= cfg.refine_until
        n_steps *= 2


def chosen_nodes(problem: Problem, path: Path, cfg: IntegratedGradientsConfig, n_steps: int) -> Nodes:
    """The nodes of a rule."""
    match cfg.nodes:
        case "gauss_legendre":
            places, weights = np.polynomial.legendre.leggauss(n_steps)
            return Nodes((places + 1) / 2, weights / 2)
        case "midpoint":
            return nodes_between(np.linspace(0, 1, n_steps + 1))
        case "adaptive":
            probes = np.linspace(0, 1, 2 * n_steps + 1)
            return nodes_between(equal_variation(probes, scores_at(problem, path, probes), n_steps))


def nodes_between(edges: Float[np.ndarray, "k_plus_1"]) -> Nodes:
    """The middles of segments."""
    return Nodes((edges[1:] + edges[:-1]) / 2, np.diff(edges), edges)


def equal_variation(
    probes: Float[np.ndarray, "m"], scores: Float[np.ndarray, "m targets"], n_segments: int
) -> Float[np.ndarray, "k_plus_1"]:
    """Ends of segments over which the scores vary alike, summed over targets that count alike."""
    changes = np.abs(np.diff(scores, axis=0))
    shares = (changes / np.maximum(changes.sum(0), 1e-12)).mean(1)
    summed = np.concatenate([[0.0], np.cumsum((1 - EVEN) * shares + EVEN * np.diff(probes))])
    edges = np.interp(np.linspace(0, summed[-1], n_segments + 1), summed, probes)
    edges[0], edges[-1] = 0.0, 1.0
    return edges


def scores_at(problem: Problem, path: Path, places: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m targets"]:
    """F along the path, a batch at a time."""
    size = problem.rows_per_batch
    pieces = [problem.scores_without_grad(path.at(places[i : i + size])) for i in range(0, len(places), size)]
    return torch.cat(pieces).double().cpu().numpy()


def integral(problem: Problem, path: Path, nodes: Nodes) -> Sum:
    """Every node's gradient times the whole step, weighted, a batch of nodes at a time."""
    size, step = problem.rows_per_batch, path.step.float()
    pieces = []
    for i in range(0, len(nodes.places), size):
        _, products = problem.gradients(path.at(nodes.places[i : i + size]), lambda gradient: (gradient * step).sum(-1))
        pieces.append(products.double().cpu().numpy())
    return Sum(np.concatenate(pieces, axis=1) * nodes.weights[None, :, None], nodes)


def corrected_shares(found: Sum, at_edges: Float[np.ndarray, "k_plus_1 targets"]) -> Float[np.ndarray, "targets k n"]:
    """Shares that sum to the exact change of F in every segment."""
    changes = np.diff(at_edges, axis=0).T[..., None]  # [targets, k, 1]
    sums = found.shares.sum(-1, keepdims=True)
    factors = np.divide(changes, sums, out=np.zeros_like(changes), where=np.abs(sums) > 1e-12)
    scaled = found.shares * factors
    sizes = np.abs(found.shares)
    mass = sizes.sum(-1, keepdims=True)
    spread = found.shares + (changes - sums) * np.divide(sizes, mass, out=np.zeros_like(sizes), where=mass > 0)
    return np.where((factors >= 1 / MOST_SCALING) & (factors <= MOST_SCALING), scaled, spread)
