"""Telling sockets that a job has news: from any thread into the server's event loop."""

import asyncio
import threading
from collections import defaultdict


class Notices:
    """Who waits for which job."""

    def __init__(self) -> None:
        self.waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to tell."""
        self.loop = loop

    def close(self) -> None:
        """Ends it."""
        self.loop = None

    def tell(self, job: str) -> None:
        """There is news of a job."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.ring, job)

    def ring(self, job: str) -> None:
        """Wakes whoever waits; in the loop's thread."""
        with self.lock:
            for event in self.waiting.get(job, ()):
                event.set()

    def join(self, job: str) -> asyncio.Event:
        """A bell that rings at news of a job."""
        event = asyncio.Event()
        with self.lock:
            self.waiting[job].add(event)
        return event

    def leave(self, job: str, event: asyncio.Event) -> None:
        """Nobody listens to this bell any more."""
        with self.lock:
            self.waiting[job].discard(event)
            if not self.waiting[job]:
                del self.waiting[job]
