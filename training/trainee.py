"""One sparse autoencoder in training: its state, its steps, its log, its checkpoints.

A step reads: learning rate → losses → gradients → Adam → clocks → log → checkpoint. Several trainees may be fed the
same batches (`training.fit`); none knows of the others, so that each ends in the bytes of a run alone. It can be
killed at any moment; the next run starts from the last checkpoint and ends in the same bytes as one that was never
interrupted. Several processes may share it (`training.replicas`); the first of them writes.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.store import Store
from sae import artefact, saelens_format
from sae.base import SAE, Average, Losses, variance
from sae.build import build
from sae.errors import UserError
from sae.sparse.engine import SparseEngine
from training import checkpoint
from training.checkpoint import Clocks, Progress
from training.config import TrainingConfig
from training.replicas import ALONE, Replicas
from training.schedule import learning_rate, lr_factor, sparsity_weight
from training.spec import METRICS_FILE, Fit
from training.stream import ActivationStream
from training.tracking import HISTORY_FILE, Row, Tracker

ENCODER_SCALE = 0.3
"""Norm of the encoder's columns at the start. Source: docs/log.md, measured on a clinical decoder; 0.1 and 1.0 give
less explained variance after 200 steps for all three architectures."""
SPARSE_SHARE = 1 / 10
"""A step is sparse where the last one had at most this share of [batch, d_sae] to work on. Source: the crossover that
`benchmarks/sae_training.py --part crossover` measures, an eighth at 512 × 8,192; below it for small ones."""


SETTLED = 0.1
"""Share of the steps after which a loss that is still far from anything useful has run away."""
RUNAWAY = -10.0
"""Explained variance below which it has: reconstructions eleven times as far off as the mean. Wide autoencoders may start there."""


@dataclass(frozen=True)
class State:
    """What training changes."""

    sae: SAE
    optimiser: torch.optim.Adam
    clocks: Clocks


class Trainee:
    """An autoencoder on its way from the last checkpoint, or the start, to a step.

    Args:
        fit: What to train.
        stream: Where its batches come from; only counts and the scale are read here.
        sample: Rows of the stream to initialise on, where it starts.
        last: Step to stop at.
        tracker: The log; without one nothing is written.
        engine: For sparse steps, shared by all trainees of a process; none means dense ones.
        replicas: This process among those that share the work.
    """

    def __init__(
        self,
        fit: Fit,
        stream: ActivationStream,
        sample: Float[Tensor, "n d_in"] | None,
        last: int,
        engine: SparseEngine | None,
        replicas: Replicas = ALONE,
    ) -> None:
        self.fit, self.stream, self.last = fit, stream, last
        self.engine, self.replicas = engine, replicas
        self.state, self.progress = resumed(fit, stream, sample, replicas)
        self.lr = learning_rate(fit.training, self.state.sae.d_sae)
        self.tracker: Tracker | None = None
        self.row: dict[str, float] = {}
        self._window_tokens, self._n_codes = self.progress.window_tokens, self.progress.n_codes
        self._is_sparse = False
        self.refuse_difference(self.progress.step)

    @property
    def next_step(self) -> int:
        """Steps done, which is the number of the batch it waits for."""
        return self.progress.step

    @property
    def is_done(self) -> bool:
        return self.progress.step >= self.last

    def log_to(self, tracker: Tracker) -> None:
        """Where rows go from now on."""
        self.tracker = tracker
        self.row = last_row(self.fit, self.progress.log_bytes)

    def step(self, x: Float[Tensor, "batch d_in"], n_tokens: int) -> None:
        """One step.

        Args:
            x: This process' rows of the batch.
            n_tokens: Rows of the whole batch.

        Raises:
            UserError: The loss is no number any more; the last checkpoint stays.
        """
        cfg, step = self.fit.training, self.progress.step
        sae, optimiser, clocks = self.state.sae, self.state.optimiser, self.state.clocks
        dead = clocks.silent_tokens >= cfg.dead_window_tokens
        for group in optimiser.param_groups:
            group["lr"] = self.lr * lr_factor(step, cfg) * group["lr_scale"]
        losses = self.losses(x, dead, sparsity_weight(step, cfg))
        self.refuse_divergence(losses.total, x)
        descend(sae, optimiser, losses.total, cfg.gradient_clip, self.replicas)
        sae.observe(losses)
        self.replicas.add_up(losses.fired)
        clocks.fired.add_(losses.fired)
        clocks.silent_tokens.add_(n_tokens).masked_fill_(losses.fired > 0, 0)
        self._window_tokens += n_tokens
        self._n_codes = self.replicas.total(losses.n_codes)
        self.progress = self.progress._replace(step=step + 1)
        is_logged = (step + 1) % cfg.log_every_steps == 0 or step + 1 == cfg.n_steps
        is_kept = (step + 1) % cfg.checkpoint_every_steps == 0 or self.is_done
        if is_logged or is_kept:
            self.refuse_runaway(x, losses)
        if is_logged:
            self.log(x, losses, dead, n_tokens)
        if is_kept:
            self.checkpoint()

    def losses(self, x: Float[Tensor, "batch d_in"], dead: Tensor, weight: float) -> Losses:
        """Sparse where that is less work, dense where not."""
        sae, average = self.state.sae, self.replicas.average
        is_worth = is_worth_sparse(sae, self._n_codes, self.fit.training.batch_tokens)
        self._is_sparse = self.engine is not None and is_worth
        if self.engine is None or not self._is_sparse:
            return sae.losses(x, dead, weight, average)
        return sae.sparse_losses(x, dead, weight, self.engine, average)

    @torch.no_grad()
    def log(self, x: Float[Tensor, "batch d_in"], losses: Losses, dead: Tensor, n_tokens: int) -> None:
        """A row of figures of the step just done."""
        cfg, step, average = self.fit.training, self.progress.step, self.replicas.average
        row: Row = figures(step, cfg, x, losses, dead, n_tokens, average)
        row["lr"] = self.lr * lr_factor(step - 1, cfg)
        row["codes_per_token"] = self._n_codes / n_tokens
        row["is_sparse"] = int(self._is_sparse)
        self.row = dict(row)
        if self.tracker is not None:
            self.tracker.log(row, self.state.clocks.fired.cpu().numpy() / self._window_tokens)
        self.state.clocks.fired.zero_()
        self._window_tokens = 0

    def checkpoint(self) -> None:
        """Writes the state, of which all processes hold the same."""
        self.refuse_broken_weights()
        self.refuse_difference(self.progress.step)
        if self.tracker is None:
            return
        self.tracker.flush()
        self.progress = self.progress._replace(
            log_bytes=self.tracker.n_bytes, window_tokens=self._window_tokens, n_codes=self._n_codes
        )
        state = self.state
        checkpoint.write(self.fit.folder, self.fit.key, state.sae, state.optimiser, state.clocks, self.progress)

    def finish(self, store: Store) -> None:
        """Saves the folded autoencoder, where it comes from, and, last, its training figures."""
        model, sae = store.origin["model"], self.state.sae.cpu()
        sae.fold(self.stream.input_scale)
        metadata = {
            "model_name": model["model"],
            "hook_name": self.fit.hook_point,
            "hook_head_index": None,
            "context_size": store.context_tokens,
            "prepend_bos": store.origin["capture"]["prepend_bos"],
            "exclude_special_tokens": self.fit.training.exclude_special_tokens,
            "dataset_path": store.origin["corpus"]["name"],
        }
        saelens_format.save(sae, self.fit.sae, self.fit.folder, metadata)
        artefact.write_json(self.fit.folder / "origin.json", self.origin())
        artefact.write_json(self.fit.folder / METRICS_FILE, self.row)

    def origin(self) -> dict[str, Any]:
        """What the autoencoder's figures rest on."""
        fit, stream = self.fit, self.stream
        found = {
            "sae_id": fit.sae_id,
            "key": fit.key,
            "hook_point": fit.hook_point,
            "sae": fit.sae.model_dump(mode="json"),
            "training": fit.training.model_dump(mode="json"),
            "lr": self.lr,
            "kernels": self.engine.kernels.name if self.engine is not None else None,
            "seed": fit.seed,
            "threads": fit.threads,
            "store_id": fit.store_id,
            "store": stream.store.origin,
            "rows": stream.counts._asdict(),
            "input_scale": stream.input_scale,
            "norm_limit": stream.norm_limit,
            "clinlens": version("clinlens"),
            "torch": torch.__version__,
        }
        n_replicas = self.progress.n_replicas
        return found | {"n_replicas": n_replicas} if n_replicas > 1 else found

    def refuse_divergence(self, loss: Tensor, x: Tensor) -> None:
        """Stops a run whose loss is no number any more, keeping its last checkpoint."""
        if bool(torch.isfinite(loss)):
            return
        if self.progress.step == 0 or not bool(x.isfinite().all()):  # the first step also rests on a sample of rows
            self.stream.refuse_damage()
        raise UserError(
            f"The loss of {self.fit.hook_point} {self.fit.sae_id} is {float(loss.detach())} at step "
            f"{self.progress.step + 1}, expected a number. {self.advice}"
        )

    @torch.no_grad()
    def refuse_runaway(self, x: Float[Tensor, "batch d_in"], losses: Losses) -> None:
        """Stops a run whose loss grows without end, though it is still a number, keeping its last checkpoint."""
        if self.progress.step <= SETTLED * self.fit.training.n_steps:
            return
        found = explained_variance(x, losses, self.replicas.average)
        if found < RUNAWAY:
            raise UserError(
                f"The loss of {self.fit.hook_point} {self.fit.sae_id} diverges: at step {self.progress.step} the explained "
                f"variance is {found:.3g}, expected one above {RUNAWAY:g}. {self.advice}"
            )

    def refuse_broken_weights(self) -> None:
        """Keeps the last checkpoint where the weights after a step are no numbers, though the loss before it was one.

        Selection leaves a feature of such weights out, so that the loss alone may never tell.
        """
        broken = [name for name, value in self.state.sae.named_parameters() if not bool(value.isfinite().all())]
        if broken:
            raise UserError(
                f"The weights of {self.fit.hook_point} {self.fit.sae_id} ({', '.join(broken)}) are no numbers after step "
                f"{self.progress.step}, expected finite ones. {self.advice}"
            )

    @property
    def advice(self) -> str:
        """What to do about a training that diverged, and what is left of it."""
        kept = checkpoint.exists(self.fit.folder)
        return f"Lower training.lr or the sparsity coefficient{'; its last checkpoint stays.' if kept else '.'}"

    def refuse_difference(self, step: int) -> None:
        """Stops where processes that share a fit are not at the same place of it."""
        if self.replicas.n_replicas > 1:
            state = self.state
            found = checkpoint.fingerprint(self.fit.key, step, state.sae, state.optimiser, state.clocks)
            self.replicas.refuse_difference(found, f"{self.fit.hook_point} {self.fit.sae_id} at step {step}")


def resumed(
    fit: Fit, stream: ActivationStream, sample: Float[Tensor, "n d_in"] | None, replicas: Replicas
) -> tuple[State, Progress]:
    """The state of the last checkpoint, or a new one."""
    sae = build(fit.sae, stream.store.hook_points[fit.hook_point]).to(replicas.device)
    optimiser = new_optimiser(sae, learning_rate(fit.training, sae.d_sae))
    found = checkpoint.read(fit.folder, fit.key, sae, optimiser)
    if found is not None:
        clocks, progress = found
        n_replicas = max(progress.n_replicas, replicas.n_replicas)
        return State(sae, optimiser, clocks), progress._replace(n_replicas=n_replicas)
    generator = torch.Generator().manual_seed(fit.seed)
    # On the CPU: the same bytes wherever it is trained.
    sae.cpu().initialise(stream.sample() if sample is None else sample, generator, ENCODER_SCALE)
    zeros = torch.zeros(sae.d_sae, dtype=torch.int64, device=replicas.device)
    state = State(sae.to(replicas.device), optimiser, Clocks(zeros, zeros.clone()))
    return state, Progress(0, 0, 0, replicas.n_replicas)


def is_worth_sparse(sae: SAE, n_codes: int, batch_tokens: int) -> bool:
    """Whether a step should be sparse.

    Args:
        sae: What takes it.
        n_codes: Entries that the last step had to work on; 0 before the first.
        batch_tokens: Rows of the batch.
    """
    return sae.is_always_sparse or 0 < n_codes <= SPARSE_SHARE * batch_tokens * sae.d_sae


def new_optimiser(sae: SAE, lr: float) -> torch.optim.Adam:
    """Adam, with a group for each parameter, at its own multiple of the learning rate."""
    scales = [(parameter, sae.lr_scales.get(name, 1.0)) for name, parameter in sae.named_parameters()]
    groups = [{"params": [parameter], "lr": lr * scale, "lr_scale": scale} for parameter, scale in scales]
    return torch.optim.Adam(groups, lr=lr, fused=True)


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


def figures(
    step: int,
    cfg: TrainingConfig,
    x: Float[Tensor, "batch d_in"],
    losses: Losses,
    dead: Tensor,
    n_tokens: int,
    average: Average,
) -> Row:
    """The figures of one step."""
    row: Row = {
        "step": step,
        "n_tokens": step * cfg.batch_tokens,
        "l0": float(losses.fired.sum()) / n_tokens,
        "explained_variance": explained_variance(x, losses, average),
        "dead_fraction": float(dead.float().mean()),
        "sparsity_weight": sparsity_weight(step - 1, cfg),
    }
    terms = losses.terms | {"loss": losses.total}
    return row | {name: float(value.detach()) for name, value in terms.items()}


def explained_variance(x: Float[Tensor, "batch d_in"], losses: Losses, average: Average) -> float:
    """Of the batch just learned from."""
    residual = average((x - losses.reconstruction).square().sum(dim=1).mean())
    return float(1 - residual / variance(x, average))


def last_row(fit: Fit, n_bytes: int) -> dict[str, float]:
    """The last row of the part of a log that a resumed run keeps; empty for a new one."""
    return last_row_of(fit.folder, n_bytes)


def last_row_of(folder: Path, n_bytes: int) -> dict[str, float]:
    """The same of a folder's log."""
    import json

    if n_bytes == 0:
        return {}
    return json.loads((folder / HISTORY_FILE).read_bytes()[:n_bytes].splitlines()[-1])
