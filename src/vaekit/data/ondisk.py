"""Arrays that stay on disk and are read a few rows at a time."""

import math
from collections.abc import Sequence

import numpy as np


class Stack:
    """Arrays (nᵢ, *X), one after another, some of them mapped: what `np.concatenate` gives, without loading it.

    Read rows from it by a slice, a number, or an array of numbers, each time as an array in memory.

    >>> Stack([np.zeros((2, 3), np.uint8), np.ones((1, 3))])[1:].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = arrays
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape = (int(self.ends[-1]), *arrays[0].shape[1:])
        self.dtype = np.result_type(*(array.dtype.newbyteorder("=") for array in arrays))
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | int | np.ndarray) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        index = np.asarray(range(len(self))[rows] if isinstance(rows, slice) else rows, np.int64)
        taken = np.empty((len(index), *self.shape[1:]), self.dtype)
        home = np.searchsorted(self.ends, index, "right")
        for i in np.unique(home):
            here, start = home == i, self.ends[i] - len(self.arrays[i])
            taken[here] = self.arrays[i][index[here] - start]
        return taken


def on_disk(x) -> bool:
    """Whether rows are read from x when they are needed, and not kept in memory."""
    return isinstance(x, np.memmap | Stack)


def concatenate(arrays: Sequence[np.ndarray]):
    """The rows of all arrays (n, *X), in memory unless one of them is on disk."""
    return Stack(arrays) if any(map(on_disk, arrays)) else np.concatenate(arrays)
