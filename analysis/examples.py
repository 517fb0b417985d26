"""Feature examples as a file: what later parts read, with numpy and h5py alone.

One HDF5 file per autoencoder, `examples/<hook_point>/<sae_id>.h5`:

    density, max_activation                      [d_sae]
    top/, quantile/, contrast/                   one group per kind of context, each with
        activation, document, position, is_held_out, char_start, char_end   [d_sae, n]
        token_id (−1 beyond the text), acts (float16)                       [d_sae, n, window_tokens]
    logits/top_id, top_value, bottom_id, bottom_value                       [d_sae, n], decoders only

An empty place has document −1. `examples/vocabulary.json` lists the text of every token id.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from sae import artefact
from sae.errors import UserError

KINDS = ("top", "quantile", "contrast")
LOGIT_NAMES = ("top_id", "top_value", "bottom_id", "bottom_value")
VOCABULARY = "vocabulary.json"


class Contexts(NamedTuple):
    """Contexts of one kind for every feature."""

    activation: np.ndarray
    """[d_sae, n] activation on the strongest token."""
    document: np.ndarray
    """[d_sae, n] row number in the corpus, −1 for none."""
    position: np.ndarray
    """[d_sae, n] the strongest token's row within the document."""
    is_held_out: np.ndarray
    """[d_sae, n] whether the document was kept from training."""
    char_start: np.ndarray
    """[d_sae, n] where the context begins in the document's text, −1 where it is an image."""
    char_end: np.ndarray
    """[d_sae, n] where it ends."""
    token_id: np.ndarray
    """[d_sae, n, window] tokens, −1 beyond the text."""
    acts: np.ndarray
    """[d_sae, n, window] the feature's activation on each."""


@dataclass(frozen=True)
class FeatureExamples:
    """All that is shown of the features of one autoencoder."""

    density: np.ndarray
    """[d_sae] share of tokens a feature fires on."""
    max_activation: np.ndarray
    """[d_sae]."""
    contexts: dict[str, Contexts]
    """By kind: top, quantile, contrast."""
    logits: dict[str, np.ndarray]
    """top_id, top_value, bottom_id, bottom_value [d_sae, n]; empty for encoders."""

    def write(self, path: Path, settings: str) -> None:
        """Writes the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = artefact.temporary_name(path)
        try:
            with h5py.File(temporary, "w") as file:
                file.attrs["settings"] = settings
                file["density"], file["max_activation"] = self.density, self.max_activation
                for kind, contexts in self.contexts.items():
                    for name, values in contexts._asdict().items():
                        file.create_dataset(f"{kind}/{name}", data=values, compression="gzip", shuffle=True)
                for name, values in self.logits.items():
                    file[f"logits/{name}"] = values
            artefact.publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "FeatureExamples":
        """Reads the file.

        Raises:
            UserError: There is none.
        """
        if not path.is_file():
            raise UserError(
                f"{path} does not exist, expected feature examples. Run `clinlens examples` on the run first."
            )
        with h5py.File(path, "r") as file:
            contexts = {kind: Contexts(*(array(file, f"{kind}/{name}") for name in Contexts._fields)) for kind in KINDS}
            names = LOGIT_NAMES if "logits" in file else ()
            logits = {name: array(file, f"logits/{name}") for name in names}
            return cls(array(file, "density"), array(file, "max_activation"), contexts, logits)

    @property
    def live(self) -> np.ndarray:
        """Indices of the features that fired at all."""
        return np.flatnonzero(self.density > 0)


def before(window_tokens: int) -> int:
    """Tokens of a context before its strongest one; reading goes forward, so more than after it."""
    return window_tokens * 5 // 8


def array(file: h5py.File, name: str) -> np.ndarray:
    """A dataset's values."""
    return np.asarray(file[name])


def settings_of(path: Path) -> str | None:
    """What a finished file was made with; none if there is no file."""
    if not path.is_file():
        return None
    with h5py.File(path, "r") as file:
        return str(file.attrs["settings"])
