"""What a column of a table is, as far as its cells say it before any of its numbers are looked at."""

from dataclasses import dataclass

AUTO = "auto"
NUMERIC = ("binary", "count", "integer", "positive", "real")
"""kinds of columns that hold numbers"""
CODED = ("category", "ordinal")
"""kinds of columns whose cells are codes 0, 1, … of their levels"""
KINDS = (*NUMERIC, *CODED)
WRITTEN = ("number", "integer", "text", "boolean", "date", "datetime", "time", "duration")
"""how the cells of a column may be written: what they are given back as"""


@dataclass(frozen=True)
class ColumnType:
    """What is known of a column: what it measures, and how its cells are written.

    kind       one of `KINDS`; "auto": numbers, and which kind of them is found out by their values
    levels     what the codes 0, 1, … of its cells stand for, as text; none for numbers. A column of two levels is
               binary, or a category where that was asked for
    written    one of `WRITTEN`. Dates and times are numbers: days, or seconds, since 1970-01-01T00:00, and since
               midnight; durations are seconds
    decimals   digits behind the point with which its numbers were written; None where nothing says so
    reason     why it was taken for what it is, in a few words
    """

    kind: str = AUTO
    levels: tuple[str, ...] = ()
    written: str = "number"
    decimals: int | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.kind in (AUTO, *KINDS)
        assert self.written in WRITTEN
