"""What lives as long as the server: the database, the run it shows, what it remembers between requests."""

import hmac
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path

from labeling.database import roles
from labeling.database.connection import Database
from labeling.identifiers import sha256
from labeling.web.config import WebConfig
from labeling.web.replies import Replies
from labeling.web.statistics_worker import Worker
from labeling.web.throttle import Throttle


@dataclass
class State:
    """The server's memory."""

    config: WebConfig
    source: str
    """Path or URL of the database."""
    run: Path | None = None
    """The run whose report is shown and whose features rounds are opened from."""
    database: Database | None = None
    """None until somebody sets the review queue up."""
    setup_sha256: str = ""
    """Hash of the one-time token that makes the first administrator; empty where there is one."""
    replies: Replies = field(default_factory=Replies)
    worker: Worker = field(default_factory=Worker)
    sign_ins: Throttle = field(init=False)
    opening: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.sign_ins = Throttle(self.config.sign_ins_per_minute)

    @property
    def report(self) -> Path | None:
        """The run's report, where there is one."""
        path = self.run / "report.html" if self.run else None
        return path if path and path.is_file() else None

    @property
    def has_accounts(self) -> bool:
        """Whether somebody can sign in."""
        return self.database is not None and not self.setup_sha256

    @property
    def is_open_house(self) -> bool:
        """Whether this machine alone can reach it and nobody has an account: then nothing asks who one is."""
        return self.config.is_loopback and not self.has_accounts

    def look(self) -> str | None:
        """Finds out whether there is an administrator; if not, gives the token that makes one."""
        if self.database is not None:
            with self.database.read() as conn:
                if roles.n_administrators(conn):
                    return None
        token = secrets.token_urlsafe(32)
        self.setup_sha256 = sha256(token.encode())
        return token

    def is_setup(self, token: str) -> bool:
        """Whether a token is the one that makes the first administrator."""
        return bool(self.setup_sha256) and hmac.compare_digest(self.setup_sha256, sha256(token.encode()))

    def opened(self) -> Database:
        """The database; made when it is first needed."""
        with self.opening:
            if self.database is None:
                self.database = Database.open(self.source, create=True)
            return self.database
