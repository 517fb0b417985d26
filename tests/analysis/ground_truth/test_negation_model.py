"""A model of a small task learns it within seconds, is saved once, and is refused where it has not learned."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from analysis.ground_truth import negation, negation_model
from analysis.ground_truth.negation import NegationConfig
from analysis.ground_truth.negation_model import train
from analysis.ground_truth.opened import all_opened
from analysis.ground_truth.small_model import SmallModelConfig
from hooks.config import ModelConfig
from hooks.model import load
from sae.errors import UserError

TASK = NegationConfig(n_entries=2, negated_share=0.0, n_donors=3)


def test_a_trained_model_reads_the_cases_and_is_not_trained_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = SmallModelConfig(d_model=48, n_layers=2, n_steps=150, least_accuracy=0.9)
    announced: list[int] = []
    told: list[int] = []

    @contextmanager
    def bar(n_steps: int):
        announced.append(n_steps)
        yield told.append

    folder = train(tmp_path, cfg, TASK, progress=bar)
    assert announced == [150]
    assert 0 < sum(told) <= 150
    monkeypatch.setattr(negation_model, "fit", lambda *_: pytest.fail("trained twice"))
    assert train(tmp_path, cfg, TASK, progress=bar) == folder
    assert announced == [150], "nothing is announced where nothing is to be done"
    lm = load(ModelConfig(name=str(folder)))
    opened = list(all_opened(lm, negation.cases(20, 0, TASK)))
    assert len(opened) >= 17
    one = opened[0]
    assert one.problem.case.tokens[0] == "<s>"
    assert [t for t, e in zip(one.problem.case.tokens, one.evidence, strict=True) if e] == [
        word for word in one.known.prompt.split()[:4] if word.startswith(one.known.prompt.split()[-1])
    ]
    assert one.scope.tolist() == [False, True, True, True, True, False, False]
    drawn = one.problem.sampler.sample(one.problem.case.input_ids, (2, 4), 5, 0)
    assert drawn.shape == (5, 2)


def test_a_model_that_has_not_learned_is_refused_and_leaves_nothing(tmp_path: Path):
    cfg = SmallModelConfig(d_model=16, n_layers=1, n_steps=1)
    with pytest.raises(UserError, match=r"answers .* % of unseen texts rightly, expected 92 %. Raise n_steps"):
        train(tmp_path, cfg)
    assert not list(tmp_path.iterdir())
