"""The columns of a table → numbers, and what each column is: one way for files and frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.cells import (
    COPIED,
    Fault,
    as_type,
    bare,
    numbers,
    option,
    plain,
    says_missing,
    spells_number,
    without,
)
from vaekit.data.columns import DATED, ColumnType, split_kind
from vaekit.data.dates import MIXED, Moments, as_written, carried_order, moments, other_order, typed_moments
from vaekit.data.levels import (
    TRUTHS,
    as_truths,
    codes_of,
    in_order,
    is_levelled,
    is_number,
    many,
    naming,
    truth_codes,
    words_of,
    written_levels,
)
from vaekit.data.units import several_units, unit_of, with_unit
from vaekit.errors import listed

if TYPE_CHECKING:
    import polars

FEW_ODD = 10
"""different cells that are no numbers, or no dates, among many that are: more make a column of text of it"""
FEW_LEVELS = 20
"""different cells of a column of levels some of which may be numbers, each three times on average"""
ORDINAL = frozenset({"", "st", "nd", "rd", "th"})
"""what follows numbers that say a place"""
EMPTY = "all its cells are empty"
TELLING = r"^(\d{1,2}\D)?(1[3-9]|[23]\d)\D"
"""a date in which a number above 12 says which is the day"""
ALL_EMPTY = "all their cells are empty"


@dataclass(frozen=True)
class Reading:
    """How the columns of a table are to be read."""

    missing: tuple[str, ...] = ()
    """cells equal to one of these, as text or as numbers, are missing"""
    declared: Mapping[str, str] = field(default_factory=dict)
    """what the user says of columns, as `columns.parse_types` gives it"""
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    """of the columns that a model was fitted to; what others are is found out"""
    unseen: str = "error"
    """levels that the model was not fitted to: an "error", or "missing" """
    separator: str = ","
    choose: bool = True
    """leave out columns from which nothing is to be learned: empty ones, and text that names the rows"""


@dataclass
class Found:
    """The numbers of each column that could be read, by its name; and the others."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    """(n,) float64, NaN where a cell is missing"""
    types: dict[str, ColumnType] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """why, by the columns' names"""
    notes: list[str] = field(default_factory=list)
    marks: dict[str, list[str]] = field(default_factory=dict)
    """columns by what was read as a missing cell in them"""
    decimal: str = ""
    """the mark in front of decimals, a comma or a point; "" where nothing says which"""
    units: dict[str, list[str]] = field(default_factory=dict)
    """columns by the unit with which their numbers are written"""
    without_unit: dict[str, list[str]] = field(default_factory=dict)
    """columns by the unit that their numbers had when a model was fitted, and have not here"""
    pending: list[tuple["polars.Series", ColumnType]] = field(default_factory=list)
    """bare text of numbers, whose commas the whole table explains"""

    def take(self, name: str, values: np.ndarray, kind: ColumnType) -> None:
        """Add a column."""
        self.values[name] = values
        self.types[name] = kind


def typed(columns: Sequence["polars.Series"], reading: Reading) -> Found:
    """What columns hold: see `columns.ColumnType`.

    Text is numbers where every cell is one, with whatever commas leave no doubt; truths (true and false, yes and no,
    in whatever case) and dates likewise; else its cells are levels, sorted. A few other cells among more than a few
    numbers or dates are faults: whether they are missing or levels is for the user to say.

    Missing are empty cells; among numbers and dates all of `cells.MISSING`; among levels `MISSING_TEXT`, and "-", "."
    or "?" where it is the only level without a letter or a digit.
    """
    found = Found()
    columns = [_without_asked(column, reading.missing) for column in columns]
    spelled = _plain_text(columns)
    for column in columns:
        if column.name in spelled and _expects_numbers(column.name, reading):
            cells = spelled[column.name]
            kind = reading.types.get(column.name, ColumnType())
            _miss_unit(column.name, kind, found)
            found.pending.append((cells, kind))
        elif column.name in reading.types:
            _as_fitted(column, reading.types[column.name], reading.unseen, found)
        elif column.name in reading.declared:
            _as_stated(column, reading.declared[column.name], found)
        else:
            _inferred(column, reading.choose, found)
    _settle(found, reading)
    for mark, names in found.marks.items():
        found.notes.append(f"'{mark}' read as a missing cell in {listed(names)}.")
    for unit, names in found.units.items():
        found.notes.append(f"numbers of {listed(names)} read without the '{unit}' that all of them have.")
    for unit, names in found.without_unit.items():
        found.notes.append(f"numbers of {listed(names)} have no '{unit}' here: they are taken to be in that unit.")
    return found


def _plain_text(columns: Sequence["polars.Series"]) -> dict[str, "polars.Series"]:
    """The columns of text all of whose cells are numbers or empty, without blanks around them: nearly all of a table
    of numbers are."""
    import polars

    texts = {
        str(j): column for j, column in enumerate(columns) if _is_text(column) and column.null_count() < len(column)
    }
    if not texts:
        return {}
    cells = polars.DataFrame(texts).select(polars.all().str.strip_chars())
    found = {}
    for (j, column), read in zip(texts.items(), plain(list(cells)), strict=True):
        if read is not None and np.isnan(read.values).sum() == column.null_count():
            found[column.name] = cells[j].alias(column.name)
    return found


def _expects_numbers(name: str, reading: Reading) -> bool:
    """Whether a column is one of numbers, where all its cells are."""
    if name in reading.types:
        kind = reading.types[name]
        return kind.written in ("number", "integer") and not kind.levels
    return name not in reading.declared


def _settle(found: Found, reading: Reading) -> None:
    """Read the columns of text that are numbers."""
    stated = {cells.name: _known_of(cells.name, kind, reading) for cells, kind in found.pending}
    stated = {name: known for name, known in stated.items() if known}
    columns = [cells for cells, _ in found.pending]
    read, faults, found.decimal = numbers(columns, reading.separator, found.notes, stated)
    faulty = {fault.column for fault in faults}
    found.faults += faults
    _note_codes([cells for cells in columns if cells.name not in faulty and not _is_known(cells.name, reading)], found)
    for cells, kind in found.pending:
        if cells.name in faulty:
            continue
        column = read[cells.name]
        values = _without_codes(column.values, reading.missing)
        if cells.name in reading.types:
            _take_fitted(cells.name, values, kind, found)
        else:
            kind = _of_numbers(values, column.decimals, kind)
            _take_numbers(cells, values, kind, found)


def _is_known(name: str, reading: Reading) -> bool:
    """Whether somebody has said what a column is, or a model was fitted to it."""
    return name in reading.types or name in reading.declared


def _note_codes(columns: Sequence["polars.Series"], found: Found) -> None:
    """Point out numbers with zeros in front, as codes have them: the zeros are lost."""
    for cells in columns:
        coded = cells.str.contains(r"^0\d").fill_null(False)
        if coded.any():
            first = cells.filter(coded)[0]
            found.notes.append(
                f"numbers of '{cells.name}' have zeros in front ('{first}'), which are lost: where they are codes, "
                f"{as_type(cells.name, 'category')}."
            )


def _known_of(name: str, kind: ColumnType, reading: Reading) -> str:
    """What is known of a column's numbers, as `cells.numbers` takes it; three digits behind a point, which might be
    thousands, are decimals where those of the model had three."""
    if name in reading.types:
        if kind.written == "integer":
            return "fitted whole"
        return "any" if kind.decimals == 3 else "fitted"
    if name not in reading.declared:
        return ""
    return "whole" if kind.kind in ("count", "integer") else "any"


def _without_codes(values: np.ndarray, missing: Sequence[str]) -> np.ndarray:
    """Numbers, NaN where the user says that cells are missing: "-999" is "-999,0" too, once commas are understood."""
    return np.where(np.isin(values, _numbers_in(missing)), np.nan, values)


def _numbers_in(missing: Sequence[str]) -> list[float]:
    """Which of the words for a missing cell are numbers."""
    return [float(text) for text in missing if is_number(text)]


def _of_numbers(values: np.ndarray, decimals: int | None, kind: ColumnType) -> ColumnType:
    """The type of numbers as they were written."""
    if decimals == 0 and _fit_integers(values):
        return replace(kind, written="integer", reason=kind.reason or "whole numbers")
    return replace(kind, written="number", decimals=decimals, reason=kind.reason or "numbers")


def _fit_integers(values: np.ndarray) -> bool:
    """Whether numbers can be given back as 64-bit integers."""
    return bool((np.abs(values[~np.isnan(values)]) < 2.0**63).all())


def _without_asked(column: "polars.Series", missing: Sequence[str]) -> "polars.Series":
    """The column, null where the user says that cells are missing."""
    import polars

    if not missing:
        return column
    values = _numbers_in(missing)
    equal = polars.repeat(False, len(column), eager=True)
    if column.dtype.is_numeric():
        equal = column.cast(polars.Float64).is_in(values)
    elif not column.dtype.is_nested() and column.dtype not in (polars.Object, polars.Binary):
        texts = column.cast(polars.String).str.strip_chars()
        equal = texts.is_in([text.strip() for text in missing])
        if _is_text(column):
            equal |= texts.cast(polars.Float64, strict=False).is_in(values)
    return without(column, equal)


def _is_text(column: "polars.Series") -> bool:
    import polars

    return column.dtype == polars.String


def _row(truths: "polars.Series | np.ndarray") -> int:
    """The first that is true."""
    return int(np.argmax(np.asarray(truths)))


# Columns as they come


def _inferred(column: "polars.Series", choose: bool, found: Found) -> None:
    """Take a column for what its cells say."""
    empty = column.null_count() == len(column)
    if _is_text(column):
        cells = bare(column)
        known = without(cells, says_missing(cells))
        empty = not known.count()
    elif column.dtype.is_float():
        empty = bool(np.isnan(_floats(column)).all())
    if empty and choose:
        found.left_out[column.name] = EMPTY
    elif empty:
        found.take(column.name, np.full(len(column), np.nan), ColumnType(reason="empty"))
    elif _is_text(column):
        _text(cells, known, choose, found)
    elif is_levelled(column):
        _levelled(column, choose, found)
    else:
        _of_type(column, ColumnType(), found)


def _text(cells: "polars.Series", known: "polars.Series", choose: bool, found: Found) -> None:
    """Take a column of text for numbers, truths, dates or levels.

    known    the cells, null where they would be missing among numbers
    """
    spelled = spells_number(known)
    if spelled.sum() == known.count():
        _mark(cells, known, found)
        found.pending.append((known, ColumnType()))
        return
    united = with_unit(known)
    if united is not None:
        _mark(cells, known, found)
        _take_united(known.name, *united, ColumnType(), found)
        return
    truths = as_truths(known)
    if truths is not None:
        _mark(cells, known, found)
        found.take(known.name, truth_codes(known), ColumnType("binary", truths, "text", reason="two words of truth"))
        return
    read = moments(known)
    if read is not None:
        readable = np.isfinite(read.values)
        fault = _fault_of_moments(known, read)
        if readable.sum() == known.count() or _few_odd(known, readable):
            _mark(cells, known, found)
            if fault is not None:
                found.faults.append(fault)
            else:
                _take_moments(known, read, ColumnType(), found)
            return
    numeric = spelled.fill_null(False)
    strange = known.is_not_null() & ~numeric
    odd = known.filter(strange)
    stray = not _handful(known) or not _handful(odd)
    if stray and _few_odd(known, numeric.to_numpy()):
        row = _row(strange)
        found.faults.append(Fault("text", known.name, row, known[row], cells=tuple(odd.unique(maintain_order=True))))
        return
    _note_units(known, found)
    words = words_of(cells)
    levels = in_order(words)
    reason = naming(words, levels) if choose else ""
    if reason:
        found.left_out[words.name] = reason
        return
    _mark(cells, words, found)
    beside = tuple(odd.unique(maintain_order=True))
    if 0 < len(beside) < known.n_unique() / 2:
        found.notes.append(
            f"{listed([words.name])} is taken for levels, numbers and {listed(beside)}: where those have nothing to "
            f"say, {' '.join(option('--missing', cell) for cell in beside[:COPIED])} makes it numbers."
        )
    kind = "binary" if len(levels) == 2 else "category"
    found.take(words.name, codes_of(words, levels), ColumnType(kind, levels, "text", reason=f"text of {many(levels)}"))


def _take_united(name: str, bare_numbers: "polars.Series", form: str, kind: ColumnType, found: Found) -> None:
    """Add a column of text whose cells are numbers with a unit."""
    found.units.setdefault(unit_of(form), []).append(name)
    found.pending.append((bare_numbers, replace(kind, format=form)))


def _note_units(known: "polars.Series", found: Found) -> None:
    """Note that cells of a column of text are numbers of several units; a handful of different ones are levels (3a, 3b;
    1 room, 2 rooms), and 1st, 2nd, 3rd are places."""
    if _handful(known):
        return
    units = several_units(known)
    if not units or ORDINAL.issuperset(units):
        return
    shown = [f"'{unit}' ({count:,})" if unit else f"none ({count:,})" for unit, count in units.items()]
    found.notes.append(
        f"{listed([known.name])} is taken for text, since its numbers have several units: {', '.join(shown)}. With "
        "all of its cells in one unit it would be a column of numbers."
    )


def _handful(known: "polars.Series") -> bool:
    """Whether a column has a handful of different cells, which are repeated."""
    different = known.n_unique() - known.has_nulls()
    return different <= FEW_LEVELS and known.count() >= 3 * different


def _few_odd(known: "polars.Series", readable: np.ndarray) -> bool:
    """Whether cells that cannot be read are a few different ones among as many or more that can."""
    there = known.is_not_null().to_numpy()
    if 2 * readable.sum() < there.sum():
        return False
    return known.filter(there & ~readable).n_unique() <= FEW_ODD


def _fault_of_moments(known: "polars.Series", read: Moments) -> Fault | None:
    """What keeps a column from being dates and times."""
    odd = known.is_not_null().to_numpy() & ~np.isfinite(read.values)
    if odd.any():
        row = _row(odd)
        cell = known[row]
        dated = known.filter(odd).str.contains(rf"{MIXED}|^\d+:\d").any()
        others = tuple(known.filter(odd).unique(maintain_order=True))
        return Fault("date" if dated else "text", known.name, row, cell, cells=others)
    row = _row(known.is_not_null())
    if read.order == "unclear":
        return Fault("day", known.name, row, known[row], written=read.written)
    if read.zoned:
        return Fault("zones", known.name, row, known[row])
    return None


def _take_moments(column: "polars.Series", read: Moments, kind: ColumnType, found: Found) -> None:
    """Add a column of dates, times or durations; seconds that are whole in all cells are given back so."""
    values = read.values
    there = values[~np.isnan(values)]
    whole = read.written != "date" and bool((there == there.round()).all())
    reason = f"{read.written}s"
    if read.order:
        reason += f", {read.order} first"
        telling = column.filter(column.str.contains(TELLING))
        shown = telling[0] if len(telling) else column.drop_nulls()[0]
        found.notes.append(f"dates of {listed([column.name])} read with the {read.order} first, as in '{shown}'.")
    kind = replace(
        kind,
        written=read.written,
        decimals=0 if whole else None,
        format=read.format,
        reason=kind.reason or reason,
    )
    found.take(column.name, values, kind)


def _mark(cells: "polars.Series", known: "polars.Series", found: Found) -> None:
    """Take note of what is written in cells that are missing."""
    for mark in cells.filter(cells.is_not_null() & known.is_null()).unique().sort():
        if mark:
            found.marks.setdefault(mark, []).append(cells.name)


def _levelled(column: "polars.Series", choose: bool, found: Found) -> None:
    """Take a column whose own type has levels: ordered ones where that type says so."""
    import polars

    words = column.cast(polars.String)
    if isinstance(column.dtype, polars.Enum):
        levels = tuple(column.dtype.categories)
        kind = "ordinal"
    else:
        levels = in_order(words)
        kind = "category"
    reason = naming(words, levels) if choose and kind == "category" else ""
    if reason:
        found.left_out[column.name] = reason
        return
    if len(levels) == 2:
        kind = "binary"
    own = ColumnType(kind, levels, written_levels(column, levels), reason=f"of a type with {many(levels)}")
    found.take(column.name, codes_of(words, levels), own)


def _of_type(column: "polars.Series", kind: ColumnType, found: Found) -> None:
    """Take a column that has a type of its own, which is none of text or levels."""
    import polars

    dtype = column.dtype
    if dtype.is_temporal():
        _take_moments(column, typed_moments(column), kind, found)
    elif dtype == polars.Boolean:
        own = "binary" if kind.kind == "auto" else kind.kind
        kind = replace(kind, kind=own, written="boolean", reason=kind.reason or "true or false")
        found.take(column.name, _floats(column), kind)
    elif dtype.is_integer():
        kind = replace(kind, written="integer", reason=kind.reason or "whole numbers")
        _take_numbers(column, _floats(column), kind, found)
    elif dtype.is_numeric() or dtype == polars.Null:
        values = _floats(column)
        digits = dtype.scale if isinstance(dtype, polars.Decimal) else _digits(values)
        kind = replace(kind, written="number", decimals=digits, reason=kind.reason or "numbers")
        _take_numbers(column, values, kind, found)
    else:
        row = _row(column.is_not_null())
        found.faults.append(Fault("type", column.name, row, f"of type {dtype}"))


MOST_DIGITS = 4
"""behind the point, of numbers that are not text"""


LARGEST_ROUNDED = 1e9
"""beyond, four digits behind the point are near what 64 bits hold"""


def _digits(values: np.ndarray) -> int | None:
    """The fewest digits behind the point, at most four, with which numbers are themselves; None where there are more.

    >>> _digits(np.array([1.5, 2.25, np.nan])), _digits(np.array([1 / 3]))
    (2, None)
    """
    known = values[np.isfinite(values)]
    if not len(known) or np.abs(known).max() > LARGEST_ROUNDED:
        return None
    for digits in range(1, MOST_DIGITS + 1):
        if np.array_equal(np.round(known, digits), known):
            return digits
    return None


def _floats(column: "polars.Series") -> np.ndarray:
    """Numbers as float64, NaN where there is none."""
    import polars

    values = column.cast(polars.Float64).to_numpy()
    with np.errstate(invalid="ignore"):  # some NaN of a damaged file is one that signals
        return np.where(np.isnan(values), np.nan, values)


# Columns of which the user says what they are


def _as_stated(column: "polars.Series", stated: str, found: Found) -> None:
    """Take a column for what the user says."""
    kind, levels = split_kind(stated)
    if kind in DATED:
        _as_dates(column, kind, levels, found)
        return
    own = ColumnType(kind, reason="as stated")
    if kind in ("category", "ordinal"):
        _as_levels(column, kind, levels, found)
    elif is_levelled(column) or (_is_text(column) and kind == "binary"):
        words = _as_words(column)
        truths = as_truths(words)
        if truths is not None:
            found.take(
                column.name, truth_codes(words), replace(own, levels=truths, written=written_levels(column, truths))
            )
        elif kind == "binary" and set(in_order(words)) != {"0", "1"}:
            _as_levels(column, kind, (), found)
        elif _is_text(column):
            found.pending.append((words, own))
        else:
            row = _row(words.is_not_null())
            found.faults.append(Fault("kind", column.name, row, words[row], f"'{words[row]}' is no number"))
    elif not _is_text(column):
        _of_type(column, own, found)
    else:
        cells = bare(column)
        known = without(cells, says_missing(cells))
        read = None
        united = None
        if spells_number(known).sum() < known.count():
            united = with_unit(known)
            read = moments(known)
        if united is not None:
            _take_united(column.name, *united, own, found)
        elif read is not None and _fault_of_moments(known, read) is None:
            _take_moments(known, read, own, found)
        else:
            found.pending.append((known, own))


def _as_dates(column: "polars.Series", written: str, orders: Sequence[str], found: Found) -> None:
    """Take a column for dates, with the day or the month first where that is stated.

    written    "date", or "datetime": with a time of day
    """
    own = ColumnType(written=written, reason="as stated")
    order = orders[0].removesuffix("-first") if orders else ""
    known, read, fault = _read_moments(column, order, found)
    if not known.count():
        found.take(column.name, np.full(len(column), np.nan), own)
        return
    row = _row(known.is_not_null())
    if fault is not None:
        found.faults.append(fault)
    elif read is None:
        found.faults.append(Fault("kind", column.name, row, "", f"'{known[row]}' is no {written}"))
    elif read.written != written:
        found.faults.append(Fault("kind", column.name, row, "", f"'{known[row]}' is a {read.written}"))
    elif order and read.order != order:
        found.faults.append(Fault("kind", column.name, row, "", f"'{known[row]}' has the year first"))
    else:
        _take_moments(known, replace(read, order="" if order else read.order), own, found)


def _read_moments(
    column: "polars.Series", order: str, found: Found
) -> tuple["polars.Series", Moments | None, Fault | None]:
    """The cells of a column of dates or times, null where they are missing; what they mean, None where they are no such
    thing; and what is wrong with them.

    order    see `dates.moments`
    """
    if column.dtype.is_temporal():
        return column, typed_moments(column), None
    if not _is_text(column):
        return column, None, None
    cells = bare(column)
    known = without(cells, says_missing(cells))
    _mark(cells, known, found)
    read = moments(known, order)
    if read is None:
        return known, None, None
    other = other_order(known, order)
    if other is None:
        return known, read, _fault_of_moments(known, read)
    row, first = other
    return known, read, Fault("order", column.name, row, "", f"'{known[row]}' has the {first} first")


def _as_words(column: "polars.Series") -> "polars.Series":
    """The cells of any column as text, whole numbers without a point; null where they are missing."""
    import polars

    if _is_text(column):
        return words_of(bare(column))
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if _fit_integers(_floats(column)) and (column == column.round()).all():
            column = column.cast(polars.Int64)
    return column.cast(polars.String)


def _as_levels(column: "polars.Series", kind: str, levels: tuple[str, ...], found: Found) -> None:
    """Take a column for one of levels, these where they are given."""
    words = _as_words(column)
    own = in_order(words)
    name = column.name
    numeric = all(map(is_number, own))
    ordered = written_levels(column, own) == "enum"
    if not levels and kind == "ordinal" and ordered:
        _levelled(column, False, found)
        found.types[name] = replace(found.types[name], kind=kind, reason="as stated")
        return
    if not levels and kind == "ordinal" and not numeric:
        more = f"its levels are text, whose order is yours to say. By the alphabet it is {_stating(name, own)}"
        found.faults.append(
            Fault("kind", name, _row(words.is_not_null()), "", f"{more}: put them in theirs, lowest first")
        )
        return
    if not levels and kind == "ordinal":
        found.notes.append(
            f"levels of {listed([name])} ordered as the numbers they are, {_order_of(own)}: for another order, "
            f"{_stating(name, own[::-1])}."
        )
    if kind == "binary" and len(own) > 2:
        found.faults.append(Fault("kind", name, 0, "", f"{len(own):,} levels, {listed(own)}, are not two"))
        return
    codes = codes_of(words, levels or own)
    without_level = np.isnan(codes) & words.is_not_null().to_numpy()
    if without_level.any():
        row = _row(without_level)
        found.faults.append(Fault("level", name, row, words[row]))
        return
    absent = [level for code, level in enumerate(levels) if not (codes == code).any()]
    if absent:
        more = f"no cell is {listed(absent)}; they are {listed(own, 6)}"
        found.faults.append(Fault("kind", name, 0, "", more))
        return
    if _is_text(column):
        _mark(bare(column), words, found)
    written = written_levels(column, levels or own)
    found.take(name, codes, ColumnType(kind, levels or own, written, reason="as stated"))


MOST_STATED = 12
"""levels whose order a message shows whole"""


def _order_of(levels: Sequence[str]) -> str:
    """Levels in their order, of many the first and the last."""
    if len(levels) <= MOST_STATED:
        return "<".join(levels)
    return f"{'<'.join(levels[:3])}<…<{levels[-1]}"


def _stating(name: str, levels: Sequence[str]) -> str:
    """The option that states an order of levels."""
    return as_type(name, f"ordinal:{_order_of(levels)}")


def _take_numbers(column: "polars.Series", values: np.ndarray, kind: ColumnType, found: Found) -> None:
    """Add a column of numbers, unless they are not of the kind that was stated."""
    possible = {
        "count": (values >= 0) & (values == np.round(values)),
        "integer": values == np.round(values),
        "positive": values > 0,
        "binary": (values == 0) | (values == 1),
    }
    if kind.kind not in possible:
        found.take(column.name, values, kind)
        return
    wrong = ~possible[kind.kind] & ~np.isnan(values)
    if not wrong.any():
        found.take(column.name, values, kind)
    elif kind.kind == "binary":
        _as_levels(column, "binary", (), found)
    else:
        row = _row(wrong)
        article = "of no" if kind.kind == "positive" else "no"
        found.faults.append(Fault("kind", column.name, row, "", f"{values[row]:g} is {article} {kind.kind} number"))


# Columns as a model was fitted to them


def _as_fitted(column: "polars.Series", kind: ColumnType, unseen: str, found: Found) -> None:
    """Take a column for what it was when a model was fitted."""
    import polars

    name = column.name
    if kind.levels:
        _as_fitted_levels(column, kind, unseen, found)
    elif column.null_count() == len(column):
        found.take(name, np.full(len(column), np.nan), kind)
    elif kind.written in ("date", "datetime", "time", "duration"):
        _as_fitted_moments(column, kind, found)
    elif column.dtype == polars.Boolean or column.dtype.is_numeric():
        _miss_unit(name, kind, found)
        _take_fitted(name, _floats(column), kind, found)
    elif _is_text(column):
        cells = bare(column)
        known = without(cells, says_missing(cells))
        _mark(cells, known, found)
        codes = truth_codes(known)
        if kind.written == "boolean" and np.isfinite(codes).sum() == known.count():
            found.take(name, codes, kind)
        else:
            found.pending.append((_without_unit(known, kind, found), kind))
    else:
        row = _row(column.is_not_null())
        found.faults.append(Fault("type", name, row, f"of type {column.dtype}"))


def _without_unit(known: "polars.Series", kind: ColumnType, found: Found) -> "polars.Series":
    """Cells of text without the unit that the numbers of a column have, where they have it too."""
    if not kind.format:
        return known
    united = with_unit(known, least=1)
    if united is None:
        _miss_unit(known.name, kind, found)
        return known
    bare_numbers, form = united
    return bare_numbers if unit_of(form) == unit_of(kind.format) else known


def _miss_unit(name: str, kind: ColumnType, found: Found) -> None:
    """Note that numbers of a column are without the unit that they had when a model was fitted, if they had one."""
    if kind.format and kind.written in ("number", "integer"):
        found.without_unit.setdefault(unit_of(kind.format), []).append(name)


def _take_fitted(name: str, values: np.ndarray, kind: ColumnType, found: Found) -> None:
    """Add a column of numbers that is one of truths, too, where the model was fitted to such."""
    wrong = ~np.isin(values, (0, 1)) & ~np.isnan(values)
    if kind.written == "boolean" and wrong.any():
        row = _row(wrong)
        found.faults.append(Fault("kind", name, row, "", f"{values[row]:g} is neither true nor false"))
    else:
        found.take(name, values, kind)


def _as_fitted_levels(column: "polars.Series", kind: ColumnType, unseen: str, found: Found) -> None:
    """The codes of a column's cells, whatever may be written for missing ones where that is no level."""
    import polars

    name = column.name
    if column.dtype.is_nested() or column.dtype in (polars.Object, polars.Binary):
        found.faults.append(Fault("type", name, _row(column.is_not_null()), f"of type {column.dtype}"))
        return
    words = bare(column) if _is_text(column) else _as_words(column)
    codes = codes_of(words, kind.levels)
    if tuple(level.lower() for level in kind.levels) in TRUTHS:
        codes = np.where(np.isnan(codes), truth_codes(words), codes)
    absent = words.is_null() | says_missing(words)
    odd = np.isnan(codes) & ~absent.to_numpy()
    if not odd.any():
        found.take(name, codes, kind)
        return
    counts = words.filter(odd).value_counts(sort=True, name="cells").sort(["cells", name], descending=[True, False])
    shown = [f"'{level}' ({count:,})" for level, count in counts.head(5).iter_rows()]
    if len(counts) > 5:
        shown.append(f"and {len(counts) - 5:,} more")
    if unseen == "missing":
        found.notes.append(f"levels that fitting never saw read as missing in {listed([name])}: {', '.join(shown)}.")
        found.take(name, codes, kind)
        return
    found.faults.append(Fault("unseen", name, _row(odd), "", ", ".join(shown)))


def _as_fitted_moments(column: "polars.Series", kind: ColumnType, found: Found) -> None:
    """Dates and times in the units of the model."""
    name = column.name
    order = ""
    if _is_text(column):
        order = carried_order(kind.format, bare(column))
    known, read, fault = _read_moments(column, order, found)
    if not known.count():
        found.take(name, np.full(len(column), np.nan), kind)
        return
    if fault is not None:
        found.faults.append(fault)
        return
    values = None if read is None else as_written(read, kind.written)
    if values is None:
        row = _row(known.is_not_null())
        found.faults.append(Fault("kind", name, row, "", f"'{known[row]}' is no {kind.written}"))
        return
    form = read.format if read is not None and read.written == kind.written else ""
    found.take(name, values, replace(kind, format=form or kind.format))
