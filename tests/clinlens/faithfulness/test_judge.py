"""`clinlens faithfulness` on a tiny model: what it writes, what it says, what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.problem import Problem
from analysis.faithfulness.compare import Comparison, compare
from analysis.faithfulness.config import FaithfulnessConfig
from analysis.faithfulness.contender import RANDOM, REFERENCE, Contender, contenders
from analysis.faithfulness.perturbed import Perturbed
from analysis.faithfulness.randomisation import cascade, similarity
from analysis.ground_truth.known import KnownCase
from analysis.ground_truth.opened import OpenCase
from clinlens import config as configs
from clinlens.__main__ import main
from clinlens.faithfulness import suites
from clinlens.pipeline import Run
from sae.errors import UserError
from tests.analysis.attribution.test_bridge import planted_model
from tests.analysis.attribution.worlds import opened, problem

CFG = FaithfulnessConfig(n_cases=2, n_draws=2, n_subsets=8, n_checked=1)
METHODS = ("gradient_norm", "hidden_state")


@pytest.fixture(scope="module")
def run(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faithfulness")
    values = {
        "folder": str(folder / "run"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus), "id_column": "id"},
        "faithfulness": CFG.model_dump(),
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def judged(run: Path) -> dict[str, Any]:
    main(["faithfulness", str(run), "--suite", "corpus", "--methods", ",".join(METHODS)])
    return json.loads((run.parent / "run" / "faithfulness.json").read_text())


def test_every_method_has_every_figure_with_an_interval(judged: dict[str, Any], run: Path):
    (suite,) = judged["suites"]
    assert suite["n_cases"] == 2
    assert set(suite["methods"]) == {*METHODS, REFERENCE, RANDOM}
    for method in METHODS:
        figures = suite["methods"][method]["figures"]
        assert figures["abpc"]["low"] <= figures["abpc"]["value"] <= figures["abpc"]["high"]
        assert figures["seconds"]["value"] > 0
        assert figures["gini"]["n"] == 2
    assert (
        suite["kendall_tau"]["gradient_norm"]["hidden_state"] == suite["kendall_tau"]["hidden_state"]["gradient_norm"]
    )
    assert (run.parent / "run" / "faithfulness.png").stat().st_size > 5000


def test_a_corpus_smaller_than_asked_for_is_said_to_be_tried_as_often_as_it_was(run: Path):
    opened_run = Run(configs.read(run))
    n_documents = sum(1 for _ in opened_run.documents)
    suite = suites.opened(opened_run, "corpus", CFG.model_copy(update={"n_cases": n_documents + 30}))
    assert suite.n_tried == len(suite.cases) <= n_documents


def test_no_text_of_the_corpus_is_in_the_file(judged: dict[str, Any]):
    assert "fever" not in json.dumps(judged)


def test_the_hidden_state_is_unmoved_by_a_shuffled_head_and_flagged_for_it(judged: dict[str, Any]):
    method = judged["suites"][0]["methods"]["hidden_state"]
    assert method["figures"]["similarity_head"]["value"] == pytest.approx(1)
    assert "unmoved by a shuffled head" in method["flags"]
    assert judged["suites"][0]["methods"]["gradient_norm"]["figures"]["similarity_head"]["value"] < 0.95


def test_the_same_command_gives_the_same_figures(judged: dict[str, Any], run: Path, capsys: pytest.CaptureFixture[str]):
    main(["faithfulness", str(run), "--suite", "corpus", "--methods", ",".join(METHODS), "--json"])
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    for method in METHODS:
        first, second = (one["suites"][0]["methods"][method]["figures"] for one in (judged, again))
        assert {key: value for key, value in first.items() if key != "seconds"} == {
            key: value for key, value in second.items() if key != "seconds"
        }


def test_the_table_names_methods_and_flags(judged: dict[str, Any]):
    from clinlens.faithfulness.table import lines

    text = "\n".join(lines(judged))
    assert "corpus: 2 cases" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("hidden_state"))
    assert "unmoved by a shuffled head" in row


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--suite", "poems"], "There is no suite 'poems', expected one of clinic, passages, corpus, negation"),
        (["--suite", "corpus", "--methods", "guess"], "There is no method 'guess', expected one of"),
        (["--suite", "passages", "--methods", "gradient_norm"], "is not in the vocabulary of"),
    ],
)
def test_what_cannot_be_judged_is_a_clear_error(
    run: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
):
    with pytest.raises(SystemExit) as stopped:
        main(["faithfulness", str(run), *more])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_on_a_planted_circuit_occlusion_finds_the_evidence_and_noise_does_not():
    found = planted_comparison()
    assert found.mean("occlusion", "precision_first").value == 1
    assert found.mean("occlusion", "auroc_evidence").value == 1
    assert found.share_of_reference("occlusion").value > 0.6
    assert found.mean("occlusion", "abpc").value > found.mean(RANDOM, "abpc").value
    assert found.tau["occlusion"][REFERENCE] == found.tau[REFERENCE]["occlusion"]
    assert found.flags(RANDOM) == []


def planted_comparison() -> Comparison:
    """Texts in which `fever` alone speaks for the answer, at different places."""
    lm = planted_model()
    some = []
    for text in ("patient has fever and pain today", "fever no cough given drug", "pain and cough and fever ."):
        case = cases.read(text, lm)
        evidence = np.asarray([token == "fever" for token in case.tokens])
        known = KnownCase("planted", text, " acute", None, (), (0, len(text)))
        task = Problem(lm, case, targets.next_token(case, lm, " acute"))
        nothing = np.zeros(case.n_tokens, bool)
        some.append(OpenCase(known, task, evidence, evidence, nothing, nothing))
    return compare("planted", some, contenders(("occlusion",)), CFG)


def test_curves_begin_with_the_whole_text_and_soft_masks_of_one_change_nothing():
    task = problem("llama", is_total=True)
    perturbed = Perturbed(task, 3, 0)
    gone = np.zeros((2, task.n_tokens), bool)
    gone[1] = task.is_free.numpy()
    scores = perturbed.scores(gone)
    assert scores[0] == pytest.approx(float(task.clean_scores.sum()))
    expected = task.score(task.embed(perturbed.draws)).sum(1).detach().numpy()
    assert scores[1] == pytest.approx(expected, abs=1e-4)
    keep = np.ones((1, task.n_tokens))
    whole = 1 / (1 + np.exp(-float(task.clean_scores.sum())))
    assert perturbed.soft_probability(keep)[0] == pytest.approx(whole, rel=1e-5)


def test_rows_that_lose_nothing_special_keep_their_order():
    task = problem("gpt2", is_total=True)
    perturbed = Perturbed(task, 2, 1)
    rng = np.random.default_rng(0)
    gone = (rng.random((7, task.n_tokens)) < 0.4) & task.is_free.numpy()
    together = perturbed.scores(gone)
    alone = np.concatenate([perturbed.scores(row[None]) for row in gone])
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_cascade_shuffles_from_the_head_down_and_leaves_the_model_alone():
    lm = opened("llama")
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    stages = dict(cascade(lm, 0))
    assert list(stages) == ["head", "upper_half", "all_layers"]
    changed = {
        stage: {name for name, value in one.model.state_dict().items() if not torch.equal(value, before[name])}
        for stage, one in stages.items()
    }
    assert all("layers" not in name for name in changed["head"])
    assert "lm_head.weight" in changed["head"]
    assert changed["head"] < changed["upper_half"] < changed["all_layers"]
    assert not any("embed_tokens" in name for name in changed["all_layers"])
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())


def test_a_tied_head_is_shuffled_without_its_embedding():
    lm = opened("llama", tie_word_embeddings=True)
    _, one = next(iter(cascade(lm, 0)))
    assert torch.equal(one.model.model.embed_tokens.weight, lm.model.model.embed_tokens.weight)  # type: ignore[attr-defined, union-attr]
    assert not torch.equal(one.model.lm_head.weight, lm.model.lm_head.weight)  # type: ignore[attr-defined, union-attr, arg-type]


def test_similarity_is_blind_to_sign_and_undefined_for_equal_scores():
    a = np.asarray([1.0, -2.0, 3.0])
    assert similarity(a, -a) == pytest.approx(1)
    assert np.isnan(similarity(a, np.ones(3)))


def test_no_case_is_a_clear_error():
    with pytest.raises(UserError, match="answers none of the cases of 'clinic' rightly"):
        compare("clinic", [], contenders(("occlusion",)), CFG)


def test_a_random_order_has_the_same_scores_for_the_same_text():
    task = problem("llama")
    one = Contender(RANDOM, None)
    assert (one.run(task, 3).raw == one.run(task, 3).raw).all()
    assert (one.run(task, 3).raw != one.run(task, 4).raw).any()
