"""Which members of a family of tests `make test` runs."""

from collections.abc import Iterable

import pytest


def but_few_slow(values: Iterable, quick: int = 1) -> list:
    """The values of a parameter, of which all but the first are left to `make slow`."""
    values = list(values)
    return values[:quick] + [pytest.param(value, marks=pytest.mark.slow) for value in values[quick:]]
