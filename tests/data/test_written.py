"""Tables → numbers → tables: what people write comes back, in files and in frames, missing cells too."""

import datetime

import numpy as np
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaekit.data import tables as table_files
from vaekit.data.columns import WRITTEN, ColumnType
from vaekit.data.readers import read
from vaekit.data.schema import Schema
from vaekit.data.tables import Columns
from vaekit.data.written import as_table, as_text, of_means
from vaekit.estimators.frames import as_given, library_of, read_frame

ROWS = 12
DATES = st.dates(datetime.date(1700, 1, 1), datetime.date(2300, 1, 1))
CLOCK = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
WORDS = ("red", "dark green", "x,y", 'so "called"', "größe", "3 kg", "New\nYork")
CELLS = {
    "number": (st.floats(allow_nan=False, allow_infinity=False), polars.Float64),
    "integer": (st.integers(-(2**53), 2**53), polars.Int64),
    "boolean": (st.booleans(), polars.Boolean),
    "text": (st.sampled_from(WORDS), polars.String),
    "truth": (st.sampled_from(("Yes", "No")), polars.String),
    "date": (DATES, polars.Date),
    "datetime": (CLOCK, polars.Datetime("us")),
    "time": (st.times(), polars.Time),
    "duration": (st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999)), polars.Duration("us")),
}
"""of each kind of column the cells it may have, and their type"""


@st.composite
def tables(draw) -> polars.DataFrame:
    """Tables of mixed columns with missing cells, and one of whole numbers without."""
    columns = {"row": polars.Series(draw(st.permutations(range(ROWS))), dtype=polars.Int64)}
    for name in draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, unique=True)):
        cells, kind = CELLS[name]
        drawn = draw(st.lists(st.none() | cells, min_size=ROWS, max_size=ROWS).filter(any_cell))
        columns[name] = polars.Series(drawn, dtype=kind)
    return polars.DataFrame(columns)


def any_cell(cells: list) -> bool:
    return any(cell is not None for cell in cells)


def again(fields) -> polars.DataFrame:
    """The table that is made of what was read."""
    types = fields["types"]
    return as_table(
        fields["x"],
        fields["names"],
        [each.written for each in types],
        [each.levels for each in types],
        [each.decimals for each in types],
    )


def decimals(fields) -> list:
    return [each.decimals for each in fields["types"]]


often = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def untried(monkeypatch):
    """Whole files need no process of their own that reads them first, and there are sixty to read."""
    monkeypatch.setattr(table_files, "_try_parquet", lambda path: None)


@often
@given(tables())
def test_a_frame_comes_back(table):
    found = again(read_frame(table, Columns()))
    assert found.equals(table)
    assert found.schema == table.schema


@often
@given(tables())
def test_a_parquet_file_comes_back(tmp_path, untried, table):
    table.write_parquet(tmp_path / "x.parquet")
    fields = read(tmp_path / "x.parquet")
    found = again(fields)
    assert found.equals(table)
    found.write_parquet(tmp_path / "y.parquet")
    assert np.array_equal(read(tmp_path / "y.parquet")["x"], fields["x"], equal_nan=True)


@often
@given(tables())
def test_a_csv_file_comes_back(tmp_path, table):
    """Text says less than types do: 2.0 is a number of one digit behind the point, midnight may be a date."""
    as_text(table).write_csv(tmp_path / "x.csv")
    fields = read(tmp_path / "x.csv")
    found = again(fields)
    for name in table.columns:
        own = table[name]
        if own.dtype == polars.Boolean:
            own = own.cast(polars.String)
        assert found[name].cast(own.dtype).equals(own), name
    as_text(found, decimals(fields)).write_csv(tmp_path / "y.csv")
    other = read(tmp_path / "y.csv")
    assert np.array_equal(other["x"], fields["x"], equal_nan=True)
    assert other["types"] == fields["types"]


@often
@given(tables())
def test_a_frame_of_pandas_comes_back(table):
    pandas = pytest.importorskip("pandas")
    frame = as_given(table, "pandas")
    assert library_of(frame) == "pandas"
    found = as_given(again(read_frame(frame, Columns())), "pandas")
    pandas.testing.assert_frame_equal(found, frame)


@often
@given(tables())
def test_a_table_of_arrow_comes_back(table):
    pytest.importorskip("pyarrow")
    frame = as_given(table, "pyarrow")
    assert library_of(frame) == "pyarrow"
    assert as_given(again(read_frame(frame, Columns())), "pyarrow").equals(frame)


def test_moments_and_large_numbers_are_the_same_to_the_bit_from_either_side(tmp_path):
    """Sums and products of 64 bits would change the last of them."""
    moment = datetime.datetime(1969, 12, 31, 2, 0, 0, 1)
    table = polars.DataFrame({
        "row": [0, 1], "when": [moment, None], "large": [1801439850948199.0, None],
        "long": [datetime.timedelta(days=-3, microseconds=7), None],
    })  # fmt: skip
    as_text(table).write_csv(tmp_path / "x.csv")
    fields = read(tmp_path / "x.csv")
    assert np.array_equal(fields["x"], read_frame(table, Columns())["x"], equal_nan=True)
    assert again(fields).equals(table)


@often
@given(tables())
def test_what_a_model_was_fitted_to_is_read_so_again(tmp_path, table):
    """A few rows of a table say less of its columns than all did: they are what they were."""
    fields = read_frame(table, Columns())
    fitted = Columns(needed=fields["names"], types=fields["types"])
    rows = table.head(3)
    assert np.array_equal(read_frame(rows, fitted)["x"], fields["x"][:3], equal_nan=True)
    as_text(rows).write_csv(tmp_path / "x.csv")
    assert np.array_equal(read(tmp_path / "x.csv", fitted)["x"], fields["x"][:3], equal_nan=True)


def test_what_a_model_says_is_rounded_to_what_there_is():
    x = np.array([[-0.4, 0.6, 7.6, 12.3456, 0.51, 1e9, -5.0], [9.0, np.nan, np.nan, np.nan, np.nan, np.nan, 9e9]])
    written = ("text", "text", "integer", "number", "boolean", "date", "time")
    levels = (("a", "b", "c"), ("no", "yes"), (), (), (), (), ())
    table = as_table(x, list("abcdefg"), written, levels, (None, None, None, 2, None, None, 0))
    assert table.row(0) == ("a", "yes", 8, 12.35, True, datetime.date(9999, 12, 31), datetime.time(0))
    assert table.row(1) == ("c", None, None, None, None, None, datetime.time(23, 59, 59, 999999))


def test_numbers_have_the_digits_with_which_they_were_written(tmp_path):
    (tmp_path / "x.csv").write_text("price,size,n\n12.50,1.5,1\n,0.25,2\n3.00,0.125,3\n")
    fields = read(tmp_path / "x.csv")
    assert decimals(fields) == [2, 3, None]
    as_text(again(fields), decimals(fields)).write_csv(tmp_path / "y.csv")
    assert (tmp_path / "y.csv").read_text() == "price,size,n\n12.50,1.500,1\n,0.250,2\n3.00,0.125,3\n"


def test_whole_numbers_of_means_are_numbers():
    assert of_means(("integer", "text", "date")) == ("number", "text", "date")
    assert of_means(None) is None


def test_without_a_word_on_columns_they_are_the_numbers_they_are():
    table = as_table(np.array([[1, 2]]), ["a", "b"])
    assert table.schema == {"a": polars.Int64, "b": polars.Int64}


def test_every_way_of_writing_is_one_of_a_schema():
    kinds = {"text": "category"}
    for written in WRITTEN:
        levels = ("a", "b", "c") if written == "text" else ()
        column = ColumnType(kinds.get(written, "auto"), levels, written)
        assert as_table(np.zeros((1, 1)), ["x"], [column.written], [column.levels]).height == 1


def test_rows_are_written_as_the_data_was(tmp_path):
    from vaekit.cli.common import write_rows

    schema = Schema(
        (3,), "mixed", ("sex", "day", "n"), 0.0, 1.0, 1.0, 0.5, 0.5,
        kinds=("category", "real", "count"), levels=(("f", "m"), (), ()), written=("text", "date", "integer"),
        decimals=(None, None, None),
    )  # fmt: skip
    rows = np.array([[1.0, 19783.2, 2.4], [np.nan, np.nan, np.nan]])
    known = {"row": np.arange(2), "n": np.arange(2)}
    write_rows(tmp_path / "x.csv", rows, list(schema.names), known, schema)
    assert (tmp_path / "x.csv").read_text() == "row,n (data),sex,day,n\n0,0,m,2024-03-01,2\n1,1,,,\n"
    write_rows(tmp_path / "x.parquet", rows, list(schema.names), schema=schema, means=True)
    assert polars.read_parquet(tmp_path / "x.parquet").row(0) == ("m", datetime.date(2024, 3, 1), 2.4)
