"""The stamp of the code: another as soon as a source is another, and nothing else moves it."""

from pathlib import Path

from clinlens.attribution.code_stamp import code_stamp, stamp_of
from sae import artefact


def package(folder: Path) -> Path:
    """A package of two files."""
    artefact.write_text(folder / "methods" / "one.py", "x = 1")
    artefact.write_text(folder / "methods" / "deep" / "two.py", "y = 2")
    return folder / "methods"


def test_the_stamp_moves_with_a_source_its_name_or_its_place_and_with_nothing_else(tmp_path: Path):
    here = package(tmp_path / "here")
    before = stamp_of([here])
    artefact.write_text(here / "notes.md", "no source")
    assert before == stamp_of([package(tmp_path / "elsewhere")]) == stamp_of([here])
    artefact.write_text(here / "deep" / "two.py", "y = 3")
    changed = stamp_of([here])
    (here / "deep" / "two.py").rename(here / "two.py")
    assert len({before, changed, stamp_of([here])}) == 3


def test_the_stamp_is_of_the_methods_and_what_they_import():
    root = Path(__file__).parents[3]
    assert code_stamp() == stamp_of([root / "analysis" / "attribution", root / "hooks", root / "sae"])
