"""The model card of the clinic's decoder, written from measured figures alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# The clinic's decoder

A small language model of the Llama kind ({n_parameters:,} parameters, 4 layers, d_model 128) that writes synthetic
clinical notes and ends them with a diagnosis. It comes with ClinLens as a subject whose right answers are known,
because rules made the notes it learned from.

**It has no clinical validity.** The patients, the rules and the thresholds are made up. Do not use it for any
decision about a person.

## What it knows

Measured by `python -m clinlens.clinic.knowledge` on {held_out[n_notes]:,} notes of seed {held_out[seed]}. The
training stream of {n_training_texts:,} different texts (seed {config[seed]}) contains {n_held_out_texts_in_training}
of them.

| | share | right | 95 % interval |
|---|---|---|---|
{rows}

*Right* means that greedy decoding right after `Diagnosis:` writes the diagnosis in full. A twin pair is two notes
that differ in one piece of evidence and therefore in their diagnosis; it is flipped when both are answered rightly.
Intervals are Wilson's.

## How it was made

`python -m clinlens.clinic.train_model{options}`: {config[n_steps]} steps of {config[batch_notes]} notes, seed
{config[seed]}, {duration_s} s on {machine}, torch {torch}. Loss: language modelling on every token plus
{config[answer_weight]:g} times the loss on the first token of the diagnosis. Loss, learning rate and accuracy of the
run are in `training_log.jsonl`; its last line holds the figures above and the whole config. Planted bias:
{config[bias]:g}.

SHA-256 of `model.safetensors`: `{weights_sha256}`
"""


def figure_rows(figures: Mapping[str, Any]) -> str:
    """Accuracy, twins and each diagnosis as rows of a Markdown table."""
    overall = {"diagnosis right": figures["accuracy"], "twin pairs flipped": figures["twins_flipped"]}
    return "\n".join(
        f"| {name} | {100 * share['value']:.1f} % | {share['n_right']} of {share['n']} "
        f"| {100 * share['low']:.1f} to {100 * share['high']:.1f} % |"
        for name, share in (overall | figures["by_diagnosis"]).items()
    )


def write_card(folder: Path, figures: Mapping[str, Any], options: str = "") -> None:
    """Writes README.md into the model folder.

    Args:
        folder: the folder of the model.
        figures: the last line of the training log.
        options: the command line after the name of the script, if any was given.
    """
    text = _CARD.format(**figures, rows=figure_rows(figures), options=options)
    partial = folder / "README.md.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / "README.md")


__all__ = ["figure_rows", "write_card"]
