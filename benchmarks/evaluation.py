"""What the evaluation of one autoencoder costs: reconstruction, sparsity and densities of held-out rows.

    python benchmarks/evaluation.py [--quick] [--json]

- `rows_vs_bare`: rows per second with all figures ÷ rows per second of the autoencoder's bare pass over the same rows. Below
  1; what is missing is the price of the figures.

The peers say how long one autoencoder takes for the 200,000 rows that `evaluation.n_tokens` has by default. Rows lie in
memory; the store gives them many times faster than they are used (benchmarks/store.py). One thread.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.harness.report import Report, arguments_of
from benchmarks.harness.rounds import Way, race
from sae.build import build
from sae.config import TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import choose
from training.config import EvaluationConfig
from training.engine import prepare
from training.evaluation import ROWS_PER_STEP, Passes, Reconstruction, mean_of

WIDTH = 512
TARGETS = {"rows_vs_bare": "≥ 0.6"}


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

    def bare() -> None:
        with torch.inference_mode():
            for x in parts:
                sae(x)

    def measured() -> None:
        with torch.inference_mode():
            sums = Reconstruction(mean_of(parts), d_sae)
            passes = Passes(sae, SparseEngine(choose("auto")))
            for x in parts:
                sums.add(x, passes(x))
            sums.figures()

    n_rows = n_parts * ROWS_PER_STEP
    times = race({"clinlens": Way(measured), "bare": Way(bare)}, n_rounds)
    report.figures["rows_vs_bare"] = times.ratio("clinlens", "bare")
    for way in ("clinlens", "bare"):
        report.peers[f"{way}_rows_per_s"] = n_rows / times.median(way)
    report.peers["s_per_sae"] = EvaluationConfig().n_tokens / report.peers["clinlens_rows_per_s"]
    report.deliver(arguments)


if __name__ == "__main__":
    main()
