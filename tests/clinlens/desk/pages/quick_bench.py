"""A bench without torch: made-up numbers of any size, decided by text and method, so that pages have something to show."""

import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clinlens.desk.jobs.request import JobInput
from clinlens.desk.jobs.results import Results
from clinlens.desk.jobs.turns import written

ANSWER = " It is heart failure with fluid overload ."


class Bench:
    """Carries out orders at once; a text that begins with `Slowly` takes a moment, one that begins with `Fail` fails."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.results = Results(Path(setup["results"]))

    def do(self, order: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
        """One result, or what is linguistic of a text: nothing."""
        if order["kind"] == "annotate":
            return {"found": {"features": [], "linguistic": {"state": "missing", "spans": []}}}
        given = JobInput.model_validate(order["work"]["input"])
        tell("attributing")
        if given.words.startswith("Slowly"):
            time.sleep(0.7)
        if given.words.startswith("Fail"):
            raise MemoryError
        self.results.put(order["result"], result_of(given, order["model"]["name"], order["method"]))
        return {"is_cached": False, "seconds": 0.01}


def result_of(given: JobInput, model: str, method: str) -> dict[str, Any]:
    """A whole result."""
    text = written(given)
    tokens, offsets = tokens_of(text.text, is_fine=model != "clinic")
    outputs = answer_of(given.generate or 1)
    rng = np.random.default_rng(zlib.crc32(f"{text.text} {method} {model}".encode()))
    raw = rng.standard_normal((len(tokens), len(outputs))) * np.exp(rng.standard_normal((len(tokens), 1)))
    return {
        "model": model, "method": method, "output": {"text": "".join(outputs), "tokens": outputs},
        "attribution": {
            "raw": raw.tolist(), "terms": {},
            "aggregated": {"token_importance": {"input": raw.sum(1).tolist(), "output": raw.sum(0).tolist()}},
        },
        "step_scores": {"score": [1.0] * len(outputs), "probability": [0.5] * len(outputs)},
        "faithfulness": {"completeness": [], "after_correction": [], "caveat": "Made up: believe nothing of it."},
        "origin": {"seed": 0},
        "input": {
            "text": text.text, "tokens": tokens, "offsets": offsets, "is_special": [one[0] < 0 for one in offsets],
            "turns": [turn._asdict() for turn in text.turns],
        },
    }  # fmt: skip


def tokens_of(text: str, *, is_fine: bool) -> tuple[list[str], list[list[int]]]:
    """Words with the blank before them; finely, long words in two."""
    found = [(one.start(), one.end()) for one in re.finditer(r"\s*\S+|\s+", text)]
    if is_fine:
        found = [part for a, b in found for part in ([(a, a + 4), (a + 4, b)] if b - a > 6 else [(a, b)])]
    spans = [(-1, -1), *found]
    return ["<s>", *(text[a:b] for a, b in found)], [list(pair) for pair in spans]


def answer_of(n: int) -> list[str]:
    """So many tokens."""
    words = re.findall(r" \S+", ANSWER)
    return [words[i % len(words)] for i in range(n)]
