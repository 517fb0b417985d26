"""The command line answers at once, strangers' packages are refused, the report is served to this machine alone."""

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clinlens import packages
from clinlens.serve import Place, opened
from labeling.web.config import WebConfig
from sae.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = (
        "import sys; from clinlens.__main__ import cli; "
        "print([v for v in cli.commands]); print({'torch', 'transformers', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    verbs, heavy = done.stdout.splitlines()
    assert eval(verbs) == [  # noqa: S307
        "run", "screen", "capture", "sweep", "trial", "train", "evaluate", "examples", "report", "finetune", "export", "convert",
        "attribute", "faithfulness", "steer", "trace", "audit", "quality", "interpret", "serve", "labels", "agreement", "doctor",
    ]  # fmt: skip
    assert heavy == "set()"


def test_labelling_and_configs_load_without_torch():
    code = "import sys, labeling, clinlens.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_strangers_package_under_our_name_is_a_clear_error(tmp_path: Path):
    stranger = tmp_path / "training"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    code = "from clinlens.__main__ import main; main(['doctor'])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n{code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"clinlens: Python finds the package 'training' in {stranger}, expected {ROOT / 'training'}: another distribution "
        "shadows it. Uninstall that one, leave the folder that holds it, or use a fresh environment."
    )


def test_our_own_packages_are_accepted():
    packages.refuse_strangers()


@pytest.fixture
def served(tmp_path: Path):
    (tmp_path / "report.html").write_text("<p>a report</p>")
    (tmp_path / "secret.txt").write_text("patient text")
    with opened(Place(tmp_path, str(tmp_path / "clinlens.db")), WebConfig(port=0)) as ready:
        thread = threading.Thread(target=ready.run, daemon=True)
        thread.start()
        yield ready.listener.getsockname()[1]
        ready.server.should_exit = True
        thread.join()


def asked(port: int, path: str, host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_report_is_served_and_nothing_else(served: int):
    status, body, headers = asked(served, "/")
    assert (status, body) == (200, b"<p>a report</p>")
    assert headers["x-content-type-options"] == "nosniff"
    for path in ("/secret.txt", "/../secret.txt", "/report.html/../secret.txt", "/static/../secret.txt"):
        assert asked(served, path)[0] == 404
    assert asked(served, "/report")[0] == 303, "with accounts it asks who one is; here there are none to sign in as"


def test_showing_the_report_writes_nothing_into_the_run(served: int, tmp_path: Path):
    asked(served, "/")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "secret.txt"}


def test_a_foreign_host_name_is_refused(served: int):
    assert asked(served, "/", host="evil.example")[0] == 403


def test_a_port_that_is_taken_is_a_clear_error(served: int, tmp_path: Path):
    place, sentence = (
        Place(tmp_path, str(tmp_path / "clinlens.db")),
        rf"127.0.0.1:{served} cannot be listened on \(.*\). Choose another --port.",
    )
    with pytest.raises(UserError, match=sentence), opened(place, WebConfig(port=served)):
        pass


def test_the_schema_is_json_with_every_section():
    schema = json.loads((ROOT / "configs" / "schema.json").read_text())
    assert {"folder", "model", "corpus", "capture", "sae", "training", "engine"} <= set(schema["properties"])


def test_the_readme_names_every_verb_and_every_module():
    from clinlens.__main__ import cli

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = text.split("| verb | does |")[1].split("`--json`")[0]
    assert all(verb in verbs for verb in cli.commands)
    modules = [
        path
        for folder in ("sae", "hooks", "training", "analysis", "labeling", "clinlens")
        for path in (ROOT / folder).glob("*.py")
    ]
    missing = [
        str(path.relative_to(ROOT))
        for path in modules
        if path.name not in text and path.name not in ("__init__.py", "config.py")
    ]
    assert missing == []
