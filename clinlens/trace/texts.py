"""The texts in which features are ablated: the first window of documents with the concept, and where their answers stand."""

from collections.abc import Sequence

import numpy as np
import torch

from analysis.tracing.ablation import Text
from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from clinlens.trace.concept import Concept
from clinlens.trace.gather import Seen, chosen_documents
from hooks.store import Store
from hooks.windows import Tokens, documents_of


def texts_of(store: Store, concept: Concept, seen: Seen, cohort: Cohort, cfg: TraceConfig) -> list[Text]:
    """Up to `cfg.n_texts` passages of the estimating half's patients, each with a mention in what the model reads first."""
    tokens = {doc.document: doc for shard in store.shards("held_out") for doc in documents_of(shard)}
    patients = dict(zip(seen.document.tolist(), seen.patient.tolist(), strict=True))
    found: list[Text] = []
    for document in chosen_documents(seen, cohort, cfg):
        text = text_of(tokens[document], concept, store.context_tokens, patients[document], cfg)
        if text is not None:
            found.append(text)
        if len(found) == cfg.n_texts:
            break
    return found


def text_of(doc: Tokens, concept: Concept, context_tokens: int, patient: int, cfg: TraceConfig) -> Text | None:
    """One document's first window; none where it does not mention the concept there."""
    start, end = doc.char_start[:context_tokens], doc.char_end[:context_tokens]
    source = concept.documents[doc.document]
    mentions = concept.mentions(source)
    mentioned = np.zeros(len(start), bool)
    for span in mentions:
        mentioned |= (end > span["start"]) & (start < span["end"]) & (start >= 0)
    if not mentioned.any():
        return None
    first = int(np.flatnonzero(mentioned)[0])
    answer = answer_of(source.text, start, end, doc.is_special[:context_tokens], first, cfg)
    n = max(answer) + 2 if cfg.answer_after is not None and answer else len(start)
    ids = torch.from_numpy(doc.token_id[:n].astype(np.int64))
    return Text(ids, torch.from_numpy(doc.is_special[:n].astype(bool)), patient, answer)


def answer_of(
    text: str, start: np.ndarray, end: np.ndarray, is_special: np.ndarray, first: int, cfg: TraceConfig
) -> tuple[int, ...]:
    """Positions whose next token is the answer: the one behind `cfg.answer_after`, or all words from the first mention on."""
    if cfg.answer_after is None:
        return tuple(int(place) for place in np.flatnonzero(~is_special[:-1]) if place >= first)
    found = text.rfind(cfg.answer_after)
    behind = np.flatnonzero((end > found + len(cfg.answer_after)) & (start >= 0))
    return (int(behind[0]) - 1,) if found >= 0 and len(behind) and behind[0] > 0 else ()


def n_with_answer(texts: Sequence[Text]) -> int:
    """Texts whose answer is in what the model reads."""
    return sum(bool(text.answer) for text in texts)
