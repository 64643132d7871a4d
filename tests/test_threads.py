"""One thread an operation, for as long as it is asked for."""

import pytest
import torch

from vaekit.threads import single_threaded


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_the_number_is_given_and_put_back():
    with single_threaded() as count:
        assert (count, torch.get_num_threads()) == (3, 1)
    assert torch.get_num_threads() == 3


def test_the_number_is_put_back_after_an_error():
    with pytest.raises(KeyError), single_threaded():
        raise KeyError
    assert torch.get_num_threads() == 3
