"""Our trainer beside SAELens' own, on the same activations and as many tokens: what is kept at which sparsity.

    python benchmarks/pareto.py [--quick] [--json] [--plot FILE.png]

Every SAE sees the batches of one `ActivationStream` (same rows, same order, scaled to a mean norm of √d_in), as many of
them, and has as many features. Ours are trained at the default learning rate, SAELens' at four; all of theirs count. All are
measured by the same code on the same held-out documents: explained variance, and the CE loss score of the spliced model.

- `lost_vs_saelens_topk`, `lost_vs_saelens_jumprelu`, `lost_vs_saelens_l1`: variance that their front loses ÷ variance that
  ours loses at the same L0, for each architecture, over the L0 that both reach (read off the hull of log L0 against log of
  what is lost; median and quartiles over eleven places).
- `lost_vs_saelens`: the same for the fronts over all architectures.

Above 1 means that ours keeps more. The full form takes a small real decoder on real notes where they lie beside the
project, else, as the quick one, the embedded clinic.
"""

import contextlib
import io
import math
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.harness.peers import quiet
from benchmarks.harness.report import Report, arguments_of
from benchmarks.harness.rounds import Figure, spread
from clinlens.config import validated
from clinlens.pipeline import Run
from hooks.hook_points import parse
from hooks.model import load
from hooks.store import Store
from sae import saelens_format
from sae.base import SAEOutput
from training.engine import prepare
from training.evaluation import Reconstruction, Seen, held_out_batches, mean_of, rows
from training.splice import Splice
from training.stream import ActivationStream

MATERIALS = Path(__file__).resolve().parents[2] / "shared" / "materials"
TARGETS = {
    "lost_vs_saelens_topk": "≥ 1",
    "lost_vs_saelens_jumprelu": "≥ 1",
    "lost_vs_saelens_l1": "≥ 1",
    "lost_vs_saelens": "≥ 1",
}
ARCHITECTURES = ("topk", "jumprelu", "l1")
EXPANSION = 4
LR = 3e-3
"""Of SAELens' in the quick form. Source: configs/real.yaml. Ours is the default for that many features."""
PEER_LRS = (3e-4, 1e-3, 3e-3, 1e-2)
"""Theirs: SAELens' default and larger ones, up to about what ours is."""
N_PLACES = 11
LOWEST_SHOWN = 0.3
"""What keeps less is measured, but not drawn."""


class Size(NamedTuple):
    """How much is trained."""

    n_tokens: int
    batch_tokens: int
    l0: tuple[int, ...]
    """TopK's k, and the L0 that JumpReLU is steered to."""
    l1: tuple[float, ...]
    l0_coefficients: tuple[float, ...]
    """SAELens' JumpReLU."""
    peer_lrs: tuple[float, ...]
    n_held_out: int


FULL = Size(600_000, 2048, (4, 8, 16, 32), (0.5, 1.0, 2.0, 4.0), (0.3, 1.0, 3.0, 10.0), PEER_LRS, 20_000)
QUICK = Size(60_000, 1024, (8, 24), (1.0, 4.0), (1.0, 5.0), (LR,), 4_000)


class Point(NamedTuple):
    """One trained SAE."""

    maker: str
    architecture: str
    l0: float
    explained_variance: float
    ce_loss_score: float


@dataclass
class ParetoReport(Report):
    """A report whose picture is the Pareto plot."""

    points: list[Point] = field(default_factory=list)

    @override
    def plot(self, path: Path) -> None:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        colours, markers = {"clinlens": "#0072b2", "saelens": "#d55e00"}, dict(zip(ARCHITECTURES, "osD^", strict=False))
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.4))
        for axis, key in zip(axes, ("explained_variance", "ce_loss_score"), strict=True):
            for maker, colour in colours.items():
                for architecture, marker in markers.items():
                    some = [one for one in self.points if (one.maker, one.architecture) == (maker, architecture)]
                    front = front_of(some, key)
                    axis.scatter(
                        [one.l0 for one in some],
                        [getattr(one, key) for one in some],
                        s=16,
                        c=colour,
                        marker=marker,
                        alpha=0.35,
                    )
                    axis.plot(
                        *zip(*((one.l0, getattr(one, key)) for one in front), strict=True), color=colour, marker=marker,
                        linestyle="-" if maker == "clinlens" else "--", label=f"{maker} {architecture}",
                    )  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set(xlabel="L0 (active features per token)", ylabel=key.replace("_", " "))
            axis.grid(color="#e3e6ea")
            lowest = max(min(getattr(one, key) for one in self.points), LOWEST_SHOWN)
            shown = [one.l0 for one in self.points if getattr(one, key) >= lowest]
            axis.set(ylim=(lowest - 0.02, 1.0), xlim=(0.8 * min(shown), 1.25 * max(shown)))
        axes[0].legend(fontsize=8)
        figure.suptitle("\n".join(textwrap.wrap("; ".join(self.settings[:1]), 110)), fontsize=9)
        figure.tight_layout()
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def main() -> None:
    """Trains everything and reports it."""
    arguments = arguments_of(__doc__)
    size = QUICK if arguments.quick else FULL
    prepare(threads=1)
    report = ParetoReport(targets=TARGETS)
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        run = run_of(Path(name) / "run", size, is_real=not arguments.quick and MATERIALS.is_dir())
        with contextlib.redirect_stderr(io.StringIO()):
            run.stages(("capture", "train"))
        fits = run.fits
        stream = ActivationStream(Store.open(run.folder / "acts"), fits[0].hook_point, fits[0].training, 0)
        rates = ", ".join(f"{lr:g}" for lr in size.peer_lrs)
        report.say(
            f"{Path(run.model.name).name} at {stream.hook_point}, {size.n_tokens:,} tokens, {EXPANSION} × d_in features: "
            f"batches of {size.batch_tokens}, seed 0; our default learning rate, {rates} of SAELens'"
        )
        saes: dict[str, Any] = {
            f"clinlens/{fit.sae.architecture}/{fit.sae_id}": saelens_format.load(fit.folder) for fit in fits
        }
        for architecture in ARCHITECTURES:
            for number, (config, lr) in enumerate(peer_configs(architecture, stream, size)):
                saes[f"saelens/{architecture}/{number}"] = train_peer(config, lr, stream, size)
            report.say(f"SAELens {architecture}: trained")
        report.points = measured(saes, stream, run, size.n_held_out)
    for architectures in (*((one,) for one in ARCHITECTURES), ARCHITECTURES):
        some = [one for one in report.points if one.architecture in architectures]
        name = f"_{architectures[0]}" if len(architectures) == 1 else ""
        report.figures[f"lost_vs_saelens{name}"] = lost_ratio(some)
    report.peers = peers_of(report.points)
    report.deliver(arguments)


def run_of(folder: Path, size: Size, *, is_real: bool) -> Run:
    """Our run: three architectures at several sparsities, one hook point."""
    point = "blocks.3.hook_resid_post" if is_real else "blocks.2.hook_resid_post"
    saes = [{"architecture": "topk", "expansion_factor": EXPANSION, "k": k} for k in size.l0]
    saes += [{"architecture": "jumprelu", "expansion_factor": EXPANSION, "target_l0": l0} for l0 in size.l0]
    saes += [{"architecture": "l1", "expansion_factor": EXPANSION, "l1_coefficient": weight} for weight in size.l1]
    values: dict[str, Any] = {
        "folder": str(folder),
        "capture": {"hook_points": [point]},
        "sae": saes,
        "training": {"n_tokens": size.n_tokens, "batch_tokens": size.batch_tokens},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline", "threads": 1},
    }
    if is_real:
        values["model"] = {"name": str(MATERIALS / "lm" / "stories260k-clinical")}
        notes = MATERIALS / "text" / "mts_dialog.jsonl"
        values["corpus"] = {"name": str(notes), "id_column": "id", "short_documents": "skip"}
    else:
        values["clinic"] = {"n_notes": 400}
    return Run(validated(values, "this benchmark"))


def peer_configs(architecture: str, stream: ActivationStream, size: Size) -> Iterator[tuple[Any, float]]:
    """SAELens' settings of one architecture and their learning rates; JumpReLU's are those its documentation gives."""
    from sae_lens import JumpReLUTrainingSAEConfig, StandardTrainingSAEConfig, TopKTrainingSAEConfig

    d_in = stream.store.hook_points[stream.hook_point]
    shape = {"d_in": d_in, "d_sae": EXPANSION * d_in}
    n_steps = size.n_tokens // size.batch_tokens
    for lr in size.peer_lrs:
        match architecture:
            case "topk":
                yield from ((TopKTrainingSAEConfig(**shape, k=k), lr) for k in size.l0)
            case "l1":
                warm = {"l1_warm_up_steps": n_steps // 20}
                yield from ((StandardTrainingSAEConfig(**shape, l1_coefficient=one, **warm), lr) for one in size.l1)
            case _:
                anthropic = {
                    "jumprelu_sparsity_loss_mode": "tanh", "jumprelu_bandwidth": 2.0, "jumprelu_init_threshold": 0.1,
                    "pre_act_loss_coefficient": 3e-6, "l0_warm_up_steps": n_steps,
                }  # fmt: skip
                for one in size.l0_coefficients:
                    yield JumpReLUTrainingSAEConfig(**shape, l0_coefficient=one, **anthropic), lr


class PeerSAE:
    """An SAE of SAELens' trainer, called as ours are: raw activations in and out.

    Args:
        sae: It.
        scale: Of the inputs it was trained on.
    """

    def __init__(self, sae: Any, scale: float) -> None:
        self.d_in, self.d_sae = sae.cfg.d_in, sae.cfg.d_sae
        self._sae, self._scale = sae, scale

    def __call__(self, x: Tensor) -> SAEOutput:
        acts = self._sae.encode(x * self._scale)
        return SAEOutput(acts, self._sae.decode(acts) / self._scale)


def train_peer(config: Any, lr: float, stream: ActivationStream, size: Size) -> PeerSAE:
    """Trains an SAE by SAELens' own trainer on our batches."""
    from sae_lens import TrainingSAE
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    n_steps = size.n_tokens // size.batch_tokens
    settings = SAETrainerConfig(
        total_training_samples=n_steps * size.batch_tokens, train_batch_size_samples=size.batch_tokens, lr=lr, lr_end=lr / 10,
        lr_decay_steps=n_steps // 5,
    )  # fmt: skip
    torch.manual_seed(0)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        sae = TrainingSAE.from_dict(config.to_dict())
        trained = SAETrainer(settings, sae, stream.batches()).fit()
    return PeerSAE(trained.eval().requires_grad_(False), stream.input_scale)


@torch.inference_mode()
def measured(saes: dict[str, Any], stream: ActivationStream, run: Run, n_held_out: int) -> list[Point]:
    """Every SAE's figures, by one code on one set of documents."""
    store, lm = stream.store, load(run.model)
    parts = list(rows(store, stream.hook_point, "held_out", n_held_out, True, stream.norm_limit))
    mean = mean_of(parts)
    sums = {name: Reconstruction(mean, sae.d_sae) for name, sae in saes.items()}
    for x in parts:
        for name, sae in saes.items():
            feature_acts, reconstruction = sae(x)
            sums[name].add(x, Seen((feature_acts > 0).sum(dim=0), reconstruction))
    splice = Splice(lm, parse(stream.hook_point), saes, mean.float(), True, stream.norm_limit)
    for batch in held_out_batches(store, lm, min(n_held_out, 4096)):
        splice.add(batch)
    found = []
    for name in saes:
        figures = sums[name].figures()
        maker, architecture, _ = name.split("/")
        score = splice.figures(name)["ce_loss_score"]
        found.append(Point(maker, architecture, figures["l0"], figures["explained_variance"], score))
    return found


def front_of(points: Sequence[Point], key: str) -> list[Point]:
    """The points that no other beats in sparsity and in a figure, sparsest first."""
    found: list[Point] = []
    for one in sorted(points, key=lambda one: (one.l0, -getattr(one, key))):
        if one.l0 > 0 and (not found or getattr(one, key) > getattr(found[-1], key)):
            found.append(one)
    return found


def lost_ratio(points: Sequence[Point]) -> Figure:
    """Variance that SAELens' front loses ÷ what ours loses at the same L0.

    Raises:
        SystemExit: The two reach no L0 in common.
    """
    fronts = [
        front_of([one for one in points if one.maker == maker], "explained_variance")
        for maker in ("clinlens", "saelens")
    ]
    low, high = max(front[0].l0 for front in fronts), min(front[-1].l0 for front in fronts)
    if not low <= high:
        raise SystemExit(
            f"The fronts share no L0: from {low:.1f} the one, up to {high:.1f} the other. Choose other sparsities."
        )
    places = [low * (high / low) ** (n / (N_PLACES - 1)) for n in range(N_PLACES)]
    ours, theirs = (lost_at(front) for front in fronts)
    return spread([theirs(place) / ours(place) for place in places])


def lost_at(front: Sequence[Point]) -> Callable[[float], float]:
    """The variance that a front loses at an L0: the lower hull in log L0 and log of what is lost.

    A hull, so that one more SAE between two others never makes a front look worse.
    """
    hull: list[tuple[float, float]] = []
    for place in [(math.log(one.l0), math.log(1 - one.explained_variance)) for one in front]:
        while len(hull) > 1 and slope(hull[-2], place) <= slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(place)
    l0, lost = zip(*hull, strict=True)
    return lambda place: float(np.exp(np.interp(math.log(place), l0, lost)))


def slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The slope of the line between two places."""
    return (other[1] - one[1]) / (other[0] - one[0])


def peers_of(points: Sequence[Point]) -> dict[str, float]:
    """Every point's figures by name."""
    found: dict[str, float] = {}
    for number, one in enumerate(sorted(points, key=lambda one: (one.maker, one.architecture, one.l0))):
        name = f"{one.maker}_{one.architecture}_{number}"
        found |= {f"{name}_l0": one.l0, f"{name}_explained_variance": one.explained_variance}
        found[f"{name}_ce_loss_score"] = one.ce_loss_score
    return found


if __name__ == "__main__":
    main()
