"""Rows of numbers → a table whose cells are written as those of the data were."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.dates import DAY, MICRO
from vaekit.data.schema import Schema

if TYPE_CHECKING:
    import polars

FIRST_DAY = -719_162
LAST_DAY = 2_932_896
"""0001-01-01 and 9999-12-31, days since 1970: what a model says beyond is given as these"""
LONGEST = 2.0**62 / MICRO
"""seconds that fit a duration"""
MOST = 2.0**63
"""the first whole number that is too large for 64 bits"""


def as_table(
    x: np.ndarray,
    names: Sequence[str],
    written: Sequence[str] | None = None,
    levels: Sequence[Sequence[str]] | None = None,
    decimals: Sequence[int | None] | None = None,
) -> "polars.DataFrame":
    """The rows x (n, *X) as a table with a column a name; NaN is null.

    written     of each column one of `columns.WRITTEN`; None: all are numbers, as they are
    levels      of each column what its codes stand for, () for numbers: the nearest is taken
    decimals    of each column the digits behind the point to round to, None not to: of seconds where these are times

    >>> as_table(np.array([[1.0, 19783.0]]), ["sex", "day"], ["text", "date"], [("f", "m"), ()]).row(0)
    ('m', datetime.date(2024, 3, 1))
    """
    import polars

    flat = x.reshape(len(x), -1)
    columns = {}
    for j, (name, values) in enumerate(zip(names, flat.T, strict=True)):
        if written is None:
            columns[name] = polars.Series(values)
            continue
        own = levels[j] if levels is not None else ()
        digits = decimals[j] if decimals is not None else None
        columns[name] = _column(values.astype(np.float64), written[j], own, digits)
    return polars.DataFrame(columns)


def as_those(x: np.ndarray, names: Sequence[str], schema: Schema, *, means: bool = False) -> "polars.DataFrame":
    """Rows x (n, *X) like those of a schema, as a table whose cells are written as theirs were.

    means    the rows are means of such: they are not rounded to the data's own numbers
    """
    if means:
        return as_table(x, names, of_means(schema.written), schema.levels)
    return as_table(x, names, schema.written, schema.levels, schema.decimals)


def _column(values: np.ndarray, written: str, levels: Sequence[str], digits: int | None) -> "polars.Series":
    """One column of it."""
    import polars

    missing = polars.Series(np.isnan(values))
    known = np.nan_to_num(values)
    if digits is not None and not levels:
        known = np.round(known, digits)
    if levels:
        codes = np.clip(np.round(known), 0, len(levels) - 1).astype(np.int64)
        column = polars.Series(list(levels), dtype=polars.String).gather(codes)
        if written == "integer":
            column = column.cast(polars.Int64)
        elif written == "number":
            column = column.cast(polars.Float64)
    elif written == "boolean":
        column = polars.Series(known >= 0.5)
    elif written == "integer":
        whole = np.clip(np.round(known), -MOST, np.nextafter(MOST, 0))
        column = polars.Series(whole.astype(np.int64))
    elif written == "date":
        days = np.clip(np.round(known), FIRST_DAY, LAST_DAY)
        column = polars.Series(days.astype(np.int32)).cast(polars.Date)
    elif written == "datetime":
        seconds = np.clip(known, DAY * FIRST_DAY, DAY * (LAST_DAY + 1) - 1)
        column = _of_micros(seconds).cast(polars.Datetime("us"))
    elif written == "time":
        seconds = np.clip(known, 0, DAY - 1 / MICRO)
        column = (_of_micros(seconds) * 1000).cast(polars.Time)
    elif written == "duration":
        column = _of_micros(np.clip(known, -LONGEST, LONGEST)).cast(polars.Duration("us"))
    else:
        column = polars.Series(known)
    return column.set(missing, None)


def _of_micros(seconds: np.ndarray) -> "polars.Series":
    """Seconds as whole millionths."""
    import polars

    return polars.Series(np.round(seconds * MICRO).astype(np.int64))


def of_means(written: Sequence[str] | None) -> tuple[str, ...] | None:
    """How means of columns are written: those of whole numbers need not be whole."""
    if written is None:
        return None
    return tuple("number" if own == "integer" else own for own in written)


def as_text(table: "polars.DataFrame", decimals: Sequence[int | None] | None = None) -> "polars.DataFrame":
    """The table with what CSV has no one way of writing as text: numbers with their digits behind the point (12.50),
    times without a fraction where none has one, durations as ISO 8601 writes them (PT26H3M4.5S).

    >>> import polars
    >>> as_text(polars.DataFrame({"price": [12.5]}), [2]).row(0)
    ('12.50',)
    """
    columns = {}
    for j, column in enumerate(table):
        digits = decimals[j] if decimals is not None else None
        columns[column.name] = _as_text(column, digits)
    return type(table)(columns)


def _as_text(column: "polars.Series", digits: int | None) -> "polars.Series":
    """One column of it."""
    import polars

    dtype = column.dtype
    if dtype.is_float() and digits is not None:
        texts = np.char.mod(f"%.{digits}f", column.fill_null(0.0).to_numpy())
        return polars.Series(texts.tolist(), dtype=polars.String).set(column.is_null(), None)
    if dtype == polars.Time or isinstance(dtype, polars.Datetime):
        day = "" if dtype == polars.Time else "%Y-%m-%d "
        whole = (column.dt.microsecond().fill_null(0) == 0).all()
        return column.dt.to_string(f"{day}%H:%M:%S" + ("" if whole else "%.6f"))
    if isinstance(dtype, polars.Duration):
        micros = column.dt.total_microseconds()
        return polars.Series([None if each is None else _iso(each) for each in micros], dtype=polars.String)
    return column


def _iso(micros: int) -> str:
    """A duration as ISO 8601 writes it.

    >>> _iso(93_784_500_000), _iso(-60_000_000)
    ('PT26H3M4.5S', '-PT0H1M0S')
    """
    seconds, fraction = divmod(abs(micros), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    behind = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{'-' * (micros < 0)}PT{hours}H{minutes}M{seconds}{behind}S"
