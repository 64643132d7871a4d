"""Tables of several files, whose columns say each for itself what they are → of one kind throughout."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vaekit.data.cells import as_type
from vaekit.data.columns import ColumnType
from vaekit.data.dates import DAY
from vaekit.data.fields import Fields
from vaekit.data.levels import TRUTHS, is_number
from vaekit.errors import VaekitError

WIDER = {frozenset({"integer", "number"}): "number", frozenset({"date", "datetime"}): "datetime"}
"""ways of writing that go together, and the one that holds both"""


def united(tables: Sequence[Fields], files: Sequence[str]) -> list[Fields]:
    """The tables with one type for each column: levels are those of all, whole numbers among others are numbers, and
    dates among datetimes midnight. Tables of other columns are left as they are, for whoever compares those.

    files    their names

    Raises VaekitError where a column is numbers in one of them and levels, or something else, in another.
    """
    first, *others = tables
    names = first.get("names")
    if names is None or not others or any(set(other.get("names") or ()) != set(names) for other in others):
        return list(tables)
    found = [dict(zip(table["names"] or (), table["types"], strict=True)) for table in tables]
    common = {name: _common(name, [types[name] for types in found], files) for name in names}
    return [_as(table, common) for table in tables]


def _common(name: str, types: Sequence[ColumnType], files: Sequence[str]) -> ColumnType:
    """The type that holds the cells of a column in all files."""
    first = types[0]
    every = frozenset(own.written for own in types)
    if all(own.levels for own in types):
        return replace(_with_levels(name, types), written=first.written if len(every) == 1 else "text")
    for own, file in zip(types, files, strict=True):
        together = own.written == first.written or frozenset({own.written, first.written}) in WIDER
        if own.levels or first.levels or not together:
            raise VaekitError(
                f"column '{name}' has {_said(first)} in {files[0]} and {_said(own)} in {file}: where its cells are "
                f"levels, {as_type(name)}."
            )
    written = first.written if len(every) == 1 else WIDER[every]
    digits = [0 if own.written == "integer" else own.decimals for own in types]
    known = [count for count in digits if count is not None]
    decimals = max(known) if len(known) == len(digits) and written not in ("integer", "date") else None
    return replace(first, written=written, decimals=decimals)


def _said(own: ColumnType) -> str:
    """What a column holds, for people."""
    return "levels" if own.levels else f"{own.written}s"


def _with_levels(name: str, types: Sequence[ColumnType]) -> ColumnType:
    """The type with the levels of all, in their order."""
    first = types[0]
    if all(own.levels == first.levels for own in types):
        return first
    if all(_same(own, first) for own in types):
        return first
    levels = sorted({level for own in types for level in own.levels})
    numeric = all(is_number(level) for level in levels)
    if numeric:
        levels.sort(key=float)
    if first.kind == "ordinal" and not numeric:
        raise VaekitError(f"the levels of '{name}' are not in one order in all files: state it with --columns.")
    kind = first.kind
    if any(own.kind in ("binary", "category") and own.reason != "as stated" for own in types):
        kind = "binary" if len(levels) == 2 else "category"
    return replace(first, kind=kind, levels=tuple(levels), reason=f"text of {len(levels):,} levels")


def _same(one: ColumnType, other: ColumnType) -> bool:
    """Whether levels are the same, or the same two truths spelled otherwise."""
    if one.levels == other.levels:
        return True
    lower = [tuple(level.lower() for level in own.levels) for own in (one, other)]
    return lower[0] == lower[1] and lower[0] in TRUTHS


def _as(table: Fields, common: dict[str, ColumnType]) -> Fields:
    """A table with its cells as columns of these types have them."""
    names = table["names"] or ()
    columns = []
    for name, own, values in zip(names, table["types"], table["x"].T, strict=True):
        new = common[name]
        if own.levels and not _same(own, new):
            places = np.array([new.levels.index(level) for level in own.levels], np.float64)
            missing = np.isnan(values)
            values = np.where(missing, np.nan, places[np.where(missing, 0, values).astype(np.int64)])
        elif (own.written, new.written) == ("date", "datetime"):
            values = DAY * values
        columns.append(values)
    return {**table, "x": np.stack(columns, 1), "types": tuple(common[name] for name in names)}
