"""The desk's pages from templates: the review queue's layout and filters, with the desk's own addresses of files."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.responses import HTMLResponse

from clinlens.desk.pages import assets
from labeling.web import pages as shared


@cache
def environment() -> Environment:
    """The templates, the desk's before the review queue's."""
    made = shared.environment().overlay(
        loader=ChoiceLoader([PackageLoader("clinlens.desk"), PackageLoader("labeling.web")]), cache_size=100
    )
    made.globals = dict(made.globals) | {"asset": assets.address, "modules": assets.modules}
    made.filters = dict(made.filters) | {"percent": percent, "signed": signed, "when": when}
    return made


def percent(share: float | None) -> str:
    """A share of one as per cent; a dash where there is none."""
    return "–" if share is None else f"{shared.figure(100 * share)} %"


def when(timestamp: str | None) -> str:
    """A record's time to the minute."""
    return f"{datetime.fromisoformat(timestamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if timestamp else "–"


def signed(value: float | None) -> str:
    """A number with its sign."""
    return "–" if value is None else f"{'+' if value > 0 else '−' if value < 0 else ''}{shared.figure(abs(value))}"


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page; who looks at it stands where the dependency of the route left them."""
    text = environment().get_template(template).render(
        visit=getattr(request.state, "visit", None),
        title=request.app.state.clinlens.config.title,
        path=request.url.path,
        flash=None,
        **values,
    )  # fmt: skip
    return HTMLResponse(text)
