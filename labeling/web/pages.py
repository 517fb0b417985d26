"""Pages from templates. Everything is escaped; nothing in a page is script or style."""

import re
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from labeling.identifiers import moment
from labeling.web import assets
from labeling.web.rubric import to_html

SAID = {
    "saved": "Saved.",
    "signed": "Signed.",
    "submitted": "Your judgement is kept.",
    "skipped": "The item is skipped.",
    "undone": "Your last judgement is open again; the first version is kept too.",
    "opened": "The round is open.",
    "ended": "The other sessions are ended.",
    "password": "Your password is changed, and your other sessions are ended.",
    "codes": "One-time codes are on.",
    "published": "The codebook is published. Items of open rounds are marked for rating again; judgements stay as they are.",
    "goodbye": "You are signed out.",
}
"""What a page may say of what was just done: by a code, so that no link can put words on a page."""
INVISIBLE = re.compile(r"[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """A token as people can see it: line ends, tabs and other invisible characters become signs."""
    if not text:
        return "∅"
    return INVISIBLE.sub("·", re.sub(r"\r?\n", "↵", text).replace("\t", "⇥"))


def figure(value: float | None, digits: int = 3) -> str:
    """A number with three significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return (
        f"{value:.1e}" if abs(value) < 10**-digits else f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    )


def when(timestamp: str | None) -> str:
    """A stored time to the minute."""
    return f"{moment(timestamp):%Y-%m-%d %H:%M} UTC" if timestamp else "–"


def words(code: str) -> str:
    """A code as words: `blind_extra` is `blind extra`."""
    return code.replace("_", " ")


@cache
def environment() -> Environment:
    """The templates, with autoescape; an unknown name is an error, not a blank."""
    made = Environment(
        loader=PackageLoader("labeling.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(visible=visible, figure=figure, when=when, words=words, rubric=to_html)
    made.globals.update(asset=assets.address, year=datetime.now().year)
    return made


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page. Who looks at it, and its token, stand where the dependency of the route left them."""
    state = request.app.state.clinlens
    visit = getattr(request.state, "visit", None)
    text = environment().get_template(template).render(
        visit=visit,
        title=state.config.title,
        path=request.url.path,
        flash=SAID.get(request.query_params.get("said", "")),
        **values,
    )  # fmt: skip
    return HTMLResponse(text)
