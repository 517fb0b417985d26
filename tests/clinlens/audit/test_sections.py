"""What people read of an audit: claims as sentences, the caveat on every page, and a page that loads nothing."""

from pathlib import Path
from typing import Any

import pytest

from analysis.audits.config import CAVEAT, DriftConfig
from clinlens.assigned import assigned
from clinlens.audit import page, sections
from clinlens.audit.command import KINDS, plain
from sae.errors import UserError


def drifted(*, is_alarm: bool) -> dict[str, Any]:
    return {
        "audit": "drift", "caveat": CAVEAT, "settings": {}, "origin": {"model": "m"}, "about": {"new": "<b>x</b>"},
        "p": 0.01, "alpha": 0.05, "is_alarm": is_alarm, "n_reference": 30, "n_new": 20, "dead": ["p/1"], "novel": [],
        "signs": {"firing_rate": {"statistic": 2.0, "p": 0.01, "null_median": 1.0}},
        "fvu": {"p": {"before": 0.1, "after": 0.2}}, "shifted": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("is_alarm", "words"), [(True, "differ from the reference"), (False, "No change beyond chance")]
)
def test_the_verdict_says_what_was_found_and_what_it_does_not_mean(is_alarm: bool, words: str):
    verdict = sections.of("drift", drifted(is_alarm=is_alarm))[0].sentences[0]
    assert words in verdict
    assert "not that answers are wrong" in verdict


def test_a_page_holds_the_caveat_and_neither_loads_nor_runs_anything(tmp_path: Path):
    found = drifted(is_alarm=True)
    page.write(tmp_path / "a.html", "drift", found, sections.of("drift", found))
    text = (tmp_path / "a.html").read_text()
    assert CAVEAT in text
    assert "default-src &#39;none&#39;" in text
    assert "<b>x</b>" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert (tmp_path / "a.html").stat().st_mode & 0o077 == 0


def test_numbers_that_are_none_are_null():
    assert plain({"a": (float("nan"), 1.0), 2: [float("inf")]}) == {"a": [None, 1.0], "2": [None]}


def test_a_setting_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"names no setting here, .* Did you mean alpha\?"):
        assigned(KINDS["drift"], ("alfa=0.1",))
    with pytest.raises(UserError, match=r"--set alpha: .* found 3"):
        assigned(KINDS["drift"], ("alpha=3",))
    assert assigned(DriftConfig, ("alpha=0.1",), seed=7).alpha == 0.1
