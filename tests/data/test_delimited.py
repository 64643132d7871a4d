"""Tables of text: what a file's habits mean, what is said of them, and remedies that work as printed."""

import datetime
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pytest

from vaekit.data import load
from vaekit.data.columns import ColumnType, parse_types
from vaekit.data.delimited import read_delimited
from vaekit.data.readers import read
from vaekit.data.tables import Columns
from vaekit.data.written import as_table, as_text
from vaekit.errors import VaekitError

X = np.random.default_rng(0).normal(size=(30, 2)).round(3)


def table(header: str, row: str, rows: int = 30) -> str:
    """Lines of one form, `i` the number of the row, `a` and `b` its numbers."""
    return "\n".join([header, *(row.format(i=i, a=X[i, 0], b=X[i, 1]) for i in range(rows))]) + "\n"


def write(folder: Path, text: str, name: str = "x.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def message(path: Path, **options) -> str:
    with pytest.raises(VaekitError) as error:
        read(path, Columns(**options))
    return error.value.at_command_line


def cells(*cells: str, name: str = "b") -> str:
    """A table of one column of numbers, and of these cells."""
    return "\n".join([f"a,{name}", *(f"{i}.5,{cell}" for i, cell in enumerate(cells))]) + "\n"


READ = {
    "thousands": (table("a,b", '{a},"{i},250"', 30).replace('"0,', '"1,'), "commas of thousands", [1250, 1250, 2250]),
    "millions": (table("a,b", '{a},"{i},250,000.5"').replace('"0,', '"1,'), "commas of thousands", [1250000.5] * 2),
    "points of thousands": (table("a;b", "{i},5;{i}.250.000").replace(";0.", ";1."), "points of thousands", [1250000]),
    "points and decimal commas": (table("a;b", "{a};7.250,{i}"), "decimal commas", [7250.0, 7250.1, 7250.2]),
    "a decimal comma decides for its table": (table("a;b", "0,5;1,250"), "decimal commas", [1.25, 1.25]),
    "two groups decide for their table": (table("a\tb", "1,000,000\t1,250"), "commas of thousands", [1250, 1250]),
    "dates with the day first": (table("a,b", "{a},31/01/1970"), "read with the day first, as in '31/01/1970'", [30]),
    "a date that tells": (table("a,b", "{a},1/2/1970\n{a},31/1/1970"), "as in '31/1/1970'", [31, 30]),
    "dates with points": (table("a,b", "{a},1.2.1970"), "read with the day first, as in '1.2.1970'", [31, 31]),
    "dates with the month first": (table("a,b", "{a},01-31-1970"), "read with the month first", [30, 30]),
    "an index": (table(",b", "{i},{b}"), "an index of the rows", None),
    "an unnamed column of other numbers": (table(",b", "{a},{b}"), "--exclude ''", None),
    "an unnamed column without cells": (table("a,b,", "{a},{b},"), "without any cell", None),
    "a number of the row": (table("n,b", "{i},{b}"), "--exclude 'n'", None),
    "names that count": (table("0,1", "{a},{b}"), "the first line, 0, 1, is taken", None),
    "years as names": (table("2019,2021,2023", "{a},{i},{b}"), "the first line, 2019, 2021, 2023, is taken", None),
    "comments": ("# made by hand\n" + table("a,b", "{a},{b}"), "1 line that starts with # left out", None),
    "blank last lines": (table("a,b", "{a},{b}") + ",\n,\n", "2 blank last lines left out", None),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read_otherwise_than_written_is_said(tmp_path, case):
    text, note, values = READ[case]
    source = load(write(tmp_path, text))
    assert note in " ".join(source.notes)
    assert source.x[: len(values), -1].tolist() == values if values else np.array_equal(source.x[:, -1], X[:, 1])


@pytest.mark.parametrize("header", ["a,b,", ",a,b", "a,b,,"])
def test_a_column_left_out_by_itself_may_be_excluded_too(tmp_path, header):
    """Whatever a file's unnamed column holds, the same option does without it; but not where there is none."""
    row = {"a,b,": "{a},{b},", ",a,b": "{i},{a},{b}", "a,b,,": "{a},{b},,"}[header]
    source = load(write(tmp_path, table(header, row)), exclude=("",))
    assert source.names == ("a", "b")
    assert np.array_equal(source.x, X)
    with pytest.raises(VaekitError, match="unknown column"):
        load(write(tmp_path, table("a,b", "{a},{b}")), exclude=("",))


def test_nobody_is_told_to_do_without_every_column(tmp_path):
    found = message(write(tmp_path, table("a,b", "{a},{b}") + "red,0x\n"))
    assert "'a' (row 30: 'red'), 'b' (row 30: '0x')" in found
    assert "--exclude" not in found


def test_a_plain_table_needs_no_note(tmp_path):
    assert load(write(tmp_path, table("a,b", "{a},{b}"))).notes == ()


FAULTS = {
    "ambiguous commas": (table("a;b", "1,250;{b}"), "commas of two meanings in 'a' (row 0: '1,250')"),
    "ambiguous points": (table("a;b", "0,5;1.250"), "points of two meanings in 'b' (row 0: '1.250')"),
    "decimal commas in quotes": (table("a,b", '"{i},5",{b}'), "decimal commas in 'a' (row 0: '0,5')"),
    "text": (table("a b,b", "{a},{b}") + "red,1\n", "text among the numbers or dates in 'a b' (row 30: 'red')"),
    "text in quotes": (table("a,b", "{i}x,{b}").replace("x", "") + "it's,1\n", "in 'a' (row 30: 'it's')"),
    "no day": (table("a,b", "2020-05-{i},{b}"), "no such dates or times in 'a' (row 0: '2020-05-0')"),
    "no day with points": (table("a,b", "{i}.5.2020,{b}"), "no such dates or times in 'a' (row 0: '0.5.2020')"),
    "no time": (table("a,b", "12:{i:02},{b}") + "12:60,1\n", "no such dates or times in 'a' (row 30: '12:60')"),
    "text among dates": (table("a,b", "2020-05-09,{b}\n2020-06-{i}1,{b}", 3) + "soon,1\n" * 2, "'a' (row 6: 'soon')"),
    "days or months": (table("a,b", "03/{i:02}/2020,{b}", 13).replace("/00/", "/01/"), "unclear dates in 'a' (row 0"),
    "zones": (table("a,b", "2020-01-01T12:00+0{i}:00,{b}", 9), "times of several zones in 'a' (row 0"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_and_its_option_helps(tmp_path, case):
    text, words = FAULTS[case]
    path = write(tmp_path, text)
    found = message(path)
    assert words in found
    assert len(found.splitlines()) <= 3
    assert load(path, exclude=_excluded(found)).names == ("b" if "'a'" in words or "'a b'" in words else "a",)


def _excluded(found: str) -> tuple[str, ...]:
    """The names that a message offers to leave out, as a shell reads them."""
    options = shlex.split(found.splitlines()[-1].split(": ", 1)[1].split(" (--keep")[0])
    return tuple(name.removeprefix("--exclude=") for name in options if name != "--exclude")


def test_a_column_that_names_the_rows_is_left_out_with_its_options(tmp_path):
    lines = [f"{i}.5,{'ab'[i % 2]},N{i},{i}" for i in range(30)]
    path = write(tmp_path, "\n".join(["x,group,-id,y", *lines]) + "\n")
    fields = read(path)
    assert fields["names"] == ("x", "group", "y")
    assert "'-id' left out: its text names the rows (30 different in 30)." in fields["notes"][0]
    assert "--columns='-id=category' learns it all the same, --keep='-id' writes it" in fields["notes"][0]
    assert read(path, Columns(keep=("-id",)))["beside"]["-id"].to_list() == [f"N{i}" for i in range(30)]
    learned = read(path, Columns(declared=parse_types("-id=category")))
    assert learned["names"] == ("x", "group", "-id", "y")
    assert len(learned["types"][2].levels) == 30


NAMES = (
    "plain",
    "two words",
    "name, first",
    "it's",
    'say "so"',
    "-x",
    "a=b",
    "größe",
    "$HOME",
    "*",
    "^.*$",
    "--exclude",
)


def test_all_faults_are_in_one_message_whatever_the_names(tmp_path):
    kinds = (["1", "red"], ["2020-01-01", "2020-01-32"], ["03/01/2020"], ["1,5"])
    columns = {name: (9 * kinds[j % 4])[:9] for j, name in enumerate(NAMES)} | {"fine": list("123456789")}
    for j, name in enumerate(NAMES):
        if j % 4 == 0:
            columns[name] = [*"12345678", "red"]
    polars.DataFrame(columns).write_csv(tmp_path / "x.csv")
    found = message(tmp_path / "x.csv")
    assert sorted(_excluded(found)) == sorted(NAMES)
    assert len(found.splitlines()) == 3
    assert load(tmp_path / "x.csv", exclude=_excluded(found)).names == ("fine",)
    assert load(tmp_path / "x.csv", exclude=(" plain , two words,it's", *NAMES[2:]))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_an_error_about_thousands_of_columns_is_three_lines_with_a_command_that_helps(tmp_path, monkeypatch, ending):
    columns = {f"measurement {j} of a long name": ["red", "1"] for j in range(2500)}
    columns |= {f"day {j}": ["2020-01-01", "2020-01-32"] for j in range(2500)} | {"a": [1.0, 2.0], "b": [3, 4]}
    frame, path = polars.DataFrame(columns), tmp_path / f"it's x.{ending}"
    frame.write_parquet(path) if ending == "parquet" else frame.write_csv(
        path, separator="\t" if ending == "tsv" else ","
    )
    found = message(path)
    assert len(found.splitlines()) == 3
    assert len(found) < 1000
    assert "and 2,498 more" in found
    command = found.splitlines()[-1].split(": ", 1)[1]
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, timeout=300)
    assert load(next(tmp_path.glob("numbers.*"))).x.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_without_names_is_given_some_by_the_command_printed(tmp_path, separator):
    path = write(tmp_path, table(f"{X[0, 0]},{X[0, 1]}", "{a},{b}").replace(",", separator), "a table.csv")
    found = message(path)
    subprocess.run(["bash", "-c", found.split("such as by ")[1]], check=True, cwd=tmp_path)
    named = load(tmp_path / "named.csv")
    assert named.names == ("x1", "x2")
    assert np.array_equal(named.x, [X[0], *X])


def test_columns_needed_are_found_by_name(tmp_path):
    path = write(tmp_path, table("c,b,,a,text", "7,{b},{i},{a},red"))
    source = load(path, columns=("a", "b"), exclude=("c",), keep=("text",))
    assert source.names == ("a", "b")
    assert np.array_equal(source.x, X)
    assert list(source.beside) == ["text"]
    assert source.notes == ()
    assert load(path, columns=("a", "b"), strict=False).notes == (
        "'c' and 'text' left out: the model was fitted without.",
    )
    assert "lacks 'd' and 'e', 2 of the 3 columns" in message(path, needed=("d", "b", "e"))
    assert "'b' cannot be excluded" in message(path, needed=("a", "b"), exclude=("b",))
    assert "unknown column" in message(path, needed=("a",), strict=False, keep=("tex",), asked=("tex",))


def test_what_is_kept_stays_beside_the_rows(tmp_path):
    path = write(tmp_path, table('id,a,b,"s, t"', "00{i},{a},{b},x"))
    source = load(path, keep=("id", "s, t"))
    assert source.names == ("a", "b")
    assert source.beside["id"].to_list() == [f"00{i}" for i in range(30)]  # as it is written
    both = load([path, path], keep=("id",), exclude=("s, t",))
    assert both.numbers.tolist() == [*range(30), *range(30)]
    assert both.beside["file"].tolist() == ["x.csv"] * 60


def test_files_of_one_data_set_may_order_their_columns_otherwise(tmp_path):
    one = write(tmp_path, table("a,b", "{a},{b}"))
    other = write(tmp_path, table("b,a", "{b},{a}"), "y.csv")
    assert np.array_equal(load([one, other]).x, np.concatenate([X, X]))


TYPES = {
    "text of three": (["b", "a", "", "c"], [1, 0, np.nan, 2], ColumnType("category", ("a", "b", "c"), "text")),
    "text of two": (["m", "f", "f", "m"], [1, 0, 0, 1], ColumnType("binary", ("f", "m"), "text")),
    "text of one": (["m", "NA", "N/A", "null"], [0] + [np.nan] * 3, ColumnType("category", ("m",), "text")),
    "none is a level": (
        ["none", "few", "NaN", "none"],
        [1, 0, np.nan, 1],
        ColumnType("binary", ("few", "none"), "text"),
    ),
    "one mark is none": (["a", "?", "b", "c"], [0, np.nan, 1, 2], ColumnType("category", ("a", "b", "c"), "text")),
    "two marks are levels": (["+", "-", "+", ""], [0, 1, 0, np.nan], ColumnType("binary", ("+", "-"), "text")),
    "truths": (["YES", "no", "yes", "no"], [1, 0, 1, 0], ColumnType("binary", ("no", "YES"), "text")),
    "one truth": (["True", "-", "True", "."], [1, np.nan] * 2, ColumnType("binary", ("False", "True"), "text")),
    "letters of truth": (["t", "f", "?", "t"], [1, 0, np.nan, 1], ColumnType("binary", ("f", "t"), "text")),
    "letters of none": (["m", "f", "m", "m"], [1, 0, 1, 1], ColumnType("binary", ("f", "m"), "text")),
    "a letter of truth alone": (["t", "t", "t", "t"], [0] * 4, ColumnType("category", ("t",), "text")),
    "yes, no and else": (
        ["yes", "no", "so so", "yes"],
        [2, 0, 1, 2],
        ColumnType("category", ("no", "so so", "yes"), "text"),
    ),
    "whole numbers": (["1", "", "-3", "none"], [1, np.nan, -3, np.nan], ColumnType("auto", (), "integer")),
    "prices": (["12.50", "?", "3", "NA"], [12.5, np.nan, 3, np.nan], ColumnType("auto", (), "number", 2)),
    "decimal commas": (["a", "b", "c", "a"], [0, 1, 2, 0], ColumnType("category", ("a", "b", "c"), "text")),
    "measured": (["0.123456789012", "1", "2", "3"], [0.123456789012, 1, 2, 3], ColumnType("auto", (), "number")),
    "powers": (["1e3", "1", "2", "3"], [1000, 1, 2, 3], ColumnType("auto", (), "number")),
    "dates": (["1970-01-02", "", "1971-01-01", "-"], [1, np.nan, 365, np.nan], ColumnType("auto", (), "date")),
    "days first with points": (["2.1.1970", "03.01.1970"] * 2, [1, 2, 1, 2], ColumnType("auto", (), "date")),
    "times of day": (["00:01", "12:00", "NA", "23:59"], [60, 43200, np.nan, 86340], ColumnType("auto", (), "time", 0)),
    "datetimes": (
        ["1970-01-01 00:01", "1970-01-01T00:00:01.5", "1970-01-02", "nan"],
        [60, 1.5, 86400, np.nan],
        ColumnType("auto", (), "datetime"),
    ),
    "a shared zone": (["1970-01-01T00:01:00Z"] * 4, [60] * 4, ColumnType("auto", (), "datetime", 0)),
    "durations": (["PT1H", "-PT1M0.5S", "P1D", ""], [3600, -60.5, 86400, np.nan], ColumnType("auto", (), "duration")),
    "long durations": (
        ["25:00:00", "0:00:01", "1:00:00", ""],
        [90000, 1, 3600, np.nan],
        ColumnType("auto", (), "duration", 0),
    ),
}


@pytest.mark.parametrize("case", TYPES)
def test_a_column_is_what_its_cells_say(tmp_path, case):
    text, values, kind = TYPES[case]
    fields = read(write(tmp_path, cells(*text)))
    found = fields["types"][1]
    assert np.array_equal(fields["x"][:, 1], values, equal_nan=True)
    assert (found.kind, found.levels, found.written, found.decimals) == (
        kind.kind, kind.levels, kind.written, kind.decimals,
    )  # fmt: skip
    assert found.reason


UNITS = {
    "percents": (["12.5%", "", "3.0%", "-4.5%"], [12.5, np.nan, 3, -4.5], "{}%", 1),
    "money": (["$3.20", "-$12.00", "$1.05", "?"], [3.2, -12, 1.05, np.nan], "${}", 2),
    "money behind": (["3 €", "12 €", "NA", "-1 €"], [3, 12, np.nan, -1], "{} €", None),
    "a measure": (["5.5 kg", "1,000.0 kg", "7.5 kg", "-"], [5.5, 1000, 7.5, np.nan], "{} kg", 1),
}


@pytest.mark.parametrize("case", UNITS)
def test_numbers_with_a_unit_are_numbers_and_written_with_it(tmp_path, case):
    text, values, form, decimals = UNITS[case]
    rows = [f'{number}.5,"{cell}"' for number, cell in enumerate(text)]
    path = write(tmp_path, "a,b\n" + "\n".join(rows) + "\n")
    fields = read(path)
    own = fields["types"][1]
    assert np.array_equal(fields["x"][:, 1], values, equal_nan=True)
    assert (own.levels, own.format, own.decimals) == ((), form, decimals)
    unit = form.replace("{}", "").strip()
    assert f"numbers of 'b' read without the '{unit}' that all of them have." in fields["notes"]
    digits = [own.decimals]
    written = as_text(as_table(fields["x"][:, 1:], ["b"], [own.written], [()], digits), digits, [own.format])
    for before, after in zip(text, written["b"], strict=True):
        assert after == (None if before in ("", "?", "NA", "-") else before.replace(",", ""))
    again = read(path, Columns(needed=("b",), types=(own,)))
    assert np.array_equal(again["x"][:, 0], values, equal_nan=True)
    levels = read(path, Columns(declared=parse_types("b=category")))["types"][1].levels
    assert set(levels) == {cell for cell in text if cell not in ("", "?", "NA", "-")}


@pytest.mark.parametrize(
    "text", [["5 kg", "7 lb", "8 kg"], ["A1", "A2", "A3"], ["1.2.3a", "1.2.4a", "1.3.0a"], ["3+", "4+"]]
)
def test_what_has_no_unit_that_all_share_is_text(tmp_path, text):
    assert read(write(tmp_path, cells(*text)))["types"][1].levels == tuple(sorted(text))


def test_one_row_of_a_column_with_a_unit_is_read_and_one_without_is_said(tmp_path):
    kind = ColumnType(written="number", format="${}")
    needed = Columns(needed=("b",), types=(kind,))
    assert read(write(tmp_path, cells("-$3.20")), needed)["x"].tolist() == [[-3.2]]
    assert read(write(tmp_path, cells("$-3.20")), needed)["x"].tolist() == [[-3.2]]
    plain = read(write(tmp_path, cells("3.20")), needed)
    assert plain["x"].tolist() == [[3.2]]
    assert plain["notes"][-1] == "numbers of 'b' have no '$' here: they are taken to be in that unit."


def test_a_code_of_missing_cells_is_a_number_whatever_its_commas(tmp_path):
    """As it stands in files of either kind, and in one that a model reads again."""
    path = write(tmp_path, "a;b\n1,5;-999,0\n2,5;7,25\n-999;8,5\n")
    fields = read(path, Columns(missing=("-999",)))
    assert np.array_equal(fields["x"], [[1.5, np.nan], [2.5, 7.25], [np.nan, 8.5]], equal_nan=True)
    fitted = Columns(needed=fields["names"], types=fields["types"], missing=("-999",))
    assert np.array_equal(read(path, fitted)["x"], fields["x"], equal_nan=True)


def test_stray_words_among_few_different_numbers_are_asked_about_all_at_once(tmp_path):
    path = write(tmp_path, cells(*[str(i % 6) for i in range(60)], "many", "unknown"))
    assert "--missing 'many' --missing 'unknown'" in message(path)
    assert np.isnan(read(path, Columns(missing=("many", "unknown")))["x"][60:, 1]).all()
    often = read(write(tmp_path, cells(*[str(i % 6) for i in range(60)], *["n.d."] * 9)))
    assert often["types"][1].levels == ("0", "1", "2", "3", "4", "5", "n.d.")
    (note,) = (note for note in often["notes"] if "taken for levels" in note)
    assert "numbers and 'n.d.'" in note
    assert "--missing 'n.d.' makes it numbers" in note


def test_other_numbers_than_those_of_the_unit_are_no_numbers_of_the_column(tmp_path):
    kind = ColumnType(written="number", format="${}")
    found = message(write(tmp_path, cells("3 €", "4 €")), needed=("b",), types=(kind,))
    assert "text among the numbers or dates in 'b' (row 0: '3 €')" in found
    plain = read(write(tmp_path, cells("3", "4.5")), Columns(needed=("b",), types=(kind,)))
    assert plain["x"][:, 0].tolist() == [3, 4.5]


def test_what_is_read_as_missing_is_said(tmp_path):
    fields = read(write(tmp_path, "a,b,c\n1,x,\n?,?,3\n2,y,4\n"))
    assert fields["notes"] == ("'?' read as a missing cell in 'a' and 'b'.",)


def test_numbers_among_levels_are_levels_and_words_among_numbers_are_asked_about(tmp_path):
    children = read(write(tmp_path, cells(*["0", "1", "2", "3+"] * 5)))["types"][1]
    assert (children.kind, children.levels) == ("category", ("0", "1", "2", "3+"))
    path = write(tmp_path, table("a,b", "{a},{b}") + "1,below\n1,below\n")
    found = message(path)
    assert "text among the numbers or dates in 'b' (row 30: 'below')" in found
    assert "--missing 'below'" in found
    assert "--columns 'b=category'" in found
    assert np.isnan(read(path, Columns(missing=("below",)))["x"][30:, 1]).all()
    assert read(path, Columns(declared=parse_types("b=category")))["types"][1].kind == "category"


def test_empty_columns_and_those_of_too_many_levels_are_left_out(tmp_path):
    path = write(tmp_path, "a,b,c\n" + "".join(f"{i % 7}.5,,w{i % 1100}\n" for i in range(3300)))
    fields = read(path)
    assert fields["names"] == ("a",)
    assert "'c' left out: it has 1,100 levels." in " ".join(fields["notes"])
    assert "'b' left out: all its cells are empty." in fields["notes"]
    assert "no columns are left to learn from. 'c' left out" in message(path, exclude=("a",))


@pytest.mark.parametrize(
    ("missing", "values"),
    [(("-999",), [1, np.nan, np.nan, 2]), (("-999.00", "2"), [1, np.nan, np.nan, np.nan]), (("x",), None)],
)
def test_cells_may_be_stated_to_be_missing(tmp_path, missing, values):
    path = write(tmp_path, cells("1", "-999", "-999.0", "2"))
    found = read(path, Columns(missing=missing))["x"][:, 1]
    assert np.array_equal(found, values or [1, -999, -999, 2], equal_nan=True)
    typed = polars.DataFrame({"a": [1.0, -999.0], "b": [-999, 3], "c": ["-999", "x"]})
    typed.write_parquet(tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet", Columns(missing=("-999",)))["x"]
    assert np.array_equal(found, [[1, np.nan, np.nan], [np.nan, 3, 0]], equal_nan=True)


STATED = {
    "real": (["1", "2"], "b=real", ColumnType("real", (), "integer")),
    "count": (["1", ""], "b=count", ColumnType("count", (), "integer")),
    "zip": (["01234", "99"], "b=category", ColumnType("category", ("99", "01234"), "text")),
    "numbers": (["10", "9"], "b=category", ColumnType("category", ("9", "10"), "integer")),
    "order": (["10", "9"], "b=ordinal", ColumnType("ordinal", ("9", "10"), "integer")),
    "stated order": (["mid", "low"], "b=ordinal:low<mid", ColumnType("ordinal", ("low", "mid"), "text")),
    "two numbers": (["1", "2"], "b=binary", ColumnType("binary", ("1", "2"), "integer")),
    "0 and 1": (["1", "0"], "b=binary", ColumnType("binary", (), "integer")),
    "two words": (["x", "y"], "b=binary", ColumnType("binary", ("x", "y"), "text")),
    "truths as levels": (["yes", "no"], "b=category", ColumnType("category", ("no", "yes"), "text")),
    "days": (["2020-01-01", "2020-01-02"], "b=real", ColumnType("real", (), "date")),
    "weekdays": (["2020-01-01", ""], "b=category", ColumnType("category", ("2020-01-01",), "text")),
}


@pytest.mark.parametrize("case", STATED)
def test_a_column_is_what_its_owner_says(tmp_path, case):
    text, stated, kind = STATED[case]
    found = read(write(tmp_path, cells(*text)), Columns(declared=parse_types(stated)))["types"][1]
    assert (found.kind, found.levels, found.written) == (kind.kind, kind.levels, kind.written)


WRONG = {
    "text is no number": (["x", "y"], "b=real", "text among the numbers or dates in 'b' (row 0: 'x')"),
    "no count": (["1", "2.5"], "b=count", "not what was stated in 'b' (row 1: 2.5 is no count number)"),
    "not positive": (["1", "0"], "b=positive", "'b' (row 1: 0 is of no positive number)"),
    "three are not two": (["1", "2", "3"], "b=binary", "3 levels, '1', '2' and '3', are not two"),
    "no order": (
        ["low", "high"],
        "b=ordinal",
        "order is yours to say. By the alphabet it is --columns 'b=ordinal:high<low': put",
    ),
    "a level not stated": (["low", "hi"], "b=ordinal:low<mid", "cells without a level in 'b' (row 1: 'hi')"),
    "a level without cells": (["low", "mid"], "b=ordinal:low<mid<high", "no cell is 'high'; they are 'low' and 'mid'"),
    "the other order": (["3/25/2020", "1/1/2020"], "b=date:day-first", "'b' (row 0: '3/25/2020' has the month first)"),
    "the year first": (["", "2020-01-02"], "b=date:day-first", "'b' (row 1: '2020-01-02' has the year first)"),
    "a time of day": (["1/2/2020 10:00"], "b=date:day-first", "'1/2/2020 10:00' is a datetime)"),
    "no date": (["5", "6"], "b=datetime", "not what was stated in 'b' (row 0: '5' is no datetime)"),
    "no such column": (["1", "2"], "bb=count", "unknown column of x.csv 'bb'; did you mean 'b'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_said_of_a_column_must_be_so(tmp_path, case):
    text, stated, words = WRONG[case]
    assert words in message(write(tmp_path, cells(*text)), declared=parse_types(stated))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("age", "give NAME=KIND"),
        ("", "give NAME=KIND"),
        ("x=real,age=cuont,y=real", "unknown kind of column 'cuont'; did you mean 'count'?"),
        ("age=ordinal:low", "give levels as in ordinal:low<mid<high"),
        ("age=ordinal:a<b<a", "each once"),
        ("age=count:a<b", "no kind of column"),
        ("when=date:days,age=real", "give date:day-first or date:month-first"),
    ],
)
def test_what_is_said_of_columns_is_checked(stated, words):
    with pytest.raises(VaekitError) as error:
        parse_types(stated)
    assert words in str(error.value)


def test_types_of_columns_of_any_name():
    assert parse_types(["a b=count", "x, y=real", "p=ordinal:no, never<5<6"]) == {
        "a b": "count", "x, y": "real", "p": "ordinal:no, never<5<6",
    }  # fmt: skip


FITTED = {
    "levels": (ColumnType("category", ("a", "b", "-"), "text"), ["b", "", "-"], [1, np.nan, 2]),
    "numbers as levels": (ColumnType("category", ("1", "10"), "integer"), ["10.0", "?", "1"], [1, np.nan, 0]),
    "truths of another case": (ColumnType("binary", ("no", "yes"), "text"), ["YES", "y", "No"], [1, 1, 0]),
    "truths": (ColumnType("binary", (), "boolean"), ["True", "", "no"], [1, np.nan, 0]),
    "truths as numbers": (ColumnType("binary", (), "boolean"), ["1", "", "0"], [1, np.nan, 0]),
    "days with a clock": (ColumnType("auto", (), "date"), ["1970-01-02 12:00", "", "1970-01-01"], [1.5, np.nan, 0]),
    "a clock without": (ColumnType("auto", (), "datetime"), ["1970-01-02", "", "1970-01-01"], [86400, np.nan, 0]),
    "short durations": (ColumnType("auto", (), "duration"), ["0:01:00", "", "1:00:00"], [60, np.nan, 3600]),
    "nothing": (ColumnType("auto", (), "date"), ["", "?", ""], [np.nan] * 3),
    "no numbers": (ColumnType("count", (), "integer"), ["", "?", ""], [np.nan] * 3),
}


@pytest.mark.parametrize("case", FITTED)
def test_a_column_is_read_as_a_model_was_fitted_to_it(tmp_path, case):
    kind, text, values = FITTED[case]
    fields = read(write(tmp_path, cells(*text)), Columns(needed=("b",), types=(kind,)))
    assert np.array_equal(fields["x"][:, 0], values, equal_nan=True)
    assert fields["types"] == (kind,)


UNFIT = {
    "a date for a number": (ColumnType(), ["1", "2020-01-01"], "text among the numbers or dates in 'b' (row 1"),
    "a number for a date": (
        ColumnType(written="date"),
        ["", "7"],
        "not what was stated in 'b' (row 1: '7' is no date)",
    ),
    "a time for a date": (ColumnType(written="date"), ["12:00", ""], "'12:00' is no date"),
    "2 for a truth": (ColumnType("binary", (), "boolean"), ["1", "2"], "2 is neither true nor false"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_column_that_is_another_than_a_model_was_fitted_to_is_named(tmp_path, case):
    kind, text, words = UNFIT[case]
    found = message(write(tmp_path, cells(*text)), needed=("b",), types=(kind,))
    assert words in found
    assert "The model was fitted to these columns" in found


def test_levels_that_a_model_never_saw_are_counted_and_may_be_missing(tmp_path):
    path = write(tmp_path, cells("a", "z", "b", "y", "z", "?"))
    fitted = {"needed": ("b",), "types": (ColumnType("binary", ("a", "b"), "text"),)}
    found = message(path, **fitted)
    assert "levels that fitting never saw in 'b' (row 1: 'z' (2), 'y' (1))" in found
    assert "--unseen=missing" in found
    fields = read(path, Columns(**fitted, unseen="missing"))
    assert np.array_equal(fields["x"][:, 0], [0, np.nan, 1, np.nan, np.nan, np.nan], equal_nan=True)
    assert "levels that fitting never saw read as missing in 'b': 'z' (2), 'y' (1)." in fields["notes"]


def test_blanks_are_no_separators_and_the_command_printed_helps(tmp_path):
    path = write(tmp_path, "a b\n1 2\n3  4 \n", "it's x.csv")
    found = message(path)
    assert "one column, 'a b', with several numbers in a cell, such as '1 2'" in found
    subprocess.run(["bash", "-c", found.split("such as by ")[1]], check=True, cwd=tmp_path)
    assert load(tmp_path / "commas.csv").x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dia", "bsr"])
def test_a_sparse_archive_is_its_array(tmp_path, kind):
    sparse = pytest.importorskip("scipy.sparse")
    x = np.where(X > 0, X, 0)
    sparse.save_npz(tmp_path / "x.npz", getattr(sparse, f"{kind}_matrix")(x))
    assert np.array_equal(load(tmp_path / "x.npz").x, x)


def test_a_sparse_archive_that_would_fill_the_memory_is_refused(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    sparse.save_npz(tmp_path / "x.npz", sparse.coo_matrix(([1.0], ([0], [0])), shape=(10**6, 10**6)))
    assert "8,000,000,000,000 bytes" in message(tmp_path / "x.npz")


def test_an_archive_s_mask_is_heeded_and_its_other_arrays_are_named(tmp_path):
    mask = np.zeros(X.shape, bool)
    np.savez(tmp_path / "x.npz", x=X, mask=mask, ids=np.arange(30))
    assert load(tmp_path / "x.npz").notes == ("'ids' left out: only 'x' is learned.",)
    mask[4, 1] = True
    np.savez(tmp_path / "x.npz", x=X, mask=mask)
    assert "'mask' marks some cells" in message(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", [polars.Enum(["no", "some", "all"]), polars.Categorical])
def test_an_order_of_levels_is_never_that_of_the_alphabet_unasked(tmp_path, kind):
    polars.DataFrame({"b": polars.Series(["some", "no", "all"] * 9, dtype=kind)}).write_parquet(tmp_path / "x.parquet")
    stated = Columns(declared={"b": "ordinal"})
    if kind == polars.Categorical:
        with pytest.raises(VaekitError, match="whose order is yours to say"):
            read(tmp_path / "x.parquet", stated)
    else:
        assert read(tmp_path / "x.parquet", stated)["types"][0].levels == ("no", "some", "all")


def test_the_order_of_numbers_is_said_with_the_option_for_another(tmp_path):
    fields = read(write(tmp_path, cells("10", "9", "2", "9")), Columns(declared={"b": "ordinal"}))
    (note,) = (note for note in fields["notes"] if "ordered" in note)
    assert "the numbers they are, 2<9<10: for another order, --columns 'b=ordinal:10<9<2'." in note
    other = read(tmp_path / "x.csv", Columns(declared=parse_types("b=ordinal:10<9<2")))
    assert other["types"][-1].levels == ("10", "9", "2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4\n5,6,7,8\n9,9\n", "line 4 has 4 cells, and the header has 2, with commas between them"),
        ('# by hand\na;b;c\n1;2;3\n"x\ny";2;3\n1;2;3;4\n', "line 6 has 4 cells, and the header has 3, with semicolons"),
    ],
)
def test_a_line_of_too_many_cells_is_named(tmp_path, text, words):
    (tmp_path / "ragged.csv").write_text(text)
    with pytest.raises(VaekitError, match=r"^ragged\.csv, ") as error:
        read(tmp_path / "ragged.csv")
    assert words in str(error.value)


def test_names_with_commas_are_set_apart_by_quotes(tmp_path):
    (tmp_path / "x.csv").write_text('age,"income, gross",zip\n1,2,3\n4,5.5,6\n')
    for given in ("income, gross", "'income, gross'", '"income, gross"'):
        assert read(tmp_path / "x.csv", Columns(exclude=(given,)))["names"] == ("age", "zip")
    assert read(tmp_path / "x.csv", Columns(exclude=("zip,'income, gross'",)))["names"] == ("age",)
    assert parse_types("'income, gross'=real,age=count") == {"income, gross": "real", "age": "count"}
    with pytest.raises(VaekitError, match=r"Choose from: age, 'income, gross', zip\."):
        read(tmp_path / "x.csv", Columns(exclude=("nowhere",)))


WAYS = {
    "day first": (["03.07.1999", "12.11.2001"], "%d.%m.%Y"),
    "month first": (["7/3/1999", "11/25/2001"], "%-m/%-d/%Y"),
    "ISO": (["1999-07-03", "2001-11-12"], "%Y-%m-%d"),
    "with a time": (["03.07.1999 7:05", "12.11.2001 16:20"], "%d.%m.%Y %-H:%M"),
    "in a zone": (["1999-07-03T07:05:09Z", "2001-11-12T16:20:00Z"], "%Y-%m-%dT%H:%M:%SZ"),
    "a time": (["07:05", "16:20"], "%H:%M"),
    "a long time": (["7:05:09", "126:20:00"], "%-H:%M:%S"),
}


@pytest.mark.parametrize("case", WAYS)
def test_dates_and_times_are_written_as_they_were_read(tmp_path, case):
    text, form = WAYS[case]
    fields = read(write(tmp_path, cells(*text)))
    own = fields["types"][-1]
    assert own.format == form
    table = as_table(fields["x"][:, -1:], ["b"], [own.written], [()], [own.decimals])
    assert as_text(table, [own.decimals], [own.format])["b"].to_list() == text


MIXED_UNITS = {
    "weights": (["{} kg", "{} g", "{} lb", "{} kg"], "'kg' (20), 'g' (10), 'lb' (10)"),
    "prices": (["${}.20", "€{}", "${}"], "'$' (20), '€' (10)"),
    "some without": (["{}.5cm", "{}", "{}.1cm"], "'cm' (20), none (10)"),
    "a word among them": (["{} %", "{} ‰", "low", "{} %"], "'%' (20), '‰' (10)"),
    "levels": (["3a", "3b", "4a"], None),
    "levels with words": (["1 room", "2 rooms", "3 rooms"], None),
    "places": (["{}1st", "{}2nd", "{}3rd", "{}7th"], None),
    "levels of places": (["1st", "2nd", "3rd"], None),
    "addresses": (["{} High Street", "{} High Street", "{} kg"], None),
    "words": (["red", "green", "7 up"], None),
}


@pytest.mark.parametrize("case", MIXED_UNITS)
def test_numbers_of_several_units_are_noted(tmp_path, case):
    text, words = MIXED_UNITS[case]
    fields = read(write(tmp_path, cells(*(cell.format(i) for i in range(2, 12) for cell in text))))
    noted = [note for note in fields["notes"] if "units" in note]
    if words is None:
        assert not noted
    else:
        start = f"'b' is taken for text, since its numbers have several units: {words}. With"
        assert [note[: len(start)] for note in noted] == [start]


def test_numbers_of_several_units_are_noted_where_their_column_is_left_out(tmp_path):
    text = [f"{i} {unit}" for i in range(40) for unit in ("m", "ft")]
    notes = read(write(tmp_path, cells(*text)))["notes"]
    assert any("'ft' (40), 'm' (40)" in note for note in notes)
    assert any(note.startswith("'b' left out") for note in notes)


POINTS = {
    "two points, commas between cells": ("a,b\n{i}.5,2.345.678\n{i}.5,45.307\n{i}.5,12\n", "", [2345678, 45307, 12]),
    "two points and a unit": ("a,b\n{i}.5,2.345.678 €\n{i}.5,45.307 €\n{i}.5,7 €\n", "", [2345678, 45307, 7]),
    "stated whole": ("a,b\n{i}.5,45.307\n{i}.5,12.000\n{i}.5,9\n", "b=integer", [45307, 12000, 9]),
    "stated a count": ("a;b\n0,5;45.307\n1,5;12.000\n1,5;850\n", "b=count", [45307, 12000, 850]),
    "stated real": ("a;b\n0,5;45.307\n1,5;12.100\n1,5;850\n", "b=real", [45.307, 12.1, 850]),
    "commas stated whole": ("a;b\n{i}.5;1,250\n{i}.5;85\n{i}.5;2,000\n", "b=integer", [1250, 85, 2000]),
    "commas stated real": ("a;b\n{i}.5;1,250\n{i}.5;85\n{i}.5;2,000\n", "b=real", [1.25, 85, 2]),
}


@pytest.mark.parametrize("case", POINTS)
def test_points_and_commas_of_thousands_are_read_where_they_are_certain_or_stated(tmp_path, case):
    text, stated, values = POINTS[case]
    declared = parse_types(stated) if stated else {}
    fields = read(write(tmp_path, text.replace("{i}", "3")), Columns(declared=declared))
    assert fields["x"][:, 1].tolist() == values
    assert fields["decimal"] == ("," if "0,5" in text or case == "commas stated real" else ".")


def test_points_of_two_meanings_are_refused_or_noted_with_what_says_which(tmp_path):
    found = message(write(tmp_path, "a;b\n0,5;45.307\n1,5;12.000\n"))
    remedy = "Where the points are of thousands: --columns 'b=integer'. Where they are decimal: --columns 'b=real'."
    assert remedy in found.splitlines()
    found = message(write(tmp_path, "a;b\n1.5;45,307\n2.5;12,000\n"))
    assert "Where the commas are of thousands: --columns 'b=integer'." in found
    assert read(write(tmp_path, cells("45.307", "12.100")))["notes"] == ()
    beside = "a,b,c\n0.5,45.307,2.345.678\n1.5,{},4.250\n"
    notes = read(write(tmp_path, beside.format("12.100")))["notes"]
    doubt = "points of 'b' read as decimal, as in '45.307': where that is 45307, --columns 'b=integer'."
    assert [note for note in notes if "decimal" in note] == [doubt]
    notes = read(write(tmp_path, beside.format("0.307")))["notes"]
    assert not any("decimal" in note for note in notes)


def test_whole_numbers_of_a_model_are_read_with_points_of_thousands(tmp_path):
    fields = read(write(tmp_path, cells("1.045.307", "12.100")))
    fitted = Columns(needed=("a", "b"), types=fields["types"])
    assert read(write(tmp_path, cells("45.307", "9")), fitted)["x"][:, 1].tolist() == [45307, 9]
    for later in (["2.000"], ["2.000", "2.345"], ["2.000", "7"], ["2.000", "1.045.307"], ["2,000"], ["2,000", "7"]):
        path = write(tmp_path, cells(*(f'"{cell}"' for cell in later)))
        found = read(path, fitted)
        assert found["x"][0, 1] == 2000
        assert any("thousands read" in note for note in found["notes"])
    for later in (["2.000", "0.000"], ["2.000", "12000.000"], ["2.000", "2.5"], ["7", "2.000", "2,000"]):
        path = write(tmp_path, cells(*(f'"{cell}"' for cell in later)))
        kind = "commas" if "2,000" in later else "points"
        assert f"{kind} of two meanings in 'b'" in message(path, needed=("a", "b"), types=fields["types"])
    assert read(write(tmp_path, cells("45.0", "9.00")), fitted)["x"][:, 1].tolist() == [45, 9]
    semicolons = write(tmp_path, "a;b\n0,5;45.307\n1,5;9\n")
    assert read(semicolons, fitted)["x"].tolist() == [[0.5, 45307], [1.5, 9]]
    thirds = read(semicolons, Columns(declared={"b": "real"}))
    assert read(semicolons, replace(fitted, types=thirds["types"]))["x"].tolist() == [[0.5, 45.307], [1.5, 9]]
    hundredths = (fields["types"][0], ColumnType("real", (), "number", 2))
    assert "points of two meanings in 'b'" in message(semicolons, needed=("a", "b"), types=hundredths)
    reals = Columns(needed=("a", "b"), types=(fields["types"][0], ColumnType("real", (), "number")))
    later = read(write(tmp_path, cells("45.307", "9")), reals)
    assert later["x"][:, 1].tolist() == [45.307, 9]
    assert later["notes"] == ()


UNCLEAR = {
    "days": (["3/4/2021", "11/12/2020"], "date:day-first", "%-d/%-m/%Y", [18720, 18607]),
    "months": (["03-04-2021", "11-12-2020"], "date:month-first", "%m-%d-%Y", [18690, 18578]),
    "times": (["5/6/2001 10:00", "5/6/2001 12:30"], "datetime:day-first", "%-d/%-m/%Y %H:%M", None),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_dates_that_leave_the_day_open_are_read_as_stated(tmp_path, case):
    text, stated, form, days = UNCLEAR[case]
    path = write(tmp_path, cells(*text))
    kind = stated.partition(":")[0]
    day = f"Where the day comes first: --columns 'b={kind}:day-first'."
    assert f"{day} Where the month does: --columns 'b={kind}:month-first'." in message(path)
    fields = read(path, Columns(declared=parse_types(f"b={stated}")))
    own = fields["types"][-1]
    assert (own.written, own.format, own.reason) == (kind, form, "as stated")
    pointed = read(write(tmp_path, cells("3.4.2021", "4.25.2021")), Columns(declared={"b": "date:month-first"}))
    assert pointed["types"][-1].format == "%-m.%-d.%Y"
    assert fields["notes"] == ()
    if days is not None:
        assert fields["x"][:, -1].tolist() == days
    table = as_table(fields["x"][:, -1:], ["b"], [own.written], [()], [own.decimals])
    assert as_text(table, [own.decimals], [own.format])["b"].to_list() == text


def test_a_model_of_dates_reads_others_in_the_order_that_it_was_fitted_to(tmp_path):
    path = write(tmp_path, cells("25/4/2021", "11/12/2020"))
    fields = read(path)
    fitted = Columns(needed=("a", "b"), types=fields["types"])
    later = read(write(tmp_path, cells("3/4/2021")), fitted)
    assert later["x"][0, 1] == (datetime.date(2021, 4, 3) - datetime.date(1970, 1, 1)).days
    assert read(write(tmp_path, cells("2021-03-24")), fitted)["x"][0, 1] == 18710


LATER = {
    "points after slashes": ("08/19/2021", ["31.01.2021"], [18658]),
    "points that leave it open": ("08/19/2021", ["03.01.2021"], [18630]),
    "hyphens after slashes": ("08/19/2021", ["03-01-2021"], [18687]),
    "slashes after points": ("19.08.2021", ["01/31/2021"], [18658]),
    "slashes after points that leave it open": ("19.08.2021", ["03/01/2021"], "unclear dates in 'b'"),
    "both marks": ("08/19/2021", ["03/01/2021", "03.01.2021"], "unclear dates in 'b'"),
    "the day instead": ("08/19/2021", ["03/01/2021", "31/01/2021"], "(row 1: '31/01/2021' has the day first)"),
    "both orders": ("08/19/2021", ["03/22/2021", "31/01/2021"], "(row 1: '31/01/2021' has the day first)"),
    "the month instead": ("19/08/2021", ["3/24/2021"], "another order in 'b' (row 0: '3/24/2021' has the month first)"),
    "with points": ("19.08.2021", ["3.24.2021 10:00"], "(row 0: '3.24.2021 10:00' has the month first)"),
}


@pytest.mark.parametrize("case", LATER)
def test_the_order_of_dates_is_carried_over_between_marks_of_one_kind(tmp_path, case):
    first, later, found = LATER[case]
    fitted = Columns(needed=("a", "b"), types=read(write(tmp_path, cells(first, first)))["types"])
    path = write(tmp_path, cells(*later))
    if isinstance(found, str):
        assert found in message(path, needed=fitted.needed, types=fitted.types)
    else:
        assert read(path, fitted)["x"][:, 1].tolist() == found


def test_points_have_the_month_first_where_that_was_stated_of_such(tmp_path):
    stated = Columns(declared=parse_types("b=date:month-first"))
    path = write(tmp_path, cells("3.4.2021"))
    for first, days in (("4.25.2021", 18690), ("4/25/2021", 18720)):
        types = read(write(tmp_path, cells(first), "first.csv"), stated)["types"]
        assert read(path, Columns(needed=("a", "b"), types=types))["x"][0, 1] == days


@pytest.mark.parametrize("below", ["", '\n7,"so"\n', "\n7,8\n9,10\n"])
def test_a_quotation_mark_that_is_not_closed_is_named_by_its_line(tmp_path, below):
    path = write(tmp_path, 'a,b\n# a comment\n1,"x"\n\n3,"y' + below)
    assert "x.csv, line 5: a cell opens with a quotation mark" in message(path)


@pytest.mark.parametrize(("first", "step", "counts"), [(0, 1, True), (1, 1, True), (1001, 1, True), (1001, 2, False)])
def test_a_column_that_counts_the_rows_is_noted(tmp_path, first, step, counts):
    path = write(tmp_path, cells(*(str(first + step * i) for i in range(12))))
    noted = [note for note in read(path)["notes"] if "'b' counts the rows and is learned" in note]
    assert bool(noted) == counts


def test_a_first_line_like_the_next_is_noted(tmp_path):
    rows = "".join(f"{i}.5,{i},w{i % 3}\n" for i in range(12))
    (note,) = (note for note in read(write(tmp_path, rows))["notes"] if "first line" in note)
    assert note.startswith("the first line, 0.5, 0, w0, is taken for the columns' names: if it is a row")
    assert not any("first line" in note for note in read(write(tmp_path, "a,2020,w\n" + rows))["notes"])


@pytest.mark.parametrize("kind", ["", "real", "positive", "amount", "integer", "count"])
def test_what_is_stated_of_a_column_does_not_change_what_its_commas_are(tmp_path, kind):
    path = write(tmp_path, cells('"9,188"', '"15,373"', "894", '"2,401"'))
    declared = parse_types((f"b={kind}",)) if kind else {}
    assert read(path, Columns(declared=declared))["x"][:, 1].tolist() == [9188, 15373, 894, 2401]


def test_zeros_in_front_are_noted_with_what_keeps_them(tmp_path):
    path = write(tmp_path, cells(*[f"0{i % 7}11{i % 3}" for i in range(40)]))
    source = read(path, Columns())
    (note,) = (note for note in source["notes"] if "zeros in front" in note)
    assert "--columns 'b=category'" in note or "--columns b=category" in note
    kept = read(path, Columns(declared=parse_types(("b=category",))))
    assert not any("zeros in front" in note for note in kept["notes"])
    assert kept["types"][1].levels[0].startswith("0")
    assert not any(
        "zeros in front" in note for note in read(write(tmp_path, cells("0", "0.5", "10")), Columns())["notes"]
    )


def test_lines_that_end_too_soon_are_noted(tmp_path):
    path = tmp_path / "short.csv"
    path.write_text('# logger 7\na,b,c\n1,2,3\n\n4,5\n"x, y",6,7\n8\n9,10,\n11,,12\n13,14\n15,16\n')
    assert read_delimited(path).notes[-1] == (
        "lines 5, 7, 10 and 1 more have fewer cells than the header: those that are not there are missing."
    )
    path.write_text("a,b\n1,2\n3,\n,4\n\n")
    assert not any("fewer cells" in note for note in read_delimited(path).notes)
