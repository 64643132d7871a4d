"""What a column of a table is, as far as its cells say it before any of its numbers are looked at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vaekit.data.units import FORM
from vaekit.errors import VaekitError, unknown

AUTO = "auto"
NUMERIC = ("binary", "count", "integer", "amount", "positive", "real")
"""kinds of columns that hold numbers; an amount is positive, or often exactly 0"""
CODED = ("category", "ordinal")
"""kinds of columns whose cells are codes 0, 1, … of their levels"""
KINDS = (*NUMERIC, *CODED)
DATED = ("date", "datetime")
"""what may be said of columns of dates, which are numbers: days, or seconds, since 1970"""
ORDERS = ("day-first", "month-first")
"""how dates may be stated to be written, where the year comes last"""
STATEABLE = (*KINDS, *DATED)
KIND = rf"(?:{'|'.join(STATEABLE)})"
STATED = re.compile(rf"\s*([^=]+)=({KIND}(?::.*?)?)\s*(?:,(?=[^=]+=)|$)", re.DOTALL)
"""one of several NAME=KIND with commas between them, which may be in names and levels too"""
WRITTEN = ("number", "integer", "text", "enum", "categorical", "boolean", "date", "datetime", "time", "duration")
"""how the cells of a column may be written: what they are given back as. Levels of a frame that says which there are,
and in which order, are an enum, or ordered categories; those of one that does not are categorical"""
FORMAT = re.compile(rf"(%-?[YmdHMS]|[-/.:T ]|Z|[-+]\d{{2}}:?\d{{2}})*|{FORM.pattern}")
"""how moments may be written as text, in the words of strftime, and the time zone; or numbers with a unit"""


@dataclass(frozen=True)
class ColumnType:
    """What is known of a column: what it measures, and how its cells are written.

    kind       one of `KINDS`; "auto": numbers, and which kind of them is found out by their values
    levels     what the codes 0, 1, … of its cells stand for, as text; none for numbers. A column of two levels is
               binary, or a category where that was asked for
    written    one of `WRITTEN`. Dates and times are numbers: days, or seconds, since 1970-01-01T00:00, and since
               midnight; durations are seconds
    decimals   digits behind the point with which its numbers were written; None where nothing says so
    format     how its dates, times or durations were written as text, as strftime says it; of numbers with a unit that
               unit, with {} where the number is; "" where they were none of these, or ISO durations
    reason     why it was taken for what it is, in a few words
    """

    kind: str = AUTO
    levels: tuple[str, ...] = ()
    written: str = "number"
    decimals: int | None = None
    format: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.kind in (AUTO, *KINDS)
        assert FORMAT.fullmatch(self.format)
        assert self.written in WRITTEN


def parse_types(stated: str | Sequence[str]) -> dict[str, str]:
    """What the user says of columns, "NAME=KIND,…", as {name: kind}. A kind is one of `KINDS`, ordinal with its levels
    in their order where they are no numbers; or one of `DATED`, with one of `ORDERS` where the cells leave it open.

    Raises VaekitError for what is none of this.

    >>> parse_types("age=count,grade=ordinal:low<mid<high,zip=category")
    {'age': 'count', 'grade': 'ordinal:low<mid<high', 'zip': 'category'}
    """
    found: dict[str, str] = {}
    for given in [stated] if isinstance(stated, str) else stated:
        place = 0
        while place < len(given) or not given:
            one = STATED.match(given, place)
            if one is None:
                name, equals, kind = given[place:].partition("=")
                if equals:
                    split_kind(kind.split(",")[0])
                raise VaekitError(f"--columns is '{given}': give NAME=KIND,…, as age=count,zip=category.")
            name, kind = one.groups()
            split_kind(kind)
            found[_bare(name)] = kind
            place = one.end()
    return found


def _bare(name: str) -> str:
    """A name without the blanks around it, or the quotes that set it apart from others.

    >>> _bare(" 'income, gross'")
    'income, gross'
    """
    name = name.strip()
    for mark in ("'", '"'):
        if len(name) > 2 and name[0] == name[-1] == mark and mark not in name[1:-1]:
            return name[1:-1]
    return name


def split_kind(stated: str) -> tuple[str, tuple[str, ...]]:
    """A kind and the levels, or the order of dates, that were given with it; VaekitError where it is none.

    >>> split_kind("ordinal:low<mid"), split_kind("count"), split_kind("date:day-first")
    (('ordinal', ('low', 'mid')), ('count', ()), ('date', ('day-first',)))
    """
    kind, colon, text = stated.strip().partition(":")
    if kind not in STATEABLE:
        raise unknown("kind of column", kind, STATEABLE)
    if not colon:
        return kind, ()
    if kind in DATED:
        if text.strip() not in ORDERS:
            raise VaekitError(
                f"'{stated}' is no kind of column: give {' or '.join(f'{kind}:{one}' for one in ORDERS)}."
            )
        return kind, (text.strip(),)
    levels = tuple(level.strip() for level in text.split("<"))
    if kind != "ordinal" or len(set(levels)) < len(levels) or len(levels) < 2 or not all(levels):
        raise VaekitError(f"'{stated}' is no kind of column: give levels as in ordinal:low<mid<high, each once.")
    return kind, levels
