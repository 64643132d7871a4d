"""Tables with named columns: .csv and .parquet."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from vaekit.data.unpacked import check_unpacked, most_unpacked
from vaekit.errors import VaekitError, unknown


def read_csv(path: Path, exclude: tuple[str, ...] = (), label: str | None = None, strict: bool = True) -> dict:
    """The columns of a CSV file in UTF-8 with a header; `exclude` and `label` as in `vaekit.data.load`."""
    import polars

    try:  # as text: a cell that is no number can then be named
        _check_header(path)
        table = polars.read_csv(path, infer_schema=False, encoding="utf8", truncate_ragged_lines=False)
    except polars.exceptions.PolarsError as error:
        reason = _first_line(error)
        remedy = " Save it as UTF-8." if "utf-8" in reason.lower() else ""
        raise VaekitError(f"{path.name} is no readable CSV table: {reason}.{remedy}") from error
    return _fields(table, path.name, exclude, label, strict)


def read_parquet(path: Path, exclude: tuple[str, ...] = (), label: str | None = None, strict: bool = True) -> dict:
    """The columns of a Parquet file; `exclude` and `label` as in `vaekit.data.load`."""
    import polars

    with path.open("rb") as file:
        ends = file.read(4), file.seek(-4, 2) and file.read(4) if path.stat().st_size > 8 else b""
    if ends != (b"PAR1", b"PAR1"):  # what polars says of such files is not for people
        raise VaekitError(f"{path.name} is truncated or no Parquet file: it does not start and end with 'PAR1'.")
    _try_parquet(path)
    try:
        table = polars.read_parquet(path)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise VaekitError(f"{path.name} is no readable Parquet table: {_first_line(error)}.") from error
    return _fields(table, path.name, exclude, label, strict)


TRIAL = """
import sys, polars
path, most = sys.argv[1:]
found = polars.scan_parquet(path)
cells = found.select(polars.len()).collect().item() * len(found.collect_schema())
print(cells, flush=True)
if cells <= int(most):
    polars.read_parquet(path)
"""


def _try_parquet(path: Path) -> None:
    """Read it in a process of its own first: a damaged Parquet file can end the process that reads it. One of few bytes
    and very many rows is refused unread: a column of one number packs to nothing."""
    packed = path.stat().st_size
    if not sys.executable:  # Python within another program: there is none to start
        return
    command = [sys.executable, "-c", TRIAL, str(path), str(most_unpacked(packed) // 8)]
    here = ("", os.getcwd())  # the working folder may be anybody's
    paths = os.pathsep.join(place for place in sys.path if place not in here)
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.stdout.strip().isdigit():
        check_unpacked(path.name, packed, 8 * int(done.stdout))
    if done.returncode:
        said = done.stderr.strip().splitlines() if done.returncode == 1 else []
        said = said or [f"its reader does not survive it, or has not the memory ({done.returncode})"]
        reason = re.sub(r"^\S*(Error|Exception): ", "", said[-1])[:200].rstrip(".")
        raise VaekitError(f"{path.name} is no readable Parquet table: {reason}.")


def _fields(table, file: str, exclude: tuple[str, ...], label: str | None, strict: bool) -> dict:
    """x (n, columns) float64, the columns' names, and the labels: what a Source is made of."""
    aside = [*exclude, *([label] if label else [])]
    for name in aside:
        if strict and name not in table.columns:
            raise unknown(f"column of {file}", name, table.columns)
    labels = table[label].to_numpy() if label in table.columns else None
    table = table.drop(aside, strict=False)
    if not table.height:
        raise VaekitError(f"{file} has shape (0, {table.width}), a header and no rows below it: nothing to learn from.")
    columns = [_numbers(table[name], file) for name in table.columns]
    if not columns:
        raise VaekitError(f"{file}: no columns are left to learn from.")
    return {"x": np.stack(columns, 1), "names": tuple(table.columns), "labels": labels}


def _numbers(column, file: str) -> np.ndarray:
    """A column as float64; text that spells numbers is read, anything else is named by its row and column."""
    import polars

    remedy = f"Use --exclude '{column.name}' or --label '{column.name}'."
    if column.dtype == polars.String:
        numbers = column.str.strip_chars().cast(polars.Float64, strict=False)
    elif column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null):
        numbers = column.cast(polars.Float64)
    else:
        raise VaekitError(f"{file}, row 0, column '{column.name}' is of type {column.dtype}, no number. {remedy}")
    if numbers.null_count():
        row = int(numbers.is_null().arg_max())
        cell, where = column[row], f"{file}, row {row} (counted from 0, below the header), column '{column.name}'"
        if cell is None or not cell.strip():
            raise VaekitError(f"{where}: the cell is empty. Fill it, drop the row, or --exclude '{column.name}'.")
        raise VaekitError(f"{where}: '{cell[:40]}' is no number. {_hint(column.name, cell)}{remedy}")
    return numbers.to_numpy()


def _hint(name: str, cell: str) -> str:
    """What a person is likely to have meant."""
    if any(sign in name and sign in cell for sign in ";\t"):
        return "Separate columns by commas. "
    return "Write decimals with a point. " if re.fullmatch(r"\s*-?\d*,\d+\s*", cell) else ""


def _check_header(path: Path) -> None:
    import polars

    first = polars.read_csv(path, has_header=False, n_rows=1, infer_schema=False)
    header = first.row(0)
    if first.cast(polars.Float64, strict=False).null_count().row(0) == (0,) * len(header):
        start = ", ".join(header[:3])
        raise VaekitError(f"{path.name} starts with numbers, {start} …: give it a first line of column names.")
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        raise VaekitError(f"{path.name} has two columns named '{twice}': rename one.")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
