"""Parquet tables: what was written comes back, by the same rules as CSV."""

import datetime
import subprocess
import sys

import numpy as np
import polars
import pytest

from vaekit.data import load, tables
from vaekit.data.columns import ColumnType
from vaekit.data.readers import read
from vaekit.errors import VaekitError

DAY = datetime.date(2020, 1, 1)


def write(path, **columns):
    polars.DataFrame(columns).write_parquet(path)
    return path


@pytest.fixture
def untried(monkeypatch):
    """A whole file needs no process of its own that reads it first, and is read without one in less time."""
    monkeypatch.setattr(tables, "_try_parquet", lambda path: None)


def refused(path, *words: str, **options) -> None:
    with pytest.raises(VaekitError) as error:
        load(path, **options)
    for word in words:
        assert word in str(error.value)


def test_parquet_is_read_as_csv_is(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 2))
    path = write(tmp_path / "x.parquet", a=x[:, 0], größe=x[:, 1], kind=["odd", "even"] * 6)
    polars.read_parquet(path).write_csv(tmp_path / "x.csv")
    for options in ({"exclude": ("kind",)}, {"label": "kind"}):
        one, other = load(path, **options), load(tmp_path / "x.csv", **options)
        assert one.names == other.names == ("a", "größe")
        assert np.array_equal(one.x, x)
        assert one.digest == other.digest
    assert one.labels.tolist() == ["odd", "even"] * 6


@pytest.mark.parametrize(
    "column",
    [
        polars.Series("a", [1, 2], polars.Int8),
        polars.Series("a", [1, 2], polars.UInt64),
        polars.Series("a", [1, 2], polars.Float32),
        polars.Series("a", [1, 2], polars.Decimal(10, 2)),
        polars.Series("a", ["1", " 2 "]),
    ],
)
@pytest.mark.usefixtures("untried")
def test_every_type_of_number_is_one(tmp_path, column):
    polars.DataFrame([column]).write_parquet(tmp_path / "x.parquet")
    x = load(tmp_path / "x.parquet").x
    assert x.tolist() == [[1], [2]]
    assert x.dtype == np.float64


def test_true_and_false_are_1_and_0(tmp_path):
    assert load(write(tmp_path / "x.parquet", a=[True, False])).x.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "four"], ["row 1", "'b'", "'four'", "exclude='b'"]),
        ([[1], [2]], ["row 0", "'b'", "List"]),
        ([{"c": 1}] * 2, ["row 0", "'b'", "Struct"]),
        ([b"1", b"2"], ["row 0", "'b'", "Binary"]),
    ],
    ids=str,
)
@pytest.mark.usefixtures("untried")
def test_cells_that_are_no_numbers_are_named(tmp_path, cells, words):
    refused(write(tmp_path / "x.parquet", a=[1, 2], b=cells), "x.parquet", *words)
    assert load(tmp_path / "x.parquet", exclude=("b",)).names == ("a",)


TYPES = {
    "a gap": (polars.Series([1.5, None, float("nan")]), [1.5, np.nan, np.nan], ColumnType(decimals=1)),
    "whole": (polars.Series([1, None, 3], dtype=polars.UInt8), [1, np.nan, 3], ColumnType(written="integer")),
    "money": (
        polars.Series(["1.50", None, "3"]).cast(polars.Decimal(9, 2)), [1.5, np.nan, 3], ColumnType(decimals=2),
    ),
    "truths": (polars.Series([True, None, False]), [1, np.nan, 0], ColumnType("binary", (), "boolean")),
    "days": (polars.Series([DAY, None, DAY]), [18262, np.nan, 18262], ColumnType(written="date")),
    "clock": (
        polars.Series([datetime.datetime(1970, 1, 2)] * 3), [86400] * 3, ColumnType(written="datetime", decimals=0),
    ),
    "a zone's clock": (
        polars.Series([datetime.datetime(1970, 1, 2)] * 3).dt.replace_time_zone("Asia/Tokyo"),
        [86400] * 3,
        ColumnType(written="datetime", decimals=0),
    ),
    "milliseconds": (
        polars.Series([datetime.timedelta(seconds=1.5)] * 3).cast(polars.Duration("ms")),
        [1.5] * 3,
        ColumnType(written="duration"),
    ),
    "text": (polars.Series(["b", None, "a"]), [1, np.nan, 0], ColumnType("binary", ("a", "b"), "text")),
    "categories": (
        polars.Series(["b", None, "a"], dtype=polars.Categorical),
        [1, np.nan, 0],
        ColumnType("binary", ("a", "b"), "categorical"),
    ),
    "an order": (
        polars.Series(["mid", None, "low"], dtype=polars.Enum(["low", "mid", "high"])),
        [1, np.nan, 0],
        ColumnType("ordinal", ("low", "mid", "high"), "enum"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TYPES)
@pytest.mark.usefixtures("untried")
def test_a_column_is_what_its_type_says(tmp_path, case):
    column, values, kind = TYPES[case]
    fields = read(write(tmp_path / "x.parquet", a=[1, 2, 3], b=column))
    found = fields["types"][1]
    assert np.array_equal(fields["x"][:, 1], values, equal_nan=True)
    assert (found.kind, found.levels, found.written, found.decimals) == (
        kind.kind, kind.levels, kind.written, kind.decimals,
    )  # fmt: skip


@pytest.mark.usefixtures("untried")
def test_an_empty_column_is_left_out(tmp_path):
    path = write(tmp_path / "x.parquet", a=[1, 2], b=[None, None], c=[float("nan"), None])
    fields = read(path)
    assert fields["names"] == ("a",)
    assert fields["notes"] == ("'b' and 'c' left out: all their cells are empty.",)


@pytest.mark.usefixtures("untried")
def test_columns_that_are_not_there_are_named(tmp_path):
    path = write(tmp_path / "x.parquet", length=[1, 2])
    refused(path, "'lenth'", "did you mean 'length'", exclude=("lenth",))
    refused(path, "no columns are left", exclude=("length",))
    refused(write(tmp_path / "none.parquet", a=polars.Series([], dtype=polars.Float64)), "(0, 1)")


def test_a_file_that_ends_its_reader_is_refused(tmp_path, monkeypatch):
    """As damaged ones do that make polars ask for 2^61 bytes."""
    path = write(tmp_path / "x.parquet", a=[1.0, 2.0])
    monkeypatch.setattr(tables, "TRIAL", "import os; os.abort()")
    refused(path, "x.parquet is no readable Parquet table: its reader does not survive it")


def test_a_reader_is_not_taken_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polars.py").write_text("raise SystemExit('executed')")
    assert len(load(write(tmp_path / "x.parquet", a=[1.0, 2.0])).x) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"a,b\n1,2\n" * 9, b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    refused(tmp_path / "x.parquet", "x.parquet")


def test_a_nan_that_signals_is_a_missing_cell(tmp_path):
    """As damaged bytes may have it: arithmetic with one warns, with another it does not."""
    bits = np.array([0x7FF0000000000001, 0x3FF0000000000000, 0x4000000000000000], np.uint64)
    polars.DataFrame({"a": bits.view(np.float64), "b": [1.5, 2.5, 3.5]}).write_parquet(tmp_path / "x.parquet")
    fields = read(tmp_path / "x.parquet")
    assert np.array_equal(fields["x"][:, 0], [np.nan, 1, 2], equal_nan=True)


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "x.parquet", a=np.arange(100.0), b=np.arange(100))
    content = path.read_bytes()
    for length in (1, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "x.parquet")


DAMAGE = """
import sys
from pathlib import Path
from vaekit.data import load, tables
from vaekit.data.columns import ColumnType
from vaekit.data.readers import read
from vaekit.errors import VaekitError

whole, path, start = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
tables._try_parquet = lambda path: None  # this is the process that may end
content = whole.read_bytes()
for place in range(start, len(content)):
    damaged = bytearray(content)
    damaged[place] ^= 1 << place % 8
    path.write_bytes(damaged)
    print(place, flush=True)
    try:
        load(path)
    except VaekitError:
        print("refused", flush=True)
"""
"""reads a file with one bit changed, at one place after another"""


@pytest.mark.slow
def test_a_damaged_file_is_read_or_refused_wherever_the_damage(tmp_path):
    whole, path = write(tmp_path / "whole.parquet", a=np.arange(9.0), b=np.arange(9)), tmp_path / "x.parquet"
    start, refusals, ends = 0, 0, 0
    while start < whole.stat().st_size:
        done = subprocess.run(
            [sys.executable, "-c", DAMAGE, str(whole), str(path), str(start)], capture_output=True, text=True
        )
        said = done.stdout.split()
        refusals += said.count("refused")
        if done.returncode == 0:
            break
        assert done.returncode != 1, done.stderr  # an error that is not ours
        refused(path, "x.parquet")
        start, ends = 1 + max(int(word) for word in said if word != "refused"), ends + 1
    assert refusals + ends > whole.stat().st_size / 4
