"""Fixtures that several rooms share."""

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A generator of one's own: the same numbers whichever tests run, and in whatever order."""
    return torch.Generator().manual_seed(20240229)
