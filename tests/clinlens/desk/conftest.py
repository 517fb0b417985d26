"""A run folder with nothing in it but its config, and an office whose processes follow scripts."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clinlens.desk.config import DeskConfig
from clinlens.desk.jobs.office import Office
from clinlens.desk.jobs.request import JobRequest
from clinlens.desk.models import served
from hooks.config import ModelConfig

ENDED = {"completed", "partial", "failed", "cancelled"}


def wait_for(is_so: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = is_so()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def job(text: str, *methods: str, **options: Any) -> JobRequest:
    """A small job."""
    title, uuid = options.pop("title", ""), options.pop("client_uuid", None)
    return JobRequest(
        models=("clinic",), methods=methods or ("occlusion",), title=title, client_uuid=uuid,
        input={"text": text, "generate": 2}, options=options,  # type: ignore[arg-type]
    )  # fmt: skip


def ended(office: Office, row: Any) -> dict[str, Any]:
    """A job's state when it has ended."""
    wait_for(lambda: office.store.job(row["id"])["status"] in ENDED)  # type: ignore[index]
    return office.status(office.store.job(row["id"]))  # type: ignore[arg-type]


def scripted_office(folder: Path, **settings: Any) -> Office:
    """An office whose processes follow scripts."""
    (folder / "config.yaml").write_text(f"folder: {folder}\n")
    run = type("Run", (), {"model": ModelConfig()})
    office = Office(folder, served(run, {}), DeskConfig(**settings))  # type: ignore[arg-type]
    office.pool.bench = "tests.clinlens.desk.scripted"
    return office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    found = scripted_office(tmp_path, cancel_s=0.3)
    found.pool.start()
    yield found
    found.close()
