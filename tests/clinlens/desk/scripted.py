"""A bench that does what a text says, without torch: it sleeps, dies, runs out of memory, or gives a result."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clinlens.desk.jobs.results import Results
from sae.errors import UserError


def result_of(text: str, method: str, n: int = 3, t: int = 2) -> dict[str, Any]:
    """A whole result of made-up numbers."""
    raw = [[float(i - j) + len(method) / 8 for j in range(t)] for i in range(n)]
    tokens, ends = [f"t{i}" for i in range(n)], [[i, i + 1] for i in range(n)]
    return {
        "model": "clinic", "method": method, "output": {"text": "ab", "tokens": ["a", "b"][:t]},
        "attribution": {
            "raw": raw,
            "aggregated": {
                "token_importance": {"input": [sum(row) for row in raw], "output": [sum(c) for c in zip(*raw, strict=True)]}
            },
            "terms": {},
        },
        "step_scores": {"score": [1.0] * t}, "faithfulness": {"completeness": [], "after_correction": [], "caveat": ""},
        "input": {"text": text, "tokens": tokens, "offsets": ends, "is_special": [False] * n, "turns": []},
    }  # fmt: skip


class Bench:
    """Carries out scripts; notes every beginning in a file, so that a task done twice shows."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.folder, self.results = Path(setup["folder"]), Results(Path(setup["results"]))

    def do(self, order: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
        if self.results.has(order["result"]):
            return {"is_cached": True, "seconds": 0.0}
        text = order["work"]["input"]["text"]
        tell("attributing")
        with open(self.folder / "begun.txt", "a") as file:
            file.write(f"{order['number']} {os.getpid()} {text} {order['method']}\n")
        self.act(*text.split())
        self.results.put(order["result"], result_of(text, order["method"]))
        with open(self.folder / "done.txt", "a") as file:
            file.write(f"{order['number']}\n")
        return {"is_cached": False, "seconds": 0.01}

    def act(self, word: str, *more: str) -> None:
        """What the first word says."""
        marker = self.folder / "marker"
        match word:
            case "sleep":
                end = time.monotonic() + float(more[0])
                while time.monotonic() < end:
                    time.sleep(0.01)
            case "deaf":  # holds the interpreter's attention where no signal is looked at
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                time.sleep(60)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "once" if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze" if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGSTOP)
            case "memory":
                raise MemoryError
            case "hog":
                bytearray(4 << 30)
            case "boom":
                raise ValueError(f"quotes {more}")
            case "refuse":
                raise UserError("The text is none, expected one. Write one.")
