"""From images to what a vision tower reads: its patches, one row of the store each, and batches of pixel values."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks import images
from hooks.corpus import Document
from hooks.model import LanguageModel
from hooks.processor import Grid, ImageProcessor
from hooks.windows import Tokens
from sae.errors import UserError


class PixelBatch(NamedTuple):
    """Images of one size."""

    pixel_values: Float[Tensor, "batch channel height width"]
    is_row: Bool[Tensor, "batch position"]
    """All of them: no image is padded."""
    rows: list[slice]
    """For each image, its rows among the rows of the images it came with."""

    @property
    def inputs(self) -> tuple[Tensor]:
        """What the model is given."""
        return (self.pixel_values,)


def rows_of(docs: list[Document], lm: LanguageModel) -> list[Tokens]:
    """The rows of every image: its patches, numbered line by line, after CLS where the tower has it.

    Raises:
        UserError: A document is a text.
    """
    if lm.processor is None or any(doc.image is None for doc in docs):
        raise UserError(
            f"The model {lm.name!r} reads images, but the corpus holds texts. Name a folder of images as corpus.name, set "
            "corpus.image_column, or choose a language model."
        )
    return [patches(doc, lm.processor.grid) for doc in docs]


def patches(doc: Document, grid: Grid) -> Tokens:
    """The rows of one image."""
    nowhere = np.full(grid.n_rows, -1, np.int32)
    token_id = np.arange(grid.n_rows, dtype=np.int32)
    return Tokens(doc.index, token_id, nowhere, nowhere, token_id < grid.has_cls, doc.image)


def batches(tokens: list[Tokens], processor: ImageProcessor, batch_tokens: int) -> Iterator[PixelBatch]:
    """Images in order, decoded when their turn comes, in batches of at most `batch_tokens` rows, or of one image."""
    n_rows = processor.grid.n_rows
    files = [doc.image for doc in tokens if doc.image is not None]
    size = max(batch_tokens // n_rows, 1)
    for start in range(0, len(files), size):
        some = files[start : start + size]
        yield PixelBatch(
            pixel_values=processor.pixel_values([images.pixels(file) for file in some]),
            is_row=torch.ones(len(some), n_rows, dtype=torch.bool),
            rows=[slice((start + i) * n_rows, (start + i + 1) * n_rows) for i in range(len(some))],
        )
