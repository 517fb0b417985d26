"""Evidence from a run's files, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from labeling.snapshots import candidate_features, families_of, saes_of, snapshot_of
from sae.errors import UserError
from tests.labeling import run_folder
from tests.labeling.run_folder import HOOK_POINT, SAE_ID

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder.write(tmp_path_factory.mktemp("run"))


def test_shows_strongest_first_then_quantiles_then_contrasts_each_once(run: Path):
    shown = snapshot_of(run, HOOK_POINT, SAE_ID, 3)
    assert [one.kind for one in shown.contexts] == ["top"] * 4 + ["quantile"] * 2 + ["contrast"] * 4
    assert [one.quantile for one in shown.contexts[4:6]] == [1, 1]
    assert len({(one.document, one.position) for one in shown.contexts}) == len(shown.contexts)


def test_the_peak_is_the_strongest_token_even_where_the_text_begins_late(run: Path):
    for context in snapshot_of(run, HOOK_POINT, SAE_ID, 3).contexts[:6]:
        assert context.acts[context.peak] == max(context.acts) > 0
        assert context.tokens[context.peak] == run_folder.WORDS[4]
    assert len(snapshot_of(run, HOOK_POINT, SAE_ID, 3).contexts[0].tokens) == run_folder.WINDOW - 2


def test_the_same_evidence_has_the_same_hash(run: Path, tmp_path: Path):
    other = run_folder.write(tmp_path / "copy")
    assert snapshot_of(run, HOOK_POINT, SAE_ID, 5).sha256 == snapshot_of(other, HOOK_POINT, SAE_ID, 5).sha256
    assert snapshot_of(run, HOOK_POINT, SAE_ID, 5).sha256 != snapshot_of(run, HOOK_POINT, SAE_ID, 6).sha256


def test_near_duplicates_are_one_family(run: Path):
    families = families_of(run, HOOK_POINT, SAE_ID)
    assert families[0] == families[1]
    assert len(set(families)) == run_folder.D_SAE - 1


def test_candidates_have_enough_passages(run: Path):
    assert len(candidate_features(run, HOOK_POINT, SAE_ID)) == run_folder.D_SAE
    assert candidate_features(run, HOOK_POINT, SAE_ID, min_contexts=9) == []


def test_an_unfinished_run_is_said_plainly(tmp_path: Path):
    with pytest.raises(UserError, match="no feature examples"):
        saes_of(tmp_path)


def test_needs_no_torch():
    code = "import sys, labeling.snapshots, labeling.demo, labeling.database.submissions; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
