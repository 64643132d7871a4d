"""What people hold their rows in → what scikit-learn can check: frames, sparse matrices, masked arrays."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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


def plain_rows(X: Any, names: Sequence[str] | None = None) -> Any:
    """X itself, or its numbers where it says more than those.

    A frame's columns are put into the order of `names` where they have these names, and no others. The zeros that a
    sparse matrix leaves out are numbers like others. Masked cells and cells that are empty or no numbers are refused.

    Raises VaekitError, naming row and column.
    """
    if isinstance(X, torch.Tensor):
        return X.detach().cpu().numpy()
    if isinstance(X, np.ma.MaskedArray):
        return _unmasked(X)
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        return _dense(X)
    return _checked_frame(X, names)


def _unmasked(X: np.ma.MaskedArray) -> np.ndarray:
    masked = np.argwhere(np.ma.getmaskarray(X))
    if len(masked):
        row, *cell = masked[0].tolist()
        where = f"column {cell[0]}" if len(cell) == 1 else f"cell {tuple(cell)}"
        raise VaekitError(
            f"row {row}, {where} of X is masked, as are {len(masked):,} cells in all (rows counted from 0): cells "
            f"that are not to be learned cannot be told. Give whole rows, np.ma.compress_rows(X), or X.filled(value)."
        )
    return np.asarray(X)


def _dense(X: Any) -> np.ndarray:
    size = math.prod(X.shape) * X.dtype.itemsize
    if size > DENSE:
        raise VaekitError(
            f"X is sparse, of shape {X.shape}: with its zeros it takes {size / 2**30:.0f} GiB. Take fewer columns."
        )
    return X.toarray()


def _checked_frame(X: Any, names: Sequence[str] | None) -> Any:
    """X, a frame of numbers in the order of `names`; whatever is no frame as it is. scikit-learn would make numbers of
    dates, categories and text."""
    import narwhals as nw

    try:
        frame = nw.from_native(X, pass_through=True)
    except nw.exceptions.DuplicateError as error:
        twice = [name for name in dict.fromkeys(X.columns) if list(X.columns).count(name) > 1]
        raise VaekitError(f"X has several columns named {listed(map(str, twice))}: rename all but one.") from error
    if isinstance(frame, nw.LazyFrame):
        raise VaekitError("X is a lazy frame: collect it first.")
    if not isinstance(frame, nw.DataFrame):
        return X
    if names is not None and set(frame.columns) == set(names) and list(frame.columns) != list(names):
        frame = frame.select(list(names))
        X = frame.to_native()
    faults = [fault for name in frame.columns if (fault := _fault(frame[name])) is not None]
    if faults:
        drop = DROP.get(frame.implementation.name, "X without {}")
        shown = [fault.column for fault in faults]
        without = f"To do without: {drop.format(shown)}" if len(str(shown)) < 400 else "Leave these columns out."
        if not set(shown).isdisjoint([] if names is None else names):
            without = NEEDED
        elif len(faults) == len(frame.columns):
            without = NOTHING_LEFT
        raise refusal("X", "rows counted from 0", faults, without)
    if names is None:
        _warn_of_index(frame)
    return X


def _warn_of_index(frame: "nw.DataFrame") -> None:
    """Warn of columns that only number the rows, which a file or a library added to those of their owner."""
    doubtful = [
        name for name in frame.columns if isinstance(name, str) and (UNNAMED.fullmatch(name) or name.lower() == "index")
    ]
    numbering = [name for name in doubtful if is_running(frame[name].to_numpy().astype(np.float64, copy=False))]
    if numbering:
        warnings.warn(f"{listed(numbering)} of X numbers the rows, and is learned: leave it out.", stacklevel=5)


def _fault(column: "nw.Series") -> Fault | None:
    """The first cell of a column that is empty or no number."""
    import narwhals as nw

    kind = column.dtype
    objects = kind == nw.Object
    if kind == nw.String and column.null_count() < len(column):
        row = int((~column.is_null()).arg_max())
        return Fault("text", str(column.name), row, column[row])
    if not (kind.is_numeric() or objects or kind in (nw.Boolean, nw.Unknown, nw.String)):
        return Fault("date" if kind.is_temporal() else "type", str(column.name), 0, f"of type {kind}")
    if column.null_count():
        return Fault("empty", str(column.name), int(column.is_null().arg_max()), "")
    if objects:
        for row, cell in enumerate(column.to_list()):
            if not isinstance(cell, int | float | np.number | np.bool_):
                return Fault("text" if isinstance(cell, str) else "type", str(column.name), row, _shown(cell))
    return None


def _shown(cell: Any) -> str:
    return cell if isinstance(cell, str) else f"of type {type(cell).__name__}"
