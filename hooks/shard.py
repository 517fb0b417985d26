"""One shard of the activation store: an HDF5 file of consecutive documents.

    acts/<hook_point>   [n_tokens, width]  float16, float32, or bfloat16 kept as uint16 (attribute dtype="bfloat16")
    norm/<hook_point>   [n_tokens]         float32, Euclidean norm of each row before rounding
    sum/<hook_point>    [width]            float64, sum over the rows that are no special tokens; attribute
                                           "n, sum_norms, sum_squares" is of the same rows
    token_id, document, position, char_start, char_end  [n_tokens] int32
    is_special          [n_tokens]         uint8, 1 for BOS, CLS, SEP and their kin

`position` counts a document's rows from 0; its windows follow each other: the first has `context_tokens` rows, every
other one `context_tokens − overlap_tokens`. Datasets are contiguous and uncompressed: h5py reads them, and so does a plain
file read at their offset, which is what `ShardReader` does, since h5py takes one lock for the whole process.
"""

import errno
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from sae import artefact
from sae.errors import UserError

FORMAT_VERSION = 2
INDEX_COLUMNS = ("token_id", "document", "position", "char_start", "char_end", "is_special")
FLOAT16_MAX = 65504.0
NO_OVERFLOW = 65000.0
"""A row of this norm holds no entry above FLOAT16_MAX, however the norm was rounded."""
MOST_FILES = 64
"""Shards held open by one thread at a time."""
SUM_ROWS = 4096
"""Rows summed at once, so that their float64 copies stay small."""
INDEX_BYTES = 5 * 4 + 1
"""Bytes of a row beside its activations and norms."""
HEADER_BYTES = 16_384
"""Bytes of a shard beside its rows, about."""


class Sums(NamedTuple):
    """Sums over rows that are no special tokens, for normalisation."""

    n: int
    """Rows."""
    sum: np.ndarray
    """[width] float64."""
    sum_norms: float
    sum_squares: float

    @property
    def mean(self) -> np.ndarray:
        """[width], the mean activation."""
        return self.sum / self.n

    @property
    def mean_norm(self) -> float:
        """Mean Euclidean norm."""
        return self.sum_norms / self.n

    @property
    def variance(self) -> float:
        """Mean squared distance from the mean, over the whole width."""
        return self.sum_squares / self.n - float(self.mean @ self.mean)


class Stored(NamedTuple):
    """Activations in the number format of the file."""

    values: np.ndarray
    """[n_tokens, width] float16, float32 or uint16."""
    dtype: str
    """float16, float32 or bfloat16."""
    norm: np.ndarray
    """[n_tokens] float32."""
    sums: Sums


def encode(
    acts: Float[Tensor, "n_tokens width"], dtype: str, hook_point: str, is_word: Bool[Tensor, "n_tokens"]
) -> Stored:
    """Puts activations into the number format that is stored.

    Args:
        acts: [n_tokens, width], float32 or bfloat16.
        dtype: As in the config; `auto` keeps bfloat16, and takes float16 for float32 where it does not overflow.
        hook_point: Named in errors.
        is_word: Rows that are no special tokens.

    Raises:
        UserError: An activation is not finite, or too large for the asked format.
    """
    norm = acts.float().norm(dim=1)
    if not bool(torch.isfinite(norm).all()):
        row = int((~torch.isfinite(norm)).nonzero()[0])
        raise UserError(
            f"The activations at {hook_point} are not finite (row {row} of the shard), expected numbers. "
            "Run the model in float32 (model.dtype=float32)."
        )
    sums = sums_of(acts, norm, is_word)
    if dtype == "bfloat16" or (dtype == "auto" and acts.dtype == torch.bfloat16):
        return Stored(acts.bfloat16().view(torch.uint16).numpy(), "bfloat16", norm.numpy(), sums)
    largest = float(norm.max())  # no entry exceeds its row's norm, and this is known already
    if largest > NO_OVERFLOW:
        largest = float(acts.abs().max())
    if dtype == "float32" or (dtype == "auto" and largest > FLOAT16_MAX):
        return Stored(acts.float().numpy(), "float32", norm.numpy(), sums)
    if largest > FLOAT16_MAX:
        raise UserError(
            f"The activations at {hook_point} reach {largest:.3g}, but float16 ends at {FLOAT16_MAX:.0f}. "
            "Set capture.dtype to auto, float32 or bfloat16."
        )
    return Stored(acts.half().numpy(), "float16", norm.numpy(), sums)


def sums_of(acts: Tensor, norm: Tensor, is_word: Tensor) -> Sums:
    """Sums over the words, in float64."""
    weight = is_word.double()
    total = torch.zeros(acts.shape[1], dtype=torch.float64)
    for rows, weights in zip(acts.split(SUM_ROWS), weight.split(SUM_ROWS), strict=True):
        total += weights @ rows.double()
    norm = norm.double() * weight
    return Sums(int(is_word.sum()), total.numpy(), float(norm.sum()), float(norm.square().sum()))


def write(
    path: Path, index: Mapping[str, np.ndarray], acts: Mapping[str, Stored], attributes: Mapping[str, Any]
) -> str:
    """Writes a shard under a temporary name, flushes it and renames it into place.

    Returns:
        The hash of its bytes.

    Raises:
        UserError: The disk is full.
    """
    temporary = artefact.temporary_name(path)
    arrays = {name: np.ascontiguousarray(index[name]) for name in INDEX_COLUMNS}
    for hook_point, stored in acts.items():
        arrays |= {f"acts/{hook_point}": stored.values, f"norm/{hook_point}": stored.norm}
        arrays[f"sum/{hook_point}"] = stored.sums.sum
    try:
        fill(temporary, arrays, lay_out(temporary, arrays, acts, attributes))
        return artefact.publish_hashed(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise UserError(
                f"The disk of {path.parent} is full; the shards before {path.name} are whole. "
                "Free some space and run the same command again."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def lay_out(
    path: Path, arrays: Mapping[str, np.ndarray], acts: Mapping[str, Stored], attributes: Mapping[str, Any]
) -> dict[str, int]:
    """Writes all of an HDF5 file but its rows, and says at which byte those of each dataset belong.

    The rows are left to plain writes: h5py, on a disk that fills up, leaves files behind that it can neither write
    nor close, and it holds one lock for the whole process meanwhile.
    """
    whole_at_once = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    whole_at_once.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    whole_at_once.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    offsets: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        file.attrs.update({"format_version": FORMAT_VERSION, **attributes})
        for name, array in arrays.items():
            dataset = file.create_dataset(name, array.shape, array.dtype, dcpl=whole_at_once)
            offsets[name] = dataset.id.get_offset()
        for hook_point, stored in acts.items():
            dataset_of(file, f"acts/{hook_point}").attrs["dtype"] = stored.dtype
            dataset_of(file, f"sum/{hook_point}").attrs["n, sum_norms, sum_squares"] = [
                stored.sums.n, stored.sums.sum_norms, stored.sums.sum_squares,
            ]  # fmt: skip
        file.attrs["complete"] = True
    return offsets


def fill(path: Path, arrays: Mapping[str, np.ndarray], offsets: Mapping[str, int]) -> None:
    """Writes the rows of every dataset to its place, after the disk has promised room for all of them."""
    with path.open("r+b", buffering=0) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        for name, array in arrays.items():
            file.seek(offsets[name])
            rest = array.reshape(-1).view(np.uint8).data
            while rest:
                rest = rest[file.write(rest) :]


class Slab(NamedTuple):
    """Where a dataset's bytes lie in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_bfloat16: bool

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


class ShardReader:
    """Reads rows of a shard by plain file reads; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as file:
            self.index = {name: dataset_of(file, name)[...] for name in INDEX_COLUMNS}
            self._slabs = {name: slab(dataset_of(file, f"acts/{name}")) for name in file["acts"]}  # type: ignore[union-attr]
            self._norms = {name: slab(dataset_of(file, f"norm/{name}")) for name in self._slabs}

    @property
    def n_tokens(self) -> int:
        return len(self.index["token_id"])

    @property
    def document_bounds(self) -> list[int]:
        """Rows at which a document begins, and the end."""
        document = self.index["document"]
        return [0, *(np.flatnonzero(np.diff(document)) + 1).tolist(), len(document)]

    @property
    def is_special(self) -> np.ndarray:
        return self.index["is_special"].astype(bool)

    def acts(self, hook_point: str, start: int, stop: int) -> Float[Tensor, "rows width"]:
        """Rows start … stop − 1 at a hook point, as float32."""
        return self.raw(hook_point, start, stop).float()

    def raw(self, hook_point: str, start: int, stop: int) -> Shaped[Tensor, "rows width"]:
        """The same in the number format that is stored."""
        place = self._slabs[hook_point]
        return as_stored(self._read(place, start, stop), place)

    def slab(self, hook_point: str) -> Slab:
        """Where the activations at a hook point lie in the file."""
        return self._slabs[hook_point]

    def norm(self, hook_point: str) -> np.ndarray:
        """[n_tokens] float32, the norm of every row at a hook point."""
        return self._read(self._norms[hook_point], 0, self.n_tokens)

    def sums(self, hook_point: str) -> Sums:
        """Sums over the shard's words at a hook point."""
        with h5py.File(self.path, "r") as file:
            total = dataset_of(file, f"sum/{hook_point}")
            n, sum_norms, sum_squares = np.asarray(total.attrs["n, sum_norms, sum_squares"]).tolist()
            return Sums(int(n), np.asarray(total), sum_norms, sum_squares)

    def _read(self, place: Slab, start: int, stop: int) -> np.ndarray:
        rows = np.empty((stop - start, *place.shape[1:]), place.dtype)
        with self.opened() as descriptor:
            self.read_into(descriptor, place, start, rows)
        return rows

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The file's descriptor for some reads; not kept, since a store may have more shards than a process files."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read_into(self, descriptor: int, place: Slab, start: int, rows: np.ndarray) -> None:
        """Fills `rows` from row `start` on.

        Raises:
            UserError: The file ends before them.
        """
        room, done = rows.reshape(-1).view(np.uint8).data, 0
        first = place.offset + start * place.row_bytes
        while done < len(room):
            got = os.preadv(descriptor, [room[done:]], first + done)
            if not got:
                raise UserError(
                    f"{self.path} ends too early, expected {place.shape[0]} rows. Capture again: it alone is made anew."
                )
            done += got


class Span(NamedTuple):
    """Neighbouring rows of one shard."""

    reader: ShardReader
    start: int
    stop: int


def read_spans(hook_point: str, spans: Sequence[Span]) -> Shaped[Tensor, "rows width"]:
    """Rows from many places, in the order given and in the number format that is stored, read by two threads at once.

    Two threads because plain reads, unlike h5py's, do not wait for each other: 1.9 times one from a cold disk.
    """
    slabs = [span.reader.slab(hook_point) for span in spans]
    if len({(slab.dtype, slab.is_bfloat16) for slab in slabs}) > 1:  # float16 overflowed in some shards
        return torch.cat([span.reader.acts(hook_point, span.start, span.stop) for span in spans])
    bounds = list(accumulate((span.stop - span.start for span in spans), initial=0))
    rows = np.empty((bounds[-1], *slabs[0].shape[1:]), slabs[0].dtype)

    def read(indices: range) -> None:
        with ExitStack() as files:
            opened: dict[Path, int] = {}
            for index in indices:
                reader, start, _ = spans[index]
                if reader.path not in opened:
                    if len(opened) == MOST_FILES:
                        files.close()
                        opened.clear()
                    opened[reader.path] = files.enter_context(reader.opened())
                reader.read_into(opened[reader.path], slabs[index], start, rows[bounds[index] : bounds[index + 1]])

    middle = len(spans) // 2
    with ThreadPoolExecutor(1, "shard-reader") as pool:
        second = pool.submit(read, range(middle, len(spans)))
        read(range(middle))
        second.result()
    return as_stored(rows, slabs[0])


def as_stored(rows: np.ndarray, slab: Slab) -> Tensor:
    """Rows of a file as a tensor of their number format."""
    found = torch.from_numpy(rows)
    return found.view(torch.bfloat16) if slab.is_bfloat16 else found


def dataset_of(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset by name; h5py types what it finds there as anything."""
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{file.filename} has no dataset {name}, expected an activation shard. Capture again.")
    return found


def slab(dataset: h5py.Dataset) -> Slab:
    """Where a contiguous dataset lies."""
    return Slab(dataset.id.get_offset(), dataset.shape, dataset.dtype, dataset.attrs.get("dtype") == "bfloat16")
