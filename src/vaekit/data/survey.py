"""Rows → what they are: a pass over them that finds ranges, kinds, moments and resolution."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from vaekit.data.columns import AUTO, ColumnType
from vaekit.data.layout import Layout, layout_of
from vaekit.data.ondisk import Rows
from vaekit.data.schema import LARGEST, Schema, narrowest, packed, packed_truths
from vaekit.errors import VaekitError

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
REPEATED = 0.005
"""the part of a column's cells from which on a value is repeated"""
TIMES_USUAL = 5.0
"""and by how many times it is more frequent than the column's usual value"""
MOST_REPEATED = 12
FEWEST_ON_GRID = 30
"""cells unlike the first by which whole numbers are known to have a step above 1"""
LARGEST_WHOLE = 2**53
"""up to which float64 has all of them"""


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
    low, high, whole, moments, steps = _surveyed(x, train, seen, stepped=not image)
    _check_observed(low, names, x.shape[1:])
    varies = low < high
    if image:
        low, high = _range_of_pixels(low, high, x.dtype)
    mean, scale, constant = moments.found(whole)
    coded = _coded(types, len(low))
    least = low
    most = high
    if not image and not (whole.all() and _is_binary(low, high)):
        numeric = ~coded & ~(whole & (low == 0) & (high == 1))
        skewable = _may_be_skewed(types, whole)
        least, most = _typical(x, train, low, high, mean, scale, numeric, skewable)
    extremes = bool((least > low).any() or (most < high).any())
    if extremes:
        mean, scale, constant = _moments(x, train, least, most).found(whole)
    offset = _offset(least, most, whole, mean, constant)
    exact = _exact(least, most, offset)
    kinds = _kinds(low, high, whole & exact, constant, types, layout)
    some = np.empty((0, len(low)))
    if not image:
        some = _flat(x[train[:: -(-len(train) // LOOKED_AT_ROWS)]])
        kinds = _skewed(kinds, some, types, least, most)
        offset = np.where(_from_zero(kinds, least, most) & ~constant, 0.0, offset)
    kind = narrowest(kinds)
    resolution = np.ones_like(low)
    if kind in ("real", "mixed"):
        resolution = np.maximum(_resolution(x, least, most), _rounding(least, most, offset))
        resolution[coded] = 1.0
        if image and varies.any():
            resolution = np.full_like(resolution, resolution[varies].min())
    if not image:
        resolution = np.where(np.array(kinds) == "integer", steps, resolution)
    schema = Schema(
        shape=tuple(x.shape[1:]),
        kind=kind,
        names=names,
        low=packed(low),
        high=packed(high),
        resolution=packed(resolution),
        mean=packed(mean),
        scale=packed(scale),
        layout=layout.kind,
        channels_axis=layout.channels,
        dtype=x.dtype.name,
        constant=packed_truths(constant),
        offset=packed(offset),
        typical_low=packed(least) if extremes else None,
        typical_high=packed(most) if extremes else None,
        kinds=None if set(kinds) == {kind} else tuple(kinds),
        missing=packed_truths(moments.count < len(train)),
    )
    _check_scale(schema, scale, constant)
    return _with_repeated(_with_types(schema, types), some)


def _coded(types: Sequence[ColumnType] | None, features: int) -> np.ndarray:
    """Which columns hold codes of levels, (features,) bool."""
    if types is None:
        return np.zeros(features, bool)
    return np.array([bool(own.levels) for own in types])


def _check_observed(low: np.ndarray, names: tuple[str, ...] | None, shape: tuple[int, ...]) -> None:
    """Refuse a feature of rows of a shape that has no number at all."""
    empty = np.isnan(low)
    if empty.any():
        column = int(empty.argmax())
        raise VaekitError(f"{_named(names, column, shape)} is missing in every row: leave it out.")


def _named(names: tuple[str, ...] | None, column: int, shape: tuple[int, ...]) -> str:
    """A feature of rows of a shape as messages call it before there is a schema."""
    if names:
        return f"column '{names[column]}'"
    if len(shape) > 1:
        return f"cell {tuple(int(i) for i in np.unravel_index(column, shape))}"
    return f"column {column}"


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
        return [narrowest(found.tolist())] * len(found)
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
    if not len(cells):
        return schema
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


def _with_types(schema: Schema, types: Sequence[ColumnType] | None) -> Schema:
    """The schema with what the types say beyond kinds, where they say anything."""
    if types is None:
        return schema
    levels = tuple(own.levels for own in types)
    written = tuple(own.written for own in types)
    decimals = tuple(own.decimals for own in types)
    formats = tuple(own.format for own in types)
    return replace(
        schema,
        levels=levels if any(levels) else None,
        written=written if set(written) != {"number"} else None,
        decimals=decimals if any(digits is not None for digits in decimals) else None,
        formats=formats if any(formats) else None,
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
    as bytes. Cells may be NaN, missing, except in images: see `check_pixels`.

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
    """Refuse cells that are infinite or too large, naming the first."""
    found = _first(x, lambda cells: np.abs(cells.astype(np.float64)) >= LARGEST)
    if found is not None:
        row, column, value = found
        raise VaekitError(
            f"row {row}, {_named(names, column, x.shape[1:])} is {value} (rows counted from 0): fill or drop cells "
            f"that are infinite or beyond ±{LARGEST:g}."
        )


def check_pixels(x: Rows) -> None:
    """Refuse images (n, *X) of which pixels are missing, naming the first of them.

    Raises VaekitError.
    """
    if x.dtype.kind != "f":
        return
    found = _first(x, np.isnan)
    if found is not None:
        row, pixel, _ = found
        raise VaekitError(
            f"image {row}, {_named((), pixel, x.shape[1:])} is missing (counted from 0): an image needs all of its "
            f"pixels. Fill them, or let missing cells be left out of the likelihood, as those of a sequence are: "
            f"--kind=sequence."
        )


def _first(x: Rows, wrong: Callable[[np.ndarray], np.ndarray]) -> tuple[int, int, float] | None:
    """The row, the column and the value of the first cell of x (n, *X) that is wrong; None where none is."""
    for rows in row_blocks(x.shape):
        block = _flat(x[rows])
        marked = wrong(block)
        if marked.any():
            row, column = (int(i[0]) for i in np.nonzero(marked))
            return rows.start + row, column, block[row, column]
    return None


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


def _from_zero(kinds: list[str], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which features are taken as they are, because their law is one of their distance from 0: it needs no more digits
    than 32-bit numbers of any size have. Not what differs little for its size."""
    skewed = np.isin(kinds, ("positive", "amount")) & (low < high / 2)
    counts = np.isin(kinds, ("count",)) & (high <= EXACT)
    return skewed | counts


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
    x: Rows, train: np.ndarray, seen: Callable[[np.ndarray], object] | None, *, stepped: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, "_Moments", np.ndarray]:
    """Smallest and largest value of each feature, float64, whether its values are whole numbers, the moments of the
    rows `train`, and where these may be `stepped` (pixels are not) the step of whole numbers, else 1."""
    low = high = _flat(x[:1])[0]
    whole = np.ones(len(low), bool)
    moments = _Moments(len(low))
    steps = _Steps(len(low))
    for rows in row_blocks(x.shape):
        block = x[rows]
        if seen is not None:
            seen(block)
        block = _flat(block)
        low = np.fmin(low, np.fmin.reduce(block))
        high = np.fmax(high, np.fmax.reduce(block))
        if block.dtype.kind == "f" and whole.any():
            whole &= ((block == np.round(block)) | np.isnan(block)).all(0)
        if stepped:
            steps.add(block, whole)
        first, last = np.searchsorted(train, (rows.start, rows.start + len(block)))
        if first < last:
            moments.add(block[train[first:last] - rows.start])
    return low.astype(np.float64), high.astype(np.float64), whole, moments, steps.found()


class _Steps:
    """The greatest common divisor of the differences within each feature of whole numbers, block by block of rows:
    salaries in thousands have 1000, minutes as seconds 60, and most have 1."""

    def __init__(self, features: int) -> None:
        self.step = np.zeros(features, np.int64)
        self.first = np.full(features, np.nan)
        self.count = np.zeros(features, np.int64)

    def add(self, block: np.ndarray, whole: np.ndarray) -> None:
        """Take note of rows (n, features); of features that are not whole, or have the step 1 already, nothing."""
        open_ = np.flatnonzero(whole & (self.step != 1))
        if not len(open_):
            return
        values = block[:, open_].astype(np.float64)
        first = np.where(np.isnan(self.first[open_]), np.fmin.reduce(values), self.first[open_])
        self.first[open_] = first
        differences = np.nan_to_num(np.abs(values - first))
        self.count[open_] += (differences > 0).sum(0)
        differences[:, (differences >= LARGEST_WHOLE).any(0)] = 1  # too large to be told apart
        self.step[open_] = np.gcd(self.step[open_], np.gcd.reduce(differences.astype(np.int64)))

    def found(self) -> np.ndarray:
        """The steps, float64: 1 where few cells differ."""
        return np.where((self.step > 0) & (self.count >= FEWEST_ON_GRID), self.step, 1).astype(np.float64)


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
    skewable: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The range of each column outside which cells are extreme; `low` and `high` themselves where none is, and in
    columns that are not `numeric`. Of those that are `skewable`, and whose logarithms a normal fits better, the
    logarithms are what is typical: so no tail of a log-normal is extreme.

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
        least, most = _range(column[~np.isnan(column)], skewable=skewable[j] and low[j] >= 0)
        low[j] = max(low[j], least)
        high[j] = min(high[j], most)
    return _ends(x, low, high)


def _may_be_skewed(types: Sequence[ColumnType] | None, whole: np.ndarray) -> np.ndarray:
    """Which columns may be positive, or amounts: those of which that was said, and numbers that are not whole."""
    if types is None:
        return ~whole
    stated = np.array([own.kind in ("positive", "amount") for own in types])
    numbers = np.array([own.kind == AUTO and own.written in ("number", "integer") for own in types])
    return stated | (numbers & ~whole)


def _range(column: np.ndarray, *, skewable: bool) -> tuple[float, float]:
    """The range outside which cells of a column are extreme; see `_typical`."""
    middle, reach = _reach(column)
    positive = column[(column > 0) & (column <= middle + reach)]
    if not skewable or len(positive) < FEWEST_SKEWED or not _better_as_logarithm(positive):
        return middle - reach, middle + reach
    middle, reach = _reach(np.log(column[column > 0]))
    with np.errstate(over="ignore"):
        least = 0.0 if (column == 0).any() else float(np.exp(middle - reach))
        return least, float(np.exp(middle + reach))


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
        values = np.array(rows, np.float64)
        missing = np.isnan(values)
        if missing.any():
            inside = inside & ~missing
        self.least = np.minimum(self.least, values.min(0, where=inside, initial=np.inf))
        self.most = np.maximum(self.most, values.max(0, where=inside, initial=-np.inf))
        count = np.broadcast_to(inside, values.shape).sum(0)
        near = np.where(np.isfinite(self.least), self.least, 0.0)
        values -= near  # the sum of numbers far from 0 would be rounded
        above = values.sum(0, where=inside) / np.maximum(count, 1)
        squares = np.square(values - above).sum(0, where=inside)
        mean = near + above
        total = np.maximum(self.count + count, 1)
        apart = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += squares + np.square(apart) * (self.count * (count / total))
        self.mean += apart * (count / total)
        self.count += count

    def found(self, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and standard deviation, and whether all cells are the same; then their value and magnitude, as where
        they differ by what rounding leaves: not of features that are `whole` numbers."""
        scale = np.sqrt(self.squares / np.maximum(self.count, 1))
        constant = self.least == self.most
        narrow = constant | ~whole & (scale <= 1e-12 * np.maximum(np.abs(self.mean), 1e-300))
        mean = np.where(constant, self.least, self.mean)
        return mean, np.where(narrow, _magnitude(self.mean), scale), constant


def _moments(x: Rows, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> _Moments:
    """Of the cells from low to high of each feature in the rows of these numbers."""
    moments = _Moments(len(low))
    for block in row_blocks((len(rows), *x.shape[1:])):
        values = _flat(x[rows[block]])
        moments.add(values, (values >= low) & (values <= high))
    return moments
