"""Words of a column → codes of its levels: which words are levels, how truths are spelt, what names the rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.cells import says_missing, spells_number, without

if TYPE_CHECKING:
    import polars

TRUTHS = ("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y")
"""words of truth; single letters are such only where both occur"""
MISSING_TEXT = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None")
"""what says in a column of text that there is none; other words may be levels"""
MARKS = ("-", ".", "?")
"""what says so where it is the only level without a letter or a digit"""
MOST_LEVELS = 1000
"""of a column that is learned unasked"""
NAMING = 0.9
"""the part of cells that differ, from which on a column names its rows: of more than so many"""
NAMING_ROWS = 20
REPEATED = 1.5
"""rows per level: fewer, of more than so many levels, name their rows too"""
NAMING_LEVELS = 50


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def as_truths(known: "polars.Series") -> tuple[str, ...] | None:
    """How a column of truths spells false and true; None for another."""
    different = known.drop_nulls().unique()
    if len(different) > 12:
        return None
    counts = {word: int((known == word).sum()) for word in sorted(different)}
    lower = {word.lower() for word in counts}
    for pair in TRUTHS:
        if not lower <= set(pair) or (len(pair[0]) == 1 and len(lower) < 2):
            continue
        spellings = []
        for word in pair:
            own = [spelling for spelling in counts if spelling.lower() == word]
            spellings.append(max(own, key=lambda spelling: counts[spelling]) if own else word)
        if len(lower) == 1:  # the other word as this one is written
            present = next(spelling for spelling in spellings if spelling in counts)
            spellings = [spelling if spelling in counts else _as_cased(spelling, present) for spelling in spellings]
        return tuple(spellings)
    return None


def _as_cased(word: str, like: str) -> str:
    """A word in capitals, or with one, as another is."""
    if like.isupper():
        return word.upper()
    return word.title() if like.istitle() else word


def truth_codes(cells: "polars.Series") -> np.ndarray:
    """1 for words that mean true, 0 for those that mean false; NaN for others."""
    codes = {word: float(code) for pair in TRUTHS for code, word in enumerate(pair)}
    return _mapped(cells.str.to_lowercase(), codes)


def _mapped(cells: "polars.Series", codes: Mapping[str, float]) -> np.ndarray:
    """The code of each cell; NaN where it has none."""
    import polars

    values = cells.replace_strict(list(codes), list(codes.values()), default=None, return_dtype=polars.Float64)
    return values.fill_null(np.nan).to_numpy()


def words_of(cells: "polars.Series") -> "polars.Series":
    """Bare text as levels: null where there is none. See `typed` for what is missing."""
    known = without(cells, says_missing(cells))
    if known.count() and spells_number(known).sum() == known.count():
        return known
    words = without(cells, cells.is_in(list(MISSING_TEXT)))
    without_letters = words.filter(~words.str.contains(r"[\pL\pN]")).unique().drop_nulls().to_list()
    if len(without_letters) == 1 and without_letters[0] in MARKS:
        return without(words, words == without_letters[0])
    return words


def in_order(words: "polars.Series") -> tuple[str, ...]:
    """The different levels in order, that of numbers where they are such."""
    levels = sorted(words.drop_nulls().unique())
    if levels and all(map(is_number, levels)):
        levels.sort(key=float)
    return tuple(levels)


def codes_of(words: "polars.Series", levels: Sequence[str]) -> np.ndarray:
    """Which of the levels each cell is, as it is written, or where all levels are numbers as a number; NaN for none."""
    import polars

    codes = _mapped(words, {level: float(code) for code, level in enumerate(levels)})
    if not all(map(is_number, levels)):
        return codes
    by_value = {float(level): float(code) for code, level in enumerate(levels)}
    values = words.cast(polars.Float64, strict=False)
    again = values.replace_strict(list(by_value), list(by_value.values()), default=None, return_dtype=polars.Float64)
    return np.where(np.isnan(codes), again.fill_null(np.nan).to_numpy(), codes)


def naming(words: "polars.Series", levels: Sequence[str]) -> str:
    """Why a column of text is left out unless its user wants it; nothing where it is not."""
    rows = words.count()
    nearly_all = len(levels) > NAMING * rows and rows > NAMING_ROWS
    hardly_repeated = len(levels) > NAMING_LEVELS and rows < REPEATED * len(levels)
    if nearly_all or hardly_repeated:
        return f"its text names the rows ({len(levels):,} different in {rows:,})"
    if len(levels) > MOST_LEVELS:
        return f"it has {len(levels):,} levels"
    return ""


def many(levels: Sequence[str]) -> str:
    """How many they are, in words."""
    return "one level" if len(levels) == 1 else f"{len(levels):,} levels"


def written_levels(column: "polars.Series", levels: Sequence[str]) -> str:
    """How levels are given back: in a type that has levels where they came so, as numbers where they are written so,
    and no text of digits ("007")."""
    import polars

    if is_levelled(column):
        return "enum" if isinstance(column.dtype, polars.Enum) else "categorical"
    if all(level.removeprefix("-").isdecimal() and str(int(level)) == level for level in levels):
        return "integer"
    if column.dtype.is_numeric():
        return "number"
    return "text"


def is_levelled(column: "polars.Series") -> bool:
    """Whether the column's own type says that its cells are levels."""
    import polars

    return isinstance(column.dtype, polars.Enum | polars.Categorical)
