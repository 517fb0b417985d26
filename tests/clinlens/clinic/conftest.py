"""Notes and the packaged decoder, made once for the tests of the clinic."""

from collections.abc import Iterator

import pytest

from clinlens.clinic.notes import ClinicConfig, Note, generate


@pytest.fixture(scope="session")
def notes() -> list[Note]:
    """Two thousand notes, half of them in twin pairs."""
    return list(generate(ClinicConfig(n_notes=2000, seed=5)))


@pytest.fixture(scope="session")
def pairs(notes: list[Note]) -> list[tuple[Note, Note]]:
    """Every note that has a twin, with its twin."""
    by_id = {note.id: note for note in notes}
    return [(by_id[note.twin_of], note) for note in notes if note.twin_of is not None]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One CPU thread: so small a model gains little from more, and loses much while other tests run beside it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
