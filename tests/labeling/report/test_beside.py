"""Work in a second process. Tried in a process of its own, since that of the tests may have threads."""

import subprocess
import sys

import pytest

from labeling.report.beside import can_fork, shared_out

BEGIN = """
import os, time
from labeling.report.beside import can_fork, shared_out
from sae.errors import UserError
assert can_fork()
here = os.getpid()
"""
NAPS = "{str(n): nap for n in range(8)}"


def ran(script: str) -> str:
    """What a script prints."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_task_is_done_once_and_who_is_busy_takes_no_more():
    said = ran(
        "def long(): time.sleep(1.5); return os.getpid()\n"
        "def short(): time.sleep(0.01); return os.getpid()\n"
        "done = shared_out({'long': long} | {str(n): short for n in range(20)})\n"
        "print(list(done) == ['long', *map(str, range(20))], len(set(done.values())))\n"
        "print([name for name, who in done.items() if who == done['long']], here in done.values())\n"
    )
    assert said == "True 2\n['long'] True\n"


def test_errors_of_the_second_process_arrive():
    said = ran(
        "class Strange(Exception):\n"
        "    def __init__(self, one, two): super().__init__('of two')\n"
        "for error in (lambda: UserError('There is nothing to rate.'), lambda: Strange(1, 2)):\n"
        "    def nap():\n"
        "        time.sleep(0.1)\n"
        "        if os.getpid() != here: raise error()\n"
        "    try:\n"
        f"        shared_out({NAPS})\n"
        "    except (UserError, RuntimeError) as told:\n"
        "        print(told)\n"
    )
    assert said == "There is nothing to rate.\nthe report failed with Strange\n"


def test_a_second_process_that_is_killed_is_told_of():
    said = ran(
        "def nap():\n"
        "    time.sleep(0.1)\n"
        "    if os.getpid() != here: os.kill(os.getpid(), 9)\n"
        "try:\n"
        f"    shared_out({NAPS})\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    assert "ended with code -9" in said


def test_none_is_left_where_a_task_fails_here():
    said = ran(
        "import multiprocessing\n"
        "def nap():\n"
        "    time.sleep(0.1)\n"
        "    if os.getpid() == here: raise ValueError('first')\n"
        "    time.sleep(60)\n"
        "try:\n"
        f"    shared_out({NAPS})\n"
        "except ValueError as error:\n"
        "    print(error, multiprocessing.active_children())\n"
    )
    assert said == "first []\n"


def test_with_threads_about_all_is_done_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("threading.active_count", lambda: 2)
    assert not can_fork()
    done: list[int] = []
    assert list(shared_out({"a": lambda: done.append(1), "b": lambda: done.append(2)})) == ["a", "b"]
    assert done == [1, 2]


def test_the_report_is_the_same_by_two_processes_and_by_one():
    said = ran(
        "import labeling.report.beside as second\n"
        "from labeling.report.findings import findings\n"
        "from labeling.report.config import ReportConfig\n"
        "from labeling.report.page import json_text\n"
        "from labeling.report.study import Study\n"
        "from tests.labeling.report.panel import table\n"
        "def made():\n"
        "    return json_text(findings(table(40, 4), ReportConfig(n_bootstraps=50), Study(), 'test'))\n"
        "two = made()\n"
        "second.can_fork = lambda: False\n"
        "print(two == made(), len(two) > 1000)\n"
    )
    assert said == "True True\n"
