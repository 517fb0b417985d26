"""The server process of `benchmarks/review_queue.py`: the queue's functions behind a socket, one thread per client.

python -m benchmarks.harness.queue_server DATABASE SOCKET
"""

import json
import socket
import sys
import threading
from typing import Any

from labeling.database import submissions
from labeling.database.assignments import Empty, next_assignment
from labeling.database.connection import Database
from labeling.database.submissions import Sent
from labeling.database.transaction import Actor


def serve(url: str, address: str) -> None:
    """The server process: one thread per client, one request per line."""
    database = Database.open(url)
    database.hold()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(256)
    while True:
        client, _ = listening.accept()
        threading.Thread(target=attend, args=(database, client), daemon=True).start()


def attend(database: Database, client: socket.socket) -> None:
    """Answers one client until it goes."""
    with client, client.makefile("rw") as lines:
        for line in lines:
            lines.write(json.dumps(answer(database, json.loads(line))) + "\n")
            lines.flush()


def answer(database: Database, asked: dict[str, Any]) -> dict[str, Any]:
    """Submits what came, if anything, and gives the next item; what is answered is committed."""
    actor, accepted = Actor(asked["rater"]), None
    with database.write(is_brief=True) as conn:
        if asked.get("assignment"):
            sent = Sent(asked["uuid"], asked["version"])
            accepted = submissions.submit(conn, actor, asked["assignment"], asked["answers"], sent).judgement_id
        given = next_assignment(conn, actor, asked["round"])
    if isinstance(given, Empty):
        return {"accepted": accepted, "empty": True}
    return {"accepted": accepted, "assignment": given.id, "version": given.version}


if __name__ == "__main__":
    serve(*sys.argv[1:])
