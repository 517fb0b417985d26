"""A server killed with SIGKILL while raters work: what was acknowledged is there, and nothing twice."""

from pathlib import Path

import pytest

from benchmarks.review_queue import claims


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_loses_nothing_and_gives_nothing_twice(where: str, request: pytest.FixtureRequest, tmp_path: Path):
    url = request.getfixturevalue("postgresql") if where == "postgresql" else str(tmp_path / "claims.db")
    found = claims(url, tmp_path, n_claims=3000, n_kills=1, seconds=4)
    assert found["kills"] == 1
    assert found["acknowledged"] > 0
    assert found["acknowledged judgements lost"] == 0
    assert found["double assignments"] == 0
    assert found["problems found by verify"] == 0
