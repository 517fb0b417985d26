"""What a decoder knows of the clinic: diagnoses right after `Diagnosis:`, and counterfactual twins told apart.

    python -m clinlens.clinic.knowledge [--model FOLDER] [--json]

The notes come from a seed that no training run uses. Every share is given with the number of notes and a 95 % interval.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from clinlens.clinic import model_folder
from clinlens.clinic.decoder import batches, greedy_is_right, load_decoder
from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.notes import ClinicConfig, Note, generate

HELD_OUT = ClinicConfig(n_notes=2000, seed=900_000_001)
"""The notes that knowledge is measured on; `train_model` refuses this seed."""
_Z_95 = 1.959964
"""97.5 % quantile of the standard normal distribution."""


class Share(NamedTuple):
    """A proportion with its uncertainty."""

    n_right: int
    """Successes."""
    n: int
    """Trials."""

    @property
    def value(self) -> float:
        """The proportion; 0 of 0 is not a number."""
        return self.n_right / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % score interval.

        Source: Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
        """
        if not self.n:
            return 0.0, 1.0
        shrink = 1 + _Z_95**2 / self.n
        centre = (self.value + _Z_95**2 / (2 * self.n)) / shrink
        half = _Z_95 / shrink * sqrt(self.value * (1 - self.value) / self.n + _Z_95**2 / (4 * self.n**2))
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_json(self) -> dict[str, float | int]:
        """Value, counts and interval."""
        low, high = self.interval
        return {"value": self.value, "n_right": self.n_right, "n": self.n, "low": low, "high": high}

    def __str__(self) -> str:
        low, high = self.interval
        counts = f"{self.n_right} of {self.n}, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
        return f"{100 * self.value:5.1f} %  ({counts})"


class Knowledge(NamedTuple):
    """What was measured."""

    accuracy: Share
    """Notes whose whole diagnosis greedy decoding writes."""
    twins_flipped: Share
    """Twin pairs of which both notes are answered rightly, so the answer changed with the evidence."""
    by_diagnosis: dict[str, Share]
    """The accuracy for every diagnosis."""

    def as_json(self) -> dict[str, Any]:
        """The three figures as plain data."""
        return {
            "accuracy": self.accuracy.as_json(),
            "twins_flipped": self.twins_flipped.as_json(),
            "by_diagnosis": {name: share.as_json() for name, share in self.by_diagnosis.items()},
        }

    def __str__(self) -> str:
        rows = [
            ("diagnosis right", self.accuracy),
            ("twin pairs flipped", self.twins_flipped),
            *self.by_diagnosis.items(),
        ]
        return "\n".join(f"{label:24}{share}" for label, share in rows)


def summarise(notes: Sequence[Note], is_right: Mapping[str, bool]) -> Knowledge:
    """Counts right answers, given for each note id whether its answer is right."""
    twins = [note for note in notes if note.twin_of is not None]
    return Knowledge(
        accuracy=_share(is_right[note.id] for note in notes),
        twins_flipped=_share(is_right[note.id] and is_right[str(note.twin_of)] for note in twins),
        by_diagnosis={
            name: _share(is_right[note.id] for note in notes if note.diagnosis == name) for name in DIAGNOSES
        },
    )


def _share(outcomes: Iterable[bool]) -> Share:
    listed = list(outcomes)
    return Share(sum(listed), len(listed))


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, notes: Sequence[Note]) -> Knowledge:
    """Asks the decoder for the diagnosis of every note."""
    is_right: dict[str, bool] = {}
    for batch in batches(notes, tokenizer, batch_notes=64):
        is_right |= zip((note.id for note in batch.notes), greedy_is_right(model, batch), strict=True)
    return summarise(notes, is_right)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures of a model folder."""
    parser = argparse.ArgumentParser(
        prog="python -m clinlens.clinic.knowledge", description="What a decoder knows of the clinic."
    )
    parser.add_argument("--model", type=Path, help="folder of the decoder (default: the packaged one)")
    parser.add_argument(
        "--n-notes", type=int, default=HELD_OUT.n_notes, help="number of unseen notes (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        model, tokenizer = load_decoder(args.model or model_folder())
        cfg = ClinicConfig(**{**HELD_OUT.model_dump(), "n_notes": args.n_notes})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # so small a model gains little from more, and loses much on a busy machine
    knowledge = measure(model, tokenizer, list(generate(cfg)))
    print(json.dumps(knowledge.as_json() | {"notes": cfg.model_dump()}) if args.json else knowledge)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
