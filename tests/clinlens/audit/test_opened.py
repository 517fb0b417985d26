"""Which autoencoders an audit takes, and what it says where it cannot."""

from pathlib import Path

import pytest

from clinlens.audit.opened import sae_folder, sae_ids
from sae.errors import UserError
from sae.saelens_format import WEIGHTS_FILE


def run(folder: Path, *places: str) -> Path:
    for place in places:
        (folder / "saes" / place).mkdir(parents=True)
        (folder / "saes" / place / WEIGHTS_FILE).touch()
    return folder


def test_hook_points_come_in_the_order_of_the_layers(tmp_path: Path):
    run(tmp_path, "blocks.10.hook_resid_post/a", "blocks.2.hook_resid_post/a", "blocks.2.hook_resid_post/b")
    (tmp_path / "saes" / "blocks.3.hook_resid_post" / "unfinished").mkdir(parents=True)
    assert sae_ids(tmp_path) == {"blocks.2.hook_resid_post": ("a", "b"), "blocks.10.hook_resid_post": ("a",)}


def test_a_pattern_chooses_among_several(tmp_path: Path):
    assert sae_folder(tmp_path, "p", ("l1-x", "topk-y"), "topk-*") == tmp_path / "saes" / "p" / "topk-y"
    assert sae_folder(tmp_path, "p", ("l1-x",), None).name == "l1-x"


@pytest.mark.parametrize("pattern", [None, "gated-*"])
def test_several_or_none_are_an_error_that_names_them(tmp_path: Path, pattern: str | None):
    with pytest.raises(UserError, match=r"of the SAEs l1-x, topk-y match .*, expected one\. Choose it with --sae"):
        sae_folder(tmp_path, "p", ("l1-x", "topk-y"), pattern)


def test_a_run_without_trained_saes_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="holds no trained SAE"):
        sae_ids(tmp_path)
