"""The process benchmark on features made by hand: what fired, where, and what stands for nothing."""

import numpy as np
import pytest

from analysis.audits.cohort import Cohort, Subject
from analysis.audits.config import ProcessConfig
from analysis.audits.expected import Finding
from analysis.audits.process import Mention, Tokens, detectors_of, firing, inside_of, mentions_of, step
from hooks.hook_points import HookPoint
from sae.errors import UserError

EARLY, LATE = HookPoint(0, "hook_resid_post"), HookPoint(3, "hook_resid_post")
N_TEXTS, N_TOKENS = 40, 6
CFG = ProcessConfig(n_features=1, n_bootstraps=50)


def made() -> tuple[Tokens, list[Mention]]:
    """Texts of six tokens of two characters; in every other one the third says the finding, which feature 2 of the late layer
    knows, there and after it."""
    row = np.repeat(np.arange(N_TEXTS), N_TOKENS)
    place = np.tile(np.arange(N_TOKENS), N_TEXTS)
    has = row % 2 == 0
    rng = np.random.default_rng(0)
    late = rng.random((len(row), 4)) * 0.1
    late[has & (place == 2), 2] = 5.0
    early = rng.random((len(row), 4)) * 0.1
    tokens = Tokens(row, place * 2, place * 2 + 2, {EARLY: early, LATE: late})
    return tokens, [Mention(text, 4, 6, "fever") for text in range(0, N_TEXTS, 2)]


def test_the_feature_and_the_layer_of_a_finding_are_found_and_noise_stands_for_nothing():
    tokens, mentions = made()
    chooses = tokens.row < N_TEXTS // 2
    (found,) = detectors_of({"fever": Finding(spans=("fever",))}, tokens, mentions, chooses, CFG)
    assert (found.hook_point, found.features, found.auroc) == (str(LATE), (2,), (1.0,))
    fired = firing("fever", [found], tokens, mentions, N_TEXTS)[str(LATE)]
    assert fired[::2].all()
    assert fired[1::2].mean() < 0.5


def test_what_fires_before_its_mention_does_not_count():
    tokens, mentions = made()
    (found,) = detectors_of({"fever": Finding(features={str(LATE): (2,)})}, tokens, mentions, tokens.row < 20, CFG)
    tokens.acts[LATE][:, 2] = 0
    tokens.acts[LATE][tokens.start == 0, 2] = 9.0
    assert not firing("fever", [found], tokens, mentions, N_TEXTS)[str(LATE)][::2].any()


def test_tokens_of_a_mention_are_those_that_overlap_it():
    tokens, mentions = made()
    inside = inside_of("fever", tokens, mentions)
    plain = [(r % 2 == 0) and s < 6 and e > 4 for r, s, e in zip(tokens.row, tokens.start, tokens.end, strict=True)]
    assert inside.tolist() == plain


def test_a_finding_with_few_mentions_is_an_error():
    tokens, mentions = made()
    with pytest.raises(UserError, match="'fever' has 2 and 0 tokens in the two halves"):
        detectors_of({"fever": Finding(spans=("fever",))}, tokens, mentions[:2], tokens.row < 20, CFG)


def test_only_affirmed_spans_and_whole_words_are_mentions():
    spans = ({"start": 0, "end": 5, "label": "fever", "status": "negated"}, {"start": 9, "end": 14, "label": "fever"})
    some = Cohort("x", (Subject("1", "1", "No fever, FEVER feverish", "a", {}, spans=spans),), ("a", "b"))
    by_span = mentions_of(some, {"f": Finding(spans=("fever",))})
    by_word = mentions_of(some, {"f": Finding(words=("fever",))})
    assert [(one.start, one.end) for one in by_span] == [(9, 14)]
    assert [(one.start, one.end) for one in by_word] == [(3, 8), (10, 15)]


def test_a_step_tells_right_and_wrong_answers_apart_and_names_the_first_layer_that_has_most():
    subjects = tuple(Subject(str(i), str(i), "x", "a", {}) for i in range(10))
    some = Cohort("x", subjects, ("a", "b"))
    late = np.arange(10) < 8
    early = np.arange(10) < 2
    is_right = np.arange(10) < 6
    found = step("a", "f", np.ones(10, bool), {str(EARLY): early, str(LATE): late}, is_right, some, CFG)
    assert (found.n, found.fired, found.first_layer) == (10, 0.8, str(LATE))
    assert (found.fired_when_right, found.fired_when_wrong) == (1.0, 0.5)
    assert found.low <= 0.8 <= found.high
