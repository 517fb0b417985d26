"""How far raters agree, from a table of their answers: what `clinlens agreement` does."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from clinlens import __version__
from labeling.agreement import agreement
from labeling.bootstrap import BootstrapConfig
from labeling.label_sets import set_agreement
from labeling.rater_table import TableLevel, parse, ratings_of, scale_of, sets_of
from labeling.scale import Level
from sae.errors import UserError


class TableQuestion(NamedTuple):
    """What is asked of a table."""

    level: TableLevel
    categories: str | None
    """The codebook's, separated by commas, in its order; a name with a comma in double quotes."""
    items: str | None
    """Column that names the items; `-` for none; found out if none is given."""
    cfg: BootstrapConfig


def table_agreement(path: Path, question: TableQuestion) -> dict[str, Any]:
    """Every coefficient of a table, and what it was computed from.

    Args:
        path: CSV file: a row per item, a column per rater, blank where missing.
        question: Level, codebook and intervals.
    """
    raw = read(path)
    names = category_names(question.categories)
    table = parse(text_of(raw, path), question.level, names, question.items)
    if question.level in get_args(Level):
        level: Level = question.level  # type: ignore[assignment]
        scale = scale_of(table, level, names)
        found = agreement(ratings_of(table, scale), scale, question.cfg, raters=table.raters).record()
        found["categories_given"] = names is not None
    else:
        found = set_agreement(sets_of(table, names), question.cfg).record()
    found["raters"] = list(table.raters)
    found["source"] = {"file": path.name, "sha256": hashlib.sha256(raw).hexdigest(), "clinlens": __version__}
    return found


def read(path: Path) -> bytes:
    """The file's bytes."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a CSV table of ratings. Name the file.")
    if not path.is_file():
        raise UserError(f"{path} does not exist, expected a CSV table of ratings. Check the path.")
    return path.read_bytes()


def text_of(raw: bytes, path: Path) -> str:
    """Its text, without a byte order mark."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path.name} is no UTF-8 text, expected a CSV table. Save it as 'CSV UTF-8'.")
    return text


def category_names(text: str | None) -> Sequence[str] | None:
    """Names in the codebook's order."""
    if text is None:
        return None
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if len(names) < 2 or "" in names or len(set(names)) < len(names):
        raise UserError(
            f"--categories names {len(names)} categories, {len(set(names) - {''})} of them different; expected two or more, "
            "separated by commas. Correct it."
        )
    return names


def lines(found: dict[str, Any]) -> list[str]:
    """The figures as a table, and the sentences below it."""
    n = found["n_categories"]
    shown = [
        f"{found['n_items']} items, {found['n_raters']} raters, {found['n_ratings']} ratings; level {found['level']}, "
        f"{'categories not given' if n is None else f'{n} categories'}",
        f"{'coefficient':36}{'value':>9}{'low':>9}{'high':>9}{'items':>8}",
    ]
    shown += [row(name, one) for name, one in found["coefficients"].items()]
    for one in found.get("categories", ()):
        shown.append(row(f"agreement on '{one['name']}'", one["specific_agreement"]))
    for one in found.get("labels", ()):
        shown.append(row(f"alpha of '{one['label']}'", one["alpha"]))
    shown.append(
        f"{100 * found['confidence']:g} % intervals from {found['n_bootstraps']} resamples of the items, seed {found['seed']}."
    )
    reasons = {one["reason"] for one in found["coefficients"].values() if one["reason"]}
    return [*shown, *sorted(reasons), *found.get("notes", ())]


def row(name: str, one: dict[str, Any]) -> str:
    """One coefficient."""
    value, low, high = ("–" if one[key] is None else f"{one[key]:.3f}" for key in ("value", "low", "high"))
    note = "" if one["value"] is None or one["is_reliable"] else "  interval unreliable"
    return f"{name[:35]:36}{value:>9}{low:>9}{high:>9}{one['n_items']:>8}{note}"
