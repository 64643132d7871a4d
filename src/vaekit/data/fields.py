"""What a reader of files finds: the fields of a Source, those that its file has."""

from collections.abc import Mapping
from typing import Any, Required, TypedDict

import numpy as np

from vaekit.data.layout import Layout


class Fields(TypedDict, total=False):
    """Rows and what else their file says of them; see `Source`."""

    x: Required[np.ndarray]
    names: tuple[str, ...] | None
    labels: np.ndarray | None
    parts: Mapping[str, np.ndarray]
    label_name: str
    beside: Mapping[str, Any]
    notes: tuple[str, ...]


class ImageFields(Fields):
    """The same of images in files, whose axes are known."""

    layout: Layout
