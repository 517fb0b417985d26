"""A known case in front of a model: its tokens, its target, and which tokens are evidence."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.problem import Problem
from analysis.attribution.target import Measure
from analysis.ground_truth.known import KnownCase, overlapping
from hooks import passage
from hooks.model import LanguageModel


@dataclass(frozen=True)
class OpenCase:
    """One case that the model answers rightly, ready to be attributed."""

    known: KnownCase
    problem: Problem
    """Tokens outside the scope (the question) are held fixed; replacements are the suite's own, where it has aligned ones."""
    evidence: Bool[np.ndarray, "n"]
    direct: Bool[np.ndarray, "n"]
    """The most direct piece of evidence."""
    distractor: Bool[np.ndarray, "n"]
    neutral: Bool[np.ndarray, "n"]
    """Neither evidence nor its rivals."""

    @property
    def scope(self) -> Bool[np.ndarray, "n"]:
        """Tokens that are attributed."""
        return self.problem.is_free.numpy()

    @property
    def judged(self) -> Bool[np.ndarray, "n"]:
        """Tokens of which it is known whether they decide."""
        return self.scope & ~self.neutral


@dataclass(frozen=True)
class Donors:
    """Replacements from texts of as many tokens, position by position; one draw takes one text's tokens."""

    ids: Int[Tensor, "donors n"]

    def sample(
        self, ids: Int[Tensor, "n"], positions: tuple[int, ...], n_samples: int, seed: int
    ) -> Int[Tensor, "s p"]:
        """Tokens for some positions: every text in turn, in an order that follows from the seed."""
        rows = np.random.default_rng(seed).permutation(len(self.ids))
        rows = np.resize(rows, n_samples)
        return self.ids[torch.from_numpy(rows)][:, list(positions)]


def opened(
    lm: LanguageModel, known: KnownCase, *, measure: Measure = "log_odds", is_contrast: bool = False
) -> OpenCase | None:
    """The case in front of a model; none where the model does not answer rightly, since then nothing is known of why.

    Args:
        lm: The model.
        known: The case; of its answer the first token is explained.
        measure: How the token is scored.
        is_contrast: Whether it is held against the contrast's first token instead.
    """
    case = cases.read(known.prompt, lm, name=known.id)
    wanted = targets.tokens_after(case, lm, known.answer)[:1]
    if answered(lm, case) != wanted[0]:
        return None
    others = None
    if is_contrast and known.contrast is not None:
        others = targets.tokens_after(case, lm, known.contrast)[:1]
    target = targets.answer(case, lm, wanted, contrast_ids=others, measure=measure)
    offsets = np.asarray(case.offsets)
    in_scope = overlapping((known.scope,), offsets)
    fixed = np.flatnonzero(~in_scope & ~case.is_special.numpy()).tolist()
    evidence, direct, distractor, neutral = (
        overlapping(spans, offsets) & in_scope
        for spans in (known.evidence, known.evidence[:1], known.distractor, known.neutral)
    )
    problem = Problem(lm, case, target, fixed=fixed, sampler=donors(lm, known, case))
    return OpenCase(known, problem, evidence, direct, distractor, neutral)


def answered(lm: LanguageModel, case: cases.Case) -> int:
    """The model's next token."""
    ids = case.input_ids[None]
    return int(passage.logits(lm, ids, torch.ones_like(ids))[0, -1].argmax())


def donors(lm: LanguageModel, known: KnownCase, case: cases.Case) -> Donors | None:
    """The case's own replacements; none where they have other numbers of tokens."""
    rows = [cases.read(text, lm).input_ids for text in known.donors]
    if not rows or any(len(row) != case.n_tokens for row in rows):
        return None
    return Donors(torch.stack(rows))


def all_opened(
    lm: LanguageModel, known: Iterable[KnownCase], *, measure: Measure = "log_odds", is_contrast: bool = False
) -> Iterator[OpenCase]:
    """The cases that the model answers rightly."""
    for one in known:
        found = opened(lm, one, measure=measure, is_contrast=is_contrast)
        if found is not None:
            yield found
