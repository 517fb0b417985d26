"""Statistics in the background: a page asks, is told to wait, and finds the result next time."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from sae.errors import UserError

MAX_RESULTS = 16
QUICK_S = 1.0
"""What takes no longer is waited for, so that a small project never sees a waiting page."""
log = logging.getLogger("clinlens.web")


class Outcome(NamedTuple):
    """How far a computation is."""

    is_ready: bool
    value: Any = None
    problem: str = ""
    """Why there is no value; one sentence."""


class Worker:
    """One thread, and the last results by the digest of what they were computed from."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="statistics")
        self.found: OrderedDict[str, Future[Any]] = OrderedDict()
        self.lock = threading.Lock()

    def outcome(self, digest: str, compute: Callable[[], Any]) -> Outcome:
        """The result for a digest, if it is there within a moment; else it is on its way."""
        with self.lock:
            future = self.found.pop(digest, None) or self.pool.submit(compute)
            self.found[digest] = future
            while len(self.found) > MAX_RESULTS:
                self.found.popitem(last=False)[1].cancel()
        try:
            return Outcome(True, future.result(QUICK_S))
        except TimeoutError:
            return Outcome(False)
        except UserError as error:
            return Outcome(True, problem=str(error))
        except Exception as error:  # its words could quote a rater: the kind is logged
            log.exception(
                "failure", exc_info=None, extra={"fields": {"kind": type(error).__name__, "where": "statistics"}}
            )
            with self.lock:
                self.found.pop(
                    digest, None
                )  # it may have been a full disk: who asks again is not told the same for ever
            return Outcome(True, problem="The computation failed on our side. Try again, or tell your administrator.")

    def close(self) -> None:
        """Ends the thread."""
        self.pool.shutdown(wait=False, cancel_futures=True)
