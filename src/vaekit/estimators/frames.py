"""What people hold their rows in → what scikit-learn can check: frames, sparse matrices, masked arrays."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from vaekit.data.cells import NEEDED, NOTHING_LEFT, Fault, refusal
from vaekit.data.tables import UNNAMED, is_running
from vaekit.errors import VaekitError, listed

if TYPE_CHECKING:
    import narwhals as nw

DENSE = 2**33
"""bytes of a sparse matrix with its zeros that are too many"""
DROP = {"PANDAS": "X.drop(columns={})", "POLARS": "X.drop({})", "PYARROW": "X.drop_columns({})"}


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix or array, of whatever format: what is used of it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    nnz: int

    def toarray(self) -> np.ndarray:
        """The same with its zeros."""
        ...


def plain_rows(X: object, names: Sequence[str] | None = None) -> object:
    """X itself, or its numbers where it says more than those.

    A frame's columns are put into the order of `names` where they have these names, and no others. The zeros that a
    sparse matrix leaves out are numbers like others. Masked cells and cells that are empty or no numbers are refused.

    Raises VaekitError, naming row and column.
    """
    if isinstance(X, torch.Tensor):
        return X.detach().cpu().numpy()
    if isinstance(X, np.ma.MaskedArray):
        return _unmasked(X)
    if isinstance(X, Sparse):
        return _dense(X)
    return _checked_frame(X, names)


def _unmasked(X: np.ma.MaskedArray) -> np.ndarray:
    """The array; VaekitError where a cell is masked."""
    masked = np.argwhere(np.ma.getmaskarray(X))
    if not len(masked):
        return np.asarray(X)
    row, *cell = masked[0].tolist()
    where = f"column {cell[0]}" if len(cell) == 1 else f"cell {tuple(cell)}"
    raise VaekitError(
        f"row {row}, {where} of X is masked, as are {len(masked):,} cells in all (rows counted from 0): cells "
        f"that are not to be learned cannot be told. Give whole rows, np.ma.compress_rows(X), or X.filled(value)."
    )


def _dense(X: Sparse) -> np.ndarray:
    """The matrix with its zeros; VaekitError where those would fill the memory."""
    size = math.prod(X.shape) * X.dtype.itemsize
    if size > DENSE:
        raise VaekitError(
            f"X is sparse, of shape {X.shape}: with its zeros it takes {size / 2**30:.0f} GiB. Take fewer columns."
        )
    return X.toarray()


def _checked_frame(X: object, names: Sequence[str] | None) -> object:
    """X, a frame of numbers in the order of `names`; whatever is no frame as it is. scikit-learn would make numbers of
    dates, categories and text."""
    import narwhals as nw

    try:
        frame = nw.from_native(X, pass_through=True)
    except nw.exceptions.DuplicateError as error:
        assert hasattr(X, "columns")  # or narwhals would not complain of them
        columns = list(X.columns)
        twice = [str(name) for name in dict.fromkeys(columns) if columns.count(name) > 1]
        raise VaekitError(f"X has several columns named {listed(twice)}: rename all but one.") from error
    if isinstance(frame, nw.LazyFrame):
        raise VaekitError("X is a lazy frame: collect it first.")
    if not isinstance(frame, nw.DataFrame):
        return X
    wanted = frame.columns if names is None else list(names)
    if wanted != frame.columns and set(wanted) == set(frame.columns):
        frame = frame.select(wanted)
        X = frame.to_native()
    faults = [fault for name in frame.columns if (fault := _fault(frame[name])) is not None]
    if faults:
        raise refusal("X", "rows counted from 0", faults, _without(faults, frame, names))
    if names is None:
        _warn_of_index(frame)
    return X


def _without(faults: list[Fault], frame: "nw.DataFrame", names: Sequence[str] | None) -> str:
    """How to do without the columns concerned, where that can be done."""
    columns = [fault.column for fault in faults]
    if names is not None and not set(columns).isdisjoint(names):
        return NEEDED
    if len(columns) == len(frame.columns):
        return NOTHING_LEFT
    if len(str(columns)) >= 400:
        return "Leave these columns out."
    drop = DROP.get(frame.implementation.name, "X without {}")
    return f"To do without: {drop.format(columns)}"


def _warn_of_index(frame: "nw.DataFrame") -> None:
    """Warn of columns that only number the rows, which a file or a library added to those of their owner."""
    numbering = []
    for name in frame.columns:
        doubtful = isinstance(name, str) and (UNNAMED.fullmatch(name) or name.lower() == "index")
        if doubtful and is_running(frame[name].to_numpy().astype(np.float64, copy=False)):
            numbering.append(name)
    if numbering:
        warnings.warn(f"{listed(numbering)} of X numbers the rows, and is learned: leave it out.", stacklevel=5)


def _fault(column: "nw.Series") -> Fault | None:
    """The first cell of a column that is empty or no number."""
    import narwhals as nw

    name = str(column.name)
    kind = column.dtype
    objects = kind == nw.Object
    if kind == nw.String and column.null_count() < len(column):
        row = _first(~column.is_null())
        return Fault("text", name, row, column[row])
    if not (kind.is_numeric() or objects or kind in (nw.Boolean, nw.Unknown, nw.String)):
        return Fault("date" if kind.is_temporal() else "type", name, 0, f"of type {kind}")
    if column.null_count():
        return Fault("empty", name, _first(column.is_null()), "")
    if objects:
        for row, cell in enumerate(column.to_list()):
            if isinstance(cell, str):
                return Fault("text", name, row, cell)
            if not isinstance(cell, int | float | np.number | np.bool_):
                return Fault("type", name, row, f"of type {type(cell).__name__}")
    return None


def _first(truths: "nw.Series") -> int:
    """The row of the first that is true; 0 where none is."""
    return int(truths.arg_max() or 0)
