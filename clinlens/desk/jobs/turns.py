"""A conversation as one text, and where each turn stands in it.

Source: formula 8 of paper 003, X_k = (X_1, Y_1, …, X_{k−1}, Y_{k−1}, X_k): inputs and answers in their order. A model with a
chat template reads them as that writes them; any other reads them one after another, as the formula says.
"""

from typing import Any, NamedTuple

from clinlens.desk.jobs.request import JobInput, Turn
from sae.errors import UserError


class PlacedTurn(NamedTuple):
    """A turn and where it stands."""

    role: str
    start: int
    """First character; −1 where the template left it out or changed it."""
    end: int
    number: int
    """From 0."""


class Written(NamedTuple):
    """A text and the turns in it; none where it is no conversation."""

    text: str
    turns: tuple[PlacedTurn, ...] = ()


def written(given: JobInput, tokenizer: Any = None) -> Written:
    """The text that a model reads.

    Raises:
        UserError: The model's chat template does not take the turns.
    """
    if given.text is not None:
        return Written(given.text)
    text = templated(given.turns, tokenizer) if getattr(tokenizer, "chat_template", None) else joined(given.turns)
    return Written(text, placed(text, given.turns))


def joined(turns: tuple[Turn, ...]) -> str:
    """Turns one after another; where neither side has a blank between two, one is put there."""
    text = ""
    for turn in turns:
        gap = "" if not text or text[-1].isspace() or turn.text[:1].isspace() else " "
        text += gap + turn.text
    return text


def templated(turns: tuple[Turn, ...], tokenizer: Any) -> str:
    """Turns as the model's chat template writes them, up to where the answer begins."""
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template raises what it likes, with the messages in it
        raise UserError(
            f"The model's chat template does not take these turns ({type(error).__name__}), expected roles in an order that it "
            "knows. Let user and assistant take turns."
        ) from None


def placed(text: str, turns: tuple[Turn, ...]) -> tuple[PlacedTurn, ...]:
    """Where each turn stands, in order."""
    found, at = [], 0
    for number, turn in enumerate(turns):
        core = turn.text if turn.text in text[at:] else turn.text.strip()  # many templates strip
        start = text.find(core, at) if core else -1
        end = start + len(core) if start >= 0 else -1
        found.append(PlacedTurn(turn.role, start, end, number))
        at = max(at, end)
    return tuple(found)
