"""Did the model look at what a diagnosis rests on before it answered? Expected findings, the features for them, their layers.

1. A finding is given by annotated spans, by words, or by features that somebody named. For spans and words the features are
   searched at each layer: on half of the patients those with the best AUROC between the finding's mentions and other tokens'
   passages, kept where their AUROC on the other half reaches a threshold.
2. Thresholds are such that a finding's features fire in a declared share of the texts without it, 5 % if nothing else is
   said: what counts as firing is not a matter of any value above nothing.
3. In the texts of a diagnosis a finding is expected where the text affirms it; there it *fired* at a layer if one of its
   features passes its threshold on some token of its mention or after it, and before the answer.
4. Shown for each diagnosis and finding: the share of texts in which it fired, with an interval over patients, the first layer
   at which it did in most, and the same among wrong answers.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.audits.answers import padded, prompt_ids
from analysis.audits.carriers import halves
from analysis.audits.cohort import Cohort
from analysis.audits.config import ProcessConfig
from analysis.audits.expected import Expected, Finding
from analysis.audits.permutation import bootstrap_weights, interval
from analysis.auroc import auroc
from hooks import passage
from hooks.hook_points import HookPoint, parse
from hooks.model import LanguageModel
from hooks.windows import special_ids
from sae.base import SAE
from sae.errors import UserError


class Mention(NamedTuple):
    """A finding in a text."""

    row: int
    """Which text."""
    start: int
    end: int
    """Characters."""
    finding: str


class Detector(NamedTuple):
    """Features that stand for a finding at one layer."""

    finding: str
    hook_point: str
    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    auroc: tuple[float, ...]
    """Held out; empty where features were named."""


class Step(NamedTuple):
    """One finding in the texts of one diagnosis."""

    diagnosis: str
    finding: str
    n: int
    """Texts that affirm it."""
    fired: float
    """Share of them in which it fired at any layer before the answer."""
    low: float
    high: float
    """95 % interval, by resampling patients."""
    by_layer: dict[str, float]
    """Hook point → share."""
    first_layer: str | None
    """The first hook point at which it fired in most of the texts; none where it did at none."""
    fired_when_right: float | None
    fired_when_wrong: float | None
    """The share among right and among wrong answers; none where there are none."""


class Process(NamedTuple):
    """What was found."""

    steps: list[Step]
    detectors: list[Detector]
    without: list[str]
    """Findings for which no layer has a feature good enough."""
    elsewhere: dict[str, float]
    """Finding → share of texts that do not mention it in which it fired: what chance gives."""


def mentions_of(cohort: Cohort, findings: Mapping[str, Finding]) -> list[Mention]:
    """Where each finding is affirmed."""
    found = []
    for row, one in enumerate(cohort.subjects):
        for name, finding in findings.items():
            if finding.spans:
                found += [
                    Mention(row, int(span["start"]), int(span["end"]), name)  # type: ignore[call-overload]
                    for span in one.spans
                    if span["label"] in finding.spans and span.get("status", "affirmed") == "affirmed"
                ]
            elif finding.words:
                found += [Mention(row, *place, name) for place in finding.places(one.prompt)]
    return found


class Tokens(NamedTuple):
    """The tokens of all texts, with their features."""

    row: np.ndarray
    """[n_tokens] which text."""
    start: np.ndarray
    """[n_tokens] first character; −1 for special tokens."""
    end: np.ndarray
    acts: dict[HookPoint, np.ndarray]
    """[n_tokens, d_sae]."""


def read_tokens(lm: LanguageModel, saes: Mapping[HookPoint, SAE], cohort: Cohort) -> Tokens:
    """Every token of every prompt."""
    texts = [one.prompt for one in cohort.subjects]
    encoded = [prompt_ids(lm, text) for text in texts]
    offsets = [places(lm, text, ids) for text, ids in zip(texts, encoded, strict=True)]
    rows, acts = [], {point: [] for point in saes}
    with torch.inference_mode():
        for batch in padded(encoded, lm):
            values = passage.record(lm, saes, batch.input_ids, batch.attention_mask)
            kept = batch.attention_mask.bool()
            for point, sae in saes.items():
                acts[point].append(sae.encode(values[point].float().cpu()[kept]).numpy())
            rows += [row for row in batch.rows for _ in range(len(encoded[row]))]
    chars = np.concatenate([offsets[row] for row in dict.fromkeys(rows)])
    return Tokens(
        np.asarray(rows), chars[:, 0], chars[:, 1], {point: np.concatenate(some) for point, some in acts.items()}
    )


def places(lm: LanguageModel, text: str, ids: Sequence[int]) -> np.ndarray:
    """[n, 2] first and end character of each token; −1 for special ones."""
    encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = np.asarray(encoded["offset_mapping"]).reshape(-1, 2)
    offsets = np.concatenate([np.full((len(ids) - len(offsets), 2), -1), offsets])
    offsets[np.isin(ids, special_ids(lm.tokenizer))] = -1
    return offsets


def process(
    lm: LanguageModel, saes: Mapping[HookPoint, SAE], cohort: Cohort, expected: Expected, probabilities: np.ndarray,
    cfg: ProcessConfig,
) -> Process:  # fmt: skip
    """Looks for every expected finding in the texts of every diagnosis.

    Args:
        lm: The model.
        saes: Its autoencoders, in the order of the layers.
        cohort: The texts.
        expected: What is expected of which diagnosis.
        probabilities: [n, n_answers].
        cfg: Sizes.

    Raises:
        UserError: A diagnosis is no answer, a finding has no mention, or a named feature does not exist.
    """
    refuse_unknown(expected, cohort, saes)
    tokens = read_tokens(lm, saes, cohort)
    mentions = mentions_of(cohort, expected.findings)
    detectors = detectors_of(expected.findings, tokens, mentions, halves(cohort, cfg.seed)[tokens.row], cfg)
    fired = {name: firing(name, detectors, tokens, mentions, len(cohort)) for name in expected.findings}
    has = {name: np.isin(np.arange(len(cohort)), [m.row for m in mentions if m.finding == name]) for name in fired}
    truth, is_right = cohort.truth(), probabilities.argmax(1) == cohort.truth()
    steps = []
    for diagnosis, names in expected.diagnoses.items():
        is_diagnosis = truth == cohort.answers.index(diagnosis)
        steps += [
            step(
                diagnosis,
                name,
                is_diagnosis & (has[name] if has[name].any() else True),
                fired[name],
                is_right,
                cohort,
                cfg,
            )
            for name in names
        ]
    with_detectors = {one.finding for one in detectors}
    elsewhere = {
        name: float(np.any(list(by.values()), axis=0)[~has[name]].mean())
        for name, by in fired.items()
        if by and (~has[name]).any()
    }
    return Process(steps, detectors, [name for name in expected.findings if name not in with_detectors], elsewhere)


def step(
    diagnosis: str, finding: str, where: np.ndarray, by_layer: dict[str, np.ndarray], is_right: np.ndarray, cohort: Cohort,
    cfg: ProcessConfig,
) -> Step:  # fmt: skip
    """One finding in the texts of one diagnosis."""
    rows = np.flatnonzero(where)
    anywhere = np.any(list(by_layer.values()), axis=0) if by_layer else np.zeros(len(where), bool)
    shares = {point: float(some[rows].mean()) if len(rows) else 0.0 for point, some in by_layer.items()}
    weights = (
        bootstrap_weights([cohort.patients[row] for row in rows], cfg.n_bootstraps, cfg.seed) if len(rows) else None
    )
    bounds = (float("nan"),) * 2 if weights is None else interval(weights @ anywhere[rows] / weights.sum(1))
    kinds = [anywhere[rows][is_right[rows] == kind] for kind in (True, False)]
    right, wrong = (float(some.mean()) if len(some) else None for some in kinds)
    first = next((point for point, share in shares.items() if share > 0.5), None)
    return Step(
        diagnosis,
        finding,
        len(rows),
        float(anywhere[rows].mean()) if len(rows) else 0.0,
        bounds[0],
        bounds[1],
        shares,
        first,
        right,
        wrong,
    )


def detectors_of(
    findings: Mapping[str, Finding],
    tokens: Tokens,
    mentions: Sequence[Mention],
    chooses: np.ndarray,
    cfg: ProcessConfig,
) -> list[Detector]:
    """The features of each finding, at each layer that has good ones.

    Args:
        findings: By name.
        tokens: Of all texts.
        mentions: Of all findings.
        chooses: [n_tokens] bool: tokens of the patients that choose features.
        cfg: Sizes and thresholds.

    Raises:
        UserError: A finding that is to be searched has too few mentions.
    """
    inside = {name: inside_of(name, tokens, mentions) for name in findings}
    is_text = tokens.start >= 0
    wanted = [name for name, finding in findings.items() if not finding.features]
    for name in wanted:
        refuse_few(name, inside[name], chooses, cfg)
    found = []
    for point, acts in tokens.acts.items():
        good = searched(acts, np.asarray([inside[name] for name in wanted]), chooses, is_text, cfg) if wanted else []
        some = dict(zip(wanted, good, strict=True))
        for name, finding in findings.items():
            features, values = some.get(name) or (finding.features.get(str(point), ()), ())
            if len(features):
                limits = thresholds(name, acts[:, list(features)], inside[name], tokens.row, cfg)
                found.append(
                    Detector(name, str(point), tuple(map(int, features)), tuple(map(float, limits)), tuple(values))
                )
    return found


def thresholds(name: str, acts: np.ndarray, inside: np.ndarray, row: np.ndarray, cfg: ProcessConfig) -> np.ndarray:
    """[n_features] values that the features pass in few of the texts without the finding, all of them together.

    Raises:
        UserError: Every text has the finding.
    """
    largest = np.full((row.max() + 1, acts.shape[1]), -np.inf)
    np.maximum.at(largest, row, acts)
    without = np.setdiff1d(np.unique(row), row[inside])
    if not len(without):
        raise UserError(
            f"Every text has the finding {name!r}, expected some without it, which tell when its features fire by chance. "
            "Add texts."
        )
    return np.quantile(largest[without], 1 - cfg.false_alarm / acts.shape[1], axis=0)


def searched(
    acts: np.ndarray, inside: np.ndarray, chooses: np.ndarray, is_text: np.ndarray, cfg: ProcessConfig
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """For each finding the features chosen on one half of the patients and kept by the other, with their AUROC there."""
    first, second = (auroc(acts[half & is_text], inside[:, half & is_text]) for half in (chooses, ~chooses))
    found = []
    for row in range(len(inside)):
        best = np.argsort(-first[row], kind="stable")[: cfg.n_features]
        kept = [int(i) for i in best if second[row, i] >= cfg.auroc]
        found.append((tuple(kept), tuple(round(float(second[row, i]), 4) for i in kept)))
    return found


def refuse_few(name: str, inside: np.ndarray, chooses: np.ndarray, cfg: ProcessConfig) -> None:
    """Stops at a finding that is mentioned too seldom.

    Raises:
        UserError: It is.
    """
    counts = int((inside & chooses).sum()), int((inside & ~chooses).sum())
    if min(counts) < cfg.min_mentions:
        raise UserError(
            f"The finding {name!r} has {counts[0]} and {counts[1]} tokens in the two halves of the patients, expected at least "
            f"{cfg.min_mentions} in each. Take more texts (--texts), correct its spans or words, or name its features."
        )


def inside_of(name: str, tokens: Tokens, mentions: Sequence[Mention]) -> np.ndarray:
    """[n_tokens] bool: tokens of the finding's mentions."""
    found = np.zeros(len(tokens.row), bool)
    by_row: dict[int, list[Mention]] = {}
    for one in mentions:
        if one.finding == name:
            by_row.setdefault(one.row, []).append(one)
    order = np.argsort(tokens.row, kind="stable")
    ordered = tokens.row[order]
    for row, some in by_row.items():
        rows = order[np.searchsorted(ordered, row) : np.searchsorted(ordered, row, side="right")]
        for one in some:
            found[rows[(tokens.end[rows] > one.start) & (tokens.start[rows] < one.end) & (tokens.start[rows] >= 0)]] = (
                True
            )
    return found


def firing(
    name: str, detectors: Sequence[Detector], tokens: Tokens, mentions: Sequence[Mention], n: int
) -> dict[str, np.ndarray]:
    """Hook point → [n_texts] bool: whether the finding fired, on its mention or after it; anywhere, where it has none."""
    begins = np.zeros(n)
    for one in sorted((m for m in mentions if m.finding == name), key=lambda m: -m.start):
        begins[one.row] = one.start
    counts = (tokens.start >= 0) & (tokens.end > begins[tokens.row])
    found = {}
    for one in detectors:
        if one.finding == name:
            acts = tokens.acts[parse(one.hook_point)][:, list(one.features)]
            passes = (acts > np.asarray(one.thresholds)).any(1) & counts
            found[one.hook_point] = np.bincount(tokens.row[passes], minlength=n) > 0
    return found


def refuse_unknown(expected: Expected, cohort: Cohort, saes: Mapping[HookPoint, SAE]) -> None:
    """Stops at a diagnosis or feature that does not exist.

    Raises:
        UserError: There is one.
    """
    for diagnosis in expected.diagnoses:
        if diagnosis not in cohort.answers:
            near = difflib.get_close_matches(diagnosis, cohort.answers, n=1)
            hint = f"did you mean {near[0]!r}" if near else f"expected one of {', '.join(cohort.answers)}"
            raise UserError(f"The diagnosis {diagnosis!r} is no answer of the cohort, {hint}. Correct or remove it.")
    sizes = {str(point): sae.d_sae for point, sae in saes.items()}
    for name, finding in expected.findings.items():
        for point, features in finding.features.items():
            if point not in sizes or not all(0 <= one < sizes[point] for one in features):
                raise UserError(
                    f"The finding {name!r} names features {list(features)} at {point!r}, expected numbers below d_sae at one of "
                    f"{', '.join(sizes)}. Correct them, or audit the run they are from."
                )


def record(found: Process) -> dict[str, Any]:
    """The process as JSON."""
    return {
        "steps": [one._asdict() for one in found.steps],
        "detectors": [one._asdict() for one in found.detectors],
        "findings_without_features": found.without,
        "fired_where_not_mentioned": found.elsewhere,
    }
