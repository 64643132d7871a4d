"""The touchstone with an exact encoder, and with one that misses."""

import pytest
from touchstone import SIGMAS, Touchstone


@pytest.fixture(params=SIGMAS)
def exact(request) -> Touchstone:
    return Touchstone(request.param)


@pytest.fixture
def inexact() -> Touchstone:
    return Touchstone().blur()
