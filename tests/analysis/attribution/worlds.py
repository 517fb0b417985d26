"""Models whose attributions are known by hand, and tiny random ones of every family."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.case import Case
from analysis.attribution.problem import Problem
from hooks.architecture import LLAMA, family_of
from hooks.model import LanguageModel
from hooks.model_types import ENCODERS
from tests.tiny import SETTINGS, SHAPE, tiny_model, tiny_tokenizer

TEXT = "patient has fever and pain . no cough given drug 7 today"


def opened(kind: str, **changes: Any) -> LanguageModel:
    """A tiny random model of a family."""
    model = tiny_model(kind, **changes).requires_grad_(False)
    model_type = kind.split("-", maxsplit=1)[0]
    role = "encoder" if model_type in ENCODERS else "decoder"
    return LanguageModel(kind, model, tiny_tokenizer(), role, family_of(model_type, model.config), Path())


def problem(kind: str, answer: str = " acute chest pain", text: str = TEXT, **options: Any) -> Problem:
    """A continuation of a text by a tiny random model."""
    lm = opened(kind)
    case = cases.read(text, lm)
    return Problem(lm, case, targets.continuation(case, lm, answer, **options))


def classifier(
    kind: str, class_name: str = "GPT2ForSequenceClassification", text: str = TEXT, measure: Any = "log_odds", **changes: Any
) -> Problem:  # fmt: skip
    """A class of a tiny random classifier; `changes` are of its config."""
    torch.manual_seed(0)
    settings = SETTINGS.get(kind, SHAPE)
    model = getattr(transformers, class_name)(CONFIG_MAPPING[kind](**settings | {"num_labels": 3} | changes)).eval()
    for parameter in model.requires_grad_(False).parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    role = "encoder" if kind in ENCODERS else "decoder"
    lm = LanguageModel(kind, model, tiny_tokenizer(), role, family_of(kind, model.config), Path())
    case = cases.read(text, lm)
    return Problem(lm, case, targets.class_of(model, f"LABEL_{model.config.num_labels - 1}", measure=measure))


class Output:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class LinearModel(nn.Module):
    """Logits that are a linear function of all embeddings up to a position: the score's gradient is the same everywhere."""

    def __init__(self, n_tokens: int, d: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        vocabulary = tiny_model("llama").config.vocab_size
        self.config = tiny_model("llama").config
        self.embed_tokens = nn.Embedding(vocabulary, d)
        self.weight = nn.Parameter(torch.randn(n_tokens, d, vocabulary))
        self.requires_grad_(False)

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, inputs_embeds: Tensor, logits_to_keep: Tensor, use_cache: bool) -> Output:
        n = inputs_embeds.shape[1]
        logits = torch.einsum("bnd,ndv->bv", inputs_embeds, self.weight[:n])
        return Output(logits[:, None].expand(-1, len(logits_to_keep), -1))


def linear_problem() -> Problem:
    """One logit of the linear model."""
    model = LinearModel(13)
    lm = LanguageModel("linear", model, tiny_tokenizer(), "decoder", LLAMA, Path())
    case = cases.read(TEXT, lm)
    return Problem(lm, case, targets.next_token(case, lm, " acute", measure="logit"))


def gradient_by_hand(case: Case, model: LinearModel, token_id: int) -> Tensor:
    """The linear model's gradient at every token."""
    return model.weight[: case.n_tokens, :, token_id]
