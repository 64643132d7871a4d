"""Images as outputs: a grid to look at, or a stack of the numbers themselves."""

import io
from pathlib import Path

import numpy as np

from vaekit.data import Schema, tiff
from vaekit.data.images import INSTALL
from vaekit.errors import VaekitError
from vaekit.report import grid, shown_as
from vaekit.runs.storage import write

PICTURES = (".png", ".tif", ".tiff")


def write_images(path: Path, images: np.ndarray, schema: Schema, columns: int | None = None) -> str:
    """Images (n, *X) as a PNG, a near square grid unless `columns` is given, or as a TIFF, a page each; and what is to
    be said of how they are shown.

    Raises VaekitError where the schema is of no images.
    """
    if not schema.is_image:
        raise VaekitError("this model's rows are no images: write .npy, .csv or .parquet instead.")
    if path.suffix.lower() != ".png":
        write_stack(path, images, schema)
        return ""
    grid(images, schema, path, columns=columns, deep=schema.dtype == "uint16")
    shown = shown_as(schema)
    if not shown:
        return ""
    return f"; {shown}"


def write_stack(path: Path, images: np.ndarray, schema: Schema) -> None:
    """A TIFF of the images' own numbers, in the type in which the data came: of 8, 16 or 32 bits or as float32, all
    channels of an image on its page.

    Raises VaekitError for channels that are no colours of 8 bits, where tifffile is not there.
    """
    dtype = _type(schema)
    by_pillow = images.ndim == 3 or (schema.channels == 3 and dtype == np.uint8)
    if not by_pillow and not tiff.readable():
        raise VaekitError(
            f"a TIFF of {schema.channels} channels of {dtype} takes tifffile: {INSTALL}, or write .npy instead."
        )
    pages = schema.uncentred(images).astype(np.float64) * schema.grey
    if dtype.kind != "f":
        pages = np.clip(pages.round(), np.iinfo(dtype).min, np.iinfo(dtype).max)
    pages = pages.astype(dtype)
    write(path, _by_pillow(pages) if by_pillow else tiff.of_channels(pages))


def _by_pillow(pages: np.ndarray) -> bytes:
    """A TIFF of grey images (n, height, width), or of colours (n, 3, height, width)."""
    from PIL import Image

    if pages.ndim == 4:
        pages = np.moveaxis(pages, 1, -1)
    first, *others = map(Image.fromarray, pages)
    buffer = io.BytesIO()
    first.save(buffer, "tiff", save_all=True, append_images=others)
    return buffer.getvalue()


def _type(schema: Schema) -> np.dtype:
    """Of the types that a TIFF has here, the one that holds the data's."""
    own = np.dtype(schema.dtype)
    if own.kind == "f":
        return np.dtype(np.float32)
    for kind in (np.uint8, np.uint16):
        if np.can_cast(own, kind):
            return np.dtype(kind)
    if not np.can_cast(own, np.int32) and np.max(schema.high) > np.iinfo(np.int32).max:
        raise VaekitError(
            f"a TIFF takes whole numbers up to {np.iinfo(np.int32).max:,}, and these go beyond: write .npy."
        )
    return np.dtype(np.int32)
