"""Fine-tuning a trained autoencoder end to end: a new one beside the old, with what it gains and what it costs.

A step reads: clean answers → spliced answers → loss → gradients through the model's upper layers → Adam → log →
checkpoint. It can be killed at any moment, and ends in the same bytes. When it is done, old and new are measured on the
same held-out windows, and the difference is written last (COMPARISON_FILE): its existence means completion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import LanguageModel, load
from hooks.store import Store
from sae import artefact, saelens_format
from sae.base import SAE, whole
from sae.batchtopk import BatchTopKSAE
from sae.build import build
from sae.config import SAEConfig
from sae.errors import UserError
from training import checkpoint, evaluation
from training.checkpoint import Clocks, Progress
from training.config import EvaluationConfig, FinetuningConfig
from training.end_to_end import EndToEnd, Found, Weights, exchange_rate
from training.evaluation import Evaluate
from training.schedule import lr_factor
from training.spec import METRICS_FILE
from training.text_stream import TextStream
from training.tracking import HISTORY_FILE, Row, Tracker
from training.trainee import descend, explained_variance, last_row_of, new_optimiser

COMPARISON_FILE = "end_to_end.json"
LR_SHARE = 0.1
"""Of the learning rate of training, where none is set. Source: docs/steering.md, measured on the embedded clinic."""
CALIBRATION_BATCHES = 8
SETTLING_BATCHES = 32
COMPARED = {
    "splice": ("ce_spliced", "ce_loss_score", "kl"),
    "reconstruction": ("explained_variance", "mse", "cosine", "l0", "dead_fraction"),
}


@dataclass(frozen=True)
class Finetune:
    """All that decides one fine-tuned autoencoder, to be sent to a worker."""

    run_folder: Path
    hook_point: str
    sae_id: str
    """The one to begin from."""
    model: ModelConfig
    finetuning: FinetuningConfig
    evaluation: EvaluationConfig
    seed: int
    threads: int
    until_step: int | None = None
    """Where to pause, for a comparison; the end if none."""

    @property
    def name(self) -> str:
        return f"the fine-tuning of {self.hook_point} {self.sae_id}"

    @property
    def id(self) -> str:
        return f"finetune-{self.hook_point}-{self.new_id}"

    @property
    def source(self) -> Path:
        """Folder of the autoencoder to begin from."""
        return self.run_folder / "saes" / self.hook_point / self.sae_id

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        settings = self.finetuning.model_dump(mode="json")
        return artefact.content_hash(settings, self.hook_point, self.sae_id, self.source_hash, self.seed, self.threads)

    @cached_property
    def source_hash(self) -> str:
        """Of the weights to begin from."""
        return artefact.file_hash(self.source / saelens_format.WEIGHTS_FILE)

    @property
    def new_id(self) -> str:
        """Name of the new autoencoder: the old one's and more."""
        return f"{self.sae_id}-e2e-{self.key[:8]}"

    @property
    def folder(self) -> Path:
        return self.run_folder / "saes" / self.hook_point / self.new_id

    @property
    def is_complete(self) -> bool:
        return (self.folder / COMPARISON_FILE).is_file()

    def run(self, done: Callable[[int], None]) -> None:
        """Fine-tunes, saves, measures, compares; what is complete is passed over.

        Raises:
            UserError: The autoencoder or the model cannot be fine-tuned so, or the loss is no number any more.
        """
        if self.is_complete:
            return
        if not (self.folder / METRICS_FILE).is_file():
            tuned = Tuned(self)
            tuned.run(done)
            if not tuned.is_finished:
                return
        origin = artefact.read_json(self.folder / "origin.json")
        exclude = origin["training"]["exclude_special_tokens"]
        both = (self.sae_id, self.new_id)
        Evaluate(self.run_folder, self.hook_point, both, self.model, self.evaluation, exclude).run(lambda _n: None)
        artefact.write_json(self.folder / COMPARISON_FILE, self.comparison())

    def comparison(self) -> dict[str, Any]:
        """Figures of old and new on the same held-out text, and new less old."""
        old, new = (artefact.read_json(folder / evaluation.FILE) for folder in (self.source, self.folder))
        found: dict[str, Any] = {"from": self.sae_id, "to": self.new_id, "hook_point": self.hook_point}
        for side, figures in (("before", old), ("after", new)):
            found[side] = {name: figures[part][name] for part, names in COMPARED.items() for name in names}
        found["change"] = {name: found["after"][name] - value for name, value in found["before"].items()}
        found["n_tokens"] = {part: new[part]["n_tokens"] for part in COMPARED}
        return found


class Tuned:
    """An autoencoder on its way from another one, or from its last checkpoint, to its last step."""

    def __init__(self, task: Finetune) -> None:
        self.task, self.cfg = task, task.finetuning
        self.origin = origin_of(task.source)
        self.store = Store.open(task.run_folder / "acts")
        self.lm = load(task.model)
        refuse_other_model(self.lm, self.store)
        self.sae = opened(task.source, self.origin).to(self.lm.device).requires_grad_(True).train()
        self.schedule = self.cfg.schedule
        self.n_steps = self.schedule.n_steps
        self.lr = self.cfg.lr or LR_SHARE * float(self.origin["lr"])
        self.optimiser = new_optimiser(self.sae, self.lr)
        self.stream = TextStream(self.store, self.lm, self.cfg.batch_tokens, task.seed)
        self.loss = EndToEnd(
            self.lm, parse(task.hook_point), self.sae, self.origin["input_scale"],
            self.origin["training"]["exclude_special_tokens"], self.origin["norm_limit"],
        )  # fmt: skip
        self.weights = self.weighed()  # before a checkpoint is read: always of the autoencoder it began from
        found = checkpoint.read(task.folder, task.key, self.sae, self.optimiser)
        zeros = torch.zeros(self.sae.d_sae, dtype=torch.int64, device=self.lm.device)
        self.clocks, self.progress = found or (Clocks(zeros, zeros.clone()), Progress(0, 0, 0))
        self.window_tokens = self.progress.window_tokens
        self.row: dict[str, float] = {}

    @property
    def is_finished(self) -> bool:
        return self.progress.step == self.n_steps

    def weighed(self) -> Weights:
        """The weights of the loss."""
        batches = self.stream.batches()
        rate = exchange_rate(self.loss, [next(batches) for _ in range(min(CALIBRATION_BATCHES, self.n_steps))])
        return Weights(self.cfg.reconstruction, self.cfg.sparsity, rate)

    def run(self, done: Callable[[int], None]) -> None:
        """All steps that are left, and the saving."""
        last = min(self.task.until_step or self.n_steps, self.n_steps)
        done(self.progress.step * self.cfg.batch_tokens)
        self.row = last_row_of(self.task.folder, self.progress.log_bytes)
        tracker = Tracker(self.task.folder / HISTORY_FILE, self.progress.log_bytes)
        try:
            batches = self.stream.batches(self.progress.step)
            while self.progress.step < last:
                self.step(next(batches), tracker)
                done(self.cfg.batch_tokens)
                if self.progress.step % self.cfg.checkpoint_every_steps == 0 or self.progress.step == last:
                    self.checkpoint(tracker)
        finally:
            tracker.close(None)
        if self.is_finished:
            self.settle()
            self.save()

    @torch.no_grad()
    def settle(self) -> None:
        """Gives a BatchTopK the threshold of its last weights, over further batches: its running mean lags behind by a
        hundred steps, which is most of a fine-tuning."""
        if not isinstance(self.sae, BatchTopKSAE):
            return
        batches = self.stream.batches(self.n_steps)
        dead = torch.zeros(self.sae.d_sae, dtype=torch.bool, device=self.lm.device)
        found = [self.loss(next(batches), dead, self.weights).own.least_active for _ in range(SETTLING_BATCHES)]
        self.sae.threshold.fill_(float(torch.stack([one for one in found if one is not None]).mean()))

    def step(self, batch: Any, tracker: Tracker) -> None:
        """One step."""
        step, clocks = self.progress.step, self.clocks
        dead = clocks.silent_tokens >= self.schedule.dead_window_tokens
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * lr_factor(step, self.schedule) * group["lr_scale"]
        found = self.loss(batch, dead, self.weights)
        self.refuse_divergence(found)
        descend(self.sae, self.optimiser, found.total, self.cfg.gradient_clip)
        self.sae.observe(found.own)
        clocks.fired.add_(found.own.fired)
        clocks.silent_tokens.add_(len(found.rows)).masked_fill_(found.own.fired > 0, 0)
        self.window_tokens += len(found.rows)
        self.progress = self.progress._replace(step=step + 1)
        if (step + 1) % self.cfg.log_every_steps == 0 or step + 1 == self.n_steps:
            self.log(found, dead, tracker)

    @torch.no_grad()
    def log(self, found: Found, dead: torch.Tensor, tracker: Tracker) -> None:
        """A row of figures of the step just done."""
        step, own, rows = self.progress.step, found.own, found.rows
        row: Row = {
            "step": step,
            "n_tokens": step * self.cfg.batch_tokens,
            "l0": float(own.fired.sum()) / len(rows),
            "explained_variance": explained_variance(rows, own, whole),
            "dead_fraction": float(dead.float().mean()),
            "lr": self.lr * lr_factor(step - 1, self.schedule),
        }
        terms = found.terms | {"loss": found.total}
        self.row = row | {name: float(value.detach()) for name, value in terms.items()}
        tracker.log(self.row, self.clocks.fired.cpu().numpy() / max(self.window_tokens, 1))
        self.clocks.fired.zero_()
        self.window_tokens = 0

    def checkpoint(self, tracker: Tracker) -> None:
        """Writes the state."""
        tracker.flush()
        self.progress = self.progress._replace(log_bytes=tracker.n_bytes, window_tokens=self.window_tokens)
        checkpoint.write(self.task.folder, self.task.key, self.sae, self.optimiser, self.clocks, self.progress)

    def save(self) -> None:
        """The folded autoencoder, where it comes from, and its last figures."""
        task, sae = self.task, self.sae.cpu().requires_grad_(False)
        sae.fold(self.origin["input_scale"])
        metadata = artefact.read_json(task.source / saelens_format.CONFIG_FILE)["metadata"]
        saelens_format.save(sae, settings_of(self.origin), task.folder, metadata | {"finetuned_from": task.sae_id})
        changed = {
            "sae_id": task.new_id, "key": task.key, "threads": task.threads, "lr": self.lr, "seed": task.seed,
            "clinlens": version("clinlens"), "torch": torch.__version__,
        }  # fmt: skip
        end_to_end = {
            "from": task.sae_id, "from_hash": task.source_hash, "settings": self.cfg.model_dump(mode="json"),
            "weights": self.weights._asdict(), "n_steps": self.n_steps, "model": self.lm.fingerprint,
        }  # fmt: skip
        artefact.write_json(task.folder / "origin.json", self.origin | changed | {"end_to_end": end_to_end})
        artefact.write_json(task.folder / METRICS_FILE, self.row)

    def refuse_divergence(self, found: Found) -> None:
        """Stops where the loss is no number any more."""
        if bool(torch.isfinite(found.total)):
            return
        raise UserError(
            f"The loss of {self.task.new_id} is {float(found.total.detach())} at step {self.progress.step + 1}, expected a "
            "number. Lower finetuning.lr; its last checkpoint stays."
        )


def origin_of(folder: Path) -> dict[str, Any]:
    """Where an autoencoder comes from.

    Raises:
        UserError: It was not trained by a run.
    """
    if not (folder / METRICS_FILE).is_file():
        raise UserError(
            f"{folder} has no {METRICS_FILE}, expected an SAE that a run trained to its end. Run `clinlens train` first."
        )
    return artefact.read_json(folder / "origin.json")


def settings_of(origin: dict[str, Any]) -> SAEConfig:
    """Settings that an autoencoder was trained with."""
    return TypeAdapter(SAEConfig).validate_python(origin["sae"])


def opened(folder: Path, origin: dict[str, Any]) -> SAE:
    """A saved autoencoder as its training had it: of its own architecture, in the scale of its inputs."""
    cfg = artefact.read_json(folder / saelens_format.CONFIG_FILE)
    sae = build(settings_of(origin), cfg["d_in"], cfg["d_sae"])
    sae.load_state_dict(load_file(folder / saelens_format.WEIGHTS_FILE))
    sae.requires_grad_(False).fold(1 / origin["input_scale"])
    return sae


def refuse_other_model(lm: LanguageModel, store: Store) -> None:
    """Stops where there are no answers to train on, or another model's.

    Raises:
        UserError: It is no decoder, or not the one that was captured.
    """
    if lm.kind != "decoder":
        raise UserError(
            f"The model {lm.name!r} is of kind {lm.kind}, without next tokens, expected a decoder. Train its SAEs on "
            "reconstruction alone."
        )
    captured = store.origin["model"]
    if captured["weight_hash"] != lm.fingerprint["weight_hash"]:
        raise UserError(
            f"The activations are of {captured['model']!r} with weights {captured['weight_hash'][:8]}, but the model has "
            f"{lm.fingerprint['weight_hash'][:8]}, expected the same. Give the run the model it was captured from."
        )
