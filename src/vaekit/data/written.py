"""Rows of numbers → a table whose cells are written as those of the data were."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.columns import ColumnType
from vaekit.data.dates import DAY, MICRO
from vaekit.data.schema import Schema
from vaekit.data.units import FORM, written_with

if TYPE_CHECKING:
    import polars

FIRST_DAY = -719_162
LAST_DAY = 2_932_896
"""0001-01-01 and 9999-12-31, days since 1970: what a model says beyond is given as these"""
LONGEST = 2.0**62 / MICRO
"""seconds that fit a duration"""
EXACT = 2.0**52
"""up to which 64 bits hold every half of a whole number"""
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

    means    the rows are means of such: their numbers are not rounded to the data's own, but for text with a unit
    """
    if means:
        table = as_table(x, names, of_means(schema.written), schema.levels, _of_moments(schema))
        return _with_units(table, digits_of_means(schema), schema)
    table = as_table(x, names, schema.written, schema.levels, schema.decimals)
    return _with_units(table, schema.decimals, schema)


def _with_units(table: "polars.DataFrame", decimals: Sequence[int | None] | None, schema: Schema) -> "polars.DataFrame":
    """The table, numbers of columns that had a unit being text with it."""
    columns = {column.name: column for column in table}
    for j, column in enumerate(table):
        own = schema.type_of(j)
        if FORM.fullmatch(own.format):
            digits = decimals[j] if decimals is not None else None
            columns[column.name] = _as_text(column, digits, own.format, schema.decimal)
    return type(table)(columns)


def _of_moments(schema: Schema) -> tuple[int | None, ...] | None:
    """The digits behind the point of columns of dates and times alone."""
    if schema.written is None or schema.decimals is None:
        return None
    pairs = zip(schema.written, schema.decimals, strict=True)
    return tuple(None if written in ("number", "integer") else digits for written, digits in pairs)


FINE = 1e-4
"""of a column's standard deviation: what the last digit of its means is worth, where its cells do not say"""


def digits_of_means(schema: Schema) -> tuple[int | None, ...]:
    """The digits behind the point with which means of columns are written as text: those of the column's own cells; of
    whole numbers, whose means need not be whole, and of numbers of many digits, so many that the last one is worth at
    most `FINE` standard deviations.

    >>> digits_of_means(Schema((2,), "real", None, 0.0, 9.0, 0.1, 3.0, (2.0, 500.0), decimals=(1, None)))
    (1, 2)
    """
    found: list[int | None] = []
    for j, scale in enumerate(schema.array("scale").flat):
        own = schema.type_of(j)
        digits = own.decimals
        if own.levels or own.written not in ("number", "integer"):
            digits = None
        elif own.written == "integer" and schema.array("constant").flat[j]:
            digits = 0
        elif digits is None or own.written == "integer":
            digits = int(np.clip(np.ceil(-np.log10(FINE * scale)), 0, 15))
        found.append(digits)
    return tuple(found)


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Numbers rounded to so many significant digits.

    >>> significant(np.array([84.87144470, 0.0, 0.00123456]), 4).tolist()
    [84.87, 0.0, 0.001235]
    """
    found = np.array(values, np.float64)
    nonzero = np.isfinite(found) & (found != 0)
    found[nonzero] = [float(f"{value:.{digits - 1}e}") for value in found[nonzero]]
    return found


def _column(values: np.ndarray, written: str, levels: Sequence[str], digits: int | None) -> "polars.Series":
    """One column of it."""
    import polars

    missing = polars.Series(np.isnan(values))
    known = np.nan_to_num(values)
    if digits is not None and not levels:
        known = _rounded(known, digits)
    if levels:
        codes = np.clip(np.round(known), 0, len(levels) - 1).astype(np.int64)
        column = polars.Series(list(levels), dtype=polars.String).gather(codes)
        if written == "integer":
            column = column.cast(polars.Int64)
        elif written == "number":
            column = column.cast(polars.Float64)
        elif written == "enum":
            column = column.cast(polars.Enum(list(levels)))
        elif written == "categorical":
            column = column.cast(polars.Categorical)
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


def _rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """Numbers rounded to so many digits behind the point, but those of which 64 bits hold no more as they are:
    rounding, which multiplies, would change them.

    >>> _rounded(np.array([0.26, 1801439850948199.0]), 1).tolist()
    [0.3, 1801439850948199.0]
    """
    fine = np.abs(values) < EXACT / 10.0**digits
    return np.where(fine, np.round(values, digits), values)


def _of_micros(seconds: np.ndarray) -> "polars.Series":
    """Seconds as whole millionths."""
    import polars

    return polars.Series(np.round(seconds * MICRO).astype(np.int64))


def of_means(written: Sequence[str] | None) -> tuple[str, ...] | None:
    """How means of columns are written: those of whole numbers need not be whole."""
    if written is None:
        return None
    return tuple("number" if own == "integer" else own for own in written)


def as_text(
    table: "polars.DataFrame",
    decimals: Sequence[int | None] | None = None,
    formats: Sequence[str] | None = None,
    decimal: str = ".",
) -> "polars.DataFrame":
    """The table with what CSV has no one way of writing as text: numbers with their digits behind the point (12.50),
    times without a fraction where none has one, durations as ISO 8601 writes them (PT26H3M4.5S).

    formats     of each column how its dates and times are written, as strftime says it, or the unit of its numbers
                with {} where they are; "": as ISO does, and without a unit
    decimal     the mark in front of decimals, a point or a comma

    >>> import polars
    >>> as_text(polars.DataFrame({"price": [12.5]}), [2]).row(0)
    ('12.50',)
    """
    columns = {}
    for j, column in enumerate(table):
        digits = decimals[j] if decimals is not None else None
        form = formats[j] if formats is not None else ""
        columns[column.name] = _as_text(column, digits, form, decimal)
    return type(table)(columns)


def cells_as_text(values: Sequence[float], kind: ColumnType) -> list[str]:
    """Numbers of a column as its cells are written.

    >>> cells_as_text([18690.0], ColumnType(written="date", format="%d.%m.%Y")), cells_as_text([0.25], ColumnType())
    (['04.03.2021'], ['0.25'])
    """
    if kind.written == "number" and not kind.format:
        return [f"{value:g}" for value in values]
    table = as_table(np.array(values, np.float64)[:, None], ["cell"], [kind.written], [kind.levels], [kind.decimals])
    return [str(cell) for cell in as_text(table, [kind.decimals], [kind.format])["cell"]]


def _as_text(column: "polars.Series", digits: int | None, form: str, decimal: str) -> "polars.Series":
    """One column of it."""
    import polars

    dtype = column.dtype
    if dtype.is_numeric() and form:
        plain = _as_text(column, digits, "", decimal).cast(polars.String)
        return written_with(plain, form)
    if dtype.is_float():
        if digits is not None:
            texts = np.char.mod(f"%.{digits}f", column.fill_null(0.0).to_numpy())
            column = polars.Series(texts.tolist(), dtype=polars.String).set(column.is_null(), None)
        if decimal != ".":
            column = column.cast(polars.String).str.replace(".", decimal, literal=True)
        return column
    if dtype == polars.Date and form:
        return column.dt.to_string(form)
    if dtype == polars.Time or isinstance(dtype, polars.Datetime):
        day = "" if dtype == polars.Time else "%Y-%m-%d "
        whole = (column.dt.microsecond().fill_null(0) == 0).all()
        form = form or f"{day}%H:%M:%S"
        return column.dt.to_string(form if whole else form.replace("%S", "%S%.6f"))
    if isinstance(dtype, polars.Duration):
        micros = column.dt.total_microseconds()
        return polars.Series([None if each is None else _duration(each, form) for each in micros], dtype=polars.String)
    return column


def _duration(micros: int, form: str) -> str:
    """A duration as a clock shows it, where that is its format, or as ISO 8601 writes it.

    >>> _duration(93_784_500_000, ""), _duration(-60_000_000, ""), _duration(93_784_000_000, "%H:%M:%S")
    ('PT26H3M4.5S', '-PT0H1M0S', '26:03:04')
    """
    seconds, fraction = divmod(abs(micros), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    behind = f".{fraction:06d}".rstrip("0") if fraction else ""
    sign = "-" * (micros < 0)
    if form:
        hour = f"{hours}" if "%-H" in form else f"{hours:02}"
        return f"{sign}{hour}:{minutes:02}:{seconds:02}{behind}"
    return f"{sign}PT{hours}H{minutes}M{seconds}{behind}S"


def filled_in(
    whole: "polars.DataFrame", values: "polars.DataFrame", missing: np.ndarray, texts: "polars.DataFrame"
) -> "polars.DataFrame":
    """A table as it came, with values in its missing cells: every other cell stays as it is, and so do the columns that
    `values` has not.

    values     those of its columns that a model knows, in their own types
    missing    (n, columns of values) where they are to be taken
    texts      the same values as they are written in text
    """
    columns = {column.name: column for column in whole}
    for name, absent in zip(values.columns, missing.T, strict=True):
        if absent.any():
            columns[name] = _merged(whole[name], values[name], texts[name], absent)
    return type(whole)(columns)


def _merged(own: "polars.Series", value: "polars.Series", text: "polars.Series", absent: np.ndarray) -> "polars.Series":
    """A column with other values where cells are absent, in its own type where that holds them."""
    import polars

    where = polars.Series(absent)
    dtype = own.dtype
    if dtype == polars.Null:
        return value
    if dtype == polars.String:
        return text.cast(polars.String).zip_with(where, own)
    if isinstance(dtype, polars.Datetime) and dtype.time_zone and isinstance(value.dtype, polars.Datetime):
        value = value.dt.replace_time_zone(dtype.time_zone, ambiguous="earliest", non_existent="null")
    held = value.cast(dtype, strict=False)
    if (held.is_null() & where).any():
        return value.zip_with(where, own.cast(value.dtype, strict=False))
    return held.zip_with(where, own)
