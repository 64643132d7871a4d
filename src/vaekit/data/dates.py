"""Dates, times and durations as numbers: days or seconds since 1970, seconds since midnight, seconds."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars

DAY = 86_400
MICRO = 1e6
CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2}([.,]\d+)?))?"
LATER = rf"([T ]\s*{CLOCK}\s*(?P<zone>Z|[-+]\d{{2}}:?\d{{2}})?)?$"
"""the time of day that may follow a date"""
YEAR_FIRST = r"^(?P<year>\d{4})[-/.](?P<one>\d{1,2})[-/.](?P<two>\d{1,2})" + LATER
YEAR_LAST = r"^(?P<one>\d{1,2})[-/.](?P<two>\d{1,2})[-/.](?P<year>\d{4})" + LATER
POINTS = r"^\d{1,2}\.\d{1,2}\."
"""with points the day comes first, unless somebody says otherwise"""
TIME = rf"^{CLOCK}$"
LONG = r"^(?P<sign>-?)(?P<hour>\d+):(?P<minute>[0-5]\d):(?P<second>[0-5]\d([.,]\d+)?)$"
ISO = (
    r"^(?P<sign>-?)P((?P<day>\d+)D)?(T((?P<hour>\d+)H)?((?P<minute>\d+)M)?((?P<second>\d+([.,]\d+)?)S)?)?$"
)  # fmt: skip
"""a duration as ISO 8601 writes it: PT26H3M4.5S"""
MIXED = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
"""the beginning of whatever may be a date"""


@dataclass(frozen=True)
class Moments:
    """What cells of text mean as dates, times or durations."""

    values: np.ndarray
    """(n,) NaN where a cell is missing, or none of these"""
    written: str
    order: str = ""
    """which comes first, "day" or "month", where that had to be found out; "unclear" where it could not be"""
    zoned: bool = False
    """whether the cells are in time zones that differ"""
    format: str = ""
    """how they are written, as strftime says it; "" for ISO durations, and for what is no text"""


def moments(cells: "polars.Series", order: str = "") -> Moments | None:
    """The moments that most cells of text (null: missing) are; None where these are no dates, times or durations.

    A date is year, month, day, or where the year comes last whatever leaves no doubt which is the day: with points the
    day comes first, and else a number above 12 somewhere in the column says it. A time zone that all cells share is
    left out: times are those of the clock.

    order    which comes first, "day" or "month", where the cells leave it open; "": not known
    """
    known = cells.drop_nulls()
    if not len(known):
        return None
    for read, pattern in ((_dates, YEAR_FIRST), (_dates, YEAR_LAST), (_times, TIME), (_durations, ISO)):
        if 2 * known.str.contains(pattern).sum() >= len(known):
            found = _dates(cells, pattern, order) if read is _dates else read(cells, pattern)
            if read is _times and _lacks(cells, found.values) and known.str.contains(LONG).all():
                return _durations(cells, LONG)
            return found
    if known.str.contains(LONG).all():
        return _durations(cells, LONG)
    return None


def _lacks(cells: "polars.Series", values: np.ndarray) -> bool:
    """Whether there are cells without a value."""
    return int(np.isnan(values).sum()) > cells.null_count()


def _groups(cells: "polars.Series", pattern: str) -> "polars.DataFrame":
    """The named parts of a pattern; null where the cell is another."""
    return cells.str.extract_groups(pattern).struct.unnest()


def _date_format(cells: "polars.Series", groups: "polars.DataFrame", order: str) -> str:
    """How dates are written: "%d.%m.%Y %H:%M", say. What the first cell has between its parts holds for all."""
    first = cells.filter(groups["year"].is_not_null())[0]
    marks = re.findall(r"[-/.]", first)[:2]
    one = _padded("m", groups["one"])
    two = _padded("d", groups["two"])
    parts = ["%Y", one, two]
    if order == "day":
        parts = [_padded("d", groups["one"]), _padded("m", groups["two"]), "%Y"]
    elif order:
        parts = [one, two, "%Y"]
    date = f"{parts[0]}{marks[0]}{parts[1]}{marks[1]}{parts[2]}"
    if not groups["hour"].count():
        return date
    timed = cells.filter(groups["hour"].is_not_null())[0]
    between = "T" if "T" in timed else " "
    zone = groups["zone"].drop_nulls()
    return f"{date}{between}{_clock_format(groups)}{zone[0] if len(zone) else ''}"


def _clock_format(groups: "polars.DataFrame") -> str:
    """How times of day are written."""
    seconds = ":%S" if groups["second"].count() else ""
    return f"{_padded('H', groups['hour'])}:%M{seconds}"


def _padded(letter: str, texts: "polars.Series") -> str:
    """A part of a date, with a 0 in front where it may have two digits, unless some cell does without."""
    return f"%-{letter}" if texts.str.len_chars().min() == 1 else f"%{letter}"


def _seconds(groups: "polars.DataFrame", most_hours: float) -> np.ndarray:
    """Hours, minutes and seconds in seconds, those that are not there 0; NaN for those that no clock shows."""
    hours = _numbers(groups["hour"])
    minutes = _numbers(groups["minute"])
    seconds = _numbers(groups["second"].str.replace(",", "."))
    shown = (hours < most_hours) & (minutes < 60) & (seconds < 60)
    total = 3600 * hours + 60 * minutes + seconds
    return np.where(shown, total, np.nan)


def _in_micros(seconds: np.ndarray) -> np.ndarray:
    """Seconds that were added up, as whole millionths have them: what a frame of the same moments says, to the bit."""
    return np.round(seconds * MICRO) / MICRO


def _numbers(texts: "polars.Series") -> np.ndarray:
    """Parts of cells as numbers, those that are not there as 0."""
    import polars

    return texts.cast(polars.Float64).fill_null(0.0).to_numpy()


def order_of(form: str) -> str:
    """Which comes first in dates written so, "day" or "month"; "" where neither does.

    >>> order_of("%-d/%-m/%Y"), order_of("%Y-%m-%d")
    ('day', '')
    """
    first = re.match(r"%-?([dm])", form)
    if first is None:
        return ""
    return "day" if first[1] == "d" else "month"


def carried_order(form: str, cells: "polars.Series") -> str:
    """Which comes first in cells of text, "day" or "month", as in dates of a format with the same kind of mark: points
    or others; "" where the marks are of another kind, or of both."""
    pointed = cells.drop_nulls().str.contains(POINTS)
    if pointed.any() != pointed.all() or pointed.any() != ("." in form[:4]):
        return ""
    return order_of(form)


def other_order(cells: "polars.Series", order: str) -> tuple[int, str] | None:
    """The first cell with a number above 12 where the month would be, were the day or the month first as in `order`:
    its row, and what it has first instead."""
    groups = _groups(cells, YEAR_LAST)
    first = _numbers(groups["one"]) > 12
    second = _numbers(groups["two"]) > 12
    wrong = first & ~second if order == "month" else second & ~first
    if not order or not wrong.any():
        return None
    return int(np.argmax(wrong)), "day" if order == "month" else "month"


def _dates(cells: "polars.Series", pattern: str, given: str = "") -> Moments:
    """Days since 1970, or seconds where a cell has a time of day.

    given    see `moments`
    """
    import polars

    groups = _groups(cells, pattern)
    month, day, order = groups["one"], groups["two"], ""
    if pattern == YEAR_LAST:
        order = _order(cells, groups, given) or "unclear"
        if order == "day":
            month, day = day, month
    iso = groups["year"] + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)
    days = iso.str.to_date("%Y-%m-%d", strict=False).to_physical().cast(polars.Float64).fill_null(np.nan).to_numpy()
    zoned = groups["zone"].n_unique() - groups["zone"].has_nulls() > 1
    form = _date_format(cells, groups, order)
    if not groups["hour"].count():
        return Moments(days, "date", order, zoned, form)
    return Moments(_in_micros(DAY * days + _seconds(groups, 24)), "datetime", order, zoned, form)


def _order(cells: "polars.Series", groups: "polars.DataFrame", given: str) -> str:
    """Which of the two numbers before the year comes first, the "day" or the "month": as given, where no number says
    it; "" where nothing does."""
    if cells.drop_nulls().str.contains(POINTS).all():
        return given or "day"
    first = _numbers(groups["one"]).max()
    second = _numbers(groups["two"]).max()
    if first > 12 >= second:
        return "day"
    if second > 12 >= first:
        return "month"
    return given


def _times(cells: "polars.Series", pattern: str) -> Moments:
    """Seconds since midnight."""
    groups = _groups(cells, pattern)
    absent = groups["hour"].is_null().to_numpy()
    return Moments(np.where(absent, np.nan, _in_micros(_seconds(groups, 24))), "time", format=_clock_format(groups))


def _durations(cells: "polars.Series", pattern: str) -> Moments:
    """Seconds."""
    groups = _groups(cells, pattern)
    sign = np.where((groups["sign"] == "-").fill_null(False).to_numpy(), -1.0, 1.0)
    seconds = 3600 * _numbers(groups["hour"]) + 60 * _numbers(groups["minute"])
    seconds = seconds + _numbers(groups["second"].str.replace(",", "."))
    if "day" in groups.columns:
        seconds = seconds + DAY * _numbers(groups["day"])
    form = "" if pattern == ISO else _clock_format(groups)
    seconds = sign * _in_micros(seconds)
    return Moments(np.where(groups["sign"].is_null().to_numpy(), np.nan, seconds), "duration", format=form)


def typed_moments(column: "polars.Series") -> Moments:
    """The same of a column that has a type of its own; datetimes as their zone's clock shows them."""
    import polars

    kind = column.dtype
    if kind == polars.Date:
        return Moments(_floats(column.to_physical()), "date")
    if kind == polars.Time:
        return Moments(_floats(column.to_physical()) / 1e9, "time")
    if isinstance(kind, polars.Datetime):
        clock = column.dt.replace_time_zone(None).cast(polars.Datetime("us"))
        return Moments(_floats(clock.to_physical()) / MICRO, "datetime")
    assert kind == polars.Duration
    return Moments(_floats(column.cast(polars.Duration("us")).to_physical()) / MICRO, "duration")


def _floats(column: "polars.Series") -> np.ndarray:
    """Numbers as float64, NaN where there is none."""
    import polars

    return column.cast(polars.Float64).fill_null(np.nan).to_numpy()


def as_written(found: Moments, written: str) -> np.ndarray | None:
    """The values in the units of moments written another way: dates as datetimes and the reverse; None where there is
    no such way."""
    if found.written == written:
        return found.values
    if (found.written, written) == ("date", "datetime"):
        return DAY * found.values
    if (found.written, written) == ("datetime", "date"):
        return found.values / DAY
    if {found.written, written} == {"time", "duration"}:
        return found.values
    return None
