"""The bridge: tokens → SAE features → answer, each link with the tier it comes from and, where asked for, measured.

1. The features that fire where the answer is read off (or everywhere) are ranked by two estimates of one forward and one
   backward each (RelP and attribution patching), and the strongest share of them is ablated exactly: shortlist, then judge.
2. For the features that count most, the tokens behind them: one forward and backward for each, and one sweep of replaced
   tokens that measures all of them.
3. Paths token → feature → answer: the answer's change when the feature alone, at its position, is set to what it would be
   without the token. What does not pass through a path is shown too: the SAE's error, and its explained variance on this
   very text.

Estimates are for finding; what is reported as an effect says whether it was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, PositiveInt

from analysis.attribution.case import Case
from analysis.attribution.feature_effects import (
    Balance,
    Effects,
    Shortlisted,
    integrated,
    patching,
    relp,
    rows,
    shortlisted,
)
from analysis.attribution.feature_site import Active, FeatureSite
from analysis.attribution.feature_tokens import Estimate, Replaced, Replacement, estimated
from analysis.attribution.problem import Problem
from analysis.attribution.target import FeatureTarget, Target, features_of
from hooks.hook_points import expand
from hooks.model import LanguageModel
from sae.base import SAE
from sae.config import Settings


class BridgeSettings(Settings, frozen=True):
    """How tokens, features and the answer are connected."""

    features_from: Literal["both", "relp", "patching", "integrated"] = Field(
        default="both",
        description="Estimate that ranks features by their effect on the answer; `both` is RelP and attribution patching.",
    )
    n_steps: PositiveInt = Field(default=16, description="Nodes of `features_from: integrated`.")
    exact_share: float = Field(
        default=0.4, ge=0, le=1, description="Share of the active features whose effect is measured by ablation."
    )
    n_features: PositiveInt = Field(default=8, description="Features of the graph.")
    tokens_from: Estimate = Field(default="gim", description="Estimate of what drives a feature.")
    replacement: Replacement = Field(
        default="mean",
        description="What a token becomes where its effect on features is measured: its kind's mean embedding, or other "
        "tokens of its kind.",
    )
    n_samples: PositiveInt = Field(default=8, description="Draws of `replacement: resample`.")
    n_tokens: PositiveInt = Field(default=5, description="Tokens of each feature in the graph.")
    position: int | None = Field(
        default=None, description="Token at which features are looked at; the one before the answer if unset."
    )
    everywhere: bool = Field(default=False, description="Look at features at all positions, and not at one.")


class BridgeConfig(BridgeSettings, frozen=True):
    """The same with its seed, which where methods stand beside each other is that of all."""

    seed: int = Field(default=0, ge=0, description="Of drawn replacements.")


class FeatureNode(NamedTuple):
    """A feature at a position."""

    feature: int
    position: int
    activation: float
    effect: float | None
    """On the answer: measured where `is_exact`, else by the tier `halfway`; none where no answer is asked about."""
    is_exact: bool
    estimate: float | None
    """By the tier that ranked it."""


class TokenLink(NamedTuple):
    """What a token does for a feature's pre-activation."""

    token: int
    node: int
    """Which of the features."""
    estimate: float
    exact: float


class PathLink(NamedTuple):
    """What a token does for the answer through one feature at one position, measured."""

    token: int
    node: int
    effect: float


@dataclass(frozen=True)
class Bridge:
    """Everything that was found between the tokens of a case and an answer."""

    point: str
    tokens: tuple[str, ...]
    target: str
    """What is answered; empty where only a feature is explained."""
    score: float | None
    """The answer's score on the text as it is."""
    nodes: tuple[FeatureNode, ...]
    """Strongest first."""
    links: tuple[TokenLink, ...]
    paths: tuple[PathLink, ...]
    """Strongest first."""
    n_active: int
    """Features that fired where they were looked for."""
    n_ablated: int
    """Of these, measured by ablation."""
    balance: Balance | None
    """Whether the estimate's contributions add up."""
    explained_variance: float | None
    """Of the SAE on this text; none where its values do not vary, as those of one token."""
    tiers: dict[str, str]
    """What the figures rest on."""

    def record(self) -> dict[str, Any]:
        """The graph as JSON: nodes, edges and paths, each figure with its tier."""
        named = [f"f{node.feature}@{node.position}" for node in self.nodes]
        used = sorted({link.token for link in self.links})
        nodes: list[dict[str, Any]] = [
            {"id": f"t{i}", "kind": "token", "position": i, "text": self.tokens[i]} for i in used
        ]
        nodes += [
            {"id": name, "kind": "feature"} | node._asdict() for name, node in zip(named, self.nodes, strict=True)
        ]
        edges: list[dict[str, Any]] = [
            {"from": f"t{link.token}", "to": named[link.node], "exact": link.exact, "estimate": link.estimate}
            for link in self.links
        ]
        if self.target:
            nodes.append({"id": "answer", "kind": "answer", "text": self.target, "score": self.score})
            edges += [
                {
                    "from": name,
                    "to": "answer",
                    "effect": node.effect,
                    "tier": "exact" if node.is_exact else self.tiers["effects"],
                }
                for name, node in zip(named, self.nodes, strict=True)
            ]
        paths = [{"through": [f"t{p.token}", named[p.node], "answer"], "effect": p.effect} for p in self.paths]
        balance = None if self.balance is None else self.balance._asdict() | {"gap": self.balance.gap}
        return {
            "hook_point": self.point, "tokens": list(self.tokens), "nodes": nodes, "edges": edges, "paths": paths,
            "n_active": self.n_active, "n_ablated": self.n_ablated, "balance": balance,
            "explained_variance": self.explained_variance, "tiers": self.tiers,
        }  # fmt: skip


def feature_bridge(  # noqa: PLR0913 - what the bridge connects
    lm: LanguageModel, sae: SAE, point: str, feature: int, case: Case, target: Target | None = None,
    cfg: BridgeConfig | None = None, *, fixed: Sequence[int] = (),
) -> Bridge:  # fmt: skip
    """Which tokens drive one feature, and what it does for an answer, if one is given.

    Args:
        lm: The model.
        sae: The autoencoder.
        point: Its hook point.
        feature: By number; explained where it is strongest, or at `cfg.position`.
        case: The text.
        target: The answer; none to explain the feature alone.
        cfg: Tiers and sizes.
        fixed: Tokens that are neither changed nor attributed.

    Raises:
        UserError: There is no such feature, or it is silent on the text.
    """
    cfg = cfg or BridgeConfig()
    found = features_of(case, lm, sae, point, [feature], position=cfg.position)
    site = site_of(lm, sae, point, case, target or found, fixed)
    return feature_graph(Ground(site, replaced_at(site, cfg), target is not None), found, cfg)


def answer_bridge(
    lm: LanguageModel, sae: SAE, point: str, case: Case, target: Target, cfg: BridgeConfig | None = None, *,
    fixed: Sequence[int] = (),
) -> Bridge:  # fmt: skip
    """Which features drive an answer, which tokens drive them, and the paths between.

    Args: as of `feature_bridge`.

    Raises:
        UserError: No feature fires where the answer is read off.
    """
    cfg = cfg or BridgeConfig()
    site = site_of(lm, sae, point, case, target, fixed)
    return answer_graph(Ground(site, replaced_at(site, cfg), True), cfg)


class Ground(NamedTuple):
    """What several graphs of one text and answer share: the sweep of replaced tokens is made once."""

    site: FeatureSite
    replaced: Replaced
    has_answer: bool
    """Whether the site's target is an answer, and not the feature itself."""


def feature_graph(ground: Ground, found: FeatureTarget, cfg: BridgeConfig) -> Bridge:
    """The graph of one feature."""
    site = ground.site
    one, place = (torch.tensor(which, device=site.acts.device) for which in (found.features, found.positions))
    active = Active(place, one, site.acts[place, one])
    if not ground.has_answer:
        nothing = Shortlisted(active, np.zeros(1), np.zeros(1, bool), Effects(active, np.zeros(1), "patching"))
        return joined(ground, nothing, cfg)
    return joined(ground, shortlisted(site, estimates_of(site, active, cfg), 1.0), cfg)


def answer_graph(ground: Ground, cfg: BridgeConfig) -> Bridge:
    """The graph of the features that drive the answer."""
    site = ground.site
    read_off = (
        tuple(dict.fromkeys(site.problem.target.positions)) or None
    )  # an encoder's class: read off a special token
    positions = None if cfg.everywhere else (read_off if cfg.position is None else (cfg.position,))
    estimates = estimates_of(site, site.active(positions), cfg)
    return joined(ground, shortlisted(site, estimates, cfg.exact_share), cfg)


def replaced_at(site: FeatureSite, cfg: BridgeConfig) -> Replaced:
    """The sweep of replaced tokens, as the settings have it."""
    return Replaced(site, cfg.replacement, cfg.n_samples, cfg.seed)


def site_of(
    lm: LanguageModel, sae: SAE, point: str, case: Case, target: Target, fixed: Sequence[int] = ()
) -> FeatureSite:
    """The hook point as the answer sees it."""
    (place,) = expand((point,), lm.n_layers, tuple(lm.family.places))
    return FeatureSite(Problem(lm, case, target, sae, fixed=fixed), sae, place)


def estimates_of(site: FeatureSite, active: Active, cfg: BridgeConfig) -> list[Effects]:
    """Effects by the tiers that rank."""
    match cfg.features_from:
        case "both":
            return [relp(site, active), patching(site, active)]
        case "relp":
            return [relp(site, active)]
        case "patching":
            return [patching(site, active)]
        case "integrated":
            return [integrated(site, active, cfg.n_steps)]


def joined(ground: Ground, found: Shortlisted, cfg: BridgeConfig) -> Bridge:
    """Adds tokens and paths to effects."""
    site, replaced, has_answer = ground
    order = np.argsort(-np.abs(found.effect), kind="stable")[: cfg.n_features]
    best = rows(found.active, order)
    links = token_links(site, best, replaced, cfg)
    nodes = tuple(
        FeatureNode(
            int(best.feature[i]), int(best.position[i]), float(best.activation[i]),
            float(found.effect[row]) if has_answer else None, bool(found.is_exact[row]),
            float(found.estimate.effect[row]) if has_answer else None,
        )
        for i, row in enumerate(order)
    )  # fmt: skip
    paths = measured_paths(site, best, links, replaced) if has_answer else ()
    return Bridge(
        str(site.point), (*site.problem.case.tokens, *(site.problem.target.labels if has_answer else ())),
        " ".join(site.problem.target.labels) if has_answer else "",
        float(site.clean.sum()) if has_answer else None, nodes, links, paths, len(found.effect), int(found.is_exact.sum()),
        found.estimate.balance, site.explained_variance,
        {"effects": "halfway", "ranks": found.estimate.tier, "tokens": cfg.tokens_from, "replacement": cfg.replacement},
    )  # fmt: skip


def token_links(site: FeatureSite, active: Active, replaced: Replaced, cfg: BridgeConfig) -> tuple[TokenLink, ...]:
    """The tokens that do most for each feature, by what was measured."""
    measured = replaced.effects(active)
    estimate = estimated(site, active, cfg.tokens_from, cfg.seed).raw
    found = []
    for node in range(len(active.feature)):
        order = np.argsort(-np.abs(measured[:, node]), kind="stable")[: cfg.n_tokens]
        found += [
            TokenLink(int(i), node, float(estimate[i, node]), float(measured[i, node]))
            for i in order
            if measured[i, node] != 0
        ]
    return tuple(found)


def measured_paths(
    site: FeatureSite, active: Active, links: tuple[TokenLink, ...], replaced: Replaced
) -> tuple[PathLink, ...]:
    """Each path's effect: one feature at one position as it would be without the token, all else as it is."""
    if not links:
        return ()
    values = [
        replaced.activations(link.token, int(active.position[link.node]), int(active.feature[link.node]))
        for link in links
    ]
    nodes = torch.tensor([link.node for link in links], device=active.feature.device)
    rows = nodes.repeat_interleave(len(values[0]))
    changed = site.changed(Active(*(one[rows] for one in active)), torch.cat(values)).sum(1)
    effects = float(site.clean.sum()) - changed.double().unflatten(0, (len(links), -1)).mean(1)
    found = [PathLink(link.token, link.node, float(effect)) for link, effect in zip(links, effects, strict=True)]
    return tuple(sorted(found, key=lambda path: -abs(path.effect)))
