"""Reading an autoencoder of any format we know, recognised by its files.

Every reader gives an SAE with the same features as where it came from, or refuses. None executes what it reads.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never

from safetensors import SafetensorError

from sae import artefact, gemma_scope, saelens_format, sparsify_format
from sae.base import SAE
from sae.config import JumpReLUConfig, SAEConfig
from sae.errors import UserError
from sae.tensors import refuse_no_numbers

Format = Literal["saelens", "sparsify", "gemma_scope"]
WritableFormat = Literal["saelens", "sparsify"]
WEIGHTS_FILES: dict[Format, str] = {
    "saelens": saelens_format.WEIGHTS_FILE,
    "sparsify": sparsify_format.WEIGHTS_FILE,
    "gemma_scope": gemma_scope.WEIGHTS_FILE,
}
CONFIG_FILE = "cfg.json"


class Found(NamedTuple):
    """An autoencoder and where it came from."""

    sae: SAE
    cfg: SAEConfig
    """Its architecture, with the settings that matter after training."""
    format: Format
    settings: dict[str, Any]
    """Its config as it stood there; empty where the format has none."""
    weights_hash: str
    """XXH3-128 of the file its weights were read from."""


def load(folder: Path) -> Found:
    """Reads an autoencoder.

    Raises:
        UserError: The folder holds none, more than one, or one that means another computation than ours.
    """
    kind = recognise(folder)
    settings = artefact.read_json(folder / CONFIG_FILE) if kind != "gemma_scope" else {}
    digest = artefact.file_hash(folder / WEIGHTS_FILES[kind])
    match kind:
        case "saelens":
            return Found(*load_saelens(folder, settings), kind, settings, digest)
        case "sparsify":
            sae = sparsify_format.load(folder)
            return Found(sae, sae.cfg, kind, settings, digest)
        case "gemma_scope":
            return Found(gemma_scope.load(folder), JumpReLUConfig(), kind, settings, digest)
        case _:
            assert_never(kind)


def load_saelens(folder: Path, settings: dict[str, Any]) -> tuple[SAE, SAEConfig]:
    """An autoencoder of SAELens that may have been written by anyone, and its settings.

    Raises:
        UserError: Its config lacks what its architecture needs, or its weights are others.
    """
    try:
        cfg = saelens_format.config_of(settings, folder / CONFIG_FILE)
        sae = saelens_format.load(folder)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds weights that do not fit its {CONFIG_FILE} ({type(error).__name__}), expected those of one SAE. "
            "Fetch both files from one place."
        ) from error
    refuse_no_numbers(sae.state_dict(), folder / saelens_format.WEIGHTS_FILE)
    return sae, cfg


def recognise(folder: Path) -> Format:
    """The format of the one autoencoder in a folder.

    Raises:
        UserError: It holds none, files of several formats, or the config of one beside the weights of another.
    """
    there = formats_in(folder)
    if not there:
        known = ", ".join(f"{name} ({kind})" for kind, name in WEIGHTS_FILES.items())
        raise UserError(f"{folder} holds no SAE, expected one of {known}. Name the folder of a single SAE.")
    if len(there) > 1:
        raise UserError(
            f"{folder} holds {' and '.join(WEIGHTS_FILES[kind] for kind in there)}, expected the weights of one format. "
            "Move one of them elsewhere."
        )
    kind = there[0]
    if kind != "gemma_scope":
        refuse_another_config(folder / CONFIG_FILE, kind)
    return kind


def formats_in(folder: Path) -> list[Format]:
    """Formats of which the folder holds weights."""
    return [kind for kind, name in WEIGHTS_FILES.items() if (folder / name).is_file()]


def refuse_another_config(path: Path, kind: Format) -> None:
    """Stops where weights have no config beside them, or that of another format.

    Both formats call it `cfg.json`; SAELens' names an `architecture`, which sparsify's never does.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, expected the config of {WEIGHTS_FILES[kind]}. Fetch both files.")
    try:
        settings = artefact.read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is no JSON, expected the config of an SAE. Fetch it again.") from error
    if not isinstance(settings, dict) or ("architecture" in settings) != (kind == "saelens"):
        raise UserError(
            f"{path} is no config of {kind}, expected one beside {WEIGHTS_FILES[kind]}. Fetch both files from one place."
        )


def save(sae: SAE, cfg: SAEConfig, folder: Path, kind: WritableFormat, metadata: dict[str, Any]) -> None:
    """Writes an autoencoder.

    Args:
        sae: What to write.
        cfg: The settings it was built from.
        folder: Where to; made if missing.
        kind: The format.
        metadata: SAELens' free-form record; sparsify's format has no place for it.

    Raises:
        UserError: The format cannot hold it, or the folder holds one of another format.
    """
    refuse_others(folder, kind)
    match kind:
        case "saelens":
            saelens_format.save(sae, cfg, folder, metadata)
        case "sparsify":
            sparsify_format.save(sae, folder)
        case _:
            assert_never(kind)


def refuse_others(folder: Path, kind: Format) -> None:
    """Stops before a folder would hold two formats, which no reader could tell apart.

    Raises:
        UserError: It holds an SAE of another format.
    """
    others = [WEIGHTS_FILES[other] for other in formats_in(folder) if other != kind]
    if others:
        raise UserError(
            f"{folder} holds {others[0]}, expected no SAE of another format than {kind}. Name another folder to write to."
        )
