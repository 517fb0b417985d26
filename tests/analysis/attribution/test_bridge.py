"""The bridge on a planted circuit that is recovered exactly, and on random models of every family."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.bridge import BridgeConfig, answer_bridge, feature_bridge, site_of
from analysis.attribution.feature_effects import (
    Effects,
    exact,
    halfway,
    integrated,
    patching,
    relp,
    rows,
    shortlist,
    shortlisted,
)
from analysis.attribution.feature_site import Active, FeatureSite
from analysis.attribution.feature_tokens import Replaced, estimated
from hooks.model import LanguageModel
from sae.base import SAE
from sae.build import build
from sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    L1Config,
    MatryoshkaConfig,
    SAEConfig,
    TopKConfig,
)
from sae.errors import UserError
from tests.analysis.attribution.worlds import TEXT, opened
from tests.tiny import VOCABULARY

POINT = "blocks.0.hook_resid_post"
FEVER, PLANTED, ACUTE, CHRONIC = VOCABULARY.index("fever"), 3, VOCABULARY.index("acute"), VOCABULARY.index("chronic")
ARCHITECTURES = (
    TopKConfig(k=4), JumpReLUConfig(), L1Config(), GatedConfig(), BatchTopKConfig(k=4), MatryoshkaConfig(k=4),
)  # fmt: skip


@torch.no_grad()
def planted_model() -> LanguageModel:
    """`fever` writes 5 into direction 3; layer 0 brings every position the mean of all tokens; the answer reads direction 3."""
    lm = opened("llama", num_key_value_heads=4)
    base = lm.model.model  # type: ignore[attr-defined]
    base.embed_tokens.weight.mul_(0.1)[:, PLANTED] = 0
    base.embed_tokens.weight[FEVER, PLANTED] = 5
    for layer in base.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    first = base.layers[0]
    first.input_layernorm = nn.Identity()
    base.norm = nn.Identity()
    for matrix in (first.self_attn.v_proj, first.self_attn.o_proj):
        matrix.weight.copy_(torch.eye(32))
    first.self_attn.q_proj.weight.zero_()
    lm.model.lm_head.weight.zero_()  # type: ignore[attr-defined]
    lm.model.lm_head.weight[ACUTE, PLANTED] = 2  # type: ignore[attr-defined]
    return lm


@torch.no_grad()
def axis_sae(d: int = 32) -> SAE:
    """Feature j is the positive part of direction j."""
    sae = build(L1Config(expansion_factor=1), d)
    sae.W_enc.copy_(torch.eye(d))
    sae.W_dec.copy_(torch.eye(d))
    return sae.requires_grad_(False)


@torch.no_grad()
def random_sae(cfg: SAEConfig) -> SAE:
    sae = build(cfg, 32, 64)
    sae.initialise(
        torch.randn(64, 32, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(0), 1.0
    )
    if hasattr(sae, "threshold"):
        sae.threshold.fill_(0.5)
    return sae.requires_grad_(False)


def site(lm: LanguageModel, sae: SAE, point: str = "blocks.1.hook_resid_post") -> FeatureSite:
    case = cases.read(TEXT, lm)
    target = targets.continuation(case, lm, " acute chest", is_total=True)
    return site_of(lm, sae, point, case, target)


def test_the_planted_circuit_is_recovered_exactly():
    lm, sae = planted_model(), axis_sae()
    case = cases.read(TEXT, lm)
    target = targets.next_token(case, lm, " acute", contrast=" chronic")
    found = answer_bridge(lm, sae, POINT, case, target, BridgeConfig(exact_share=1.0))
    n, last, fever = case.n_tokens, case.n_tokens - 1, case.tokens.index("fever")
    assert found.score == pytest.approx(2 * 5 / n)  # nothing else writes direction 3
    best, *rest = found.nodes
    assert (best.feature, best.position) == (PLANTED, last)
    assert best.effect == pytest.approx(2 * 5 / n)
    assert best.estimate == pytest.approx(2 * 5 / n)
    assert [one.effect for one in rest] == [0] * len(rest)
    replaced = Replaced(site_of(lm, sae, POINT, case, target))
    gone = 5 - float(replaced.means[replaced.tokens.index(fever), PLANTED])  # its kind's mean has a little of it too
    assert 4 < gone <= 5
    strongest = max(found.paths, key=lambda path: abs(path.effect))
    assert (strongest.token, found.nodes[strongest.node].feature) == (fever, PLANTED)
    assert strongest.effect == pytest.approx(2 * gone / n)
    link = next(one for one in found.links if one.node == 0)
    assert (link.token, link.exact) == (fever, pytest.approx(gone / n))


def test_a_feature_alone_is_explained_by_the_token_that_wrote_it():
    lm, sae = planted_model(), axis_sae()
    case = cases.read(TEXT, lm)
    found = feature_bridge(lm, sae, POINT, PLANTED, case, None, BridgeConfig(position=case.n_tokens - 1))
    assert case.tokens[found.links[0].token] == "fever"
    assert (found.target, found.score, found.paths, found.nodes[0].effect) == ("", None, (), None)
    scores = estimated(
        site_of(lm, sae, POINT, case, targets.next_token(case, lm, " acute")),
        Active(torch.tensor([case.n_tokens - 1]), torch.tensor([PLANTED]), torch.ones(1)), "gradient_norm",
    )  # fmt: skip
    assert scores.raw[1:, 0].min() > 0  # every token is read, but only one wrote anything


@pytest.mark.parametrize("tier", [patching, relp])
def test_all_tiers_agree_where_all_is_linear(tier):
    where = site(planted_model(), axis_sae(), POINT)
    where = dataclasses.replace(where, problem=linear(where))
    active = where.active()
    expected = exact(where, active).effect
    assert tier(where, active).effect == pytest.approx(expected, abs=1e-5)
    assert integrated(where, active, 4).effect == pytest.approx(expected, abs=1e-5)


def linear(where: FeatureSite):
    """The same with a logit in the place of log-odds."""
    problem = where.problem
    target = targets.next_token(problem.case, problem.lm, " acute", measure="logit")
    return type(problem)(problem.lm, problem.case, target, problem.sae)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "gemma2", "biogpt"])
def test_an_intervention_without_a_change_changes_no_bit(kind: str):
    where = site(opened(kind), random_sae(TopKConfig(k=4)))
    active = where.active()
    one = Active(*(column[:1] for column in active))
    assert torch.equal(where.changed(one, one.activation)[0], where.clean)
    plain = where.problem.score(where.problem.embeds[None])[0]
    assert torch.equal(where.clean, plain.detach())


@pytest.mark.parametrize("cfg", ARCHITECTURES, ids=lambda cfg: cfg.architecture)
def test_features_error_bias_and_special_tokens_add_up(cfg: SAEConfig):
    where = site(opened("llama"), random_sae(cfg))
    active = where.active()
    for found in (patching(where, active), relp(where, active), integrated(where, active, 8)):
        assert found.balance is not None
        assert found.balance.gap <= 1e-4 * max(1, abs(found.balance.total))
        assert found.balance.features == pytest.approx(found.effect.sum(), abs=1e-4)


def test_an_ablation_is_that_of_a_pass_with_the_feature_taken_out():
    where = site(opened("gpt2"), random_sae(L1Config()))
    active = where.active((5, 7))
    measured = exact(where, active)
    for row in (0, len(active.feature) - 1):
        p, j = int(active.position[row]), int(active.feature[row])
        value = where.value.clone()
        value[p] -= where.acts[p, j] * where.sae.W_dec[j]
        expected = (where.clean - where.scores(value[None])[0]).sum()
        assert measured.effect[row] == pytest.approx(float(expected), abs=1e-6)


def test_replaced_tokens_are_those_of_runs_with_other_embeddings():
    where = site(opened("llama"), random_sae(L1Config()))
    active = where.active((6,))
    replaced = Replaced(where)
    found = replaced.effects(active)
    token = 4
    embeds = where.problem.embeds.clone()
    embeds[token] = replaced.means[replaced.tokens.index(token)]
    rows = torch.cat([embeds, where.problem.answer_embeds])[None, : where.value.shape[0]]
    value = where.problem.heard(rows, where.point)[0]
    expected = where.sae.pre_acts(where.value[6]) - where.sae.pre_acts(value[6])
    assert found[token] == pytest.approx(expected[active.feature].numpy(), abs=1e-5)
    assert not found[0].any()  # BOS is never replaced
    assert not found[7:].any()  # nor does what comes later matter
    resampled = Replaced(where, "resample", 3).effects(active)
    assert resampled.shape == found.shape
    assert np.corrcoef(resampled.ravel(), found.ravel())[0, 1] > 0.3


def test_the_shortlist_holds_both_the_largest_estimates_and_the_largest_activations():
    active = Active(torch.zeros(5).long(), torch.arange(5), torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0]))
    effects = Effects(active, np.asarray([0.1, 0.0, -5.0, 0.2, 0.3]), "relp")
    assert shortlist([effects], 0.4, 1).tolist() == [False, True, True, False, False]
    assert shortlist([effects], 0.0, 1).sum() == 1
    assert shortlist([effects], 1.0, 1).all()


def test_what_was_not_measured_is_estimated_from_halfway():
    where = site(opened("llama"), random_sae(L1Config()))
    estimate = relp(where, where.active((8,)))
    found = shortlisted(where, [estimate], 0.3)
    judged = exact(where, estimate.active).effect
    assert 0 < found.is_exact.sum() < len(found.is_exact)
    assert found.effect[found.is_exact] == pytest.approx(judged[found.is_exact], abs=1e-6)
    rest = halfway(where, rows(estimate.active, ~found.is_exact))
    assert found.effect[~found.is_exact] == pytest.approx(rest.effect, abs=1e-9)
    assert shortlisted(where, [estimate], 1.0).effect == pytest.approx(judged, abs=1e-6)


def test_halfway_takes_the_mean_of_two_gradients_and_is_exact_where_the_score_is_straight(
    monkeypatch: pytest.MonkeyPatch,
):
    where = site(opened("llama"), random_sae(L1Config()))
    active = where.active((7, 8))
    deltas = torch.zeros_like(where.value)
    for position, feature, activation in zip(*active, strict=True):
        deltas[position] += activation * where.sae.W_dec[feature]
    mean = (where.gradients(where.value[None])[0] + where.gradients((where.value - deltas / 2)[None])[0]) / 2
    by_hand = [float(a * where.sae.W_dec[f] @ mean[p]) for p, f, a in zip(*active, strict=True)]
    assert halfway(where, active).effect == pytest.approx(by_hand, abs=1e-6)
    slope = torch.randn(where.value.shape, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(FeatureSite, "scores", lambda _site, values: (values * slope).sum((1, 2))[:, None])
    vars(where).pop("clean", None)
    assert halfway(where, active).effect == pytest.approx(exact(where, active).effect, rel=1e-3, abs=1e-4)


def test_of_two_estimates_the_one_nearer_to_what_was_measured_is_named():
    where = site(opened("llama"), random_sae(L1Config()))
    active = where.active((8,))
    right = exact(where, active)
    wrong = right._replace(effect=right.effect[::-1] + 1, tier="patching")
    for both in ([right, wrong], [wrong, right]):
        assert shortlisted(where, both, 0.3).estimate.tier == "exact"


def test_the_graph_is_json_whose_edges_join_its_nodes():
    lm = opened("gpt2")
    case = cases.read(TEXT, lm)
    found = answer_bridge(
        lm, random_sae(JumpReLUConfig()), "blocks.1.hook_resid_post", case, targets.next_token(case, lm, " acute")
    )
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    ids = {node["id"] for node in record["nodes"]}
    assert all({edge["from"], edge["to"]} <= ids for edge in record["edges"])
    assert all(set(path["through"]) <= ids for path in record["paths"])
    assert record["n_ablated"] <= 0.4 * record["n_active"] + 1
    assert {edge["tier"] for edge in record["edges"] if edge["to"] == "answer"} <= {"exact", "halfway"}


def test_where_no_feature_fires_is_a_clear_error():
    lm, sae = opened("llama"), random_sae(L1Config())
    sae.b_enc.fill_(-1e3)
    case = cases.read(TEXT, lm)
    with pytest.raises(UserError, match=r"No feature of the SAE at blocks\.1\.hook_resid_post fires"):
        answer_bridge(lm, sae, "blocks.1.hook_resid_post", case, targets.next_token(case, lm, " acute"))
    with pytest.raises(UserError, match="Feature 7 does not fire"):
        feature_bridge(lm, sae, "blocks.1.hook_resid_post", 7, case)


@pytest.mark.parametrize("text", ["fever"])
def test_a_text_of_one_token_has_no_variance_to_explain(text: str):
    lm, sae = opened("llama"), random_sae(L1Config())
    case = cases.read(text, lm)
    found = answer_bridge(lm, sae, "blocks.1.hook_resid_post", case, targets.next_token(case, lm, " acute"))
    assert found.explained_variance is None
    assert found.record()["explained_variance"] is None
