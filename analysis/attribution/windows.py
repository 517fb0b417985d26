"""Texts longer than the model reads: windows that overlap by half, each followed by the words right before the answer.

A window's tokens get the scores they have in it; tokens in several windows get the mean. No window sees another, so what
two far passages do together is not seen: that is said with the result. A window in which nothing may change, or which holds no
unit, is not run: its tokens have 0 in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from analysis.attribution.build import attribute
from analysis.attribution.case import Case
from analysis.attribution.config import MethodConfig, UnitKind
from analysis.attribution.occlusion import units_of
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Completeness, Scores
from analysis.attribution.target import TokenTarget, answer
from sae.errors import UserError

SETTINGS = frozenset(
    {"unit", "n_samples", "n_probes", "curvature", "hops", "through", "layer", "parts", "baseline_warning"}
)
"""Diagnostics that are the same in every window."""
OF_TOKENS = ("is_high", "flow")
"""Diagnostics with an entry for each token."""
CAVEAT = " Read in windows: what passages do together that never stand in one window is not seen."


def windowed(problem: Problem, cfg: MethodConfig, seed: int, window_tokens: int, tail_tokens: int) -> Scores:
    """A method on every window of a case that may be longer than the model reads.

    Args:
        problem: The whole case; only its target's tokens are taken from it.
        cfg: The method's settings.
        seed: Of everything random.
        window_tokens: Tokens of a window, BOS and tail included.
        tail_tokens: Last tokens of the text, which stand at the end of every window.

    Raises:
        UserError: The target is no token, a window has no room besides the tail, or none holds anything to attribute.
    """
    target = problem.target
    if not isinstance(target, TokenTarget):
        raise UserError("Windows were asked for, but the target is no token, expected one. Leave --window out.")
    pieces = windows(problem.case, window_tokens, tail_tokens)
    each: list[Scores | None] = []
    for rows in pieces:
        case = taken(problem.case, rows)
        part = answer(
            case, problem.lm, target.token_ids, contrast_ids=target.contrast_ids, measure=target.measure,
            is_total=target.is_total,
        )  # fmt: skip
        fixed = [rows.index(one) for one in problem.fixed if one in rows]
        piece = Problem(problem.lm, case, part, fixed=fixed, sampler=problem.sampler)
        each.append(attribute(piece, cfg, seed) if has_something(piece, cfg) else None)
    found = [one for one in each if one is not None]
    if not found:
        raise UserError(
            f"None of the {len(pieces)} windows holds a unit with a token that may change, expected at least one. "
            "Hold fewer tokens fixed, or choose another unit."
        )
    sizes = {"n_windows": len(pieces), "window_tokens": window_tokens, "tail_tokens": tail_tokens}
    diagnostics = together([None if one is None else one.diagnostics for one in each], pieces) | sizes
    return replace(
        found[-1], raw=joined([None if one is None else one.raw for one in each], pieces),
        terms={
            name: joined([None if one is None else one.terms[name] for one in each], pieces) for name in found[-1].terms
        },
        completeness=worst([one.completeness for one in found]), corrected=worst([one.corrected for one in found]),
        caveat=found[-1].caveat + CAVEAT, diagnostics=diagnostics,
        n_forwards=sum(one.n_forwards for one in found), n_tokens=sum(one.n_tokens for one in found),
        n_backwards=sum(one.n_backwards for one in found),
        seconds=sum(one.seconds for one in found), peak_bytes=max(one.peak_bytes for one in found),
    )  # fmt: skip


def together(each: Sequence[dict[str, Any] | None], pieces: list[list[int]]) -> dict[str, Any]:
    """What the windows have to say, as one: settings once, converged where all are, figures of tokens at the text's tokens (high
    where in any window, the flow their mean), and of everything else a list with an entry for each window, none where it was not
    run.
    """
    ran = [one for one in each if one is not None]
    found: dict[str, Any] = {}
    for name in ran[-1]:
        column = [None if one is None else one[name] for one in each]
        if name in SETTINGS:
            found[name] = ran[-1][name]
        elif name == "is_converged":
            found[name] = all(one[name] for one in ran)
        elif name in OF_TOKENS:
            rows = [None if one is None else np.atleast_2d(np.asarray(one, float)).T for one in column]
            whole = joined(rows, pieces)
            found[name] = (whole[:, 0] > 0).tolist() if name == "is_high" else whole.T.tolist()
        else:
            found[name] = column
    return found


def has_something(problem: Problem, cfg: MethodConfig) -> bool:
    """Whether a window has tokens, and units where the method wants them, that may change."""
    unit: UnitKind = getattr(cfg, "unit", "tokens")
    return bool(problem.is_free.any()) and len(units_of(problem, unit)) > 0


def joined(found: Sequence[np.ndarray | None], pieces: list[list[int]]) -> np.ndarray:
    """Scores of each window's tokens, (its tokens, targets), as those of the text: the mean where windows overlap.

    A window without any counts as 0.
    """
    n_tokens, width = max(map(max, pieces)) + 1, next(one.shape[1] for one in found if one is not None)
    total, seen = np.zeros((n_tokens, width)), np.zeros((n_tokens, 1))
    for scores, rows in zip(found, pieces, strict=True):
        total[rows] += 0 if scores is None else scores
        seen[rows] += 1
    return total / seen


def worst(each: list[tuple[Completeness, ...]]) -> tuple[Completeness, ...]:
    """Of every target the window whose scores add up worst: sums of different windows are of different things."""
    return tuple(max(column, key=lambda one: one.gap) for column in zip(*each, strict=True))


def windows(case: Case, window_tokens: int, tail_tokens: int) -> list[list[int]]:
    """Positions of each window: special tokens in front, its own, the tail.

    Raises:
        UserError: There is no room.
    """
    n_front = int(case.is_special.long().cumprod(0).sum())
    room = window_tokens - n_front - tail_tokens
    if room < 2:
        raise UserError(
            f"A window of {window_tokens} tokens has no room besides {n_front} special ones and the last {tail_tokens} of the "
            "text. Raise --window or lower --tail."
        )
    body_end = max(n_front, case.n_tokens - tail_tokens)
    starts = range(n_front, max(n_front + 1, body_end - room + room // 2), room // 2)
    front, tail = list(range(n_front)), list(range(body_end, case.n_tokens))
    return [[*front, *range(start, min(start + room, body_end)), *tail] for start in starts]


def taken(case: Case, rows: list[int]) -> Case:
    """Some of a case's tokens."""
    places = torch.tensor(rows)
    return replace(
        case, input_ids=case.input_ids[places], is_special=case.is_special[places],
        offsets=tuple(case.offsets[i] for i in rows), tokens=tuple(case.tokens[i] for i in rows),
    )  # fmt: skip
