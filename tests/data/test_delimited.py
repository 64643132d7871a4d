"""Tables of text: what a file's habits mean, what is said of them, and remedies that work as printed."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest

from vaekit.data import load
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
        load(path, **options)
    return error.value.at_command_line


READ = {
    "thousands": (table("a,b", '{a},"{i},250"', 30).replace('"0,', '"1,'), "commas of thousands", [1250, 1250, 2250]),
    "millions": (table("a,b", '{a},"{i},250,000.5"').replace('"0,', '"1,'), "commas of thousands", [1250000.5] * 2),
    "points of thousands": (table("a;b", "{i},5;{i}.250.000").replace(";0.", ";1."), "points of thousands", [1250000]),
    "points and decimal commas": (table("a;b", "{a};7.250,{i}"), "decimal commas", [7250.0, 7250.1, 7250.2]),
    "a decimal comma decides for its table": (table("a;b", "0,5;1,250"), "decimal commas", [1.25, 1.25]),
    "two groups decide for their table": (table("a\tb", "1,000,000\t1,250"), "commas of thousands", [1250, 1250]),
    "true and false": (table("a,b", "{a},True").replace("True\n", "FALSE\n", 1), "true and false", [0, 1, 1]),
    "yes and no": (table("a,b", "{a},no").replace("no\n", "Yes\n", 1), "yes and no", [1, 0, 0]),
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
    found = message(write(tmp_path, table("a,b", "red,{i}x")))
    assert "'a' (row 0: 'red'), 'b' (row 0: '0x')" in found
    assert "--exclude" not in found


def test_a_plain_table_needs_no_note(tmp_path):
    assert load(write(tmp_path, table("a,b", "{a},{b}"))).notes == ()


FAULTS = {
    "ambiguous commas": (table("a;b", "1,250;{b}"), "commas of two meanings in 'a' (row 0: '1,250')"),
    "ambiguous points": (table("a;b", "0,5;1.250"), "points of two meanings in 'b' (row 0: '1.250')"),
    "decimal commas in quotes": (table("a,b", '"{i},5",{b}'), "decimal commas in 'a' (row 0: '0,5')"),
    "text": (table("a b,b", "red,{b}"), "text in 'a b' (row 0: 'red')"),
    "some text": (table("a,b", "{i}x,{b}").replace("0x", "0", 1), "text in 'a' (row 1: '1x')"),
    "dates": (table("a,b", "2020-05-{i},{b}"), "dates in 'a' (row 0: '2020-05-0')"),
    "dates with points": (table("a,b", "{i}.5.2020,{b}"), "dates in 'a' (row 0: '0.5.2020')"),
    "an empty cell": (table("a,b", "{i},{b}").replace("3,", ",", 1), "empty cells in 'a' (row 3)"),
    "NA": (table("a,b", "{i},{b}").replace("3,", "n/a,", 1), "empty cells in 'a' (row 3: 'n/a')"),
    "nan": (table("a,b", "{i},{b}").replace("3,", "NaN,", 1), "empty cells in 'a' (row 3: 'NaN')"),
    "true, false and nothing": (table("a,b", "true,{b}").replace("true", "", 1), "text in 'a' (row 1: 'true')"),
    "true and no": (table("a,b", "true,{b}").replace("true", "no", 1), "text in 'a' (row 0: 'no')"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_and_its_option_helps(tmp_path, case):
    text, words = FAULTS[case]
    path = write(tmp_path, text)
    found = message(path)
    assert words in found
    assert len(found.splitlines()) <= 3
    assert load(path, exclude=_excluded(found)).x.shape == (30, 1)


def _excluded(found: str) -> tuple[str, ...]:
    """The names that a message offers to leave out, as a shell reads them."""
    options = shlex.split(found.splitlines()[-1].split(": ", 1)[1].split(" (--keep")[0])
    return tuple(name.removeprefix("--exclude=") for name in options if name != "--exclude")


def test_a_column_that_names_the_rows_is_to_be_kept(tmp_path):
    lines = [f"{i}.5,{'ab'[i % 2]},N{i},{i if i else 'no'}" for i in range(30)]
    path = write(tmp_path, "\n".join(["x,group,-id,y", *lines]) + "\n")
    found = message(path)
    assert "--exclude 'group' --keep='-id' --exclude 'y' (" in found
    source = load(path, exclude=("group", "y"), keep=("-id",))
    assert source.x.shape == (30, 1)
    assert source.beside["-id"].to_list() == [f"N{i}" for i in range(30)]


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
    kinds = ("red", "2020-01-01", "", "1,5")
    columns = {name: [kinds[j % 4]] * 9 for j, name in enumerate(NAMES)} | {"fine": list("123456789")}
    polars.DataFrame(columns).write_csv(tmp_path / "x.csv")
    found = message(tmp_path / "x.csv")
    assert sorted(_excluded(found)) == sorted(NAMES)
    assert len(found.splitlines()) == 3
    assert load(tmp_path / "x.csv", exclude=_excluded(found)).names == ("fine",)
    assert load(tmp_path / "x.csv", exclude=(" plain , two words,it's", *NAMES[2:]))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_an_error_about_thousands_of_columns_is_three_lines_with_a_command_that_helps(tmp_path, monkeypatch, ending):
    columns = {f"measurement {j} of a long name": ["red", "blue"] for j in range(2500)}
    columns |= {f"hole {j}": [1.5, None] for j in range(2500)} | {"a": [1.0, 2.0], "b": [3, 4]}
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
    assert "lacks 'd' and 'e', 2 of the 3 columns" in message(path, columns=("d", "b", "e"))
    assert "'b' cannot be excluded" in message(path, columns=("a", "b"), exclude=("b",))
    assert "needs numbers in all" in message(path, columns=("a", "text"))
    assert "unknown column" in message(path, columns=("a",), strict=False, keep=("tex",), asked=("tex",))


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
