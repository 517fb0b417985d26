"""Dialogues as text: messages are written out by the model's own chat template, and are from then on a text like others.

What a chat model was trained on is its template's text, role markers included, so that is what it must read here.
The template runs in transformers' sandbox. Errors name rows, never what is written in them.
"""

from typing import Any

from hooks.config import CorpusConfig, ModelConfig
from hooks.corpus import Render
from hooks.model import load_tokenizer, locate
from sae.errors import UserError


def renderer(model: ModelConfig, corpus: CorpusConfig) -> Render | None:
    """What writes a corpus' dialogues out; none where it has texts. Loads the tokenizer, not the model.

    Raises:
        UserError: The tokenizer has no chat template.
    """
    if corpus.messages_column is None:
        return None
    tokenizer = load_tokenizer(locate(model))
    if not tokenizer.chat_template:
        raise UserError(
            f"corpus.messages_column is {corpus.messages_column!r}, but the tokenizer of {model.name!r} has no chat template. "
            "Choose a chat model, or write the dialogues out yourself and name their column as corpus.text_column."
        )
    return lambda row, messages: rendered(row, messages, tokenizer, corpus)


def rendered(row: int, messages: Any, tokenizer: Any, cfg: CorpusConfig) -> str:
    """One dialogue as the model reads it; no messages are no text.

    Raises:
        UserError: They are no messages, or the template does not take them.
    """
    if messages in (None, []):
        return ""
    if not isinstance(messages, list) or not all(is_message(message) for message in messages):
        raise UserError(
            f"Row {row} of {cfg.name!r} has no list of messages in column {cfg.messages_column!r}, expected "
            "[{role, content}, …] with texts, as JSONL or Parquet can hold. Correct the column or corpus.messages_column."
        )
    # a table has every key in every message; templates ask whether one is there
    given = [{key: value for key, value in message.items() if value is not None} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(given, tokenize=False))
    except Exception as error:  # a template raises what it likes, with the messages in it
        raise UserError(
            f"The chat template does not take the messages of row {row} of {cfg.name!r} ({type(error).__name__}), expected roles "
            "in an order that it knows. Correct the row or remove it."
        ) from None


def is_message(message: Any) -> bool:
    """Whether it is {role, content}, both texts, with or without more."""
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
