"""Cells of text → numbers, whatever their commas and points mean; and the one message about all that cannot be read."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaekit.errors import LONGEST, VaekitError, listed

if TYPE_CHECKING:
    import polars

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "?", "-", ".")
"""what people write, in whatever case, where there is nothing to write"""
THOUSANDS = r"^[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
DECIMALS = r"^[-+]?(([1-9]\d{0,2}(\.\d{3})+|\d*),\d+|\d+,)([eE][-+]?\d+)?$"
WHOLE = r"^[-+]?\d+$"
POINTED_THOUSANDS = r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$"
MOST_DECIMALS = 9
"""digits behind the point with which people write numbers; more are a machine's"""
NOTHING_LEFT = "These are all the columns there are."
"""where a table without the columns concerned would have none"""
NEEDED = "The model was fitted to these columns: empty such cells, and they are missing."
"""where it is too late to do without them"""
COPIED = 12
"""columns that a message offers to leave out, each by its name"""
WHERE = {
    "text": "text among the numbers or dates in", "date": "no such dates or times in", "day": "unclear dates in",
    "order": "dates in another order in",
    "zones": "times of several zones in", "type": "no numbers in", "decimal": "decimal commas in",
    "ambiguous": "commas of two meanings in", "points": "points of two meanings in",
    "level": "cells without a level in", "unseen": "levels that fitting never saw in", "kind": "not what was stated in",
}  # fmt: skip
REMEDY = {
    "date": "Mend these cells, or empty them.",
    "day": "Write dates as 2024-12-31.",
    "order": "Write these dates in the order stated, or in that of the model's own.",
    "zones": "Write all times in one zone.",
    "decimal": "Write decimals with a point.",
    "ambiguous": "Write such numbers without the comma, or decimals with a point.",
    "points": "Write such numbers without the point, or decimals with a comma.",
    "unseen": "--unseen=missing takes such cells for missing.",
}
"""kinds of faults, as a message names them, and what helps beside leaving the column out"""
CHOICES = {
    "day": (("the day comes first", "{}:day-first"), ("the month does", "{}:month-first")),
    "ambiguous": (("the commas are of thousands", "integer"), ("they are decimal", "real")),
    "points": (("the points are of thousands", "integer"), ("they are decimal", "real")),
}
"""what cells of some faults may mean, with the kind that says so of their column; {} is how it is written"""
READ = {
    "decimals": "decimal commas read ('0,5' as 0.5)",
    "thousands": "commas of thousands read ('1,000' as 1000)",
    "points": "points of thousands read ('1.000.000' as 1000000)",
}
"""what the commas and points of a column can be, with the note it leaves"""


@dataclass(frozen=True)
class Fault:
    """The first cell of a column that cannot be read."""

    kind: str
    column: str
    row: int
    cell: str
    more: str = ""
    """what else is to be said, in place of the cell"""
    cells: tuple[str, ...] = ()
    """all different cells that are at fault, where they are known"""
    written: str = ""
    """what the cells are, of unclear dates: "date" or "datetime" """

    def __str__(self) -> str:
        cell = self.cell[:LONGEST] + "…" * (len(self.cell) > LONGEST)
        if self.more:
            shown = f": {self.more}"
        elif self.kind == "type":
            shown = f": {cell}"
        elif cell.strip():
            shown = f": '{cell}'"
        else:
            shown = ""
        return f"{listed([self.column])} (row {self.row}{shown})"


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column of text."""

    values: np.ndarray
    """(n,) float64, NaN where a cell is missing"""
    decimals: int | None
    """the most digits behind the point; 0 where all are whole, None where they are more than people write"""


def bare(column: "polars.Series") -> "polars.Series":
    """Cells of text without the blanks around them, or the quotes that follow a blank: those are not the table's."""
    cells = column.str.strip_chars()
    if cells.str.starts_with('"').any():
        return cells.str.replace(r'^"(.*)"$', "$1").str.strip_chars()
    return cells


def without(cells: "polars.Series", missing: "polars.Series") -> "polars.Series":
    """The cells, null where they are `missing`."""
    return cells.set(missing.fill_null(False), None)


def says_missing(cells: "polars.Series") -> "polars.Series":
    """Whether a cell is what people write where there is nothing to write."""
    return cells.str.to_lowercase().is_in(list(MISSING))


def spells_number(cells: "polars.Series") -> "polars.Series":
    """Whether a cell is a number, with or without commas."""
    import polars

    plain = cells.cast(polars.Float64, strict=False).is_not_null()
    return plain | cells.str.contains(f"{THOUSANDS}|{DECIMALS}|{POINTED_THOUSANDS}").fill_null(False)


def numbers(
    columns: Sequence["polars.Series"], separator: str, notes: list[str], stated: Mapping[str, str] | None = None
) -> tuple[dict[str, Numbers], list[Fault], str]:
    """The numbers of each column of bare text by its name (null: missing); the columns that hold others; and the mark
    in front of decimals, "" where there is none. Commas and points are decimal or thousands' where the table leaves no
    doubt which, or the column is known to hold whole numbers.

    separator    of the file; one of commas writes its decimals with points
    notes        what was read otherwise than it is written is added to them
    stated       by the names of some columns what is known of their numbers: they are "whole", or "any" with decimals;
                 or like others that a model was "fitted" to, or "fitted whole"
    """
    known = stated or {}
    found: dict[str, Numbers] = {}
    faults: list[Fault] = []
    habits: list[tuple[polars.Series, str]] = []
    for cells, values in zip(columns, plain(columns), strict=True):
        whole = _must_be_whole(known.get(cells.name), values)
        grouped = _grouped(cells) if whole else ""
        mixed = _groups_among(cells) if whole and not grouped and known[cells.name] == "fitted whole" else []
        if mixed:
            faults += mixed
        elif grouped:
            habits.append((cells, grouped))
        elif values is None:
            habits.append((cells, _comma(cells, separator)))
        else:
            found[cells.name] = values
    mark = _mark({habit for _, habit in habits}, separator)
    read: dict[str, list[str]] = {}
    for cells, habit in habits:
        meant = mark if habit == "either" else habit
        if meant == "ambiguous" and known.get(cells.name) == "any":
            meant = "decimals"
        with_commas = _with_commas(cells, meant) if meant in READ else None
        if with_commas is None:
            faults.append(_fault(cells, meant))
            continue
        found[cells.name] = with_commas
        read.setdefault(meant, []).append(cells.name)
    commas_read = {name for names in read.values() for name in names}
    open_ones = [cells for cells in columns if cells.name not in commas_read and known.get(cells.name) != "any"]
    pointed = _all_pointed(open_ones, found)
    if mark == "decimals":
        faults += pointed
    elif "decimals" in read or "points" in read:  # by themselves three digits are an ordinary precision
        notes += [_doubt(fault) for fault in pointed if fault.column not in known]
    for meant, names in read.items():
        notes.append(f"{READ[meant]} in {listed(names)}.")
    decimal = "." if any(own.decimals for own in found.values()) else ""
    if "decimals" in read or ("points" in read and separator != ","):
        decimal = ","
    return found, faults, decimal


def plain(columns: Sequence["polars.Series"]) -> list[Numbers | None]:
    """The numbers of columns of bare text, as they are written with a point; None for a column with another cell."""
    import polars

    cells = polars.DataFrame({str(j): column for j, column in enumerate(columns)})  # all at once: tables may be wide
    values = cells.select(polars.all().cast(polars.Float64, strict=False))
    others = zip(values.null_count().row(0), cells.null_count().row(0), strict=True)
    good = [str(j) for j, (unread, missing) in enumerate(others) if unread == missing]
    found: list[Numbers | None] = [None] * len(columns)
    if not good:
        return found
    cells = cells.select(good)
    powers = cells.select(polars.all().str.contains(r"[eEnN]").any()).row(0)  # of 1e-3 or inf
    digits = cells.select(polars.all().str.extract(r"\.(\d*)$").str.len_chars().max()).row(0)
    for name, power, behind in zip(good, powers, digits, strict=True):
        by_hand = not power and (behind or 0) <= MOST_DECIMALS
        decimals = (behind or 0) if by_hand else None
        found[int(name)] = Numbers(values[name].to_numpy(), decimals)
    return found


def _plain(cells: "polars.Series") -> Numbers | None:
    """The same of one column."""
    return plain([cells])[0]


def _first(truths: "polars.Series") -> int:
    """The row of the first that is true; 0 where none is."""
    return truths.arg_max() or 0


def _comma(cells: "polars.Series", separator: str) -> str:
    """What the commas of a column are: decimals, thousands, either, or none that explain it."""
    import polars

    odd = cells.filter(cells.cast(polars.Float64, strict=False).is_null() & cells.is_not_null())
    decimals = odd.str.contains(DECIMALS).all()
    thousands = odd.str.contains(THOUSANDS).all()
    if decimals and thousands:
        return "either"
    if decimals and separator == ",":
        return "decimal"  # nothing says so but these cells themselves
    if odd.str.contains(POINTED_THOUSANDS).all():
        return "points"
    if separator != "," and odd.str.contains(f"{DECIMALS}|{POINTED_THOUSANDS}").all():
        return "decimals"
    return "thousands" if thousands else "none"


def _must_be_whole(known: str | None, values: Numbers | None) -> bool:
    """Whether a column's numbers have to be whole, as stated or since those of its model are, and some have marks:
    "2.000" is 2000 whatever stands beside it."""
    return known in ("whole", "fitted whole") and (values is None or values.decimals != 0)


def _grouped(cells: "polars.Series") -> str:
    """What the commas or points of whole numbers are, thousands' of the one kind or the other; "" where they have none,
    or are no groups of three digits."""
    for sign, pattern, meant in ((",", THOUSANDS, "thousands"), (".", POINTED_THOUSANDS, "points")):
        signed = cells.filter(cells.str.contains(sign, literal=True))
        others = cells.filter(~cells.str.contains(sign, literal=True))
        if len(signed) and signed.str.contains(pattern).all() and others.str.contains(WHOLE).all():
            return meant
    return ""


def _groups_among(cells: "polars.Series") -> list[Fault]:
    """The first cell that would be a whole number with a mark of thousands, in a column where others are decimal."""
    for pattern, kind in ((THOUSANDS, "ambiguous"), (POINTED_THOUSANDS, "points")):
        like = cells.str.contains(pattern).fill_null(False)
        if like.any():
            row = _first(like)
            return [Fault(kind, cells.name, row, cells[row])]
    return []


def _mark(commas: set[str], separator: str) -> str:
    """What the commas of a table are, where a column does not say it by itself."""
    if separator == ",":
        return "ambiguous" if "decimal" in commas else "thousands"
    decimals = not commas.isdisjoint({"decimals", "points"})
    thousands = "thousands" in commas
    if decimals == thousands:
        return "ambiguous"
    return "decimals" if decimals else "thousands"


def _with_commas(cells: "polars.Series", meant: str) -> Numbers | None:
    """The numbers of a column whose commas are `decimals` or `thousands`; None where a cell is another."""
    if meant == "thousands":
        return _plain(cells.str.replace_all(",", ""))
    if cells.str.contains(rf"{DECIMALS}|{POINTED_THOUSANDS}|^[-+]?\d+([eE][-+]?\d+)?$").all():
        return _plain(cells.str.replace_all(".", "", literal=True).str.replace(",", "."))
    return None


def _all_pointed(columns: Sequence["polars.Series"], found: Mapping[str, Numbers]) -> list[Fault]:
    """The columns of which `_pointed` says something; only those of three digits behind the point are looked at."""
    thirds = [cells for cells in columns if cells.name in found and found[cells.name].decimals == 3]
    return [fault for fault in map(_pointed, thirds) if fault is not None]


def _pointed(cells: "polars.Series") -> Fault | None:
    """A column whose points may be thousands', since three digits follow each, and nothing but their number says so."""
    if cells.str.contains(",", literal=True).any():
        return None
    pointed = cells.str.contains(".", literal=True)
    if not pointed.any() or not cells.filter(pointed).str.contains(POINTED_THOUSANDS).all():
        return None
    if (cells.str.count_matches(".", literal=True) > 1).any():
        return None
    row = _first(pointed)
    return Fault("points", cells.name, row, cells[row])


def _doubt(fault: Fault) -> str:
    """A note about points that were taken for decimal, and may be thousands'."""
    other = fault.cell.replace(".", "")
    return (
        f"points of {listed([fault.column])} read as decimal, as in '{fault.cell}': where that is {other}, "
        f"{as_type(fault.column, 'integer')}."
    )


def _fault(cells: "polars.Series", habit: str) -> Fault:
    """The first cell that is no number."""
    import polars

    row = _first(cells.cast(polars.Float64, strict=False).is_null() & cells.is_not_null())
    kind = habit if habit in ("decimal", "ambiguous") else "text"
    return Fault(kind, cells.name, row, cells[row])


def refusal(table: str, where: str, faults: list[Fault], without: str) -> VaekitError:
    """One message about all faults of a table, in three lines: what they are, what mends them, how to do `without`.

    where    how rows are counted
    """
    kinds = [kind for kind in WHERE if any(fault.kind == kind for fault in faults)]
    fitted = without == NEEDED
    most = 3 if len(faults) <= COPIED else 2
    found = []
    for kind in kinds:
        of_kind = [str(fault) for fault in faults if fault.kind == kind]
        shown = ", ".join(of_kind[:most])
        if len(of_kind) > most:
            shown += f" and {len(of_kind) - most:,} more"
        found.append(f"{WHERE[kind]} {shown}")
    said = [_remedy(kind, faults, fitted) for kind in kinds if not (fitted and kind == "text")]
    advice = " ".join(filter(None, said))
    lines = [f"{table} ({where}): {'; '.join(found)}.", advice, without]
    return VaekitError("\n".join(filter(None, lines)))


def _remedy(kind: str, faults: list[Fault], fitted: bool) -> str:
    """What helps with faults of a kind, beside leaving their columns out.

    fitted    whether columns are what they were for a model, and nothing can be stated of them
    """
    of_kind = [fault for fault in faults if fault.kind == kind]
    if kind in CHOICES and not fitted:
        return _one_or_other(of_kind, CHOICES[kind])
    if kind != "text":
        return REMEDY.get(kind, "")
    of_text = of_kind
    if len(of_text) > COPIED:
        of_text = of_text[:1]
    first = of_text[0]
    text = f"Where the column is text: {as_type(first.column)}."
    if len(of_text) > 1:
        text = f"Where the columns are text: {' '.join(as_type(fault.column) for fault in of_text)}."
    cells = dict.fromkeys(cell for fault in of_text for cell in fault.cells or (fault.cell,) if len(cell) <= LONGEST)
    if not cells or len(cells) > COPIED:
        return text
    what = "such a cell has" if len(cells) == 1 else "such cells have"
    return f"Where {what} nothing to say: {' '.join(option('--missing', cell) for cell in cells)}. {text}"


def _one_or_other(faults: list[Fault], choices: Sequence[tuple[str, str]]) -> str:
    """What helps where cells may mean one thing or another: the options that say which."""
    shown = faults if len(faults) <= COPIED else faults[:1]
    said = []
    for meaning, kind in choices:
        options = " ".join(as_type(fault.column, kind.format(fault.written)) for fault in shown)
        said.append(f"Where {meaning}: {options}.")
    return " ".join(said)


def as_type(name: str, kind: str = "category") -> str:
    """The option that states what a column is."""
    return option("--columns", f"{name}={kind}")


def leave_out(names: list[str], rescue: str) -> str:
    """How to do without columns: the options to copy, or where they are many the command `rescue`, which writes the
    table without them."""
    if len(names) > COPIED:
        return f"To keep only columns of numbers: {rescue}"
    options = " ".join(option("--exclude", name) for name in names)
    one = "this column" if len(names) == 1 else "these columns"
    return f"To do without {one}: {options} (--keep leaves one beside the results, --label makes it the classes)."


def option(name: str, value: str) -> str:
    """An option with a value of any characters, as it is typed."""
    between = "=" if value.startswith("-") else " "
    return f"{name}{between}{quoted(value)}"


def quoted(name: str) -> str:
    """A column's name as an argument of a shell, always in quotes.

    >>> print(quoted("b c"), quoted(""), quoted("Ann's"))
    'b c' '' 'Ann'"'"'s'
    """
    if not name.isprintable():
        escaped = name.encode("unicode_escape").decode().replace("'", "\\'")
        return f"$'{escaped}'"
    text = shlex.quote(name)
    if text.startswith("'"):
        return text
    return f"'{text}'"
