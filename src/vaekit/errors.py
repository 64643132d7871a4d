"""The one error that is meant for people: what was found, where, what to do."""

import difflib
from collections.abc import Iterable

LONGEST, MOST = 40, 30
"""characters of a name, and names in one message"""


class VaekitError(ValueError):
    """Something given to vaekit cannot be used; the message says what, where and what to do about it."""


def unknown(kind: str, given: object, choices: Iterable[str]) -> VaekitError:
    """The error for a name outside a closed table, with the nearest right one.

    >>> print(unknown("likelihood", "gausian", ["gaussian", "bernoulli"]))
    unknown likelihood 'gausian'; did you mean 'gaussian'? Choose from: gaussian, bernoulli.
    """
    choices = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(given), choices, 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    more = f" and {len(choices) - MOST:,} more" if len(choices) > MOST else ""
    return VaekitError(f"unknown {kind} '{given}'{hint} Choose from: {', '.join(choices[:MOST])}{more}.")


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few names in quotes, and how many more there are: a line, however many columns a table has.

    >>> listed(["a", "b c"]), listed(map(str, range(6000)), 2)
    ("'a' and 'b c'", "'0', '1' and 5,998 more")
    """
    names = list(names)
    shown = [f"'{name[:LONGEST]}{'…' * (len(name) > LONGEST)}'" for name in names]
    if len(shown) > most:
        shown = [*shown[:most], f"{len(names) - most:,} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else "none"
