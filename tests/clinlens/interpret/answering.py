"""A chat endpoint on this machine, whose answers a test chooses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, bytes]


@dataclass
class Answering:
    """What was asked, and what is answered."""

    answer: Callable[[dict[str, Any]], Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


def said(text: Any) -> Reply:
    """A reply of the right shape."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def reader(body: dict[str, Any]) -> Reply:
    """Explains everything as the word fever, and marks every second passage."""
    asked = body["messages"][-1]["content"]
    n = asked.count("<passage>")
    return said(json.dumps([i % 2 for i in range(n)]) if "numbers" in asked else "the word fever")


@contextmanager
def answering(answer: Callable[[dict[str, Any]], Reply] = reader) -> Iterator[Answering]:
    """Runs an endpoint at some free port."""
    state = Answering(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body | {"path": self.path})
            state.headers.append(dict(self.headers))
            code, data = state.answer(body)
            self.send_response(code)
            if code in range(300, 400):
                self.send_header("Location", data.decode())
                data = b""
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the standard library calls it
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
