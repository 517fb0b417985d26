"""Ablations on a tiny model: against the same edit made by hand, and where nothing may change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from analysis.tracing.ablation import Ablations, Text
from analysis.tracing.config import TraceConfig
from analysis.tracing.intervals import Areas
from analysis.tracing.layers import Layer, Node
from hooks import passage
from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import LanguageModel, load
from sae.base import SAE
from sae.build import build
from sae.config import L1Config

POINTS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
CFG = TraceConfig(n_controls=5, n_bootstraps=50)
IDS = torch.tensor([1, 5, 9, 12, 7, 20])


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> LanguageModel:
    return load(ModelConfig(name=str(tiny_model)))


@pytest.fixture(scope="module")
def saes(lm: LanguageModel) -> dict[str, SAE]:
    width = lm.config.hidden_size
    found = {point: build(L1Config(expansion_factor=2), width) for point in POINTS}
    for seed, sae in enumerate(found.values()):
        generator = torch.Generator().manual_seed(seed)
        for parameter in sae.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        sae.requires_grad_(False)
    return found


def ablations(lm: LanguageModel, saes: dict[str, SAE], kind: str, answer: tuple[int, ...] = (4,)) -> Ablations:
    special = torch.tensor([True, False, False, False, False, False])
    texts = [Text(IDS, special, 0, answer), Text(IDS.flip(0), special, 1, answer)]
    return Ablations(lm, saes, texts, CFG, kind)


def node(saes: dict[str, SAE], point: str, feature: int) -> Node:
    sae = saes[point]
    ones = sparse.csc_array(np.ones((2, sae.d_sae)))
    layer = Layer(point, parse(point).layer or 0, ones, np.zeros((2, 1)), sae.W_dec.numpy(), {})
    return Node(layer, feature, Areas(1, None, 1, None, 0), {})


def firing_feature(found: Ablations, point: str) -> int:
    return int(torch.stack([found.clean_acts(point, text).sum(0) for text in found.texts]).amin(0).argmax())


def values(lm: LanguageModel, ids: torch.Tensor, point: str, edits: dict[str, torch.Tensor]) -> torch.Tensor:
    with passage.edited(lm, {parse(name): (lambda x, d=delta: x - d) for name, delta in edits.items()}):
        return passage.record(lm, [parse(point)], ids[None], torch.ones_like(ids)[None])[parse(point)][0]


@pytest.mark.parametrize("answer", [(), (4,)])
def test_effects_downstream_are_those_of_the_edit_made_by_hand(
    lm: LanguageModel, saes: dict[str, SAE], answer: tuple[int, ...]
):
    found = ablations(lm, saes, "kl", answer)
    feature, watched = firing_feature(found, POINTS[0]), firing_feature(found, POINTS[1])
    clean, after = 0.0, 0.0
    for text in found.texts:
        kept = (~text.is_special)[:, None]
        here, there = (values(lm, text.input_ids, point, {}) for point in POINTS)
        delta = (saes[POINTS[0]].encode(here) * kept)[:, [feature]] * saes[POINTS[0]].W_dec[feature]
        changed = values(lm, text.input_ids, POINTS[1], {POINTS[0]: delta})
        clean += float((saes[POINTS[1]].encode(there) * kept)[:, watched].sum())
        after += float((saes[POINTS[1]].encode(changed) * kept)[:, watched].sum())
    (effect,) = found.downstream(node(saes, POINTS[0], feature), [node(saes, POINTS[1], watched)])
    assert effect.value == pytest.approx((clean - after) / clean, rel=1e-4)
    assert effect.n_texts == 2 and len(effect.controls) == 5


@pytest.mark.parametrize("kind", ["kl", "log_odds"])
def test_the_answer_changes_as_by_hand(lm: LanguageModel, saes: dict[str, SAE], kind: str):
    found = ablations(lm, saes, kind)
    feature = firing_feature(found, POINTS[0])
    expected = []
    for text in found.texts:
        acts = found.clean_acts(POINTS[0], text)[:, [feature]]
        ids, mask = text.input_ids[None], torch.ones_like(text.input_ids)[None]
        edit = {parse(POINTS[0]): lambda x, d=acts * saes[POINTS[0]].W_dec[feature]: x - d}
        p, q = (passage.logits(lm, ids, mask, e)[0, 4].double().softmax(-1) for e in ({}, edit))
        said = int(text.input_ids[5])
        log_odds = [float(torch.logit(one[said])) for one in (p, q)]
        expected.append(float((p * (p / q).log()).sum()) if kind == "kl" else log_odds[0] - log_odds[1])
    effect = found.on_answer(node(saes, POINTS[0], feature))
    assert effect is not None
    assert effect.value == pytest.approx(np.mean(expected), rel=1e-3)


def test_answers_kept_from_the_pass_downstream_are_those_of_a_pass_of_their_own(
    lm: LanguageModel, saes: dict[str, SAE]
):
    together, apart = ablations(lm, saes, "kl"), ablations(lm, saes, "kl")
    feature = firing_feature(apart, POINTS[0])
    source, target = node(saes, POINTS[0], feature), node(saes, POINTS[1], 3)
    together.downstream(source, [target])
    one, two = together.on_answer(source), apart.on_answer(source)
    assert one is not None and two is not None
    np.testing.assert_allclose([one.value, *one.controls], [two.value, *two.controls], atol=1e-9)


def test_controls_take_off_as_much_as_the_feature_at_the_same_words(lm: LanguageModel, saes: dict[str, SAE]):
    found = ablations(lm, saes, "kl")
    feature = firing_feature(found, POINTS[0])
    rows = found.ablated_rows(node(saes, POINTS[0], feature), found.texts[0])
    assert rows is not None
    norms = rows.norm(dim=-1)
    assert (norms[0] == 0).all()
    torch.testing.assert_close(norms[2:], norms[1].expand(5, -1))
    assert feature not in found.controls(node(saes, POINTS[0], feature))


def test_a_silent_feature_has_no_effect_to_report(lm: LanguageModel, saes: dict[str, SAE]):
    silenced = {**saes, POINTS[0]: build(L1Config(expansion_factor=2), saes[POINTS[0]].d_in).requires_grad_(False)}
    found = ablations(lm, silenced, "kl")
    assert found.downstream(node(silenced, POINTS[0], 0), [node(saes, POINTS[1], 0)]) == []
    assert found.on_answer(node(silenced, POINTS[0], 0)) is None
