"""Arrays that stay on disk and are read a few rows at a time."""

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np


class Stack:
    """Arrays (nᵢ, *X), one after another, some of them mapped: what `np.concatenate` gives, without loading it.

    Read rows from it by a slice, a number, or an array of numbers, each time as an array in memory.

    >>> Stack([np.zeros((2, 3), np.uint8), np.ones((1, 3))])[1:].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, arrays: "Sequence[Rows]") -> None:
        self.arrays = arrays
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape: tuple[int, ...] = (int(self.ends[-1]), *arrays[0].shape[1:])
        self.dtype: np.dtype = np.result_type(*(array.dtype.newbyteorder("=") for array in arrays))
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | int | list[int] | np.ndarray) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows
        index = np.asarray(numbers, np.int64)
        taken = np.empty((len(index), *self.shape[1:]), self.dtype)
        home = np.searchsorted(self.ends, index, "right")
        for i in np.unique(home):
            here = home == i
            start = self.ends[i] - len(self.arrays[i])
            taken[here] = self.arrays[i][index[here] - start]
        return taken


Rows = np.ndarray | Stack
"""(n, *X), in memory or on disk"""


def on_disk(x: object) -> bool:
    """Whether rows are read from x when they are needed, and not kept in memory."""
    return isinstance(x, np.memmap | Stack)


def in_memory(x: Rows) -> TypeGuard[np.ndarray]:
    """Whether rows are an ordinary array."""
    return not on_disk(x)


def concatenate(arrays: Sequence[Rows]) -> Rows:
    """The rows of all arrays (n, *X), in memory unless one of them is on disk."""
    kept = [x for x in arrays if in_memory(x)]
    if len(kept) < len(arrays):
        return Stack(arrays)
    return np.concatenate(kept)
