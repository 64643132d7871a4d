"""What the columns of a table were taken for, for people."""

from collections.abc import Iterator

import numpy as np

from vaekit.data import Schema, Source
from vaekit.data.written import as_table

MOST = 24
"""columns described one by one; more are described by their kind"""
LONGEST = 28
"""letters of a name, or of what a column holds"""


def column_lines(schema: Schema, source: Source) -> list[str]:
    r"""A line per column: its name, what kind it is of and what it holds, how many cells are missing, and why it was
    taken for that; of many columns a line per kind. None for a table of numbers of one kind, all there.

    >>> from vaekit.data import describe
    >>> x = np.array([[0.5, 1], [2.5, np.nan], [1.0, 0]])
    >>> print(*column_lines(describe(x, ("size", "well")), Source(x, ("size", "well"))), sep="\n")
    size  real    0.5 … 2.5                (numbers)
    well  binary  0, 1       33 % missing  (only 0 and 1)
    """
    if schema.is_image or (schema.of_one_kind and not schema.has_missing):
        return []
    missing = source.missing.mean(0).flatten()
    if schema.features > MOST:
        return list(_by_kind(schema, missing))
    names = [_cut(_name(schema, j)) for j in range(schema.features)]
    kinds = [schema.kind_of(j) for j in range(schema.features)]
    held = [_held(schema, j) for j in range(schema.features)]
    holes = [f"{_percent(part)} missing" if part else "" for part in missing]
    reasons = [f"({_why(schema, source, j)})" for j in range(schema.features)]
    shown = [names, kinds, held, *([holes] if any(holes) else []), reasons]
    widths = [max(map(len, texts)) for texts in shown]
    lines = []
    for texts in zip(*shown, strict=True):
        line = "  ".join(f"{text:{width}}" for text, width in zip(texts, widths, strict=True))
        lines.append(line.rstrip())
    return lines


def condition_lines(schema: Schema) -> list[str]:
    """A line per column that x is given: its name, what kind it is of and what it holds."""
    given = schema.conditions
    if given is None:
        return []
    lines = []
    for j, name in enumerate(schema.given):
        line = f"given {_cut(name)}: {given.kind_of(j)}, {_held(given, j)}"
        if given.array("constant")[j] and not given.array("missing")[j]:
            line += ": one value, which says nothing"
        lines.append(line)
    return lines


def _by_kind(schema: Schema, missing: np.ndarray) -> Iterator[str]:
    """A line per kind: how many columns, the first of them, and how many cells are missing."""
    for kind, columns in schema.groups().items():
        index = list(columns)
        first = ", ".join(_cut(_name(schema, j)) for j in index[:3])
        more = ", …" if len(index) > 3 else ""
        line = f"{len(index):,} {kind}: {first}{more}"
        part = float(missing[index].mean())
        if part:
            line += f"; {_percent(part)} of their cells missing"
        yield line


def _name(schema: Schema, j: int) -> str:
    return schema.names[j] if schema.names else schema.column(j)


def _held(schema: Schema, j: int) -> str:
    """The levels of a column, or its range as its cells are written."""
    own = schema.type_of(j)
    if own.levels:
        between = " < " if own.kind == "ordinal" else ", "
        shown = _cut(between.join(own.levels))
        return f"{shown} ({len(own.levels)})" if shown.endswith("…") else shown
    if own.kind == "binary":
        return "0, 1"
    low = schema.array("low").flat[j]
    high = schema.array("high").flat[j]
    if low == high:
        return f"always {low:g}"
    if own.written == "number":
        return f"{low:g} … {high:g}"
    first, last = as_table(np.array([[low], [high]]), ["end"], [own.written], [()])["end"].to_list()
    return f"{first} … {last}"


OF_NUMBERS = {
    "binary": "only 0 and 1",
    "integer": "whole numbers",
    "amount": "often 0, else positive",
    "positive": "skewed",
}
"""why a column of numbers is of a kind that was found out by their values"""


def _why(schema: Schema, source: Source, j: int) -> str:
    """Why a column was taken for what it is, in a few words."""
    reason = ""
    if source.types is not None and len(source.types) == schema.features:
        reason = source.types[j].reason
    if reason in ("", "numbers", "whole numbers"):
        return OF_NUMBERS.get(schema.kind_of(j), reason or "numbers")
    return reason


def _percent(part: float) -> str:
    """A share of cells, never 0 nor 100 % where it is not."""
    if part < 0.005:
        return "under 1 %"
    return f"{min(part, 0.99):.0%}".replace("%", " %")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
