"""How good trainers are after as many tokens: on planted data, and in a world of known features."""

import time
from typing import Any

import torch

from benchmarks.harness.planted import Planted, explained_variance
from benchmarks.harness.report import Report
from benchmarks.harness.rounds import Figure
from benchmarks.harness.trainers import (
    DictionaryLearning,
    Ours,
    SAELens,
    Sparsify,
    Trainer,
    has_dictionary_learning,
    slow,
)
from benchmarks.harness.training_size import Size
from sae.build import build
from sae.config import BatchTopKConfig, MatryoshkaConfig, SAEConfig, TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import KernelsName, choose
from training.config import TrainingConfig
from training.engine import prepare
from training.trainee import ENCODER_SCALE

DECAY = TrainingConfig().lr_decay


def measure_quality(report: Report, size: Size, kernels: KernelsName) -> None:
    """TopK on planted data: explained variance and planted directions found, after as many tokens.

    The learning rate of everybody falls over the last fifth, as our default has it and SAELens' options offer.
    """
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
            slow(maker, min(1.0, (n_steps - number + 1) / (DECAY * n_steps)))
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
        f"learning rate {lr:g}, falling over the last {DECAY:.0%}, {4 * shape.d_in} planted directions"
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
