"""The one error that is meant for people: what was found, where, what to do."""

import difflib
from collections.abc import Iterable


class VaekitError(ValueError):
    """Something given to vaekit cannot be used; the message says what, where and what to do about it."""


def unknown(kind: str, given: object, choices: Iterable[str]) -> VaekitError:
    """The error for a name outside a closed table, with the nearest right one.

    >>> print(unknown("likelihood", "gausian", ["gaussian", "bernoulli"]))
    unknown likelihood 'gausian'; did you mean 'gaussian'? Choose from: gaussian, bernoulli.
    """
    choices = list(choices)
    near = difflib.get_close_matches(str(given), choices, 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return VaekitError(f"unknown {kind} '{given}'{hint} Choose from: {', '.join(choices)}.")
