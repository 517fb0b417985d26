"""The processes and who gets what: one thread of the server that hears all of them and hands out one task at a time.

1. A process is started when there is work and none is free, up to so many; it ends after a while without any.
2. The most urgent task goes out first (`Store.claim`).
3. A process that dies over a task harms that task alone: it is tried once more, then it has failed, with a log.
4. A cancelled task is left by its process within moments, or the process is killed.
"""

import json
import logging
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from clinlens.desk.config import DeskConfig
from clinlens.desk.jobs.hand import Errand, Hand
from clinlens.desk.jobs.store import Store, Task, now
from clinlens.desk.models import ServedModel
from sae import artefact
from sae.errors import UserError

BENCH = "clinlens.desk.jobs.bench"
"""Module whose `Bench` does the work in a process."""
PAUSE_S = 0.5
MAX_FALSE_STARTS = 3
DIED = {-9: "was killed (signal 9), as systems do when memory runs out", -11: "crashed (signal 11)"}
log = logging.getLogger("clinlens.desk")


class Pool:
    """The processes.

    Args:
        cfg: How many, how patient.
        store: The jobs.
        models: Those that are served.
        folder: The run's; results and logs lie in its `desk`.
    """

    def __init__(self, cfg: DeskConfig, store: Store, models: dict[str, ServedModel], folder: Path) -> None:
        self.cfg, self.store, self.models, self.folder = cfg, store, models, folder
        self.logs = folder / "desk" / "logs"
        self.inbox: queue.Queue[tuple[Hand | None, dict[str, Any] | None]] = queue.Queue()
        self.hands: dict[int, Hand] = {}
        self.errands: deque[Errand] = deque()
        self.bench = BENCH
        self.n_started = self.n_false_starts = 0
        self.is_ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True, name="desk")

    def start(self) -> None:
        """Begins to work, with what was left over first."""
        n_left = self.store.recover()
        if n_left:
            log.info("resumed", extra={"fields": {"tasks": n_left}})
        self.thread.start()

    def stop(self) -> None:
        """Ends the processes; what they were at waits for the next start."""
        self.is_ending.set()
        self.wake()
        self.thread.join(10)
        for hand in self.hands.values():
            hand.kill()
            hand.process.wait(10)
            hand.close()
        self.store.recover()
        for errand in self.errands:
            errand.future.cancel()

    def wake(self) -> None:
        """Says that there may be work."""
        self.inbox.put((None, None))

    def drop(self, tasks: list[int]) -> None:
        """Takes tasks back from whoever is at them."""
        self.inbox.put((None, {"type": "drop", "tasks": tasks}))

    def ask(self, order: dict[str, Any]) -> "Future[Any]":
        """Has something done beside the jobs."""
        errand = Errand(order, Future())
        self.inbox.put((None, {"type": "errand", "errand": errand}))
        return errand.future

    def run(self) -> None:
        """Hears and hands out until the end."""
        while not self.is_ending.is_set():
            try:
                try:
                    self.hear(*self.inbox.get(timeout=PAUSE_S))
                    while True:
                        self.hear(*self.inbox.get_nowait())
                except queue.Empty:
                    pass
                self.watch()
                self.hand_out()
            except Exception as error:  # one mistake must not stop all jobs; its words could quote a note
                log.error("failure", extra={"fields": {"kind": type(error).__name__, "where": "pool"}})
                time.sleep(PAUSE_S)

    def hear(self, hand: Hand | None, message: dict[str, Any] | None) -> None:
        """One message: of a process, of its end, or of the server itself."""
        if hand is not None and message is not None:
            hand.heard = time.monotonic()
            self.hear_process(hand, message)
        elif hand is not None:
            self.bury(hand)
        elif message is not None and message["type"] == "errand":
            self.errands.append(message["errand"])
        elif message is not None:
            for one in self.hands.values():
                if isinstance(one.work, Task) and one.work.id in message["tasks"]:
                    one.drop()

    def hear_process(self, hand: Hand, message: dict[str, Any]) -> None:
        """What a process says."""
        kind = message["type"]
        if kind == "ready":
            hand.is_ready, self.n_false_starts, hand.idle_since = True, 0, time.monotonic()
        elif kind == "phase":
            hand.phase = message["phase"]
        elif kind in ("done", "failed", "cancelled") and hand.work is not None:
            work = hand.work
            hand.finish()
            if isinstance(work, Errand):
                settle_errand(work, message)
            else:
                self.end(work, message)

    def end(self, task: Task, message: dict[str, Any]) -> None:
        """Ends a task as its process says."""
        match message["type"]:
            case "done":
                values = {"seconds": message["seconds"], "is_cached": int(message["is_cached"])}
                self.store.end(task, "completed", **values)
            case "failed":
                self.write_log(task, {key: message[key] for key in ("kind", "frames")})
                self.store.end(task, "failed", problem=message["problem"])
            case _:
                self.store.end(task, "cancelled")

    def bury(self, hand: Hand) -> None:
        """A process has ended; what it was at is tried again, or has failed."""
        self.hands.pop(hand.number, None)
        hand.close()
        if not hand.is_ready:
            self.n_false_starts += 1
        work, code = hand.work, hand.process.returncode
        if isinstance(work, Errand):
            work.future.set_exception(UserError("The process that was asked has ended, expected an answer. Ask again."))
        elif work is not None and hand.dropped_at is None:
            self.died(work, hand, code)
        elif work is None and hand.is_ready:
            hand.log.unlink(missing_ok=True)

    def died(self, task: Task, hand: Hand, code: int) -> None:
        """A process died over a task: once may be chance, twice is the task's doing."""
        deaths, how = task.deaths + 1, DIED.get(code, f"ended with code {code}")
        fields = {"kind": "ProcessDied", "code": code, "phase": hand.phase, "deaths": deaths}
        self.write_log(task, {**fields, "libraries": hand.last_words()})
        log.warning("worker_died", extra={"fields": {"code": code, "job": task.job, "task": task.number}})
        if deaths < self.cfg.max_deaths:
            self.store.end(task, "queued", deaths=deaths)
            return
        problem = (
            f"The process {how}, {deaths} times, expected it to finish. Its log is kept; shorten the text, choose a cheaper "
            "method, or give the server more memory."
        )
        self.store.end(task, "failed", deaths=deaths, problem=problem)

    def write_log(self, task: Task, fields: dict[str, Any]) -> None:
        """Adds to a job's log: kinds, places and figures, no text."""
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        row = {"at": now(), "task": task.number, "model": task.model, "method": task.method, **fields}
        path = self.logs / f"{task.job}.log"
        kept = path.read_text(encoding="utf-8") if path.is_file() else ""
        artefact.write_text(path, kept + json.dumps(row) + "\n", artefact.PRIVATE)

    def watch(self) -> None:
        """Kills who is silent or does not leave a cancelled task; ends who has had no work for long."""
        at = time.monotonic()
        for hand in list(self.hands.values()):
            is_stuck = hand.dropped_at is not None and at - hand.dropped_at > self.cfg.cancel_s
            if is_stuck or at - hand.heard > self.cfg.silent_s:
                hand.kill()
            elif hand.is_ready and hand.work is None and at - hand.idle_since > self.cfg.idle_s:
                hand.kill()  # it holds nothing but models

    def hand_out(self) -> None:
        """Gives work to whoever is free, and starts processes where nobody is."""
        while not self.is_ending.is_set() and self.has_work:
            if self.n_false_starts >= MAX_FALSE_STARTS:
                self.give_up()
                return
            hand = next((one for one in self.hands.values() if one.is_ready and one.work is None), None)
            if hand is None:
                if len(self.hands) < self.cfg.n_workers and all(one.is_ready for one in self.hands.values()):
                    self.spawn()
                return
            if self.errands:
                errand = self.errands.popleft()
                hand.give(errand, {**errand.order, "number": -1})
                continue
            task = self.store.claim(hand.loaded)
            if task is not None:
                hand.give(task, self.order_of(task))

    @property
    def has_work(self) -> bool:
        """Whether somebody could be given something."""
        return bool(self.errands) or self.store.has_waiting()

    def spawn(self) -> None:
        """Starts a process."""
        self.n_started += 1
        setup = self.cfg.model_dump(mode="json") | {
            "folder": str(self.folder), "results": str(self.folder / "desk" / "results"), "bench": self.bench
        }  # fmt: skip
        self.hands[self.n_started] = Hand(
            self.n_started, setup, self.logs, lambda hand, said: self.inbox.put((hand, said))
        )

    def give_up(self) -> None:
        """Processes do not start: the task that waits has failed, so that nobody waits for ever."""
        self.n_false_starts = 0
        task = self.store.claim()
        if task is not None:
            problem = "No process could be started, expected python with clinlens and torch. See the folder desk/logs."
            self.store.end(task, "failed", problem=problem)

    def order_of(self, task: Task) -> dict[str, Any]:
        """What a process is told of a task."""
        model = self.models.get(task.model)
        return {
            "kind": "attribute", "number": task.id, "method": task.method, "work": task.work, "result": task.result,
            "model": model.cfg.model_dump(mode="json") if model else {"name": task.model},
            "is_run": bool(model and model.is_run),
        }  # fmt: skip


def settle_errand(errand: Errand, message: dict[str, Any]) -> None:
    """Gives an errand's answer to who asked."""
    if message["type"] == "done":
        errand.future.set_result(message["found"])
    else:
        errand.future.set_exception(UserError(message.get("problem") or "The errand was cancelled. Ask again."))
