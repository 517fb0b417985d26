"""Training steps beside SAELens, sparsify and dictionary_learning: how long, and how good.

    python benchmarks/sae_training.py [--quick] [--json] [--plot FILE.png] [--part NAME]

All sides see the same batches and take turns in every round; Adam, one learning rate, clipping where they clip. Freed
memory is not kept for the process, as `clinlens train` does: the peers do not ask for it, and would gain from it too. In the
part `quality`, which is about how good they are, it is kept for all.

Figures are ratios of time on the wall. The peers give processor time beside it, and the explained variance of every side on a
batch that none has seen: in `steps` after the few raced steps from the same weights (BatchTopK and Matryoshka: ours by the
threshold that is kept for use, SAELens' by the largest of the batch), in `grid` after whole trainings, each from its own start.

dictionary_learning wants a torchvision that does not fit every build of torch, and more; what is imported of it comes by
`pip install --no-deps dictionary-learning nnsight==0.3.7 zstandard python-socketio python-engineio bidict websocket-client`.
Where it is not there, the settings say so and the figures are without it.

- `topk_vs_saelens`, `topk_vs_sparsify`, `topk_vs_dictionary_learning`, `jumprelu_vs_saelens`, `l1_vs_saelens`,
  `batchtopk_vs_saelens`, `matryoshka_vs_saelens`: time of the peer's whole step ÷ ours, at the reference shape, with our
  weights copied into the peer where it has the same ones, at about 64 active features for JumpReLU and L1 and k = 32 for
  the others.
- `step_vs_encoder_matmul`: our TopK step ÷ one float32 product [batch, d_in] × [d_in, d_sae]. Below is better: about one is
  the least, a dense step needs six, and peers take four to eighteen.
- `transient_mb`: most memory that our TopK step holds at the reference shape, its buffer and gradients included, above weights,
  Adam's moments and data; the peers say what theirs holds.
- `grid8_vs_saelens`: eight TopK SAEs from one store, ours on one stream, theirs one after another from the same one;
  `extra_sae_vs_alone`: what one more SAE on the stream costs ÷ what it costs alone, without start and end.
- `fve_vs_best_peer`: explained variance on held-out planted data after 3,000 steps (40 in the quick form), ours minus the
  best peer's; the peers say what it is of all after 600;
  `mcc_vs_best_peer`: the same for the mean cosine of planted directions with the nearest decoder row.
- `synth_matryoshka_f1`, `synth_matryoshka_mcc`: our Matryoshka SAE in a hierarchical world of known features, SynthSAEBench at
  a sixteenth of its size, scored by sae-lens; `synth_f1_vs_saelens`, `synth_mcc_vs_saelens`: ours minus SAELens' own Matryoshka
  on the same samples.
- `dead_fraction_quickstart`: the largest share of features dead at the end of training, over the SAEs of the quickstart.
- the table of `--part crossover`: a sparse step ÷ a dense one by the share of [batch, d_sae] that is active.

Above 1 means that ours is faster, but for those that say otherwise.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from benchmarks.harness.planted import Planted, explained_variance
from benchmarks.harness.report import Bars, Report, Table, parser_of
from benchmarks.harness.rounds import Figure, Times, Way, race
from benchmarks.harness.trainers import (
    DictionaryLearning,
    Ours,
    SAELens,
    Shape,
    Sparsify,
    Trainer,
    has_dictionary_learning,
)
from benchmarks.harness.training_quality import measure_quality, measure_synth
from benchmarks.harness.training_runs import measure_dead, measure_grid
from benchmarks.harness.training_size import FULL, QUICK, Size
from benchmarks.harness.transient import transient_mb
from sae.base import SAE
from sae.build import build
from sae.config import BatchTopKConfig, JumpReLUConfig, L1Config, MatryoshkaConfig, SAEConfig, TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import KernelsName, choose
from training.trainee import ENCODER_SCALE

PARTS = ("steps", "memory", "grid", "dead", "crossover", "quality", "synth")
TARGETS = {
    "topk_vs_saelens": "≥ 5",
    "topk_vs_sparsify": "≥ 1.8",
    "topk_vs_dictionary_learning": "≥ 5",
    "jumprelu_vs_saelens": "≥ 3",
    "l1_vs_saelens": "≥ 3",
    "batchtopk_vs_saelens": "≥ 3",
    "matryoshka_vs_saelens": "≥ 3",
    "step_vs_encoder_matmul": "≤ 1.0 with numba, ≤ 2.3 with torch, ≤ 1.5 with bfloat16",
    "transient_mb": "≤ 300",
    "grid8_vs_saelens": "≥ 5",
    "extra_sae_vs_alone": "≤ 1.03",
    "fve_vs_best_peer": "≥ -.002",
    "mcc_vs_best_peer": "≥ -.005",
    "synth_matryoshka_f1": "≥ SAELens'",
    "synth_matryoshka_mcc": "≥ SAELens'",
    "synth_f1_vs_saelens": "≥ 0",
    "synth_mcc_vs_saelens": "≥ 0",
    "dead_fraction_quickstart": "≤ .05",
}
L0 = 64


def main() -> None:
    """Measures the parts that were asked for."""
    parser = parser_of(__doc__, PARTS)
    parser.add_argument("--kernels", choices=("auto", "torch", "numba"), default="auto")
    parser.add_argument("--threads", type=int, help="of torch; 2, or 1 in the quick form, whose short steps would wait")
    arguments = parser.parse_args()
    size, parts = (QUICK if arguments.quick else FULL), (arguments.part,) if arguments.part else PARTS
    torch.set_num_threads(arguments.threads or (1 if arguments.quick else 2))
    report = Report(targets=TARGETS)
    kernels: KernelsName = arguments.kernels
    report.say(f"{choose(kernels).name} kernels, {torch.get_num_threads()} threads: all values in float32")
    if "steps" in parts:
        measure_steps(report, size, kernels)
    if "memory" in parts:
        measure_memory(report, size, kernels)
    if "grid" in parts:
        measure_grid(report, size)
    if "dead" in parts:
        measure_dead(report, size)
    if "crossover" in parts:
        measure_crossover(report, size, kernels)
    if "quality" in parts:  # last, since freed memory is kept from here on
        measure_quality(report, size, kernels)
    if "synth" in parts:
        measure_synth(report, size, kernels, is_quick=arguments.quick)
    report.deliver(arguments)


def measure_steps(report: Report, size: Size, kernels: KernelsName) -> None:
    """Whole steps at the reference shape, all in turn; then how much of unseen rows each side explains."""
    shape, lr = size.steps, 1e-5  # so small that what is active stays
    world = Planted(shape.d_in, 2 * shape.d_in, 24)
    x, held_out = world.sample(shape.batch), world.sample(shape.batch)
    buffer = torch.empty(shape.batch, shape.d_sae)
    engine = SparseEngine(choose(kernels), "auto")
    n_steps = size.n_rounds + 2
    took, explained = Bars("A step, processor ms", {}), Bars("Explained variance after the steps", {})
    for name, (ours_cfg, peer_cfg) in step_pairs(shape).items():
        sae = at_work(ours_cfg, x)
        ours = Ours(sae, lr, engine)
        trainers: dict[str, Trainer] = {
            "ours": ours,
            "saelens": SAELens(peer_cfg, lr, shape.batch, n_steps, like=sae),
        }
        if name == "topk":
            trainers["sparsify"] = Sparsify(shape, lr, like=sae)
            if has_dictionary_learning(report):
                trainers["dictionary_learning"] = DictionaryLearning(shape, lr, n_steps + 1, like=sae)
            if engine.kernels.name != "torch":
                trainers["ours, torch kernels"] = Ours(at_work(ours_cfg, x), lr, SparseEngine(choose("torch")))
        ways = {way: Way(partial(trainer.step, x)) for way, trainer in trainers.items()}
        ways["matmul"] = Way(partial(torch.mm, x, sae.W_enc.detach(), out=buffer))
        times = race(ways, size.n_rounds)
        for way in ("saelens", "sparsify", "dictionary_learning"):
            if way in ways:
                report.figures[f"{name}_vs_{way}"] = times.ratio("ours", way)
        if name == "topk":
            report.figures["step_vs_encoder_matmul"] = times.ratio("matmul", "ours")
        report.say(
            f"{name}: batch {shape.batch}, d_in {shape.d_in}, d_sae {shape.d_sae}; "
            f"{ours.n_codes / shape.batch:.0f} codes per token"
        )
        report.peers |= step_peers(name, times)
        took.values[name] = {way: 1e3 * times.processor_median(way) for way in trainers}
        found = {way: explained_variance(held_out, trainer.reconstruct(held_out)) for way, trainer in trainers.items()}
        explained.values[name] = found
        report.peers |= {f"{name}: {way}, explained variance": value for way, value in found.items()}
        del ours, trainers, ways
    report.bars += [took, explained]


def step_pairs(shape: Shape) -> dict[str, tuple[SAEConfig, Any]]:
    """Every architecture in our settings and in SAELens'."""
    from sae_lens import (
        BatchTopKTrainingSAEConfig,
        JumpReLUTrainingSAEConfig,
        MatryoshkaBatchTopKTrainingSAEConfig,
        StandardTrainingSAEConfig,
        TopKTrainingSAEConfig,
    )

    dims = {"d_in": shape.d_in, "d_sae": shape.d_sae}
    common = {"expansion_factor": shape.expansion}
    widths = [round(share * shape.d_sae) for share in (*MatryoshkaConfig().prefixes, 1)]
    return {
        "topk": (TopKConfig(k=shape.k, **common), TopKTrainingSAEConfig(k=shape.k, **dims)),
        "jumprelu": (
            JumpReLUConfig(target_l0=L0, **common),
            JumpReLUTrainingSAEConfig(jumprelu_bandwidth=0.5, **dims),
        ),
        "l1": (L1Config(**common), StandardTrainingSAEConfig(**dims)),
        "batchtopk": (BatchTopKConfig(k=shape.k, **common), BatchTopKTrainingSAEConfig(k=shape.k, **dims)),
        "matryoshka": (
            MatryoshkaConfig(k=shape.k, **common),
            MatryoshkaBatchTopKTrainingSAEConfig(k=shape.k, matryoshka_widths=widths, **dims),
        ),
    }


def step_peers(name: str, times: Times) -> dict[str, float]:
    """What a step of each side took, by both clocks, and in encoder products."""
    found: dict[str, float] = {}
    for way in times.seconds:
        found[f"{name}: {way}, ms"] = 1e3 * times.median(way)
        found[f"{name}: {way}, processor ms"] = 1e3 * times.processor_median(way)
        found[f"{name}: {way}, x matmul"] = times.ratio("matmul", way).value
    return found


def measure_memory(report: Report, size: Size, kernels: KernelsName) -> None:
    """What one TopK step of each holds for itself."""
    from sae_lens import TopKTrainingSAEConfig

    shape, lr = size.steps, 1e-5
    x = Planted(shape.d_in, 2 * shape.d_in, 24).sample(shape.batch)
    cfg = TopKConfig(k=shape.k, expansion_factor=shape.expansion)
    engine = SparseEngine(choose(kernels), "auto")
    held = transient_mb(partial(Ours(at_work(cfg, x), lr, engine).step, x), engine.release)
    report.figures["transient_mb"] = Figure(held, held, held)
    sparsify = Sparsify(shape, lr)
    report.peers["transient: sparsify, MB"] = transient_mb(partial(sparsify.step, x))
    del sparsify
    peer = SAELens(TopKTrainingSAEConfig(k=shape.k, d_in=shape.d_in, d_sae=shape.d_sae), lr, shape.batch, 4)
    report.peers["transient: saelens, MB"] = transient_mb(partial(peer.step, x))
    report.say(f"memory: one step of TopK, batch {shape.batch}, d_in {shape.d_in}, d_sae {shape.d_sae}")


def at_work(cfg: SAEConfig, x: Tensor) -> SAE:
    """An SAE that has about L0 active features per token where its loss does not fix their number."""
    sae = build(cfg, x.shape[1])
    sae.initialise(
        x, torch.Generator().manual_seed(0), 1.0 if isinstance(cfg, JumpReLUConfig | L1Config) else ENCODER_SCALE
    )
    if isinstance(cfg, L1Config):
        with torch.no_grad():
            share = 1 - min(L0 / sae.d_sae, 0.5)
            sae.b_enc.copy_(-torch.quantile(sae.pre_acts(x[:2048]), share, dim=0))
    return sae


def measure_crossover(report: Report, size: Size, kernels: KernelsName) -> None:
    """L1 steps, sparse and dense, with ever more active features."""
    shape = size.steps
    x = Planted(shape.d_in, 2 * shape.d_in, 24).sample(shape.batch)
    rows = []
    for share in (1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8):
        saes = [build(L1Config(expansion_factor=shape.expansion), shape.d_in) for _ in range(2)]
        for sae in saes:
            sae.initialise(x, torch.Generator().manual_seed(0), 1.0)
            with torch.no_grad():
                sae.b_enc.copy_(-torch.quantile(sae.pre_acts(x[:2048]), 1 - share, dim=0))
        sparse, dense = Ours(saes[0], 1e-6, SparseEngine(choose(kernels))), Ours(saes[1], 1e-6, None)
        times = race({"sparse": Way(partial(sparse.step, x)), "dense": Way(partial(dense.step, x))}, size.n_rounds)
        rows.append([share, times.ratio("dense", "sparse").value])
    report.tables.append(Table("a sparse step ÷ a dense one", ["active share", "sparse ÷ dense"], rows))


if __name__ == "__main__":
    main()
