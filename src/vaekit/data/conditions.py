"""Conditions that are told: levels and numbers typed for one, labels as a column, rows of conditions to sample by."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from vaekit.data.cells import Fault, refusal
from vaekit.data.columns import ColumnType
from vaekit.data.fields import Fields
from vaekit.data.schema import Schema
from vaekit.data.typed import Reading, typed
from vaekit.data.written import cells_as_text
from vaekit.errors import VaekitError, listed, unknown
from vaekit.noise import derive_seed

SHOWN = 12
"""levels in a message"""


def label_column(
    labels: np.ndarray | None, name: str, file: str, kind: ColumnType | None = None, unseen: str = "error"
) -> Fields:
    """Labels (n,) as a column of levels: the fields of a source.

    kind, unseen    what they were when a model was fitted to them, and what becomes of levels that it never saw
    """
    import polars

    assert labels is not None
    fitted = {} if kind is None else {name: kind}
    reading = Reading(declared={name: "category"}, types=fitted, unseen=unseen, choose=False)
    found = typed([polars.Series(name, labels.tolist())], reading)
    if found.faults:
        raise refusal(file, "rows counted from 0", found.faults, "")
    return {"x": found.values[name][:, None], "names": (name,), "types": (found.types[name],)}


def parsed(options: Sequence[str], schema: Schema) -> dict[str, str]:
    """What was typed for conditions, NAME=VALUE,…, as {name: value}: a value may have commas in it.

    Raises VaekitError for what is none of this, and for names of no condition.
    """
    names = schema.given
    _check_some(schema)
    found: dict[str, str] = {}
    starts = "|".join(re.escape(name) for name in names)
    for option in options:
        for one in re.split(rf",(?=\s*(?:{starts})\s*=)", option):
            name, equals, value = one.partition("=")
            if not equals:
                raise VaekitError(f"--given is '{option}': give NAME=VALUE,…, as {names[0]}=…, or leave it out.")
            known = _known(name.strip(), names)
            if known in found:
                raise VaekitError(f"{known} is given twice, '{found[known]}' and '{value.strip()}': give one of them.")
            found[known] = value.strip()
    return found


def _check_some(schema: Schema) -> None:
    """Refuse values of conditions for a model that has none."""
    if schema.conditions is None:
        raise VaekitError("this model was fitted without conditions, and none can be given: fit with --condition.")


def _known(name: object, names: Sequence[str]) -> str:
    """The name of a condition; VaekitError where there is none of it."""
    if str(name) not in names:
        raise unknown("condition", name, names)
    return str(name)


def given_cells(given: Mapping[str, object], schema: Schema) -> dict[int, float]:
    """The cells that values of conditions are, {column: number}; NaN where a value says that it is unknown.

    given     value by name, as a table has it: a level, a number, a date; as text or not
    schema    whose `conditions` they are

    Raises VaekitError for names of no condition, and for values that no such cell has, naming the levels known.
    """
    _check_some(schema)
    conditions = schema.conditions
    assert conditions is not None
    found: dict[int, float] = {}
    for name, value in given.items():
        j = schema.given.index(_known(name, schema.given))
        found[j] = _cell(schema.given[j], value, conditions.type_of(j))
    return found


def beyond_range(cells: Mapping[int, float], schema: Schema) -> list[str]:
    """A sentence about each of the cells given, {column: number}, that no row trained on comes near: a number below or
    above all of theirs."""
    conditions = schema.conditions
    if conditions is None:
        return []
    said = []
    for j, value in cells.items():
        kind = conditions.type_of(j)
        ends = [value, conditions.array("low")[j], conditions.array("high")[j]]
        if kind.levels or np.isnan(value) or ends[1] <= value <= ends[2]:
            continue
        own, low, high = cells_as_text(ends, kind)
        said.append(
            f"{schema.given[j]} is {own}, and the rows trained on have {low} … {high}: what the model makes of it is a "
            f"guess."
        )
    return said


def _cell(name: str, value: object, kind: ColumnType) -> float:
    """The cell that a value is in a column of this type."""
    import polars

    column = polars.Series(name, [None if value is None else value], strict=False)
    if column.dtype == polars.Null:
        return np.nan
    read = typed([column], Reading(types={name: kind}, choose=False))
    if not read.faults and name in read.values:
        return float(read.values[name][0])
    if kind.levels:
        levels = listed(kind.levels, SHOWN, "or")
        raise VaekitError(f"{name} is '{value}', which fitting never saw: give {levels}.")
    raise VaekitError(_not_so(name, value, kind, read.faults))


def _not_so(name: str, value: object, kind: ColumnType, faults: Sequence[Fault]) -> str:
    """A value that is not of a column's type."""
    wanted = kind.written if kind.written in ("date", "datetime", "time", "duration") else "number"
    why = f" ({faults[0].more})" if faults and faults[0].more else ""
    return f"{name} is '{value}', and the column is one of {wanted}s{why}: give such a value."


def known_rows(cells: np.ndarray, names: Sequence[str], most: int) -> dict[str, list[float | None]]:
    """Rows of conditions (n, columns), at most so many of them, evenly from first to last, as a run remembers them: the
    cells of each column by its name, None where one is unknown."""
    some = np.linspace(0, len(cells) - 1, min(most, len(cells))).round().astype(np.int64)
    kept = cells[some]
    columns = zip(names, kept.T, strict=True)
    return {name: [None if np.isnan(v) else float(v) for v in column] for name, column in columns}


def to_sample(
    known: Mapping[str, Sequence[float | None]], schema: Schema, given: Mapping[int, float], n: int, seed: int
) -> np.ndarray:
    """Rows of conditions (n, columns) to sample x by: `given` cells as they are, the others from rows drawn of `known`.

    These are drawn from the rows that have the levels given, as far as there are such rows: of p(c|given) as it is
    among them. Numbers given choose no rows.
    """
    conditions = schema.conditions
    assert conditions is not None
    rows = np.array([known[name] for name in schema.given], np.float64).T
    levels = [j for j, value in given.items() if conditions.type_of(j).levels and not np.isnan(value)]
    alike = np.flatnonzero((rows[:, levels] == [given[j] for j in levels]).all(1))
    if not len(alike):
        alike = np.arange(len(rows))
    drawn = rows[np.random.default_rng(derive_seed(seed, "conditions")).choice(alike, n)]
    for j, value in given.items():
        drawn[:, j] = value
    return drawn
