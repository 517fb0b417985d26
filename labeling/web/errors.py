"""What went wrong, as one JSON shape for programs and one page for people. Never quotes what was sent."""

import logging
import traceback
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.identifiers import new_id
from labeling.web.pages import page
from sae.errors import UserError

log = logging.getLogger("clinlens.web")


class Refusal(Exception):  # noqa: N818 - it reads "raise Refusal"
    """A request that is not carried out, with the HTTP status and one sentence."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more


def body(code: str, message: str, **more: Any) -> dict[str, Any]:
    """The one JSON shape of an error."""
    return {"error": {"code": code, "message": message, **more}}


def answer(request: Request, refusal: Refusal) -> Response:
    """JSON for the API, a page for people; who is not signed in is led there."""
    headers = {"Retry-After": str(refusal.more["retry_after_s"])} if "retry_after_s" in refusal.more else {}
    if request.url.path.startswith("/api/"):
        return JSONResponse(body(refusal.code, refusal.message, **refusal.more), refusal.status, headers)
    if refusal.status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        return RedirectResponse(f"/sign-in?next={request.url.path}", HTTPStatus.SEE_OTHER)
    shown = page(
        request,
        "refusal.html",
        status=refusal.status,
        heading=HTTPStatus(refusal.status).phrase,
        message=refusal.message,
        reference=refusal.more.get("id"),
    )
    shown.status_code = refusal.status
    shown.headers.update(headers)
    return shown


def on_refusal(request: Request, error: Exception) -> Response:
    """A refusal of ours."""
    assert isinstance(error, Refusal)  # noqa: S101 - registered for this type
    return answer(request, error)


def on_conflict(request: Request, error: Exception) -> Response:
    """Somebody was faster: the current state goes with the answer."""
    assert isinstance(error, Conflict)  # noqa: S101
    return answer(request, Refusal(409, "conflict", str(error), current=error.state))


def on_not_allowed(request: Request, error: Exception) -> Response:
    """The database's own refusal."""
    return answer(request, Refusal(403, "not_allowed", str(error)))


def on_not_found(request: Request, error: Exception) -> Response:
    """There is no such thing."""
    return answer(request, Refusal(404, "not_found", str(error)))


def on_mistake(request: Request, error: Exception) -> Response:
    """A mistake of the sender's, in the one sentence it was raised with."""
    return answer(request, Refusal(422, "invalid", str(error)))


def on_invalid(request: Request, error: Exception) -> Response:
    """A body of another shape: says where, never what stood there."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    fields = sorted({".".join(str(part) for part in found["loc"]) for found in error.errors()})
    return answer(request, Refusal(422, "invalid", "The request has another shape than expected.", fields=fields))


def on_http(request: Request, error: Exception) -> Response:
    """Unknown addresses and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101
    phrase = HTTPStatus(error.status_code).phrase
    refusal = Refusal(error.status_code, phrase.lower().replace(" ", "_"), f"{phrase}.")
    response = answer(request, refusal)
    response.headers.update(error.headers or {})
    return response


def on_failure(request: Request, error: Exception) -> Response:
    """A failure of ours: logged by place and kind, since its words could quote a note; the sender gets its number."""
    number = new_id()
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]
    log.error("failure", extra={"fields": {"id": number, "kind": type(error).__name__, "frames": frames}})
    sentence = "Something failed on our side; nothing that was saved is lost. Tell your administrator the number."
    return answer(request, Refusal(500, "failure", sentence, id=number))


def register(app: FastAPI) -> None:
    """Gives the application its answers to what goes wrong."""
    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(Conflict, on_conflict)
    app.add_exception_handler(NotAllowed, on_not_allowed)
    app.add_exception_handler(NotFound, on_not_found)
    app.add_exception_handler(UserError, on_mistake)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_failure)
