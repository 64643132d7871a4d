"""How many threads an operation of PyTorch takes."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock

import torch
from torch import nn

ALONE = RLock()
NARROW = 2**23
"""products of a weight and an input, up to which several threads gain nothing; where other work keeps the processors
busy they lose, for they wait for each other in a loop"""


@contextmanager
def single_threaded(wait: bool = True) -> Iterator[int]:
    """One thread an operation; gives the number that there were, to use side by side.

    wait    whoever comes meanwhile waits for its turn; without it the number stays as it is while another's counts

    Part of the number is the whole process's, part the thread's that asks: threads that work meanwhile are those of
    `side_by_side`.
    """
    taken = ALONE.acquire(blocking=wait)
    threads = torch.get_num_threads()
    try:
        if taken:
            torch.set_num_threads(1)
        yield threads
    finally:
        if taken:
            torch.set_num_threads(threads)
            ALONE.release()


def side_by_side(threads: int) -> ThreadPoolExecutor:
    """Threads that each work by themselves: otherwise the first product in a new one is shared out, and rounded in
    another way."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def products(model: nn.Module) -> float:
    """Of a weight and an input, for a draw: as many as weights. Infinity, as no one knows how many, where something
    else than a linear layer has a matrix: a convolution, say, takes each weight many times.

    >>> products(nn.Linear(3, 2)), products(nn.Conv2d(1, 2, 3))
    (8, inf)
    """
    for module in model.modules():
        matrices = any(p.ndim >= 2 for p in module.parameters(recurse=False))
        if matrices and not isinstance(module, nn.Linear):
            return math.inf
    return sum(p.numel() for p in model.parameters())


def suited(model: object, draws: int) -> AbstractContextManager[int | None]:
    """The threads for a pass of so many draws at a time through a model: one where that is too little for more.

    Nothing is changed for a model on an accelerator, or for one that is no `nn.Module`.
    """
    if not isinstance(model, nn.Module) or any(p.device.type != "cpu" for p in model.parameters()):
        return nullcontext()
    if torch.get_num_threads() > 1 and products(model) * draws <= NARROW:
        return single_threaded(wait=False)
    return nullcontext()
