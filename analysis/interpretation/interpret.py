"""One feature: explained from some of its contexts, the explanation scored on contexts of other patients."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from analysis.interpretation import prompts, replies, scores
from analysis.interpretation.config import InterpretConfig
from analysis.interpretation.passages import LEAST, Evidence
from analysis.interpretation.prompts import Message

CAVEAT = "An explanation is a language model's guess from a few passages: a hypothesis, no validation."
Chat = Callable[[list[Message]], str]
"""Asks a language model."""
T = TypeVar("T")


def interpret(chat: Chat, evidence: Evidence, feature: int, cfg: InterpretConfig) -> dict[str, Any]:
    """Explains and scores one feature.

    Args:
        chat: Asks the model.
        evidence: Its contexts, dealt out.
        feature: Its number, for what is random.
        cfg: How often a question is asked.

    Returns:
        The explanation, both scores, and remarks where one is missing.
    """
    counts = {"n_shown": len(evidence.shown), "n_firing": len(evidence.firing), "n_silent": len(evidence.silent)}
    found: dict[str, Any] = {"feature": feature, "density": round(evidence.density, 8)} | counts
    found |= {"explanation": None, "detection": None, "fuzzing": None, "remarks": []}
    if not evidence.is_enough:
        found["remarks"].append(f"Too few contexts of different patients: {LEAST} of each kind are needed.")
        return found
    found["explanation"] = asked(chat, prompts.explaining(evidence.shown), replies.explanation, cfg)
    if found["explanation"] is None:
        found["remarks"].append("The model gave no explanation.")
        return found
    rng = np.random.default_rng((cfg.seed, feature, 1))
    tasks = {"detection": (prompts.DETECT, scores.detection), "fuzzing": (prompts.FUZZ, scores.fuzzing)}
    for name, (question, make) in tasks.items():
        task = make(evidence, rng)
        found[name] = scored(chat, question, found["explanation"], task, cfg)
        if found[name] is None:
            few = min(task.truth.count(True), task.truth.count(False)) < LEAST
            why = "too few passages suit it" if few else "the model's answers were malformed"
            found["remarks"].append(f"No {name} score: {why}.")
    return found


def scored(
    chat: Chat, question: str, explanation: str, task: scores.Task, cfg: InterpretConfig
) -> dict[str, Any] | None:
    """The score of one task; none where it is too small or no answer can be read."""
    if min(task.truth.count(True), task.truth.count(False)) < LEAST:
        return None
    messages = prompts.scoring(question, explanation, task.texts)
    marks = asked(chat, messages, lambda reply: replies.marks(reply, len(task.texts)), cfg)
    found = None if marks is None else scores.score(task.truth, marks)
    return None if found is None else found._asdict()


def asked(chat: Chat, messages: list[Message], read: Callable[[str], T | None], cfg: InterpretConfig) -> T | None:
    """The first answer that can be read, of a few."""
    for _ in range(cfg.n_asked):
        found = read(chat(messages))
        if found is not None:
            return found
    return None
