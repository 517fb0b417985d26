"""The application, put together: what requests pass, the addresses, the answers to what goes wrong."""

from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.routing import APIRouter
from starlette.middleware import Middleware

from labeling.database.connection import Database
from labeling.web import errors
from labeling.web.access import read_form, refuse_unguarded
from labeling.web.config import WebConfig
from labeling.web.gate import Gate
from labeling.web.routes import (
    account,
    adjudication,
    agreement,
    assignments,
    audit,
    codebooks,
    feedback,
    home,
    members,
    people,
    projects,
    rounds,
    signatures,
    site,
)
from labeling.web.state import State

ROUTERS: tuple[APIRouter, ...] = tuple(
    router
    for module in (
        site, home, account, people, projects, members, rounds, codebooks, assignments, feedback, adjudication, agreement,
        signatures, audit,
    )
    for router in module.ROUTERS
)  # fmt: skip


def create(
    config: WebConfig, source: str | Path, *, run: Path | None = None, database: Database | None = None
) -> FastAPI:
    """The application.

    Args:
        config: Where it listens and whom it trusts.
        source: Path or URL of the database, made when somebody sets the review queue up.
        run: The run whose report is shown and whose features are rated.
        database: The database, where it is open already.
    """
    app = FastAPI(
        title="ClinLens review queue",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(read_form)],
        middleware=[Middleware(Gate, config=config)],
    )
    app.state.clinlens = State(config=config, source=str(source), run=run, database=database)
    app.router.routes.clear()
    for router in ROUTERS:
        app.include_router(router)
    errors.register(app)
    refuse_unguarded(ROUTERS)
    return app
