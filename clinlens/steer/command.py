"""From the options of the command line to a record, a page, a kept profile, and a few lines to read."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.attribution.record import now
from analysis.attribution.target_request import TargetRequest
from analysis.steering import profile as profiles
from analysis.steering.change import DOSES, Change, Mode
from analysis.steering.profile import ModelStamp, Profile
from analysis.steering.steering import Steering, refuse_no_head
from clinlens import config as configs
from clinlens.attribution.cases import Asked, read_cases, read_text
from clinlens.pipeline import Run
from clinlens.steer import page
from clinlens.steer.config import SteerConfig
from clinlens.steer.measure import Measured, measure
from clinlens.steer.sites import sites, split
from hooks.model import load
from hooks.store import Store
from sae.errors import UserError

N_SHOWN = 3
CAVEAT = "Research software: what changing features does to this model on these texts, no statement about patients."


def steer_command(place: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        given: The command line's options by name.

    Raises:
        UserError: The options do not fit together, or what they name is not there.
    """
    run = Run(configs.read(place))
    folder = given["profiles"] or run.folder / profiles.FOLDER
    cfg = settings(given)
    doses, kept = doses_of(given, folder)
    asked = asked_of(given)
    if given["save_profile"] is not None:
        refuse_unclear_profile(doses, given)
        profiles.refuse_taken(folder, given["save_profile"])
    lm = load(run.model)
    refuse_no_head(lm)
    ids = {change.hook_point: change.sae_id for change in kept.changes} if kept else {}
    points = dict.fromkeys(change.hook_point for change in doses[0])
    found = sites(run, lm, [(point, ids.get(point, given["sae_id"])) for point in points])
    if kept is not None:
        profiles.refuse_foreign(kept, lm, found)
    unrelated = read_cases(given["unrelated"], TargetRequest()) if given["unrelated"] is not None else []
    measured = measure(run, Steering(lm, found, doses[0]), doses, asked, unrelated, cfg)
    record = measured.record | {"profile": None if kept is None else kept.model_dump(mode="json"), "caveat": CAVEAT}
    files = []
    if given["save_profile"] is not None:
        files.append(profiles.write(profile_of(run, measured, asked, found, given, cfg), folder))
    if given["report"] is not None:
        page.write(given["report"], record)
        files.append(given["report"])
    return record | {"files": list(map(str, files))}


def settings(given: dict[str, Any]) -> SteerConfig:
    """Sizes and limits, those of the command line in the place of the defaults."""
    names = {
        "controls": "n_controls", "generate": "n_tokens", "temperature": "temperature", "seed": "seed",
        "held_out_tokens": "held_out_tokens", "destroys_at": "destroys_at",
    }  # fmt: skip
    return SteerConfig(**{key: given[name] for name, key in names.items() if given[name] is not None})


def doses_of(given: dict[str, Any], folder: Path) -> tuple[list[tuple[Change, ...]], Profile | None]:
    """The changes of each strength, and the profile they come from.

    Raises:
        UserError: Neither features nor a profile, both, or a strength that the mode does not have.
    """
    if (given["profile"] is None) == (not given["features"]):
        both = "Both --profile and --feature" if given["features"] else "Neither --profile nor --feature"
        raise UserError(f"{both} given, expected one of them. Name features to change, or a profile that was kept.")
    if given["profile"] is not None:
        if given["mode"] is not None or given["strengths"]:
            raise UserError("--mode or --strength given with --profile, which has its own. Leave them out.")
        kept = profiles.read(folder, given["profile"])
        return [tuple(one.change for one in kept.changes)], kept
    mode: Mode | None = given["mode"]
    if mode is None:
        raise UserError("--feature given without --mode, expected amplify, suppress or clamp. Add one.")
    features = [split(feature) for feature in given["features"]]
    return [
        tuple(changed(point, number, mode, strength) for point, number in features)
        for strength in strengths_of(given["strengths"]) or DOSES[mode]
    ], None


def strengths_of(given: Sequence[str]) -> tuple[float, ...]:
    """Strengths as `1,2,4`, each once, in rising order.

    Raises:
        UserError: One is no number.
    """
    words = [word.strip() for one in given for word in one.split(",") if word.strip()]
    try:
        return tuple(sorted({float(word) for word in words}))
    except ValueError:
        raise UserError(
            f"--strength is {', '.join(words)}, expected numbers such as 0.5 or 1,2,4. Correct it."
        ) from None


def changed(point: str, feature: int, mode: Mode, strength: float) -> Change:
    """One change.

    Raises:
        UserError: The mode has no such strength.
    """
    try:
        return Change(hook_point=point, feature=feature, mode=mode, strength=strength)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--strength {strength:g}: {message}. Correct it.") from None


def asked_of(given: dict[str, Any]) -> list[Asked]:
    """The cases of the command line.

    Raises:
        UserError: Neither a text nor cases, or both.
    """
    request = TargetRequest(continuation=given["target"], contrast=given["contrast"])
    if (given["text"] is None) == (given["cases"] is None):
        both = "Both --text and --cases" if given["text"] is not None else "Neither --text nor --cases"
        raise UserError(f"{both} given, expected one of them. Name a file.")
    return read_text(given["text"], request) if given["text"] is not None else read_cases(given["cases"], request)


def refuse_unclear_profile(doses: Sequence[Sequence[Change]], given: dict[str, Any]) -> None:
    """Stops before a profile is kept whose strength or origin is not clear.

    Raises:
        UserError: Several strengths were given, or a profile.
    """
    if given["profile"] is not None:
        raise UserError("--save-profile and --profile given, expected features to keep. Name them with --feature.")
    if len(doses) != 1:
        raise UserError(
            f"--save-profile with {len(doses)} strengths, expected the one to keep. Give it with --strength."
        )


def profile_of(
    run: Run, measured: Measured, asked: Sequence[Asked], found: Any, given: dict[str, Any], cfg: SteerConfig
) -> Profile:
    """What is kept."""
    dose, costs = measured.curve.doses[0], measured.costs[0]
    answers = {(one.target or one.continuation, one.contrast) for one in asked}
    answer, contrast = answers.pop() if len(answers) == 1 else (None, None)
    effect = profiles.effect_of(dose, costs, measured.curve.clean_probability, answer, contrast)
    return Profile(
        name=given["save_profile"], note=given["note"], model=ModelStamp(**load(run.model).fingerprint),
        changes=profiles.kept(dose.changes, found), effect=effect.model_copy(update={"warnings": measured.warnings[0]}),
        store_id=Store.open(run.folder / "acts").id, seed=cfg.seed, clinlens=version("clinlens"), created_at=now(),
    )  # fmt: skip


def lines(found: dict[str, Any]) -> list[str]:
    """The curve as a table, a few generated texts, and what is wrong, for people."""
    clean = found["clean_probability"]["value"]
    rows = [f"clean model: probability of the answer {shown(clean)}"]
    rows.append(
        "strength     probability   log-odds change       controls (95 %)      p      perplexity   KL unrelated"
    )
    for dose in found["doses"]:
        change, controls, costs = dose["change"], dose["controls"], dose["side_effects"]
        beside = "–" if controls is None else f"{controls['low']:+.3f} to {controls['high']:+.3f}"
        p_value = "–" if controls is None else f"{controls['p_value']:.3f}"
        strength = "profile" if dose["strength"] is None else f"{dose['strength']:g}"
        moved = "–" if change["value"] is None else f"{change['value']:+.3f}"
        if change["low"] is not None:
            moved += f" [{change['low']:+.3f}, {change['high']:+.3f}]"
        rows.append(
            f"{strength:12} {shown(dose['probability']['value']):13} {moved:21} {beside:20} {p_value:6} "
            f"× {costs['perplexity_ratio']:<10.4f} {costs['kl_unrelated']['value']:.4f}"
        )
    for case in found["cases"][:N_SHOWN]:
        for each in case["generated"]:
            which = "clean" if each["dose"] is None else f"dose {each['dose'] + 1}"
            rows.append(f"{case['id']:12} {which:8} {each['text']!r}")
    rows += [f"WARNING: {words}" for dose in found["doses"] for words in dose["warnings"]]
    return [*rows, *(f"wrote {path}" for path in found["files"]), found["caveat"]]


def shown(value: float | None) -> str:
    """A probability."""
    return "–" if value is None else f"{value:.4f}"
