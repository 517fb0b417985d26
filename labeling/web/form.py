"""A codebook as a form, and what came back as answers. Works without scripts: every answer is a plain field."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from labeling.codebook import Codebook, Question, Term
from sae.errors import UserError

MAX_LISTED_TERMS = 500


class Fields(Protocol):
    """A posted form: Starlette's `FormData`."""

    def get(self, key: str, default: Any = None) -> Any: ...

    def getlist(self, key: str) -> list[Any]: ...


def answers_of(codebook: Codebook, fields: Fields, peaks: Mapping[int, int]) -> dict[str, Any]:
    """The answers in a form as the codebook stores them; what was left alone is left out.

    Args:
        peaks: The strongest token of each context, which a reader without scripts cites by ticking the context.
    """
    found = {question.key: answer_of(question, fields, peaks) for question in codebook.questions}
    return {key: answer for key, answer in found.items() if answer is not None}


def answer_of(question: Question, fields: Fields, peaks: Mapping[int, int]) -> Any:
    """One answer, or None where there is none."""
    key = question.key
    match question.kind:
        case "choice" | "scale" | "text":
            return str(fields.get(key, "")).strip() or None
        case "concepts":
            codes = list(dict.fromkeys(str(code) for code in fields.getlist(f"{key}.codes") if code))
            words = str(fields.get(f"{key}.words", "")).strip()
            is_none = fields.get(f"{key}.none") == "on"
            return {"codes": codes, "words": words} if codes or words or is_none else None
        case "rationale":
            text = str(fields.get(f"{key}.text", "")).strip()
            spans = spans_of(str(fields.get(f"{key}.spans", "")))
            ticked = [int(number) for number in fields.getlist(f"{key}.cite") if str(number).isdigit()]
            spans += [{"context": n, "start": peaks[n], "end": peaks[n] + 1} for n in ticked if n in peaks]
            return {"text": text, "spans": spans} if text or spans else None


def spans_of(text: str) -> list[dict[str, int]]:
    """Cited spans, as the page's module wrote them.

    Raises:
        UserError: They are written otherwise.
    """
    try:
        found = json.loads(text or "[]")
        return [{key: int(span[key]) for key in ("context", "start", "end")} for span in found]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            "the cited spans are not readable, expected a list of context, start and end. Cite them once more."
        ) from error


def concepts(codebook: Codebook, query: str, limit: int = 12) -> list[dict[str, str]]:
    """Terms of the vocabulary by name, code or synonym: those that begin with the query first."""
    wanted = " ".join(query.lower().split())
    if codebook.vocabulary is None or not wanted:
        return []
    names = {term.code: term.name for term in codebook.vocabulary.terms}
    ranked = [(nearness(term, wanted), place, term) for place, term in enumerate(codebook.vocabulary.terms)]
    found = sorted((one for one in ranked if one[0] is not None), key=lambda one: (one[0] or 0, one[1]))
    return [
        {"code": term.code, "name": term.name, "parent": names.get(term.parent or "", "")}
        for _, _, term in found[:limit]
    ]


def nearness(term: Term, wanted: str) -> int | None:
    """How near a term is to a query, 0 the nearest; None if it does not hold every word of it."""
    texts = [term.name.lower(), *(word.lower() for word in term.synonyms), term.code.lower()]
    if wanted in texts:
        return 0
    if any(text.startswith(wanted) for text in texts):
        return 1
    words = wanted.split()
    if any(all(any(part.startswith(word) for part in text.split()) for word in words) for text in texts):
        return 2
    return 3 if all(word in " ".join(texts) for word in words) else None


def listed_terms(codebook: Codebook) -> list[dict[str, str]]:
    """The whole vocabulary, indented by depth, where it is short enough to be listed on a page."""
    if codebook.vocabulary is None or len(codebook.vocabulary.terms) > MAX_LISTED_TERMS:
        return []
    depth: dict[str | None, int] = {None: -1}
    listed = []
    for term in codebook.vocabulary.terms:
        depth[term.code] = depth[term.parent] + 1
        listed.append({"code": term.code, "name": "\u2003" * depth[term.code] + term.name})
    return listed


def term_names(codebook: Codebook) -> dict[str, str]:
    """The name of every code."""
    return {term.code: term.name for term in codebook.vocabulary.terms} if codebook.vocabulary else {}


def shown(question: Question, answer: Any, names: Mapping[str, str]) -> str:
    """An answer as people read it."""
    if answer is None:
        return "–"
    match question.kind:
        case "choice" | "scale":
            by_code = {category.code: category.name for category in question.categories}
            return by_code.get(answer, "Cannot judge")
        case "concepts":
            parts = [names.get(code, code) for code in answer["codes"]]
            return "; ".join([*parts, *([f"“{answer['words']}”"] if answer["words"] else [])]) or "None of these"
        case "text":
            return str(answer)
        case "rationale":
            return str(answer["text"])
