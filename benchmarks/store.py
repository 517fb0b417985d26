"""The activation store on disk beside raw files and h5py, and its loader beside what a training step consumes.

    python benchmarks/store.py [--quick] [--json] [--plot FILE.png]

Writing float16 shards, durably (flushed to disk before the clock stops):

- `write_vs_raw`: our shard with its checksum in its entry, against the same bytes written raw to one file, without.

Reading all rows of a float32 shard as float32, so that neither side converts anything; the files are in the page cache:

- `read_vs_raw`: our shuffled blocks of 256 rows, read by two threads as training reads them, against the same blocks
  read in order from a raw file left open. Its peer `read_raw_reused_buffer` throws every piece away in the processor's
  cache: no reader whose rows are used can.
- `read_vs_h5py`: our shuffled blocks against the same through h5py, its file left open; more threads do not help it,
  since it takes one lock for the process.

Training:

- `loader_vs_step`: tokens per second of `ActivationStream.batches` ÷ tokens per second that one TopK training step eats.

Above 1 always means that ours is faster.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import h5py
import numpy as np
import torch

from benchmarks.harness.report import Report, arguments_of
from benchmarks.harness.rounds import Way, race, refuse_difference, spread
from hooks import shard
from hooks.shard import ShardReader, Span, Stored, read_spans
from hooks.store import Store, entry_path
from sae import artefact
from sae.build import build
from sae.config import TopKConfig
from training.config import TrainingConfig
from training.engine import prepare
from training.stream import BLOCK_ROWS, ActivationStream
from training.trainee import descend

POINT = "blocks.3.hook_resid_post"
WIDTH = 512
POOL_BLOCKS = 128
"""Blocks read at once; a pool of training has 512, and the rows of this benchmark stay within memory."""
TARGETS = {
    "write_vs_raw": "≥ 0.75",
    "read_vs_raw": "≥ 0.9",
    "read_vs_h5py": "≥ 1.5",
    "loader_vs_step": "≥ 10 in the full form",
}


class Size(NamedTuple):
    """How large everything is."""

    rows: int
    """Rows of one shard."""
    shards: int
    """Shards that are written and loaded in one round."""
    rounds: int
    d_sae: int
    k: int
    batch_tokens: int
    steps: int


FULL = Size(65_536, 6, 9, 8192, 32, 4096, 5)
QUICK = Size(32_768, 2, 7, 2048, 32, 1024, 5)


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__)
    size = QUICK if arguments.quick else FULL
    prepare(threads=1)
    report = Report(targets=TARGETS)
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        folder = Path(name)
        acts = torch.randn(size.rows, WIDTH, generator=torch.Generator().manual_seed(0))
        report.say(
            f"random rows of width {WIDTH}, {size.rows} to a shard, one thread, warm page cache, in {folder.parent}"
        )
        write(folder, acts, size, report)
        read(folder, acts, size, report)
        load(folder, acts, size, report)
    report.deliver(arguments)


def index_of(n_rows: int) -> dict[str, np.ndarray]:
    """What stands beside the activations: documents of 128 rows."""
    rows = np.arange(n_rows, dtype=np.int32)
    columns: dict[str, np.ndarray] = dict.fromkeys(shard.INDEX_COLUMNS, rows)
    return columns | {"document": rows // 128, "position": rows % 128, "is_special": (rows % 128 == 0).astype(np.uint8)}


def words(n_rows: int) -> torch.Tensor:
    """Rows that are no special tokens."""
    return torch.from_numpy(index_of(n_rows)["is_special"] == 0)


def write_shard(folder: Path, number: int, acts: Stored, index: dict[str, np.ndarray], split: str = "train") -> Any:
    """A shard and its entry with the checksum, as a capture writes them."""
    path = folder / f"shard-{number:05d}.h5"
    digest = shard.write(path, index, {POINT: acts}, {"store_id": "benchmark"})
    entry = {"file": path.name, "split": split, "n_tokens": len(acts.norm), "hash": digest}
    artefact.write_json(entry_path(folder, number), entry)
    return entry


def write_raw(path: Path, parts: list[np.ndarray]) -> None:
    """The same bytes, one after another, flushed."""
    with path.open("wb", buffering=0) as file:
        for part in parts:
            file.write(memoryview(part).cast("B"))
    artefact.flush(path)


def write(folder: Path, acts: torch.Tensor, size: Size, report: Report) -> None:
    """Several shards a round."""
    stored, index = shard.encode(acts, "float16", POINT, words(len(acts))), index_of(size.rows)
    parts = [*index.values(), stored.values, stored.norm]
    n_bytes = size.shards * sum(part.nbytes for part in parts)

    def clear() -> None:
        for path in folder.iterdir():
            path.unlink()

    def repeated(one: Callable[[int], Any]) -> Way:
        return Way(lambda: [one(number) for number in range(size.shards)], clear, clear)

    write_shard(folder, 0, stored, index)
    kept = ShardReader(folder / "shard-00000.h5")
    refuse_difference("the shard that was written", kept.acts(POINT, 0, size.rows), acts.half().float(), 0)
    ways = {
        "clinlens": repeated(lambda number: write_shard(folder, number, stored, index)),
        "raw": repeated(lambda number: write_raw(folder / f"raw-{number}", parts)),
    }
    times = race(ways, size.rounds)
    report.say(f"writing: {size.shards} shards, {n_bytes / 1e6:.0f} MB a round, float16, {size.rounds} rounds")
    report.figures["write_vs_raw"] = times.ratio("clinlens", "raw")
    report.peers |= {f"write_{name}_mb_per_s": n_bytes / 1e6 / times.median(name) for name in ways}


def read(folder: Path, acts: torch.Tensor, size: Size, report: Report) -> None:
    """All rows of one large shard, whatever their order."""
    rows = acts.repeat(size.shards // 2, 1)
    n_rows, n_bytes = len(rows), rows.numel() * 4
    whole, half = (folder / f"{dtype}.h5" for dtype in ("float32", "float16"))
    for path in (whole, half):
        shard.write(path, index_of(n_rows), {POINT: shard.encode(rows, path.stem, POINT, words(n_rows))}, {})
    raw_file = folder / "raw"
    write_raw(raw_file, [rows.numpy()])
    starts = np.random.default_rng(0).permutation(np.arange(0, n_rows, BLOCK_ROWS)).tolist()
    readers = {path: ShardReader(path) for path in (whole, half)}
    buffer = bytearray(BLOCK_ROWS * WIDTH * 4)

    def ours(path: Path) -> list[torch.Tensor]:
        spans = [Span(readers[path], start, min(start + BLOCK_ROWS, n_rows)) for start in starts]
        pools = [spans[first : first + POOL_BLOCKS] for first in range(0, len(spans), POOL_BLOCKS)]
        return [read_spans(POINT, pool).float() for pool in pools]

    def visit(blocks: Callable[[int, int], torch.Tensor]) -> None:
        for start in starts:
            blocks(start, min(start + BLOCK_ROWS, n_rows))

    def raw() -> None:
        with raw_file.open("rb", buffering=0) as file:
            for start in range(0, n_rows, BLOCK_ROWS):
                block = np.empty((min(BLOCK_ROWS, n_rows - start), WIDTH), np.float32)
                file.readinto(block)
                torch.from_numpy(block)

    def raw_reused() -> None:
        with raw_file.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    with h5py.File(whole) as file:
        dataset = shard.dataset_of(file, f"acts/{POINT}")

        def h5py_block(start: int, stop: int) -> torch.Tensor:
            return torch.from_numpy(dataset[start:stop])

        expected = torch.cat([rows[start : start + BLOCK_ROWS] for start in starts])
        refuse_difference("our reader", torch.cat(ours(whole)), expected, 0)
        refuse_difference("h5py", torch.cat([h5py_block(start, start + BLOCK_ROWS) for start in starts]), expected, 0)
        refuse_difference("the raw file", torch.from_file(str(raw_file), size=rows.numel()).view_as(rows), rows, 0)
        del expected
        ways = {
            "clinlens": Way(lambda: ours(whole)),
            "clinlens_float16": Way(lambda: ours(half)),
            "clinlens_one_thread": Way(lambda: visit(lambda start, stop: readers[whole].acts(POINT, start, stop))),
            "raw": Way(raw),
            "raw_reused_buffer": Way(raw_reused),
            "h5py": Way(lambda: visit(h5py_block)),
        }
        times = race(ways, size.rounds * 3)
    report.say(f"reading: {n_bytes / 1e6:.0f} MB of float32 in blocks of {BLOCK_ROWS} rows, {size.rounds * 3} rounds")
    report.figures["read_vs_raw"] = times.ratio("clinlens", "raw")
    report.figures["read_vs_h5py"] = times.ratio("clinlens", "h5py")
    report.peers |= {f"read_{name}_rows_per_s": n_rows / times.median(name) for name in ways}
    for path in (whole, half, raw_file):
        path.unlink()


def store_of(folder: Path, acts: torch.Tensor, n_shards: int) -> Store:
    """A store of random rows in the format that a capture writes."""
    folder.mkdir()
    stored, index = shard.encode(acts, "float16", POINT, words(len(acts))), index_of(len(acts))
    entries = [write_shard(folder, number, stored, index) for number in range(n_shards)]
    return Store(folder, {"hook_points": {POINT: WIDTH}, "shards": entries})


def load(folder: Path, acts: torch.Tensor, size: Size, report: Report) -> None:
    """The loader, and the step that waits for it, in turns."""
    cfg = TrainingConfig(batch_tokens=size.batch_tokens, shuffle_tokens=size.rows)
    stream = ActivationStream(store_of(folder / "store", acts, size.shards), POINT, cfg, seed=0)
    n_batches = stream.counts.kept // size.batch_tokens
    step = training_step(size, stream)
    refuse_other_rows(stream, acts, size, n_batches)
    loader, steps = list[float](), list[float]()
    batch = next(stream.batches())
    step(batch)
    for number in range(size.steps):
        start = time.perf_counter()
        for _ in itertools.islice(stream.batches(), n_batches):
            pass
        middle = time.perf_counter()
        step(batch)
        if number or size.steps == 1:  # the first pass over the files does not count
            loader.append(n_batches * size.batch_tokens / (middle - start))
            steps.append(size.batch_tokens / (time.perf_counter() - middle))
    report.say(
        f"loading: {n_batches} batches of {size.batch_tokens} from {size.shards} shards, mixed over {cfg.shuffle_tokens} rows; "
        f"one TopK step: d_sae {size.d_sae}, k {size.k}, float32"
    )
    report.figures["loader_vs_step"] = spread([a / b for a, b in zip(loader, steps, strict=True)])
    report.peers |= {"loader_tokens_per_s": spread(loader).value, "step_tokens_per_s": spread(steps).value}


def training_step(size: Size, stream: ActivationStream) -> Callable[[torch.Tensor], None]:
    """The arithmetic of one step of `training.fit.train`."""
    sae = build(TopKConfig(expansion_factor=size.d_sae // WIDTH, k=size.k), WIDTH)
    sae.initialise(stream.sample()[:1024], torch.Generator().manual_seed(0), 0.3)
    optimiser = torch.optim.Adam(sae.parameters(), fused=True)
    dead = torch.zeros(size.d_sae, dtype=torch.bool)

    def step(x: torch.Tensor) -> None:
        descend(sae, optimiser, sae.losses(x, dead, 1.0).total, 1.0)

    return step


def refuse_other_rows(stream: ActivationStream, acts: torch.Tensor, size: Size, n_batches: int) -> None:
    """Ends the benchmark if an epoch's batches hold a row that is not in the store, or one too often."""
    kept = acts[index_of(size.rows)["is_special"] == 0].half().float() * stream.input_scale
    expected, n_expected = torch.unique(keys(kept), return_counts=True)
    found, n_found = torch.unique(
        torch.cat([keys(batch) for batch in itertools.islice(stream.batches(), n_batches)]), return_counts=True
    )
    places = torch.searchsorted(expected, found).clamp_max(len(expected) - 1)
    if not bool((expected[places] == found).all() and (n_found <= n_expected[places] * size.shards).all()):
        raise SystemExit("The loader gives rows that are not in the store, or one too often. Nothing was timed.")


def keys(rows: torch.Tensor) -> torch.Tensor:
    """The bits of the first two columns: enough to know a random row by."""
    return rows[:, :2].contiguous().view(torch.int64)[:, 0]


if __name__ == "__main__":
    main()
