"""What a process does with an order: one model × method on one input. Imports torch: for worker processes alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from analysis.attribution import record
from analysis.attribution.build import methods
from clinlens import config as configs
from clinlens.attribution.attribute import Options, Question, ask, scores_of
from clinlens.attribution.cases import Asked
from clinlens.desk.jobs.model_cache import LRU
from clinlens.desk.jobs.request import JobInput
from clinlens.desk.jobs.results import Results
from clinlens.desk.jobs.turns import Written, written
from clinlens.pipeline import Run
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load_afresh
from sae.errors import UserError

Tell = Callable[[str], None]


class Bench:
    """Models that are loaded, and the run whose features can be explained.

    Args:
        setup: What the server says at the start: folder, threads, size of the cache.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        torch.set_num_threads(setup["threads"])
        self.folder = Path(setup["folder"])
        self.results = Results(Path(setup["results"]))
        self.models = LRU(setup["model_cache_mib"] << 20, load_afresh, n_bytes)

    def do(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Carries out an order; what is to be told of it."""
        if order["kind"] == "annotate":
            from clinlens.desk.jobs.annotation import annotate

            return {"found": annotate(self.models.get, self.folder, order)}
        return self.attribute(order, tell)

    def attribute(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """One method's result, kept under its name; a result that another task made meanwhile is taken."""
        if self.results.has(order["result"]):
            return {"is_cached": True, "seconds": 0.0}
        tell("loading")
        lm = self.models.get(ModelConfig.model_validate(order["model"]))
        work, given = order["work"], JobInput.model_validate(order["work"]["input"])
        if given.features and not order["is_run"]:
            raise UserError(
                f"Features of {lm.name!r} were asked for, but SAEs are those of the run's model. Choose that model."
            )
        tell("reading")
        text = written(given, lm.tokenizer)
        question, options = self.question(lm, text, given, work)
        tell("attributing")
        (cfg,) = methods([order["method"]], {order["method"]: without_method(work["settings"])})
        scores = scores_of(question, cfg, options.seed)
        found = record.result(question.problem, scores, cfg, options.seed, question.window)
        found["origin"]["fixed"] = list(question.fixed or question.problem.fixed)
        tell("writing")
        self.results.put(order["result"], record.plain(found | {"input": input_of(question, text)}))
        return {"is_cached": False, "seconds": scores.seconds, "peak_extra_bytes": scores.peak_bytes}

    def question(
        self, lm: LanguageModel, text: Written, given: JobInput, work: dict[str, Any]
    ) -> tuple[Question, Options]:
        """The problem of an input."""
        request = given.target_request.model_dump()
        asked = Asked(id="job", text=text.text, spans=given.spans, fixed=given.fixed, **request)
        options = Options(
            work["seed"], work["sae_id"], work["window"], work["tail"], is_cached=False
        )  # fmt: skip
        return ask(Run(configs.read(self.folder)), lm, asked, options), options


def without_method(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings apart from the name of their method."""
    return {key: value for key, value in settings.items() if key != "method"}


def input_of(question: Question, text: Written) -> dict[str, Any]:
    """The text as the model read it, with the turns' places in it."""
    case = question.case
    return {
        "text": case.text, "tokens": list(case.tokens), "token_ids": case.input_ids.tolist(),
        "offsets": [list(pair) for pair in case.offsets], "is_special": case.is_special.tolist(),
        "turns": [turn._asdict() for turn in text.turns],
    }  # fmt: skip


def n_bytes(lm: LanguageModel) -> int:
    """What a model's weights take."""
    return sum(one.numel() * one.element_size() for one in (*lm.model.parameters(), *lm.model.buffers()))
