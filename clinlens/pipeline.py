"""A whole run: capture → train → evaluate → examples → report, each stage doing only what is missing."""

import fnmatch
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from tqdm import tqdm

from analysis import examples as example_files
from analysis.concept_recovery import Recover, find_units
from analysis.gather import GatherExamples, words
from analysis.logbook import WriteRun
from clinlens import clinic, config
from clinlens.clinic.notes import generate
from clinlens.config import RunConfig
from clinlens.folder import opened
from clinlens.sweep import trials as sweeps
from hooks import capture, chat, corpus, deidentification
from hooks.config import CorpusConfig, ModelConfig
from hooks.corpus import Document
from hooks.model import load
from hooks.store import Store
from sae import artefact
from sae.build import refuse_impossible
from sae.errors import UserError
from training import evaluation
from training.engine import Engine, Task, prepare
from training.evaluation import Evaluate
from training.fit import FitTask, together
from training.memory import refuse_too_many
from training.replicas import Cost, Replicas, launched
from training.resources import Meter, PeakMemory, measured
from training.spec import Fit

log = logging.getLogger("clinlens")
EMBEDDED = "clinic"
Display = Callable[[str, Sequence[Task], int, str], AbstractContextManager[Callable[[int], None]]]
"""Shows work while it runs: label, tasks, amount in all, its unit → who is to be told of progress."""


class Run:
    """One run folder and the config it is made from.

    Args:
        cfg: The config.
        trials: Configs that share the folder's activations, where it is that of a sweep; found in the folder if not given.
        engine: What runs the work, where it is open already.
        group: Name that W&B groups the SAEs by; the folder's if none.
        display: How work is shown while it runs: a progress bar, if not given.
    """

    def __init__(
        self,
        cfg: RunConfig,
        trials: Sequence[RunConfig] | None = None,
        engine: Engine | None = None,
        group: str | None = None,
        display: "Display | None" = None,
    ) -> None:
        self.cfg = cfg
        self.folder = cfg.folder
        self.group = group
        self.display = display or bar_alone
        self._trials = trials
        self._given_engine = engine

    @cached_property
    def trials(self) -> Sequence[RunConfig]:
        """The configs whose SAEs lie in the folder: one, or those of a sweep."""
        if self._trials is not None:
            return self._trials
        return sweeps.of_folder(self.cfg) if self.cfg.sweep is not None else [self.cfg]

    @property
    def _engine(self) -> Engine:
        assert self._given_engine is not None  # noqa: S101 - stages run inside `opened`
        return self._given_engine

    @cached_property
    def model(self) -> ModelConfig:
        """The model's config, with the place of the embedded one."""
        if self.cfg.model.name == EMBEDDED and self.cfg.model.path is None:
            return self.cfg.model.model_copy(update={"path": clinic.model_folder()})
        return self.cfg.model

    @cached_property
    def corpus(self) -> CorpusConfig:
        """The corpus' config, with the columns of the embedded one."""
        if self.cfg.corpus.name != EMBEDDED:
            return self.cfg.corpus
        columns = {"text_column": "text", "id_column": "id", "group_column": "group", "span_column": "spans"}
        return self.cfg.corpus.model_copy(update=columns)

    @cached_property
    def documents(self) -> list[Document]:
        """The texts, behind the gate of `corpus.deidentification`."""
        if self.corpus.deidentification == "sign_off":
            deidentification.refuse_unsigned(self.unscreened_documents, self.folder)
        return self.unscreened_documents

    @cached_property
    def unscreened_documents(self) -> list[Document]:
        """The texts before any gate; only screening reads them here."""
        if self.cfg.corpus.name != EMBEDDED:
            return corpus.read(self.corpus, chat.renderer(self.model, self.corpus))
        notes = (note.document() for note in generate(self.cfg.clinic))
        return corpus.documents(islice(notes, self.corpus.max_documents), self.corpus)

    @cached_property
    def replicas(self) -> Replicas:
        """This process among those that train together under torchrun."""
        return launched(os.environ)

    @property
    def job(self) -> capture.Job:
        return capture.Job(self.model, self.corpus, self.cfg.capture, self.cfg.seed)

    @property
    def store_id(self) -> str:
        """Name of the store that this config makes."""
        return capture.store_id(self.job.origin(self.documents))

    @cached_property
    def fits(self) -> list[Fit]:
        """Every SAE of the run: each architecture at each hook point, each once."""
        found = {fit.key: fit for trial in self.trials for fit in self.fits_of(trial)}
        places = list(Store.open(self.folder / "acts").hook_points)
        return sorted(found.values(), key=lambda fit: places.index(fit.hook_point))

    def fits_of(self, trial: RunConfig) -> list[Fit]:
        """The SAEs of one config.

        Raises:
            UserError: It trains at a hook point that was not captured.
        """
        store = Store.open(self.folder / "acts")
        return [
            Fit(self.folder, hook_point, sae, trial.training, trial.seed, store.id, trial.engine.threads)
            for hook_point in chosen(list(store.hook_points), trial.training.hook_points)
            for sae in trial.sae
        ]

    def capture(self, *, thorough: bool = False) -> dict[str, Any]:
        """Makes the activation store, or what is missing of it; `thorough` looks at every shard's checksum."""
        acts = self.folder / "acts"
        store = capture.finished(self.job, self.documents, acts, thorough=thorough)
        if store is None:
            with self.measured("capture"):
                plan = capture.prepare(self.job, self.documents, load(self.model), acts)
                self.refuse_impossible(plan.widths)
                log.info(
                    "capture: %d of %d shards to make, %s tokens, %s of disk (%s free)",
                    len(plan.missing), plan.n_shards, f"{plan.n_tokens:,}", gigabytes(plan.n_bytes),
                    gigabytes(shutil.disk_usage(acts).free),
                )  # fmt: skip
                self.work("capture", plan.tasks(self._engine.n_shares), plan.n_tokens, "tok")
                store = capture.conclude(plan)
        return {
            "store": str(acts),
            "store_id": store.id,
            "hook_points": list(store.hook_points),
            "n_tokens": {"train": store.n_tokens("train"), "held_out": store.n_tokens("held_out")},
        }

    def repair(self) -> dict[str, Any]:
        """Makes the activation store, or makes anew what was damaged since."""
        return self.capture(thorough=True)

    def train(self) -> dict[str, Any]:
        """Fits every SAE."""
        self.train_fits(self.fits)
        return {"saes": [str(fit.folder) for fit in self.fits]}

    def train_fits(self, fits: Sequence[Fit], until_step: int | None = None) -> None:
        """Fits some SAEs, to the end or to a step."""
        missing = [fit for fit in fits if not fit.is_complete]
        if not missing:
            return
        steps = [min(until_step or fit.training.n_steps, fit.training.n_steps) for fit in missing]
        n_tokens = sum(n * fit.training.batch_tokens for n, fit in zip(steps, missing, strict=True))
        log.info("train: %d of %d SAEs to fit, %s tokens in all", len(missing), len(self.fits), f"{n_tokens:,}")
        with self.measured("train") as meter:
            self.refuse_impossible(Store.open(self.folder / "acts").hook_points)
            groups = together(missing, self._engine.n_workers if self.replicas.n_replicas == 1 else len(missing))
            self.refuse_too_little_memory(groups)
            tasks = [FitTask(fits, self.cfg.tracking, self.group, until_step, self.replicas) for fits in groups]
            self.work("train", tasks, n_tokens, "tok")
            elsewhere, meter.n_replicas = self.replicas.cost_elsewhere(Cost(0, 0)), self.replicas.n_replicas
            self._engine.distant_cpu_s += elsewhere.cpu_s
            meter.distant_peak_bytes = elsewhere.peak_bytes

    def refuse_impossible(self, widths: Mapping[str, int]) -> None:
        """Says before anything is captured or trained what SAEs cannot be; of a sweep, where that is so of every trial.

        Raises:
            UserError: One asks for more features than it has, or for a hook point that is not captured.
        """
        found: list[UserError] = []
        for trial in self.trials:
            try:
                for hook_point in chosen(list(widths), trial.training.hook_points):
                    for sae in trial.sae:
                        refuse_impossible(sae, widths[hook_point])
            except UserError as error:
                found.append(error)
        if len(found) == len(self.trials):
            raise found[0]

    def refuse_too_little_memory(self, groups: Sequence[tuple[Fit, ...]]) -> None:
        """Says before the first step what the workers of this machine will not have room for together."""
        on_cpu = self.cfg.training.device == "cpu" or not torch.cuda.is_available()
        if self.cfg.engine.is_local and self.replicas.n_replicas == 1 and on_cpu:
            widths = Store.open(self.folder / "acts").hook_points
            refuse_too_many(groups, widths, self._engine.n_workers)

    def follow(self) -> dict[str, Any]:
        """Takes part in the training that the first process leads; writes nothing and has no result."""
        with self.replicas.connected():
            prepare(self.cfg.engine.threads)
            cpu, peak = time.process_time(), PeakMemory()
            peak.start()
            missing = [fit for fit in self.fits if not fit.is_complete]
            for fit in missing:
                FitTask((fit,), self.cfg.tracking, replicas=self.replicas).run(lambda _amount: None)
            peak.stop()
            if missing:
                self.replicas.cost_elsewhere(Cost(time.process_time() - cpu, peak.bytes))
        return {}

    def evaluate(self) -> dict[str, Any]:
        """Measures every SAE, and how well features stand for annotated concepts."""
        self.evaluate_saes()
        self.recover()
        return self.summarise()

    def evaluate_saes(self) -> None:
        """Measures every SAE."""
        self.refuse_untrained()
        tasks = [
            Evaluate(self.folder, point, ids, self.model, self.cfg.evaluation, self.cfg.training.exclude_special_tokens)
            for point, ids in self.sae_ids.items()
        ]
        missing = [task for task in tasks if task.missing()]
        if missing:
            with self.measured("evaluate"):
                self.work("evaluate", missing, self.n_evaluation_tokens * len(missing), "tok")

    @property
    def n_evaluation_tokens(self) -> int:
        """Tokens of one evaluation task, about: rows reconstructed and tokens spliced."""
        held_out, cfg = Store.open(self.folder / "acts").n_tokens("held_out"), self.cfg.evaluation
        return min(held_out, cfg.n_tokens) + min(held_out, cfg.splice_tokens)

    @property
    def n_example_tokens(self) -> int:
        """Tokens of one examples task, about."""
        store = Store.open(self.folder / "acts")
        return min(store.n_tokens("held_out") + store.n_tokens("train"), self.cfg.examples.n_tokens)

    def recover(self) -> None:
        """Concept recovery, where the corpus has spans."""
        if not any(doc.spans for doc in self.documents):
            return
        units = tuple(find_units(Store.open(self.folder / "acts"), self.documents, self.cfg.seed))
        tasks = [
            Recover(self.folder, point, ids, self.cfg.concepts, units, self.cfg.seed)
            for point, ids in self.sae_ids.items()
        ]
        missing = [task for task in tasks if task.missing()]
        if missing:
            with self.measured("evaluate"):
                self.work("concepts", missing, sum(len(task.missing()) for task in missing), "SAE")

    def summarise(self) -> dict[str, Any]:
        """All SAEs' figures in the run's evaluation.json."""
        saes = []
        for fit in self.fits:
            found = artefact.read_json(fit.folder / evaluation.FILE)
            concepts = fit.folder / "concepts.json"
            recovered = artefact.read_json(concepts) if concepts.is_file() else None
            saes.append(
                {
                    "hook_point": fit.hook_point,
                    "sae_id": fit.sae_id,
                    "architecture": fit.sae.architecture,
                    "reconstruction": found["reconstruction"],
                    "splice": found["splice"],
                    "concept_recovery": recovered and {key: recovered[key] for key in ("n_concepts", "n_recovered")},
                    "probing": recovered
                    and {key: recovered["probing"][key] for key in ("n_concepts", "features", "model")},
                }
            )
        result = {"store_id": self.fits[0].store_id, "seed": self.cfg.seed, "saes": saes}
        path = self.folder / evaluation.FILE
        if not path.is_file() or artefact.read_json(path) != result:
            artefact.write_json(path, result)
        return result

    def examples(self) -> dict[str, Any]:
        """Gathers the contexts of every feature."""
        self.refuse_untrained()
        tasks = [
            GatherExamples(self.folder, fit.hook_point, fit.sae_id, self.model, self.cfg.examples, self.cfg.seed)
            for fit in self.fits
        ]
        missing = [task for task in tasks if not task.is_complete]
        names = self.folder / "examples" / example_files.VOCABULARY
        if missing or not names.is_file():
            with self.measured("examples"):
                artefact.write_json(names, words(load(self.model)))
                self.work("examples", missing, self.n_example_tokens * len(missing), "tok")
        return {"examples": [str(task.path) for task in tasks]}

    def write_runs(self) -> None:
        """Brings every SAE's W&B run up to its files."""
        missing = [run for fit in self.fits if not (run := WriteRun(fit, self.cfg.tracking, self.group)).is_complete]
        if missing:
            self.work("W&B", missing, len(missing), "SAE")

    def report(self) -> dict[str, Any]:
        """Writes report.html."""
        unmade = [fit for fit in self.fits if not (fit.folder / evaluation.FILE).is_file()]
        if unmade:
            raise UserError(
                f"{len(unmade)} of {len(self.fits)} SAEs of {self.folder} have no evaluation yet, expected all. "
                "Run `clinlens run` with this config first."
            )
        from clinlens.report.page import write_report  # draws plots; the other stages need none

        pairs = [(fit.hook_point, fit.sae_id) for fit in self.fits]
        is_first = not (self.folder / "report.html").is_file()
        with measured("report", self.folder) if is_first else nullcontext():
            path = write_report(self.folder, self.cfg.report, self.cfg.cost, pairs, self.cfg.choice)
        return {"report": str(path)}

    @cached_property
    def sae_ids(self) -> dict[str, tuple[str, ...]]:
        """The names of the SAEs at each hook point."""
        points = dict.fromkeys(fit.hook_point for fit in self.fits)
        return {point: tuple(fit.sae_id for fit in self.fits if fit.hook_point == point) for point in points}

    def refuse_untrained(self) -> None:
        """Stops a later stage before an earlier one is done."""
        missing = [fit for fit in self.fits if not fit.is_complete]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(self.fits)} SAEs of {self.folder} are not trained yet, expected all. "
                "Run `clinlens train` with this config first."
            )

    @contextmanager
    def measured(self, stage: str) -> Iterator[Meter]:
        """Measures a stage, wherever its jobs run."""
        before = self._engine.distant_cpu_s
        with measured(stage, self.folder) as meter:
            yield meter
            meter.distant_cpu_s = self._engine.distant_cpu_s - before

    def work(self, label: str, tasks: Sequence[Task], total: int, unit: str) -> None:
        """Runs tasks on the configured engine, and shows how far they are."""
        # Of replicas, the first failure ends the command, since only this process may have met it.
        portions = [tasks] if self.replicas.n_replicas == 1 else [[task] for task in tasks]
        with self.display(label, tasks, total, unit) as done:
            for portion in portions:
                self._engine.run(portion, done)

    def stages(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Runs stages in order, alone in the folder, and gathers their results."""
        cfg = self.cfg
        if self.replicas.n_replicas > 1:
            if names != ("train",):
                refuse_replicas(self.replicas)
            inline = cfg.engine.model_copy(update={"kind": "inline", "retries": 0})
            cfg = cfg.model_copy(update={"engine": inline})
        if not self.replicas.leads:
            return self.follow()
        result: dict[str, Any] = {"folder": str(self.folder)}
        with self.replicas.connected(), opened(cfg) as self._given_engine:
            for name in names:
                if name == "report":
                    config.write(self.cfg, self.folder)  # which shows it
                result |= getattr(self, name)()
            if not {"train", "evaluate", "examples"}.isdisjoint(names):
                self.write_runs()
            config.write(self.cfg, self.folder)  # only now: a command that failed leaves the run's config as it was
        return result


def refuse_replicas(replicas: Replicas) -> None:
    """Stops what several processes of torchrun cannot share.

    Raises:
        UserError: There are several.
    """
    if replicas.n_replicas > 1:
        raise UserError(
            f"torchrun started {replicas.n_replicas} processes, expected `clinlens train`, the only stage they can share. "
            "Run the others without torchrun; `clinlens run` goes on after the training."
        )


def chosen(captured: list[str], asked: tuple[str, ...] | None) -> list[str]:
    """The captured hook points that a config trains at.

    Raises:
        UserError: One of them was not captured.
    """
    if asked is None:
        return captured
    for name in asked:
        if not fnmatch.filter(captured, name):
            raise UserError(
                f"training.hook_points names {name!r}, but captured are {', '.join(captured)}. "
                "Choose among them, or add it to capture.hook_points."
            )
    return [point for point in captured if any(fnmatch.fnmatchcase(point, name) for name in asked)]


def gigabytes(n_bytes: int) -> str:
    """A size for people."""
    return f"{n_bytes / 1e9:.2g} GB" if n_bytes < 10e9 else f"{n_bytes / 1e9:,.0f} GB"


@contextmanager
def progress(label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, with rate and remaining time."""
    with tqdm(
        total=total, desc=f"{label:9}", unit=unit, unit_scale=True, file=sys.stderr, mininterval=0.5, smoothing=0.05
    ) as bar:
        yield lambda amount: (bar.update(amount) and None) or None


def bar_alone(
    label: str, _tasks: Sequence[Task], total: int, unit: str
) -> AbstractContextManager[Callable[[int], None]]:
    """Shows a progress bar and no more."""
    return progress(label, total, unit)
