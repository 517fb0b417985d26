"""The model card of exported SAEs: what they are, how they were made, what was measured, how to load them, what not to do.

Everything in it comes from the records beside the SAEs, which hold no text of the corpus. A figure that was not measured
is shown as missing.

Source: the hub's page on model cards, for the names in the front matter; Mitchell et al. 2019, "Model Cards for Model
Reporting" (arXiv:1810.03993), for the sections.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clinlens import hub
from sae import artefact, formats
from sae.formats import WritableFormat
from training import evaluation

FILE = "README.md"
UNMEASURED = "—"
POSSESSIVES: dict[WritableFormat, str] = {"saelens": "SAELens'", "sparsify": "sparsify's"}

LIMITS = """\
For research into what a language model represents: finding features, checking claims about them, steering in the
laboratory. Not a medical device; not validated for any decision about a patient. A feature is a direction that an
optimiser found useful for reconstruction. A name given to it is a hypothesis about the model, no fact about medicine or
about a person; features split, merge and miss, and another seed gives others. What an SAE does not reconstruct (see the
explained variance) it does not show. Figures hold for texts like those of the held-out documents.

The files hold weights, settings, hashes and figures, and no text of the corpus. That a feature fires on a rare wording can
still tell something about the texts that model and SAE were trained on: publish only what your data's terms allow.
"""


@dataclass(frozen=True)
class Exported:
    """An SAE as it lies in the target, with its records."""

    name: str
    """Its folder below the target."""
    d_in: int
    d_sae: int
    origin: dict[str, Any]
    figures: dict[str, Any]
    """Its evaluation; empty where there is none."""

    @property
    def row(self) -> str:
        """Its line in the table of figures."""
        found, splice = self.figures.get("reconstruction", {}), self.figures.get("splice") or {}
        cells = [
            f"`{self.name}`",
            str(self.d_in),
            str(self.d_sae),
            number(found, "l0", ".1f"),
            number(found, "explained_variance", ".3f"),
            number(found, "dead_fraction", ".1%"),
            number(splice, "ce_loss_score", ".3f"),
            number(found, "n_tokens", ",d"),
        ]
        return "| " + " | ".join(cells) + " |"


def number(figures: Mapping[str, Any], name: str, form: str) -> str:
    """A figure as text; a dash where it was not measured."""
    value = figures.get(name)
    return UNMEASURED if value is None else format(value, form)


def card(
    target: Path,
    names: list[str],
    kind: WritableFormat,
    licence: str | None,
    repo_id: str | None,
    n_labels: int = 0,
) -> str:
    """The text of the model card.

    Args:
        target: Where the SAEs were exported to.
        names: Their folders below it.
        kind: Their format.
        licence: The hub's name of a licence, if one was named.
        repo_id: The repository they are uploaded to, if any.
        n_labels: Features with physicians' labels in `labels.json`.
    """
    saes = [read(target, name) for name in names]
    store = saes[0].origin["store"]
    model = hub.public_model(store["model"]["model"])
    front = {
        "library_name": kind,
        "license": licence,
        "base_model": model if "/" in model else None,
        "tags": ["sparse-autoencoder", "interpretability", "mechanistic-interpretability", "clinlens", kind],
    }
    front = {key: value for key, value in front.items() if value is not None}
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False).strip(),
            "---",
            "",
            f"# Sparse autoencoders of {model}",
            "",
            *introduction(saes, model, kind, licence),
            "",
            "## Figures",
            "",
            *figures(saes),
            "",
            "## Loading",
            "",
            *loading(saes, kind, repo_id),
            "",
            "## Training",
            "",
            *training(saes),
            "",
            *labels(n_labels),
            "## Intended use and limits",
            "",
            LIMITS,
        ]
    )


def labels(n_labels: int) -> list[str]:
    """What is said of physicians' labels; nothing where there are none."""
    if not n_labels:
        return []
    return [
        "## Labels",
        "",
        f"`labels.json` holds physicians' labels of {n_labels:,} feature{'s' * (n_labels > 1)}: the leading answer, all answers "
        "with their shares, and how many raters gave them, without names. They are hypotheses about the model, made on the "
        "evidence the raters were shown.",
        "",
    ]


def read(target: Path, name: str) -> Exported:
    """An exported SAE's records."""
    folder = target / name
    sae = formats.load(folder).sae
    path = folder / evaluation.FILE
    found = artefact.read_json(path) if path.is_file() else {}
    return Exported(name, sae.d_in, sae.d_sae, artefact.read_json(folder / "origin.json"), found)


def introduction(saes: list[Exported], model: str, kind: WritableFormat, licence: str | None) -> list[str]:
    """What they are."""
    origin = saes[0].origin["store"]
    points = dict.fromkeys(sae.origin["hook_point"] for sae in saes)
    kinds = dict.fromkeys(sae.origin["sae"]["architecture"] for sae in saes)
    lines = [
        f"{len(saes)} sparse autoencoder{'s' * (len(saes) > 1)} ({', '.join(kinds)}) of {model} at "
        f"{', '.join(f'`{point}`' for point in points)}, in {POSSESSIVES[kind]} format. They read and write raw "
        "activations (no scaling, no centring) of the model's raw weights "
        f"(hash `{origin['model']['weight_hash']}`).",
    ]
    return lines if licence else [*lines, "", "No licence was named for these files."]


def figures(saes: list[Exported]) -> list[str]:
    """What was measured on documents that no SAE saw."""
    return [
        "| SAE | d_in | d_sae | L0 | explained variance | dead | CE loss score | tokens |",
        "|---|---|---|---|---|---|---|---|",
        *(sae.row for sae in saes),
        "",
        "On held-out documents. L0: mean number of active features per token. Explained variance: 1 − Σ‖x − x̂‖² / Σ‖x − "
        "mean‖² over all tokens. Dead: share of features that fired on none of them. CE loss score: (CE zero − CE spliced) / "
        f"(CE zero − CE clean), 1 where the model predicts as well from reconstructions. {UNMEASURED}: not measured.",
    ]


def loading(saes: list[Exported], kind: WritableFormat, repo_id: str | None) -> list[str]:
    """Code that loads one of them; the first column of the table has the other names."""
    name = saes[0].name
    match kind:
        case "saelens":
            source = (
                f'SAE.load_from_disk("{name}")' if repo_id is None else f'SAE.from_pretrained("{repo_id}", "{name}")'
            )
            code = [
                "from sae_lens import SAE",
                f"sae = {source}",
                "acts = torch.randn(1, sae.cfg.d_in)  # yours: the model's activations at sae.cfg.metadata.hook_name",
                "feature_acts = sae.encode(acts)",
                "reconstruction = sae.decode(feature_acts)",
            ]
        case "sparsify":
            source = f'load_from_disk("{name}")' if repo_id is None else f'load_from_hub("{repo_id}", "{name}")'
            code = [
                "from sparsify import SparseCoder",
                f"sae = SparseCoder.{source}",
                "acts = torch.randn(1, sae.d_in)  # yours: the model's activations at the hook point",
                "top_acts, top_indices, _ = sae.encode(acts)",
                "reconstruction = sae.decode(top_acts, top_indices)",
            ]
    where = "" if repo_id is not None else ", in the folder of this file"
    return [f"Any name in the table's first column will do{where}:", "", "```python", "import torch", *code, "```"]


def training(saes: list[Exported]) -> list[str]:
    """How they were made."""
    lines = ["| SAE | settings | tokens | tokens per step | learning rate | seed |", "|---|---|---|---|---|---|"]
    for sae in saes:
        cfg, run = dict(sae.origin["sae"]), sae.origin["training"]
        cfg.pop("architecture")
        settings = ", ".join(f"{key} {value}" for key, value in cfg.items() if value is not None)
        lr = sae.origin.get("lr", run["lr"])  # which older runs wrote among the settings alone
        cells = [f"`{sae.name}`", settings, f"{run['n_tokens']:,}", f"{run['batch_tokens']:,}", f"{lr:g}"]
        lines.append("| " + " | ".join([*cells, str(sae.origin["seed"])]) + " |")
    origin = saes[0].origin
    corpus, capture, run = origin["store"]["corpus"], origin["store"]["capture"], origin["training"]
    special = "without" if run["exclude_special_tokens"] else "with"
    versions = dict.fromkeys(f"ClinLens {sae.origin['clinlens']}, torch {sae.origin['torch']}" for sae in saes)
    return [
        *lines,
        "",
        f"Corpus: {hub.public_corpus(corpus['name'])}, {corpus['n_documents']:,} documents (hash `{corpus['hash']}`), of "
        f"which {origin['store']['split']['held_out']:g} were held out; context of {capture['context_tokens']} tokens, "
        f"{special} special tokens. Made with {'; '.join(versions)}. Every SAE's `origin.json` has all settings.",
    ]
