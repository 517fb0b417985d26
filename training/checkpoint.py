"""The state of a training run in one safetensors file, from which it goes on with the same bytes.

Tensors hold parameters, Adam's moments and the features' clocks; the file's metadata holds what is no tensor.
Nothing in it depends on how many processes shared the work, so any number of them can go on from it. No pickle
anywhere.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sae import artefact
from sae.base import SAE
from sae.errors import UserError

FILE = "training_state.safetensors"


class Clocks(NamedTuple):
    """What is counted per feature."""

    silent_tokens: Tensor
    """[d_sae] int64, tokens since it last fired."""
    fired: Tensor
    """[d_sae] int64, tokens it fired on since the last row of the log."""


class Progress(NamedTuple):
    """Where training stands."""

    step: int
    """Steps done."""
    log_bytes: int
    """Length of the log at that moment; a resumed run cuts it back to this."""
    window_tokens: int
    """Tokens since the last row of the log."""
    n_replicas: int = 1
    """Most processes that shared a step so far; with more than one, other last bits come out."""
    n_codes: int = 0
    """Codes that the last step had to work on, in all processes; they decide whether the next one is sparse."""


def exists(folder: Path) -> bool:
    """Whether there is a checkpoint."""
    return (folder / FILE).is_file()


def write(folder: Path, key: str, sae: SAE, optimiser: torch.optim.Adam, clocks: Clocks, progress: Progress) -> None:
    """Writes a checkpoint, whole or not at all, under the key of its fit."""
    values = progress._asdict()
    if progress.n_replicas == 1:
        del values["n_replicas"]  # the default
    tensors = {name: value.cpu().clone().contiguous() for name, value in tensors_of(sae, optimiser, clocks).items()}
    artefact.write_bytes(folder / FILE, save(tensors, {"progress": json.dumps(values | {"key": key})}))


def tensors_of(sae: SAE, optimiser: torch.optim.Adam, clocks: Clocks) -> dict[str, Tensor]:
    """All that changes in training, by name."""
    tensors = {f"parameter/{name}": value for name, value in sae.state_dict().items()}
    for name, parameter in sae.named_parameters():
        for key, value in optimiser.state[parameter].items():
            tensors[f"adam/{key}/{name}"] = value
    tensors |= {f"clock/{name}": value for name, value in clocks._asdict().items()}
    return {name: value.detach() for name, value in tensors.items()}


def fingerprint(key: str, step: int, sae: SAE, optimiser: torch.optim.Adam, clocks: Clocks) -> int:
    """A hash of what is trained, how far, and to which bytes."""
    digest = xxhash.xxh3_64(f"{key} {step}".encode())
    for name, value in tensors_of(sae, optimiser, clocks).items():
        digest.update(name.encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.intdigest()


def read(folder: Path, key: str, sae: SAE, optimiser: torch.optim.Adam) -> tuple[Clocks, Progress] | None:
    """Puts a checkpoint's state into an autoencoder and its optimiser, if there is one.

    Raises:
        UserError: It is another fit's.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        metadata: dict[str, Any] = file.metadata()
    progress = json.loads(metadata["progress"])
    found_key = progress.pop("key", None)
    if found_key != key:
        raise UserError(
            f"{path} is of a training with other settings (key {found_key}), expected key {key}. "
            "Remove that folder, and the SAE is trained anew."
        )
    sae.load_state_dict({name: tensors[f"parameter/{name}"] for name in sae.state_dict()})
    for name, parameter in sae.named_parameters():
        keys = ("step", "exp_avg", "exp_avg_sq")
        optimiser.state[parameter] = {key: laid_out(tensors[f"adam/{key}/{name}"], parameter) for key in keys}
    clocks = Clocks(**{name: tensors[f"clock/{name}"].to(sae.W_dec.device) for name in Clocks._fields})
    return clocks, Progress(**progress)


def laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A tensor of Adam's state on the parameter's device and in its memory order, on which fused Adam relies."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.to(parameter.device)
