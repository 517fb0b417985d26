"""The desk's job API under load: 50 clients send jobs and ask for their state while processes and the server are killed.

    python -m benchmarks.desk --json            about three minutes; --quick about one; --part kills|latency|cache

1. *Kills.* Every client sends jobs on texts of its own, each with a number (`client_uuid`) that it sends again until it is
   answered, and asks for their state until they have ended. Meanwhile worker processes, and the server itself, are killed
   with SIGKILL. Afterwards every job must be there once, every task done once, every result readable.
2. *Latency.* The same clients without kills, each asking every 250 ms, while a process computes.
3. *Cache.* A question that was asked before.

The model is the clinic's, the method AttnLRP; nothing is simulated but the analysts.
"""

import http.client
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
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from benchmarks.harness.report import Report, parser_of
from benchmarks.harness.rounds import Figure
from clinlens.clinic.notes import ClinicConfig, generate
from clinlens.desk.jobs.results import Results
from clinlens.desk.jobs.store import ENDED, Store

N_CLIENTS = 50
POLL_S = 0.25


class Server:
    """The server process, killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """A new process; waits until it answers."""
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.harness.desk_server", str(self.folder), str(self.port)],
                stdout=log, stderr=log,
            )  # fmt: skip
        while True:
            try:
                ask(self.port, "GET", "/api/v1/health")
                return
            except OSError:
                time.sleep(0.1)

    def workers(self) -> list[psutil.Process]:
        """Its processes that compute."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Nothing is told, nothing flushed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """As Ctrl-C does."""
        self.process.terminate()
        self.process.wait(30)


def ask(port: int, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return request(connection, verb, path, body)
    finally:
        connection.close()


def request(connection: http.client.HTTPConnection, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request; a torn connection is an OSError."""
    try:
        data = None if body is None else json.dumps(body)
        connection.request(verb, path, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (http.client.HTTPException, ValueError) as error:
        connection.close()
        raise OSError(type(error).__name__) from error


class Client(threading.Thread):
    """An analyst: sends jobs and looks at them until they have ended."""

    def __init__(self, server: Server, texts: list[str], number: int) -> None:
        super().__init__(daemon=True)
        self.server, self.texts = server, texts
        self.random = random.Random(number)  # noqa: S311 - nothing here is secret
        self.jobs: dict[str, str] = {}
        """Own number of a job → its id."""
        self.status_ms: list[float] = []

    def run(self) -> None:
        """Sends each job until it is answered, then asks until all have ended."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        time.sleep(self.random.random() * POLL_S)
        for text in self.texts:
            self.send(connection, text)
        waiting = list(self.jobs.values())
        while waiting:
            time.sleep(POLL_S)
            try:
                begun = time.perf_counter()
                status, found = request(connection, "GET", f"/api/jobs/{waiting[0]}/status")
                self.status_ms.append(1000 * (time.perf_counter() - begun))
                if status == 200 and found["status"] in ENDED:
                    waiting.pop(0)
            except OSError:
                time.sleep(0.1)
        connection.close()

    def send(self, connection: http.client.HTTPConnection, text: str) -> None:
        """One job, sent again with the same number as long as no answer comes."""
        number = str(uuid.uuid4())
        body = {
            "models": ["clinic"], "methods": ["attn_lrp"], "input": {"text": text, "target": " Pneumonia"},
            "options": {"priority": self.random.randrange(10)}, "client_uuid": number,
        }  # fmt: skip
        while number not in self.jobs:
            try:
                status, found = request(connection, "POST", "/api/jobs", body)
                if status == 202:
                    self.jobs[number] = found["job_id"]
            except OSError:
                time.sleep(0.1)


def texts(n: int) -> list[str]:
    """As many different notes, up to their question."""
    notes = generate(ClinicConfig(n_notes=2 * n, twin_fraction=0.0))
    return [f"Case {number}. {note.text[: note.answer[0]].rstrip()}" for number, note in enumerate(islice(notes, n))]


def crowd(server: Server, n_jobs: int) -> list[Client]:
    """The clients at work."""
    asked = texts(N_CLIENTS * n_jobs)
    clients = [Client(server, asked[number::N_CLIENTS], number) for number in range(N_CLIENTS)]
    for client in clients:
        client.start()
    return clients


def kills(folder: Path, n_jobs: int, n_workers: int, n_servers: int) -> dict[str, float]:
    """Jobs under kills; what is wrong afterwards, which should be nothing."""
    server = Server(folder)
    begun = time.perf_counter()
    clients = crowd(server, n_jobs)
    n_tasks, plan = N_CLIENTS * n_jobs, ["worker"] * n_workers + ["server"] * n_servers
    random.Random(0).shuffle(plan)  # noqa: S311 - nothing here is secret
    killed: Counter[str] = Counter()
    while any(client.is_alive() for client in clients):
        time.sleep(0.1)
        done = n_done(server)
        victim = plan[sum(killed.values())] if sum(killed.values()) < len(plan) else None
        is_time = done is not None and done > n_tasks * sum(killed.values()) / (len(plan) + 1)
        if victim == "server" and is_time:
            server.kill()
            server.start()
            killed[victim] += 1
        elif victim == "worker" and is_time and server.workers():
            server.workers()[0].kill()
            killed[victim] += 1
    taken = time.perf_counter() - begun
    server.end()
    return wrong(folder, clients) | {
        "workers killed": killed["worker"], "servers killed": killed["server"], "jobs per s": n_tasks / taken
    }  # fmt: skip


def n_done(server: Server) -> int | None:
    """Jobs that have ended; None where nobody answers."""
    try:
        return ask(server.port, "GET", "/api/jobs?status=completed,failed,partial&per_page=1")[1]["total"]
    except (OSError, KeyError):
        return None


def wrong(folder: Path, clients: list[Client]) -> dict[str, float]:
    """Jobs that are missing, there twice or without a result; tasks that ended twice."""
    store, results = Store(folder / "desk.db"), Results(folder / "desk" / "results")
    sent = {number: job for client in clients for number, job in client.jobs.items()}
    rows = store.rows("SELECT id, client_uuid, status FROM job")
    there = {row["client_uuid"]: row["id"] for row in rows}
    lost = sum(there.get(number) != job for number, job in sent.items())
    unread = sum(
        task["status"] == "completed" and not results.has(task["result"]) for task in store.rows("SELECT * FROM task")
    )
    events = [json.loads(row["body"]) | {"job": row["job"]} for row in store.rows("SELECT job, body FROM event")]
    ends = Counter(
        (event["job"], event["task"]["number"])
        for event in events
        if event["type"] == "task" and event["task"]["status"] in ENDED
    )
    store.close()
    return {
        "jobs": len(rows), "jobs lost": lost + sum(row["status"] not in ENDED for row in rows),
        "jobs doubled": len(rows) - len(sent), "tasks ended twice": sum(n > 1 for n in ends.values()),
        "jobs failed": sum(row["status"] == "failed" for row in rows), "results missing": unread,
    }  # fmt: skip


def latency(folder: Path, n_jobs: int) -> list[float]:
    """Milliseconds of every question for a state, sorted."""
    server = Server(folder)
    clients = crowd(server, n_jobs)
    for client in clients:
        client.join()
    server.end()
    return sorted(taken for client in clients for taken in client.status_ms)


def cached(folder: Path, n_requests: int) -> list[float]:
    """Milliseconds from sending a question that was asked before to its finished job, sorted."""
    server = Server(folder)
    (text,) = texts(1)
    body = {"models": ["clinic"], "methods": ["attn_lrp"], "input": {"text": text, "target": " Pneumonia"}}
    job = ask(server.port, "POST", "/api/jobs", body)[1]["job_id"]
    while ask(server.port, "GET", f"/api/jobs/{job}/status")[1]["status"] not in ENDED:
        time.sleep(0.1)
    connection, taken = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30), []
    for _ in range(n_requests):
        begun = time.perf_counter()
        _, found = request(connection, "POST", "/api/jobs", body)
        taken.append(1000 * (time.perf_counter() - begun))
        if found["status"] != "completed":
            raise RuntimeError("the question was not known, expected its result from the cache")
    connection.close()
    server.end()
    return sorted(taken)


def run_folder(folder: Path) -> Path:
    """A run's folder with nothing in it but its config."""
    folder.mkdir()
    (folder / "config.yaml").write_text(f"folder: {folder}\n")
    return folder


def at(ranked: list[float], share: float) -> Figure:
    """A quantile of sorted values."""
    value = ranked[min(len(ranked) - 1, int(share * len(ranked)))]
    return Figure(value, value, value)


def main() -> None:
    arguments = parser_of(__doc__, ("kills", "latency", "cache")).parse_args()
    quick, part, report = arguments.quick, arguments.part, Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part in (None, "kills"):
            n_jobs, n_workers, n_servers = (1, 2, 1) if quick else (6, 6, 4)
            report.say(f"kills: {N_CLIENTS} clients, {N_CLIENTS * n_jobs} jobs, load average {os.getloadavg()[0]:.1f}")
            found = kills(run_folder(folder / "kills"), n_jobs, n_workers, n_servers)
            report.peers |= found
            for figure in ("jobs lost", "jobs doubled", "tasks ended twice", "results missing"):
                report.figures[figure] = Figure(found[figure], found[figure], found[figure])
                report.targets[figure] = "0"
        if part in (None, "latency"):
            report.say(
                f"latency: {N_CLIENTS} clients, a question each {1000 * POLL_S:g} ms, load {os.getloadavg()[0]:.1f}"
            )
            ranked = latency(run_folder(folder / "latency"), 1 if quick else 4)
            for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                report.figures[f"status {label}, ms"] = at(ranked, share)
            report.targets["status p95, ms"] = "≤ 50"
        if part in (None, "cache"):
            ranked = cached(run_folder(folder / "cache"), 20 if quick else 200)
            report.figures["known question p50, ms"] = at(ranked, 0.5)
            report.figures["known question p95, ms"] = at(ranked, 0.95)
    report.deliver(arguments)


if __name__ == "__main__":
    main()
