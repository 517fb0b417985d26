"""What every request passes before anything of ours sees it, and what every answer leaves with.

1. A declared proxy's word counts for the scheme, the client's address and who signed in; from anybody else these headers
   are taken away.
2. The request is addressed to a name of this server (another site's name may be pointed here: DNS rebinding).
3. It is not too large and not too frequent.
4. What changes something was sent by a page of this server (`Sec-Fetch-Site`, `Origin`) or by a program, which must have a
   token that no other site can send.
5. The answer carries the headers that keep browsers from running, framing, caching or leaking anything.
"""

import hmac
import json
import logging
import time
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labeling.web.config import WebConfig
from labeling.web.throttle import Throttle

log = logging.getLogger("clinlens.web")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
TRANSPORT = "max-age=63072000; includeSubDomains"
SAFE = ("GET", "HEAD", "OPTIONS")
PROXY_SECRET = "x-clinlens-proxy"  # noqa: S105 - the name of a header


class Gate:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, config: WebConfig) -> None:
        self.app, self.config = app, config
        self.throttle = Throttle(config.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope = self.as_the_proxy_says(scope)
        started = time.perf_counter()
        if scope["type"] == "websocket":
            await self.connect(scope, receive, send, started)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.add_headers(message)
                self.record(scope, message["status"], started)
            await send(message)

        refusal = self.refusal(scope)
        if refusal:
            await refuse(*refusal, send_with_headers)
        else:
            await self.app(scope, bounded(receive, self.config.max_body_bytes), send_with_headers)

    async def connect(self, scope: Scope, receive: Receive, send: Send, started: float) -> None:
        """A socket: looked at once, when it is opened. Browsers let any site open one, so its origin must be ours."""
        named = {**scope, "method": "WEBSOCKET"}
        refusal = self.refusal(named)
        self.record(named, refusal[0] if refusal else 101, started)
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})

    def as_the_proxy_says(self, scope: Scope) -> Scope:
        """The scope with what a declared proxy says of it, and without what anybody else says of themselves."""
        headers = Headers(scope=scope)
        is_proxy = (scope.get("client") or ("", 0))[0] in self.config.proxy_addresses
        user_header = (self.config.proxy_user_header or "").lower()
        secret = (self.config.proxy_secret or "").encode()
        has_secret = bool(secret) and hmac.compare_digest(headers.get(PROXY_SECRET, "").encode(), secret)
        scope = dict(scope)
        scope["proxy_user"] = headers.get(user_header) if is_proxy and has_secret and user_header else None
        if is_proxy:
            scope["scheme"] = headers.get("x-forwarded-proto", scope["scheme"]).strip().lower()
            client = headers.get("x-forwarded-for", "").rsplit(",", 1)[-1].strip()
            scope["client"] = (client, 0) if client else scope["client"]
        dropped = {PROXY_SECRET.encode(), user_header.encode(), b"forwarded"}
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name not in dropped and not name.startswith(b"x-forwarded-")
        ]
        return scope

    def refusal(self, scope: Scope) -> tuple[int, str, str, dict[str, str]] | None:
        """Why the request goes no further, if so: status, code, sentence, headers."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_name(host) not in self.config.hosts:
            return 403, "foreign_host", "The request is addressed to another name than this server's.", {}
        if (
            int(headers.get("content-length") or 0 if headers.get("content-length", "0").isdigit() else 0)
            > self.config.max_body_bytes
        ):
            return 413, "too_large", "The request is larger than this server takes.", {}
        wait_s = self.throttle.wait_s((scope.get("client") or ("", 0))[0])
        if wait_s:
            return 429, "too_many_requests", "Too many requests; wait a little.", {"Retry-After": str(wait_s)}
        if scope["method"] not in SAFE and is_foreign(headers, scope["scheme"], host):
            return 403, "foreign_origin", "The request was sent by another site.", {}
        return None

    def add_headers(self, message: Message) -> None:
        """Sets ours on an answer; only hashed assets may be cached."""
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
        if self.config.is_secure:
            headers["Strict-Transport-Security"] = TRANSPORT

    def record(self, scope: Scope, status: int, started: float) -> None:
        """One line per request: the route's pattern, never the address with what it holds; nobody's name, no text."""
        route = getattr(scope.get("route"), "path", None)
        fields = {"method": scope["method"], "route": route, "status": status}
        log.info("request", extra={"fields": {**fields, "ms": round(1000 * (time.perf_counter() - started), 1)}})


def host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name = host.rsplit("]", 1)[0].lstrip("[") if host.startswith("[") else host.rsplit(":", 1)[0]
    return name.lower().rstrip(".")


def is_foreign(headers: Headers, scheme: str, host: str) -> bool:
    """Whether another site sent it. Browsers say so by `Sec-Fetch-Site`; older ones by `Origin`; programs by neither.

    With `Referrer-Policy: no-referrer` a form's `Origin` is `null`, so that it decides only where the first is missing.
    """
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site != "same-origin"
    return origin is not None and origin != f"{scheme}://{host}"


def bounded(receive: Receive, limit: int) -> Receive:
    """Receives no more than so many bytes, whatever the length that was announced."""
    seen = 0

    async def receive_bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413)
        return message

    return receive_bounded


async def refuse(status: int, code: str, sentence: str, headers: dict[str, str], send: Send) -> None:
    """Answers in the one JSON shape."""
    data = json.dumps({"error": {"code": code, "message": sentence}}).encode()
    listed = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": HTTPStatus(status).value,
        "headers": [(name.lower().encode(), value.encode()) for name, value in listed.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": data})


class JSONLines(logging.Formatter):
    """The server's log: one JSON object per line, made of fields that hold no text of notes or raters."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        event = record.getMessage() if record.name.startswith("clinlens") else record.name
        return json.dumps({"at": self.formatTime(record), "level": record.levelname, "event": event, **fields})


def log_to_stderr() -> None:
    """Sends the server's log to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines())
    for logger in (log, logging.getLogger("uvicorn")):  # the server's own words on a failure could quote a note
        logger.handlers[:] = [handler]
        logger.propagate = False
    log.setLevel(logging.INFO)
