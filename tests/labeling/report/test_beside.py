"""Work in a second process. Tried in a process of its own, since that of the tests may have threads."""

import subprocess
import sys

import pytest

from labeling.report.beside import beside, can_fork

BEGIN = """
import os
from labeling.report.beside import beside, can_fork
from sae.errors import UserError
assert can_fork()
here = os.getpid()
"""


def ran(script: str) -> str:
    """What a script prints."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_work_is_done_in_another_process_and_its_errors_arrive():
    said = ran(
        "with beside(os.getpid) as outcome:\n"
        "    assert outcome() != here\n"
        "def fails():\n"
        "    raise UserError('There is nothing to rate.')\n"
        "try:\n"
        "    with beside(fails) as outcome:\n"
        "        outcome()\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "class Strange(Exception):\n"
        "    def __init__(self, one, two): super().__init__('of two')\n"
        "def strange():\n"
        "    raise Strange(1, 2)\n"
        "try:\n"
        "    with beside(strange) as outcome:\n"
        "        outcome()\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    assert said == "There is nothing to rate.\nthe report failed with Strange\n"


def test_a_second_process_that_is_killed_is_told_of():
    said = ran(
        "try:\n"
        "    with beside(lambda: os.kill(os.getpid(), 9)) as outcome:\n"
        "        outcome()\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    assert "ended with code -9" in said


def test_none_is_left_where_the_first_half_fails():
    said = ran(
        "import time, multiprocessing\n"
        "try:\n"
        "    with beside(lambda: time.sleep(60)):\n"
        "        raise ValueError('first')\n"
        "except ValueError as error:\n"
        "    print(error, multiprocessing.active_children())\n"
    )
    assert said == "first []\n"


def test_with_threads_about_it_is_done_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("threading.active_count", lambda: 2)
    assert not can_fork()
    done: list[int] = []
    with beside(lambda: done.append(1)) as outcome:
        assert not done
        outcome()
    assert done == [1]


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
