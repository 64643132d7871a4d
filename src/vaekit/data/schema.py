"""What the data is: kinds, names, ranges, resolution, scaling and shape. It travels with every run."""

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from vaekit.data.layout import LAYOUTS, Layout, layout_of
from vaekit.errors import VaekitError

Values = float | tuple[float, ...]
"""One number for all features, or one a feature (flattened)."""

KINDS = ("binary", "integer", "real")
LARGEST = 1e30
"""larger numbers leave no room for sums in 32-bit arithmetic"""
BLOCK_ROWS, BLOCK_CELLS = 4096, 2**22
"""what is worked on at a time, so that arrays larger than memory can be described"""
RESOLUTION_CELLS = 2**24
"""the smallest step between values is looked for in so many, in rows evenly spaced"""


@dataclass(frozen=True)
class Schema:
    """A description of one row's features. `low … scale` are one number, or one a feature in C order."""

    shape: tuple[int, ...]
    """(columns,) for a table, (height, width) for a grey image, (channels, height, width) for one of several channels,
    else the axes of a row as they came"""
    kind: str
    """the narrowest of binary ⊂ integer ⊂ real that holds for every feature"""
    names: tuple[str, ...] | None
    """column names, where the data had any"""
    low: Values
    high: Values
    resolution: Values
    """the smallest step between two different values (1 for integers): the finest detail a density may claim"""
    mean: Values
    scale: Values
    """standard deviation (divided by n) of the rows trained on; its magnitude where a feature is constant"""
    binarized: str = "none"
    """how a grey value x becomes 0 or 1: none, dynamic, threshold or expected"""
    grey: float = 1.0
    """the value that means white: what x is divided by before it is binarised"""
    layout: str = "table"
    """what the axes mean: table, image or sequence. Only an image's cells share one range and one resolution"""
    channels_axis: str = "none"
    """where the user's images have their axis of channels: none, first or last. So they are given back"""
    dtype: str = "float64"
    """of the user's array or files"""

    @property
    def features(self) -> int:
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        return self.layout == "image"

    @property
    def channels(self) -> int:
        """3 for images in colour; 1 for grey ones, and for what is no image."""
        return self.shape[0] if self.is_image and len(self.shape) == 3 else 1

    def from_stored(self, rows: np.ndarray) -> np.ndarray:
        """Rows (…, *shape) with the axes that the user's array had: (…, height, width, channels) if they came last."""
        return Layout(self.layout, self.channels_axis).given(rows, self.shape)

    @property
    def low_high(self) -> str:
        """The range of all values, for people."""
        return f"{np.min(self.low):g} to {np.max(self.high):g}"

    def column(self, index: int) -> str:
        """A name for feature `index` that a person can find in their file."""
        if self.names is not None:
            return f"column '{self.names[index]}'"
        if self.is_image:
            *channel, row, column = (int(i) for i in np.unravel_index(index, self.shape))
            return f"pixel {(row, column)}" + (f", channel {channel[0]}" if channel else "")
        if len(self.shape) > 1:
            return f"cell {tuple(int(i) for i in np.unravel_index(index, self.shape))}"
        return f"column {index}"

    def array(self, name: str) -> np.ndarray:
        """`low`, `high`, `resolution`, `mean` or `scale` as an array of the features' shape."""
        return np.broadcast_to(np.asarray(getattr(self, name), np.float64).reshape(-1), (self.features,)).reshape(
            self.shape
        )

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Schema":
        """The inverse of `to_dict` after a trip through JSON."""
        wrong = set(values) ^ {f.name for f in fields(cls)}
        if wrong:
            raise VaekitError(f"the schema's keys are not those of this version: {', '.join(sorted(wrong))}")
        schema = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        wrong = schema._impossible()
        if wrong:
            raise VaekitError(f"the schema is damaged: {', '.join(wrong)} cannot be so.")
        return schema

    def _impossible(self) -> list[str]:
        """The fields that no description of data has: whoever wrote the file, what is opened is of one piece."""
        shaped = isinstance(self.shape, tuple) and 1 <= len(self.shape) <= 8 and all(map(_is_size, self.shape))
        features = math.prod(self.shape) if shaped else 0
        fits = {
            "shape": shaped and features < 2**40,
            "kind": self.kind in KINDS,
            "names": self.names is None or (_is_list(self.names, features, str) and len(self.shape) == 1),
            **{name: _are_numbers(getattr(self, name), features) for name in ("low", "high", "mean")},
            **{name: _are_numbers(getattr(self, name), features, least=0) for name in ("resolution", "scale")},
            "binarized": self.binarized in ("none", "dynamic", "threshold", "expected"),
            "grey": _are_numbers(self.grey, 1, least=0) and not isinstance(self.grey, tuple),
            "layout": self.layout in LAYOUTS and (self.layout != "image" or (shaped and len(self.shape) in (2, 3))),
            "dtype": isinstance(self.dtype, str) and re.fullmatch(r"(int|uint|float)\d+", self.dtype) is not None,
            "channels_axis": self.channels_axis in (("none", "first", "last") if self.is_image else ("none",)),
        }
        return [name for name, right in fits.items() if not right]

    def as_binary(self, how: str) -> "Schema":
        """The schema of the same data once binarised (`how`: dynamic, threshold, expected)."""
        low, high = np.min(self.low), np.max(self.high)
        if low < 0 or (self.kind == "real" and high > 1):
            raise VaekitError(
                f"cannot binarise values from {low:g} to {high:g}: give grey values from 0 to 1, or whole numbers."
            )
        grey = float(high) if self.kind != "real" and high > 0 else 1.0
        mean = _pack(np.asarray(self.mean) / grey)
        kind = "real" if how == "expected" else "binary"
        return replace(self, kind=kind, low=0.0, high=1.0, resolution=1.0, mean=mean, binarized=how, grey=grey)


def _is_size(side) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 1 <= side < 2**40


def _is_list(values, length: int, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, tuple) and len(values) == length and all(isinstance(v, kind) for v in values)


def _are_numbers(values, features: int, least: float = -math.inf) -> bool:
    """One finite number above `least`, or one a feature."""
    if not isinstance(values, tuple):
        values, features = (values,), 1
    right = _is_list(values, features, (int, float)) and not any(isinstance(v, bool) for v in values)
    return right and all(least < v and abs(v) < math.inf for v in values)


def describe(
    x: np.ndarray,
    names: tuple[str, ...] | None = None,
    train: np.ndarray | None = None,
    layout: Layout | None = None,
) -> Schema:
    """The schema of x (n, *X) as a Source holds it. Ranges and kinds come from every row, mean and scale from the rows
    `train` alone.

    layout    what the axes of x mean, as a Source knows it; None: find out, channels first

    Raises VaekitError where x is empty, not numeric or not finite, naming row and column.

    >>> describe(np.array([[0.5, 1.0], [1.5, 1.0]])).scale
    (0.5, 1.0)
    """
    x = check_rows(x, names)
    shape = x.shape[1:]
    if layout is None:
        layout = layout_of(x)
        layout = layout if layout.channels != "last" else Layout("table")
    low, high, whole = _ranges(x)
    varies = low < high
    if layout.kind == "image":  # a pixel's possible values are the image's
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    if layout.kind == "image" and x.dtype == np.uint8 and high.max() > 127:
        low, high = np.zeros_like(low), np.full_like(high, 255.0)
    kind = _kind(low, high, whole)
    _check_offsets(low, high, kind, names)
    resolution = np.ones_like(low) if kind != "real" else np.maximum(_resolution(x), _rounding(low, high))
    if layout.kind == "image" and varies.any():
        resolution = np.full_like(resolution, resolution[varies].min())
    mean, scale = _moments(x, train)
    values = {"low": low, "high": high, "resolution": resolution, "mean": mean, "scale": scale}
    packed = {name: _pack(v) for name, v in values.items()}
    form = {"layout": layout.kind, "channels_axis": layout.channels, "dtype": x.dtype.name}
    return Schema(shape=tuple(shape), kind=kind, names=names, **form, **packed)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices over the rows of an array (n, *X) that are small enough to be worked on in memory."""
    size = max(1, min(BLOCK_ROWS, BLOCK_CELLS // math.prod(shape[1:])))
    return (slice(start, start + size) for start in range(0, shape[0], size))


def check_rows(x: np.ndarray, names: tuple[str, ...] | None = None) -> np.ndarray:
    """x itself when it is a finite numeric (n, *X) array with at least one row and one feature; else VaekitError."""
    if x.dtype == bool:
        x = x.view(np.uint8)
    if x.dtype.kind not in "uif":
        raise VaekitError(f"expected numbers, found an array of {x.dtype}: convert or leave out the columns of text.")
    if x.ndim < 2:
        raise VaekitError(
            f"expected rows of features, found shape {x.shape}: reshape to (n, columns); for one feature, (n, 1)."
        )
    if 0 in x.shape:
        raise VaekitError(f"the data has shape {x.shape}: there is nothing to learn from in no rows or no columns.")
    if x.dtype.kind == "f":
        for rows in row_blocks(x.shape):
            block = _flat(x[rows])
            bad = ~(np.abs(block.astype(np.float64)) < LARGEST)
            if bad.any():
                row, column = (int(i[0]) for i in np.nonzero(bad))
                where = f"column '{names[column]}'" if names else f"column {column}"
                raise VaekitError(
                    f"row {rows.start + row}, {where} is {block[row, column]} (rows counted from 0): "
                    f"fill or drop cells that are NaN, infinite or beyond ±{LARGEST:g}."
                )
    return x


def _check_offsets(low: np.ndarray, high: np.ndarray, kind: str, names: tuple[str, ...] | None) -> None:
    """Refuse columns whose differences are lost in 32-bit arithmetic: their density would be false."""
    tolerated = 0.25 if kind != "real" else 1e-3 * (high - low)
    lost = (high > low) & (_rounding(low, high) > tolerated)
    if lost.any():
        j = int(np.argmax(lost))
        where = f"column '{names[j]}'" if names else f"column {j}"
        raise VaekitError(
            f"{where} goes from {low[j]:.10g} to {high[j]:.10g}: such small differences of such large numbers "
            f"are lost in 32-bit arithmetic. Subtract an offset, or leave it out."
        )


def _rounding(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The spacing of 32-bit numbers as large as these."""
    return np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), -1)


def _ranges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Smallest and largest value of each feature, float64, and whether all values are whole numbers."""
    low, high, whole = _flat(x[:1])[0], _flat(x[:1])[0], True
    for rows in row_blocks(x.shape):
        block = _flat(x[rows])
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        whole = whole and (block.dtype.kind in "ui" or bool((block == np.round(block)).all()))
    least, most = low.astype(np.float64), high.astype(np.float64)
    merged = (low != high) & (least == most)  # whole numbers beyond 2⁵³: different, whatever float64 makes of them
    return least, np.where(merged, np.nextafter(most, np.inf), most), whole


def _kind(low: np.ndarray, high: np.ndarray, whole: bool) -> str:
    if not whole:
        return "real"
    return "binary" if low.min() >= 0 and high.max() <= 1 else "integer"


def _resolution(x: np.ndarray) -> np.ndarray:
    """The smallest gap between two different values a column, gaps that rounding alone explains left out."""
    flat = _flat(np.asarray(x[:: -(-x.size // RESOLUTION_CELLS)]))
    smallest = np.array([_smallest_gap(column) for column in flat.T])
    return np.where(np.isfinite(smallest), smallest, _magnitude(flat[0])).astype(np.float64)


def _smallest_gap(column: np.ndarray) -> float:
    values = np.sort(column)
    gaps = np.diff(values)
    noise = 8 * np.finfo(column.dtype).eps * max(abs(values[0]), abs(values[-1]))
    return float(gaps[gaps > noise].min(initial=np.inf))


def _magnitude(values: np.ndarray) -> np.ndarray:
    """|v|, 1 where v = 0: the only scale that a constant column has."""
    return np.where(values == 0, 1.0, np.abs(values.astype(np.float64)))


def _moments(x: np.ndarray, train: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(x)) if train is None else train

    def blocks() -> Iterator[np.ndarray]:
        return (_flat(x[rows[block]]).astype(np.float64) for block in row_blocks((len(rows), *x.shape[1:])))

    mean = sum(b.sum(0) for b in blocks()) / len(rows)
    variance = sum(np.square(b - mean).sum(0) for b in blocks()) / len(rows)
    scale = np.sqrt(variance)
    constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    return mean, np.where(constant, _magnitude(_flat(x[rows[:1]])[0]), scale)


def _pack(values: np.ndarray) -> Values:
    """One number where all are equal."""
    values = np.atleast_1d(values)
    return float(values[0]) if (values == values[0]).all() else tuple(values.tolist())
