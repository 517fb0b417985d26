"""The codebook: what is asked of a rater, in which words, with which answers. A published version never changes.

1. A codebook has fields; a field has a kind, which says what an answer is and how agreement on it is measured.
2. The categories of a field are in the order of their ranks. Their number, which chance-corrected agreement needs, is
   always this one, never the number of those that happened to be chosen.
3. A vocabulary lists the concepts of a set field, in a tree. It is a local file; SNOMED CT, ICD-10 and UMLS are under
   licences and are not shipped.
4. Answers are the JSON object {key: answer}, without the keys of optional fields that the rater left alone:

       choice, scale    "code" of a category, or "cannot_judge" where the field allows it
       concepts         {"codes": ["hf", …], "words": "heart failure"}; no codes and no words say "none of these"
       text             "words"
       rationale        {"text": "words", "spans": [{"context": 3, "start": 5, "end": 9}, …]}: tokens of a context
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labeling.identifiers import sha256
from sae.config import Settings

Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Kind = Literal["choice", "scale", "concepts", "text", "rationale"]
CANNOT_JUDGE = "cannot_judge"
"""The answer to a choice or a scale that says that the evidence does not suffice; an outcome of its own."""


class Category(Settings, frozen=True):
    """One answer to a choice or a scale."""

    code: Key = Field(description="What is stored.")
    name: str = Field(min_length=1, max_length=80, description="What the rater reads.")
    help: str = Field(default="", max_length=600, description="When to choose it, with an example.")


class Term(Settings, frozen=True):
    """One concept of a vocabulary."""

    code: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="What is stored.")
    name: str = Field(min_length=1, max_length=200, description="What the rater reads and searches.")
    parent: str | None = Field(default=None, description="The code of the broader concept.")
    synonyms: tuple[str, ...] = Field(default=(), description="Other words it is found by.")


class Vocabulary(Settings, frozen=True):
    """The concepts of a set field."""

    name: str = Field(max_length=80, description="What the vocabulary is called, with its version.")
    system: str = Field(default="local", max_length=40, description="The code system: local, SNOMED CT, ICD-10, UMLS …")
    terms: tuple[Term, ...] = Field(min_length=1, description="Its concepts; a parent stands before its children.")

    @model_validator(mode="after")
    def is_a_tree(self) -> "Vocabulary":
        """Codes are unique, and every parent stands before its children, so that there is no circle."""
        seen: set[str] = set()
        for term in self.terms:
            if term.code in seen:
                raise ValueError(f"the vocabulary lists the code {term.code!r} twice, expected every code once")
            if term.parent is not None and term.parent not in seen:
                raise ValueError(f"{term.code!r} has the parent {term.parent!r}, expected a code that stands before it")
            seen.add(term.code)
        return self


class Question(Settings, frozen=True):
    """One field of the rating form."""

    key: Key = Field(description="Under which the answer is stored.")
    kind: Kind = Field(
        description="choice: one category; scale: one of ordered categories; concepts: a set of concepts and, beside it, "
        "words of one's own; text: words; rationale: words with cited spans of the evidence."
    )
    name: str = Field(min_length=1, max_length=80, description="What the rater reads above it.")
    help: str = Field(default="", max_length=1200, description="What is meant, in the rubric's words.")
    categories: tuple[Category, ...] = Field(default=(), description="Of a choice or a scale, in the order of ranks.")
    can_abstain: bool = Field(default=False, description="Whether `cannot_judge` is an answer.")
    is_required: bool = Field(default=True, description="Whether a judgement without an answer is refused.")
    min_characters: int = Field(default=0, ge=0, description="Of a text or rationale, at least.")
    max_characters: int = Field(default=4000, ge=1, le=20_000, description="Of a text or rationale, at most.")
    min_spans: int = Field(default=0, ge=0, description="Cited spans of a rationale, at least.")
    is_interval: bool = Field(
        default=False, description="Whether the steps of a scale are declared equal, which ICC needs."
    )

    @model_validator(mode="after")
    def has_categories(self) -> "Question":
        """A choice and a scale have at least two distinct categories; the others have none."""
        codes = [category.code for category in self.categories]
        if self.kind in ("choice", "scale"):
            if len(codes) < 2 or len(set(codes)) < len(codes) or CANNOT_JUDGE in codes:
                raise ValueError(
                    f"{self.key} has the categories {codes}, expected two or more different ones, `{CANNOT_JUDGE}` not "
                    "among them (can_abstain offers it)"
                )
        elif codes:
            raise ValueError(f"{self.key} is of kind {self.kind}, expected no categories")
        return self


class Codebook(Settings, frozen=True):
    """Everything that is asked of a rater about one feature."""

    title: str = Field(min_length=1, max_length=120, description="What it is called.")
    rubric: str = Field(default="", max_length=40_000, description="The instructions, in Markdown.")
    questions: tuple[Question, ...] = Field(min_length=1, description="The fields, in the order of the form.")
    primary: Key = Field(description="The field whose agreement decides: calibration, stop rule, consensus.")
    vocabulary: Vocabulary | None = Field(default=None, description="The concepts, where a field asks for them.")

    @model_validator(mode="after")
    def is_whole(self) -> "Codebook":
        """Keys are unique, the primary field is a choice or a scale, and concepts have a vocabulary."""
        keys = [question.key for question in self.questions]
        if len(set(keys)) < len(keys):
            raise ValueError(f"the fields are {keys}, expected every key once")
        if self.primary not in keys or self.question(self.primary).kind not in ("choice", "scale"):
            raise ValueError(f"primary is {self.primary!r}, expected the key of a choice or a scale")
        if self.vocabulary is None and any(question.kind == "concepts" for question in self.questions):
            raise ValueError("a field of kind concepts without a vocabulary, expected `vocabulary:`")
        return self

    def question(self, key: str) -> Question:
        """The field of a key."""
        return next(question for question in self.questions if question.key == key)

    @property
    def body(self) -> dict[str, Any]:
        """As it is stored."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Hash of the body."""
        return sha256(self.body)
