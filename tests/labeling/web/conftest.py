"""One server's worth of people and rounds for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.labeling.web.premises import Premises, furnish


@pytest.fixture(scope="module")
def premises(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Premises]:
    found = furnish(tmp_path_factory.mktemp("web"))
    yield found
    found.app.state.clinlens.worker.close()
    found.database.close()
