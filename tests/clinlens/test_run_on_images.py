"""A whole run on a folder of images, from the command line to the report."""

import json

import numpy as np
import pytest
import yaml

from analysis.examples import KINDS, FeatureExamples
from clinlens import config
from clinlens.pipeline import Run
from clinlens.screening import screen
from hooks.store import Store
from sae.errors import UserError
from tests.tiny import write_images, write_tiny_tower

STAGES = ("capture", "train", "evaluate", "examples", "report")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on 24 pictures."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "pictures", 24)
    values = {
        "folder": str(folder / "run"),
        "model": {"name": str(write_tiny_tower(folder / "clip", "clip"))},
        "corpus": {"name": str(folder / "pictures"), "held_out": 0.2},
        "capture": {"hook_points": ["blocks.1.hook_resid_post"], "shard_tokens": 100},
        "sae": [{"architecture": "topk", "k": 4, "expansion_factor": 2}],
        "training": {"n_tokens": 2048, "batch_tokens": 128, "shuffle_tokens": 256, "lr_warmup": 0.1},
        "examples": {"window_tokens": 8, "n_top": 3},
        "engine": {"kind": "inline"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    found = Run(config.read(folder / "run.yaml"))
    found.stages(STAGES)
    return found


def test_it_ends_in_figures_without_a_splice(run: Run):
    (sae,) = json.loads((run.folder / "evaluation.json").read_text())["saes"]
    assert sae["splice"] is None
    assert sae["reconstruction"]["n_tokens"] == Store.open(run.folder / "acts").n_tokens("held_out") * 16 // 17
    assert 0 < sae["reconstruction"]["l0"] <= 4


def test_equal_pictures_are_on_one_side(run: Run):
    store = Store.open(run.folder / "acts")
    sides = [
        {int(n) for reader in store.shards(side) for n in reader.index["document"]} for side in ("train", "held_out")
    ]
    assert sides[0] | sides[1] == set(range(24))
    assert sum({0, 23} <= side for side in sides) == 1


def test_examples_are_patches_with_names(run: Run):
    names = json.loads((run.folder / "examples" / "vocabulary.json").read_text())
    assert len(names) == 17
    (path,) = (run.folder / "examples").rglob("*.h5")
    examples = FeatureExamples.read(path)
    assert examples.logits == {}
    assert len(examples.live) > 0
    for kind in KINDS:
        contexts = examples.contexts[kind]
        there = contexts.document >= 0
        assert (contexts.char_start[there] == -1).all()
        assert set(np.unique(contexts.token_id[there])) <= set(range(-1, 17))
    top = examples.contexts["top"]
    peak = top.token_id[..., 5]  # 5 of the 8 rows come before it
    assert (peak[top.document >= 0] == top.position[top.document >= 0]).all()
    assert (peak[top.document >= 0] > 0).all(), "CLS is no word"


def test_the_report_names_patches_and_says_that_nothing_was_spliced(run: Run):
    page = (run.folder / "report.html").read_text()
    assert "r3c4" in page
    assert "predicts no next token, so nothing was spliced" in page
    assert "000.png" not in page


def test_running_again_changes_nothing(run: Run):
    def contents() -> dict[str, bytes]:
        kinds = ("acts", "saes", "examples")
        return {
            str(path): path.read_bytes() for kind in kinds for path in (run.folder / kind).rglob("*") if path.is_file()
        }

    before = contents()
    Run(run.cfg).stages(STAGES)
    assert contents() == before


def test_pictures_are_not_screened_as_if_they_were_texts(run: Run):
    with pytest.raises(UserError, match=r"holds images, but `clinlens screen` searches texts"):
        screen.act(run, None, "", None)
