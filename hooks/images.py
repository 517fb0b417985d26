"""Image files: where they lie, what tells one from another, what is in them.

File names may name a patient, so errors give row numbers. Equal files are equal images; the same picture saved in
another way is another one, since decoding a whole corpus to find that out would take longer than most captures.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
from PIL import Image, ImageOps

from hooks.config import CorpusConfig
from sae.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
COLUMN = "image"
"""What the files of a folder are called as a column."""


class ImageFile(NamedTuple):
    """One image, not yet decoded."""

    row: int
    """Row number in the corpus."""
    path: Path
    hash: str
    """Of its bytes."""


def inside(folder: Path) -> list[Path]:
    """Image files in a folder and the folders in it, by name, hidden ones apart."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
    return sorted(files)


def image_file(row: int, value: Any, cfg: CorpusConfig) -> ImageFile:
    """The image that a row of a corpus names.

    Raises:
        UserError: The row names no file, or one that is no image we can show to a model.
    """
    place = Path(cfg.name).expanduser()
    path = (place if place.is_dir() else place.parent) / value if isinstance(value, str) and value else None
    if path is None or not path.is_file():
        raise UserError(
            f"Row {row} of {cfg.name!r} names no file in column {cfg.image_column!r}, expected the path of an image, relative "
            "to the corpus. Correct the row or corpus.image_column."
        )
    data = path.read_bytes()
    opened(row, data)
    return ImageFile(row, path, hash_of(data))


def hash_of(data: bytes) -> str:
    """What tells one file's bytes from another's."""
    return xxhash.xxh3_128_hexdigest(data)


def opened(row: int, data: bytes) -> Image.Image:
    """An image whose header is read, its pixels not yet.

    Raises:
        UserError: It is no image, more than one, or has more than 8 bits per channel: whoever knows what the values
            mean must choose the window, as clipping would whiten most of a radiograph.
    """
    try:
        image = Image.open(io.BytesIO(data))
        n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:  # decoders raise a dozen unrelated classes
        raise unreadable(row, error) from None
    if n_frames > 1:
        raise UserError(f"The image of row {row} holds {n_frames} frames, expected one. Save the one that is meant.")
    if image.mode.startswith(("I", "F")):
        raise UserError(
            f"The image of row {row} has more than 8 bits per channel (mode {image.mode}), expected 8. "
            "Convert it with the window of values that matters."
        )
    return image


def unreadable(row: int, error: Exception) -> UserError:
    """The sentence on an image that cannot be read."""
    return UserError(
        f"The image of row {row} cannot be read ({type(error).__name__}), expected a whole image file "
        f"({', '.join(ENDINGS)}). Replace it or remove the row."
    )


def pixels(file: ImageFile) -> Image.Image:
    """The picture, three channels of 8 bits, the right way up.

    Raises:
        UserError: The file is damaged, or no longer the one that was counted.
    """
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise unreadable(file.row, error) from None
    if hash_of(data) != file.hash:
        raise UserError(
            f"The image of row {file.row} has changed since the capture began, expected it untouched. Run the command again."
        )
    image = opened(file.row, data)
    try:
        return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # as above: now the pixels are decoded
        raise unreadable(file.row, error) from None
