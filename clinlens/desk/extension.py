"""The desk as a part of the server: what it adds to the addresses, what is started and stopped with it."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI

from clinlens import config as configs
from clinlens.desk.config import DeskConfig
from clinlens.desk.jobs.office import Office
from clinlens.desk.models import served
from clinlens.desk.pages import ROUTERS as PAGES
from clinlens.desk.routes import ROUTERS
from labeling.web.application import Extension
from sae.errors import UserError

log = logging.getLogger("clinlens.desk")


def desk(run: Path, models: Mapping[str, Path] | None = None, cfg: DeskConfig | None = None) -> Extension:
    """The desk of a run.

    Args:
        run: A finished run's folder; jobs, results and logs are kept in it.
        models: Further models by name, each a folder.
        cfg: How jobs are carried out.

    Raises:
        UserError: A model's folder holds none, or its name is taken.
    """
    known = served(configs.read(run) if (run / configs.FILE).is_file() else None, models or {})

    def start(app: FastAPI) -> None:
        app.state.desk, app.state.desk_problem = None, ""
        try:
            app.state.desk = Office(run, known, cfg or DeskConfig())
        except UserError as error:  # the report and the review queue are served all the same
            app.state.desk_problem = str(error)
            log.warning("desk_closed", extra={"fields": {"reason": str(error)}})
        else:
            app.state.desk.open(asyncio.get_running_loop())

    def stop(app: FastAPI) -> None:
        if app.state.desk is not None:
            app.state.desk.close()

    return Extension((*ROUTERS, *PAGES), start, stop)
