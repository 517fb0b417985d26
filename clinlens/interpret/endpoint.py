"""A chat endpoint in OpenAI's shape: plain HTTP, nothing kept, nothing sent on to another host.

1. Loopback may be asked; any other host only where the analyst allows it and the corpus is declared shareable, for passages of
   patients' records leave the machine with every question.
2. No redirect is followed: it could lead from this machine to another. Nor is a proxy used on loopback.
3. The key comes from an environment variable or a file; it is in no file, no message and no record.
"""

import http.client
import ipaddress
import json
import os
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from analysis.interpretation.config import InterpretConfig
from analysis.interpretation.prompts import Message
from sae.errors import UserError

KEY_VARIABLE = "CLINLENS_ENDPOINT_KEY"
MOST_BYTES = 4_000_000
BUSY = (429, 500, 502, 503, 504)
PAUSES_S = (0.5, 2.0, 8.0)
"""Waits before a busy endpoint is asked again."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers."""

    url: str
    """Up to and without `/chat/completions`."""
    model: str
    cfg: InterpretConfig
    key: str | None = field(default=None, repr=False)
    pauses_s: tuple[float, ...] = PAUSES_S

    @property
    def place(self) -> str:
        """Scheme, host and path, for people and records."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def chat(self, messages: list[Message]) -> str:
        """What the model answers; nothing where its answer has not the shape of one.

        Raises:
            UserError: It cannot be reached, refuses, or stays busy.
        """
        body = {
            "model": self.model, "messages": messages, "temperature": 0, "max_tokens": self.cfg.most_tokens,
            "seed": self.cfg.seed,
        }  # fmt: skip
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        url = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the scheme was checked
        for pause in (*self.pauses_s, None):
            try:
                with self.opener.open(request, timeout=self.cfg.timeout_s) as reply:
                    return content(reply.read(MOST_BYTES + 1))
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in BUSY or pause is None:
                    raise self.refused(error.code) from None
                time.sleep(pause)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"The endpoint {self.place} cannot be reached ({type(reason).__name__}), expected a chat endpoint in OpenAI's "
                    "shape. Start it, or correct --endpoint; what is done is kept."
                ) from None
        raise AssertionError("the last pause is none")

    @property
    def opener(self) -> urllib.request.OpenerDirector:
        """What opens addresses, without redirects; on loopback without proxies too."""
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(urlsplit(self.url).hostname or "") else []
        return urllib.request.build_opener(NoRedirect, *proxies)

    def refused(self, code: int) -> UserError:
        """What an HTTP status means."""
        meanings = {
            401: f"the key is missing or wrong. Put it into {KEY_VARIABLE} or --key-file",
            403: f"the key may not do this. Put another into {KEY_VARIABLE} or --key-file",
            404: "it has no such address or model. Correct --endpoint (most end in /v1) or --model",
        }
        redirected = "it sends elsewhere, which is not followed. Name that address in --endpoint"
        meaning = (
            redirected if code in range(300, 400) else meanings.get(code, "no answer was given. Look into its log")
        )
        return UserError(
            f"The endpoint {self.place} answered with HTTP {code}, expected 200: {meaning}; what is done is kept."
        )


def content(data: bytes) -> str:
    """The text in a reply; empty where there is none, as in one that is cut off or of another shape."""
    if len(data) > MOST_BYTES:
        return ""
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""


def endpoint(
    url: str, model: str, key_file: Path | None, cfg: InterpretConfig, *, is_remote_allowed: bool, is_shareable: bool
) -> Endpoint:
    """The endpoint of an address, if it may be asked.

    Raises:
        UserError: It is no such address, or on another machine without leave.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UserError(
            "--endpoint is no plain http or https address, expected one such as http://127.0.0.1:8000/v1 without user, key or "
            "question mark. Correct it."
        )
    if not is_loopback(parts.hostname):
        refuse_remote(parts.hostname, parts.scheme, is_remote_allowed=is_remote_allowed, is_shareable=is_shareable)
    return Endpoint(url, model, cfg, key_of(key_file))


def refuse_remote(host: str, scheme: str, *, is_remote_allowed: bool, is_shareable: bool) -> None:
    """Stops where passages would leave the machine without leave."""
    if not is_remote_allowed:
        raise UserError(
            f"The endpoint is on {host}, expected one on this machine, for passages of records are sent to it. Run a model here, "
            "or add --allow-remote where the corpus may leave the house."
        )
    if not is_shareable:
        raise UserError(
            f"The endpoint is on {host} and corpus.shareable is false, expected a corpus that is declared to be one that may leave "
            "this machine. Set corpus.shareable=true in the run's config if it is, or run a model here."
        )
    if scheme != "https":
        raise UserError(f"The endpoint on {host} is asked by plain http, expected https. Correct --endpoint.")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by all its addresses."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    if host != "localhost" and not host.endswith(".localhost"):
        return False
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(one).is_loopback for one in found)


def key_of(path: Path | None) -> str | None:
    """The key of a file, or of the environment.

    Raises:
        UserError: The file cannot be read, or holds no key.
    """
    if path is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}), expected the endpoint's key. Correct --key-file."
        ) from None
    if not key or not key.isascii() or any(one.isspace() for one in key):
        raise UserError(f"{path} holds no key, expected one line of letters and digits. Correct it.")
    return key
