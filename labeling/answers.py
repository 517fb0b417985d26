"""What a rater sent, beside what was asked: refused in one sentence, or brought into the one form that is stored.

The sentences name the field and the rule, never the rater's words.
"""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from labeling.codebook import CANNOT_JUDGE, Codebook, Question
from labeling.evidence import Snapshot
from sae.errors import UserError

MAX_SPANS = 100
MAX_CODES = 50


def validate_answers(codebook: Codebook, answers: Any, snapshot: Snapshot | Mapping[str, Any]) -> dict[str, Any]:
    """The answers as they are stored: known keys in the codebook's order, texts trimmed, codes and spans sorted.

    Args:
        codebook: What was asked.
        answers: What came, as JSON.
        snapshot: What was seen, or its body: cited spans must lie in it.

    Raises:
        UserError: A field is unknown, missing or wrong.
    """
    if not isinstance(answers, Mapping):
        raise UserError("The answers are no JSON object, expected {field: answer}. Send the form again.")
    known = {question.key for question in codebook.questions}
    if not known.issuperset(answers):
        raise UserError(
            f"{len(set(answers) - known)} fields are not in the codebook, expected some of {', '.join(sorted(known))}. "
            "Reload the page: the codebook may have changed."
        )
    body = snapshot.body if isinstance(snapshot, Snapshot) else snapshot
    lengths = [len(context["tokens"]) for context in body["contexts"]]
    found: dict[str, Any] = {}
    for question in codebook.questions:
        answer = answers.get(question.key)
        if answer is not None:
            found[question.key] = answer_of(question, answer, codebook, lengths)
        elif question.is_required:
            raise UserError(
                f"`{question.name}` has no answer, expected one. Answer it, or skip the item with a reason."
            )
    return found


def is_marks(answers: Any, n_contexts: int) -> bool:
    """Whether answers are those of a detection task: `{"fires": [true, false, …]}`, a mark for each of its passages."""
    marks = answers.get("fires") if isinstance(answers, Mapping) and set(answers) == {"fires"} else None
    return isinstance(marks, list) and len(marks) == n_contexts and all(isinstance(mark, bool) for mark in marks)


def answer_of(question: Question, answer: Any, codebook: Codebook, lengths: list[int]) -> Any:
    """One answer as it is stored."""
    match question.kind:
        case "choice" | "scale":
            return category_of(question, answer)
        case "concepts":
            return concepts_of(question, answer, codebook)
        case "text":
            return text_of(question, answer)
        case "rationale":
            return rationale_of(question, answer, lengths)


def category_of(question: Question, answer: Any) -> str:
    """The code of a category."""
    codes = [category.code for category in question.categories] + [CANNOT_JUDGE] * question.can_abstain
    if not isinstance(answer, str) or answer not in codes:
        raise UserError(
            f"`{question.name}` has an unknown answer, expected one of {', '.join(codes)}. Choose one of them."
        )
    return answer


def concepts_of(question: Question, answer: Any, codebook: Codebook) -> dict[str, Any]:
    """A set of codes and the rater's own words."""
    codes = answer.get("codes", []) if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not set(answer) <= {"codes", "words"} or not is_words(codes):
        raise UserError(
            f"`{question.name}` is malformed, expected a list `codes` and a text `words`. Send the form again."
        )
    known = {term.code for term in codebook.vocabulary.terms} if codebook.vocabulary else set()
    if len(codes) > MAX_CODES or not known.issuperset(codes):
        raise UserError(
            f"`{question.name}` has unknown codes or more than {MAX_CODES}, expected some of the vocabulary's {len(known)}. "
            "Choose them from the list."
        )
    return {"codes": sorted(set(codes)), "words": text_of(question, answer.get("words", ""))}


def is_words(value: Any) -> TypeGuard[list[str]]:
    """Whether something is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def text_of(question: Question, answer: Any) -> str:
    """Words: Unicode in its usual form, without blanks at the ends."""
    if not isinstance(answer, str) or any(unicodedata.category(char) == "Cs" for char in answer):
        raise UserError(f"`{question.name}` is no text, expected words. Type it again.")
    text = trimmed(answer)
    if not question.min_characters <= len(text) <= question.max_characters:
        raise UserError(
            f"`{question.name}` has {len(text)} characters, expected {question.min_characters} to "
            f"{question.max_characters}. Change its length."
        )
    return text


def trimmed(words: str) -> str:
    """Words as answers keep them."""
    return unicodedata.normalize("NFC", words).replace("\0", "").strip()


def rationale_of(question: Question, answer: Any, lengths: list[int]) -> dict[str, Any]:
    """Words with the passages they rest on."""
    spans = answer.get("spans", []) if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not set(answer) <= {"text", "spans"} or not isinstance(spans, list):
        raise UserError(
            f"`{question.name}` is malformed, expected a text `text` and a list `spans`. Send the form again."
        )
    if not question.min_spans <= len(spans) <= MAX_SPANS:
        raise UserError(
            f"`{question.name}` cites {len(spans)} passages, expected {question.min_spans} to {MAX_SPANS}. Mark the words that "
            "convinced you."
        )
    cited = sorted({span_of(question, span, lengths) for span in spans})
    text = text_of(question, answer.get("text", ""))
    return {"spans": [{"context": span[0], "end": span[2], "start": span[1]} for span in cited], "text": text}


def span_of(question: Question, span: Any, lengths: list[int]) -> tuple[int, int, int]:
    """Context, first token and one past the last of a cited passage."""
    found = span if isinstance(span, Mapping) else {}
    context, start, end = (found.get(name) for name in ("context", "start", "end"))
    if type(context) is not int or type(start) is not int or type(end) is not int:
        raise UserError(f"`{question.name}` has a malformed passage, expected context, start and end. Mark it again.")
    if not 0 <= context < len(lengths) or not 0 <= start < end <= lengths[context]:
        raise UserError(
            f"`{question.name}` cites words that are not in the evidence, expected some of it. Mark them again."
        )
    return context, start, end


def well_formed(codebook: Codebook, draft: Any) -> dict[str, Any]:
    """The answers of a draft that have their field's form, complete or not; the others are left out."""
    found = draft if isinstance(draft, Mapping) else {}
    shapes = {question.key: FORMS[question.kind] for question in codebook.questions} | {"fires": is_flags}
    return {key: answer for key, answer in found.items() if key in shapes and shapes[key](answer)}


def is_word(answer: Any) -> bool:
    """A text."""
    return isinstance(answer, str)


def is_flags(answer: Any) -> bool:
    """The marks of a detection task."""
    return isinstance(answer, list) and all(isinstance(one, bool) for one in answer)


def is_choice_of_concepts(answer: Any) -> bool:
    """Codes and words, or some of it."""
    return isinstance(answer, Mapping) and is_words(answer.get("codes", [])) and is_word(answer.get("words", ""))


def is_cited(answer: Any) -> bool:
    """Words with passages, or some of it."""
    spans = answer.get("spans", []) if isinstance(answer, Mapping) else None
    return (
        isinstance(spans, list)
        and is_word(answer.get("text", ""))
        and all(
            isinstance(span, Mapping) and all(type(span.get(name)) is int for name in ("context", "start", "end"))
            for span in spans
        )
    )


FORMS: dict[str, Callable[[Any], bool]] = {
    "choice": is_word, "scale": is_word, "text": is_word, "concepts": is_choice_of_concepts, "rationale": is_cited,
}  # fmt: skip


def labels_of(codebook: Codebook, answers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Categories and concept codes of stored answers: (key, value)."""
    found = []
    for question in codebook.questions:
        answer = answers.get(question.key)
        if answer is None:
            continue
        if question.kind in ("choice", "scale"):
            found.append((question.key, answer))
        elif question.kind == "concepts":
            found += [(question.key, code) for code in answer["codes"]]
    return found
