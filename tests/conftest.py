"""Fixtures that several rooms share."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small are faster on one, and far faster where the other cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def generator() -> torch.Generator:
    """A generator of one's own: the same numbers whichever tests run, and in whatever order."""
    return torch.Generator().manual_seed(20240229)
