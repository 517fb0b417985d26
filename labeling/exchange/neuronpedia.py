"""Labels as explanations in Neuronpedia's shape: the fields of its `Explanation` record that describe one.

One row per feature with a physicians' label. `layer` is what Neuronpedia calls a source: number of the layer, then the
SAE's name. `typeName` says that people wrote it; `authorId` is a pseudonym of the panel, never a person.

1. What a senior decided on a feature holds; where there is none, the category that all its items together make likeliest.
2. `description` is the physicians' words and concept codes, commonest first, then the category.
3. A feature decided to be irreducibly ambiguous, or not to be judged, is left out and counted: it has no explanation.
4. Every row ends with the caveat.

Source: github.com/hijohnnylin/neuronpedia, apps/webapp/prisma/schema.prisma, model Explanation.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.codebook import Codebook
from labeling.exchange.records import AdjudicationRecord, SoftLabelRecord
from labeling.judgement_table import FeatureRef, JudgementRow

FILE = "neuronpedia-explanations.json"
TYPE_NAME = "physicians_consensus"
LAYER = re.compile(r"(?:^|\.)(\d+)\.")
LABELLED = ("irr_fixed", "adaptive", "single", "escalated")
"""Strata whose judgements make labels; known answers and repetitions do not."""
N_WORDS = 3
"""Phrases and codes of each kind that a description holds."""
CAVEAT = (
    "A hypothesis about the model from the evidence physicians were shown: no reconstruction of its reasoning, no statement "
    "about a patient."
)
"""Stands on every explanation."""


class Explanations(NamedTuple):
    """The file, and what is not in it."""

    data: bytes
    n_rows: int
    n_left_out: int
    """Features that were decided to be irreducibly ambiguous or not to be judged."""


def explanations(
    rows: Iterable[JudgementRow],
    soft: Sequence[SoftLabelRecord],
    decisions: Sequence[AdjudicationRecord],
    codebook: Codebook,
    models: Mapping[tuple[str, str], str],
    n: int,
) -> Explanations:
    """The explanations of the primary field of one codebook version.

    Args:
        rows: Blind judgements under that version, one per item and rater.
        soft: Soft labels of the project.
        decisions: All revisions of all decisions of the project.
        codebook: The version.
        models: What the model of an SAE is called, by hook point and SAE.
        n: Its number.
    """
    judged: defaultdict[FeatureRef, list[JudgementRow]] = defaultdict(list)
    for row in rows:
        if row.stratum in LABELLED:
            judged[row.feature].append(row)
    chances = {one.item_id: one for one in soft if one.field == codebook.primary and one.codebook == n}
    found: list[dict[str, Any]] = []
    n_left_out = 0
    for feature, said in sorted(judged.items()):
        items = {row.item_id for row in said}
        decision = max(
            (one for one in decisions if one.item_id in items),
            key=lambda one: (one.created_at, one.revision, one.id),
            default=None,
        )
        if decision is not None and decision.disposition != "decided":
            n_left_out += 1
            continue
        made = category_of([chances[item] for item in sorted(items & set(chances))], decision, codebook)
        if made is None:
            continue
        category, note = made
        answers = (
            [row.answers for row in said] if decision is None else [decision.answers, *(row.answers for row in said)]
        )
        n_raters = len({row.pseudonym for row in said})
        found.append(
            {
                "modelId": models[feature.hook_point, feature.sae_id],
                "layer": source_id(feature.hook_point, feature.sae_id),
                "index": str(feature.number),
                "description": description_of(answers, category, codebook),
                "authorId": "clinlens-panel",
                "typeName": TYPE_NAME,
                "explanationModelName": None,
                "notes": f"{n_raters} physicians; {note}; codebook {codebook.sha256[:12]}. {CAVEAT}",
            }
        )
    found.sort(key=lambda row: (row["modelId"], row["layer"], int(row["index"])))
    data = (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode()
    return Explanations(data, len(found), n_left_out)


def category_of(
    soft: Sequence[SoftLabelRecord], decision: AdjudicationRecord | None, codebook: Codebook
) -> tuple[str, str] | None:
    """The category of a feature and what is said of its making; none where nobody answered with one.

    Items count by their raters.
    """
    codes = [category.code for category in codebook.question(codebook.primary).categories]
    if decision is not None and decision.answers.get(codebook.primary) in codes:
        return decision.answers[codebook.primary], "decided by a senior"
    if not soft:
        return None
    weights = np.array([one.n for one in soft], float) / sum(one.n for one in soft)
    posterior = weights @ np.array([[one.posterior.get(code, 0.0) for code in codes] for one in soft])
    shares = weights @ np.array([[one.distribution.get(code, 0.0) for code in codes] for one in soft])
    leading = int(posterior.argmax())
    entropy = abs(float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()))
    return codes[leading], f"probability {posterior[leading]:.2f}, entropy {entropy:.2f} bits"


def description_of(answers: Sequence[Mapping[str, Any]], category: str, codebook: Codebook) -> str:
    """Physicians' words, concepts with their codes, and the category; the category alone where they gave neither."""
    keys = [question.key for question in codebook.questions if question.kind == "concepts"]
    given = [one[key] for one in answers for key in keys if key in one]
    words = Counter(one["words"] for one in given if one["words"])
    codes = Counter(code for one in given for code in one["codes"])
    terms = {term.code: term.name for term in codebook.vocabulary.terms} if codebook.vocabulary else {}
    parts = [word for word, _ in words.most_common(N_WORDS)]
    parts += [f"{terms.get(code, code)} [{code}]" for code, _ in codes.most_common(N_WORDS)]
    name = {one.code: one.name for one in codebook.question(codebook.primary).categories}[category]
    return f"{'; '.join(parts)} ({name})" if parts else name


def source_id(hook_point: str, sae_id: str) -> str:
    """The layer's number and the SAE's name."""
    found = LAYER.search(f"{hook_point}.")
    return f"{found[1] if found else hook_point}-{sae_id}"
