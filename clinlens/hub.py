"""Uploading a folder to the Hugging Face hub: the one place that writes to a network, and only when a user names where to."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sae import artefact
from sae.errors import UserError

REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
LOCAL = "local"
"""What a corpus on this machine is called elsewhere: its file's name may say too much; its hash stays."""


def refuse_bad_name(repo_id: str) -> None:
    """Stops before any work where the name cannot be one.

    Raises:
        UserError: It is not OWNER/NAME.
    """
    if not REPO_ID.fullmatch(repo_id):
        raise UserError(f"--push {repo_id} is no repository, expected OWNER/NAME. Write it so, without an address.")


def push(folder: Path, repo_id: str, patterns: list[str]) -> str:
    """Uploads what was exported, as one commit; a repository that is not there yet is made, private.

    The token is the one that `hf auth login` keeps. Opening the repository to others is left to a person, on the hub.

    Args:
        folder: What was exported.
        repo_id: OWNER/NAME.
        patterns: Files below the folder that go; nothing else that may lie there does.

    Returns:
        Address of the commit.

    Raises:
        UserError: The hub is not reached, or does not let us.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # pyright: ignore - its client's base, whichever client that is

    api = HfApi()
    try:
        api.create_repo(repo_id, repo_type="model", private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="model",
            folder_path=folder,
            allow_patterns=patterns,
            commit_message="Sparse autoencoders, exported by ClinLens",
        )
    except (HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"The hub did not take {repo_id} ({type(error).__name__}), expected a token that may write there. "
            "Run `hf auth login`, look at HF_HUB_OFFLINE and the network, and export again."
        ) from error
    return commit.commit_url


def public_model(name: str) -> str:
    """A model's name without where it lies on this machine."""
    return Path(name).name if is_local(name) else name


def public_corpus(name: str) -> str:
    """A hub dataset's name, or that it is none."""
    return LOCAL if is_local(name) else name


def is_local(name: str) -> bool:
    """Whether a name is that of a file or folder here and no id of the hub."""
    return Path(name).exists() or name.lower().endswith(DATA_SUFFIXES) or not HUB_NAME.fullmatch(name)


def hide_local_names(folders: Iterable[Path]) -> None:
    """Takes paths of this machine out of exported records, before they leave it."""
    for folder in folders:
        for name in ("cfg.json", "origin.json"):
            path = folder / name
            if path.is_file():
                artefact.write_json(path, without_local_names(artefact.read_json(path)))


def without_local_names(record: dict[str, Any]) -> dict[str, Any]:
    """A config of SAELens, or an origin, in which model and corpus have public names."""
    found = dict(record)
    if "metadata" in found:
        metadata = found["metadata"] = dict(found["metadata"])
        for key, public in (("model_name", public_model), ("dataset_path", public_corpus)):
            if isinstance(metadata.get(key), str):
                metadata[key] = public(metadata[key])
    if "store" in found:
        store = found["store"] = dict(found["store"])
        store["model"] = store["model"] | {"model": public_model(store["model"]["model"])}
        store["corpus"] = store["corpus"] | {"name": public_corpus(store["corpus"]["name"])}
    return found
