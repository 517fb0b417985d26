"""Whole fits from a store: eight autoencoders on one stream beside SAELens' one after another; the quickstart's own training."""

import contextlib
import io
import itertools
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.planted import explained_variance
from benchmarks.harness.report import Bars, Report
from benchmarks.harness.rounds import Figure, Way, race, spread
from benchmarks.harness.trainers import SAELens
from benchmarks.harness.training_size import Size
from clinlens.config import validated
from clinlens.pipeline import Run
from sae import saelens_format
from training.fit import fit_together
from training.spec import Fit
from training.stream import ActivationStream

QUICKSTART = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"


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

    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        values = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8")) | {"folder": f"{name}/run"}
        for section, settings in size.quickstart.items():
            values[section] = values.get(section, {}) | settings
        run = Run(validated(values, str(QUICKSTART)))
        with contextlib.redirect_stderr(io.StringIO()):
            run.stages(("capture", "train"))
        found = [artefact.read_json(fit.folder / "metrics.json") for fit in run.fits]
    shares = [float(one["dead_fraction"]) for one in found]
    report.say(
        f"quickstart: {len(shares)} SAEs, {run.cfg.training.n_tokens:,} tokens each; the value is the largest share"
    )
    report.figures["dead_fraction_quickstart"] = Figure(max(shares), statistics.median(shares), max(shares))
