"""Near misses: data that would have been served better in another form, pointed out and left as it is; and what a
trained model says that its owner should know."""

from collections.abc import Sequence, Sized
from typing import NamedTuple

import numpy as np

from vaekit import inference
from vaekit.core import LatentModel
from vaekit.data import Dataset, Schema
from vaekit.data.cells import quoted
from vaekit.data.ondisk import Rows
from vaekit.data.survey import EXACT, SMALLEST, row_blocks
from vaekit.noise import generator

LOOK = 1000
"""rows looked at"""
MOST_LINES = 3
"""columns named in a note of one kind"""
DRAWN, DRAWN_CELLS = 2000, 2**22
"""rows drawn to see what a model gives: at most so many, and so many cells"""
FEW_VALUES = 50
"""in a column of whole numbers, of which it is seen that what is drawn is none"""
FEWEST_SKEWED = 50
"""values from which skewness is known"""
SKEWED, EVEN = 3.0, 0.5
"""skewness of a column from which its logarithm would serve it better, and up to which the logarithm's is small"""
SMALL_COUNT = 10
"""whole numbers below this are counts, of whose steps logarithms would make gaps"""
EMPTY = 0.05
"""the part of a column's draws that may lie where no value of it does"""
CHANCE = 10.0
"""nats: a gap counts where draws of the data's own distribution would fill one of a column so with probability e⁻¹⁰"""
WIDE = 5.0
"""of a column's typical step from one value to the next: a narrower gap is the grid on which it was written down"""
FREQUENT = 0.02
"""of a column: values of which there are more are its grid, where half of it or more lies on them"""
INWARD, OUTWARD = 0.1, 0.25
"""how far from the data a draw must be to count: as parts of the gap that it lies in, or of the column's range, and
beyond that by a typical step or more"""


def hints(x: Rows, schema: Schema, likelihood: str) -> list[str]:
    """One line for each thing about the rows x (n, *X) that their owner may not have meant.

    >>> from vaekit.data import describe
    >>> x = np.array([[[0, 255], [255, 0]]], np.uint8)
    >>> hints(x, describe(x), "discretized-logistic")
    ['every value is 0 or 255: as 0 and 1 (--binarize threshold) this is binary data.']
    """
    if schema.binarized != "none":
        return []
    some = np.asarray(x[:LOOK])
    values = np.unique(some)
    of_all_values = _of_all_values(values[~np.isnan(values)], schema, likelihood)
    if of_all_values is not None:
        return [of_all_values]
    if schema.layout != "table":
        return []
    columns = _known_cells(some, schema)
    return sentinels(columns, schema) + fractions(columns, schema, likelihood) + decades(columns, schema, likelihood)


def codes_of_missing(x: Rows, schema: Schema) -> list[str]:
    """Of the hints those on numbers that may say that a cell is missing."""
    if schema.binarized != "none" or schema.layout != "table":
        return []
    return sentinels(_known_cells(np.asarray(x[:LOOK]), schema), schema)


def _known_cells(x: np.ndarray, schema: Schema) -> list[np.ndarray]:
    """The cells of each column that are there and not extreme."""
    hidden = (schema.extreme(x) | np.isnan(x)).reshape(len(x), -1)
    return [column[~unseen] for column, unseen in zip(x.reshape(hidden.shape).T, hidden.T, strict=True)]


def _of_all_values(values: np.ndarray, schema: Schema, likelihood: str) -> str | None:
    """What the different values of all columns show, if anything."""
    low = float(np.min(schema.low))
    high = float(np.max(schema.high))
    if schema.kind == "integer" and len(values) == 2:
        return f"every value is {values[0]:g} or {values[1]:g}: as 0 and 1 (--binarize threshold) this is binary data."
    if schema.kind == "real" and schema.is_image and high > low and _on_a_grid(values, low, (high - low) / 255):
        return (
            f"these look like 8-bit images scaled to {low:g} … {high:g}: the original whole numbers can be given a "
            f"probability (discretized-logistic), and bits per dimension."
        )
    if schema.kind == "integer" and likelihood.startswith("gaussian"):
        return (
            "every value is a whole number, and a density says little about those: discretized-logistic gives them "
            "probabilities."
        )
    return None


def sentinels(columns: Sequence[np.ndarray], schema: Schema) -> list[str]:
    """A line for each of the first columns many of whose cells are one number far from all others: -999, say.

    >>> schema = Schema((1,), "integer", ("score",), -999.0, 800.0, 1.0, 400.0, 200.0)
    >>> sentinels([np.array([-999.0] * 5 + [140.0, 300.0, 520.0, 800.0] * 9)], schema)[0][:45]
    "12% of column 'score' is exactly -999, and th"
    """
    found = {}
    for j, column in enumerate(columns):
        if len(column) < FEWEST_SKEWED // 2 or schema.coded.flat[j]:
            continue
        values, counts = np.unique(column, return_counts=True)
        if len(values) < 4:
            continue
        for end, others in ((0, values[1:]), (-1, values[:-1])):
            reach = others[-1] - others[0]
            apart = np.abs(values[end] - others).min()
            if apart > reach and counts[end] > FREQUENT / 4 * len(column) and counts[end] > 1:
                found[j] = (values[end], counts[end] / len(column), others[0], others[-1])
    lines = [
        f"{part:.0%} of {schema.column(j)} is exactly {value:g}, and the others lie from {low:g} to {high:g}: if that "
        f"says that a cell is missing, --missing={value:g}."
        for j, (value, part, low, high) in list(found.items())[:MOST_LINES]
    ]
    return lines + _more(found)


def fractions(columns: Sequence[np.ndarray], schema: Schema, likelihood: str) -> list[str]:
    """A line for the first columns of few whole numbers, where other columns make a density of all.

    >>> schema = Schema((2,), "real", ("rank", "size"), 0.0, 9.0, 1.0, 3.0, 2.0)
    >>> fractions([np.array([1.0, 2.0]), np.array([0.5, 2.0])], schema, "gaussian")
    ["column 'rank' holds whole numbers: beside real ones it is taken for real, and what is drawn of it has fractions."]
    """
    if schema.kind != "real" or not likelihood.startswith("gaussian"):
        return []
    whole = [_whole(column) for column in columns]  # a density of all is of numbers: no column holds codes
    if all(whole):
        return []  # whole numbers too large for 32 bits: see `coarse`
    counts = [len(np.unique(column)) for column in columns]
    found = [j for j, count in enumerate(counts) if whole[j] and 1 < count <= FEW_VALUES]
    lines = [
        f"{schema.column(j)} holds whole numbers: beside real ones it is taken for real, and what is drawn of it has "
        f"fractions."
        for j in found[:1]
    ]
    return lines + _more(found, 1)


def decades(columns: Sequence[np.ndarray], schema: Schema, likelihood: str) -> list[str]:
    """A line for each of the first columns that are very skewed while their logarithms are not.

    Where each column has a family of its own, those of codes, counts and positive numbers have one that is for them.

    >>> schema = Schema((1,), "integer", ("reads",), 7.0, 2e6, 1.0, 4e4, 9e4)
    >>> reads = np.exp(np.random.default_rng(0).normal(8, 2, 400)).round()
    >>> decades([reads], schema, "discretized-logistic")[0].split(", ")[2]
    'and its logarithm (np.log1p) is not: that would be modelled better.'
    """
    if not likelihood.startswith(("gaussian", "discretized-logistic", "columns")):
        return []
    kinds = {schema.kind_of(j) for j in range(len(columns))}
    if likelihood.startswith("columns"):
        kinds &= {"integer", "real"}
    meant = [j for j in range(len(columns)) if schema.kind_of(j) in kinds and not schema.coded.flat[j]]
    found = [j for j in meant if _wants_logarithms(columns[j])]
    lines = []
    for j in found[:MOST_LINES]:
        logarithm = "np.log1p" if _whole(columns[j]) else "np.log"
        ends = f"{columns[j].min():.4g} to {columns[j].max():.4g}"
        lines.append(
            f"{schema.column(j)} is very skewed, from {ends}, and its logarithm ({logarithm}) is not: that would be "
            f"modelled better."
        )
    return lines + _more(found)


def _wants_logarithms(values: np.ndarray) -> bool:
    """Whether values are positive and very skewed, and their logarithms are not.

    Of whole numbers few may be small, since their logarithms have gaps.
    """
    if len(values) < FEWEST_SKEWED or values.min() < 0:
        return False
    if _whole(values):
        logarithms = np.log1p(values)
        apart = np.quantile(values, 0.05) < SMALL_COUNT
    else:
        logarithms = np.log(np.maximum(values, SMALLEST))
        apart = values.min() == 0
    return not apart and _skewness(values) > SKEWED and abs(_skewness(logarithms)) < EVEN


def _whole(values: np.ndarray) -> bool:
    """Whether all are whole numbers."""
    return bool((values == np.round(values)).all())


def _skewness(values: np.ndarray) -> float:
    """The third standardised moment, 0 where nothing varies."""
    distance = values.astype(np.float64) - values.mean(dtype=np.float64)
    variance = np.square(distance).mean()
    if variance == 0:
        return 0.0
    return float((distance**3).mean() / variance**1.5)


def extremes(x: np.ndarray, schema: Schema) -> list[str]:
    """What is left out of training of the rows x (n, *X), a line for each of the first columns concerned.

    >>> from vaekit.data import describe
    >>> x = np.array([*range(30), 1e6])[:, None]
    >>> extremes(x, describe(x))
    ['1 of 31 cells of column 0 lies outside 0 … 29, where the others are: it is left out of training.']
    """
    if schema.typical_low is None:
        return []
    count = np.zeros(schema.features, np.int64)
    seen = np.zeros(schema.features, np.int64)
    for rows in row_blocks(x.shape):
        block = x[rows]
        count += schema.extreme(block).reshape(-1, schema.features).sum(0)
        seen += (~np.isnan(block)).reshape(-1, schema.features).sum(0)
    low, high = schema.array("typical_low").flatten(), schema.array("typical_high").flatten()
    columns = np.flatnonzero(count)
    lines = []
    for j in columns[:MOST_LINES]:
        lie, they = ("lies", "it is") if count[j] == 1 else ("lie", "they are")
        lines.append(
            f"{count[j]:,} of {seen[j]:,} cells of {schema.column(j)} {lie} outside {low[j]:.6g} … {high[j]:.6g}, "
            f"where the others are: {they} left out of training."
        )
    return lines + _more(columns)


def impossible(model: LatentModel, rows: Dataset, seed: int, most: float = EMPTY) -> list[str]:
    """A line for each of the first columns of which a model draws what they do not hold, by draws of this seed.

    rows    that it was trained on
    most    the part of a column's draws that may be negative where no value is
    """
    schema = rows.schema
    if schema.is_image or schema.kind == "binary" or schema.binarized != "none":
        return []
    count = max(1, DRAWN_CELLS // schema.features)
    source = generator(seed, "impossible", device=rows.device)
    drawn = inference.sample(model, min(DRAWN, count), source).cpu().numpy()
    drawn = schema.uncentred(drawn).reshape(len(drawn), -1)
    rounded_to_0 = -0.5 * schema.array("resolution").flatten()
    numbers = ~schema.coded.flatten()  # of codes no others are drawn
    never = numbers & (schema.array("low").flatten() >= 0)
    negative = np.where(never, (drawn < rounded_to_0).mean(0), 0.0)
    columns = np.flatnonzero(negative > most)
    lines = [
        f"{schema.column(j)} is never negative in the data, and {negative[j]:.0%} of what the model draws is."
        for j in columns[:MOST_LINES]
    ]
    lines += _more(columns)
    gaps = {}
    for j, values in enumerate(_columns(rows.some(count))):
        found = empty(values, drawn[:, j]) if numbers[j] else None
        if found is not None and negative[j] <= most:
            gaps[j] = found
    lines += [
        f"{found.share:.0%} of what the model draws of {schema.column(j)} lies {found.place}, where no value does that "
        f"it was trained on."
        for j, found in list(gaps.items())[:MOST_LINES]
    ]
    return lines + _more(gaps)


def _columns(rows: Dataset) -> list[np.ndarray]:
    """The values of each column that are not hidden, in the data's own units."""
    shown = []
    values = []
    for count, batch in rows.blocks():
        x = batch.x[:count].cpu().numpy()
        mask = np.ones(x.shape, bool) if batch.mask is None else batch.mask[:count].cpu().numpy()
        values.append(rows.schema.uncentred(x).reshape(count, -1))
        shown.append(mask.reshape(count, -1))
    pairs = zip(np.concatenate(values).T, np.concatenate(shown).T, strict=True)
    return [column[seen] for column, seen in pairs]


class Empty(NamedTuple):
    """Where draws lie and data do not."""

    share: float
    """of the draws"""
    low: float
    high: float
    """the ends of the gap that holds most of them: values of the data, or infinite"""
    gaps: int

    @property
    def place(self) -> str:
        """The gap in words."""
        where = f"between {self.low:.6g} and {self.high:.6g}"
        if self.low == -np.inf:
            where = f"below {self.high:.6g}"
        if self.high == np.inf:
            where = f"above {self.low:.6g}"
        others = self.gaps - 1
        if not others:
            return where
        return f"{where}, and in {others:,} more gap{'s' * (others != 1)}"


def empty(values: np.ndarray, drawn: np.ndarray) -> Empty | None:
    """The gaps between the values (n,) of a column and beyond them that hold more than the part `EMPTY` of draws (m,).

    Only gaps count that chance does not explain. Were values and draws of one distribution, whichever it is, c draws or
    more would lie between two neighbouring values with probability (m / (m + n))^c, or less where values coincide.

    >>> rng = np.random.default_rng(0)
    >>> groups = np.array([*rng.normal(-3, 0.1, 300), *rng.normal(3, 0.1, 300)])
    >>> empty(groups, rng.permutation(groups)) is None
    True
    >>> empty(groups, rng.uniform(-3, 3, 2000)).place
    'between -2.6934 and 2.61006'
    """
    n = len(values)
    m = len(drawn)
    edges, counts = np.unique(values, return_counts=True)
    if len(edges) < 2:
        return None
    widths = np.diff(edges)
    step = float(np.quantile(widths, 0.5, method="lower"))
    frequent = counts >= FREQUENT * n
    if frequent.sum() > 1 and counts[frequent].sum() >= n / 2:  # most are rounded more than the others
        step = max(step, float(np.quantile(np.diff(edges[frequent]), 0.5, method="lower")))
    if len(widths) == 1 and _whole(edges):
        step = 1.0
    inner = np.where(widths > WIDE * step, INWARD * widths, np.inf)
    outer = max(OUTWARD * (edges[-1] - edges[0]), step)
    margin = np.array([outer, *inner, outer])
    start = np.array([-np.inf, *edges])
    stop = np.array([*edges, np.inf])
    gap = np.searchsorted(edges, drawn)
    within = (start[gap] < drawn) & (drawn < stop[gap])
    far = (start[gap] + margin[gap] < drawn) & (drawn < stop[gap] - margin[gap])
    held = np.bincount(gap[within], minlength=len(start))
    counted = np.bincount(gap[far], minlength=len(start))
    surprising = counted > (CHANCE + np.log(n + 1)) / np.log1p(n / m)
    if counted[surprising].sum() <= EMPTY * m:
        return None
    fullest = int(np.where(surprising, held, 0).argmax())
    share = held[surprising].sum() / m
    return Empty(float(share), float(start[fullest]), float(stop[fullest]), int(surprising.sum()))


def _more(columns: Sized, named: int = MOST_LINES) -> list[str]:
    beyond = len(columns) - named
    return [f"So it is with {beyond:,} more column{'s' * (beyond != 1)}."] if beyond > 0 else []


def coarse(x: Rows, schema: Schema) -> list[str]:
    """A line where the rows x (n, *X) are whole numbers and taken for real ones, since 32 bits cannot hold them.

    Columns that hold codes are no numbers; where columns are of several kinds, only those that 32 bits cannot hold are
    taken for real ones.

    >>> from vaekit.data import describe
    >>> x = np.array([[7], [7 * 10**9]])
    >>> coarse(x, describe(x))[0].split(',')[0]
    'column 0 has whole numbers from 7 to 7000000000'
    """
    if schema.kind not in ("real", "mixed") or schema.binarized != "none":
        return []
    numbers = ~schema.coded.flatten()
    some = np.asarray(x[:LOOK]).reshape(-1, schema.features)[:, numbers]
    if not (np.isnan(some) | (some == np.round(some))).all():
        return []
    reach = np.maximum(np.abs(schema.shifted("low")), np.abs(schema.shifted("high"))).flatten()
    columns = np.flatnonzero(numbers & (reach > EXACT))
    if not len(columns):
        return []
    j = int(columns[reach[columns].argmax()])
    low, high, step = (schema.array(name).flatten()[j] for name in ("low", "high", "resolution"))
    remedy = f" (--exclude {quoted(schema.names[j])})" if schema.names else ""
    taken = "all columns are taken for real numbers, this one"
    if schema.kinds is not None:
        taken = "it is taken for real numbers,"
    return [
        f"{schema.column(j)} has whole numbers from {low:.0f} to {high:.0f}, a wider range than 32 bits hold: {taken} "
        f"to within {step:.0f}. An identifier is better left out{remedy}."
    ]


def shortfall(bound: float, schema: Schema, error: float = 0.0) -> list[str]:
    """A line where a model of whole numbers says less of a row than all values being equally likely would, by more than
    a nat and twice the standard error of the bound. Of real columns a density may be any number.

    >>> from vaekit.data import describe
    >>> schema = describe(np.array([[0, 1], [1, 0]]))
    >>> shortfall(-1.5, schema), shortfall(-9.5, schema)[0][:40]
    ([], 'a bound of -9.50 nats is below the -1.39')
    """
    if schema.kind == "real" or not set(schema.groups()).isdisjoint({"real", "positive"}):
        return []
    values = np.maximum(schema.array("high") - schema.array("low") + 1, np.reshape(schema.sizes(), schema.shape))
    uniform = -float(np.log(values).sum())
    if bound >= uniform - 1 - 2 * error:
        return []
    return [
        f"a bound of {bound:.2f} nats is below the {uniform:.2f} of values that are all equally likely. Train longer "
        f"(--epochs), with a smaller --learning-rate, on more rows, or choose another --likelihood."
    ]


def _on_a_grid(values: np.ndarray, origin: float, step: float) -> bool:
    index = (values - origin) / step
    return bool(np.abs(index - index.round()).max() < 1e-2)
