"""The documented way from exported soft labels to a model that says how far its doubt can be believed."""

import re
import subprocess
import sys
from pathlib import Path

from labeling import demo
from labeling.database.connection import Database
from labeling.exchange.export import ExportConfig, export
from tests.labeling import run_folder

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_documentation_trains_on_soft_labels_and_reports_calibration(tmp_path: Path):
    run = run_folder.write(tmp_path / "runs" / "quickstart")
    made = demo.create(tmp_path / "demo.db", run)
    with Database.open(tmp_path / "demo.db") as database, database.read() as conn:
        export(conn, made.project_id, tmp_path / "export", ExportConfig(), "test", "test")
    text = (ROOT / "docs" / "consensus.md").read_text()
    found = re.search(r"```python\n(import json.*?)```", text, re.DOTALL)
    assert found
    command, path = [sys.executable, "-c", found[1]], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shares, majority = (
        re.fullmatch(r"(\w+): log loss ([\d.]+), calibration error ([\d.]+), [\d.]+ at temperature [\d.]+", line)
        for line in done.stdout.splitlines()
    )
    assert shares
    assert majority
    assert float(shares[2]) <= float(majority[2])  # who learned that raters differ is less surprised by it
