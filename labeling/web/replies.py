"""Answers to writes, kept for a while under the sender's key, so that a repeat does nothing twice.

A judgement's key is kept by the database for ever; those of other writes here, for the life of the process.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from fastapi.routing import APIRoute

from labeling.identifiers import sha256

MAX_REPLIES = 5000
Key = tuple[str, str, str]


class Reply(Exception):  # noqa: N818 - it ends a request that was answered before
    """The answer that was given to the same request before."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.status, self.body = status, body


class Replies:
    """The last answers."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Key, tuple[str, int, bytes]] = OrderedDict()
        self.lock = threading.Lock()

    def find(self, key: Key) -> tuple[str, int, bytes] | None:
        """What was asked (its hash) and answered under a key."""
        with self.lock:
            return self.kept.get(key)

    def keep(self, key: Key, asked: str, status: int, body: bytes) -> None:
        """Keeps an answer; the oldest goes."""
        with self.lock:
            self.kept[key] = (asked, status, body)
            while len(self.kept) > MAX_REPLIES:
                self.kept.popitem(last=False)


def key_of(request: Request) -> str | None:
    """The key of a write, a UUID in its usual spelling; None where there is none."""
    try:
        return str(UUID(request.headers.get("idempotency-key", "")))
    except ValueError:
        return None


class KeptRoute(APIRoute):
    """A route whose answers to writes are kept, once its dependency has let the sender pass."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_keep(request: Request) -> Response:
            request.state.asked = sha256(await request.body())
            try:
                response = await handle(request)
            except Reply as reply:
                return Response(reply.body, reply.status, media_type="application/json")
            key = getattr(request.state, "reply_key", None)
            if key and response.status_code < 500:
                body = bytes(response.body)
                request.app.state.clinlens.replies.keep(key, request.state.asked, response.status_code, body)
            return response

        return handle_and_keep
