"""Results exist whole or not at all."""

from pathlib import Path

import pytest

from sae import artefact


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "result.json"
    artefact.write_json(path, {"a": 1})

    def fail(*_: object) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(artefact, "publish", fail)
    with pytest.raises(OSError, match="disk is full"):
        artefact.write_json(path, {"a": 2})
    assert artefact.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_number_that_is_none_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="Out of range float"):
        artefact.write_json(tmp_path / "x.json", {"a": float("nan")})


def test_the_hash_of_a_value_does_not_depend_on_the_order_of_its_keys():
    assert artefact.content_hash({"a": 1, "b": 2}) == artefact.content_hash({"b": 2, "a": 1})
    assert artefact.content_hash({"a": 1}) != artefact.content_hash({"a": 2})
