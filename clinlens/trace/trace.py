"""The verb: a run and a concept → the record, kept in the run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.attribution.record import now
from analysis.concept_trace import Evidence, completed, trace
from analysis.tracing.ablation import Ablations
from analysis.tracing.cohort import Cohort, halved, refuse_few
from analysis.tracing.config import TraceConfig
from clinlens import __version__
from clinlens.clinic.notes import QUESTION
from clinlens.feature_labels import labels_of_run
from clinlens.pipeline import EMBEDDED, Run, progress
from clinlens.trace import attributes, saes
from clinlens.trace.concept import Concept, folded, from_spans, from_words, with_spans, words_of
from clinlens.trace.gather import Seen, attributes_of, layer_of, tokens_of, units_of
from clinlens.trace.labelled import from_labels
from clinlens.trace.texts import texts_of
from hooks.model import load
from hooks.store import Store
from labeling.database.judgements import FeatureLabel
from sae import artefact, saelens_format
from sae.errors import UserError

FOLDER = "traces"
MORE_DOCUMENTS = (
    "Hold out more documents (corpus.held_out), define the concept more widely (--words, another --concept), or trace documents "
    "(--set unit=document)."
)


class Asked(NamedTuple):
    """What the command line asks."""

    concept: str
    spans: Path | None = None
    words: str | None = None
    is_from_labels: bool = False
    sae: str | None = None
    at: str | None = None
    attributes: tuple[str, ...] = ()
    is_ablated: bool = True
    is_cached: bool = True


@dataclass(frozen=True)
class Prepared:
    """Everything a trace is made from."""

    run: Run
    store: Store
    saes: dict[str, Path]
    concept: Concept
    seen: Seen
    cohort: Cohort
    cfg: TraceConfig
    asked: Asked
    labels: dict[str, dict[str, Any]]

    @property
    def origin(self) -> dict[str, Any]:
        """What decides the record's content, and so its name."""
        model = self.store.origin["model"]
        return {
            "concept": {
                "name": self.concept.name, "source": self.concept.source, "definition": self.concept.definition,
                "defined_by": [f"{point}/{one}" for point, some in self.concept.defining.items() for one in sorted(some)],
            },
            "model": {"name": model["model"], "hash": model["weight_hash"]},
            "data": {"hash": self.store.origin["corpus"]["hash"], "store_id": self.store.id},
            "saes": [
                {
                    "hook_point": point, "layer": saes.layer_number(point), "sae_id": folder.name,
                    "hash": artefact.file_hash(folder / saelens_format.WEIGHTS_FILE),
                }
                for point, folder in self.saes.items()
            ],
            "seed": self.cfg.seed,
            "settings": self.cfg.model_dump(mode="json")
            | {"attributes": list(self.asked.attributes), "is_ablated": self.asked.is_ablated},
            "code_version": __version__,
        }  # fmt: skip

    @property
    def id(self) -> str:
        """The concept, and a hash of everything the record is made from."""
        content = artefact.content_hash(self.origin, self.seen.units, self.labels)
        return f"{folded(self.concept.name)[:60]}-{content[:12]}"


def prepare(run: Run, asked: Asked, cfg: TraceConfig) -> Prepared:
    """Finds concept, autoencoders and units.

    Raises:
        UserError: The concept, an autoencoder or units enough are not to be had.
    """
    store = Store.open(run.folder / "acts")
    chosen = saes.chosen(run.folder, store, asked.at, asked.sae)
    if run.cfg.corpus.name == EMBEDDED and cfg.answer_after is None:
        cfg = cfg.model_copy(update={"answer_after": QUESTION})
    concept = concept_of(run, asked, cfg, store, chosen)
    seen = units_of(store, concept, cfg)
    cohort = halved(seen.is_positive, seen.patient, cfg.seed, cfg.unit)
    refuse_few(cohort, concept.name, len(np.unique(seen.document)), MORE_DOCUMENTS)
    labels = {
        f"{point}/{feature}": shown(label)
        for (point, sae_id, feature), label in labels_of_run(run.folder).items()
        if point in chosen and chosen[point].name == sae_id
    }
    return Prepared(run, store, chosen, concept, seen, cohort, cfg, asked, labels)


def concept_of(run: Run, asked: Asked, cfg: TraceConfig, store: Store, chosen: dict[str, Path]) -> Concept:
    """The concept by the one way that was asked for.

    Raises:
        UserError: Several ways were, or the concept is not there.
    """
    ways = {
        "--spans": asked.spans is not None,
        "--words": asked.words is not None,
        "--from-labels": asked.is_from_labels,
    }
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} define the concept, expected one of them. Leave the others out.")
    docs = run.documents
    if asked.words is not None:
        return from_words(asked.concept, words_of(asked.words), docs)
    if asked.is_from_labels:
        return from_labels(asked.concept, run.folder, store, chosen, docs)
    return from_spans(asked.concept, docs if asked.spans is None else with_spans(docs, asked.spans), cfg.status)


def shown(label: FeatureLabel) -> dict[str, Any]:
    """Physicians' answers as the page shows them: no name, no rationale."""
    return {
        "leading": label.winner_name or "no single answer",
        "distribution": {code: round(share, 4) for code, share in label.distribution.items()},
        "n_raters": label.n_raters,
        "entropy": round(label.entropy, 4),
        "consensus": label.consensus,
        "is_ambiguous": label.disposition == "irreducibly_ambiguous" or label.state == "ambiguous",
        "state": label.state,
        "words": list(label.words),
    }


def trace_run(run: Run, asked: Asked, cfg: TraceConfig) -> tuple[dict[str, Any], Path]:
    """The record and where it lies; one that is there already is read.

    Raises:
        UserError: See `prepare`.
    """
    ready = prepare(run, asked, cfg)
    path = run.folder / FOLDER / f"{ready.id}.json"
    if asked.is_cached and path.is_file():
        return artefact.read_json(path), path
    record = made(ready)
    artefact.write_json(path, record)
    return record, path


def made(ready: Prepared) -> dict[str, Any]:
    """Makes the record."""
    layers = []
    with progress("trace", len(ready.saes) + 1, "layer") as done:
        for point, folder in ready.saes.items():
            defining = ready.concept.defining.get(point, frozenset())
            layers.append(layer_of(ready.store, folder, ready.seen, defining, ready.cfg))
            done(1)
        notes: list[str] = []
        evidence = Evidence(
            tokens_of(ready.store, ready.seen.units),
            attributes_of(attributes.columns_of(ready.run, ready.asked.attributes), ready.seen),
            ablations_of(ready, notes),
            ready.labels,
            saes.other_seeds(ready.saes),
        )
        measured = trace(layers, ready.cohort, ready.cfg, evidence)
        done(1)
    if not evidence.other_seeds:
        notes.append("No SAE of another seed lies beside these, so that stability was not measured.")
    if not ready.labels:
        notes.append("No closed round of physicians' labels names these features.")
    cohort = {
        "unit": ready.cfg.unit,
        "aggregation": ready.cfg.aggregation,
        "n_documents": len(np.unique(ready.seen.document)),
    }
    origin = {"id": ready.id} | ready.origin | {"cohort": cohort, "notes": notes, "created_at": now()}
    return completed(measured, origin, ready.cohort)


def ablations_of(ready: Prepared, notes: list[str]) -> Ablations | None:
    """What measures effects; none where it is not wanted, or no text shows the concept in what the model reads first."""
    if not ready.asked.is_ablated:
        notes.append("Effects were not asked for (--no-ablation).")
        return None
    texts = texts_of(ready.store, ready.concept, ready.seen, ready.cohort, ready.cfg)
    if not texts:
        notes.append("No document mentions the concept in its first window, so that nothing was ablated.")
        return None
    lm = load(ready.run.model)
    if lm.kind != "decoder":
        notes.append("The model gives no next token, so that only effects between layers were measured.")
        texts = [text._replace(answer=()) for text in texts]
    elif not any(text.answer for text in texts):
        notes.append(
            f"No text holds {ready.cfg.answer_after!r} in its first window, so that effects on the answer were not measured."
        )
    kind = "kl" if ready.cfg.answer_after is None else "log_odds"
    loaded = {point: saelens_format.load(folder) for point, folder in ready.saes.items()}
    return Ablations(lm, loaded, texts, ready.cfg, kind)
