"""Processes that die, freeze or run out of memory harm their own task alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from clinlens.desk.jobs.office import Office
from tests.clinlens.desk.conftest import ended, job, scripted_office, wait_for

SECRET = "zebrafish"


def begun(office: Office) -> list[list[str]]:
    path = office.folder / "begun.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_job_runs_every_model_and_method_once(office: Office) -> None:
    row = office.submit(job("quick", "occlusion", "attn_lrp", "gim"))
    state = ended(office, row)
    assert (state["status"], state["progress"], len(begun(office))) == ("completed", 1.0, 3)
    again = office.submit(job("quick", "gim"))
    assert again["status"] == "completed"  # from the cache, before anything is queued
    assert office.store.tasks(again["id"])[0]["is_cached"]
    assert len(begun(office)) == 3


def test_a_process_that_dies_once_costs_nothing_but_time(office: Office) -> None:
    state = ended(office, office.submit(job("once more")))
    assert (state["status"], len(begun(office))) == ("completed", 2)


def test_a_task_that_kills_twice_fails_alone_with_its_log(office: Office) -> None:
    bad = office.submit(job(f"die {SECRET}", "occlusion"))
    good = office.submit(job("quick"))
    state = ended(office, bad)
    assert state["status"] == "failed"
    assert "signal 9" in state["tasks"][0]["problem"]
    assert ended(office, good)["status"] == "completed"
    log = (office.pool.logs / f"{bad['id']}.log").read_text()
    assert [json.loads(line)["deaths"] for line in log.splitlines()] == [1, 2]
    assert SECRET not in log


def test_memory_that_runs_out_fails_one_task_at_once(tmp_path: Path) -> None:
    office = scripted_office(tmp_path, memory_mib=1024)
    office.pool.start()
    try:
        rows = [office.submit(job(text)) for text in ("memory now", "hog now", "quick")]
        states = [ended(office, row) for row in rows]
    finally:
        office.close()
    assert [state["status"] for state in states] == ["failed", "failed", "completed"]
    assert all("out of memory" in state["tasks"][0]["problem"] for state in states[:2])
    assert len(begun(office)) == 3


def test_what_fails_is_told_by_kind_and_place_and_never_by_its_words(office: Office) -> None:
    row = office.submit(job(f"boom {SECRET}"))
    state = ended(office, row)
    everything = json.dumps(state) + "".join(path.read_text(errors="replace") for path in office.pool.logs.iterdir())
    assert state["status"] == "failed"
    assert "ValueError" in everything
    assert "scripted.py" in everything
    assert SECRET not in everything


def test_a_cancelled_task_is_left_within_moments_and_its_process_goes_on(office: Office) -> None:
    row = office.submit(job("sleep 60"))
    wait_for(lambda: begun(office))
    office.cancel(row["id"])
    assert office.store.job(row["id"])["status"] == "cancelled"  # type: ignore[index]
    assert ended(office, office.submit(job("quick")))["status"] == "completed"
    assert len({line[1] for line in begun(office)}) == 1  # the same process
    office.retry(row["id"])
    wait_for(lambda: len(begun(office)) == 3)
    office.cancel(row["id"])


def test_a_process_that_does_not_hear_is_killed(office: Office) -> None:
    row = office.submit(job("deaf now"))
    wait_for(lambda: begun(office))
    office.cancel(row["id"])
    assert ended(office, office.submit(job("quick")))["status"] == "completed"
    assert office.store.job(row["id"])["status"] == "cancelled"  # type: ignore[index]


def test_a_silent_process_is_taken_for_dead(tmp_path: Path) -> None:
    office = scripted_office(tmp_path, silent_s=3.0)
    office.pool.start()
    try:
        assert ended(office, office.submit(job("freeze now")))["status"] == "completed"
    finally:
        office.close()


def test_urgent_jobs_overtake_those_that_wait(office: Office) -> None:
    office.submit(job("sleep 0.5"))
    wait_for(lambda: begun(office))
    rows = [office.submit(job(f"quick {priority}", priority=priority)) for priority in (1, 5, 9)]
    for row in rows:
        ended(office, row)
    assert [line[3] for line in begun(office)[1:]] == ["9", "5", "1"]


def test_a_mistake_of_the_users_is_told_in_its_sentence(office: Office) -> None:
    state = ended(office, office.submit(job("refuse now", "occlusion", "gim")))
    assert state["status"] == "failed"
    assert state["tasks"][0]["problem"] == "The text is none, expected one. Write one."


def test_processes_that_cannot_start_fail_the_task_instead_of_keeping_it_waiting(tmp_path: Path) -> None:
    office = scripted_office(tmp_path)
    office.pool.bench = "no.such.module"
    office.pool.start()
    try:
        state = ended(office, office.submit(job("quick")))
    finally:
        office.close()
    assert "No process could be started" in state["tasks"][0]["problem"]


SERVER = """
import sys, time
from pathlib import Path
from tests.clinlens.desk.conftest import job, scripted_office
office = scripted_office(Path(sys.argv[1]))
office.pool.start()
for text in sys.argv[2:]:
    office.submit(job(text, "occlusion", "gim"))
print("ready", flush=True)
time.sleep(120)
"""


def test_a_server_killed_in_mid_job_resumes_it_without_losing_or_doubling_a_task(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), "quick", "sleep 2", "quick later"], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        begun_file = tmp_path / "begun.txt"
        wait_for(lambda: begun_file.is_file() and "sleep" in begun_file.read_text())
        worker = int(begun_file.read_text().split()[1])
        server.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(worker))  # no process outlives its server
    office = scripted_office(tmp_path)
    running = [row["status"] for row in office.store.rows("SELECT status FROM task ORDER BY id")]
    assert running.count("running") == 1
    office.pool.start()
    try:
        for row in office.store.rows("SELECT id FROM job"):
            assert ended(office, row)["status"] == "completed"
        done = (tmp_path / "done.txt").read_text().split()
        assert sorted(done, key=int) == [str(n) for n in range(1, 7)]  # six tasks, each once
    finally:
        office.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_closing_gives_back_what_was_under_way(tmp_path: Path) -> None:
    office = scripted_office(tmp_path)
    office.pool.start()
    office.submit(job("sleep 60"))
    wait_for(lambda: begun(office))
    office.close()
    again = scripted_office(tmp_path)
    assert [row["status"] for row in again.store.rows("SELECT status FROM job")] == ["queued"]
    again.store.close()


def test_an_idle_process_ends(tmp_path: Path) -> None:
    office = scripted_office(tmp_path, idle_s=0.2)
    office.pool.start()
    try:
        ended(office, office.submit(job("quick")))
        wait_for(lambda: not office.pool.hands)
        assert ended(office, office.submit(job("quick again")))["status"] == "completed"
    finally:
        office.close()


def test_deleting_forgets_text_results_and_log(office: Office) -> None:
    row = office.submit(job(f"quick {SECRET}"))
    ended(office, row)
    office.delete(row["id"])
    assert list(office.results.folder.iterdir()) == []
    assert office.store.job(row["id"]) is None
