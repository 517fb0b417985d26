"""The sets of cases that methods are judged on, each with the model that answers them.

| suite | model | known |
|---|---|---|
| `clinic` | the run's, where it is the embedded one | which findings decide the diagnosis, by rule |
| `passages` | the run's | which of two passages answers the question |
| `corpus` | the run's, on its own texts | nothing but what the model does when tokens go |
| `negation` | a small one, trained for it below the run folder | all: nothing else can decide the answer |
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.problem import Problem
from analysis.faithfulness.config import FaithfulnessConfig
from analysis.ground_truth import negation, negation_model, two_passages
from analysis.ground_truth.known import KnownCase
from analysis.ground_truth.opened import OpenCase, all_opened, answered
from analysis.ground_truth.small_model import SmallModelConfig
from clinlens.clinic import known as clinic_cases
from clinlens.clinic.knowledge import HELD_OUT
from clinlens.pipeline import EMBEDDED, Run, progress
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load
from sae.errors import UserError

SuiteName = Literal["clinic", "passages", "corpus", "negation"]
SUITES: tuple[SuiteName, ...] = get_args(SuiteName)
MODELS = "faithfulness/models"
"""Below the run folder."""
MOST_TRIED = 8
"""Cases tried for each one wanted, before a model counts as unable to answer."""
CORPUS_TOKENS = 96
"""Of each text; the curves of a longer one take minutes."""


class Suite(NamedTuple):
    """Cases that a model answers rightly."""

    name: str
    lm: LanguageModel
    cases: list[OpenCase]
    n_tried: int
    """Cases asked to get them."""


def default_suites(run: Run) -> tuple[SuiteName, ...]:
    """What a run is judged on where nothing is named."""
    return ("clinic", "negation") if run.cfg.model.name == EMBEDDED else ("corpus", "negation")


def opened(run: Run, name: SuiteName, cfg: FaithfulnessConfig) -> Suite:
    """A suite with as many cases as are asked for and answered rightly.

    Raises:
        UserError: The model is no decoder, or answers none.
    """
    if name == "negation":
        return negation_suite(run.folder / MODELS, run.model, cfg)
    lm = load(run.model)
    targets.refuse_no_head(lm)
    if name == "corpus":
        found = list(islice(corpus_cases(run, lm), cfg.n_cases))
        return Suite(name, lm, found, len(found))  # the answer is the model's own, so each one asked is taken
    n_tried = MOST_TRIED * cfg.n_cases
    known = (
        clinic_cases.cases(n_tried, HELD_OUT.seed + 1 + cfg.seed * n_tried)
        if name == "clinic"
        else two_passages.cases(n_tried, cfg.seed)
    )
    return taken(name, lm, known, cfg)


def negation_suite(folder: Path, model: ModelConfig, cfg: FaithfulnessConfig) -> Suite:
    """Records with negations, and a model that was trained to read them."""
    settings = SmallModelConfig(kind="gpt2", seed=cfg.seed)
    trained = negation_model.train(folder, settings, progress=lambda n_steps: progress("teach", n_steps, "step"))
    lm = load(ModelConfig(name=str(trained), device=model.device))
    return taken("negation", lm, negation.cases(MOST_TRIED * cfg.n_cases, cfg.seed), cfg)


def taken(name: str, lm: LanguageModel, known: Iterable[KnownCase], cfg: FaithfulnessConfig) -> Suite:
    """The first cases that are answered rightly."""
    tried = 0

    def counted() -> Iterator[KnownCase]:
        nonlocal tried
        for one in known:
            tried += 1
            yield one

    found = list(islice(all_opened(lm, counted(), is_contrast=cfg.is_contrast), cfg.n_cases))
    if not found:
        raise UserError(
            f"The model {lm.name!r} answers none of {tried} cases of {name!r} rightly, expected some: of wrong answers it is "
            "not known what should have decided them. Choose another --suite."
        )
    return Suite(name, lm, found, tried)


def corpus_cases(run: Run, lm: LanguageModel) -> Iterator[OpenCase]:
    """The beginnings of the run's own texts, and the token that the model itself would go on with."""
    for document in run.documents:
        ends = lm.tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        if len(ends) < 2:  # nothing to attribute
            continue
        text = document.text[: ends[: min(CORPUS_TOKENS, len(ends))][-1][1]]
        case = cases.read(text, lm, name=str(document.id))
        target = targets.answer(case, lm, [answered(lm, case)])
        nothing = np.zeros(case.n_tokens, bool)
        known = KnownCase(str(document.id), text, "", None, (), (0, len(text)))
        yield OpenCase(known, Problem(lm, case, target), nothing, nothing, nothing, nothing)
