"""What features do for the features of the next layer, and for the answer: measured, beside features taken at random.

1. In *delta mode* a_j · W_dec[j] is taken off the stream wherever feature j fires; the autoencoder's error stays, so that
   what is measured is the feature's doing and not what a reconstruction loses.
2. Downstream: by what share the next layer's features fire less, summed over the texts' words. Interval: over the texts' patients.
3. Controls: at the same words and with the same length, the direction of a random other feature is taken off. The 95 % quantile
   of the controls' effects, by size, is the null of an edge; each ablation of the answer carries all its controls.

Source: delta mode, arXiv:2605.04072; random features as controls, Marks et al. 2024, arXiv:2403.19647, section 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.tracing.config import TraceConfig
from analysis.tracing.intervals import ALPHA, drawn_patients
from analysis.tracing.layers import Node
from analysis.tracing.permutations import QUANTILE
from hooks.hook_points import HookPoint, parse
from hooks.model import LanguageModel
from hooks.passage import Edit, edited, heard, logits, no_cache
from sae.base import SAE

ROWS_PER_PASS = 32
TINY = 1e-9


class Text(NamedTuple):
    """One passage that the model reads, with the concept in it."""

    input_ids: Int[Tensor, "n"]
    is_special: Bool[Tensor, "n"]
    patient: int
    answer: tuple[int, ...]
    """Positions whose next token is the answer."""


class Effect(NamedTuple):
    """What one ablation did, beside its controls."""

    value: float
    interval: tuple[float, float]
    """Over patients."""
    controls: tuple[float, ...]
    n_texts: int

    @property
    def null_95(self) -> float:
        """What 5 % of controls exceed in size."""
        return float(np.quantile(np.abs(self.controls), QUANTILE))

    @property
    def is_above_null(self) -> bool:
        """Whether the effect is no chance: its interval excludes 0, and it exceeds the controls'."""
        low, high = self.interval
        return abs(self.value) > self.null_95 and (low > 0 or high < 0)


@dataclass(frozen=True)
class Ablations:
    """Ablates features in texts."""

    lm: LanguageModel
    saes: Mapping[str, SAE]
    """By hook point."""
    texts: Sequence[Text]
    cfg: TraceConfig
    answer_kind: str = "kl"
    """`log_odds` of the next token at the answer's positions, or `kl` from the untouched model's answers."""
    _drawn: dict[tuple[str, int], list[int]] = field(default_factory=dict, repr=False)
    _kept: dict[tuple[str, int], Tensor] = field(default_factory=dict, repr=False)
    _changes: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False)

    def downstream(self, node: Node, after: Sequence[Node]) -> list[Effect]:
        """The share by which each feature of the next layer fires less without the node."""
        point = after[0].layer.hook_point
        features = [one.feature for one in after]
        clean, dropped = [], []
        for text in self.texts:
            rows = self.ablated_rows(node, text)
            if rows is None:
                continue
            fired = self.fired(node, text, rows, point, features)
            clean.append(fired[0])
            dropped.append(fired[0] - fired[1:])
        if not clean:
            return []
        total, less = np.asarray(clean), np.asarray(dropped)
        return [self.ratio(less[:, :, i], total[:, i], node) for i in range(len(after))]

    def ratio(self, less: np.ndarray, total: np.ndarray, node: Node) -> Effect:
        """Σ less ÷ Σ total over texts, for the ablation and for each control.

        Args:
            less: [n_texts, 1 + n_controls].
            total: [n_texts].
            node: Whose texts these are.
        """
        weights = drawn_patients(self.patients(node), self.cfg.n_bootstraps, self.cfg.seed).weights
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = np.nan_to_num((weights @ less[:, 0]) / (weights @ total))
        low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2])
        shares = less.sum(axis=0) / max(total.sum(), TINY)
        return Effect(float(shares[0]), (float(low), float(high)), tuple(map(float, shares[1:])), len(total))

    def on_answer(self, node: Node) -> Effect | None:
        """What the answer loses without the node; none where it fires in no text, or no text has an answer."""
        found, patients = [], []
        for text in self.texts:
            rows = self.ablated_rows(node, text) if text.answer else None
            if rows is None:
                continue
            found.append(self.answer_change(node, text, rows))
            patients.append(text.patient)
        if not found:
            return None
        values = np.asarray(found)
        weights = drawn_patients(np.asarray(patients), self.cfg.n_bootstraps, self.cfg.seed).weights
        low, high = np.quantile((weights @ values[:, 0]) / weights.sum(axis=1), [ALPHA / 2, 1 - ALPHA / 2])
        means = values.mean(axis=0)
        return Effect(float(means[0]), (float(low), float(high)), tuple(map(float, means[1:])), len(values))

    def patients(self, node: Node) -> np.ndarray:
        """Those of the texts in which a node fires."""
        return np.asarray([text.patient for text in self.texts if self.ablated_rows(node, text) is not None])

    @torch.no_grad()
    def ablated_rows(self, node: Node, text: Text) -> Float[Tensor, "variants n d_in"] | None:
        """What is taken off the stream: nothing, the node, each control; none where the node is silent."""
        acts = self.clean_acts(node.layer.hook_point, text)[:, node.feature]
        if not bool((acts > 0).any()):
            return None
        decoder = self.saes[node.layer.hook_point].W_dec
        own = acts[:, None] * decoder[node.feature]
        others = torch.nn.functional.normalize(decoder[self.controls(node)], dim=1)
        controls = own.norm(dim=1)[None, :, None] * others[:, None, :]
        return torch.cat([torch.zeros_like(own)[None], own[None], controls])

    def clean_acts(self, hook_point: str, text: Text) -> Float[Tensor, "n d_sae"]:
        """Feature activations of a text that is left as it is; 0 on special tokens."""
        key = hook_point, id(text.input_ids)
        if key not in self._kept:
            point = parse(hook_point)
            value = heard(self.lm, [point], self.inputs(text, 1))[point][0]
            self._kept[key] = self.encoded(hook_point, value[None], text)[0]
        return self._kept[key]

    @torch.no_grad()
    def encoded(self, hook_point: str, value: Tensor, text: Text) -> Tensor:
        """Feature activations of values at a hook point."""
        sae = self.saes[hook_point]
        return sae.encode(value.float().to(sae.W_dec.device)) * (~text.is_special)[:, None].to(sae.W_dec.device)

    def controls(self, node: Node) -> list[int]:
        """Random features that fire in the corpus, drawn once for each node."""
        key = node.layer.hook_point, node.feature
        if key not in self._drawn:
            rng = np.random.default_rng((self.cfg.seed, 6, node.layer.layer, node.feature))
            others = np.setdiff1d(node.layer.active, [node.feature])
            self._drawn[key] = rng.choice(others, min(self.cfg.n_controls, len(others)), replace=False).tolist()
        return self._drawn[key]

    def fired(
        self, node: Node, text: Text, rows: Tensor, hook_point: str, features: Sequence[int]
    ) -> Float[np.ndarray, "variants features"]:
        """Summed activations of later features under each variant; the answers of the same passes are kept."""
        point, sums, answers = parse(hook_point), [], []
        for some in rows.split(ROWS_PER_PASS):
            values: list[Tensor] = []
            edits = {self.point(node): taken_off(some), point: listening(values)}
            if text.answer:
                answers.append(self.answers(text, len(some), edits))
            else:
                with edited(self.lm, edits), torch.no_grad():
                    self.lm.base(**self.inputs(text, len(some)))
            sums.append(self.encoded(hook_point, values[0], text)[:, :, list(features)].sum(dim=1))
        if answers:
            self._changes[node.id, id(text.input_ids)] = self.change(torch.cat(answers), text)
        return torch.cat(sums).double().cpu().numpy()

    def answer_change(self, node: Node, text: Text, rows: Tensor) -> np.ndarray:
        """[1 + n_controls], what each ablation takes from the answer, mean over its positions."""
        key = node.id, id(text.input_ids)
        if key not in self._changes:
            parts = [
                self.answers(text, len(some), {self.point(node): taken_off(some)}) for some in rows.split(ROWS_PER_PASS)
            ]
            self._changes[key] = self.change(torch.cat(parts), text)
        return self._changes[key]

    def answers(self, text: Text, n: int, edits: dict[HookPoint, Edit]) -> Float[Tensor, "n places vocabulary"]:
        """Log-probabilities at the answer's positions."""
        ids = text.input_ids[None].expand(n, -1)
        out = logits(self.lm, ids, torch.ones_like(ids), edits)
        return out[:, list(text.answer)].double().cpu().log_softmax(dim=-1)

    def change(self, log_probs: Float[Tensor, "variants places vocabulary"], text: Text) -> np.ndarray:
        """[1 + n_controls], from the answers of all variants, the first being the untouched model's."""
        if self.answer_kind == "kl":
            clean = log_probs[:1]
            return (clean.exp() * (clean - log_probs)).sum(dim=-1).mean(dim=1)[1:].numpy()
        said = text.input_ids[torch.tensor(text.answer) + 1]
        log_p = log_probs.gather(-1, said[None, :, None].expand(len(log_probs), -1, 1))[..., 0]
        log_odds = (log_p - torch.log(-torch.expm1(log_p).clamp(max=-TINY))).mean(dim=1)
        return (log_odds[0] - log_odds[1:]).numpy()

    def point(self, node: Node) -> HookPoint:
        """The node's hook point."""
        return parse(node.layer.hook_point)

    def inputs(self, text: Text, n: int) -> dict[str, Any]:
        """What the model is given, n times."""
        ids = text.input_ids[None].expand(n, -1).to(self.lm.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | no_cache(self.lm)


def listening(values: list[Tensor]) -> Edit:
    """An edit that changes nothing, and keeps what it sees."""

    def listen(value: Tensor) -> Tensor:
        values.append(value.detach())
        return value

    return listen


def taken_off(rows: Tensor) -> Edit:
    """An edit that takes one row of directions off each sequence of a batch."""
    return lambda value: value - rows.to(value)
