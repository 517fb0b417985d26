"""Which autoencoder of a run is taken."""

from pathlib import Path

from clinlens.attribution.saes import sae_folder
from clinlens.choices import FILE as CHOICE
from sae import artefact
from sae.saelens_format import WEIGHTS_FILE
from training.choice import ChoiceConfig

POINT = "blocks.1.hook_resid_post"


def placed(run: Path, sae_id: str) -> Path:
    """The weights of an autoencoder, by their place alone."""
    path = run / "saes" / POINT / sae_id / WEIGHTS_FILE
    artefact.write_text(path, "weights")
    return path


def recommend(run: Path, sae_id: str) -> None:
    """Writes down a choice."""
    artefact.write_json(run / CHOICE, {"choices": [{"hook_point": POINT, "recommended": {"sae_id": sae_id}}]})


def taken(run: Path) -> str:
    return sae_folder(run, POINT, None, ChoiceConfig()).name


def test_a_process_that_lives_long_sees_changed_autoencoders_and_choices(tmp_path: Path):
    first = placed(tmp_path, "l1-a")
    assert taken(tmp_path) == "l1-a"
    first.unlink()
    placed(tmp_path, "l1-b")
    assert taken(tmp_path) == "l1-b"
    placed(tmp_path, "l1-c")
    for name in ("l1-c", "l1-b"):
        recommend(tmp_path, name)
        assert taken(tmp_path) == name
