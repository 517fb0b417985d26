"""The review queue under load: 64 clients claim and submit while the server process is killed; latencies; audit; backup.

    python -m benchmarks.review_queue --json            about ten minutes; --quick under one; --claims N for more
    python -m benchmarks.review_queue --database postgresql://user@host/empty_database

1. *Claims.* A process serves 64 client threads over a socket, one request per line, as the web server calls the
   queue's functions. It is killed with SIGKILL again and again and started anew. A client that got no answer sends the
   same request once more. Afterwards every acknowledged judgement must be in the database, every slot at most once.
2. *Latency.* 50 raters in one round of 100,000 items: submitting and getting the next one, in one transaction; one rater
   after another within the process, and all at once over a socket, who think for three seconds in the mean.
3. *Audit* events verified per second, hashing alone and with reading; *backup* and *restore --verify* of what the claims left.

Nothing here is simulated but the raters.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import func, select

from benchmarks.harness.queue_server import answer
from benchmarks.harness.report import Report, parser_of
from benchmarks.harness.rounds import Figure, spread
from labeling.codebook import Codebook
from labeling.database import accounts, audit, integrity, projects, rounds, schema
from labeling.database.backup import backup, restore
from labeling.database.connection import Database
from labeling.database.rounds import PlannedItem
from labeling.database.transaction import PROGRAM
from labeling.evidence import Context, SAERef, Snapshot
from labeling.round_settings import RoundSettings
from sae.errors import UserError

N_CLIENTS = 64
THINK_S = 3.0
CODES = ("diagnosis", "medication", "format", "other")
SAE = SAERef("clinic", "0" * 32, "blocks.2.hook_resid_post", "topk-benchmark", "0" * 64, 1 << 20)


def codebook() -> Codebook:
    """One field: the cost of the answers' own validation is not what is measured."""
    categories = [{"code": code, "name": code} for code in CODES]
    question = {"key": "category", "kind": "choice", "name": "Category", "categories": categories}
    return Codebook.model_validate({"title": "Benchmark", "primary": "category", "questions": [question]})


def planned(n_items: int, stratum: str, slots: int) -> Any:
    """Items with a page of evidence each."""
    for number in range(n_items):
        tokens = tuple(f" word{number % 97}" for _ in range(16))
        contexts = tuple(
            Context("top", number + place, place, False, tokens, (0.0,) * 15 + (1.0,), 15, None) for place in range(3)
        )
        snapshot = Snapshot(SAE, number, 0.01, 1.0, contexts, (), (), "clinic", "0" * 32, "benchmark")
        yield PlannedItem(snapshot, stratum, slots, f"family {number // 2}")


def filled(database: Database, n_raters: int, items: Any) -> tuple[str, list[str]]:
    """A round in an empty database; its id and its raters."""
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, "Benchmark")
        raters = [
            accounts.add_user(conn, PROGRAM, login=f"rater.{n}", display_name=f"Rater {n}", institution_id=house.id).id
            for n in range(n_raters)
        ]
        project = projects.create_project(conn, PROGRAM, "Benchmark")
        version = projects.publish_codebook(conn, PROGRAM, project.id, codebook()).version
        opened = rounds.open_round(
            conn, PROGRAM, project.id, kind="main", title="Benchmark", codebook_version_id=version.id, items=items,
            rater_ids=raters, settings=RoundSettings(retest_share=0),
        )  # fmt: skip
    return opened.id, raters


class Server:
    """The server process, killed and started again."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.number = url, folder, 0
        self.start()

    def start(self) -> None:
        """A new process with a new socket."""
        self.number += 1
        self.address = str(self.folder / f"s{self.number}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.harness.queue_server", self.url, self.address]
        )

    def kill(self) -> None:
        """As a power cut does to a process: nothing is told, nothing flushed."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Client(threading.Thread):
    """One rater who never thinks."""

    def __init__(self, server: Server, rater: str, round_id: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.rater, self.round_id, self.stop = server, rater, round_id, stop
        self.random = random.Random(rater)  # noqa: S311 - nothing here is secret
        self.acknowledged: list[str] = []
        self.is_done = False

    def run(self) -> None:
        """Asks until there is nothing left; sends again what was not answered."""
        asked: dict[str, Any] = {"rater": self.rater, "round": self.round_id}
        while not self.stop.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(self.server.address)
                    with line.makefile("rw") as lines:
                        while not self.stop.is_set():
                            lines.write(json.dumps(asked) + "\n")
                            lines.flush()
                            said = json.loads(lines.readline())
                            if said["accepted"]:
                                self.acknowledged.append(said["accepted"])
                            if said.get("empty"):
                                self.is_done = True
                                return
                            asked = self.next(said)
            except (OSError, ValueError):
                time.sleep(0.05)

    def next(self, said: dict[str, Any]) -> dict[str, Any]:
        """The answers to what was given."""
        return submission(self.rater, self.round_id, said, self.random.choice(CODES))


def submission(rater: str, round_id: str, given: dict[str, Any], code: str) -> dict[str, Any]:
    """An answer to what was given."""
    return {
        "rater": rater, "round": round_id, "assignment": given["assignment"], "version": given["version"],
        "uuid": str(uuid.uuid4()), "answers": {"category": code},
    }  # fmt: skip


def claims(url: str, folder: Path, n_claims: int, n_kills: int, seconds: float) -> dict[str, float]:
    """The race of clients and kills; what is wrong afterwards, which should be nothing."""
    slots = 4
    with Database.open(url, create=True) as database:
        round_id, raters = filled(database, N_CLIENTS, planned(max(n_claims // slots, 1), "irr_fixed", slots))
    server, stop = Server(url, folder), threading.Event()
    clients = [Client(server, rater, round_id, stop) for rater in raters]
    for client in clients:
        client.start()
    while not any(client.acknowledged for client in clients):
        time.sleep(0.01)
    start = time.perf_counter()
    killed, before = 0, 0
    while time.perf_counter() - start < seconds and not all(client.is_done for client in clients):
        time.sleep(0.02)
        done = sum(len(client.acknowledged) for client in clients)
        progress = max((time.perf_counter() - start) / seconds, done / n_claims)  # whichever will end the race
        is_time = progress > (killed + 1) / (n_kills + 2)
        if killed < n_kills and is_time and done > before:  # a server that has answered since it was started
            server.kill()
            server.start()
            killed, before = killed + 1, done
    stop.set()
    taken = time.perf_counter() - start
    time.sleep(0.5)
    server.kill()
    for client in clients:
        client.join(timeout=10)
    acknowledged = Counter(one for client in clients for one in client.acknowledged)
    with Database.open(url) as database, database.read() as conn:
        stored = set(conn.execute(select(schema.judgement.c.id)).scalars())
        held = schema.assignment.c
        per_slot = select(func.count()).where(held.state.in_(("open", "submitted"))).group_by(held.item_id, held.slot)
        per_rater = select(func.count()).group_by(held.item_id, held.rater_id).select_from(schema.assignment)
        doubled = sum(n > 1 for query in (per_slot, per_rater) for n in conn.execute(query).scalars())
        overfull = select(func.count()).select_from(schema.item).where(schema.item.c.n_held > schema.item.c.slots)
        doubled += conn.execute(overfull).scalar_one()
        n_given = conn.execute(select(func.count()).select_from(schema.assignment)).scalar_one()
        problems = integrity.verify(conn)
    return {
        "claims": n_given,
        "claims per s": n_given / taken,
        "kills": killed,
        "acknowledged": len(acknowledged),
        "acknowledged judgements lost": len(set(acknowledged) - stored),
        "double assignments": doubled,
        "problems found by verify": len(problems),
    }


def in_turn(path: Path, round_id: str, raters: list[str], n_requests: int) -> tuple[list[float], float]:
    """Milliseconds from a submission to the next item; and of this process' own time, which others' load hides less in."""
    with Database.open(path) as database:
        held = {rater: answer(database, {"rater": rater, "round": round_id}) for rater in raters}
        taken = []
        cpu = time.process_time()
        for number in range(n_requests):
            rater = raters[number % len(raters)]
            begun = time.perf_counter()
            held[rater] = answer(database, submission(rater, round_id, held[rater], CODES[number % 4]))
            taken.append(1000 * (time.perf_counter() - begun))
        return taken, 1000 * (time.process_time() - cpu) / n_requests


class Thinker(threading.Thread):
    """One rater who reads before answering; each waits for the server alone, all for the same one."""

    def __init__(self, server: Server, rater: str, round_id: str, until: float) -> None:
        super().__init__(daemon=True)
        self.server, self.rater, self.round_id, self.until = server, rater, round_id, until
        self.random = random.Random(rater)  # noqa: S311 - nothing here is secret
        self.taken: list[float] = []

    def run(self) -> None:
        """Asks, thinks, answers, until time is up."""
        asked: dict[str, Any] = {"rater": self.rater, "round": self.round_id}
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self.server.address)
            with line.makefile("rw") as lines:
                while time.perf_counter() < self.until:
                    begun = time.perf_counter()
                    lines.write(json.dumps(asked) + "\n")
                    lines.flush()
                    said = json.loads(lines.readline())
                    if "uuid" in asked:  # the first one has nothing to submit
                        self.taken.append(1000 * (time.perf_counter() - begun))
                    if said.get("empty"):
                        return
                    asked = submission(self.rater, self.round_id, said, self.random.choice(CODES))
                    time.sleep(self.random.expovariate(1 / THINK_S))


def at_once(path: Path, folder: Path, round_id: str, raters: list[str], seconds: float) -> list[float]:
    """Milliseconds from a submission to the next item as raters see them who work at the same time, over a socket."""
    server = Server(str(path), folder)
    while not Path(server.address).exists():
        time.sleep(0.05)
    thinkers = [Thinker(server, rater, round_id, time.perf_counter() + seconds) for rater in raters]
    for one in thinkers:
        one.start()
    for one in thinkers:
        one.join()
    server.kill()
    return [ms for one in thinkers for ms in one.taken]


def hash_rate(n_events: int) -> float:
    """Events hashed per second of the processor."""
    row = ["p" * 36, 1, "2026-01-05T08:00:00.000000Z", "u" * 36, "s" * 64, "judgement_submitted", "judgement:" + "j" * 36,
           None, "a" * 64, '{"assignment":"' + "a" * 36 + '"}', "0" * 64]  # fmt: skip
    begun = time.process_time()
    for seq in range(n_events):
        row[1] = seq
        row[-1] = audit.hash_of(row)
    return n_events / (time.process_time() - begun)


def main() -> None:
    parser = parser_of(__doc__, ("claims", "latency", "audit"))
    parser.add_argument(
        "--database", metavar="URL", help="an empty PostgreSQL database for the claims; SQLite if not given"
    )
    parser.add_argument("--seconds", type=float, help="how long clients claim")
    parser.add_argument("--claims", type=int, help="places to be claimed at most")
    parser.add_argument("--kills", type=int, help="kill −9 of the server on the way")
    arguments = parser.parse_args()
    quick, part, report = arguments.quick, arguments.part, Report()
    n_claims = arguments.claims or (2_000 if quick else 200_000)
    seconds = arguments.seconds or (8.0 if quick else 400.0)
    kills = (2 if quick else 40) if arguments.kills is None else arguments.kills
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = arguments.database or str(folder / "claims.db")
        if part in (None, "claims"):
            report.say(f"claims: {N_CLIENTS} clients, {kills} kills, {seconds:g} s at most, {url.split(':')[0]}")
            found = claims(url, folder, n_claims, kills, seconds)
            # said before the backup, which takes long where there are many
            report.say(", ".join(f"{name} {value:,.10g}" for name, value in found.items()))
            report.peers |= found
        if part in (None, "claims") and not arguments.database:
            report.peers |= backup_times(Path(url), folder)
        if part in (None, "latency"):
            n_items, n_raters = (2_000, 50) if quick else (100_000, 50)
            report.say(f"latency: {n_raters} raters, {n_items:,} items, SQLite; load average {os.getloadavg()[0]:.1f}")
            path = folder / "latency.db"
            with Database.open(path, create=True) as database:
                round_id, raters = filled(database, n_raters, planned(n_items, "irr_fixed", 3))
            together = at_once(path, folder, round_id, raters, 8.0 if quick else 90.0)
            taken, cpu = in_turn(path, round_id, raters, 200 if quick else 2_000)
            report.say(f"at once: {len(together)} submissions, {THINK_S:g} s of thinking between them in the mean")
            for how, some in (("in turn", taken), ("at once", together)):
                ranked = sorted(some)
                report.figures[f"submit → next {how}, ms"] = spread(some)
                for share, goal in ((0.95, "≤ 150"), (0.99, "≤ 300")):
                    figure = f"submit → next {how} p{100 * share:.0f}, ms"
                    report.figures[figure] = point(ranked[int(share * len(ranked))])
                    report.targets[figure] = goal
            report.figures["submit → next, ms of processor"] = point(cpu)
        if part in (None, "audit"):
            report.say("audit: hashing of events as they are stored")
            report.figures["audit events hashed per s"] = spread(
                [hash_rate(20_000 if quick else 200_000) for _ in range(3)]
            )
            report.targets["audit events hashed per s"] = "≥ 90,000"
    report.deliver(arguments)


def backup_times(path: Path, folder: Path) -> dict[str, float]:
    """Seconds of a backup and of restoring it with verification."""
    with Database.open(path) as database:
        begun = time.perf_counter()
        made = backup(database, folder / "backup.gz")
        saved = time.perf_counter() - begun
    begun = time.perf_counter()
    restored = restore(made.path, folder / "restored.db")
    if restored.problems:
        raise UserError(
            f"The restored database has {len(restored.problems)} problems, expected none. Do not trust backups."
        )
    return {
        "judgements in the backup": made.n_rows["judgement"],
        "rows in the backup": sum(made.n_rows.values()),
        "backup, s": saved,
        "restore and verify, s": time.perf_counter() - begun,
    }


def point(value: float) -> Figure:
    """A figure without a spread."""
    return Figure(value, value, value)


if __name__ == "__main__":
    main()
