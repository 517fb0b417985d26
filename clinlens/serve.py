"""Showing a run's report over HTTP, to this machine alone unless told otherwise. Serves that one page and nothing else."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from clinlens import config
from sae.errors import UserError

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ReportServer(ThreadingHTTPServer):
    """Answers `/` with the report as it is on disk."""

    def __init__(self, address: tuple[str, int], report: Path) -> None:
        super().__init__(address, ReportHandler)
        self.report = report


class ReportHandler(BaseHTTPRequestHandler):
    """One page; every other address is not found."""

    server: ReportServer  # type: ignore[assignment]

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
        if self.server.server_address[0] in LOOPBACK and host not in LOOPBACK:
            self.send_error(403, "Foreign host")  # another site's name that points here (DNS rebinding)
        elif self.path != "/":
            self.send_error(404)
        else:
            data = self.server.report.read_bytes()
            self.send_response(200)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Says nothing: addresses are not ours to log."""


def open_server(run: Path, host: str, port: int) -> ReportServer:
    """A server for a run's report.

    Raises:
        UserError: There is no report, or the port is taken.
    """
    report = (config.read(run).folder if run.is_file() else run) / "report.html"
    if not report.is_file():
        raise UserError(f"{report} does not exist, expected a finished run. Run `clinlens run` with its config first.")
    try:
        return ReportServer((host, port), report)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}). Choose another --port.") from error


def serve(run: Path, host: str, port: int) -> None:
    """Serves until interrupted."""
    with open_server(run, host, port) as server:
        click.echo(f"http://{host}:{server.server_address[1]}/  (Ctrl-C ends)")
        server.serve_forever()
