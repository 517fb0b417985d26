"""Who asks: a person with a session, their roles in the project that the request is about, and where they may go."""

from dataclasses import dataclass
from typing import NamedTuple

from labeling.database.accounts import User
from labeling.database.connection import Database
from labeling.database.sessions import Session
from labeling.database.transaction import Actor
from labeling.identifiers import moment


class Link(NamedTuple):
    """An entry of the navigation."""

    name: str
    address: str


PROJECT_LINKS = (
    ("Rounds", "rounds", {"lead"}),
    ("Codebooks", "codebooks", {"lead", "rater", "senior", "analyst"}),
    ("Adjudication", "adjudication", {"senior"}),
    ("Agreement", "agreement", {"analyst", "lead"}),
    ("Members", "members", {"lead"}),
    ("Signatures", "signatures", {"lead", "rater", "senior", "analyst"}),
    ("Audit", "audit", {"lead", "analyst"}),
)

AT_THE_DESK = frozenset({"lead", "senior", "analyst"})
DESK = Link("Desk", "/desk")


@dataclass(frozen=True)
class Visit:
    """One request by a person who signed in."""

    user: User
    session: Session
    database: Database
    has_report: bool
    now: str
    project_id: str | None = None
    """The project that the request is about, if it is about one."""
    roles: frozenset[str] = frozenset()
    """In that project."""

    @property
    def actor(self) -> Actor:
        """For the audit."""
        return self.session.actor

    @property
    def idle_s(self) -> int:
        """Seconds until the session ends without a sign of life."""
        return self.seconds_until(self.session.idle_until)

    @property
    def absolute_s(self) -> int:
        """Seconds until it ends in any case."""
        return self.seconds_until(self.session.expires_at)

    def seconds_until(self, timestamp: str) -> int:
        """From now, whole seconds."""
        return max(0, int((moment(timestamp) - moment(self.now)).total_seconds()))

    @property
    def project(self) -> str:
        """The project of a route that is about one."""
        if self.project_id is None:
            raise RuntimeError("the route names no project")
        return self.project_id

    def has_desk(self, roles: frozenset[str]) -> bool:
        """Whether there is an analyst's desk, for somebody with these roles in some project."""
        return self.has_report and (self.user.is_administrator or not AT_THE_DESK.isdisjoint(roles))

    @property
    def links(self) -> list[Link]:
        """The navigation: pages of the project, then of the server."""
        links = [
            Link(name, f"/projects/{self.project_id}/{address}")
            for name, address, roles in PROJECT_LINKS
            if self.project_id and not roles.isdisjoint(self.roles)
        ]
        if self.has_report:
            links.append(Link("Report", "/report"))
        if self.has_desk(self.roles):
            links.append(DESK)
        if self.user.is_administrator:
            links.append(Link("People", "/people"))
        return links
