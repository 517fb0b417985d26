"""Changes worked by hand on a planted model, exactly nothing where nothing changes, and beside plain torch hooks."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.steering.answers import Question, answers, divergence
from analysis.steering.change import Change, Mode
from analysis.steering.controls import FeatureTable, feature_table, matched, refuse_silent
from analysis.steering.dose import beyond, control_sets, curve
from analysis.steering.generation import generated
from analysis.steering.side_effects import side_effects
from analysis.steering.steering import Site, Steering
from hooks.model import LanguageModel
from hooks.model_types import ENCODERS
from hooks.windows import Batch
from sae.base import SAE
from sae.config import SAEConfig, TopKConfig
from sae.errors import UserError
from tests.analysis.attribution.test_bridge import ACUTE, ARCHITECTURES, PLANTED, axis_sae, planted_model, random_sae
from tests.analysis.attribution.worlds import TEXT, opened
from tests.tiny import SETTINGS, VOCABULARY

POINT = "blocks.1.hook_resid_post"
DECODERS = [kind for kind in SETTINGS if kind.split("-", maxsplit=1)[0] not in ENCODERS]


def change(feature: int, mode: Mode, strength: float, scale: float = 1.0, point: str = POINT) -> Change:
    return Change(hook_point=point, feature=feature, mode=mode, strength=strength, scale=scale)


def steering(lm: LanguageModel, sae: SAE, *changes: Change, limit: float | None = None) -> Steering:
    return Steering(lm, (Site(POINT, "one", sae, "abc", limit),), changes)


def logits(some: Steering, text: str = TEXT) -> torch.Tensor:
    case = cases.read(text, some.lm)
    ids = case.input_ids[None]
    return some.logits(ids, torch.ones_like(ids), ~case.is_special[None])[0]


def window(lm: LanguageModel, text: str = TEXT) -> Batch:
    case = cases.read(text, lm)
    ids = case.input_ids[None]
    flags = torch.ones_like(ids, dtype=torch.bool)
    return Batch(ids, torch.ones_like(ids), case.is_special[None], flags, [slice(0, len(ids[0]))])


def test_a_clamp_on_the_planted_model_is_worked_by_hand():
    lm = planted_model()
    found = logits(steering(lm, axis_sae(), change(PLANTED, "clamp", 2.0, scale=3.0)))
    # direction 3 is 2 · 3 at every token but BOS, and the answer reads it with weight 2; nothing else is read
    assert found[1:, ACUTE] == pytest.approx(torch.full((len(found) - 1,), 12.0))
    assert float(found[:, [i for i in range(len(VOCABULARY)) if i != ACUTE]].abs().max()) == 0
    case = cases.read(TEXT, lm)
    question = Question(case, (ACUTE,))
    (log_prob,) = answers(steering(lm, axis_sae(), change(PLANTED, "clamp", 2.0, scale=3.0)), [question]).log_prob
    assert log_prob == pytest.approx(-math.log1p((len(VOCABULARY) - 1) * math.exp(-12)), rel=1e-3)


@pytest.mark.parametrize(("mode", "strength", "factor"), [("amplify", 3.0, 3.0), ("suppress", 0.25, 0.75)])
def test_factor_and_share_act_on_what_is_there(mode: Mode, strength: float, factor: float):
    lm = planted_model()
    clean, found = logits(steering(lm, axis_sae())), logits(steering(lm, axis_sae(), change(PLANTED, mode, strength)))
    assert found[1:, ACUTE] == pytest.approx(factor * clean[1:, ACUTE])
    assert float(found[0, ACUTE]) == float(clean[0, ACUTE])


@pytest.mark.parametrize("cfg", ARCHITECTURES, ids=lambda cfg: cfg.architecture)
@pytest.mark.parametrize(("mode", "strength"), [("amplify", 1.0), ("suppress", 0.0)])
def test_a_change_of_nothing_changes_no_bit(cfg: SAEConfig, mode: Mode, strength: float):
    lm, sae = opened("llama"), random_sae(cfg)
    some = steering(lm, sae, *(change(feature, mode, strength) for feature in range(64)))
    assert torch.equal(logits(some), logits(some.clean))


def test_suppressing_what_is_silent_changes_no_bit_though_the_autoencoder_errs():
    lm, sae = opened("llama"), random_sae(TopKConfig(k=4))
    values = [lm.model.model.layers[1].register_forward_hook(lambda _m, _a, out: seen.append(out))]  # type: ignore[attr-defined]
    seen: list[torch.Tensor] = []
    clean = logits(steering(lm, sae))
    values[0].remove()
    acts = sae.encode(seen[0][0, 1:])
    silent = int((acts.amax(0) == 0).nonzero()[0])
    assert float((sae.decode(acts) - seen[0][0, 1:]).norm()) > 1
    assert torch.equal(logits(steering(lm, sae, change(silent, "suppress", 1.0))), clean)


def test_two_changes_equal_a_plain_torch_hook():
    lm, sae = opened("llama"), random_sae(TopKConfig(k=4))
    case = cases.read(TEXT, lm)
    ids = case.input_ids[None]
    with torch.no_grad():
        seen: list[torch.Tensor] = []
        layer = lm.model.model.layers[1]  # type: ignore[attr-defined]
        handle = layer.register_forward_hook(lambda _m, _a, out: seen.append(out))
        lm.model(input_ids=ids)
        handle.remove()
        first, second = sae.encode(seen[0][0, 1:]).sum(0).topk(2).indices.tolist()

        def hook(_module: object, _args: object, out: torch.Tensor) -> torch.Tensor:
            changed = out.clone()
            for position in range(1, out.shape[1]):
                acts = sae.encode(out[0, position])
                changed[0, position] += (4.0 - acts[first]) * sae.W_dec[first] + 2.0 * acts[second] * sae.W_dec[second]
            return changed

        handle = layer.register_forward_hook(hook)
        theirs = lm.model(input_ids=ids).logits[0]
        handle.remove()
    ours = logits(steering(lm, sae, change(first, "clamp", 2.0, scale=2.0), change(second, "amplify", 3.0)))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, logits(steering(lm, sae)), atol=1e-2)


def test_rows_of_outlying_norm_stay_as_they_are():
    lm, sae = opened("llama"), random_sae(TopKConfig(k=4))
    some = change(0, "clamp", 5.0)
    assert torch.equal(logits(steering(lm, sae, some, limit=1e-6)), logits(steering(lm, sae)))
    assert torch.equal(logits(steering(lm, sae, some, limit=1e9)), logits(steering(lm, sae, some)))


@pytest.mark.parametrize("kind", DECODERS)
def test_what_is_written_token_by_token_is_what_whole_passes_would_write(kind: str):
    lm = opened(kind)
    some = steering(lm, random_sae(TopKConfig(k=4)), change(3, "clamp", 6.0), change(5, "amplify", 2.0))
    case = cases.read(TEXT, lm)
    found = generated(some, case, 6)
    ids = case.input_ids[None]
    for token_id in found.token_ids:
        free = torch.cat([~case.is_special, torch.ones(ids.shape[1] - case.n_tokens, dtype=torch.bool)])[None]
        assert int(some.logits(ids, torch.ones_like(ids), free)[0, -1].argmax()) == token_id
        ids = torch.cat([ids, torch.tensor([[token_id]])], 1)
    if len(found.token_ids) < 6:  # it stopped because the next token is the end of text
        free = torch.cat([~case.is_special, torch.ones(ids.shape[1] - case.n_tokens, dtype=torch.bool)])[None]
        assert int(some.logits(ids, torch.ones_like(ids), free)[0, -1].argmax()) == lm.tokenizer.eos_token_id
    assert found.perplexity >= 1


def test_a_temperature_draws_the_same_under_the_same_seed():
    some = steering(opened("llama"), random_sae(TopKConfig(k=4)))
    case = cases.read(TEXT, some.lm)
    first, again, other = (generated(some, case, 8, temperature=5.0, seed=seed).token_ids for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_answer_of_two_tokens_is_scored_as_one_in_any_batch():
    lm = opened("gpt2")
    some = steering(lm, random_sae(TopKConfig(k=4)), change(3, "clamp", 3.0))
    texts = (TEXT, "patient has no pain", "old male with acute cough")
    questions = []
    for text in texts:
        case = cases.read(text, lm)
        answer = tuple(targets.tokens_after(case, lm, " chest pain"))
        questions.append(Question(case, answer, tuple(targets.tokens_after(case, lm, " heart pain"))))
    together = answers(some, questions)
    alone = [answers(some, [one]) for one in questions]
    assert together.log_prob == pytest.approx([float(one.log_prob[0]) for one in alone], rel=1e-4)
    by_hand = logits(some, texts[0] + " chest pain").log_softmax(-1)
    ids = questions[0].answer_ids
    assert together.log_prob[0] == pytest.approx(float(by_hand[-3, ids[0]] + by_hand[-2, ids[1]]), rel=1e-4)
    assert together.log_odds == pytest.approx(together.log_prob - together.contrast)


def test_log_odds_are_those_of_the_probability():
    lm = opened("llama")
    case = cases.read(TEXT, lm)
    found = answers(steering(lm, axis_sae()), [Question(case, (ACUTE,)), Question(case)])
    p = found.probability[0]
    assert found.log_odds[0] == pytest.approx(math.log(p / (1 - p)))
    assert np.isnan(found.log_prob[1])


def test_features_are_counted_by_hand():
    rows = torch.zeros(4, 32)
    rows[0, 1], rows[1, 1], rows[2, 1] = 2.0, 4.0, -3.0
    table = feature_table(axis_sae(), [rows[:3], rows[3:]])
    assert (table.density[1], table.size[1], table.largest[1], table.n_rows) == (0.5, 3.0, 4.0, 4)
    assert table.density[2] == 0
    with pytest.raises(UserError, match="fires on none of 4 held-out tokens"):
        refuse_silent(table, 2, POINT)


def table_of(n: int = 40) -> FeatureTable:
    """Features in tens: each ten alike, ten times rarer than the ten before; the last feature is dead."""
    density = np.repeat(10.0 ** -np.arange(1, n // 10 + 1), 10)
    density[-1] = 0
    return FeatureTable(density, np.full(n, 2.0), np.full(n, 5.0), 1000)


def test_controls_are_features_that_fire_as_often():
    found = matched(table_of(), 12, 3, seed=0)
    assert set(found) <= set(range(10, 20)) - {12}
    assert found == matched(table_of(), 12, 3, seed=0)
    assert all(39 not in matched(table_of(), 35, 8, seed=seed) for seed in range(5))


def test_a_set_of_controls_has_no_steered_feature_and_none_twice():
    changes = (change(12, "clamp", 1.0), change(13, "clamp", 1.0))
    sets = control_sets(changes, {POINT: table_of()}, 4, seed=1)
    drawn = [feature for one in sets for feature in one]
    assert len(sets) == 4
    assert len(set(drawn)) == len(drawn) == 8
    assert not {12, 13} & set(drawn)


def test_too_few_like_features_are_a_clear_error():
    with pytest.raises(UserError, match=r"38 other features fire .* expected at least 50"):
        matched(table_of(), 12, 50, seed=0)


def test_the_planted_feature_moves_its_answer_beyond_every_control():
    lm = planted_model()
    questions = [Question(cases.read(text, lm), (ACUTE,)) for text in (TEXT, "patient has fever and", "fever and pain")]
    doses = [(change(PLANTED, "clamp", strength, scale=2.0),) for strength in (0.5, 1.0, 2.0)]
    controls = [(feature,) for feature in range(10, 19)]
    found = curve(steering(lm, axis_sae()), questions, doses, controls)
    values = [dose.change.value for dose in found.doses]
    assert values == sorted(values)
    assert values[-1] > 5
    last = found.doses[-1].controls
    assert last is not None
    assert last.p_value == pytest.approx(1 / 10)
    assert last.changes == pytest.approx([0.0] * 9, abs=1e-5)  # the answer reads direction 3 alone
    assert last.beyond.low > 5


def test_one_case_has_a_change_but_no_interval():
    lm = planted_model()
    questions = [Question(cases.read(TEXT, lm), (ACUTE,))]
    (dose,) = curve(steering(lm, axis_sae()), questions, [(change(PLANTED, "clamp", 1.0),)]).doses
    assert dose.record()["change"]["value"] > 0
    assert dose.record()["change"]["low"] is None
    assert dose.controls is None


def test_beyond_is_worked_by_hand():
    found = beyond(np.asarray([2.0, 4.0]), np.asarray([[1.0, 1.0], [3.0, 3.0], [-5.0, -5.0]]), seed=0)
    assert found.changes == (1.0, 3.0, -5.0)
    assert found.p_value == pytest.approx((1 + 2) / 4)  # 3 and −5 go at least as far as the mean of 3
    assert found.beyond.value == pytest.approx(3 - (1 + 3 - 5) / 3)


def test_no_change_has_no_side_effect():
    lm = opened("llama")
    some = steering(lm, random_sae(TopKConfig(k=4)), change(3, "amplify", 1.0))
    (found,) = side_effects([some], [window(lm), window(lm, "old male with cough")], [Question(cases.read(TEXT, lm))])
    assert found.ratio == 1
    assert (found.kl_held_out.value, found.kl_unrelated.value, found.changed_unrelated.value) == (0, 0, 0)


def test_perplexity_and_divergence_are_those_of_plain_torch():
    lm, sae = opened("llama"), random_sae(TopKConfig(k=4))
    some = steering(lm, sae, change(3, "clamp", 9.0))
    (found,) = side_effects([some], [window(lm)], [Question(cases.read(TEXT, lm))])
    ids = cases.read(TEXT, lm).input_ids
    changed, clean = logits(some).log_softmax(-1), logits(some.clean).log_softmax(-1)
    nll = torch.nn.functional.nll_loss(changed[1:-1], ids[2:])  # the token after BOS is not scored, as in the splice
    assert found.perplexity.value == pytest.approx(float(nll.exp()), rel=1e-4)
    kl = torch.nn.functional.kl_div(changed[1:-1], clean[1:-1], log_target=True, reduction="batchmean")
    assert found.kl_held_out.value == pytest.approx(float(kl), rel=1e-3)
    assert float(divergence(clean, changed)[-1]) == pytest.approx(found.kl_unrelated.value, rel=1e-3)


def test_what_cannot_be_changed_is_refused():
    lm, sae = opened("llama"), axis_sae()
    with pytest.raises(UserError, match=r"Feature blocks\.1\.hook_resid_post/32 .* features 0 to 31"):
        steering(lm, sae, change(32, "amplify", 2.0))
    with pytest.raises(UserError, match="changed twice"):
        steering(lm, sae, change(3, "amplify", 2.0), change(3, "clamp", 1.0))
    with pytest.raises(UserError, match=r"A change is at blocks\.0\.hook_resid_post, but there are SAEs at"):
        steering(lm, sae, change(3, "amplify", 2.0, point="blocks.0.hook_resid_post"))
    with pytest.raises(UserError, match="expected a decoder"):
        steering(opened("bert"), sae)
    with pytest.raises(ValidationError, match="expected a share from 0 to 1"):
        change(3, "suppress", 1.5)
    with pytest.raises(UserError, match="Shorten one of them"):
        generated(steering(lm, sae), cases.read(TEXT, lm), 60)
