"""Small networks on one thread."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Networks this small are faster on one, and far faster where the other cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
