"""Fitting sparse autoencoders to one hook point, from the store: as many at a time as share its batches.

Activations are read, cast, scaled and mixed once for all of them; each then takes its own step. Source: the saving is
in the stream, and in the forward pass where there is no store; fusing the steps themselves saves less than a tenth
(docs/performance.md).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch

from hooks.store import Store
from sae import artefact
from sae.errors import UserError
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import choose
from training import checkpoint
from training.config import TrackingConfig, TrainingConfig
from training.memory import refuse_too_large
from training.replicas import ALONE, Replicas
from training.spec import Fit
from training.stream import ActivationStream
from training.tracking import HISTORY_FILE, Tracker
from training.trainee import Trainee


@dataclass(frozen=True)
class FitTask:
    """Fits that share their batches, and where they are logged, to be sent to a worker."""

    fits: tuple[Fit, ...]
    tracking: TrackingConfig
    group: str | None = None
    """Name that W&B groups runs by; the run folder's if none."""
    until_step: int | None = None
    """Where to pause, for a comparison; the end if none."""
    replicas: Replicas = ALONE
    """Processes that share it, each with this task."""

    @property
    def name(self) -> str:
        first, n = self.fits[0], len(self.fits)
        return f"the training of {first.hook_point} {first.sae_id if n == 1 else f'({n} SAEs)'}"

    @property
    def id(self) -> str:
        first, ids = self.fits[0], [fit.sae_id for fit in self.fits]
        what = ids[0] if len(ids) == 1 else f"{len(ids)}-saes-{artefact.content_hash(ids)[:8]}"
        return f"train-{first.hook_point}-{what}"

    def run(self, done: Callable[[int], None]) -> None:
        fit_together(self.fits, self.tracking, done, self.group, self.until_step, self.replicas)


def together(fits: Sequence[Fit], n_workers: int) -> list[tuple[Fit, ...]]:
    """Groups of fits that share their batches, so many that every worker has one.

    Args:
        fits: In any order; those of a group stay in theirs.
        n_workers: Jobs at once.
    """
    by_stream: dict[object, list[Fit]] = {}
    for fit in fits:
        by_stream.setdefault(fit.stream_key, []).append(fit)
    share = -(-len(fits) // max(n_workers, 1))
    found: list[tuple[Fit, ...]] = []
    for members in by_stream.values():
        size = max(min(share, members[0].training.saes_at_once), 1)
        found += [tuple(members[start : start + size]) for start in range(0, len(members), size)]
    return found


def fit(
    task: Fit,
    tracking: TrackingConfig,
    done: Callable[[int], None],
    group: str | None = None,
    until_step: int | None = None,
    replicas: Replicas = ALONE,
) -> None:
    """Trains, saves and records one autoencoder; does nothing where that is done. See `fit_together`."""
    fit_together((task,), tracking, done, group, until_step, replicas)


def fit_together(
    tasks: Sequence[Fit],
    tracking: TrackingConfig,
    done: Callable[[int], None],
    group: str | None = None,
    until_step: int | None = None,
    replicas: Replicas = ALONE,
) -> None:
    """Trains, saves and records autoencoders that share their batches; those that are complete are passed over.

    Args:
        tasks: What to train.
        tracking: Where to log.
        done: Told the tokens of each step of each.
        group: Name that W&B groups them by.
        until_step: Pause there, with a checkpoint.
        replicas: This process among those that share the work, all of which must call this.

    Raises:
        UserError: The store is not the one they were made for, or too small; one of them diverged (the others are
            trained to their end); or the processes cannot share them.
    """
    tasks = [task for task in tasks if not task.is_complete]
    if not tasks:
        return
    first = tasks[0]
    replicas = on_device(replicas, first.training)
    replicas.refuse_uneven(first.training.batch_tokens)
    store = Store.open(first.run / "acts")
    stream = ActivationStream(store, first.hook_point, first.training, first.seed)
    refuse_too_large(tasks, store.hook_points[first.hook_point], replicas.device)
    stream.refuse_repetition(max(task.training.n_tokens for task in tasks))
    trainees, lost = prepared(tasks, stream, until_step, replicas)
    with ExitStack() as stack:
        for trainee in trainees:
            done(trainee.next_step * trainee.fit.training.batch_tokens)
            if replicas.leads:
                stack.enter_context(logged(trainee, tracking, group))
            if trainee.is_done:
                conclude(trainee, store)
        running = [trainee for trainee in trainees if not trainee.is_done]
        number = min((trainee.next_step for trainee in running), default=0)
        batches = stream.batches(number)
        while running:
            batch = next(batches)
            x = replicas.share(batch)
            for trainee in [one for one in running if one.next_step == number]:
                try:
                    trainee.step(x, len(batch))
                except UserError as error:
                    if len(tasks) == 1 or replicas.n_replicas > 1:
                        raise
                    lost.append(error)
                    running.remove(trainee)
                    continue
                done(len(batch))
                if trainee.is_done:
                    conclude(trainee, store)
                    running.remove(trainee)
            number += 1
    if lost:
        raise UserError(
            f"{lost[0]} {len(lost)} of {len(tasks)} SAEs at {first.hook_point} failed, the others are done."
        )


def prepared(
    tasks: Sequence[Fit], stream: ActivationStream, until_step: int | None, replicas: Replicas
) -> tuple[list[Trainee], list[UserError]]:
    """The trainees, from their checkpoints or from one sample of the stream, and why others cannot be.

    Raises:
        UserError: The only one cannot be.
    """
    sample = None if all(checkpoint.exists(task.folder) for task in tasks) else stream.sample()
    engines: dict[tuple[str, str], SparseEngine | None] = {}
    trainees, lost = [], []
    for task in tasks:
        cfg = task.training
        chosen = (cfg.kernels, cfg.encoder_dtype)
        if chosen not in engines:
            engines[chosen] = engine_for(cfg, replicas.device)
        last = min(until_step or cfg.n_steps, cfg.n_steps)
        try:
            trainees.append(Trainee(task, stream, sample, last, engines[chosen], replicas))
        except UserError as error:
            if len(tasks) == 1 or replicas.n_replicas > 1:
                raise
            lost.append(error)
    return trainees, lost


def engine_for(cfg: TrainingConfig, device: str) -> SparseEngine | None:
    """What computes sparse steps, as configured; none for dense ones."""
    if cfg.kernels == "dense":
        return None
    return SparseEngine(choose(cfg.kernels, device), cfg.encoder_dtype)


def on_device(replicas: Replicas, cfg: TrainingConfig) -> Replicas:
    """This process, alone on the configured device; processes of torchrun have one each already.

    Raises:
        UserError: There is no such device.
    """
    if replicas.n_replicas > 1:
        return replicas
    has_gpu = torch.cuda.is_available()
    if cfg.device == "cuda" and not has_gpu:
        raise UserError("training.device is 'cuda', but torch sees no GPU here. Set it to auto or cpu.")
    return replace(replicas, device="cuda" if has_gpu and cfg.device != "cpu" else "cpu")


@contextmanager
def logged(trainee: Trainee, tracking: TrackingConfig, group: str | None) -> Iterator[None]:
    """The trainee's log, open; closed with its last figures, or with none where it did not come to its end."""
    task = trainee.fit
    tracker = Tracker(task.folder / HISTORY_FILE, trainee.progress.log_bytes)
    try:
        tracker.open_wandb(tracking, task.run, task.log_name, group or task.run.name, task.log_config)
        trainee.log_to(tracker)
        yield
    finally:
        tracker.close(trainee.row if trainee.is_done else None)


def conclude(trainee: Trainee, store: Store) -> None:
    """Saves a trainee that has taken its last step; one that only pauses has its checkpoint."""
    if trainee.replicas.leads and trainee.next_step == trainee.fit.training.n_steps:
        trainee.finish(store)
