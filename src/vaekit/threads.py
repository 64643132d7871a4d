"""How many threads an operation of PyTorch takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

ALONE = RLock()


@contextmanager
def single_threaded(wait: bool = True) -> Iterator[int]:
    """One thread an operation; gives the number that there were, to use side by side.

    wait    whoever comes meanwhile waits for its turn; without it the number stays as it is while another's counts

    Part of the number is the whole process's (that of matrix products), part the thread's that asks, and threads that
    begin meanwhile begin with it.
    """
    taken, threads = ALONE.acquire(blocking=wait), torch.get_num_threads()
    try:
        if taken:
            torch.set_num_threads(1)
        yield threads
    finally:
        if taken:
            torch.set_num_threads(threads)
            ALONE.release()
