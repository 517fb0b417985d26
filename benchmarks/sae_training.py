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

import contextlib
import io
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from benchmarks.harness.planted import Planted, explained_variance
from benchmarks.harness.report import Bars, Report, Table, parser_of
from benchmarks.harness.rounds import Figure, Times, Way, race, spread
from benchmarks.harness.trainers import (
    DictionaryLearning,
    Ours,
    SAELens,
    Shape,
    Sparsify,
    Trainer,
    has_dictionary_learning,
)
from benchmarks.harness.transient import transient_mb
from clinlens.config import validated
from clinlens.pipeline import Run
from sae import saelens_format
from sae.base import SAE
from sae.build import build
from sae.config import BatchTopKConfig, JumpReLUConfig, L1Config, MatryoshkaConfig, SAEConfig, TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import KernelsName, choose
from training.engine import prepare
from training.fit import fit_together
from training.spec import Fit
from training.stream import ActivationStream
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


class Size(NamedTuple):
    """How much is measured."""

    steps: Shape
    n_rounds: int
    quality: Shape
    quality_steps: tuple[int, ...]
    """Where quality is measured; the last one is the end."""
    n_grid_steps: int
    quickstart: dict[str, Any]
    synth_steps: int


FULL = Size(Shape(512, 16, 32, 4096), 5, Shape(128, 8, 16, 1024), (600, 3000), 60, {}, 3000)
QUICK = Size(
    Shape(128, 8, 16, 512),
    3,
    Shape(64, 4, 8, 256),
    (40,),
    6,
    {"clinic": {"n_notes": 120}, "training": {"n_tokens": 20_000}, "engine": {"kind": "inline"}},
    20,
)


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


def measure_quality(report: Report, size: Size, kernels: KernelsName) -> None:
    """TopK on planted data: explained variance and planted directions found, after as many tokens."""
    from sae_lens import TopKTrainingSAEConfig

    prepare(torch.get_num_threads())
    shape, lr = size.quality, 1e-3
    world = Planted(shape.d_in, 4 * shape.d_in, 24)
    first = world.sample(shape.batch)
    sae = build(TopKConfig(expansion_factor=shape.expansion, k=shape.k), shape.d_in)
    sae.initialise(first, torch.Generator().manual_seed(0), ENCODER_SCALE)
    dims = {"d_in": shape.d_in, "d_sae": shape.d_sae}
    n_steps = size.quality_steps[-1]
    makers: dict[str, Trainer] = {
        "ours": Ours(sae, lr, SparseEngine(choose(kernels), "auto")),
        "saelens": SAELens(TopKTrainingSAEConfig(k=shape.k, **dims), lr, shape.batch, n_steps + 1),
        "sparsify": Sparsify(shape, lr),
    }
    if has_dictionary_learning(report):
        makers["dictionary_learning"] = DictionaryLearning(shape, lr, n_steps + 1)
    held_out = world.sample(4 * shape.batch)
    cpu = dict.fromkeys(makers, 0.0)
    fve: dict[str, float] = {}
    mcc: dict[str, float] = {}
    for number in range(1, n_steps + 1):
        x = world.sample(shape.batch)
        for name, maker in makers.items():
            start = time.process_time()
            maker.step(x)
            cpu[name] += time.process_time() - start
        if number in size.quality_steps:
            for name, maker in makers.items():
                fve[name] = explained_variance(held_out, maker.reconstruct(held_out))
                mcc[name] = world.mcc(maker.decoder)
                label = f"quality: {name} after {number}"
                report.peers |= {f"{label}, FVE": fve[name], f"{label}, MCC": mcc[name]}
                report.peers[f"{label}, processor seconds"] = cpu[name]
    report.say(
        f"quality: TopK k={shape.k}, d_in {shape.d_in}, d_sae {shape.d_sae}, {n_steps} steps of {shape.batch}, "
        f"learning rate {lr:g}, {4 * shape.d_in} planted directions"
    )
    for figure, found in (("fve_vs_best_peer", fve), ("mcc_vs_best_peer", mcc)):
        value = found["ours"] - max(value for name, value in found.items() if name != "ours")
        report.figures[figure] = Figure(value, value, value)


def measure_synth(report: Report, size: Size, kernels: KernelsName, *, is_quick: bool) -> None:
    """Matryoshka and BatchTopK in a world of known features, ours and SAELens' on the same samples."""
    from sae_lens import BatchTopKTrainingSAEConfig, MatryoshkaBatchTopKTrainingSAEConfig

    from benchmarks.harness.synthetic_world import SIXTEENTH, TINY, SyntheticWorld, opened, opened_theirs

    at, lr, batch = TINY if is_quick else SIXTEENTH, 1e-3, 256 if is_quick else 1024
    world = SyntheticWorld(at)
    first = world.sample(4 * batch)
    dims = {"d_in": at.d_in, "d_sae": at.d_sae, "k": at.k}
    nested = MatryoshkaConfig(k=at.k)
    widths = [*(int(at.d_sae * share) for share in nested.prefixes), at.d_sae]
    kinds: dict[str, tuple[SAEConfig, Any]] = {
        "matryoshka": (nested, MatryoshkaBatchTopKTrainingSAEConfig(**dims, matryoshka_widths=widths)),
        "batchtopk": (BatchTopKConfig(k=at.k), BatchTopKTrainingSAEConfig(**dims)),
    }
    pairs: dict[str, tuple[Ours, SAELens]] = {}
    for name, (cfg, theirs) in kinds.items():
        sae = build(cfg, at.d_in, at.d_sae)
        sae.initialise(first, torch.Generator().manual_seed(0), ENCODER_SCALE)
        engine = SparseEngine(choose(kernels), "auto")
        pairs[name] = (Ours(sae, lr, engine), SAELens(theirs, lr, batch, size.synth_steps + 1))
    for _ in range(size.synth_steps):
        x = world.sample(batch)
        for pair in pairs.values():
            for maker in pair:
                maker.step(x)
    for name, (ours, theirs) in pairs.items():
        mine, peer = world.score(opened(ours.sae, kinds[name][0])), world.score(opened_theirs(theirs.sae))
        for side, found in (("ours", mine), ("saelens", peer)):
            report.peers |= {f"synth: {name}, {side}, {key}": float(value) for key, value in found._asdict().items()}
        if name == "matryoshka":
            values = (mine.f1, mine.mcc, mine.f1 - peer.f1, mine.mcc - peer.mcc)
            names = ("synth_matryoshka_f1", "synth_matryoshka_mcc", "synth_f1_vs_saelens", "synth_mcc_vs_saelens")
            report.figures |= {key: Figure(value, value, value) for key, value in zip(names, values, strict=True)}
    report.say(
        f"synth: {at.n_features} features in {at.d_in} dimensions, {world.l0:.1f} at a time; d_sae {at.d_sae}, k={at.k}, "
        f"{size.synth_steps} steps of {batch}, learning rate {lr:g}"
    )


def measure_grid(report: Report, size: Size) -> None:
    """Eight SAEs from one store: on one stream, alone, and SAELens' one after another."""
    from sae_lens import TopKTrainingSAEConfig

    ks, steps, lr = (4, 8, 12, 16, 20, 24, 28, 32), size.n_grid_steps, 1e-3
    batch, expansion = (1024, 8) if steps < 10 else (2048, 16)
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        values = {
            "folder": f"{name}/run",
            "clinic": {"n_notes": 200 if steps < 10 else 600},
            "capture": {"hook_points": ["blocks.2.hook_resid_post"]},
            "sae": [{"architecture": "topk", "expansion_factor": expansion, "k": k} for k in ks],
            "training": {
                "lr": lr,
                "n_tokens": steps * batch,
                "batch_tokens": batch,
                "log_every_steps": steps,
                "dead_after_tokens": 1000 * batch,  # as SAELens counts them: none is dead so early, on either side
            },
            "tracking": {"wandb": "disabled"},
            "engine": {"kind": "inline", "threads": torch.get_num_threads()},
        }
        run = Run(validated(values, "this benchmark"))
        with contextlib.redirect_stderr(io.StringIO()):
            run.stages(("capture",))
        fits: list[Fit] = run.fits
        stream = ActivationStream(run_store(run), fits[0].hook_point, fits[0].training, 0)
        d_in = run_store(run).hook_points[fits[0].hook_point]

        held_out = next(stream.batches(steps))  # the batch after the last, which neither side has seen
        explained: dict[str, dict[str, float]] = {f"k={k}": {} for k in ks}
        peers: list[SAELens] = []

        def ours(some: list[Fit]) -> Callable[[], None]:
            return lambda: fit_together(some, run.cfg.tracking, lambda _amount: None)

        def forget() -> None:
            shutil.rmtree(run.folder / "saes", ignore_errors=True)

        def judge_ours() -> None:
            raw = held_out / stream.input_scale  # what is saved reads activations as they are
            for k, fit in zip(ks, fits, strict=True):
                reconstruction = saelens_format.load(fit.folder)(raw).reconstruction.detach()
                explained[f"k={k}"]["ours"] = explained_variance(raw, reconstruction)
            forget()

        def theirs() -> None:
            for k in ks:
                peer = SAELens(TopKTrainingSAEConfig(k=k, d_in=d_in, d_sae=expansion * d_in), lr, batch, steps)
                for x in itertools.islice(stream.batches(), steps):
                    peer.step(x)
                peers.append(peer)

        def judge_theirs() -> None:
            for k, peer in zip(ks, peers, strict=True):
                explained[f"k={k}"]["saelens"] = explained_variance(held_out, peer.reconstruct(held_out))
            peers.clear()

        ways = {
            "ours": Way(ours(fits), after=judge_ours),
            "ours, one": Way(ours(fits[:1]), after=forget),
            "ours, two": Way(ours(fits[:2]), after=forget),
            "ours, eight alone": Way(lambda: [ours([fit])() for fit in fits] and None, after=forget),
            "saelens": Way(theirs, after=judge_theirs),
        }
        times = race(ways, 2 if steps < 10 else 3)
    report.say(
        f"grid: eight TopK SAEs, d_in {d_in}, d_sae {expansion * d_in}: {steps} steps of {batch}, learning rate {lr:g}, "
        "whole fits with start and end"
    )
    report.figures["grid8_vs_saelens"] = times.ratio("ours", "saelens")
    alone = zip(times.seconds["ours"], times.seconds["ours, eight alone"], strict=True)
    report.figures["extra_sae_vs_alone"] = spread([together / apart for together, apart in alone])
    for way in ways:
        report.peers |= {
            f"grid: {way}, s": times.median(way),
            f"grid: {way}, processor s": times.processor_median(way),
        }
    explained = {k: {side: found[side] for side in ("ours", "saelens")} for k, found in explained.items()}
    for k, found in explained.items():
        report.peers |= {f"grid: {k}, {side}, explained variance": value for side, value in found.items()}
    report.bars.append(Bars("Explained variance of eight trained together", explained))


def run_store(run: Run) -> Any:
    """The run's activations."""
    from hooks.store import Store

    return Store.open(run.folder / "acts")


def measure_dead(report: Report, size: Size) -> None:
    """The quickstart's own training."""
    import yaml

    from sae import artefact

    path = Path(__file__).resolve().parent.parent / "configs" / "quickstart.yaml"
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) | {"folder": f"{name}/run"}
        for section, settings in size.quickstart.items():
            values[section] = values.get(section, {}) | settings
        run = Run(validated(values, str(path)))
        with contextlib.redirect_stderr(io.StringIO()):
            run.stages(("capture", "train"))
        found = [artefact.read_json(fit.folder / "metrics.json") for fit in run.fits]
    shares = [float(one["dead_fraction"]) for one in found]
    report.say(
        f"quickstart: {len(shares)} SAEs, {run.cfg.training.n_tokens:,} tokens each; the value is the largest share"
    )
    report.figures["dead_fraction_quickstart"] = Figure(max(shares), statistics.median(shares), max(shares))


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
