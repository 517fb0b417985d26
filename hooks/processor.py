"""A vision tower's image processor: from pictures to pixel values, and from pixel values to a grid of patches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hooks.architecture import WITHOUT_CLS
from sae.errors import UserError

PROCESSOR_FILES = {"preprocessor_config", "processor_config"}
CLS = "[CLS]"


class Grid(NamedTuple):
    """The rows of one image in the store: CLS, where the tower has it, then patches line by line."""

    n_lines: int
    n_columns: int
    has_cls: bool

    @property
    def n_rows(self) -> int:
        return self.has_cls + self.n_lines * self.n_columns

    @property
    def names(self) -> list[str]:
        """What each row is called: ` r3c5` is the patch in line 3 and column 5, both counted from 1."""
        places = [f" r{line + 1}c{column + 1}" for line in range(self.n_lines) for column in range(self.n_columns)]
        return [CLS] * self.has_cls + places


@dataclass(frozen=True)
class ImageProcessor:
    """What a vision tower has in the place of a tokenizer."""

    transform: Any
    """The processor of transformers, on PIL: the same pixel values whether torchvision is installed or not."""
    grid: Grid
    height: int
    width: int

    def pixel_values(self, pictures: list[Image.Image]) -> Float[Tensor, "batch channel height width"]:
        """What the tower reads of some pictures."""
        return self.transform(images=pictures, return_tensors="pt")["pixel_values"]

    @property
    def blank(self) -> Float[Tensor, "1 channel height width"]:
        """An image of nothing."""
        return torch.zeros(1, 3, self.height, self.width)


def load_processor(folder: Path, config: Any) -> ImageProcessor:
    """The image processor of a model folder.

    Args:
        folder: The model's files.
        config: The model's config, of the vision tower or of the whole.

    Raises:
        UserError: There is none, or its images are not of one size that the tower takes.
    """
    from transformers import AutoImageProcessor

    try:
        transform = AutoImageProcessor.from_pretrained(folder, use_fast=False, trust_remote_code=False)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise UserError(
            f"{folder} has no image processor that transformers can load ({type(error).__name__}), expected "
            "preprocessor_config.json. Put it beside the model's weights."
        ) from error
    vision = getattr(config, "vision_config", config)
    long, short = Image.new("RGB", (96, 64)), Image.new("RGB", (64, 96))
    shapes = {tuple(transform(images=[one], return_tensors="pt")["pixel_values"].shape[-2:]) for one in (long, short)}
    height, width = next(iter(shapes))
    (patch_height, patch_width), size = pair(vision.patch_size), pair(vision.image_size)
    is_any_size = config.model_type == "dinov2"  # which stretches its positions over whatever comes
    if len(shapes) > 1 or (not is_any_size and (height, width) != size) or height % patch_height or width % patch_width:
        raise UserError(
            f"The image processor of {folder} makes images of {' or '.join(f'{a}×{b}' for a, b in sorted(shapes))} pixels, "
            f"expected one size for all, in whole patches of {patch_height}×{patch_width}"
            f"{'' if is_any_size else f': {size[0]}×{size[1]}'}. Correct size and crop_size in preprocessor_config.json."
        )
    grid = Grid(height // patch_height, width // patch_width, config.model_type not in WITHOUT_CLS)
    return ImageProcessor(transform, grid, height, width)


def pair(size: Any) -> tuple[int, int]:
    """Height and width, where one number stands for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
