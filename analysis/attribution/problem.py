"""One case, one target, one model: from embeddings to scores, as every method asks for them.

1. The case's tokens become embeddings [n, d]; an answer's tokens follow as they are, except the last, which is only
   predicted. What stands after the last place that matters is not run (decoders).
2. One forward serves all targets: the head is applied at their positions only, and for features the pass ends at their
   hook point.
3. Rows that begin like the case itself are scored from the first token that differs, on the case's own keys and values.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
import xxhash
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from analysis.attribution.case import Case, shown
from analysis.attribution.replaced import fused_activations
from analysis.attribution.target import ClassTarget, FeatureTarget, Target
from analysis.attribution.vocabulary import Sampler, Vocabulary
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from hooks.passage import edited
from sae.base import SAE
from sae.errors import UserError

WITHOUT_GRADIENTS = "occlusion, resampling, shapley, surrogate, hidden_state"


class _Heard(Exception):  # noqa: N818 - not an error: it ends a pass at the hook point
    """The value has come."""


@dataclass
class Cost:
    """What was run so far."""

    n_forwards: int = 0
    """Sequences that went through the model, whole or from their first change."""
    n_tokens: int = 0
    """Of these sequences, those that were run: of one that begins at its first change, the rest."""
    n_backwards: int = 0
    """Sequences that were differentiated, once for each target."""

    def add(self, n_rows: int, n_tokens: int) -> None:
        """Counts forward passes over rows of some tokens each."""
        self.n_forwards += n_rows
        self.n_tokens += n_rows * n_tokens


class Problem:
    """What a method is given.

    Args:
        lm: The model; for a class the classifier, see `analysis.attribution.classifier`.
        case: The text.
        target: What is explained.
        sae: The autoencoder of a feature.
        batch_tokens: Tokens of one pass, at most; one sequence always fits.
        fixed: Further tokens that are never changed nor attributed, such as a question.
        sampler: What tokens are replaced by where they are resampled; others of their kind, if none.
    """

    def __init__(
        self, lm: LanguageModel, case: Case, target: Target, sae: SAE | None = None, *, batch_tokens: int = 1024,
        fixed: Sequence[int] = (), sampler: Sampler | None = None,
    ) -> None:  # fmt: skip
        if isinstance(target, FeatureTarget) and sae is None:
            raise ValueError("a feature is explained with its autoencoder: give sae")
        self.lm, self.case, self.target = lm, case, read_at_the_end(target, case, lm)
        self.sae = None if sae is None else sae.to(lm.device)
        self.batch_tokens = batch_tokens
        self.fixed = tuple(fixed)
        self._sampler = sampler
        self.cost = Cost()

    @property
    def n_tokens(self) -> int:
        return self.case.n_tokens

    @property
    def n_targets(self) -> int:
        """Columns of the scores; one for a sum."""
        return 1 if self.target.is_total else len(self.target.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of the scores are."""
        return ("".join(self.target.labels),) if self.target.is_total else self.target.labels

    @cached_property
    def sampler(self) -> Sampler:
        """What tokens are replaced by."""
        return self._sampler or self.vocabulary

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens by their kind."""
        weight: Any = self.lm.base.get_submodule(self.lm.family.embedding).weight
        return Vocabulary(self.lm.tokenizer, int(weight.shape[0]))

    @cached_property
    def is_free(self) -> Bool[Tensor, "n"]:
        """Tokens that are changed and attributed: not the special ones, nor those held fixed."""
        free = ~self.case.is_special
        free[list(self.fixed)] = False
        return free

    @cached_property
    def sequence_ids(self) -> Int[Tensor, "length"]:
        """What the model reads: the case, the given part of the answer, up to the last place that matters."""
        ids = torch.cat([self.case.input_ids, torch.tensor(self.target.answer_ids, dtype=torch.long)])
        is_cut = self.lm.kind == "decoder" and len(self.target.positions) > 0
        return (ids[: max(self.target.positions) + 1] if is_cut else ids).to(self.lm.device)

    @property
    def rows_per_batch(self) -> int:
        """Sequences of one pass."""
        return max(1, self.batch_tokens // len(self.sequence_ids))

    def embed(self, ids: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n d"]:
        """Token embeddings, as they enter the model."""
        with torch.no_grad():
            return self.lm.base.get_submodule(self.lm.family.embedding)(ids.to(self.lm.device)).clone()

    @cached_property
    def embeds(self) -> Float[Tensor, "n d"]:
        """The case's embeddings."""
        return self.embed(self.case.input_ids)

    @cached_property
    def answer_embeds(self) -> Float[Tensor, "m d"]:
        """Those of the answer's given tokens."""
        return self.embed(torch.tensor(self.target.answer_ids, dtype=torch.long))

    @cached_property
    def clean_scores(self) -> Float[Tensor, "targets"]:
        """The scores of the text as it is."""
        with torch.no_grad():
            return self.score(self.embeds[None])[0]

    def score(self, embeds: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch targets"]:
        """One score per row and target; differentiable."""
        return self.measure(self.outputs(embeds))

    def outputs(self, embeds: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch *places outcomes"]:
        """What the scores are made of: logits at the targets' positions [batch, target, vocabulary], a classifier's
        logits [batch, classes], or features' pre-activations [batch, target]."""
        answer = self.answer_embeds[None].expand(len(embeds), -1, -1)
        rows = torch.cat([embeds, answer], dim=1)[:, : len(self.sequence_ids)]
        return self.run(rows)

    def measure(self, outputs: Tensor) -> Float[Tensor, "batch targets"]:
        """Scores of outputs, summed where the target is a sum."""
        scores = self.target.scores(outputs.float())
        return scores.sum(1, keepdim=True) if self.target.is_total else scores

    def run(
        self, rows: Float[Tensor, "batch length d"], which: Sequence[int] | None = None, shift: int = 0, **inputs: Any
    ) -> Tensor:
        """One pass over embeddings, to the outputs of some targets, or all.

        Args:
            rows: What the model reads.
            which: Numbers of the targets.
            shift: Tokens before the rows, already in a cache.
            inputs: What else the model is given.
        """
        self.cost.add(len(rows), rows.shape[1])
        if isinstance(self.target, ClassTarget):
            options = {"use_cache": False} if self.lm.kind == "decoder" else {}
            return self.lm.model(inputs_embeds=rows, **(options | inputs)).logits
        chosen = range(len(self.target.positions)) if which is None else which
        positions = [self.target.positions[i] - shift for i in chosen]
        if isinstance(self.target, FeatureTarget):
            features = [self.target.features[i] for i in chosen]
            return self.pre_acts(self.heard(rows, self.target.hook_point, **inputs), positions, features)
        places = torch.tensor(positions, device=rows.device)
        return self.lm.model(inputs_embeds=rows, logits_to_keep=places, **({"use_cache": False} | inputs)).logits

    def heard(
        self, rows: Float[Tensor, "batch length d"], point: HookPoint, **inputs: Any
    ) -> Float[Tensor, "batch length width"]:
        """The value at a hook point; the pass ends there."""
        found: list[Tensor] = []

        def listen(value: Tensor) -> Tensor:
            found.append(value)
            raise _Heard

        options = {"use_cache": False} if self.lm.kind == "decoder" else {}
        with edited(self.lm, {point: listen}), suppress(_Heard):
            self.lm.base(inputs_embeds=rows, **(options | inputs))
        return found[0].flatten(2)

    def pre_acts(self, value: Tensor, positions: Sequence[int], features: Sequence[int]) -> Float[Tensor, "batch n"]:
        """Each feature's pre-activation at its own position."""
        assert self.sae is not None  # noqa: S101 - __init__ asked for it
        wanted = torch.tensor(features, device=value.device)
        at_places = value[:, list(positions)].float()
        return self.sae.pre_acts_of(at_places, wanted).diagonal(dim1=-2, dim2=-1)

    def scores_without_grad(self, rows: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch targets"]:
        """Scores of any number of rows, a batch at a time."""
        with torch.no_grad():
            return torch.cat([self.score(some) for some in rows.split(self.rows_per_batch)])

    def score_ids(self, ids: Int[Tensor, "batch n"]) -> Float[Tensor, "batch targets"]:
        """Scores of other tokens in the case's places; rows are run from the first token where any differs from it."""
        with torch.no_grad():
            changed = (ids != self.case.input_ids).any(0).nonzero()
            if not len(changed):
                return self.clean_scores.expand(len(ids), -1)
            start = int(changed[0])
            size = self.rows_after(start)
            return torch.cat([self.score_after(start, self.embed(some[:, start:])) for some in ids.split(size)])

    def rows_after(self, start: int) -> int:
        """Rows of one pass that begins at a token."""
        return max(1, self.batch_tokens // max(1, len(self.sequence_ids) - start))

    def score_after(self, start: int, tail: Float[Tensor, "batch rest d"]) -> Float[Tensor, "batch targets"]:
        """Scores of rows that are the case before `start`, and then other embeddings; differentiable in these."""
        return self.measure(self.outputs_after(start, tail))

    def outputs_after(self, start: int, tail: Float[Tensor, "batch rest d"]) -> Tensor:
        """The outputs of such rows.

        Decoders reuse the case's keys and values; encoders, whose every token sees every other, run whole rows, and so does a pass
        that ends before any attention: without a cache its rows would stand at the first positions.
        """
        if start == 0 or self.lm.kind != "decoder" or not self.keys_and_values:
            head = self.embeds[:start][None].expand(len(tail), -1, -1)
            return self.outputs(torch.cat([head, tail], dim=1))
        later = [i for i, position in enumerate(self.target.positions) if position >= start]
        if not later:
            return self.clean_outputs.expand(len(tail), *self.clean_outputs.shape[1:])
        answer = self.answer_embeds[None].expand(len(tail), -1, -1)
        rows = torch.cat([tail, answer], dim=1)[:, : len(self.sequence_ids) - start]
        cache = self.cache_of(start, len(tail))
        found = self.run(rows, later, start, past_key_values=cache, use_cache=True)
        if len(later) == len(self.target.positions):  # always so for classes
            return found
        whole = self.clean_outputs.expand(len(found), *self.clean_outputs.shape[1:]).clone()
        whole[:, later] = found  # targets before the change stay as they are
        return whole

    @cached_property
    def clean_outputs(self) -> Tensor:
        """The outputs of the text as it is."""
        with torch.no_grad():
            return self.outputs(self.embeds[None])

    @cached_property
    def keys_and_values(self) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values of the text as it is, up to the layer where the pass ends; none before the first."""
        cache = DynamicCache()
        rows = torch.cat([self.embeds, self.answer_embeds])[None, : len(self.sequence_ids)]
        with torch.no_grad():
            self.run(rows, past_key_values=cache, use_cache=True)
        layers: list[Any] = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
        return [(layer.keys, layer.values) for layer in layers]

    def cache_of(self, n_tokens: int, n_rows: int) -> DynamicCache:
        """The first tokens' keys and values for several rows."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.keys_and_values):
            first = [one[:, :, :n_tokens].expand(n_rows, -1, -1, -1) for one in (keys, values)]
            cache.update(first[0], first[1], index)
        return cache

    def gradients(
        self, embeds: Float[Tensor, "batch n d"], reduce: Callable[[Tensor], Tensor]
    ) -> tuple[Float[Tensor, "batch targets"], Float[Tensor, "targets batch n"]]:
        """Scores, and what `reduce` makes of their gradients [batch, n, d]: one forward, one backward per target."""
        self.refuse_without_gradients()
        leaf = embeds.detach().requires_grad_()
        with fused_activations(self.lm):
            scores = self.score(leaf)
        n = scores.shape[1]
        self.cost.n_backwards += n * len(embeds)
        found = [
            reduce(torch.autograd.grad(scores[:, t].sum(), leaf, retain_graph=t < n - 1)[0].float()) for t in range(n)
        ]
        return scores.detach(), torch.stack(found)

    def extended(self) -> "Problem":
        """The same with the given part of the answer among the tokens that are attributed."""
        if not self.target.answer_ids:
            return self
        texts = [shown(self.lm.tokenizer, one) for one in self.target.answer_ids]
        case = self.case.extended(self.target.answer_ids, texts)
        target = replace(self.target, answer_ids=())
        found = Problem(
            self.lm, case, target, self.sae, batch_tokens=self.batch_tokens, fixed=self.fixed, sampler=self._sampler
        )
        found.cost = self.cost
        return found

    def target_record(self) -> dict[str, Any]:
        """The target as plain values, with the weights of a feature's autoencoder as a hash."""
        found = {"kind": type(self.target).__name__} | asdict(self.target)
        if isinstance(self.target, FeatureTarget):
            found["hook_point"] = str(self.target.hook_point)
            found["sae_hash"] = self.sae_hash
        return found

    @cached_property
    def sae_hash(self) -> str:
        """Tells one autoencoder from another."""
        assert self.sae is not None  # noqa: S101 - __init__ asked for it
        digest = xxhash.xxh3_128()
        for name, tensor in sorted(self.sae.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def refuse_nothing_free(self) -> None:
        """Stops where there is nothing to attribute.

        Raises:
            UserError: Every token is special or held fixed.
        """
        if not self.is_free.any():
            raise UserError(
                f"All {self.n_tokens} tokens of the text are special or held fixed, expected some that may change. "
                "Hold fewer of them fixed."
            )

    def refuse_without_gradients(self) -> None:
        """Stops what differentiates where the weights allow none.

        Raises:
            UserError: The model is quantised.
        """
        if self.lm.is_quantized:
            raise UserError(
                f"The method differentiates, but the model {self.lm.name!r} is quantised and has no exact gradients. "
                f"Choose one that only runs it ({WITHOUT_GRADIENTS}), or set model.quantization=none."
            )


def read_at_the_end(target: Target, case: Case, lm: LanguageModel) -> Target:
    """The target with its places: a decoder's classes are read off its last token, which has seen all the others.

    Cases have no padding, so that is the token that transformers' classifiers take.
    """
    if not isinstance(target, ClassTarget) or lm.kind != "decoder":
        return target
    return replace(target, positions=(case.n_tokens - 1,) * len(target.classes))
