"""Numbers with a unit in every cell of text: "12.5%", "$3.20", "5 kg"."""

import re
from typing import TYPE_CHECKING

from vaekit.data.cells import spells_number

if TYPE_CHECKING:
    import polars

MONEY = r"\p{Sc}"
"""a sign of a currency, as Unicode knows them"""
CELL = (
    rf"^(?P<sign>[-+]?)(?P<before>{MONEY} ?)?(?P<number>[-+]?[\d.,]*\d[\d.,]*)"
    rf"(?P<behind> ?(?:[%‰°]|{MONEY}|\pL)\S*)?$"
)
"""a number with what is in front of it and behind"""
LONGEST = 6
"""characters that a unit may have"""
MOST_UNITS = 6
"""of one column: what follows the numbers of more is no unit"""
EXPONENT = re.compile(r"[eE]\d*")
FORM = re.compile(r"[^{}]*\{\}[^{}]*")
"""how such cells are written: the unit with {} where the number is"""


def with_unit(cells: "polars.Series", least: int = 2) -> tuple["polars.Series", str] | None:
    """The numbers in cells of text (null: missing) without their unit, and how it is written with them; None where not
    every cell has the same one.

    least    different cells that there must be: one may be a name ("3 kg")

    >>> import polars
    >>> numbers, form = with_unit(polars.Series(["-$3.20", "$12", None]))
    >>> numbers.to_list(), form
    (['-3.20', '12', None], '${}')
    """
    known = cells.drop_nulls()
    if not known.head(1).str.contains(CELL).any() or known.n_unique() < least:  # most columns of text end here
        return None
    parts = cells.str.extract_groups(CELL).struct.unnest()
    there = parts.filter(cells.is_not_null())
    before = there["before"].unique(maintain_order=True).to_list()
    behind = there["behind"].unique(maintain_order=True).to_list()
    if len(before) > 1 or len(behind) > 1 or there["number"].null_count():
        return None
    form = f"{before[0] or ''}{{}}{behind[0] or ''}"
    unit = unit_of(form)
    if not 0 < len(unit) <= LONGEST or EXPONENT.fullmatch(unit):
        return None
    numbers = (parts["sign"] + parts["number"]).alias(cells.name)
    if spells_number(numbers).sum() < len(known):
        return None
    return numbers, form


def several_units(cells: "polars.Series") -> dict[str, int]:
    """How many cells of text have each of several units, "" none, where most cells are numbers and most of these have
    one; {} where that is not so.

    >>> import polars
    >>> several_units(polars.Series(["5 kg", "300 g", "2 kg", "7", None]))
    {'kg': 2, '': 1, 'g': 1}
    """
    import polars

    known = cells.drop_nulls()
    parts = known.str.extract_groups(CELL).struct.unnest().filter(polars.col("number").is_not_null())
    parts = parts.filter(spells_number(parts["number"]))
    units = (parts["before"].fill_null("") + parts["behind"].fill_null("")).str.strip_chars()
    counts = units.value_counts(sort=True, name="cells").sort(["cells", "before"], descending=[True, False])
    found = dict(counts.iter_rows())
    with_one = len(units) - found.get("", 0)
    if 2 * with_one <= len(known) or not 1 < len(found) <= MOST_UNITS:
        return {}
    if any(len(unit) > LONGEST or EXPONENT.fullmatch(unit) for unit in found):
        return {}
    return found


def unit_of(form: str) -> str:
    """The unit alone.

    >>> unit_of("{} kg")
    'kg'
    """
    return form.replace("{}", "").strip()


def written_with(numbers: "polars.Series", form: str) -> "polars.Series":
    """Texts of numbers with their unit.

    >>> import polars
    >>> written_with(polars.Series(["-3.20", None]), "${}").to_list()
    ['-$3.20', None]
    """
    before, behind = form.split("{}")
    sign = numbers.str.extract("^(-?)")
    return sign + before + numbers.str.strip_prefix("-") + behind
