"""What a reader of files finds: the fields of a Source, those that its file has."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Required, TypedDict, Union

import numpy as np

from vaekit.data.columns import ColumnType
from vaekit.data.layout import Layout

if TYPE_CHECKING:
    import polars

Column = Union[np.ndarray, "polars.Series"]
"""(n,) of the rows, of numbers or anything else"""


class Fields(TypedDict, total=False):
    """Rows and what else their file says of them; see `Source`."""

    x: Required[np.ndarray]
    names: tuple[str, ...] | None
    types: tuple[ColumnType, ...]
    labels: np.ndarray | None
    parts: Mapping[str, np.ndarray]
    label_name: str
    beside: Mapping[str, Column]
    notes: tuple[str, ...]
    spelled: Mapping[str, str]
    separator: str
    decimal: str
    whole: "polars.DataFrame | None"


class ImageFields(Fields):
    """The same of images in files, whose axes are known."""

    layout: Layout
