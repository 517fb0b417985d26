"""Fitting sparse autoencoders from the store: as many at a time as share its batches, at one hook point or several.

Activations of a hook point are read, cast, scaled and mixed once for all that learn from them; each then takes its own
step. Hook points of one pass take turns, batch by batch. Source: the saving is in the stream, and in the forward pass
where there is no store; fusing the steps themselves saves less than a tenth (docs/performance.md).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
        return f"the training of {self._where(' and ')} {first.sae_id if n == 1 else f'({n} SAEs)'}"

    @property
    def id(self) -> str:
        ids = [fit.sae_id for fit in self.fits]
        what = ids[0] if len(ids) == 1 else f"{len(ids)}-saes-{artefact.content_hash(ids)[:8]}"
        return f"train-{self._where('-and-')}-{what}"

    def _where(self, joint: str) -> str:
        """The first hook point, and how many more there are."""
        n_more = len({fit.hook_point for fit in self.fits}) - 1
        return self.fits[0].hook_point + (f"{joint}{n_more}{joint[0]}more" if n_more else "")

    def run(self, done: Callable[[int], None]) -> None:
        fit_together(self.fits, self.tracking, done, self.group, self.until_step, self.replicas)


def together(fits: Sequence[Fit], n_workers: int) -> list[tuple[Fit, ...]]:
    """Groups of fits that share their batches, or a pass over the store, so many that every worker has one.

    Args:
        fits: In any order; those of a group stay in theirs.
        n_workers: Jobs at once.
    """
    by_stream: dict[object, list[Fit]] = {}
    for fit in fits:
        by_stream.setdefault(fit.stream_key, []).append(fit)
    share = max(-(-len(fits) // max(n_workers, 1)), 1)
    found: list[tuple[Fit, ...]] = []
    for members in by_stream.values():
        size = min(share, members[0].training.saes_at_once)
        found += [tuple(members[start : start + size]) for start in range(0, len(members), size)]
    return in_passes(found, share)


def in_passes(groups: Sequence[tuple[Fit, ...]], share: int) -> list[tuple[Fit, ...]]:
    """Joins groups of different hook points into passes over one store.

    Args:
        groups: Fits of one stream each.
        share: Most fits of a pass of several hook points.
    """
    passes: list[list[tuple[Fit, ...]]] = []
    for group in groups:
        first = group[0]
        for members in passes:
            is_one_store = members[0][0].pass_key == first.pass_key
            points = {one[0].hook_point for one in members}
            n = sum(len(one) for one in members) + len(group)
            most = min(one.training.hook_points_at_once for part in (*members, group) for one in part)
            if is_one_store and first.hook_point not in points and len(points) < most and n <= share:
                members.append(group)
                break
        else:
            passes.append([group])
    return [tuple(fit for group in members for fit in group) for members in passes]


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
    """Trains, saves and records autoencoders of one pass over the store; those that are complete are passed over.

    Args:
        tasks: What to train; those of a hook point share its batches.
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
    refuse_too_large(tasks, store.hook_points, replicas.device)
    lanes = lanes_of(tasks, store, until_step, replicas)
    with ExitStack() as stack:
        for trainee in [one for lane in lanes for one in lane.trainees]:
            done(trainee.next_step * trainee.fit.training.batch_tokens)
            if replicas.leads:
                stack.enter_context(logged(trainee, tracking, group))
            if trainee.is_done:
                conclude(trainee, store)
        while running := [lane for lane in lanes if lane.running]:
            for lane in running:
                lane.step(store, done)
    lost = [error for lane in lanes for error in lane.lost]
    if lost:
        where = ", ".join(lane.stream.hook_point for lane in lanes)
        raise UserError(f"{lost[0]} {len(lost)} of {len(tasks)} SAEs at {where} failed, the others are done.")


class Lane:
    """One hook point of a pass: its stream, and the trainees that are fed by it.

    Args:
        stream: Where batches come from.
        trainees: From their checkpoints or the start.
        lost: Why others of this hook point could not be made.
        is_lenient: Whether the others go on where one diverges; else its error is raised.
    """

    def __init__(
        self, stream: ActivationStream, trainees: list[Trainee], lost: list[UserError], *, is_lenient: bool
    ) -> None:
        self.stream, self.trainees, self.lost, self.is_lenient = stream, trainees, lost, is_lenient
        self.running = [one for one in trainees if not one.is_done]
        self._number = min((one.next_step for one in self.running), default=0)
        self._batches = stream.batches(self._number)

    def step(self, store: Store, done: Callable[[int], None]) -> None:
        """Feeds the next batch to all that wait for it.

        Args:
            store: For the origin of what is concluded.
            done: Told the tokens of each step.

        Raises:
            UserError: One diverged, and nothing else is to go on.
        """
        batch = next(self._batches)
        x: Tensor | None = None
        for trainee in [one for one in self.running if one.next_step == self._number]:
            x = trainee.replicas.share(batch) if x is None else x
            try:
                trainee.step(x, len(batch))
            except UserError as error:
                if not self.is_lenient:
                    raise
                self.lost.append(error)
                self.running.remove(trainee)
                continue
            done(len(batch))
            if trainee.is_done:
                conclude(trainee, store)
                self.running.remove(trainee)
        self._number += 1


def lanes_of(tasks: Sequence[Fit], store: Store, until_step: int | None, replicas: Replicas) -> list[Lane]:
    """A lane for each hook point, its trainees from their checkpoints or from one sample of the stream.

    Raises:
        UserError: The only trainee cannot be made, or tokens would be repeated that should not be.
    """
    engines: dict[tuple[str, str], SparseEngine | None] = {}
    is_lenient = len(tasks) > 1 and replicas.n_replicas == 1
    lanes = []
    for hook_point in dict.fromkeys(task.hook_point for task in tasks):
        members = [task for task in tasks if task.hook_point == hook_point]
        stream = ActivationStream(store, hook_point, members[0].training, members[0].seed)
        sample = None if all(checkpoint.exists(task.folder) for task in members) else stream.sample()
        trainees, lost = [], []
        for task in members:
            cfg = task.training
            chosen = (cfg.kernels, cfg.encoder_dtype)
            if chosen not in engines:
                engines[chosen] = engine_for(cfg, replicas.device)
            last = min(until_step or cfg.n_steps, cfg.n_steps)
            try:
                stream.refuse_repetition(cfg.n_tokens)
                trainees.append(Trainee(task, stream, sample, last, engines[chosen], replicas))
            except UserError as error:
                if not is_lenient:
                    raise
                lost.append(error)
        lanes.append(Lane(stream, trainees, lost, is_lenient=is_lenient))
    return lanes


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
