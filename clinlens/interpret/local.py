"""A model in a local folder that answers questions: nothing is sent anywhere."""

from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.interpretation.config import InterpretConfig
from analysis.interpretation.prompts import Message
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load_afresh
from sae.errors import UserError


@dataclass(frozen=True)
class LocalModel:
    """A decoder of a transformers folder."""

    lm: LanguageModel
    cfg: InterpretConfig

    @property
    def place(self) -> str:
        """Where it is, for records."""
        return f"weights {self.lm.fingerprint['weight_hash']}"

    def chat(self, messages: list[Message]) -> str:
        """What the model answers, word by word the likeliest; nothing where a question is longer than it reads."""
        ids = self.ids(messages)
        room = min(self.cfg.most_tokens, self.lm.max_context_tokens - len(ids))
        if room <= 0:
            return ""
        given = torch.tensor([ids], device=self.lm.device)
        with torch.inference_mode():
            out = self.lm.model.generate(  # type: ignore[operator]
                input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=room, do_sample=False,
                pad_token_id=self.lm.tokenizer.eos_token_id or 0,
            )  # fmt: skip
        return str(self.lm.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True))

    def ids(self, messages: list[Message]) -> list[int]:
        """The question as the model's chat template has it, or as plain text where there is none."""
        tokenizer = self.lm.tokenizer
        if tokenizer.chat_template is None:
            return list(tokenizer("\n\n".join(one["content"] for one in messages) + "\n\nAnswer:")["input_ids"])
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def local_model(folder: Path, cfg: InterpretConfig) -> LocalModel:
    """Loads a folder.

    Raises:
        UserError: It holds no model, or none that writes.
    """
    lm = load_afresh(ModelConfig(name=str(folder)))
    if lm.kind != "decoder":
        raise UserError(
            f"{folder} holds a model of kind {lm.kind}, expected a decoder, which writes. Name another in --model."
        )
    return LocalModel(lm, cfg)
