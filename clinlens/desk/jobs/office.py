"""The office that takes jobs in: checks them, finds what is known already, queues the rest, and answers about them."""

import asyncio
import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from clinlens import __version__
from clinlens.attribution.code_stamp import code_stamp
from clinlens.desk.config import DeskConfig
from clinlens.desk.jobs import conversation, results
from clinlens.desk.jobs.listing import status_of
from clinlens.desk.jobs.notices import Notices
from clinlens.desk.jobs.pool import Pool
from clinlens.desk.jobs.request import JobInput, JobOptions, JobRequest, check_methods, refuse_unfit
from clinlens.desk.jobs.results import Results
from clinlens.desk.jobs.store import Family, NewTask, Store
from clinlens.desk.kinds import Kinds
from clinlens.desk.models import ServedModel
from sae import artefact
from sae.errors import UserError


class Office:
    """Jobs of one run folder.

    Args:
        folder: The run's.
        models: Those that are served.
        cfg: How jobs are carried out.

    Raises:
        UserError: Another server has the folder's jobs.
    """

    def __init__(self, folder: Path, models: dict[str, ServedModel], cfg: DeskConfig) -> None:
        self.folder, self.models, self.cfg = folder, models, cfg
        self.notices = Notices()
        self.store = Store(folder / "desk.db", self.notices.tell)
        self.results = Results(folder / "desk" / "results")
        self.pool = Pool(cfg, self.store, models, folder)
        self.kinds = Kinds(self.pool, folder)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to work."""
        self.notices.open(loop)
        self.pool.start()

    def close(self) -> None:
        """Ends work; the jobs stay."""
        self.pool.stop()
        self.notices.close()
        self.store.close()

    def submit(self, request: JobRequest, owner: str | None = None, family: Family | None = None) -> sqlite3.Row:
        """Takes a job in; the same one, if it was sent before.

        Raises:
            UserError: It cannot be carried out.
        """
        if request.client_uuid is not None:
            known = self.store.rows("SELECT * FROM job WHERE client_uuid = ?", str(request.client_uuid))
            if known:
                return known[0]
        refuse_unfit(request, frozenset(self.models))
        if len(request.models) > self.cfg.max_models:
            raise UserError(
                f"{len(request.models)} models were named, expected at most {self.cfg.max_models}. Make several jobs."
            )
        row = self.store.add(request, self.tasks_of(request), owner, family)
        self.pool.wake()
        return row

    def tasks_of(self, request: JobRequest) -> list[NewTask]:
        """Every model × method (formula 3), each with the name of its result."""
        settings = check_methods(request)
        found = []
        for name in request.models:
            given = conversation.followed(request, name, self.store, self.results)
            for method in request.methods:
                work = work_of(given, request.options, settings[method])
                result = self.name_of(name, work)
                found.append(NewTask(name, method, work, result, self.results.has(result)))
        return found

    def name_of(self, model: str, work: dict[str, Any]) -> str:
        """The hash of all that decides a result."""
        served = self.models[model]
        how = served.cfg.model_dump(mode="json", include={"dtype", "quantization", "kind"})
        saes = self.sae_stamps() if work["input"].get("features") else None
        code = [results.FORMAT_VERSION, __version__, code_stamp()]
        return artefact.content_hash(served.name, served.fingerprint(), how, saes, work, code)

    def sae_stamps(self) -> list[tuple[str, int]]:
        """What tells one state of the run's autoencoders from another."""
        paths = sorted((self.folder / "saes").glob("*/*/sae_weights.safetensors"))
        return [(str(path.relative_to(self.folder)), path.stat().st_mtime_ns) for path in paths]

    def status(self, row: sqlite3.Row) -> dict[str, Any]:
        """A job's state."""
        return status_of(self.store, row, self.cfg.n_workers)

    def cancel(self, job: str) -> None:
        """Ends a job; what runs is left within moments."""
        running = self.store.cancel(job)
        if running:
            self.pool.drop(running)

    def retry(self, job: str) -> None:
        """Tries what failed or was cancelled again."""
        if self.store.retry(job):
            self.pool.wake()

    def delete(self, job: str) -> None:
        """Forgets a job, with its log and the results that no other job has."""
        self.cancel(job)
        for result in self.store.delete(job):
            self.results.delete(result)
        (self.pool.logs / f"{job}.log").unlink(missing_ok=True)

    def edited(self, row: sqlite3.Row, given: JobInput, edit: dict[str, Any]) -> sqlite3.Row:
        """The job with another text; the same edit twice is the same job."""
        options = JobOptions.model_validate_json(row["options"])
        body = given.model_dump(mode="json")
        request = JobRequest(
            models=tuple(json.loads(row["models"])), methods=tuple(json.loads(row["methods"])), input=given, options=options,
            title=f"{row['title'] or 'Counterfactual'}: {edit['was']} → {edit['replacement']}"[:200],
            client_uuid=uuid.uuid5(uuid.UUID(row["id"]), artefact.content_hash(body, edit)),
        )  # fmt: skip
        return self.submit(request, row["owner"], Family(row["id"], edit))


def work_of(given: JobInput, options: JobOptions, settings: dict[str, Any]) -> dict[str, Any]:
    """All that decides a result, the model apart."""
    return {
        "input": given.model_dump(mode="json", exclude_defaults=True), "settings": settings, "seed": options.seed,
        "window": options.window, "tail": options.tail if options.window else 32, "sae_id": options.sae_id,
    }  # fmt: skip
