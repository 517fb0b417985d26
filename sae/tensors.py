"""Looking at weights from elsewhere before they are used."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sae.errors import UserError


def weights_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as float32.

    Raises:
        UserError: It is none.
    """
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise UserError(
            f"{path} is no whole safetensors file, expected the weights of an SAE. Fetch it again."
        ) from error


def refuse_wrong_shapes(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Stops where a file holds other tensors than its format has, or values that are no numbers.

    Raises:
        UserError: A tensor is missing, is one too many, has another shape, or holds NaN or infinity.
    """
    if weights.keys() != shapes.keys():
        raise UserError(
            f"{path} holds {', '.join(sorted(weights))}, expected {', '.join(sorted(shapes))}. "
            "Name an SAE of this format, whole and of one module."
        )
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise UserError(
                f"{path} has {name} of shape {list(weights[name].shape)}, expected {list(shape)} as the rest of the SAE "
                "says. Fetch its files again."
            )
    refuse_no_numbers(weights, path)


def refuse_no_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Stops where a tensor holds NaN or infinity.

    Raises:
        UserError: One does.
    """
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{path} has values in {name} that are no numbers, expected none. Fetch its files again.")
