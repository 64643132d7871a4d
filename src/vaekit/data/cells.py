"""The columns of a table → numbers, or one message about every cell that is none."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaekit.errors import LONGEST, VaekitError, listed

if TYPE_CHECKING:
    import polars

TRUTHS = {"true": 1.0, "false": 0.0}, {"yes": 1.0, "no": 0.0}
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "?", "-", ".")
"""what people write, in whatever case, where there is nothing to write"""
THOUSANDS = r"^[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
DECIMALS = r"^[-+]?(([1-9]\d{0,2}(\.\d{3})+|\d*),\d+|\d+,)([eE][-+]?\d+)?$"
POINTED_THOUSANDS = r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$"
DATE = r"^\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})\b"
NOTHING_LEFT = "These are all the columns there are: make numbers of some first."
"""where a table without the columns concerned would have none"""
NEEDED = "The model was fitted to these columns: it needs numbers in all of them."
"""where it is too late to do without them"""
COPIED = 12
"""columns that a message offers to leave out, each by its name"""
WHERE = {
    "empty": "empty cells in", "text": "text in", "date": "dates in", "type": "no numbers in",
    "decimal": "decimal commas in", "ambiguous": "commas of two meanings in", "points": "points of two meanings in",
}  # fmt: skip
REMEDY = {
    "empty": "Fill empty cells, or drop their rows.",
    "decimal": "Write decimals with a point.",
    "ambiguous": "Write such numbers without the comma, or decimals with a point.",
    "points": "Write such numbers without the point, or decimals with a comma.",
}
"""kinds of faults, as a message names them, and what helps beside leaving the column out"""
READ = {
    "decimals": "decimal commas read ('0,5' as 0.5)",
    "thousands": "commas of thousands read ('1,000' as 1000)",
    "points": "points of thousands read ('1.000.000' as 1000000)",
}
"""what the commas and points of a column can be, with the note it leaves"""


@dataclass(frozen=True)
class Fault:
    """The first cell of a column that is no number."""

    kind: str
    column: str
    row: int
    cell: str

    def __str__(self) -> str:
        cell = self.cell[:LONGEST] + "…" * (len(self.cell) > LONGEST)
        if self.kind == "type":
            shown = f": {cell}"
        elif cell.strip():
            shown = f": '{cell}'"
        else:
            shown = ""
        return f"{listed([self.column])} (row {self.row}{shown})"


def numbers(
    columns: Sequence["polars.Series"], separator: str, notes: list[str]
) -> tuple[dict[str, np.ndarray], list[Fault]]:
    """Each column as float64 by its name, and the columns that cannot be: text that spells numbers is read, true and
    false (yes and no) are 1 and 0, and commas are decimal or thousands' where the table leaves no doubt which.

    separator    of the file; one of commas writes its decimals with points
    notes        what was read otherwise than it is written is added to them
    """
    found: dict[str, np.ndarray] = {}
    faults: list[Fault] = []
    habits: list[tuple[polars.Series, str]] = []
    for column in columns:
        plain = _plain(column)
        if isinstance(plain, Fault):
            faults.append(plain)
        elif isinstance(plain, np.ndarray):
            found[column.name] = plain
        else:
            habits.append((plain, _comma(plain, separator)))
    mark = _mark({habit for _, habit in habits}, separator)
    read: dict[str, list[str]] = {}
    for cells, habit in habits:
        meant = mark if habit == "either" else habit
        values = _with_commas(cells, meant) if meant in READ else None
        if values is None:
            faults.append(_fault(cells, meant))
            continue
        found[cells.name] = values
        read.setdefault(meant, []).append(cells.name)
    if mark == "decimals":
        faults += [fault for fault in map(_pointed, columns) if fault and fault.column in found]
    for meant, names in read.items():
        notes.append(f"{READ[meant]} in {listed(names)}.")
    truths = [c.name for c in columns if c.name in found and _is_text(c) and _truth(c) is not None]
    if truths:
        notes.append(f"true and false (or yes and no) read as 1 and 0 in {listed(truths)}.")
    return found, faults


def _is_text(column: "polars.Series") -> bool:
    import polars

    return column.dtype == polars.String


def _plain(column: "polars.Series") -> "np.ndarray | Fault | polars.Series":
    """The numbers of a column; what is wrong with it; or its cells, without blanks, where commas may explain them."""
    import polars

    if not _is_text(column):
        return _typed(column)
    cells = column.str.strip_chars()
    values = cells.cast(polars.Float64, strict=False)
    if not values.null_count():
        return _finite(values, column)
    if cells.str.starts_with('"').any():  # quotes that follow a blank are not the table's
        cells = cells.str.replace(r'^"(.*)"$', "$1").str.strip_chars()
        values = cells.cast(polars.Float64, strict=False)
        if not values.null_count():
            return _finite(values, column)
    truth = _truth(cells)
    if truth is None:
        return cells
    return truth


def _first(truths: "polars.Series") -> int:
    """The row of the first that is true; 0 where none is."""
    return truths.arg_max() or 0


def _typed(column: "polars.Series") -> np.ndarray | Fault:
    """The numbers of a column that has a type of its own, or what is wrong with it."""
    import polars

    if not (column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null)):
        kind = "date" if column.dtype.is_temporal() else "type"
        return Fault(kind, column.name, _first(column.is_not_null()), f"of type {column.dtype}")
    values = column.cast(polars.Float64)
    if values.null_count():
        return Fault("empty", column.name, _first(values.is_null()), "")
    return _finite(values, column)


def _finite(values: "polars.Series", column: "polars.Series") -> np.ndarray | Fault:
    """The values of a column as an array, unless one is NaN."""
    numbers = values.to_numpy()
    missing = np.isnan(numbers)
    if missing.any():
        row = int(missing.argmax())
        return Fault("empty", column.name, row, str(column[row]).strip())
    return numbers


def _truth(cells: "polars.Series") -> np.ndarray | None:
    """1 and 0 for a column of true and false, or yes and no, in whatever case."""
    import polars

    if not len(cells) or cells[0] is None:
        return None
    first = cells[0].strip().lower()
    if not any(first in truths for truths in TRUTHS):
        return None
    lower = cells.str.strip_chars().str.to_lowercase()
    for truths in TRUTHS:
        values = lower.replace_strict(truths, default=None, return_dtype=polars.Float64)
        if not values.null_count():
            return values.to_numpy()
    return None


def _comma(cells: "polars.Series", separator: str) -> str:
    """What the commas of a column are: decimals, thousands, either, or none that explain it."""
    import polars

    odd = cells.filter(cells.cast(polars.Float64, strict=False).is_null())
    if odd.null_count():
        return "none"
    decimals = odd.str.contains(DECIMALS).all()
    thousands = odd.str.contains(THOUSANDS).all()
    if decimals and thousands:
        return "either"
    if decimals and separator == ",":
        return "decimal"  # nothing says so but these cells themselves
    if separator != ",":
        if odd.str.contains(POINTED_THOUSANDS).all():
            return "points"
        if odd.str.contains(f"{DECIMALS}|{POINTED_THOUSANDS}").all():
            return "decimals"
    return "thousands" if thousands else "none"


def _mark(commas: set[str], separator: str) -> str:
    """What the commas of a table are, where a column does not say it by itself."""
    if separator == ",":
        return "ambiguous" if "decimal" in commas else "thousands"
    decimals = not commas.isdisjoint({"decimals", "points"})
    thousands = "thousands" in commas
    if decimals == thousands:
        return "ambiguous"
    return "decimals" if decimals else "thousands"


def _with_commas(cells: "polars.Series", meant: str) -> np.ndarray | None:
    """The numbers of a column whose commas are `decimals` or `thousands`; None where a cell is another."""
    import polars

    if meant == "thousands":
        plain = cells.str.replace_all(",", "")
    elif cells.str.contains(rf"{DECIMALS}|{POINTED_THOUSANDS}|^[-+]?\d+([eE][-+]?\d+)?$").all():
        plain = cells.str.replace_all(".", "", literal=True).str.replace(",", ".")
    else:
        return None
    values = plain.cast(polars.Float64, strict=False)
    if values.null_count():
        return None
    return values.to_numpy()


def _pointed(column: "polars.Series") -> Fault | None:
    """In a table of decimal commas: a column whose points may be thousands', since three digits follow each."""
    if not _is_text(column) or column.str.contains(",", literal=True).any():
        return None
    cells = column.str.strip_chars()
    pointed = cells.str.contains(".", literal=True)
    if not pointed.any() or not cells.filter(pointed).str.contains(POINTED_THOUSANDS).all():
        return None
    if (cells.str.count_matches(".", literal=True) > 1).any():
        return None
    row = _first(pointed)
    return Fault("points", column.name, row, cells[row])


def _fault(cells: "polars.Series", habit: str) -> Fault:
    """What the first cell that is no number tells of its column."""
    import polars

    odd = cells.cast(polars.Float64, strict=False).is_null()
    wrong = cells.filter(odd).fill_null("")
    missing = wrong.str.to_lowercase().is_in(MISSING)
    if missing.all():
        row = _first(odd)
        return Fault("empty", cells.name, row, cells[row] or "")
    first = _first(~missing)
    if habit in ("decimal", "ambiguous"):
        kind = habit
    elif wrong.filter(~missing).str.contains(DATE).all():
        kind = "date"
    else:
        kind = "text"
    return Fault(kind, cells.name, int(odd.arg_true()[first]), wrong[first])


def refusal(table: str, where: str, faults: list[Fault], without: str) -> VaekitError:
    """One message about all faults of a table, in three lines: what they are, what mends them, how to do `without`.

    where    how rows are counted
    """
    kinds = [kind for kind in WHERE if any(fault.kind == kind for fault in faults)]
    most = 3 if len(faults) <= COPIED else 2
    found = []
    for kind in kinds:
        of_kind = [str(fault) for fault in faults if fault.kind == kind]
        shown = ", ".join(of_kind[:most])
        if len(of_kind) > most:
            shown += f" and {len(of_kind) - most:,} more"
        found.append(f"{WHERE[kind]} {shown}")
    advice = " ".join(REMEDY[kind] for kind in kinds if kind in REMEDY)
    lines = [f"{table} ({where}): {'; '.join(found)}.", advice, without]
    return VaekitError("\n".join(filter(None, lines)))


def leave_out(names: list[str], identifiers: Collection[str], rescue: str) -> str:
    """How to do without columns: the options to copy, or where they are many the command `rescue`, which writes the
    table without them.

    identifiers    those of them that name the rows, and are worth keeping beside the results
    """
    if len(names) > COPIED:
        return f"To keep only columns of numbers: {rescue}"
    options = " ".join(_option("--keep" if name in identifiers else "--exclude", name) for name in names)
    one = "this column" if len(names) == 1 else "these columns"
    return f"To do without {one}: {options} (--keep leaves one beside the results, --label makes it the classes)."


def identifies(column: "polars.Series") -> bool:
    """Whether a column of text names its rows: no cell is a number, and no two are the same.

    >>> import polars
    >>> identifies(polars.Series(["P-1", "P-2"])), identifies(polars.Series(["a", "a"]))
    (True, False)
    """
    import polars

    if not _is_text(column) or len(column) < 2 or column.n_unique() < len(column):
        return False
    return column.cast(polars.Float64, strict=False).null_count() == len(column)


def _option(option: str, name: str) -> str:
    """An option of a column's name, as it is typed."""
    between = "=" if name.startswith("-") else " "
    return f"{option}{between}{quoted(name)}"


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
