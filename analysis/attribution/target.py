"""What is explained: tokens of an answer, an SAE's feature at a position, or a classifier's class.

A target says where to look and how to score what is found there. Tokens are scored by their log-odds
log p / (1 − p), which, unlike log p, keeps a gradient when the model is sure; with a contrast, by the difference of
two logits, in which everything the two share cancels exactly.

Source: log-odds against log-probability, measured on trained models, raises AUROC at known evidence by .09 (docs/attribution.md);
contrast: Yin & Neubig 2022, "Interpreting Language Models with Contrastive Explanations" (arXiv:2202.10419).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attribution.case import Case, shown
from hooks import passage
from hooks.hook_points import HookPoint, expand
from hooks.model import LanguageModel
from sae.base import SAE
from sae.errors import UserError

Measure = Literal["log_odds", "log_prob", "logit"]
Answering = Literal["one_class", "many_labels", "values"]
"""What a classifier's outputs are: classes of which one holds, labels that hold or not each by itself, or plain values."""


@dataclass(frozen=True)
class TokenTarget:
    """Next tokens of a decoder, each at its place."""

    positions: tuple[int, ...]
    """Where each is predicted: the position before it."""
    token_ids: tuple[int, ...]
    labels: tuple[str, ...]
    """What each token says."""
    contrast_ids: tuple[int, ...] | None = None
    """Tokens to compare with; the score is then a difference of two logits."""
    answer_ids: tuple[int, ...] = ()
    """Tokens that follow the case and are given to the model, as they are, before later targets."""
    measure: Measure = "log_odds"
    is_total: bool = False
    """Whether the scores of all tokens are one target, their sum."""

    def scores(self, logits: Float[Tensor, "batch n vocabulary"]) -> Float[Tensor, "batch n"]:
        """One score per target."""
        return measured(logits, torch.tensor(self.token_ids), self.contrast_ids, self.measure)


@dataclass(frozen=True)
class FeatureTarget:
    """Pre-activations of an SAE's features, each at a position: unlike activations they have a gradient everywhere."""

    hook_point: HookPoint
    positions: tuple[int, ...]
    features: tuple[int, ...]
    labels: tuple[str, ...]
    is_total: bool = False
    """Whether they are one concept, their sum."""
    answer_ids: tuple[int, ...] = ()

    def scores(self, pre_acts: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        """The pre-activations themselves."""
        return pre_acts


@dataclass(frozen=True)
class ClassTarget:
    """Classes of a classifier."""

    classes: tuple[int, ...]
    labels: tuple[str, ...]
    contrast_ids: tuple[int, ...] | None = None
    measure: Measure = "log_odds"
    is_total: bool = False
    answer_ids: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    """Where each is read: the last token of a decoder, set by `Problem`; empty for encoders, which have a place of their own."""
    answering: Answering = "one_class"
    """Labels that may hold together have no rivals: the log-odds of each are its own logit."""

    def scores(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch n"]:
        """One score per target."""
        rows = logits[:, None].expand(-1, len(self.classes), -1)
        is_sigmoid = self.answering == "many_labels" and self.contrast_ids is None
        own = "logit" if is_sigmoid else self.measure
        found = measured(rows, torch.tensor(self.classes), self.contrast_ids, own)
        return nn.functional.logsigmoid(found) if is_sigmoid and self.measure == "log_prob" else found


Target = TokenTarget | FeatureTarget | ClassTarget


def measured(
    logits: Float[Tensor, "batch n outcomes"], chosen: Tensor, contrast: Sequence[int] | None, measure: Measure
) -> Float[Tensor, "batch n"]:
    """The score of one outcome in each row of logits."""
    chosen = chosen.to(logits.device)
    index = chosen[None, :, None].expand(len(logits), -1, 1)
    wanted = logits.gather(-1, index)[..., 0]
    if contrast is not None:
        other = torch.tensor(contrast, device=logits.device)[None, :, None].expand(len(logits), -1, 1)
        return wanted - logits.gather(-1, other)[..., 0]
    if measure == "logit":
        return wanted
    rivals = logits.scatter(-1, index, float("-inf")) if measure == "log_odds" else logits
    return wanted - rivals.logsumexp(-1)


def continuation(
    case: Case, lm: LanguageModel, text: str, *, contrast: str | None = None, measure: Measure = "log_odds",
    is_total: bool = False,
) -> TokenTarget:  # fmt: skip
    """A text that could follow the case, token by token.

    Raises:
        UserError: The model has no next token; the text has no token or does not fit; the contrast has another number
            of tokens.
    """
    refuse_no_head(lm)
    ids = tokens_after(case, lm, text)
    others = tokens_after(case, lm, contrast) if contrast is not None else None
    if others is not None and len(others) != len(ids):
        raise UserError(
            f"The target is {spelled(lm, ids)} and the contrast {spelled(lm, others)}, expected as many tokens in both. "
            "Choose words that are as long as each other, or give no contrast."
        )
    return answer(case, lm, ids, contrast_ids=others, measure=measure, is_total=is_total)


def next_token(
    case: Case, lm: LanguageModel, text: str, *, contrast: str | None = None, measure: Measure = "log_odds"
) -> TokenTarget:
    """One token that could follow the case.

    Raises:
        UserError: The model has no next token, or the text is not one token of its vocabulary.
    """
    refuse_no_head(lm)
    for what, given in (("target", text), ("contrast", contrast)):
        ids = tokens_after(case, lm, given) if given is not None else [0]
        if len(ids) != 1:
            raise UserError(
                f"The {what} is {len(ids)} tokens ({spelled(lm, ids)}), expected one. "
                "Choose one of them, or explain them all with --continuation."
            )
    return continuation(case, lm, text, contrast=contrast, measure=measure)


def generated(
    case: Case, lm: LanguageModel, n_tokens: int, *, measure: Measure = "log_odds", is_total: bool = False
) -> TokenTarget:
    """What the model itself answers, greedily, up to so many tokens or its end of text."""
    refuse_no_head(lm)
    ids: list[int] = []
    sequence = case.input_ids[None]
    room = lm.max_context_tokens - case.n_tokens + 1
    for _ in range(min(n_tokens, room)):
        best = int(passage.logits(lm, sequence, torch.ones_like(sequence))[0, -1].argmax())
        if best == lm.tokenizer.eos_token_id:
            break
        ids.append(best)
        sequence = torch.cat([sequence, torch.tensor([[best]])], dim=1)
    if not ids:
        raise UserError("The model answers nothing here, expected a token before its end of text. Name a --target.")
    return answer(case, lm, ids, measure=measure, is_total=is_total)


def answer(
    case: Case, lm: LanguageModel, ids: Sequence[int], *, contrast_ids: Sequence[int] | None = None,
    measure: Measure = "log_odds", is_total: bool = False,
) -> TokenTarget:  # fmt: skip
    """Given tokens after the case; each is predicted from the case and the ones before it.

    Raises:
        UserError: They do not fit.
    """
    if case.n_tokens + len(ids) - 1 > lm.max_context_tokens:
        raise UserError(
            f"The text has {case.n_tokens} tokens and the answer {len(ids)}, but the model {lm.name!r} reads at most "
            f"{lm.max_context_tokens}. Shorten one of them."
        )
    positions = tuple(range(case.n_tokens - 1, case.n_tokens - 1 + len(ids)))
    labels = tuple(shown(lm.tokenizer, one) for one in ids)
    others = None if contrast_ids is None else tuple(contrast_ids)
    return TokenTarget(positions, tuple(ids), labels, others, tuple(ids[:-1]), measure, is_total)


def tokens_after(case: Case, lm: LanguageModel, text: str) -> list[int]:
    """A text's tokens where it follows the case; alone, where it would melt into the case's last word.

    Raises:
        UserError: It has no token, or one that the vocabulary has not.
    """

    def encode(piece: str) -> list[int]:
        return lm.tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]

    before, together = encode(case.text), encode(case.text + text)
    ids = together[len(before) :] if together[: len(before)] == before else encode(text)
    if not ids or lm.tokenizer.unk_token_id in ids:
        raise UserError(
            f"{text!r} is {'no token' if not ids else 'not in the vocabulary'} of {lm.name!r}, expected a word it knows. "
            "Choose another, mind the space before it."
        )
    return ids


def spelled(lm: LanguageModel, ids: Sequence[int]) -> str:
    """Tokens in a sentence."""
    return " + ".join(repr(shown(lm.tokenizer, one)) for one in ids)


def refuse_no_head(lm: LanguageModel) -> None:
    """Stops where there is no next token."""
    if lm.kind != "decoder":
        raise UserError(
            f"The model {lm.name!r} is an {lm.kind} without next tokens, expected a decoder. "
            "Explain one of its classes (--class) or a feature (--feature)."
        )


def features_of(
    case: Case, lm: LanguageModel, sae: SAE, hook_point: str, features: Sequence[int], *, position: int | None = None,
    is_total: bool = False,
) -> FeatureTarget:  # fmt: skip
    """Features at a position; where each is strongest, if none is named, or the first's place for a concept.

    Raises:
        UserError: The SAE has no such feature, the text no such token, or a feature is silent on the text.
    """
    if wrong := [one for one in features if not 0 <= one < sae.d_sae]:
        raise UserError(
            f"Feature {wrong[0]} was asked for, but the SAE has features 0 to {sae.d_sae - 1}. Choose one of them."
        )
    (point,) = expand((hook_point,), lm.n_layers, tuple(lm.family.places))
    acts = activations(case, lm, sae, point)[:, list(features)]
    acts[case.is_special] = 0
    totals = acts.sum(1, keepdim=True).expand_as(acts) if is_total else acts
    places = [place_of_feature(case, totals[:, i], one, position) for i, one in enumerate(features)]
    labels = tuple(f"{hook_point}/{one}@{place}" for one, place in zip(features, places, strict=True))
    return FeatureTarget(point, tuple(places), tuple(features), labels, is_total)


def place_of_feature(case: Case, acts: Float[Tensor, "n"], feature: int, position: int | None) -> int:
    """Where a feature is explained.

    Raises:
        UserError: It does not fire there, or nowhere.
    """
    if position is not None and not 0 <= position < case.n_tokens:
        raise UserError(
            f"Position {position} was asked for, but the text has tokens 0 to {case.n_tokens - 1}. Choose one."
        )
    place = int(acts.argmax()) if position is None else position
    if float(acts[place]) <= 0:
        where = f"at token {place}" if position is not None else f"on any of the text's {case.n_tokens} tokens"
        raise UserError(
            f"Feature {feature} does not fire {where}, expected one that does: what is silent has no cause to show. "
            "Choose a feature or a text in which it is active."
        )
    return place


@torch.no_grad()
def activations(case: Case, lm: LanguageModel, sae: SAE, point: HookPoint) -> Float[Tensor, "n d_sae"]:
    """Feature activations on every token of a case, in the CPU's memory wherever model and autoencoder are."""
    ids = case.input_ids[None]
    value = passage.record(lm, [point], ids, torch.ones_like(ids))[point][0]
    return sae.encode(value.flatten(1).float().to(sae.W_dec.device, copy=True)).cpu()


def class_of(classifier: Any, name: str, *, contrast: str | None = None, measure: Measure = "log_odds") -> ClassTarget:
    """A class of a classifier, by name or number.

    Raises:
        UserError: There is no such class, or the measure is one of probabilities and the model gives plain values.
    """
    names: dict[int, str] = {int(key): str(value) for key, value in classifier.config.id2label.items()}

    def number(given: str) -> int:
        found = [key for key, value in names.items() if given in (value, str(key))]
        if not found:
            raise UserError(
                f"The class {given!r} was asked for, but the model has {', '.join(names.values())}. Choose one."
            )
        return found[0]

    others = None if contrast is None else (number(contrast),)
    answering = answering_of(classifier.config)
    if answering == "values" and others is None and measure != "logit":
        raise UserError(
            f"The measure is {measure}, but the model's {len(names)} outputs are values without probabilities, expected classes. "
            "Ask for --measure logit, the output itself."
        )
    return ClassTarget((number(name),), (names[number(name)],), others, measure, answering=answering)


def answering_of(config: Any) -> Answering:
    """What the outputs of a classifier with this config are; one output alone is a value, as transformers takes it."""
    if config.problem_type == "multi_label_classification":
        return "many_labels"
    return "values" if config.problem_type == "regression" or config.num_labels == 1 else "one_class"
