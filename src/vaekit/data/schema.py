"""What the data is: kinds, names, ranges, resolution, scaling and shape. It travels with every run."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from vaekit.data.columns import CODED, FORMAT, KINDS, WRITTEN, ColumnType
from vaekit.data.delimited import SEPARATORS
from vaekit.data.layout import LAYOUTS, Layout
from vaekit.errors import VaekitError

T = TypeVar("T")
Values = float | tuple[float, ...]
"""One number for all features, or one a feature (flattened)."""

WHOLES = ("binary", "integer", "real", "mixed")
"""kinds of a whole row"""
LARGEST = 1e30
"""larger numbers leave no room for sums in 32-bit arithmetic"""
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
    formats: tuple[str, ...] | None = None
    """of each column how its dates and times were written as text (`ColumnType.format`); None where none were"""
    spelled: tuple[tuple[str, str], ...] = ()
    """names of columns, conditions among them, that have blanks around them in the user's file: (without, with)"""
    separator: str = ","
    decimal: str = "."
    """what separates the cells of the user's file of text, and the mark in front of their decimals"""
    repeated: tuple[tuple[float, ...], ...] | None = None
    shares: tuple[tuple[float, ...], ...] | None = None
    """of each column of whole numbers the values that many of its cells have, and the part of them that has each; None
    where there are none"""
    missing: bool | tuple[bool, ...] = False
    """whether a feature has missing cells, held as NaN, among the rows trained on"""
    conditions: "Schema | None" = None
    """of the columns that x is given, in p(x|c); None where there are none"""
    places: tuple[int, ...] = ()
    """where each of them stands in the table of all columns, from 0"""

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
    def of_one_kind(self) -> bool:
        """Whether all features are plain numbers of one kind."""
        return self.kinds is None and self.levels is None and self.written is None

    @property
    def types(self) -> tuple[ColumnType, ...] | None:
        """What each column of a table with names was when it was described; None where it has no names."""
        if self.names is None:
            return None
        return tuple(map(self.type_of, range(self.features)))

    def type_of(self, index: int) -> ColumnType:
        """What feature `index` is, and how its cells are written."""
        levels = self.levels[index] if self.levels else ()
        written = self.written[index] if self.written else "number"
        decimals = self.decimals[index] if self.decimals else None
        form = self.formats[index] if self.formats else ""
        return ColumnType(self.kind_of(index), levels, written, decimals, form)

    def kind_of(self, index: int) -> str:
        """The kind of feature `index`."""
        return self.kind if self.kinds is None else self.kinds[index]

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the columns that x is given."""
        return () if self.conditions is None else self.conditions.names or ()

    def together(self, own: Sequence[T], conditions: Sequence[T]) -> list[T]:
        """Something of each feature and of each condition, in the order of the table of all columns.

        >>> schema = Schema((2,), "real", ("a", "c"), 0.0, 1.0, 1.0, 0.5, 0.5, places=(1, 3))
        >>> schema.together("ac", "bd")
        ['a', 'b', 'c', 'd']
        """
        found = list(own)
        for place, one in sorted(zip(self.places, conditions, strict=True), key=lambda pair: pair[0]):
            found.insert(place, one)
        return found

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
            kind=narrowest(kinds),
            kinds=None if of_one_kind else tuple(kinds),
            names=_picked(self.names, index),
            low=packed(of_each("low")),
            high=packed(of_each("high")),
            resolution=packed(of_each("resolution")),
            mean=packed(of_each("mean")),
            scale=packed(of_each("scale")),
            offset=packed(of_each("offset")),
            typical_low=packed(of_each("typical_low")) if bounded else None,
            typical_high=packed(of_each("typical_high")) if bounded else None,
            constant=packed_truths(of_each("constant")),
            missing=packed_truths(of_each("missing")),
            levels=_picked(self.levels, index),
            written=_picked(self.written, index),
            decimals=_picked(self.decimals, index),
            formats=_picked(self.formats, index),
            repeated=_picked(self.repeated, index),
            shares=_picked(self.shares, index),
            conditions=None,
            places=(),
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
        if values["conditions"] is not None:
            known["conditions"] = cls.from_dict(values["conditions"])
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
            "conditions": self.conditions is None or self._can_be_given(self.conditions),
            "places": _is_list(self.places, len(self.given), int),
            "decimals": self.decimals is None or _is_list(self.decimals, features, (int, NoneType)),
            "formats": self.formats is None
            or (_is_list(self.formats, features, str) and all(map(FORMAT.fullmatch, self.formats))),
            "spelled": isinstance(self.spelled, tuple)
            and all(_is_list(pair, 2, str) and pair[1].strip() == pair[0] for pair in self.spelled),
            "separator": self.separator in SEPARATORS,
            "decimal": self.decimal in (".", ","),
            **{name: self._is_typical(name, features) for name in ("typical_low", "typical_high")},
        }
        return [name for name, right in fits.items() if not right]

    def _can_be_given(self, conditions: "Schema") -> bool:
        """Whether these are columns of a table with names, and given nothing themselves."""
        return conditions.names is not None and conditions.conditions is None and conditions.binarized == "none"

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
            mean=packed(np.asarray(self.mean) / grey),
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


def narrowest(kinds: Sequence[str]) -> str:
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


def packed(values: np.ndarray) -> Values:
    """One number where all are equal."""
    values = np.atleast_1d(values)
    if (values == values[0]).all():
        return values[0].item()
    return tuple(values.tolist())


def packed_truths(values: np.ndarray) -> bool | tuple[bool, ...]:
    """One truth where all are equal."""
    if values.all() or not values.any():
        return bool(values[0])
    return tuple(values.tolist())
