"""I1, I2: a stranger's data works where it has a sensible meaning, and is refused in a few words where it has none."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli.conftest import call
from PIL import Image

import vaekit
from reliability.conftest import cost
from vaekit.data import load

MIB = 2**20
MOST_CALLS = 5 * 10**5
"""of functions, to refuse a file"""
X = np.random.default_rng(0).normal(size=(40, 3))
TABLE = "a,b\n" + "".join(f"{a:.3f},{b:.3f}\n" for a, b, _ in X)
FIT = ("--hidden", "2", "--latent-dim", 1, "--epochs", 1)


def indexed(name: str, index) -> str:
    header, *lines = TABLE.splitlines()
    return "\n".join([f"{name},{header}", *(f"{i},{line}" for i, line in zip(index, lines, strict=True))])


def changed(row: int, column: int, value: float) -> np.ndarray:
    x = X.copy()
    x[row, column] = value
    return x


def npy(x) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x, allow_pickle=True)
    return buffer.getvalue()


def header(shape, descr="<f8", data: bytes = bytes(100)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("UP", "../") + ".npy", content)
    return buffer.getvalue()


def gzipped(mebibytes: int) -> bytes:
    return gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, mebibytes * MIB) + bytes(mebibytes * MIB), 9)


def parquet(rows: int) -> bytes:
    import polars

    buffer = io.BytesIO()
    polars.DataFrame({"a": polars.repeat(1.0, rows, eager=True)}).write_parquet(buffer)
    return buffer.getvalue()


REFUSED = {
    # numbers
    "infinity": ("x.npy", lambda: npy(changed(7, 2, np.inf)), "row 7", "column 2"),
    "minus infinity": ("x.npy", lambda: npy(changed(7, 2, -np.inf)), "row 7", "column 2"),
    "1e308": ("x.npy", lambda: npy(changed(7, 2, 1e308)), "row 7", "column 2"),
    "no rows": ("x.npy", lambda: npy(X[:0]), "(0, 3)"),
    "no columns": ("x.npy", lambda: npy(X[:, :0]), "(40, 0)"),
    "one number": ("x.npy", lambda: npy(np.float64(3)), "()"),
    "complex": ("x.npy", lambda: npy(X + 1j), "complex128"),
    "dates": ("x.npy", lambda: npy(np.zeros((4, 2), "M8[s]")), "datetime64"),
    "records": ("x.npy", lambda: npy(np.zeros(4, [("a", "f4")])), "numbers"),
    # tables
    "empty": ("x.csv", "", "x.csv"),
    "header only": ("x.csv", "a,b\n", "x.csv", "no rows"),
    "ragged": ("x.csv", TABLE + "1,2,3\n", "x.csv"),
    "two columns of one name": ("x.csv", TABLE.replace("a,b", "a,a"), "x.csv", "'a'"),
    "UTF-16": ("x.csv", TABLE.encode("utf-16"), "x.csv", "UTF-8"),
    "Latin-1": ("x.csv", ("größe" + TABLE[1:]).encode("latin-1"), "x.csv", "UTF-8"),
    "a NUL": ("x.csv", TABLE[:50] + "\0" + TABLE[50:], "x.csv", "row"),
    "an unclosed quote": ("x.csv", TABLE.replace("\n", '\n"', 1), "x.csv"),
    "decimal comma": ("x.csv", 'a,b\n"1,5","2,5"\n', "row 0", "'a'", "point"),
    "an archive as a table": ("x.csv", lambda: npz(x=npy(X)), "x.csv"),
    "a bomb of a table": ("x.parquet", lambda: parquet(2**27), "x.parquet", "times"),
    "cut parquet": ("x.parquet", lambda: parquet(9)[:-9], "x.parquet", "truncated"),
    # arrays
    "objects": ("x.npy", lambda: npy(np.array([[{}, 1]], object)), "x.npy", "never unpickled"),
    "a pickle": ("x.npy", pickle.dumps({}), "x.npy", "never unpickled"),
    "code as a header": ("x.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"open('executed', 'w')".ljust(117) + b"\n", "x.npy"),
    "a wrong size": ("x.npy", lambda: npy(X)[:-8], "x.npy"),
    "a shape of 10^12": ("x.npy", lambda: header((10**12, 2)), "x.npy"),
    "a shape of 10^24": ("x.npy", lambda: header((10**12, 10**12)), "x.npy"),
    "a negative shape": ("x.npy", lambda: header((-1, 2)), "x.npy"),
    "a shape of 10^12 in an archive": ("x.npz", lambda: npz(x=header((10**12, 2))), "x.npz", "not all there"),
    "labels of 10^12 in an archive": ("x.npz", lambda: npz(x=npy(X), y=header((10**12,))), "x.npz", "not all there"),
    "no array in an archive": ("x.npz", lambda: npz(x=b"hello"), "x.npz"),
    "text in an archive": ("x.npz", lambda: npz(x=b"hello").replace(b"x.npy", b"x.txt"), "x.npz", "no array"),
    "two arrays, which?": ("x.npz", lambda: npz(p=npy(X), q=npy(X)), "p, q", "'x'"),
    "a bomb": ("x.npz", lambda: npz(x=npy(np.zeros((300, MIB // 8)))), "x.npz", "times"),
    "a bomb in gzip": ("x.idx.gz", lambda: gzipped(300), "x.idx.gz", "times"),
    "a bomb of text in gzip": ("x.csv.gz", lambda: gzip.compress(bytes(300 * MIB), 9), "x.csv.gz", "times"),
    "half of a gzip of text": ("x.csv.gz", lambda: gzip.compress(TABLE.encode())[:-20], "x.csv.gz"),
    "no gzip": ("x.csv.gz", TABLE, "x.csv.gz"),
    "half of a gzip": ("x.idx.gz", lambda: gzipped(1)[:-20], "x.idx.gz"),
    "IDX that promises 10^19": ("x.idx", struct.pack(">BBBB2I", 0, 0, 14, 2, 2**31, 2**31), "x.idx"),
}  # fmt: skip


def write(home: Path, name: str, content) -> Path:
    content = content() if callable(content) else content
    path = home / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_data_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    name, content, *words = REFUSED[case]
    path = write(tmp_path, name, content)
    del content
    results = []
    taken = cost(lambda: results.append(call("fit", path, "--out", tmp_path / "run", *FIT)))
    (result,) = results
    assert result.code == 2, result
    assert 1 <= len(result.err.splitlines()) <= 3
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err
    assert [p.name for p in tmp_path.iterdir()] == [name]  # nothing written, nothing executed
    assert taken.calls < MOST_CALLS
    assert taken.memory < 256 * MIB


WORKS = {
    "constant columns": ("x.npy", lambda: npy(np.ones((40, 3)))),
    "one constant column": ("x.npy", lambda: npy(X * [1, 0, 1] + 7)),
    "a constant of 1e20": ("x.npy", lambda: npy(X * [1, 0, 1] + [0, 1e20, 0])),
    "beyond 2^53": ("x.npy", lambda: npy(np.array([[2**53 + i, i] for i in range(40)]))),
    "near 2^64": ("x.npy", lambda: npy(np.array([[2**64 - 1 - i, i] for i in range(40)], np.uint64))),
    "beyond 2^53 in a table": ("x.csv", "a,b\n" + "".join(f"{2**53 + i},{i}\n" for i in range(40))),
    "one cell of 1e29": ("x.npy", lambda: npy(changed(7, 2, 1e29))),
    "an offset": ("x.npy", lambda: npy(X + 101_325)),
    "one row": ("x.npy", lambda: npy(X[:1])),
    "two rows": ("x.npy", lambda: npy(X[:2])),
    "one row in a table": ("x.csv", "a,b\n1,2\n"),
    "a batch and one row": ("x.npy", lambda: npy(np.random.default_rng(0).normal(size=(21, 3)))),  # 17 to train on
    "more columns than rows": ("x.npy", lambda: npy(np.random.default_rng(0).normal(size=(3, 500)))),
    "half precision": ("x.npy", lambda: npy(X.astype("f2"))),
    "true and false": ("x.npy", lambda: npy(X > 0)),
    "a member that leads out": ("x.npz", lambda: npz(UPevil=npy(X), x=npy(X))),
}


@pytest.mark.parametrize("case", WORKS)
def test_odd_data_works(tmp_path, case):
    path = write(tmp_path, *WORKS[case])
    out = tmp_path / "run"
    assert call("fit", path, "--out", out, *FIT, "--batch-size", 16).code == 0
    scored = call("score", out, path, "-o", tmp_path / "s.npy", "--samples", 2)
    assert scored.code == 0, scored.err
    assert np.isfinite(np.load(tmp_path / "s.npy")[:, 0]).all()
    assert call("encode", out, path, "-o", tmp_path / "z.npy").code == 0
    assert np.isfinite(np.load(tmp_path / "z.npy")).all()
    assert not (tmp_path.parent / "evil.npy").exists()


SAME = {
    "byte order mark": ("x.csv", b"\xef\xbb\xbf" + TABLE.encode()),
    "Windows line ends": ("x.csv", TABLE.replace("\n", "\r\n")),
    "spaces": ("x.csv", TABLE.replace(",", ", ").replace("a, b", "a,b")),
    "quotes": ("x.csv", "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in TABLE.split())),
    "semicolons": ("x.csv", TABLE.replace(",", ";")),
    "semicolons and decimal commas": ("x.csv", TABLE.replace(",", ";").replace(".", ",")),
    "tabs": ("x.tsv", TABLE.replace(",", "\t")),
    "tabs under another name": ("x.csv", TABLE.replace(",", "\t")),
    "bars": ("x.csv", TABLE.replace(",", "|")),
    "old line ends": ("x.csv", TABLE.replace("\n", "\r")),
    "gzipped": ("x.csv.gz", lambda: gzip.compress(TABLE.encode())),
    "gzipped tabs": ("x.tsv.gz", lambda: gzip.compress(TABLE.replace(",", "\t").encode())),
    "comments above": ("x.csv", "# made by a program\n# in 2020, in May\n" + TABLE),
    "a comment as header": ("x.csv", "# " + TABLE),
    "comments between": ("x.csv", TABLE.replace("\n", "\n# remark\n")),
    "blank last lines": ("x.csv", TABLE + "\n \n,\n\n"),
    "blank first lines": ("x.csv", "\n\n" + TABLE),
    "a comma at each end": ("x.csv", TABLE.replace("\n", ",\n")),
    "a comma at each row's end": ("x.csv", TABLE.replace("\n", ",\n").replace("a,b,", "a,b")),
    "an index": ("x.csv", indexed("", range(40))),
    "an index from 1": ("x.csv", indexed("Unnamed: 0", range(1, 41))),
    "an index of chosen rows": ("x.csv", indexed("", range(900, 100, -20))),
    "an index by its name": ("x.csv", indexed("index", range(40))),
    "pandas' name of an index": ("x.csv", indexed("__index_level_0__", range(40))),
    "R's names of rows": ("x.csv", indexed("", map("car {}".format, range(40)))),
    "R's header": ("x.csv", indexed("", range(1, 41))[1:]),
    "Fortran order": ("x.npy", lambda: npy(np.asfortranarray(np.round(X[:, :2], 3)))),
    "big-endian": ("x.npy", lambda: npy(np.round(X[:, :2], 3).astype(">f8"))),
}


@pytest.mark.parametrize("case", SAME)
def test_data_in_other_habits_is_the_same(tmp_path, case):
    (tmp_path / "plain.csv").write_text(TABLE)
    found, plain = load(write(tmp_path, *SAME[case])), load(tmp_path / "plain.csv")
    assert found.digest == plain.digest
    assert found.names in (plain.names, None)


@pytest.mark.filterwarnings("ignore:1 of 400 cells of column 2")
def test_one_outlier_leaves_the_rest_alone(tmp_path):
    """A cell of 1e8 is left out of training, and everything else is learned as it was."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 1))
    x = np.hstack(
        [z + 0.1 * rng.normal(size=(400, 1)), 2 * z + 0.1 * rng.normal(size=(400, 1)), rng.normal(size=(400, 1))]
    )
    outlier = x.copy()
    outlier[3, 2] = 1e8
    errors = []
    for rows in (x, outlier):
        vae = vaekit.VAE(latent_dim=1, hidden=(), max_epochs=60, random_state=0).fit(rows)
        again = vae.inverse_transform(vae.transform(x))
        assert np.isfinite(vae.score_samples(rows)).all()
        errors.append(np.abs(again - x)[:, :2].mean())
    assert errors[1] < 3 * errors[0] + 0.1


# the model is fitted, and other data comes


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("fitted")
    (home / "table.csv").write_text(TABLE)
    assert call("fit", home / "table.csv", "--out", home / "run", *FIT).code == 0
    return home / "run"


@pytest.fixture(scope="module")
def pictured(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("pictured")
    assert call("fit", "digits", "--out", home / "run", *FIT).code == 0
    return home / "run"


OTHERS = {
    "columns missing": ("a\n1\n", "lacks 'b'", "1 of the 2"),
    "all columns missing": ("c\n1\n", "lacks 'a' and 'b'", "2 of the 2", "'c'"),
    "other names": ("a,c\n1,2\n", "lacks 'b'", "'c' instead"),
    "a category": ("a,b\n1,red\n", "row 0", "'b'", "red"),
    "infinity": ("a,b\n1,2\n-inf,2\n", "row 1", "'a'"),
    "1e308": ("a,b\n1,2\n3,1e308\n", "row 1", "'b'"),
    "no rows": ("a,b\n", "no rows"),
}


@pytest.mark.parametrize("command", ["evaluate", "encode", "score"])
@pytest.mark.parametrize("case", OTHERS)
def test_other_data_is_refused(fitted, tmp_path, case, command):
    content, *words = OTHERS[case]
    path, output = write(tmp_path, "x.csv", content), ("-o", tmp_path / "out.csv")
    result = call(command, fitted, path, *(output if command != "evaluate" else ()))
    assert result.code == 2, result
    assert 1 <= len(result.err.splitlines()) <= 3
    for word in words:
        assert word in result.err
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("command", ["evaluate", "encode", "score"])
def test_one_row_is_enough(fitted, tmp_path, command):
    path, output = write(tmp_path, "x.csv", "a,b\n1,2\n"), ("-o", tmp_path / "out.csv")
    assert call(command, fitted, path, *(output if command != "evaluate" else ())).code == 0


SAME_ROWS = {
    "another order": "b,a\n2,1\n4,3\n",
    "a column too many": "a,b,c\n1,2,red\n3,4,blue\n",
    "an index": ",b,c,a\n0,2,,1\n1,4,,3\n",
}


@pytest.mark.parametrize("command", ["evaluate", "encode", "score", "reconstruct"])
@pytest.mark.parametrize("case", SAME_ROWS)
def test_columns_are_found_by_their_names(fitted, tmp_path, case, command):
    results = []
    for name, content in (("plain", "a,b\n1,2\n3,4\n"), ("other", SAME_ROWS[case])):
        home = tmp_path / name
        home.mkdir()
        path, output = write(home, "x.csv", content), ("-o", home / "out.csv")
        result = call(command, fitted, path, *(output if command != "evaluate" else ("--samples", 5)))
        assert result.code == 0, result
        results.append(result.out if command == "evaluate" else (home / "out.csv").read_text())
        assert ("'c' left out" in result.err) is ("c" in content.splitlines()[0])
    assert results[0] == results[1]


def test_values_outside_the_support_are_named(pictured, tmp_path):
    loud = np.zeros((6, 8, 8), np.float32)
    loud[4, 2, 3] = 16.5
    np.save(tmp_path / "x.npy", loud)
    for command in ("encode", "score"):
        result = call(command, pictured, tmp_path / "x.npy", "-o", tmp_path / "out.npy")
        assert result.code == 2
        assert "row 4" in result.err
        assert "(2, 3)" in result.err


# images


def image(size=(8, 8), mode="L", kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


PICTURES = {
    "mixed sizes": ({"b.png": lambda: image((9, 8))}, "b.png", "--resize"),
    "16 bits beside 8": ({"b.png": lambda: image(mode="I;16")}, "b.png", "uint16"),
    "truncated": ({"b.png": lambda: image((64, 64))[:60]}, "b.png"),
    "renamed text": ({"b.png": b"hello"}, "b.png"),
    "13,000² in one bit": ({"b.png": lambda: image((13_000, 13_000), "1")}, "b.png", "pixels"),
    "a loop of links": ({"b.png": loop}, "b.png"),
    "a pipe": ({"b.png": pipe}, "b.png"),
    "another format": ({"b.png": lambda: image(kind="GIF")}, "b.png"),
}


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
@pytest.mark.parametrize("case", PICTURES)
def test_hostile_images_are_refused(tmp_path, case):
    files, *words = PICTURES[case]
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(image())
    for name, content in files.items():
        content(folder / name) if content in (pipe, loop) else write(folder, name, content)
    results = []
    taken = cost(lambda: results.append(call("fit", folder, "--out", tmp_path / "run", *FIT)))
    (result,) = results
    assert result.code == 2, result
    assert 1 <= len(result.err.splitlines()) <= 3
    for word in words:
        assert word in result.err
    assert not (tmp_path / "run").exists()
    assert taken.calls < MOST_CALLS
    assert taken.memory < 256 * MIB


def test_a_photograph_is_turned_and_modes_are_mixed(tmp_path):
    upright = Image.new("RGB", (4, 8))
    upright.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    Image.new("P", (4, 8)).save(tmp_path / "b.png")
    Image.new("CMYK", (4, 8)).save(tmp_path / "c.jpg")
    x = load(tmp_path).x
    assert x.shape == (3, 3, 8, 4)
    assert x[0, :, 0, 0].tolist() == [255, 0, 0]


def test_links_in_a_circle_are_walked_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(image())
    with contextlib.suppress(OSError):
        (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(load(tmp_path).x) == 1


# the specification

SIZES = {
    "10^12 units": ("--hidden", 10**12),
    "10^12 latents": ("--latent-dim", 10**12),
    "10^12 draws": ("--objective", f"elbo:samples={10**12}"),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_beyond_all_memory_are_refused(tmp_path, case):
    result = call("fit", "digits", "--out", tmp_path / "run", "--epochs", 1, *SIZES[case])
    assert result.code == 2
    assert "memory" in result.err or "1 or more and below" in result.err
