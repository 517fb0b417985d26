"""Protected attributes of a corpus' documents."""

from itertools import islice
from pathlib import Path

from clinlens.clinic.notes import generate
from clinlens.pipeline import EMBEDDED, Run
from hooks.corpus import file_rows, hub_rows
from sae.errors import UserError

OLDER_FROM = 65
"""Years from which the clinic calls somebody an older adult."""


def columns_of(run: Run, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Attribute → its value for each document, empty where unknown.

    The clinic knows sex, age (under 65 or not) and insurance; of another corpus, the named columns.

    Raises:
        UserError: The corpus has no such column.
    """
    rows = clinic_rows(run) if run.cfg.corpus.name == EMBEDDED else corpus_rows(run) if names else []
    wanted = names or (("sex", "age", "insurance") if run.cfg.corpus.name == EMBEDDED else ())
    for name in wanted:
        if not all(name in row for row in rows):
            raise UserError(
                f"The corpus has no column {name!r} in every row, expected an attribute such as sex or race. Correct --attribute."
            )
    return {name: [value_of(row[name]) for row in rows] for name in wanted}


def clinic_rows(run: Run) -> list[dict[str, object]]:
    """What the clinic knows of its patients."""
    return [
        {"sex": note.sex, "insurance": note.insurance, "age": f"{'≥' if note.age >= OLDER_FROM else '<'} {OLDER_FROM}"}
        for note in islice(generate(run.cfg.clinic), run.corpus.max_documents)
    ]


def corpus_rows(run: Run) -> list[dict[str, object]]:
    """The corpus' rows, in the order of its documents."""
    cfg = run.corpus
    path = Path(cfg.name).expanduser()
    return list(islice(file_rows(path, cfg) if path.exists() else hub_rows(cfg), cfg.max_documents))


def value_of(value: object) -> str:
    """A value as text."""
    return "" if value is None else str(value).strip()
