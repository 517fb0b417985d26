"""Texts and cases from files and stdin: what is no case is told without a word of it."""

import io
import traceback
from pathlib import Path

import pytest

from analysis.attribution.target_request import TargetRequest
from clinlens.attribution.cases import STDIN, checked, read_text
from sae.errors import UserError

REQUEST = TargetRequest(target=" acute")
SECRET = "Herr Müller has fever"


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Has stdin hold bytes, decoded as in the C.UTF-8 locale."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="surrogateescape"))


def test_stdin_that_is_not_utf_8_is_refused_by_its_byte_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    stdin_of(monkeypatch, SECRET.encode("latin-1"))
    with pytest.raises(UserError, match="stdin is not UTF-8 at byte 6, expected a text in UTF-8") as stopped:
        read_text(STDIN, REQUEST)
    assert "has fever" not in "".join(traceback.format_exception(stopped.value))


def test_a_file_that_is_not_utf_8_is_refused_by_its_byte_and_not_shown(tmp_path: Path):
    path = tmp_path / "note.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SECRET.encode("latin-1"))
    with pytest.raises(UserError, match=r"note\.txt is not UTF-8 at byte 9") as stopped:
        read_text(str(path), REQUEST)
    assert "has fever" not in "".join(traceback.format_exception(stopped.value))


def test_stdin_and_a_file_give_the_same_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    data = b"\xef\xbb\xbf" + SECRET.encode() + b"\r\nand pain\r\n"
    (tmp_path / "note.txt").write_bytes(data)
    stdin_of(monkeypatch, data)
    (one,), (other,) = read_text(STDIN, REQUEST), read_text(str(tmp_path / "note.txt"), REQUEST)
    assert one.text == other.text == f"{SECRET}\nand pain\n"
    assert (one.id, other.id) == ("stdin", "note")


def test_what_is_no_case_is_told_without_its_input():
    for values in (
        {"text": f"{SECRET} \udcfc"},
        {"text": [SECRET]},
        {"text": SECRET, SECRET: 1},
        {"text": SECRET, "measure": SECRET},
    ):
        with pytest.raises(UserError, match=r"stdin: .*, expected the fields target") as stopped:
            checked(dict(values), "stdin")
        assert "has fever" not in "".join(traceback.format_exception(stopped.value))
