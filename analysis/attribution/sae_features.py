"""`sae_features`: the bridge as one more method of a record, beside those that know nothing of features.

1. What is asked about is an answer, one or more features, or both. A feature asked about without an answer is set beside the
   model's own next token.
2. `answer` of the result is the graph of the features that drive the answer; `features` holds one for each feature asked about.
3. The heat map shows what was measured: of an answer, each token's effect through the features shown, of a feature, each
   token's effect on its pre-activation.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from analysis.attribution.bridge import (
    Bridge,
    BridgeConfig,
    BridgeSettings,
    Ground,
    answer_graph,
    feature_graph,
    replaced_at,
)
from analysis.attribution.case import Case
from analysis.attribution.classifier import with_head
from analysis.attribution.feature_site import FeatureSite
from analysis.attribution.footprint import Footprint
from analysis.attribution.problem import Problem
from analysis.attribution.record import origin, result
from analysis.attribution.request import feature_numbers, names_answer, target_of
from analysis.attribution.scores import Scores
from analysis.attribution.target import FeatureTarget, Target, features_of, generated
from analysis.attribution.target_request import TargetRequest
from hooks.hook_points import expand
from hooks.model import LanguageModel
from sae.base import SAE
from sae.errors import UserError

NAME = "sae_features"
CAVEAT = (
    "Only what passes through the features shown: the SAE's error and further features are left out, and tokens whose paths were "
    "not measured have 0. `exact` was measured by changing the model, the rest is an estimate."
)


class SAEFeaturesConfig(BridgeSettings, frozen=True):
    """Tokens → SAE features → answer, each link an estimate or measured."""

    method: Literal["sae_features"] = NAME
    hook_point: str | None = Field(
        default=None,
        description="Where features are looked for; the asked feature's, or two thirds of the way up among those with a "
        "trained SAE if unset.",
    )


class Place(NamedTuple):
    """An autoencoder and where it belongs."""

    hook_point: str
    sae: SAE
    sae_id: str


class Asked(NamedTuple):
    """What the bridge is to connect."""

    lm: LanguageModel
    case: Case
    request: TargetRequest
    place: Place
    fixed: tuple[int, ...] = ()
    """Tokens that are neither changed nor attributed."""

    @property
    def features(self) -> list[int]:
        """The features asked about, by number."""
        return feature_numbers(self.request)[1] if self.request.features else []


def problem_of_bridge(asked: Asked) -> Problem:
    """The answer as a problem; the features', where the model gives no answer."""
    lm = with_head(asked.lm) if asked.request.class_name is not None else asked.lm
    point, sae = asked.place.hook_point, asked.place.sae
    target: Target
    if names_answer(asked.request):
        target = target_of(asked.case, lm, asked.request)
    elif lm.kind == "decoder":
        target = generated(asked.case, lm, 1, measure=asked.request.measure)
    else:
        target = features_of(asked.case, lm, sae, point, asked.features, position=asked.request.position)
    (place,) = expand((point,), lm.n_layers, tuple(lm.family.places))
    if isinstance(target, FeatureTarget):
        target = replace(target, hook_point=place)
    return Problem(lm, asked.case, replace(target, is_total=True), sae, fixed=asked.fixed)


def bridge_origin(asked: Asked, problem: Problem, cfg: SAEFeaturesConfig, seed: int) -> dict[str, Any]:
    """All that decides the result, the text apart."""
    place = asked.place
    sae = {"hook_point": place.hook_point, "sae_id": place.sae_id, "sae_hash": problem.sae_hash}
    more = {"features": list(asked.features), "position": asked.request.position}
    return origin(problem, cfg, seed) | {"sae": sae, "asked": more}


def bridge_result(asked: Asked, problem: Problem, cfg: SAEFeaturesConfig, seed: int) -> dict[str, Any]:
    """The part of a record."""
    problem.refuse_nothing_free()
    memory, start = Footprint(problem.lm.device), time.perf_counter()
    if cfg.position is not None and not 0 <= cfg.position < asked.case.n_tokens:
        raise UserError(
            f"sae_features.position is {cfg.position}, expected 0 to {asked.case.n_tokens - 1}: the text has that many tokens. "
            "Correct it."
        )
    given: dict[str, Any] = {name: getattr(cfg, name) for name in BridgeSettings.model_fields}
    settings = BridgeConfig(**given, seed=seed)
    ground = ground_of(asked, problem, settings)
    graphs = [feature_graph(ground, one, settings) for one in feature_targets(asked)]
    answer = answer_graph(ground, settings) if ground.has_answer else None
    cost = ground.site.problem.cost
    scores = Scores(
        NAME, heat(graphs, answer, problem.n_tokens)[:, None], problem.labels, caveat=CAVEAT,
        diagnostics=diagnostics(answer or graphs[0]), n_forwards=cost.n_forwards,
        n_tokens=cost.n_tokens, n_backwards=cost.n_backwards,
        seconds=time.perf_counter() - start, peak_bytes=memory.extra_bytes(),
    )  # fmt: skip
    found = result(problem, scores, cfg, seed)
    if graphs:
        labels = [f"{asked.place.hook_point}/{graph.nodes[0].feature}@{graph.nodes[0].position}" for graph in graphs]
        found["output"] = {"text": " + ".join(labels), "tokens": [" + ".join(labels)]}
    graph = {"answer": answer and answer.record(), "features": [one.record() for one in graphs]}
    return found | {"bridge": graph, "origin": bridge_origin(asked, problem, cfg, seed)}


def ground_of(asked: Asked, problem: Problem, cfg: BridgeConfig) -> Ground:
    """What the graphs share."""
    (place,) = expand((asked.place.hook_point,), problem.lm.n_layers, tuple(problem.lm.family.places))
    assert problem.sae is not None  # noqa: S101 - problem_of_bridge gave it
    site = FeatureSite(problem, problem.sae, place)
    return Ground(site, replaced_at(site, cfg), not isinstance(problem.target, FeatureTarget))


def feature_targets(asked: Asked) -> list[FeatureTarget]:
    """Each feature asked about, where it is strongest or at the position asked for.

    Raises:
        UserError: There is no such feature, or it is silent on the text.
    """
    lm, case, request, place, _ = asked
    return [
        features_of(case, lm, place.sae, place.hook_point, [one], position=request.position) for one in asked.features
    ]


def heat(graphs: Sequence[Bridge], answer: Bridge | None, n_tokens: int) -> np.ndarray:
    """[n] what was measured for each token."""
    found = np.zeros(n_tokens)
    if graphs:
        for link in (link for graph in graphs for link in graph.links):
            found[link.token] += link.exact
    elif answer is not None:
        for path in answer.paths:
            found[path.token] += path.effect
    return found


def diagnostics(bridge: Bridge) -> dict[str, Any]:
    """How much of the answer the features can tell of at all."""
    balance = bridge.balance
    return {
        "explained_variance": bridge.explained_variance,
        "error_share": None if balance is None else balance.error_share,
        "n_active": bridge.n_active,
        "n_ablated": bridge.n_ablated,
    }
