"""How many threads an operation of PyTorch takes: a number that the whole process shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

ALONE = RLock()


@contextmanager
def single_threaded() -> Iterator[int]:
    """One thread an operation; gives the number that there were, to use side by side. Whoever comes meanwhile waits:
    the number is the whole process's."""
    with ALONE:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield threads
        finally:
            torch.set_num_threads(threads)
