"""What the data is: kinds, names, ranges, resolution, scaling and shape. It travels with every run."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from vaekit.data.columns import AUTO, CODED, KINDS, WRITTEN, ColumnType
from vaekit.data.layout import LAYOUTS, Layout, layout_of
from vaekit.data.ondisk import Rows
from vaekit.errors import VaekitError

T = TypeVar("T")
Values = float | tuple[float, ...]
"""One number for all features, or one a feature (flattened)."""

WHOLES = ("binary", "integer", "real", "mixed")
"""kinds of a whole row"""
LARGEST = 1e30
"""larger numbers leave no room for sums in 32-bit arithmetic"""
SMALLEST = 1e-36
"""smaller standard deviations leave no room for differences in 32-bit arithmetic"""
BLOCK_ROWS = 4096
"""rows worked on at a time, so that arrays larger than memory can be described"""
BLOCK_CELLS = 2**22
"""cells worked on at a time"""
LOOKED_AT_CELLS = 2**24
"""the smallest step between values, and how far typical ones lie, are looked for in so many, in rows evenly spaced"""
LOOKED_AT_ROWS = 4096
"""how skewed a column is, and which values are repeated, is seen in so many"""
EXACT = 2.0**24
"""whole numbers up to here are themselves in 32-bit arithmetic"""
COARSE = 1e-5
"""a part of a column's range: where 32-bit numbers of its size lie farther apart, an offset is subtracted first"""
EXTREME = 30.0
"""standard deviations of the rest beyond which a cell is extreme"""
EXTREME_SHARE = 0.005
"""the part of a column that may be extreme"""
FEWEST_SKEWED = 30
"""positive values by which logarithms are judged"""
GAIN = 0.1
"""nats per value by which a log-normal has to be the better law for a column to be positive, or an amount"""
OFTEN = 0.05
"""the part of an amount that is exactly 0"""
REPEATED = 0.01
"""the part of a column's cells from which on a value is repeated"""
TIMES_USUAL = 5.0
"""and by how many times it is more frequent than the column's usual value"""
MOST_REPEATED = 12
FARTHEST = 1e12
"""standard deviations: cells farther out are taken to be here, since their squares overflow in 32-bit arithmetic"""


@dataclass(frozen=True)
class Schema:
    """A description of one row's features. `low … scale` are one number, or one a feature in C order."""

    shape: tuple[int, ...]
    """(columns,) for a table, (height, width) for a grey image, (channels, height, width) for one of several channels,
    else the axes of a row as they came"""
    kind: str
    """the narrowest of binary ⊂ integer ⊂ real that holds for every feature; mixed where some hold codes of levels"""
    names: tuple[str, ...] | None
    """column names, where the data had any"""
    low: Values
    high: Values
    resolution: Values
    """the smallest step between two different values (1 for integers): the finest detail a density may claim"""
    mean: Values
    scale: Values
    """mean and standard deviation (divided by n) of the typical cells of the rows trained on; where a feature is
    constant, its value and its magnitude"""
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
    constant: bool | tuple[bool, ...] = False
    """whether a feature has one value only over the rows trained on"""
    offset: Values = 0.0
    """what is subtracted, in 64 bits, before values are held in 32: not 0 only where something would be lost"""
    typical_low: Values | None = None
    typical_high: Values | None = None
    """the range outside which a cell is extreme, and hidden in training; None where every cell lies inside"""
    kinds: tuple[str, ...] | None = None
    """of each feature (`columns.KINDS`); None where all are of `kind`"""
    levels: tuple[tuple[str, ...], ...] | None = None
    """of each column what its codes 0, 1, … stand for, () where it holds numbers; None where all do"""
    written: tuple[str, ...] | None = None
    """of each column how its cells are written (`columns.WRITTEN`); None where all are plain numbers"""
    decimals: tuple[int | None, ...] | None = None
    """of each column the digits behind the point with which it is written; None where nothing says so"""
    repeated: tuple[tuple[float, ...], ...] | None = None
    shares: tuple[tuple[float, ...], ...] | None = None
    """of each column of whole numbers the values that many of its cells have, and the part of them that has each; None
    where there are none"""
    missing: bool | tuple[bool, ...] = False
    """whether a feature has missing cells, held as NaN, among the rows trained on"""

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether a row is an image."""
        return self.layout == "image"

    @property
    def channels(self) -> int:
        """3 for images in colour; 1 for grey ones, and for what is no image."""
        if self.is_image and len(self.shape) == 3:
            return self.shape[0]
        return 1

    def centred(self, rows: np.ndarray) -> np.ndarray:
        """Dataset (n, *shape) as a model takes them: bytes as they are, other numbers less `offset` as float32."""
        if rows.dtype == np.uint8 and self.offset == 0:
            return np.ascontiguousarray(rows)
        if self.offset != 0:
            rows = rows.astype(np.float64) - self.array("offset")
        rows = np.ascontiguousarray(rows, np.float32)
        farthest = FARTHEST * np.asarray(self.scale)
        if self.kind == "binary" or not rows.size or np.fmax.reduce(np.abs(rows), axis=None) < farthest.min():
            return rows
        mean = self.shifted("mean")
        reach = np.minimum(FARTHEST * self.array("scale"), LARGEST)
        return np.clip(rows, mean - reach, mean + reach, dtype=np.float32)

    def uncentred(self, rows: np.ndarray) -> np.ndarray:
        """The inverse: rows (…, *shape) in the data's own units, as float64 where there is an offset."""
        if self.offset == 0:
            return rows
        return rows.astype(np.float64) + self.array("offset")

    def from_stored(self, rows: np.ndarray) -> np.ndarray:
        """Dataset (…, *shape) of a model as their owner knows them: in the data's own units, and with the axes that the
        array had: (…, height, width, channels) if the channels came last."""
        return Layout(self.layout, self.channels_axis).given(self.uncentred(rows), self.shape)

    @property
    def low_high(self) -> str:
        """The range of all values, for people."""
        return f"{np.min(self.low):g} to {np.max(self.high):g}"

    def column(self, index: int) -> str:
        """A name for feature `index` that a person can find in their file."""
        if self.names is not None:
            return f"column '{self.names[index]}'"
        place = tuple(int(i) for i in np.unravel_index(index, self.shape))
        if self.is_image:
            *channel, row, column = place
            pixel = f"pixel {(row, column)}"
            return f"{pixel}, channel {channel[0]}" if channel else pixel
        if len(place) > 1:
            return f"cell {place}"
        return f"column {index}"

    def array(self, name: str) -> np.ndarray:
        """A field of one number for all features or one a feature, such as `low`, as an array of their shape."""
        values = np.asarray(getattr(self, name))
        if values.dtype != bool:
            values = values.astype(np.float64)
        return np.broadcast_to(values.reshape(-1), (self.features,)).reshape(self.shape)

    def shifted(self, name: str) -> np.ndarray:
        """`low`, `high`, `mean`, … as an array of the features' shape, less `offset`: in the units of `centred`."""
        return self.array(name) - self.array("offset")

    def extreme(self, rows: np.ndarray) -> np.ndarray:
        """Which cells of rows (n, *shape) in the data's own units are extreme, (n, *shape) bool."""
        if self.typical_low is None:
            return np.zeros(rows.shape, bool)
        return (rows < self.array("typical_low")) | (rows > self.array("typical_high"))

    @property
    def has_missing(self) -> bool:
        """Whether any cell was missing among the rows trained on."""
        return bool(np.any(self.missing))

    @property
    def types(self) -> tuple[ColumnType, ...] | None:
        """What each column of a table was when it was described; None where all are plain numbers of one kind."""
        if self.kinds is None and self.levels is None and self.written is None:
            return None
        features = range(self.features)
        levels = self.levels or ((),) * self.features
        written = self.written or ("number",) * self.features
        decimals = self.decimals or (None,) * self.features
        return tuple(ColumnType(self.kind_of(j), levels[j], written[j], decimals[j]) for j in features)

    def kind_of(self, index: int) -> str:
        """The kind of feature `index`."""
        return self.kind if self.kinds is None else self.kinds[index]

    def sizes(self) -> tuple[int, ...]:
        """How many levels each feature has: 0 for numbers."""
        if self.levels is None:
            return (0,) * self.features
        return tuple(map(len, self.levels))

    @property
    def coded(self) -> np.ndarray:
        """Which features hold codes of levels, an array of their shape."""
        return np.array([size > 0 for size in self.sizes()]).reshape(self.shape)

    @property
    def codes(self) -> int:
        """How many numbers an encoder sees of a row: one of each feature, and of a category one per level."""
        return sum(max(1, size) if self.kind_of(j) == "category" else 1 for j, size in enumerate(self.sizes()))

    def groups(self) -> dict[str, tuple[int, ...]]:
        """The columns of each kind, kinds in the order of `columns.KINDS`; an image is one group.

        >>> Schema((3,), "real", None, 0.0, 1.0, 1.0, 0.5, 0.5, kinds=("real", "binary", "real")).groups()
        {'binary': (1,), 'real': (0, 2)}
        """
        if self.kinds is None:
            return {self.kind: tuple(range(self.features))}
        found = {kind: tuple(j for j, own in enumerate(self.kinds) if own == kind) for kind in KINDS}
        return {kind: columns for kind, columns in found.items() if columns}

    def select(self, columns: Sequence[int]) -> "Schema":
        """The schema of some features by their places, of one kind or of several, as columns of a table.

        >>> Schema((3,), "real", None, (0.0, 1.0, 2.0), 3.0, 1.0, 0.5, 0.5).select((2, 1)).low
        (2.0, 1.0)
        """
        index = list(columns)
        kinds = [self.kind_of(j) for j in index]
        of_one_kind = len(set(kinds)) == 1 and kinds[0] in WHOLES
        bounded = self.typical_low is not None

        def of_each(name: str) -> np.ndarray:
            return self.array(name).flatten()[index]

        return replace(
            self,
            layout="table",
            shape=(len(index),),
            kind=_of_all(kinds),
            kinds=None if of_one_kind else tuple(kinds),
            names=_picked(self.names, index),
            low=_pack(of_each("low")),
            high=_pack(of_each("high")),
            resolution=_pack(of_each("resolution")),
            mean=_pack(of_each("mean")),
            scale=_pack(of_each("scale")),
            offset=_pack(of_each("offset")),
            typical_low=_pack(of_each("typical_low")) if bounded else None,
            typical_high=_pack(of_each("typical_high")) if bounded else None,
            constant=_pack_truths(of_each("constant")),
            missing=_pack_truths(of_each("missing")),
            levels=_picked(self.levels, index),
            written=_picked(self.written, index),
            decimals=_picked(self.decimals, index),
            repeated=_picked(self.repeated, index),
            shares=_picked(self.shares, index),
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Schema":
        """The inverse of `to_dict` after a trip through JSON.

        Raises VaekitError for other keys than this version's, and for values that no description of data has.
        """
        other = set(values) ^ {f.name for f in fields(cls)}
        if other:
            raise VaekitError(f"the schema's keys are not those of this version: {', '.join(sorted(other))}")
        known = dict(values)
        for name, value in values.items():
            if isinstance(value, list):
                known[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        schema = cls(**known)
        wrong = schema._impossible()
        if wrong:
            raise VaekitError(f"the schema is damaged: {', '.join(wrong)} cannot be so.")
        return schema

    def _impossible(self) -> list[str]:
        """The fields that no description of data has: whoever wrote the file, what is opened is of one piece."""
        shaped = isinstance(self.shape, tuple) and 1 <= len(self.shape) <= 8 and all(map(_is_size, self.shape))
        features = math.prod(self.shape) if shaped else 0
        axes_of_channels = ("none", "first", "last") if self.is_image else ("none",)
        fits = {
            "shape": shaped and features < 2**40,
            "kind": self.kind in WHOLES,
            "names": self.names is None or (_is_list(self.names, features, str) and len(self.shape) == 1),
            **{name: _are_numbers(getattr(self, name), features) for name in ("low", "high", "mean")},
            **{name: _are_numbers(getattr(self, name), features, least=0) for name in ("resolution", "scale")},
            "binarized": self.binarized in ("none", "dynamic", "threshold", "expected"),
            "grey": _are_numbers(self.grey, 1, least=0) and not isinstance(self.grey, tuple),
            "layout": self.layout in LAYOUTS and (self.layout != "image" or (shaped and len(self.shape) in (2, 3))),
            "dtype": isinstance(self.dtype, str) and re.fullmatch(r"(int|uint|float)\d+", self.dtype) is not None,
            "channels_axis": self.channels_axis in axes_of_channels,
            "constant": isinstance(self.constant, bool) or _is_list(self.constant, features, bool),
            "offset": _are_numbers(self.offset, features),
            "missing": isinstance(self.missing, bool) or _is_list(self.missing, features, bool),
            "kinds": self.kinds is None or (_is_list(self.kinds, features, str) and set(self.kinds) <= set(KINDS)),
            "levels": self.levels is None or self._are_levels(features),
            "written": self.written is None
            or (_is_list(self.written, features, str) and set(self.written) <= set(WRITTEN)),
            **{name: self._are_shares(name, features) for name in ("repeated", "shares")},
            "decimals": self.decimals is None or _is_list(self.decimals, features, (int, NoneType)),
            **{name: self._is_typical(name, features) for name in ("typical_low", "typical_high")},
        }
        return [name for name, right in fits.items() if not right]

    def _are_shares(self, name: str, features: int) -> bool:
        """Whether there are a few numbers for each column, and as many in both lists."""
        values = getattr(self, name)
        if values is None:
            return self.repeated is None and self.shares is None
        if not _is_list(values, features, tuple) or self.repeated is None or self.shares is None:
            return False
        alike = [len(own) for own in self.repeated] == [len(own) for own in self.shares]
        return alike and all(_is_number(value, -math.inf) for own in values for value in own)

    def _are_levels(self, features: int) -> bool:
        """Whether each column that holds codes has levels, and no two that are the same."""
        levels = self.levels
        if levels is None or not _is_list(levels, features, tuple):
            return False
        of_text = all(isinstance(level, str) for own in levels for level in own)
        different = all(len(set(own)) == len(own) for own in levels)
        coded = all(levels[j] for j in range(features) if self.kind_of(j) in CODED)
        return of_text and different and coded

    def _is_typical(self, name: str, features: int) -> bool:
        """Whether both ends of the typical range are given, or neither is."""
        if self.typical_low is None and self.typical_high is None:
            return True
        if self.typical_low is None or self.typical_high is None:
            return False
        return _are_numbers(getattr(self, name), features)

    def as_binary(self, how: str) -> "Schema":
        """The schema of the same data once binarised (`how`: dynamic, threshold, expected)."""
        low = np.min(self.low)
        high = np.max(self.high)
        if low < 0 or (self.kind == "real" and high > 1):
            raise VaekitError(
                f"cannot binarise values from {low:g} to {high:g}: give grey values from 0 to 1, or whole numbers."
            )
        grey = 1.0
        if self.kind != "real" and high > 0:
            grey = float(high)
        return replace(
            self,
            kind="real" if how == "expected" else "binary",
            low=0.0,
            high=1.0,
            resolution=1.0,
            mean=_pack(np.asarray(self.mean) / grey),
            binarized=how,
            grey=grey,
            constant=False,
            offset=0.0,
            typical_low=None,
            typical_high=None,
        )


def _picked(values: tuple[T, ...] | None, index: Sequence[int]) -> tuple[T, ...] | None:
    """What holds of these columns, where there is something for each."""
    if values is None:
        return None
    return tuple(values[j] for j in index)


def _of_all(kinds: Sequence[str]) -> str:
    """The narrowest kind that holds for columns of these kinds."""
    if not set(kinds).isdisjoint(CODED):
        return "mixed"
    if set(kinds) <= {"binary"}:
        return "binary"
    if set(kinds) <= {"binary", "count", "integer"}:
        return "integer"
    return "real"


def _is_size(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 1 <= side < 2**40


def _is_list(values: object, length: int, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, tuple) and len(values) == length and all(isinstance(v, kind) for v in values)


def _are_numbers(values: object, features: int, least: float = -math.inf) -> bool:
    """One finite number above `least`, or one a feature."""
    if isinstance(values, tuple):
        return len(values) == features and all(_is_number(value, least) for value in values)
    return _is_number(values, least)


def _is_number(value: object, least: float) -> bool:
    """One finite number above `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least < value and abs(value) < math.inf


def describe(
    x: Rows,
    names: tuple[str, ...] | None = None,
    train: np.ndarray | None = None,
    layout: Layout | str | None = None,
    types: Sequence[ColumnType] | None = None,
) -> Schema:
    """The schema of x (n, *X) as a Source holds it. Ranges and kinds come from every row, mean and scale from the rows
    `train` alone. Missing cells of a table are NaN, and count for nothing.

    types     what the columns of a table are known to be
    layout    what the axes of x mean, as a Source knows it; a kind, or None to find out: then channels come first

    Raises VaekitError where x is empty, not numeric or not finite, naming row and column, and where 32 bits cannot hold
    how a column varies.

    >>> describe(np.array([[0.5, 1.0], [1.5, 1.0]])).scale
    (0.5, 1.0)
    """
    x = check_rows(x, names)
    if not isinstance(layout, Layout):
        layout = _channels_first(x, layout or "auto")
    if train is None:
        train = np.arange(len(x))
    return described(x, names, np.sort(train), layout, types)


def described(
    x: Rows,
    names: tuple[str, ...] | None,
    train: np.ndarray,
    layout: Layout,
    types: Sequence[ColumnType] | None = None,
    seen: Callable[[np.ndarray], object] | None = None,
) -> Schema:
    """The schema of rows that were checked, in one pass over them, and two more where some cells are extreme.

    train    the numbers of the rows to learn from, sorted
    seen     is given every block of rows on the way, in order
    """
    image = layout.kind == "image"
    low, high, whole, moments = _surveyed(x, train, seen)
    _check_observed(low, names)
    varies = low < high
    if image:
        low, high = _range_of_pixels(low, high, x.dtype)
    mean, scale, constant = moments.found()
    coded = np.zeros(len(low), bool)
    if types is not None:
        coded = np.array([bool(own.levels) for own in types])
    numeric = ~coded & ~((low == 0) & (high == 1) & whole)
    least = low
    most = high
    if not image and not (whole.all() and _is_binary(low, high)):
        least, most = _typical(x, train, low, high, mean, scale, numeric)
    extremes = bool((least > low).any() or (most < high).any())
    if extremes:
        mean, scale, constant = _moments(x, train, least, most).found()
    offset = _offset(least, most, whole, mean, constant)
    exact = _exact(least, most, offset)
    kinds = _kinds(low, high, whole & exact, constant, types, layout)
    some = np.empty((0, len(low)))
    if not image:
        some = _flat(x[train[:: -(-len(train) // LOOKED_AT_ROWS)]])
        kinds = _skewed(kinds, some, types, least, most)
    kind = _of_all(kinds)
    resolution = np.ones_like(low)
    if kind in ("real", "mixed"):
        resolution = np.maximum(_resolution(x, least, most), _rounding(least, most, offset))
        resolution[coded] = 1.0
        if image and varies.any():
            resolution = np.full_like(resolution, resolution[varies].min())
    schema = Schema(
        shape=tuple(x.shape[1:]),
        kind=kind,
        names=names,
        low=_pack(low),
        high=_pack(high),
        resolution=_pack(resolution),
        mean=_pack(mean),
        scale=_pack(scale),
        layout=layout.kind,
        channels_axis=layout.channels,
        dtype=x.dtype.name,
        constant=_pack_truths(constant),
        offset=_pack(offset),
        kinds=None if set(kinds) == {kind} else tuple(kinds),
        missing=_pack_truths(moments.count < len(train)),
    )
    if types is not None:
        schema = _with_types(schema, types)
    if not image and "integer" in kinds:
        schema = _with_repeated(schema, some)
    if extremes:
        schema = replace(schema, typical_low=_pack(least), typical_high=_pack(most))
    _check_scale(schema, scale, constant)
    return schema


def _check_observed(low: np.ndarray, names: tuple[str, ...] | None) -> None:
    """Refuse a column without any number."""
    empty = np.isnan(low)
    if empty.any():
        column = int(empty.argmax())
        where = f"column '{names[column]}'" if names else f"column {column}"
        raise VaekitError(f"{where} has no cell that is not missing: leave it out.")


def _kinds(
    low: np.ndarray,
    high: np.ndarray,
    whole: np.ndarray,
    constant: np.ndarray,
    types: Sequence[ColumnType] | None,
    layout: Layout,
) -> list[str]:
    """The kind of each feature; the pixels of images are all of one.

    whole    which columns hold whole numbers that 32 bits can hold
    """
    binary = whole & (low >= 0) & (high <= 1)
    found = np.where(binary, "binary", np.where(whole, "integer", "real"))
    if layout.kind == "image":
        return [_of_all(found.tolist())] * len(found)
    if (found == "real").any():  # a constant has an atom among real numbers
        found = np.where(constant, "real", found)
    kinds = found.tolist()
    if types is not None:
        kinds = [kind if own.kind == AUTO else own.kind for kind, own in zip(kinds, types, strict=True)]
    return kinds


def _skewed(
    kinds: list[str],
    cells: np.ndarray,
    types: Sequence[ColumnType] | None,
    low: np.ndarray,
    high: np.ndarray,
) -> list[str]:
    """The kinds of columns, by some rows (n, columns): real ones are amounts where many are 0 and the others above, and
    positive where logarithms serve them better.

    low, high    the typical range
    """
    found = list(kinds)
    for j, kind in enumerate(kinds):
        stated = types is not None and (types[j].kind != AUTO or types[j].written not in ("number", "integer"))
        if kind != "real" or stated or low[j] < 0 or low[j] == high[j]:
            continue
        column = cells[:, j].astype(np.float64)
        column = column[(column >= low[j]) & (column <= high[j])]
        zeros = float((column == 0).mean()) if len(column) else 0.0
        positive = column[column > 0]
        if len(positive) < FEWEST_SKEWED:
            continue
        if low[j] == 0 and zeros >= OFTEN:
            found[j] = "amount"
        elif low[j] > 0 and _better_as_logarithm(positive):
            found[j] = "positive"
    return found


def _better_as_logarithm(values: np.ndarray) -> bool:
    """Whether a log-normal gives values a higher log-density than a normal, by more than `GAIN` nats per value."""
    logarithms = np.log(values)
    normal = -np.log(max(values.std(), SMALLEST))
    log_normal = -np.log(max(logarithms.std(), 1e-6)) - logarithms.mean()
    return bool(log_normal - normal > GAIN)


def _with_repeated(schema: Schema, cells: np.ndarray) -> Schema:
    """The schema with the values that are repeated in columns of whole numbers, by some rows (n, columns)."""
    found = []
    for j, column in enumerate(cells.T):
        if schema.kind_of(j) == "integer":
            found.append(_repeated(column[~np.isnan(column)]))
        else:
            found.append(((), ()))
    values = tuple(own for own, _ in found)
    if not any(values):
        return schema
    return replace(schema, repeated=values, shares=tuple(parts for _, parts in found))


def _repeated(column: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values that more than one in `REPEATED` of a column's cells have, and many more than their neighbours do; at
    most `MOST_REPEATED` of them, the most frequent first; each with its part of the cells."""
    if not len(column):
        return (), ()
    values, counts = np.unique(column, return_counts=True)
    usual = np.median(counts)
    enough = counts > max(REPEATED * len(column), TIMES_USUAL * usual, 5)
    chosen = np.flatnonzero(enough)
    chosen = chosen[np.argsort(-counts[chosen], kind="stable")][:MOST_REPEATED]
    return tuple(values[chosen].tolist()), tuple((counts[chosen] / len(column)).tolist())


def _with_types(schema: Schema, types: Sequence[ColumnType]) -> Schema:
    """The schema with what the types say beyond kinds, where they say anything."""
    levels = tuple(own.levels for own in types)
    written = tuple(own.written for own in types)
    decimals = tuple(own.decimals for own in types)
    return replace(
        schema,
        levels=levels if any(levels) else None,
        written=written if set(written) != {"number"} else None,
        decimals=decimals if any(digits is not None for digits in decimals) else None,
    )


def _channels_first(x: Rows, kind: str) -> Layout:
    """The layout of rows that lie as they are to be kept; what looks like channels, last, are columns."""
    layout = layout_of(x, kind)
    return Layout("table") if layout.channels == "last" else layout


def _range_of_pixels(low: np.ndarray, high: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The range of each pixel from those of all: its possible values are the image's."""
    if dtype == np.uint8 and high.max() > 127:
        return np.zeros_like(low), np.full_like(high, 255.0)
    return np.full_like(low, low.min()), np.full_like(high, high.max())


def _check_scale(schema: Schema, scale: np.ndarray, constant: np.ndarray) -> None:
    """Refuse columns that vary by less than 32-bit numbers can hold."""
    too_small = ~constant & (scale < SMALLEST)
    if too_small.any():
        column = int(too_small.argmax())
        raise VaekitError(
            f"{schema.column(column)} has a standard deviation of {scale[column]:.2g}, too small for 32-bit "
            f"arithmetic: give it in a smaller unit, so that its numbers are larger."
        )


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices over the rows of an array (n, *X) that are small enough to be worked on in memory."""
    size = max(1, min(BLOCK_ROWS, BLOCK_CELLS // math.prod(shape[1:])))
    return (slice(start, start + size) for start in range(0, shape[0], size))


def check_rows(x: Rows, names: tuple[str, ...] | None = None) -> Rows:
    """The rows themselves where they are a finite numeric (n, *X) array with at least one row and one feature; booleans
    as bytes. Cells of a table, (n, columns), may be NaN: missing.

    Raises VaekitError for all others, naming the first cell that is wrong.
    """
    if isinstance(x, np.ndarray) and x.dtype == bool:  # a Stack is of rows that were checked
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
        _check_finite(x, names)
    return x


def _check_finite(x: Rows, names: tuple[str, ...] | None) -> None:
    """Refuse cells that are NaN, infinite or too large, naming the first."""
    for rows in row_blocks(x.shape):
        block = _flat(x[rows])
        bad = ~(np.abs(block.astype(np.float64)) < LARGEST)
        if x.ndim == 2:
            bad &= ~np.isnan(block)
        if bad.any():
            row, column = (int(i[0]) for i in np.nonzero(bad))
            where = f"column '{names[column]}'" if names else f"column {column}"
            raise VaekitError(
                f"row {rows.start + row}, {where} is {block[row, column]} (rows counted from 0): "
                f"fill or drop cells that are NaN, infinite or beyond ±{LARGEST:g}."
            )


def _offset(low: np.ndarray, high: np.ndarray, whole: np.ndarray, mean: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """What to subtract from each feature, whose values lie from low to high: 0 where 32-bit numbers of that size tell
    apart what there is to tell apart; a constant itself where they cannot hold it."""
    middle = low / 2 + high / 2
    middle = np.where(whole, np.round(middle), middle)
    tolerated = np.where(whole, 0.25, COARSE * (high - low))
    lost = (high > low) & (_spacing(low, high) > tolerated)
    offset = np.where(lost, middle, 0.0)
    not_held = lost | (mean.astype(np.float32) != mean)
    return np.where(constant & not_held, mean, offset)


def _exact(low: np.ndarray, high: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Of each feature whether whole numbers from low to high, less an offset, are themselves in 32-bit arithmetic."""
    size = np.maximum(np.abs(low), np.abs(high))
    reach = np.maximum(np.abs(low - offset), np.abs(high - offset))
    return (reach <= EXACT) & (size <= 2.0**53)


def _spacing(low: np.ndarray, high: np.ndarray, kind: type = np.float32) -> np.ndarray:
    """The distance of neighbouring numbers as large as these."""
    return np.finfo(kind).eps * np.maximum(np.abs(low), np.abs(high))


def _rounding(low: np.ndarray, high: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The finest difference left of values from low to high once the offset is subtracted."""
    return np.maximum(_spacing(low - offset, high - offset), _spacing(low, high, np.float64))


def _flat(rows: np.ndarray) -> np.ndarray:
    """Rows (n, *X) as (n, features)."""
    return rows.reshape(len(rows), -1)


def _surveyed(
    x: Rows, train: np.ndarray, seen: Callable[[np.ndarray], object] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, "_Moments"]:
    """Smallest and largest value of each feature, float64, whether its values are whole numbers, and the moments of the
    rows `train`."""
    low = high = _flat(x[:1])[0]
    whole = np.ones(len(low), bool)
    moments = _Moments(len(low))
    for rows in row_blocks(x.shape):
        block = x[rows]
        if seen is not None:
            seen(block)
        block = _flat(block)
        low = np.fmin(low, np.fmin.reduce(block))
        high = np.fmax(high, np.fmax.reduce(block))
        if block.dtype.kind == "f" and whole.any():
            whole &= ((block == np.round(block)) | np.isnan(block)).all(0)
        first, last = np.searchsorted(train, (rows.start, rows.start + len(block)))
        if first < last:
            moments.add(block[train[first:last] - rows.start])
    return low.astype(np.float64), high.astype(np.float64), whole, moments


def _is_binary(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether no value lies outside 0 to 1."""
    return bool(low.min() >= 0 and high.max() <= 1)


def _typical(
    x: Rows,
    train: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    numeric: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The range of each column outside which cells are extreme; `low` and `high` themselves where none is, and in
    columns that are not `numeric`.

    The rows `train` say what is typical. With a part p of its cells beyond r standard deviations of the rest, a
    column's greatest distance is over (p + 1/r²)^(−1/2) standard deviations: only where it is, the cells are sorted.
    """
    share = max(1 / len(train), EXTREME_SHARE)
    farthest = np.maximum(high - mean, mean - low)
    suspected = numeric & (2 * (share + EXTREME**-2) * np.square(farthest / scale) > 1)
    low = low.copy()
    high = high.copy()
    if not suspected.any():
        return low, high
    every = -(-(len(train) * len(low)) // LOOKED_AT_CELLS)
    cells = _flat(x[train[::every]])
    for j in np.flatnonzero(suspected):
        column = cells[:, j].astype(np.float64)
        middle, reach = _reach(column[~np.isnan(column)])
        low[j] = max(low[j], middle - reach)
        high[j] = min(high[j], middle + reach)
    return _ends(x, low, high)


def _ends(x: Rows, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each feature among those from low to high."""
    least = np.full_like(low, np.inf)
    most = np.full_like(high, -np.inf)
    for rows in row_blocks(x.shape):
        block = _flat(x[rows]).astype(np.float64)
        inside = (block >= low) & (block <= high)
        least = np.minimum(least, block.min(0, where=inside, initial=np.inf))
        most = np.maximum(most, block.max(0, where=inside, initial=-np.inf))
    return least, most


def _reach(column: np.ndarray) -> tuple[float, float]:
    """The median and how far from it cells are typical: 30 times the root mean square distance of those that differ
    from it, its most extreme 0.5 % left out. Infinity where few cells differ, and none can be called extreme."""
    middle = float(np.median(column))
    distance = np.abs(column - middle)
    differing = np.sort(distance[distance > 0])
    left_out = max(1, int(EXTREME_SHARE * len(column)))
    rest = differing[:-left_out]
    if len(rest) < 10 * left_out:
        return middle, np.inf
    usual = float(np.sqrt(np.square(rest).mean()))
    return middle, max(EXTREME * usual, float(rest[-1]))


def _resolution(x: Rows, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The smallest gap between two different values from low to high of each column, gaps that rounding alone explains
    left out."""
    every = -(-x.size // LOOKED_AT_CELLS)
    flat = _flat(np.asarray(x[::every]))
    if flat.dtype.kind != "f":
        flat = flat.astype(np.float64)
    smallest = np.array([_smallest_gap(*each) for each in zip(flat.T, low, high, strict=True)])
    found = np.where(np.isfinite(smallest), smallest, _magnitude(np.clip(0.0, low, high)))
    return found.astype(np.float64)


def _smallest_gap(column: np.ndarray, low: float, high: float) -> float:
    """The smallest gap of one column; infinity where its values from low to high do not differ."""
    values = np.sort(column[~np.isnan(column)])
    if not len(values):
        return np.inf
    if values[0] < low or values[-1] > high:
        values = values[(values >= low) & (values <= high)]
    gaps = np.diff(values)
    noise = 0.0
    if len(values):
        largest = max(abs(values[0]), abs(values[-1]))
        noise = 8 * np.finfo(column.dtype).eps * largest
    return float(gaps[gaps > noise].min(initial=np.inf))


def _magnitude(values: np.ndarray) -> np.ndarray:
    """|v|, 1 where that is next to nothing: the only scale that a constant column has."""
    size = np.abs(values.astype(np.float64))
    return np.where(size < SMALLEST, 1.0, size)


class _Moments:
    """Mean and standard deviation of each feature, block by block of rows (Chan, Golub & LeVeque 1979)."""

    def __init__(self, features: int) -> None:
        self.least = np.full(features, np.inf)
        self.most = np.full(features, -np.inf)
        self.count = np.zeros(features, np.int64)
        self.mean = np.zeros(features)
        self.squares = np.zeros(features)
        """the sum of squared distances from the mean"""

    def add(self, rows: np.ndarray, inside: np.ndarray | bool = True) -> None:
        """Take note of the rows (n, features), or of their cells `inside` alone; of none that is NaN."""
        values = rows.astype(np.float64)
        missing = np.isnan(values)
        if missing.any():
            inside = inside & ~missing
        self.least = np.minimum(self.least, values.min(0, where=inside, initial=np.inf))
        self.most = np.maximum(self.most, values.max(0, where=inside, initial=-np.inf))
        count = np.broadcast_to(inside, values.shape).sum(0)
        mean = values.sum(0, where=inside) / np.maximum(count, 1)
        squares = np.square(values - mean).sum(0, where=inside)
        total = np.maximum(self.count + count, 1)
        apart = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += squares + np.square(apart) * (self.count * (count / total))
        self.mean += apart * (count / total)
        self.count += count

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and standard deviation, and whether all cells are the same; then their value and magnitude."""
        scale = np.sqrt(self.squares / np.maximum(self.count, 1))
        constant = self.least == self.most
        narrow = constant | (scale <= 1e-12 * np.maximum(np.abs(self.mean), 1e-300))
        mean = np.where(constant, self.least, self.mean)
        return mean, np.where(narrow, _magnitude(self.mean), scale), constant


def _moments(x: Rows, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> _Moments:
    """Of the cells from low to high of each feature in the rows of these numbers."""
    moments = _Moments(len(low))
    for block in row_blocks((len(rows), *x.shape[1:])):
        values = _flat(x[rows[block]])
        moments.add(values, (values >= low) & (values <= high))
    return moments


def _pack(values: np.ndarray) -> Values:
    """One number where all are equal."""
    values = np.atleast_1d(values)
    if (values == values[0]).all():
        return values[0].item()
    return tuple(values.tolist())


def _pack_truths(values: np.ndarray) -> bool | tuple[bool, ...]:
    """One truth where all are equal."""
    if values.all() or not values.any():
        return bool(values[0])
    return tuple(values.tolist())
