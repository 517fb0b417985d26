"""What the evaluation of one autoencoder and its feature examples cost.

    python benchmarks/evaluation.py [--quick] [--json]

- `rows_vs_bare`: rows per second with all figures of reconstruction, sparsity and density ÷ rows per second of the
  autoencoder's bare dense pass over the same rows. Above 1 where sparse passes save more than the figures cost.
- `core_minutes_per_sae`: minutes for the 200,000 rows that `evaluation.n_tokens` has by default.
- `example_features_per_minute`: features whose examples (strongest, quantile and contrast contexts) are found in a minute,
  with the 200,000 tokens that `examples.n_tokens` has by default, encoding and writing the file included.

Wall time of one thread; processor time is beside it, since machines are shared. Rows lie in memory; the store gives them many
times faster than they are used (benchmarks/store.py). The examples' last step, effects on logits, is left out: it costs one
product of the decoder with the unembedding.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor

from analysis.config import ExamplesConfig
from analysis.contexts import Search
from analysis.gather import examples
from benchmarks.harness.report import Report, arguments_of
from benchmarks.harness.rounds import Figure, Way, race, spread
from sae.base import SAE
from sae.build import build
from sae.config import TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import choose
from training.config import EvaluationConfig
from training.engine import prepare
from training.evaluation import ROWS_PER_STEP, Passes, Reconstruction, mean_of

WIDTH = 512
DOCUMENT_TOKENS = 128
TARGETS = {
    "rows_vs_bare": "≥ 0.6",
    "core_minutes_per_sae": "≤ 2",
    "example_features_per_minute": "≥ 1,000",
}


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__)
    d_sae, n_parts, n_rounds = (2048, 2, 5) if arguments.quick else (8192, 4, 7)
    prepare(threads=1)
    report = Report(targets=TARGETS)
    report.say(
        f"TopK, k 32: random rows of width {WIDTH}, d_sae {d_sae}, {n_parts} × {ROWS_PER_STEP} rows a round, one thread"
    )
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(n_parts, ROWS_PER_STEP, WIDTH, generator=generator).unbind()
    sae = build(TopKConfig(k=32), WIDTH, d_sae)
    sae.initialise(parts[0], generator, 0.3)
    with torch.inference_mode():
        measure_rows(report, sae, parts, n_rounds)
        measure_examples(report, sae, parts, n_blocks=4 if arguments.quick else 12)
    report.deliver(arguments)


def measure_rows(report: Report, sae: SAE, parts: tuple[Tensor, ...], n_rounds: int) -> None:
    """Reconstruction, sparsity and densities beside the bare pass."""

    def bare() -> None:
        for x in parts:
            sae(x)

    def measured() -> None:
        sums, passes = Reconstruction(mean_of(parts), sae.d_sae), Passes(sae, SparseEngine(choose("auto")))
        for x in parts:
            sums.add(x, passes(x))
        sums.figures()

    n_rows, n_tokens = len(parts) * ROWS_PER_STEP, EvaluationConfig().n_tokens
    times = race({"clinlens": Way(measured), "bare": Way(bare)}, n_rounds)
    report.figures["rows_vs_bare"] = times.ratio("clinlens", "bare")
    report.figures["core_minutes_per_sae"] = spread([s * n_tokens / n_rows / 60 for s in times.seconds["clinlens"]])
    start = time.process_time()
    measured()
    report.peers["core_processor_minutes_per_sae"] = (time.process_time() - start) * n_tokens / n_rows / 60
    for way in ("clinlens", "bare"):
        report.peers[f"{way}_rows_per_s"] = n_rows / times.median(way)


def measure_examples(report: Report, sae: SAE, parts: tuple[Tensor, ...], n_blocks: int) -> None:
    """The search for examples, block by block as a run makes it, and the file."""
    cfg = ExamplesConfig()
    search = Search(sae.d_sae, cfg, seed=0)
    row = torch.arange(ROWS_PER_STEP)
    document, position = row // DOCUMENT_TOKENS, row % DOCUMENT_TOKENS
    counted = torch.ones(ROWS_PER_STEP, dtype=torch.bool)
    wall, processor = time.perf_counter(), time.process_time()
    for number in range(n_blocks):
        acts = sae.encode(parts[number % len(parts)])
        search.add(acts, document + number * ROWS_PER_STEP, position, counted, number * ROWS_PER_STEP)
    passed = time.perf_counter() - wall, time.process_time() - processor
    n_rows = n_blocks * ROWS_PER_STEP
    index = {name: np.zeros(n_rows, dtype=np.int64) for name in ("token_id", "char_start", "char_end", "is_held_out")}
    index["document"] = np.arange(n_rows) // DOCUMENT_TOKENS
    index["position"] = np.arange(n_rows) % DOCUMENT_TOKENS
    wall, processor = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as folder:
        examples(search, index, None, cfg.window_tokens).write(Path(folder) / "examples.h5", "benchmark")
    ended = time.perf_counter() - wall, time.process_time() - processor
    blocks_of_run = cfg.n_tokens / n_rows
    rate, processor_rate = (60 * sae.d_sae / (blocks_of_run * a + b) for a, b in zip(passed, ended, strict=True))
    report.say(f"examples: {n_blocks} blocks of {ROWS_PER_STEP} rows, then the file")
    report.figures["example_features_per_minute"] = Figure(rate, rate, rate)
    report.peers["example_features_per_processor_minute"] = processor_rate
    report.peers["examples_file_s"] = ended[0]


if __name__ == "__main__":
    main()
