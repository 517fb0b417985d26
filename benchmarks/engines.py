"""The same capture on every engine that this machine has, and what an engine costs by itself.

    python benchmarks/engines.py [--quick] [--json] [--plot FILE.png]

- `processes_vs_inline`: one capture by two processes against one process, one thread each.
- `ray_vs_processes`: by a Ray of two CPUs, started beforehand, against two processes. In the full form,
  where Ray is installed.

Both sides make the same bytes (checked). Peers: seconds until an engine's first job is done (processes are spawned, torch
is loaded; Ray's own start comes on top), and milliseconds of a job that does nothing, once it is warm. The full form also
shows how the capture's time falls with the number of workers. Slurm's times are its scheduler's: not measured here.

Above 1 means that the first is faster.
"""

import importlib.util
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import peers
from benchmarks.harness.report import Report, Table, arguments_of
from benchmarks.harness.rounds import Figure, nothing, spread
from hooks import capture
from hooks.capture import Job, Plan
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.corpus import Document
from hooks.model import load
from tests.tiny import WORDS
from training.config import EngineConfig
from training.engine import Engine
from training.jobs import prepare

TARGETS = {"processes_vs_inline": "up to the cores that are free", "ray_vs_processes": "≥ 0.9"}
N_NOTHINGS = 20


@dataclass(frozen=True)
class Nothing:
    """A job that does nothing: what an engine costs."""

    number: int

    @property
    def name(self) -> str:
        return f"nothing {self.number}"

    @property
    def id(self) -> str:
        return f"nothing-{self.number}"

    def run(self, done: Any) -> None:
        done(1)


def main() -> None:
    """Runs everything and reports it."""
    arguments = arguments_of(__doc__)
    width, n_documents, rounds = (128, 96, 3) if arguments.quick else (256, 256, 5)
    prepare(threads=1)
    report = Report(targets=TARGETS)
    has_ray = importlib.util.find_spec("ray") is not None and not arguments.quick  # it takes 10 to 20 s to start
    kinds = {"inline": 1, "processes": 2} | ({"ray": 2} if has_ray else {})
    with tempfile.TemporaryDirectory(prefix="clinlens-benchmark-") as name:
        folder = Path(name)
        peers.save_model(folder / "model", width, 4)
        job = Job(
            ModelConfig(name=str(folder / "model")),
            CorpusConfig(name="random words"),
            CaptureConfig(hook_points=("blocks.*.hook_resid_post",), context_tokens=128, shard_tokens=2048),
            0,
        )
        docs = [
            Document(i, str(i), " ".join(WORDS[(i + j) % len(WORDS)] for j in range(120))) for i in range(n_documents)
        ]
        report.say(
            f"GPT-2 kind of width {width}, 4 layers, all kept; {n_documents} documents of 120 words; {rounds} rounds in turns"
        )
        engines = {kind: opened(kind, n, folder, report) for kind, n in kinds.items()}
        times = race(engines, job, docs, folder, rounds)
        report.figures["processes_vs_inline"] = ratio(times, "processes", "inline")
        if "ray" in times:
            report.figures["ray_vs_processes"] = ratio(times, "ray", "processes")
        report.peers |= {f"capture_{kind}_s": spread(found).value for kind, found in times.items()}
        for engine in engines.values():
            engine.__exit__(None)
        if not arguments.quick:
            report.tables.append(by_workers(job, docs, folder))
    report.deliver(arguments)


def opened(kind: str, n_workers: int, folder: Path, report: Report) -> Engine:
    """An engine whose workers are warm; what that took goes into the report."""
    cfg = EngineConfig.model_validate({"kind": kind, "workers": n_workers})
    engine = Engine(cfg, folder / f"jobs-{kind}").__enter__()
    start = time.perf_counter()
    engine.run([Nothing(number) for number in range(2 * n_workers)], nothing)
    ready = time.perf_counter()
    engine.run([Nothing(number) for number in range(N_NOTHINGS)], nothing)
    report.peers[f"first_job_{kind}_s"] = ready - start
    report.peers[f"empty_job_{kind}_ms"] = 1000 * (time.perf_counter() - ready) / N_NOTHINGS
    return engine


def race(
    engines: dict[str, Engine], job: Job, docs: list[Document], folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of the capture's jobs on every engine, in turns, after one round that does not count.

    Raises:
        SystemExit: Two engines made other bytes.
    """
    times: dict[str, list[float]] = {kind: [] for kind in engines}
    reference: dict[str, bytes] | None = None
    for number in range(-1, rounds):
        for kind, engine in engines.items():
            output = folder / "acts"
            plan = capture.prepare(job, docs, load(job.model), output)
            seconds = timed(engine, plan)
            found = {path.name: path.read_bytes() for path in sorted(output.iterdir())}
            reference = reference or found
            if found != reference:
                raise SystemExit(f"The engine {kind} made other bytes than the first one. Nothing is reported.")
            shutil.rmtree(output)
            if number >= 0:
                times[kind].append(seconds)
    return times


def timed(engine: Engine, plan: Plan) -> float:
    """Seconds of a plan's jobs."""
    start = time.perf_counter()
    engine.run(plan.tasks(plan.n_shards), nothing)
    return time.perf_counter() - start


def ratio(times: dict[str, list[float]], ours: str, peer: str) -> Figure:
    """How many times as long as ours the peer takes."""
    return spread([b / a for a, b in zip(times[ours], times[peer], strict=True)])


def by_workers(job: Job, docs: list[Document], folder: Path) -> Table:
    """The capture's tokens per second with more and more processes."""
    rows: list[list[float]] = []
    for n in (1, 2, 4):
        with Engine(EngineConfig(kind="processes", workers=n), folder / f"jobs-{n}") as engine:
            engine.run([Nothing(number) for number in range(2 * n)], nothing)
            plan = capture.prepare(job, docs, load(job.model), folder / "acts")
            rows.append([n, plan.n_tokens / timed(engine, plan)])
            shutil.rmtree(folder / "acts")
    return Table("Workers: processes, one thread each", ["workers", "tokens/s"], rows)


if __name__ == "__main__":
    main()
