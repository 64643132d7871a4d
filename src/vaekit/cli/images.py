"""Grids of images as outputs."""

from pathlib import Path

import numpy as np

from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.report import grid


def write_grid(path: Path, images: np.ndarray, schema: Schema, columns: int | None = None) -> None:
    """A PNG of images, near square unless `columns` is given."""
    if not schema.is_image:
        raise VaekitError("this model's rows are no images: write .npy, .csv or .parquet instead of .png.")
    grid(images, schema, path, columns=columns or min(len(images), round(len(images) ** 0.5)))
