"""What keywords alone achieve: a logistic regression on the set of words in a note.

    python -m clinlens.clinic.shortcut [--json]

It sees every word and every number of the note but not what they stand next to, so it cannot bind "no" to "fever" nor
read 0.3 as below 0.4. How far it falls short of the decoder is how much negation and numbers matter in these notes.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.knowledge import HELD_OUT, Knowledge, summarise
from clinlens.clinic.notes import ClinicConfig, Note, generate

TRAINING = ClinicConfig(n_notes=12_000, seed=900_000_002)
"""The notes that the regression is fitted to."""
_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?")
_MIN_NOTES = 3  # a word in fewer notes than this is left out
_N_STEPS = 300
_LEARNING_RATE = 0.05
_WEIGHT_DECAY = 1e-4


def _words(note: Note) -> set[str]:
    return set(_WORD.findall(note.prompt.lower()))


def _presence(notes: Sequence[Note], columns: dict[str, int]) -> Tensor:
    """`[n_notes, n_words]`, 1 where the word occurs."""
    matrix = torch.zeros(len(notes), len(columns))
    for row, note in enumerate(notes):
        matrix[row, [columns[word] for word in _words(note) if word in columns]] = 1
    return matrix


def measure_shortcut(training: Sequence[Note], held_out: Sequence[Note]) -> Knowledge:
    """Fits the regression to one set of notes and measures it on another, as `knowledge.measure` measures a decoder."""
    counts = Counter(word for note in training for word in _words(note))
    columns = {word: i for i, word in enumerate(sorted(word for word, n in counts.items() if n >= _MIN_NOTES))}
    index = {name: i for i, name in enumerate(DIAGNOSES)}
    inputs, targets = _presence(training, columns), torch.tensor([index[note.diagnosis] for note in training])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = torch.nn.Linear(len(columns), len(index))
    optimiser = torch.optim.Adam(layer.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    for _ in range(_N_STEPS):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(layer(inputs), targets).backward()
        optimiser.step()
    with torch.inference_mode():
        answers = layer(_presence(held_out, columns)).argmax(-1).tolist()
    return summarise(
        held_out, {note.id: index[note.diagnosis] == got for note, got in zip(held_out, answers, strict=True)}
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures of the shortcut."""
    parser = argparse.ArgumentParser(
        prog="python -m clinlens.clinic.shortcut", description="What keywords alone achieve."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    knowledge = measure_shortcut(list(generate(TRAINING)), list(generate(HELD_OUT)))
    print(json.dumps(knowledge.as_json()) if args.json else knowledge)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
