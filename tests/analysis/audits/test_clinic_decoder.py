"""On the packaged decoder: answers, features, ablations and triage agree with plainer ways to compute them."""

import numpy as np
import pytest
import torch

from analysis.audits.answers import answer_ids, answer_probabilities, counting, prompt_ids
from analysis.audits.carriers import weighted_auroc
from analysis.audits.cohort import Cohort, Subject
from analysis.audits.config import FailureConfig
from analysis.audits.failures import suspects, triage
from analysis.audits.feature_ablation import delta, matched
from analysis.audits.features import Pooled, pooled
from analysis.auroc import auroc
from clinlens.audit.clinic_cohort import clinic_cohort
from clinlens.clinic import model_folder
from hooks.config import ModelConfig
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel, load
from sae.base import SAE
from sae.build import build
from sae.config import TopKConfig
from sae.errors import UserError

POINT = HookPoint(1, "hook_resid_post")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load(ModelConfig(name="clinic", path=model_folder()))


@pytest.fixture(scope="module")
def some() -> Cohort:
    return clinic_cohort(12, 5)


@pytest.fixture(scope="module")
def sae():
    torch.manual_seed(0)
    found = build(TopKConfig(k=4, expansion_factor=1), 128)
    for one in (found.W_enc, found.W_dec):
        torch.nn.init.normal_(one, std=0.1)
    return found.eval().requires_grad_(False)


def test_texts_that_the_model_reads_are_counted_while_asked_for(lm: LanguageModel, some: Cohort, sae: SAE):
    read: list[int] = []
    prompts = [one.prompt for one in some.subjects]
    with counting(read.append):
        answer_probabilities(lm, prompts, ["sepsis", "migraine"])
        pooled(lm, {POINT: sae}, prompts)
    answer_probabilities(lm, prompts, ["sepsis", "migraine"])
    assert sum(read) == 2 * len(prompts)


def test_probabilities_are_those_of_whole_answers_one_text_at_a_time(lm: LanguageModel, some: Cohort):
    found = answer_probabilities(lm, [one.prompt for one in some.subjects[:2]], some.answers)
    assert found.sum(1) == pytest.approx(1)
    ids = {next(iter(answer_ids(lm, one))) for one in some.answers}
    for row, one in zip(found, some.subjects, strict=False):
        logits = lm.model(torch.tensor([prompt_ids(lm, one.prompt)])).logits[0, -1].double()
        if len(ids) == len(some.answers):
            plain = logits[[answer_ids(lm, answer)[0] for answer in some.answers]].softmax(0)
            assert row == pytest.approx(plain.detach().numpy(), abs=1e-5)
        assert some.answers[row.argmax()] == one.truth


def test_answers_that_begin_alike_share_their_first_tokens_probability(lm: LanguageModel, some: Cohort):
    prompt = [some.subjects[0].prompt]
    apart = answer_probabilities(lm, prompt, ["Pneumonia", "Cystitis"])[0]
    alike = answer_probabilities(lm, prompt, ["Pneumonia", "Cystitis", "Cystitis Plan"])[0]
    assert alike[1] + alike[2] < apart[1] + 1e-6 or alike[1] <= apart[1] + 1e-6
    assert alike[0] / alike[1] == pytest.approx(apart[0] / apart[1], rel=1e-3)


def test_answers_that_read_alike_are_an_error(lm: LanguageModel, some: Cohort):
    with pytest.raises(UserError, match="Two answers have the same tokens"):
        answer_probabilities(lm, [some.subjects[0].prompt], ["Asthma attack", "Asthma attack "])


def test_a_text_that_is_too_long_is_an_error_unless_it_may_be_cut(lm: LanguageModel):
    long = "fever " * (lm.max_context_tokens + 5)
    with pytest.raises(UserError, match="Shorten or remove it"):
        prompt_ids(lm, long)
    assert len(prompt_ids(lm, long, 40)) == 40


def test_pooled_features_do_not_depend_on_what_else_is_in_the_batch(lm: LanguageModel, some: Cohort, sae):
    texts = [one.prompt for one in some.subjects]
    together, alone = pooled(lm, {POINT: sae}, texts)[POINT], pooled(lm, {POINT: sae}, texts[3:4])[POINT]
    for name in ("largest", "last", "share", "error", "n_tokens"):
        assert getattr(together, name)[3] == pytest.approx(getattr(alone, name)[0], rel=1e-3, abs=1e-4)
    assert ((together.share > 0) == together.fires).all()


def test_ablating_in_delta_mode_takes_out_the_features_and_keeps_the_error(sae):
    x = torch.randn(1, 5, 128)
    acts = sae.encode(x)
    index = acts[0, 0].topk(2).indices.tolist()
    kept = acts.clone()
    kept[..., index] = 0
    error = x - sae.decode(acts)
    assert torch.allclose(delta(sae, index)(x), sae.decode(kept) + error, atol=1e-4)
    assert torch.equal(delta(sae, [])(x), x)


def test_controls_are_other_features_that_fire(sae):
    rng = np.random.default_rng(0)
    share = rng.random((6, 40)).astype(np.float32)
    share[:, 30:] = 0
    pool = Pooled(share, share, share, np.ones(6), np.ones(6), np.ones(6))
    for _ in range(20):
        drawn = matched({POINT: pool}, {POINT: [1, 2, 3]}, rng)[POINT]
        assert len(set(drawn)) == 3
        assert not set(drawn) & {1, 2, 3, *range(30, 40)}
    few = share * (np.arange(40) < 3)
    scarce = {POINT: Pooled(few, few, few, np.ones(6), np.ones(6), np.ones(6))}
    with pytest.raises(UserError, match="all 3 features that fire are ablated or drawn"):
        matched(scarce, {POINT: [0, 1, 2]}, rng)


def test_a_weighted_auroc_of_ones_is_the_auroc():
    rng = np.random.default_rng(1)
    scores, labels = np.round(rng.random(50), 1), rng.random(50) < 0.4
    assert weighted_auroc(scores, labels, np.ones(50)) == pytest.approx(auroc(scores[:, None], labels[None])[0, 0])
    twice = weighted_auroc(scores, labels, np.r_[np.full(25, 2.0), np.zeros(25)])
    assert twice == pytest.approx(auroc(scores[:25, None], labels[None, :25])[0, 0])


def test_a_feature_of_wrong_answers_is_found_among_noise():
    rng = np.random.default_rng(2)
    acts = rng.random((80, 50))
    acts[:20, 7] += 2
    matches = [[20 + 3 * i, 21 + 3 * i, 22 + 3 * i] for i in range(20)]
    names = [f"{POINT}/{i}" for i in range(50)]
    found = suspects(acts, range(20), matches, names, FailureConfig(n_permutations=199))
    assert (found[0].feature, found[0].p) == (7, 1 / 200)
    assert all(one.p > 0.05 for one in found[1:])


def test_triage_lists_the_surest_mistake_first_with_the_tokens_that_spoke_for_it(lm: LanguageModel, some: Cohort, sae):
    subjects = list(some.subjects)
    wrong = next(answer for answer in some.answers if answer != subjects[0].truth)
    subjects[0] = Subject("odd", "odd", subjects[0].prompt, wrong, {})  # a right answer that counts as a mistake
    cohort = Cohort("x", tuple(subjects), some.answers)
    texts = [one.prompt for one in subjects]
    p = answer_probabilities(lm, texts, cohort.answers)
    found = triage(lm, {POINT: sae}, cohort, pooled(lm, {POINT: sae}, texts), p, FailureConfig(n_tokens=3))
    assert found.failures[0].id == "odd"
    assert found.failures[0].answer == some.subjects[0].truth
    assert len(found.failures[0].tokens) == 3
    assert "odd" not in found.failures[0].matches
    assert found.suspects == []
    assert "too few to test features" in found.remark


def test_no_mistake_at_all_is_an_error(lm: LanguageModel, some: Cohort, sae):
    p = np.eye(len(some.answers))[some.truth()]
    texts = [one.prompt for one in some.subjects]
    with pytest.raises(UserError, match="0 of 12 answers are wrong"):
        triage(lm, {POINT: sae}, some, pooled(lm, {POINT: sae}, texts), p, FailureConfig())
