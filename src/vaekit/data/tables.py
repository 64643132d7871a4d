"""Tables with named columns: .csv and .tsv, gzipped too, and .parquet."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.cells import NEEDED, NOTHING_LEFT, Fault, as_type, leave_out, option, quoted, refusal
from vaekit.data.columns import ColumnType
from vaekit.data.delimited import read_delimited
from vaekit.data.fields import Fields
from vaekit.data.typed import ALL_EMPTY, EMPTY, Reading, typed
from vaekit.data.unpacked import check_unpacked, most_unpacked
from vaekit.errors import VaekitError, listed, separated, unknown

if TYPE_CHECKING:
    import polars

UNNAMED = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")
"""names that pandas gives to an index, which has none of its own"""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are learned, and which only stay beside the rows."""

    exclude: tuple[str, ...] = ()
    """left out: each a name, or several with commas between them where no column has that name"""
    label: str | None = None
    keep: tuple[str, ...] = ()
    needed: tuple[str, ...] | None = None
    """exactly these are read, in this order, and others left out; None: all that are not set aside"""
    strict: bool = True
    """refuse names that are not there"""
    asked: tuple[str, ...] = ()
    """names among these that must be there all the same"""
    missing: tuple[str, ...] = ()
    """cells equal to one of these, as text or as numbers, are missing in every column"""
    declared: Mapping[str, str] = field(default_factory=dict)
    """what the user says that columns are: see `columns.parse_types`"""
    types: tuple[ColumnType, ...] | None = None
    """what the `needed` columns were when a model was fitted to them; None: found out"""
    unseen: str = "error"
    """what becomes of levels that the model was not fitted to: an "error", or they are "missing" cells"""
    whole: bool = False
    """keep the table as it came, with all its columns, beside what is read of it"""

    @property
    def refused_without_names(self) -> bool:
        """Whether this can only be meant for a table."""
        chosen = self.exclude or self.label or self.keep or self.missing or self.declared
        return bool(self.asked or (self.strict and chosen))

    def without(self, names: Sequence[str]) -> "Columns":
        """What is left to ask of a table from which columns of these names were left out already."""
        exclude = tuple(name for name in self.exclude if name not in names)
        asked = tuple(name for name in self.asked if name not in names)
        return replace(self, exclude=exclude, asked=asked)


def read_csv(path: Path, columns: Columns) -> Fields:
    """The fields of a Source from a file of text in UTF-8 with a header; see `read_delimited`."""
    file = read_delimited(path)
    options = "infer_schema_length=None"
    if file.separator != ",":
        options += f", separator={file.separator!r}"
    rescue = _rescue(f"read_csv({str(path)!r}, {options})", "csv")
    left = columns.without(file.left_out)
    fields = _fields(file.table, path.name, left, file.separator, list(file.notes), rescue)
    return {**fields, "spelled": file.spelled}


def _rescue(reading: str, ending: str) -> str:
    """A command that writes the columns of a table that hold numbers alone into another file."""
    keep = "t.select(c for c in t if c.dtype.is_numeric())"
    code = f"import polars as p; t = p.{reading}; {keep}.write_{ending}('numbers.{ending}')"
    escaped = re.sub(r'(["$`\\])', r"\\\1", code)  # as a shell reads within double quotes
    return f'python -c "{escaped}"'


def read_parquet(path: Path, columns: Columns) -> Fields:
    """The fields of a Source from a Parquet file; VaekitError for one that is damaged, or would fill the memory."""
    import polars

    if not _has_parquets_ends(path):  # what polars says of such files is not for people
        raise VaekitError(f"{path.name} is truncated or no Parquet file: it does not start and end with 'PAR1'.")
    _try_parquet(path)
    try:
        table = polars.read_parquet(path)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise VaekitError(f"{path.name} is no readable Parquet table: {_first_line(error)}.") from error
    rescue = _rescue(f"read_parquet({str(path)!r})", "parquet")
    return _fields(table, path.name, columns, ",", [], rescue)


def _has_parquets_ends(path: Path) -> bool:
    """Whether a file starts and ends with the format's four bytes."""
    if path.stat().st_size <= 8:
        return False
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-4, os.SEEK_END)
        return start == file.read(4) == b"PAR1"


TRIAL = """
import sys, polars
path, most = sys.argv[1:]
found = polars.scan_parquet(path)
cells = found.select(polars.len()).collect().item() * len(found.collect_schema())
print(cells, flush=True)
if cells <= int(most):
    polars.read_parquet(path)
"""


def _try_parquet(path: Path) -> None:
    """Read it in a process of its own first: a damaged Parquet file can end the process that reads it. One of few bytes
    and very many rows is refused unread: a column of one number packs to nothing."""
    packed = path.stat().st_size
    if not sys.executable:  # Python within another program: there is none to start
        return
    command = [sys.executable, "-c", TRIAL, str(path), str(most_unpacked(packed) // 8)]
    here = ("", os.getcwd())  # the working folder may be anybody's
    paths = os.pathsep.join(place for place in sys.path if place not in here)
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.stdout.strip().isdigit():
        check_unpacked(path.name, packed, 8 * int(done.stdout))
    if done.returncode:
        said = done.stderr.strip()
        if done.returncode != 1 or not said:
            said = f"its reader does not survive it, or has not the memory ({done.returncode})"
        reason = re.sub(r"^\S*(Error|Exception): ", "", said.splitlines()[-1])[:200].rstrip(".")
        raise VaekitError(f"{path.name} is no readable Parquet table: {reason}.")


def _fields(
    table: "polars.DataFrame", file: str, columns: Columns, separator: str, notes: list[str], rescue: str
) -> Fields:
    """The fields of a Source: x (n, columns) float64, names, labels, and what stays beside the rows."""
    exclude = all_names(columns.exclude, table.columns)
    label = [columns.label] if columns.label is not None else []
    keep = all_names(columns.keep, table.columns)
    must_be_there = all_names(columns.asked, table.columns)
    if columns.strict:
        must_be_there = [*exclude, *label, *keep]
    for name in must_be_there:
        if name not in table.columns:
            raise unknown(f"column of {file}", name, table.columns)
    if not table.height:
        raise VaekitError(f"{file} has shape (0, {table.width}), a header and no rows below it: nothing to learn from.")
    aside = {*exclude, *label, *keep}
    if columns.needed is None:
        names = [name for name in table.columns if name not in aside]
        learned = _without_index(_only(table, names), notes)
    else:
        learned = _needed(table, file, columns.needed, exclude, aside, notes)
    if not learned.width:
        raise VaekitError(f"{file}: no columns are left to learn from.")

    def refused(faults: list[Fault]) -> VaekitError:
        if columns.needed is not None:
            without = NEEDED
        elif len(faults) == learned.width:
            without = NOTHING_LEFT
        else:
            without = leave_out([fault.column for fault in faults], rescue)
        return refusal(file, "rows counted from 0, below the header", faults, without)

    fields = read_columns(learned, file, columns, notes, refused, separator)
    if columns.needed is None:
        fields["notes"] += _counting(fields)
    return {
        **fields,
        "labels": next((table[name].to_numpy() for name in label if name in table.columns), None),
        "label_name": columns.label or "label",
        "beside": {name: table[name] for name in dict.fromkeys(keep) if name in table.columns},
        "separator": separator,
        "whole": table if columns.whole else None,
    }


def read_columns(
    learned: "polars.DataFrame",
    file: str,
    columns: Columns,
    notes: list[str],
    refused: Callable[[list[Fault]], VaekitError],
    separator: str = ",",
    *,
    keeps: bool = True,
) -> Fields:
    """The columns of a table as x (n, columns) float64, NaN where a cell is missing, with their names and types.

    refused    the error about columns that cannot be read
    keeps      whether columns can be kept beside the rows (--keep)

    Raises this one about all of them; and VaekitError where no column is worth learning.
    """
    fitted: dict[str, ColumnType] = {}
    if columns.types is not None:
        assert columns.needed is not None
        fitted = dict(zip(columns.needed, columns.types, strict=True))
    for name in columns.declared:
        if columns.needed is None and columns.strict and name not in learned.columns:
            raise unknown(f"column of {file}", name, learned.columns)
    choose = columns.needed is None
    reading = Reading(columns.missing, columns.declared, fitted, columns.unseen, separator, choose)
    found = typed(learned.get_columns(), reading)
    if found.faults:
        place = {name: j for j, name in enumerate(learned.columns)}
        raise refused(sorted(found.faults, key=lambda fault: place[fault.column]))
    names = [name for name in learned.columns if name not in found.left_out]
    left_out = _left_out(found.left_out, keeps)
    if not names:
        raise VaekitError(f"{file}: no columns are left to learn from. {' '.join(left_out)}")
    notes += [*found.notes, *left_out]
    return {
        "x": np.stack([found.values[name] for name in names], 1),
        "names": tuple(names),
        "types": tuple(found.types[name] for name in names),
        "decimal": found.decimal,
        "notes": tuple(notes),
    }


def _left_out(why: Mapping[str, str], keeps: bool) -> list[str]:
    """A sentence about each of the columns left out, for whatever reason; one about many that have the same."""
    said = [f"{listed([name])} left out: {reason}." for name, reason in why.items() if reason != EMPTY]
    naming = [name for name, reason in why.items() if reason != EMPTY]
    if len(naming) > 3:
        said = [f"{listed(naming)} left out: text of too many levels to learn, or that names the rows."]
    if naming:
        first = naming[0]
        said[-1] += f" {as_type(first)} learns it all the same"
        if keeps:
            said[-1] += f", {option('--keep', first)} writes it beside results"
        said[-1] += "."
    empty = [name for name, reason in why.items() if reason == EMPTY]
    if empty:
        said.append(f"{listed(empty)} left out: {EMPTY if len(empty) == 1 else ALL_EMPTY}.")
    return said


def all_names(options: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns that options name, in their order."""
    return [name for given in options for name in _names(given, columns)]


def _names(given: str, columns: Sequence[str]) -> list[str]:
    """The columns that an option names: one whose name this is, or those between its commas, in quotes or not."""
    if given in columns:
        return [given]
    return separated(given) or [given.strip()]


def _needed(
    table: "polars.DataFrame", file: str, needed: tuple[str, ...], exclude: list[str], aside: set[str], notes: list[str]
) -> "polars.DataFrame":
    """The columns that a model was fitted to, in its order, whatever else the table has."""
    has = set(table.columns)
    taken = [name for name in needed if name in exclude]
    if taken:
        raise VaekitError(
            f"{listed(taken)} cannot be excluded: the model was fitted to {file}'s columns of these names."
        )
    missing = [name for name in needed if name not in has]
    if missing:
        others = [name for name in table.columns if name not in needed and name not in aside]
        remedy = "Add them."
        if others:
            remedy = f"It has {listed(others)} instead: rename what is meant, or add them."
        raise VaekitError(
            f"{file} lacks {listed(missing, 6)}, {len(missing):,} of the {len(needed):,} columns needed. {remedy}"
        )
    known = {*needed, *aside}
    unknown_here = [name for name in table.columns if name not in known and not UNNAMED.fullmatch(name)]
    if unknown_here:
        notes.append(f"{listed(unknown_here)} left out: the model was fitted without.")
    return _only(table, needed)


def _only(table: "polars.DataFrame", names: Sequence[str]) -> "polars.DataFrame":
    """The columns of these very names: polars' own choice of columns reads '*' and '^…$' as patterns."""
    return type(table)({name: table[name] for name in names})


def _without_index(table: "polars.DataFrame", notes: list[str]) -> "polars.DataFrame":
    """The table without the columns that only number or name its rows, for which others left a trace in the name."""
    import polars

    left_out = []
    for name in table.columns:
        unnamed = UNNAMED.fullmatch(name) is not None
        if not unnamed and name.lower() != "index":
            continue
        identifies = name.startswith("__index")
        if table[name].dtype.is_numeric() or table[name].dtype == polars.String:
            values = table[name].cast(polars.Float64, strict=False)
            whole = bool((values == values.round()).fill_null(True).all())  # text is whole, as R's names of rows are
            different = table.height > 1 and table[name].n_unique() == table.height
            running = not values.null_count() and is_running(values.to_numpy())
            identifies = identifies or running or (unnamed and whole and different)
        if identifies:
            left_out.append(name)
        elif unnamed:
            notes.append(f"a column without a name is learned: leave it out with --exclude {quoted(name)}.")
    if not left_out or len(left_out) == table.width:
        return table
    notes.append(f"{listed(left_out)} left out: an index of the rows.")
    return _only(table, [name for name in table.columns if name not in left_out])


def is_running(values: np.ndarray) -> bool:
    """Whether numbers are 0, 1, 2 … or 1001, 1002 …, in order."""
    if values.dtype.kind != "f" or not len(values) or values[0] != np.round(values[0]):
        return False
    return bool((values == values[0] + np.arange(len(values))).all())


def _counting(fields: Fields) -> tuple[str, ...]:
    """A note on columns that count the rows and are learned, since their names say something else."""
    names = fields["names"] or ()
    columns = zip(names, fields["x"].T, strict=True)
    counting = [name for name, values in columns if len(values) > 9 and is_running(values)]
    if not counting or len(names) == 1:
        return ()
    remedy = option("--exclude", counting[0])
    return (f"{listed(counting)} counts the rows and is learned: leave it out with {remedy}.",)


def _first_line(error: BaseException) -> str:
    """What went wrong in a reader, without a full stop."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
