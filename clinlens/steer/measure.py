"""From a run, cases and changes to one record: answers, curve, controls, side effects, warnings."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.case import Case
from analysis.attribution.record import now
from analysis.steering.answers import Question
from analysis.steering.change import Change
from analysis.steering.controls import FeatureTable, refuse_silent
from analysis.steering.dose import Curve, control_sets, curve
from analysis.steering.generation import generated
from analysis.steering.side_effects import SideEffects, side_effects
from analysis.steering.steering import Steering
from clinlens.attribution.cases import Asked
from clinlens.pipeline import Run, progress
from clinlens.steer.config import SteerConfig
from clinlens.steer.sites import tables
from hooks.model import LanguageModel
from hooks.store import Store
from hooks.windows import Batch
from sae.errors import UserError
from training.evaluation import held_out_batches


class Measured(NamedTuple):
    """Everything that was found."""

    curve: Curve
    costs: tuple[SideEffects, ...]
    """Of each dose."""
    warnings: tuple[tuple[str, ...], ...]
    """Of each dose."""
    record: dict[str, Any]
    """All of it as JSON, with the generated texts."""


def measure(
    run: Run, steering: Steering, doses: Sequence[Sequence[Change]], asked: Sequence[Asked], unrelated: Sequence[Asked],
    cfg: SteerConfig,
) -> Measured:  # fmt: skip
    """Measures changes.

    Args:
        run: The run.
        steering: Its model and autoencoders.
        doses: The changes of each strength.
        asked: Cases, with an answer to watch where they name one.
        unrelated: Prompts whose answers should stay; beginnings of held-out documents if none.
        cfg: Sizes and limits.
    """
    lm = steering.lm
    started, questions = now(), [question(lm, one) for one in asked]
    windows = list(held_out_batches(Store.open(run.folder / "acts"), lm, cfg.held_out_tokens))
    refuse_no_windows(windows)
    others = [question(lm, one) for one in unrelated[: cfg.n_unrelated]] or prompts_of(windows, lm, cfg.n_unrelated)
    known = tables(run, steering.sites, cfg.feature_rows)
    doses = [tuple(scaled(change, known) for change in changes) for changes in doses]
    sets = control_sets(doses[0], known, cfg.n_controls, cfg.seed)
    n_shown = len(asked) * (len(doses) + 1) if cfg.n_tokens else 0
    with progress("steer", 2 * len(doses) + n_shown, "step") as done:
        found = curve(steering, questions, doses, sets, cfg.seed)
        done(len(doses))
        costs = side_effects([steering.with_changes(changes) for changes in doses], windows, others, cfg.seed)
        done(len(doses))
        written = [written_by(steering, one.case, doses, cfg, done) for one in questions] if cfg.n_tokens else []
    warned = tuple(warnings_of(dose, cost, written, number + 1, cfg) for number, (dose, cost) in enumerate(
        zip(doses, costs, strict=True)
    ))  # fmt: skip
    record = {
        "created_at": started, "model": lm.fingerprint, "store_id": Store.open(run.folder / "acts").id,
        "saes": [{"hook_point": s.hook_point, "sae_id": s.sae_id, "hash": s.weight_hash} for s in steering.sites],
        "features": [feature_record(change, known) for change in doses[0]],
        "control_sets": [list(one) for one in found.controls],
        "clean_probability": found.clean_probability.record(),
        "doses": [
            dose.record() | {"side_effects": cost.record(), "warnings": list(words)}
            for dose, cost, words in zip(found.doses, costs, warned, strict=True)
        ],
        "cases": case_records(asked, questions, found, written, doses),
        "n_unrelated": len(others), "settings": cfg.model_dump(mode="json"), "clinlens": version("clinlens"),
    }  # fmt: skip
    return Measured(found, costs, warned, record)


def question(lm: LanguageModel, asked: Asked) -> Question:
    """A case with the answer it names.

    Raises:
        UserError: It names something that is no answer, or the text is not to be read.
    """
    if asked.features or asked.class_name or asked.generate:
        raise UserError(
            f"The case {asked.id!r} asks for a feature, a class or a generated answer, expected a target or a continuation whose "
            "probability is watched. Correct it."
        )
    case = cases.read(asked.text, lm, name=asked.id)
    answer = asked.target or asked.continuation
    if answer is None:
        return Question(case)
    found = targets.continuation(case, lm, answer)
    contrast = None if asked.contrast is None else tuple(targets.tokens_after(case, lm, asked.contrast))
    return Question(case, found.token_ids, contrast)


def prompts_of(windows: Sequence[Batch], lm: LanguageModel, most: int) -> list[Question]:
    """Beginnings of held-out windows, the first half of each, as prompts."""
    found: list[Question] = []
    for batch in windows:
        for ids, mask, special in zip(batch.input_ids, batch.attention_mask, batch.is_special, strict=True):
            n = max(int(mask.sum()) // 2, 1)
            case = Case(
                "", ids[:n], ((-1, -1),) * n, special[:n], tuple(targets.shown(lm.tokenizer, int(i)) for i in ids[:n])
            )
            found.append(Question(case))
    order = torch.linspace(0, len(found) - 1, min(most, len(found))).round().int().unique().tolist()
    return [found[i] for i in order]


def scaled(change: Change, known: dict[str, FeatureTable]) -> Change:
    """A change whose unit is known: of a clamp, the feature's largest activation, unless a profile brought it."""
    table = known[change.hook_point]
    refuse_silent(table, change.feature, change.hook_point)
    if change.mode != "clamp" or "scale" in change.model_fields_set:
        return change
    return change.model_copy(update={"scale": float(table.largest[change.feature])})


def written_by(
    steering: Steering, case: Case, doses: Sequence[Sequence[Change]], cfg: SteerConfig, done: Any
) -> list[Any]:
    """What the clean model writes after a case, then what each dose does."""
    found = []
    for changes in ((), *doses):
        found.append(
            generated(steering.with_changes(changes), case, cfg.n_tokens, temperature=cfg.temperature, seed=cfg.seed)
        )
        done(1)
    return found


def warnings_of(
    changes: Sequence[Change], cost: SideEffects, written: Sequence[Sequence[Any]], column: int, cfg: SteerConfig
) -> tuple[str, ...]:
    """What is wrong with a dose: text that it destroys, with the perplexity that says so."""
    found = []
    strength = ", ".join(sorted({f"{change.mode} {change.strength:g}" for change in changes}))
    if cost.ratio >= cfg.destroys_at:
        found.append(
            f"At {strength} the perplexity of held-out text is {cost.perplexity.value:.4g} against {cost.clean_perplexity:.4g} "
            f"of the clean model (× {cost.ratio:.3g}), expected less than × {cfg.destroys_at:g}: it destroys the text. "
            "Lower --strength."
        )
    limit = cfg.destroys_at * cost.clean_perplexity
    broken = [
        row[column].perplexity
        for row in written
        if row[column].perplexity > max(limit, row[0].perplexity * cfg.destroys_at)
    ]
    if broken:
        found.append(
            f"At {strength} {len(broken)} of {len(written)} generated texts have a perplexity above {limit:.4g} under the clean "
            f"model (the largest {max(broken):.4g}), expected texts as likely as held-out ones. Read them, or lower --strength."
        )
    return tuple(found)


def feature_record(change: Change, known: dict[str, FeatureTable]) -> dict[str, Any]:
    """A steered feature and what it does on held-out text."""
    table = known[change.hook_point]
    figures = {name: float(getattr(table, name)[change.feature]) for name in ("density", "size", "largest")}
    return {"hook_point": change.hook_point, "feature": change.feature, "mode": change.mode, **figures}


def case_records(
    asked: Sequence[Asked], questions: Sequence[Question], found: Curve, written: Sequence[Sequence[Any]],
    doses: Sequence[Sequence[Change]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Each case: its answer, how it moved at each dose, and what was generated."""
    rows = []
    for number, (one, made) in enumerate(zip(asked, questions, strict=True)):
        moved = [float(dose.per_case[number]) if made.answer_ids else None for dose in found.doses]
        texts = written[number] if written else []
        rows.append(
            {
                "id": one.id, "answer": one.target or one.continuation, "contrast": one.contrast,
                "log_odds_change": moved,
                "generated": [
                    {"dose": None if column == 0 else column - 1, "text": each.text, "perplexity": each.perplexity}
                    for column, each in enumerate(texts)
                ],
            }
        )  # fmt: skip
    return rows


def refuse_no_windows(windows: Sequence[Batch]) -> None:
    """Stops where side effects cannot be measured.

    Raises:
        UserError: There is no held-out text.
    """
    if not windows:
        raise UserError(
            "The run holds no held-out document, expected some to measure side effects on. Raise corpus.held_out."
        )
