"""What people hold their rows in → what scikit-learn can check, and back: frames, sparse matrices, masked arrays."""

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from vaekit.data.cells import NEEDED, NOTHING_LEFT, Fault, refusal
from vaekit.data.columns import ColumnType
from vaekit.data.fields import Fields
from vaekit.data.tables import UNNAMED, Columns, is_running, read_columns
from vaekit.data.written import as_text, filled_in
from vaekit.errors import VaekitError, as_arguments, listed

if TYPE_CHECKING:
    import narwhals as nw
    import polars

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


class Plain(NamedTuple):
    """Rows as scikit-learn can check them."""

    rows: object
    types: tuple[ColumnType, ...] | None = None
    """of each column what it is known to be, where the rows came as a frame"""
    left_out: tuple[str, ...] = ()
    """the frame's columns that are not learned"""


def plain_rows(X: object, columns: Columns = Columns()) -> Plain:  # noqa: B008  frozen
    """X itself, or its numbers where it says more than those; of a frame those of `read_frame`.

    A frame's columns are put into the order of `columns.needed`, and what it has more is left out. The zeros that a
    sparse matrix leaves out are numbers like others. Masked cells are refused, and text in arrays.

    Raises VaekitError, naming row and column.
    """
    if isinstance(X, torch.Tensor):
        return Plain(X.detach().cpu().numpy())
    if isinstance(X, np.ma.MaskedArray):
        return Plain(_filled(X))
    if isinstance(X, Sparse):
        return Plain(_dense(X))
    fields = read_frame(X, columns)
    if fields is None:
        _check_no_text(X)
        return Plain(X)
    if fields["notes"]:
        warnings.warn(as_arguments("\n".join(fields["notes"])), stacklevel=5)
    names = fields["names"]
    left_out: tuple[str, ...] = ()
    if names is not None:
        left_out = tuple(str(name) for name in _names(X) if name not in names)
    return Plain(numbers_of(fields), fields["types"], left_out)


def _names(X: object) -> list[object]:
    """The names of a frame's columns."""
    frame = _frame(X)
    return [] if frame is None else list(frame.columns)


def _filled(X: np.ma.MaskedArray) -> np.ndarray:
    """The array, in which what is masked is missing."""
    masked = np.ma.getmaskarray(X)
    if not masked.any():
        return np.asarray(X)
    return np.where(masked, np.nan, X.data)


def _check_no_text(X: object) -> None:
    """Refuse an array, or lists, in which a cell is text that is no number."""
    if not isinstance(X, np.ndarray | list | tuple):
        return
    try:
        array = np.asarray(X)
    except ValueError:  # of rows of several lengths: scikit-learn says so
        return
    if array.dtype.kind not in "OUS":
        return
    for place, cell in np.ndenumerate(array):
        if isinstance(cell, str | bytes) and not _is_number(cell):
            row, *rest = place
            where = f"column {rest[0]}" if len(rest) == 1 else f"cell {tuple(rest)}"
            raise VaekitError(
                f"row {row}, {where} of X is {cell!r} (counted from 0), and an array has no columns of text: give a "
                f"frame, such as polars.DataFrame(X.tolist(), orient='row'), with the columns' names as schema=[…]."
            )


def _is_number(cell: str | bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _dense(X: Sparse) -> np.ndarray:
    """The matrix with its zeros; VaekitError where those would fill the memory."""
    size = math.prod(X.shape) * X.dtype.itemsize
    if size > DENSE:
        raise VaekitError(
            f"X is sparse, of shape {X.shape}: with its zeros it takes {size / 2**30:.0f} GiB. Take fewer columns."
        )
    return X.toarray()


def read_frame(X: object, columns: Columns) -> Fields | None:
    """The rows of a frame as numbers, with what its columns are, by the rules of tables in files (`data.typed`); None
    for what is no frame.

    Columns that are `needed` are put into that order. What the frame has more is left out, with a note unless that was
    so in fitting too (`exclude`); what it lacks is not missed: scikit-learn compares the names.

    Raises VaekitError about all columns that cannot be read.
    """
    import polars

    frame = _frame(X)
    if frame is None:
        return None
    names = list(frame.columns)
    wanted = [name for name in names if name not in columns.exclude]
    notes: list[str] = []
    if columns.needed is not None and not set(wanted).isdisjoint(columns.needed):
        others = [name for name in wanted if name not in columns.needed]
        if others:
            notes.append(f"{listed(others)} of X left out: the model was fitted without.")
        wanted = [name for name in columns.needed if name in names]
    own = dict(zip(names, frame.iter_columns(), strict=True))  # a name of pandas may be a number
    learned = polars.DataFrame({str(name): _as_polars(own[name]) for name in wanted})
    drop = DROP.get(frame.implementation.name, "X without {}")

    def refused(faults: list[Fault]) -> VaekitError:
        return refusal("X", "rows counted from 0", faults, _without(faults, learned.width, columns.needed, drop))

    fields = read_columns(learned, "X", columns, notes, refused, keeps=False)
    if columns.needed is None:
        fields["notes"] += _index_notes(fields)
    if not all(isinstance(name, str) for name in names):  # numbers, as pandas counts columns, are no names
        fields["names"] = None
    return fields


def numbers_of(fields: Fields) -> object:
    """The numbers of a frame as scikit-learn takes them: a frame where the columns have names."""
    import polars

    names = fields["names"]
    if names is None:
        return fields["x"]
    return polars.DataFrame({name: fields["x"][:, j] for j, name in enumerate(names)})


def _frame(X: object) -> "nw.DataFrame | None":
    """X as narwhals has it, where it is a frame."""
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
        return None
    return frame


def _without(faults: list[Fault], width: int, needed: Sequence[str] | None, drop: str) -> str:
    """How to do without the columns concerned, where that can be done."""
    columns = [fault.column for fault in faults]
    if needed is not None:
        return NEEDED
    if len(columns) == width:
        return NOTHING_LEFT
    if len(str(columns)) >= 400:
        return "Leave these columns out."
    return f"To do without: {drop.format(columns)}"


def _index_notes(fields: Fields) -> tuple[str, ...]:
    """A note on columns that only number the rows, which a file or a library added to those of their owner."""
    columns = zip(fields["names"] or (), fields["x"].T, strict=True)
    numbering = []
    for name, values in columns:
        if (UNNAMED.fullmatch(name) or name.lower() == "index") and is_running(values):
            numbering.append(name)
    if not numbering:
        return ()
    return (f"{listed(numbering)} of X numbers the rows, and is learned: leave it out.",)


# Columns of whatever library → polars


def _as_polars(column: "nw.Series") -> "polars.Series":
    """A column as polars has it, with its own type and null where a cell is missing."""
    import narwhals as nw
    import polars

    native = column.to_native()
    if isinstance(native, polars.Series):
        return native
    if column.implementation.is_pyarrow():
        return polars.Series(polars.from_arrow(native))
    kind = column.dtype
    missing = polars.Series(column.is_null().to_numpy())
    if kind.is_integer() or kind.is_float() or kind == nw.Boolean:
        filled = column.fill_null(False if kind == nw.Boolean else 0) if missing.any() else column
        return polars.Series(filled.to_numpy()).set(missing, None)
    if isinstance(kind, nw.Datetime):
        clock = column.dt.replace_time_zone(None)
        return polars.Series(clock.to_numpy().astype("datetime64[us]"))
    if isinstance(kind, nw.Duration):
        return polars.Series(column.to_numpy().astype("timedelta64[us]"))
    if kind in (nw.Categorical, nw.Enum):
        return _categorical(column)
    cells = [None if absent else _plain(cell) for cell, absent in zip(column.to_list(), missing, strict=True)]
    return _of_objects(cells)


def _categorical(column: "nw.Series") -> "polars.Series":
    """A categorical column of pandas, ordered ones as an Enum; its categories as text, whatever they are."""
    import polars

    native = column.to_native()
    levels = [str(level) for level in native.cat.categories]
    words = polars.Series(levels, dtype=polars.String)
    codes = native.cat.codes.to_numpy()
    cells = words.gather(np.maximum(codes, 0)) if levels else polars.Series([None] * len(codes), dtype=polars.String)
    cells = cells.set(polars.Series(codes < 0), None)
    return cells.cast(polars.Enum(levels) if native.cat.ordered else polars.Categorical)


def _plain(cell: object) -> object:
    """A cell as Python has it."""
    return cell.item() if isinstance(cell, np.generic) else cell


def _of_objects(cells: list[object]) -> "polars.Series":
    """Objects, None where one is missing, in the type that all of them have; numbers among text as text."""
    import polars

    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {bool, int, float} and len(kinds) > 1:
        numbers = [float(cell) if isinstance(cell, int | float) else None for cell in cells]
        return polars.Series(numbers, dtype=polars.Float64)
    if kinds <= {bool, int, float, str} and len(kinds) > 1:
        return polars.Series([None if cell is None else str(cell) for cell in cells], dtype=polars.String)
    try:
        return polars.Series(cells)
    except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError):
        return polars.Series(cells, dtype=polars.Object)


# A table → what came in


def library_of(X: object) -> str:
    """Whose frame X is: "pandas", "pyarrow", "polars", or "" where it is none."""
    frame = _frame(X)
    if frame is None:
        return ""
    if frame.implementation.is_pandas_like():
        return "pandas"
    return "pyarrow" if frame.implementation.is_pyarrow() else "polars"


def as_given(
    table: "polars.DataFrame", library: str, levels: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> object:
    """A table as a frame of a library, as `library_of` names it.

    levels    of columns, which a type that has levels is to have whatever cells there are
    """
    if library == "pyarrow":
        return table.to_arrow()
    if library != "pandas":
        return table
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own

    return pandas.DataFrame({column.name: _as_pandas(column, levels.get(column.name, ())) for column in table})


def refilled(X: object, values: "polars.DataFrame", missing: np.ndarray, decimals: Sequence[int | None]) -> object:
    """A frame with values in its missing cells; all others stay as they are, and columns in their types, where these
    hold the values.

    values      columns by their names, in their own types
    missing     (n, columns of values) where they are to be taken
    decimals    the digits behind the point with which they are written in text
    """
    import polars

    frame = _frame(X)
    assert frame is not None
    holey = [name for name, absent in zip(values.columns, missing.T, strict=True) if absent.any()]
    own = polars.DataFrame({name: _as_polars(frame[name]) for name in values.columns})
    filled = filled_in(own, values, missing, as_text(values, decimals)).select(polars.col(holey))
    native: Any = frame.to_native()
    if frame.implementation.is_pandas_like():
        again = native.copy()
        for name in holey:
            again[name] = _in_type_of(filled[name], native[name])
        return again
    if not frame.implementation.is_pyarrow():
        return native.with_columns(filled)
    for name in holey:
        place = native.schema.get_field_index(name)
        column = filled[name].to_arrow()
        with contextlib.suppress(ValueError, NotImplementedError):  # a type that does not hold the values
            column = column.cast(native.schema.field(name).type)
        native = native.set_column(place, name, column)
    return native


def _in_type_of(column: "polars.Series", own: Any) -> object:  # noqa: ANN401  a series of pandas
    """A column in the type of one of pandas, where that holds it."""
    import pandas

    if isinstance(own.dtype, pandas.CategoricalDtype):
        categories = {str(category): category for category in own.dtype.categories}
        cells = [None if cell is None else categories.get(str(cell)) for cell in column]
        return pandas.Series(pandas.Categorical(cells, dtype=own.dtype), index=own.index)
    given = pandas.Series(_as_pandas(column, ()), index=own.index)
    zone = getattr(own.dtype, "tz", None)
    if zone is not None:
        given = given.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    try:
        typed = given.astype(own.dtype)
    except (TypeError, ValueError):
        return given
    return typed if bool(((typed == given) | given.isna()).all()) else given


def _as_pandas(column: "polars.Series", levels: Sequence[str]) -> object:
    """A column as pandas has it; whole numbers and truths with missing ones in its nullable types."""
    import pandas
    import polars

    kind = column.dtype
    if kind in (polars.Int64, polars.Boolean) and column.null_count():
        return pandas.array(column.to_list(), dtype="Int64" if kind == polars.Int64 else "boolean")
    if isinstance(kind, polars.Enum | polars.Categorical):
        ordered = isinstance(kind, polars.Enum)
        return pandas.Categorical(column.to_list(), list(levels) or None, ordered=ordered)
    if kind in (polars.String, polars.Date, polars.Time):
        return column.to_list()
    return column.to_numpy()
