"""One thread an operation, for as long as it is asked for."""

from threading import Event, Thread

import pytest
import torch

from vaekit.threads import single_threaded


@pytest.fixture(autouse=True)
def three(threads):
    torch.set_num_threads(3)


def test_the_number_is_given_and_put_back():
    with single_threaded() as count:
        assert (count, torch.get_num_threads()) == (3, 1)
    assert torch.get_num_threads() == 3


def test_the_number_is_put_back_after_an_error():
    with pytest.raises(KeyError), single_threaded():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_who_does_not_wait_leaves_the_number_of_another_alone():
    begun, ended, found = Event(), Event(), []

    def other() -> None:
        with single_threaded():
            begun.set()
            ended.wait(60)

    thread = Thread(target=other)
    thread.start()
    begun.wait(60)
    with single_threaded(wait=False) as count:
        found.append((count, torch.get_num_threads()))
    ended.set()
    thread.join()
    assert found == [(3, 3)]
    with single_threaded(wait=False):
        assert torch.get_num_threads() == 1
