"""Fitting one sparse autoencoder to one hook point, from the store.

The loop reads: batch → losses → gradients → step → clocks → log → checkpoint. It can be killed at any moment; the
next run starts from the last checkpoint and ends in the same bytes as one that was never interrupted. Several processes
may share it (`training.replicas`); the first of them writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hooks.store import Store
from sae import artefact, saelens_format
from sae.base import SAE, Average, SAEOutput, variance
from sae.build import build
from sae.config import JumpReLUConfig, SAEConfig, TopKConfig
from sae.errors import UserError
from training import checkpoint
from training.checkpoint import Clocks, Progress
from training.config import TrackingConfig, TrainingConfig
from training.replicas import ALONE, Replicas
from training.schedule import lr_factor, sparsity_weight
from training.stream import ActivationStream
from training.tracking import HISTORY_FILE, Row, Tracker

ENCODER_SCALE = 0.3
"""Norm of the encoder's columns at the start. Source: docs/log.md, measured on a clinical decoder; 0.1 and 1.0 give
less explained variance after 200 steps for all three architectures."""
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Fit:
    """All that decides one autoencoder."""

    run: Path
    """The run folder."""
    hook_point: str
    sae: SAEConfig
    training: TrainingConfig
    seed: int
    store_id: str
    threads: int
    """Threads of the arithmetic; another number may give other last bits."""

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        settings = (self.sae.model_dump(mode="json"), self.training.model_dump(mode="json", exclude={"hook_points"}))
        return artefact.content_hash(settings, self.hook_point, self.seed, self.store_id, self.threads)

    @property
    def sae_id(self) -> str:
        """Readable name of the autoencoder, unique in the run."""
        match self.sae:
            case TopKConfig():
                detail = f"-k{self.sae.k}"
            case JumpReLUConfig() if self.sae.target_l0 is not None:
                detail = f"-l0_{self.sae.target_l0:g}"
            case _:
                detail = ""
        return f"{self.sae.architecture}-x{self.sae.expansion_factor}{detail}-{self.key[:8]}"

    @property
    def folder(self) -> Path:
        return self.run / "saes" / self.hook_point / self.sae_id

    @property
    def is_complete(self) -> bool:
        return (self.folder / METRICS_FILE).is_file()

    @property
    def log_name(self) -> str:
        """Name of its W&B run."""
        return f"{self.hook_point}/{self.sae_id}"

    @property
    def log_config(self) -> dict[str, Any]:
        """Settings that its W&B run shows."""
        sections = {"sae": self.sae.model_dump(mode="json"), "training": self.training.model_dump(mode="json")}
        return {"hook_point": self.hook_point, "seed": self.seed, **sections}


@dataclass(frozen=True)
class FitTask:
    """A fit and where it is logged, to be sent to a worker."""

    fit: Fit
    tracking: TrackingConfig
    group: str | None = None
    """Name that W&B groups runs by; the run folder's if none."""
    until_step: int | None = None
    """Where to pause, for a comparison; the end if none."""
    replicas: Replicas = ALONE
    """Processes that share it, each with this task."""

    @property
    def name(self) -> str:
        return f"the training of {self.fit.hook_point} {self.fit.sae_id}"

    @property
    def id(self) -> str:
        return f"train-{self.fit.hook_point}-{self.fit.sae_id}"

    def run(self, done: Callable[[int], None]) -> None:
        fit(self.fit, self.tracking, done, self.group, self.until_step, self.replicas)


class State(NamedTuple):
    """A training run in progress."""

    sae: SAE
    optimiser: torch.optim.Adam
    clocks: Clocks
    progress: Progress


def fit(
    task: Fit,
    tracking: TrackingConfig,
    done: Callable[[int], None],
    group: str | None = None,
    until_step: int | None = None,
    replicas: Replicas = ALONE,
) -> None:
    """Trains, saves and records one autoencoder; does nothing where that is done.

    Args:
        task: What to train.
        tracking: Where to log.
        done: Told the tokens of each step.
        group: Name that W&B groups it by.
        until_step: Pause there, with a checkpoint.
        replicas: This process among those that share the work, all of which must call this.

    Raises:
        UserError: The store is not the one the task was made for, too small, training diverged, or the processes cannot
            share it.
    """
    if task.is_complete:
        return
    replicas.refuse_uneven(task.training.batch_tokens)
    store = Store.open(task.run / "acts")
    stream = ActivationStream(store, task.hook_point, task.training, task.seed)
    state = resume(task, stream, replicas)
    refuse_difference(task, state, state.progress.step, replicas)
    last = min(until_step or task.training.n_steps, task.training.n_steps)
    done(state.progress.step * task.training.batch_tokens)
    if not replicas.leads:
        train(task, state, stream, None, done, last, replicas)
        return
    tracker = Tracker(task.folder / HISTORY_FILE, state.progress.log_bytes)
    summary = None
    try:
        tracker.open_wandb(tracking, task.run, task.log_name, group or task.run.name, task.log_config)
        summary = train(task, state, stream, tracker, done, last, replicas)
        if last == task.training.n_steps:
            finish(task, state, stream, store, summary)
    finally:
        tracker.close(summary)


def resume(task: Fit, stream: ActivationStream, replicas: Replicas) -> State:
    """The state of the last checkpoint, or a new one."""
    sae = build(task.sae, stream.store.hook_points[task.hook_point]).to(replicas.device)
    groups = [{"params": [p], "lr_scale": sae.lr_scales.get(name, 1.0)} for name, p in sae.named_parameters()]
    optimiser = torch.optim.Adam(groups, lr=task.training.lr, fused=True)
    found = checkpoint.read(task.folder, sae, optimiser)
    if found is not None:
        clocks, progress = found
        return State(
            sae, optimiser, clocks, progress._replace(n_replicas=max(progress.n_replicas, replicas.n_replicas))
        )
    generator = torch.Generator().manual_seed(task.seed)
    sae.cpu().initialise(stream.sample(), generator, ENCODER_SCALE)  # on the CPU: the same bytes wherever it is trained
    zeros = torch.zeros(sae.d_sae, dtype=torch.int64, device=replicas.device)
    return State(
        sae.to(replicas.device), optimiser, Clocks(zeros, zeros.clone()), Progress(0, 0, 0, replicas.n_replicas)
    )


def train(
    task: Fit,
    state: State,
    stream: ActivationStream,
    tracker: Tracker | None,
    done: Callable[[int], None],
    last: int,
    replicas: Replicas,
) -> dict[str, float]:
    """Runs the steps that remain until `last`; returns the last logged figures. Without a tracker, nothing is written."""
    cfg = task.training
    sae, optimiser, clocks, progress = state
    window_tokens = progress.window_tokens
    row = last_row(task.folder / HISTORY_FILE, progress.log_bytes) if tracker is not None else {}
    for step, batch in zip(range(progress.step, last), stream.batches(progress.step), strict=False):
        x = replicas.share(batch)
        dead = clocks.silent_tokens >= cfg.dead_window_tokens
        for group in optimiser.param_groups:
            group["lr"] = cfg.lr * lr_factor(step, cfg) * group["lr_scale"]
        losses = sae.losses(x, dead, sparsity_weight(step, cfg), replicas.average)
        refuse_divergence(losses.total, task, step)
        descend(sae, optimiser, losses.total, cfg.gradient_clip, replicas)
        tick(clocks, losses.output, len(batch), replicas)
        window_tokens += len(batch)
        if (step + 1) % cfg.log_every_steps == 0 or step + 1 == cfg.n_steps:
            terms = losses.terms | {"loss": losses.total}
            row = log_row(step + 1, cfg, x, losses.output, terms, dead, replicas.average)
            if tracker is not None:
                tracker.log(row, clocks.fired.cpu().numpy() / window_tokens)
            clocks.fired.zero_()
            window_tokens = 0
        if (step + 1) % cfg.checkpoint_every_steps == 0 or step + 1 == last:
            refuse_difference(task, state, step + 1, replicas)
            if tracker is not None:
                tracker.flush()
                now = Progress(step + 1, tracker.n_bytes, window_tokens, progress.n_replicas)
                checkpoint.write(task.folder, sae, optimiser, clocks, now)
        done(len(batch))
    return row


def descend(
    sae: SAE, optimiser: torch.optim.Optimizer, loss: Tensor, gradient_clip: float, replicas: Replicas = ALONE
) -> None:
    """One step of the optimiser down a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    replicas.average_gradients(sae.parameters())
    sae.project_gradients()
    torch.nn.utils.clip_grad_norm_(sae.parameters(), gradient_clip)
    optimiser.step()
    sae.constrain()


def tick(clocks: Clocks, output: SAEOutput, n_tokens: int, replicas: Replicas) -> None:
    """Counts where each feature fired, in the whole batch."""
    fired = (output.feature_acts.detach() > 0).sum(dim=0)
    replicas.add_up(fired)
    clocks.fired.add_(fired)
    clocks.silent_tokens.add_(n_tokens).masked_fill_(fired > 0, 0)


def log_row(
    step: int,
    cfg: TrainingConfig,
    x: Tensor,
    output: SAEOutput,
    terms: dict[str, Tensor],
    dead: Tensor,
    average: Average,
) -> dict[str, float]:
    """The figures of one step."""
    with torch.no_grad():
        residual = average((x - output.reconstruction).square().sum(dim=1).mean())
        row: Row = {
            "step": step,
            "n_tokens": step * cfg.batch_tokens,
            "l0": float(average((output.feature_acts > 0).float().sum(dim=1).mean())),
            "explained_variance": float(1 - residual / variance(x, average)),
            "dead_fraction": float(dead.float().mean()),
            "lr": cfg.lr * lr_factor(step - 1, cfg),
            "sparsity_weight": sparsity_weight(step - 1, cfg),
        }
    return row | {name: float(value.detach()) for name, value in terms.items()}


def last_row(path: Path, n_bytes: int) -> dict[str, float]:
    """The last row of the part of a log that a resumed run keeps; empty for a new one."""
    import json

    if n_bytes == 0:
        return {}
    return json.loads(path.read_bytes()[:n_bytes].splitlines()[-1])


def refuse_divergence(loss: Tensor, task: Fit, step: int) -> None:
    """Stops a run whose loss is no number any more, keeping its last checkpoint."""
    if not bool(torch.isfinite(loss)):
        raise UserError(
            f"The loss of {task.hook_point} {task.sae_id} is {float(loss.detach())} at step {step + 1}, expected a number. "
            "Lower training.lr or the sparsity coefficient."
        )


def refuse_difference(task: Fit, state: State, step: int, replicas: Replicas) -> None:
    """Stops where processes that share a fit are not at the same place of it."""
    if replicas.n_replicas > 1:
        found = checkpoint.fingerprint(task.key, step, state.sae, state.optimiser, state.clocks)
        replicas.refuse_difference(found, f"{task.hook_point} {task.sae_id} at step {step}")


def finish(task: Fit, state: State, stream: ActivationStream, store: Store, summary: dict[str, float]) -> None:
    """Saves the folded autoencoder, where it comes from, and, last, its training figures."""
    model, sae = store.origin["model"], state.sae.cpu()
    sae.fold(stream.input_scale)
    metadata = {
        "model_name": model["model"],
        "hook_name": task.hook_point,
        "hook_head_index": None,
        "context_size": store.context_tokens,
        "prepend_bos": store.origin["capture"]["prepend_bos"],
        "exclude_special_tokens": task.training.exclude_special_tokens,
        "dataset_path": store.origin["corpus"]["name"],
    }
    saelens_format.save(sae, task.sae, task.folder, metadata)
    artefact.write_json(task.folder / "origin.json", origin(task, stream, state.progress.n_replicas))
    artefact.write_json(task.folder / METRICS_FILE, summary)


def origin(task: Fit, stream: ActivationStream, n_replicas: int) -> dict[str, Any]:
    """What the autoencoder's figures rest on."""
    found = {
        "sae_id": task.sae_id,
        "key": task.key,
        "hook_point": task.hook_point,
        "sae": task.sae.model_dump(mode="json"),
        "training": task.training.model_dump(mode="json"),
        "seed": task.seed,
        "threads": task.threads,
        "store_id": task.store_id,
        "store": stream.store.origin,
        "rows": stream.counts._asdict(),
        "input_scale": stream.input_scale,
        "norm_limit": stream.norm_limit,
        "clinlens": version("clinlens"),
        "torch": torch.__version__,
    }
    return found | {"n_replicas": n_replicas} if n_replicas > 1 else found
