"""Serving a run: its report, and beside it the review queue, to this machine alone unless told otherwise.

As long as nobody has an account, the report stands at `/` and asks nothing, on loopback only. The one-time link that is
printed makes the first administrator; from then on `/` asks who one is, and the report is at `/report`.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clinlens import config as configs
from labeling.web.config import WebConfig
from sae.errors import UserError

if TYPE_CHECKING:
    from labeling.web.application import Extension

DATABASE, DEMO_DATABASE = "clinlens.db", "clinlens-demo.db"


class Place(NamedTuple):
    """What is served, and where its judgements lie."""

    run: Path | None
    database: str
    """A path or a URL."""


def where(run: Path | None, database: str | None, *, is_demo: bool = False) -> Place:
    """The folder of a finished run, and its database.

    Raises:
        UserError: No run was named, or it has no report.
    """
    if run is None and not is_demo:
        raise UserError("No run was named, expected its folder or config. Name it, or give --demo.")
    run = run or Path("runs/quickstart")
    folder = configs.read(run).folder if run.is_file() else run
    if not (folder / "report.html").is_file():
        raise UserError(
            f"{folder / 'report.html'} does not exist, expected a finished run. Run `clinlens run` with its config first."
        )
    return Place(folder, database or str(folder / (DEMO_DATABASE if is_demo else DATABASE)))


def web_config(  # noqa: PLR0913 - one for each option of the command line
    *,
    host: str,
    port: int,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
    proxy_user_header: str | None,
    proxy_secret: Path | None,
    require_codes: bool,
) -> WebConfig:
    """The options of the command line as settings.

    Raises:
        UserError: They do not fit together, or a file is missing.
    """
    for path in (tls_cert, tls_key, proxy_secret):
        if path is not None and not path.is_file():
            raise UserError(f"{path} does not exist, expected a file. Check the path.")
    return WebConfig(
        host=host,
        port=port,
        names=names,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        proxy_addresses=proxies,
        proxy_user_header=proxy_user_header,
        proxy_secret=proxy_secret.read_text(encoding="utf-8").strip() if proxy_secret else None,
        requires_totp=require_codes,
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        UserError: The port is taken, or the address is not this machine's.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            raise UserError(
                f"{host}:{port} cannot be listened on ({error.strerror}). Choose another --port."
            ) from error
        yield listener


class Opened(NamedTuple):
    """A server that is ready to run."""

    server: Any
    """uvicorn's."""
    listener: socket.socket
    address: str
    setup_token: str | None
    """Makes the first administrator; None where there is one."""

    def run(self) -> None:
        """Serves until interrupted."""
        self.server.run(sockets=[self.listener])


@contextmanager
def opened(place: Place, config: WebConfig, extensions: "Sequence[Extension]" = ()) -> Iterator[Opened]:
    """A server for a run, with what else is served.

    Raises:
        UserError: It would be unsafe, the port is taken, or another server has the database.
    """
    import uvicorn

    from labeling.database.connection import Database
    from labeling.web.application import create

    config.refuse_open_door()
    with listening(config.host, config.port) as listener:
        config = config.model_copy(update={"port": listener.getsockname()[1]})
        database = Database.open(place.database) if exists(place.database) else None
        app = create(config, place.database, run=place.run, database=database, extensions=extensions)
        state = app.state.clinlens
        token = state.look()
        server = uvicorn.Server(uvicorn.Config(app, **listening_options(config)))
        try:
            if database is not None:
                database.hold()
            yield Opened(server, listener, address_of(config), token)
        finally:
            state.worker.close()
            if state.database is not None:
                state.database.close()


def named_models(given: Sequence[str]) -> dict[str, Path]:
    """Models from NAME=FOLDER.

    Raises:
        UserError: One is written in another way, or a name comes twice.
    """
    found: dict[str, Path] = {}
    for one in given:
        name, is_assignment, folder = one.partition("=")
        if not is_assignment or not name or not folder or name in found:
            raise UserError(
                f"--model {one!r} is no NAME=FOLDER with a new name, expected such as small=models/small. Correct it."
            )
        found[name] = Path(folder)
    return found


def exists(database: str) -> bool:
    """Whether there is a database of judgements already: a file, or tables where a URL leads; an empty one is filled later.

    Raises:
        UserError: The server that a URL names cannot be reached.
    """
    if "://" not in database:
        return Path(database).is_file()
    from labeling.database.clock import Clock, utc_now
    from labeling.database.connection import Database, url_of

    found = Database(url_of(database), Clock(utc_now))
    try:
        return found.version() is not None
    finally:
        found.close()


def listening_options(config: WebConfig) -> dict[str, Any]:
    """How uvicorn listens: one process, no log of its own, no guess about proxies."""
    tls = {"ssl_certfile": config.tls_certificate, "ssl_keyfile": config.tls_key} if config.tls_certificate else {}
    quiet = {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False, "workers": 1}
    return {
        **quiet,
        **tls,
        "ws": "websockets-sansio",
        "ws_max_size": 65536,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": 10,
        "limit_concurrency": 512,
    }


def address_of(config: WebConfig) -> str:
    """Where people find it."""
    name = config.names[0] if config.names else config.host
    if config.proxy_addresses:
        return f"https://{name}/"
    host = f"[{name}]" if ":" in name else name
    return f"{'https' if config.tls_certificate else 'http'}://{host}:{config.port}/"


def serve(
    place: Place,
    config: WebConfig,
    *,
    is_demo: bool = False,
    models: Mapping[str, Path] | None = None,
    n_workers: int = 1,
) -> None:
    """Serves until interrupted.

    Args:
        place: What is served.
        config: Where and to whom.
        is_demo: Whether sample raters and judgements are made.
        models: Further models of the analyst's desk, by name.
        n_workers: Processes that compute for it at once, at most.
    """
    from clinlens.desk.config import DeskConfig
    from clinlens.desk.extension import desk
    from labeling.web.gate import log_to_stderr

    log_to_stderr()
    invitations = demonstration(place) if is_demo else []
    extensions = [desk(place.run, models, DeskConfig(n_workers=n_workers))] if place.run else []
    with opened(place, config, extensions) as ready:
        click.echo(f"{ready.address}  (Ctrl-C ends)")
        if place.run is not None:
            click.echo(f"The analyst's desk: {ready.address}desk")
        if ready.setup_token:
            click.echo(f"To set up the review queue, once: {ready.address}setup/{ready.setup_token}")
        for name, login, token in invitations:
            click.echo(f"{name} ({login}), once: {ready.address}invitations/{token}")
        ready.run()


def demonstration(place: Place) -> list[tuple[str, str, str]]:
    """Names, logins and links of the demonstration's people who have not been in yet; makes its database if need be."""
    from labeling import demo
    from labeling.database import accounts
    from labeling.database.connection import Database
    from labeling.database.transaction import PROGRAM

    logins = {person[0] for person in demo.PEOPLE}
    if not exists(place.database) and place.run is not None:
        click.echo("Making the demonstration: simulated raters judge features of this run …", err=True)
        demo.create(place.database, place.run)
    with Database.open(place.database) as database, database.write() as conn:
        waiting = [one for one in accounts.users(conn) if one.status == "invited" and one.login in logins]
        return [(one.display_name, one.login, accounts.invite(conn, PROGRAM, one.id)) for one in waiting]
