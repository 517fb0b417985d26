"""Reading texts or naming images: a hub dataset, files, or documents that are handed in.

Local files are streamed, so that no copy of patient text is left in a cache folder. Errors name row numbers and
columns, never what is written in them.
"""

import csv
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import xxhash

from hooks import images
from hooks.config import CorpusConfig
from hooks.images import ImageFile
from sae.errors import UserError

Split = Literal["train", "held_out"]
READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".txt": "text"}
"""File ending → `datasets` reader."""
Render = Callable[[int, Any], str]
"""From a row number and what `messages_column` holds there to the document's text; see hooks.chat."""
COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Document:
    """One text, before the model's tokenizer has seen it, or one image."""

    index: int
    """Row number in the corpus, from 0."""
    id: str
    """Its name, from `id_column` or the row number."""
    text: str
    group: str | None = None
    """Patient, or whatever else must not be split apart."""
    spans: tuple[dict[str, Any], ...] = field(default=())
    """Annotated passages: {start, end, label, …}, in characters."""
    image: ImageFile | None = None
    """The file that is read in the place of a text, which is then empty."""

    @property
    def content(self) -> str:
        """What makes two documents equal: the text, or the hash of the image's bytes."""
        return self.text if self.image is None else self.image.hash


def read(cfg: CorpusConfig, render: Render | None = None) -> list[Document]:
    """All documents of a corpus, in order.

    Args:
        cfg: Which corpus.
        render: What writes out its dialogues, where it has `messages_column`.

    Raises:
        UserError: The corpus is not to be had, empty, or lacks a column.
    """
    path = Path(cfg.name).expanduser()
    pictures = images.inside(path) if cfg.image_column is None and not tables_in(path) else []
    if pictures:
        names = ({images.COLUMN: str(file.relative_to(path))} for file in pictures)
        return documents(names, cfg.model_copy(update={"image_column": images.COLUMN}))
    rows = file_rows(path, cfg) if path.exists() else hub_rows(cfg)
    return documents(rows, cfg, render)


def documents(rows: Iterable[dict[str, Any]], cfg: CorpusConfig, render: Render | None = None) -> list[Document]:
    """Turns rows with columns into documents.

    Raises:
        UserError: A column is missing, a text is no text, or there is no row.
    """
    found = [document(index, row, cfg, render) for index, row in enumerate(islice(rows, cfg.max_documents))]
    if not found:
        raise UserError(
            f"The corpus {cfg.name!r} has no documents, expected at least one. Check the file, corpus.split and corpus.subset."
        )
    return found


def document(index: int, row: dict[str, Any], cfg: CorpusConfig, render: Render | None) -> Document:
    """One row as a document."""
    kinds = ("image_column", "messages_column")
    content = next((kind for kind in kinds if getattr(cfg, kind) is not None), "text_column")
    for setting in (content, "id_column", "group_column", "span_column"):
        column = getattr(cfg, setting)
        if column is not None and column not in row:
            raise UserError(
                f"The corpus {cfg.name!r} has no column {column!r}, expected {named(sorted(row))}. "
                f"Correct corpus.{setting}."
            )
    return Document(
        index=index,
        id=str(row[cfg.id_column]) if cfg.id_column else str(index),
        text=text_of(index, row, cfg, render) if cfg.image_column is None else "",
        group=str(row[cfg.group_column]) if cfg.group_column and row[cfg.group_column] not in (None, "") else None,
        spans=checked_spans(index, row[cfg.span_column], cfg) if cfg.span_column else (),
        image=None if cfg.image_column is None else images.image_file(index, row[cfg.image_column], cfg),
    )


def text_of(index: int, row: dict[str, Any], cfg: CorpusConfig, render: Render | None) -> str:
    """A row's text, or its dialogue written out."""
    if cfg.messages_column is not None:
        if render is None:
            raise ValueError("dialogues need something that writes them out, see hooks.chat.renderer")
        return render(index, row[cfg.messages_column])
    text = "" if row[cfg.text_column] is None else row[cfg.text_column]
    if not isinstance(text, str):
        raise UserError(
            f"Row {index} of {cfg.name!r} has {type(text).__name__} in column {cfg.text_column!r}, expected text. "
            "Remove the row or correct corpus.text_column."
        )
    return text


def named(columns: list[str]) -> str:
    """The columns there are, unless they look like a row of data: then their names could hold patient text."""
    if all(COLUMN_NAME.fullmatch(column) for column in columns):
        return f"one of {', '.join(columns)}"
    return f"one of its {len(columns)} columns, whose names look like data: is there a header line?"


def checked_spans(index: int, spans: Any, cfg: CorpusConfig) -> tuple[dict[str, Any], ...]:
    """Annotated spans, each with its bounds and its label."""
    spans = [] if spans in (None, "") else spans
    keys = {"start": int, "end": int, "label": str}
    if not isinstance(spans, list) or not all(
        isinstance(span, dict) and all(isinstance(span.get(key), kind) for key, kind in keys.items()) for span in spans
    ):
        raise UserError(
            f"Row {index} of {cfg.name!r} has no list of spans in column {cfg.span_column!r}, expected "
            "[{start, end, label}, …] with whole numbers and a text, as JSONL or Parquet can hold. "
            "Correct the column or corpus.span_column."
        )
    return tuple(spans)


def file_rows(path: Path, cfg: CorpusConfig) -> Iterator[dict[str, Any]]:
    """Rows of one file, or of all files of one kind in a folder, by name."""
    files = tables_in(path) if path.is_dir() else [path]
    kinds = {READERS.get(file.suffix.lower()) for file in files}
    if len(kinds) != 1 or None in kinds:
        found = ", ".join(sorted({file.suffix or "no ending" for file in files})) or "no files"
        raise UserError(
            f"The corpus {cfg.name!r} has {found}, expected files of one kind of {', '.join(READERS)}, "
            f"or a folder of images ({', '.join(images.ENDINGS)}). Correct corpus.name."
        )
    yield from streamed([str(file) for file in files], kinds.pop() or "", cfg)


def tables_in(folder: Path) -> list[Path]:
    """Files in a folder, and the folders in it, that hold texts or name images; none if it is no folder."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in READERS)


def header_of(file: str, separator: str) -> list[str]:
    """The column names in the first line of a table; none if it cannot be read, which its reader then says."""
    with Path(file).open(encoding="utf-8", errors="replace", newline="") as lines:
        return next(csv.reader(lines, delimiter=separator), [])


def is_utf8(file: str) -> bool:
    """Whether a file's bytes are UTF-8."""
    try:
        Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def streamed(files: list[str], reader: str, cfg: CorpusConfig) -> list[dict[str, Any]]:
    """Rows of files by a `datasets` reader."""
    from datasets import Features, Value, load_dataset  # slow to import

    options: dict[str, Any] = {"sample_by": cfg.text_unit} if reader == "text" else {}
    if reader == "csv":  # as text: guessed types would tell "007" from "7.0" and make two patients of one
        separator = "\t" if files[0].lower().endswith(".tsv") else ","
        features = Features(dict.fromkeys(header_of(files[0], separator), Value("string")))
        options = {"features": features, "keep_default_na": False, "index_col": False, "sep": separator}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Length of header")  # pandas' word for a row with more fields than columns
            rows = load_dataset(reader, data_files=files, split="train", streaming=True, **options)
            return list(islice(rows, cfg.max_documents))
    except Exception as error:  # the readers raise a dozen unrelated classes, with the offending text in them
        foreign = next((file for file in files if reader != "parquet" and not is_utf8(file)), None)
        if foreign is not None:
            raise UserError(
                f"{foreign} is no UTF-8 text, expected that encoding. Convert it, e.g. with iconv."
            ) from None
        raise UserError(
            f"The corpus {cfg.name!r} cannot be read as {reader} ({type(error).__name__}). "
            "Check that every row is whole and has the same columns."
        ) from None


def hub_rows(cfg: CorpusConfig) -> Iterator[dict[str, Any]]:
    """Rows of a hub dataset, streamed."""
    from datasets import load_dataset

    if Path(cfg.name).suffix.lower() in READERS or cfg.name.startswith((".", "/", "~")):
        raise UserError(
            f"corpus.name {cfg.name!r} does not exist, expected a file, a folder or a hub dataset. Correct the path."
        )
    try:
        yield from load_dataset(cfg.name, cfg.subset, split=cfg.split, streaming=True)
    except UserError:
        raise
    except Exception as error:  # as above, with the network's own beside them
        raise UserError(
            f"The corpus {cfg.name!r} is no local file and the hub did not give it ({type(error).__name__}). "
            "Check the name, corpus.subset, corpus.split and the network."
        ) from None


def corpus_hash(docs: list[Document]) -> str:
    """One hash over all texts or images and groups, in order."""
    digest = xxhash.xxh3_128()
    for doc in docs:
        for part in (doc.content, doc.group or ""):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def split(docs: list[Document], held_out: float, seed: int) -> list[Split]:
    """Train or held-out, for each document; equal texts and one patient's documents stay on one side.

    Units of documents are ordered by a hash and taken until their share is reached, so that a document keeps
    its side when others are added, nearly always.
    """
    units = bundles(docs)
    members: dict[int, int] = {}
    for unit in units:
        members[unit] = members.get(unit, 0) + 1
    ranked = sorted(members, key=lambda unit: xxhash.xxh3_64_intdigest(docs[unit].content.encode(), seed=seed))
    wanted, taken, held = held_out * len(docs), 0, set[int]()
    for unit in ranked[:-1]:
        if taken >= wanted:
            break
        held.add(unit)
        taken += members[unit]
    return ["held_out" if unit in held else "train" for unit in units]


def bundles(docs: list[Document]) -> list[int]:
    """For each document the first one it must stay together with: same words, or same patient, at any remove."""
    parent = list(range(len(docs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, doc in enumerate(docs):
        keys = [("text", " ".join(doc.content.lower().split()))] + ([("group", doc.group)] if doc.group else [])
        for key in keys:
            a, b = root(first.setdefault(key, index)), root(index)
            parent[max(a, b)] = min(a, b)
    return [root(index) for index in range(len(docs))]
