"""The application, put together: what requests pass, the addresses, the answers to what goes wrong."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

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


class Extension(NamedTuple):
    """More addresses on the same server, brought by a package that this one does not know."""

    routers: Sequence[APIRouter]
    """Each of their routes names its roles too."""
    start: Callable[[FastAPI], None]
    """Called in the server's event loop before the first request."""
    stop: Callable[[FastAPI], None]
    """Called after the last one."""


def create(
    config: WebConfig, source: str | Path, *, run: Path | None = None, database: Database | None = None,
    extensions: Sequence[Extension] = (),
) -> FastAPI:  # fmt: skip
    """The application.

    Args:
        config: Where it listens and whom it trusts.
        source: Path or URL of the database, made when somebody sets the review queue up.
        run: The run whose report is shown and whose features are rated.
        database: The database, where it is open already.
        extensions: What else is served.
    """
    app = FastAPI(
        title="ClinLens review queue",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(read_form)],
        middleware=[Middleware(Gate, config=config)],
        lifespan=lifespan(extensions),
    )
    app.state.clinlens = State(config=config, source=str(source), run=run, database=database)
    app.router.routes.clear()
    # extensions first: their programs ask many times a second, and routes are tried one after another
    routers = (*(router for extension in extensions for router in extension.routers), *ROUTERS)
    for router in routers:
        app.include_router(router)
    errors.register(app)
    refuse_unguarded(routers)
    return app


def lifespan(extensions: Sequence[Extension]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What happens before the first request and after the last."""

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        for extension in extensions:
            extension.start(app)
        try:
            yield
        finally:
            for extension in reversed(extensions):
                extension.stop(app)

    return live
