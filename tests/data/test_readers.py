"""Files → arrays: what was written comes back, and damage is named."""

import gzip
import struct

import numpy as np
import pytest

from vaekit.data import load
from vaekit.data.readers import IDX_TYPES
from vaekit.errors import VaekitError

pytestmark = [  # numpy leaves a damaged archive open for the garbage collector to close
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def idx(array: np.ndarray) -> bytes:
    code = next(code for code, name in IDX_TYPES.items() if np.dtype(name) == array.dtype.newbyteorder(">"))
    return (
        struct.pack(">BBBB", 0, 0, code, array.ndim)
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.astype(array.dtype.newbyteorder(">")).tobytes())
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 3))


# Round trips


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u4", ">i8", "<f2", "<f4", ">f4", "<f8", ">f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_numbers_in_any_order(tmp_path, dtype, order):
    values = np.arange(24).reshape(4, 3, 2) % 2 if dtype == "?" else np.arange(24).reshape(4, 3, 2)
    np.save(tmp_path / "x.npy", np.asarray(values.astype(dtype), order=order))
    x = load(tmp_path / "x.npy").x
    assert np.array_equal(x, values)
    assert x.dtype.isnative
    assert x.flags.c_contiguous
    if dtype != "?":
        assert x.dtype == np.dtype(dtype).newbyteorder("=")


def test_big_endian_and_fortran_files_have_the_digest_of_plain_ones(tmp_path, x):
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", np.asfortranarray(x).astype(">f8"))
    assert load(tmp_path / "a.npy").digest == load(tmp_path / "b.npy").digest


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("x", "y"), ("data", "labels"), ("X", "target"), ("arr_0", None), ("only", None)])
def test_npz(tmp_path, x, save, names):
    arrays = {names[0]: x} | ({names[1]: np.arange(12)} if names[1] else {})
    save(tmp_path / "x.npz", **arrays)
    source = load(tmp_path / "x.npz")
    assert np.array_equal(source.x, x)
    assert names[1] is None or np.array_equal(source.labels, np.arange(12))


def test_npz_without_a_clear_choice_lists_what_it_holds(tmp_path, x):
    np.savez(tmp_path / "x.npz", first=x, second=x)
    with pytest.raises(VaekitError, match=r"first, second.*'x'"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("ending", [".idx", "-ubyte", ".idx.gz", "-ubyte.gz"])
def test_idx(tmp_path, dtype, ending):
    values = np.arange(24).reshape(4, 3, 2).astype(dtype)
    content = idx(values)
    (tmp_path / f"x{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    x = load(tmp_path / f"x{ending}").x
    assert np.array_equal(x, values)
    assert x.dtype == np.dtype(dtype)


def test_csv_keeps_names_and_every_digit(tmp_path, x):
    names = ["a b", "größe", '"quoted, with a comma"']
    lines = [",".join(names), *(",".join(map(repr, row)) for row in x.tolist())]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = load(tmp_path / "x.csv")
    assert source.names == ("a b", "größe", "quoted, with a comma")
    assert np.array_equal(source.x, x)


@pytest.mark.parametrize(
    "text", ["\ufeffa,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4\r\n", "a,b\n 1 ,2\n3, 4", 'a,b\n"1","2"\n3,4\n']
)
def test_csv_in_other_people_s_habits(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode())
    source = load(tmp_path / "x.csv")
    assert source.names == ("a", "b")
    assert source.x.tolist() == [[1, 2], [3, 4]]


def test_csv_numbers_of_all_spellings(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1e3\n-2.5E-1\n+7\n.5\n5.\n")
    assert load(tmp_path / "x.csv").x[:, 0].tolist() == [1000, -0.25, 7, 0.5, 5]


def test_columns_are_left_out_and_put_aside(tmp_path):
    (tmp_path / "x.csv").write_text("id,a,kind,b\nr1,1,yes,2\nr2,3,no,4\n")
    source = load(tmp_path / "x.csv", exclude=("id",), label="kind")
    assert source.names == ("a", "b")
    assert source.x.tolist() == [[1, 2], [3, 4]]
    assert source.labels.tolist() == ["yes", "no"]
    with pytest.raises(VaekitError, match=r"'idd'.*did you mean 'id'"):
        load(tmp_path / "x.csv", exclude=("idd",))
    with pytest.raises(VaekitError, match=r"'kin'.*did you mean 'kind'"):
        load(tmp_path / "x.csv", exclude=("id",), label="kin")
    assert load(tmp_path / "x.csv", exclude=("id", "kind", "other"), label="missing", strict=False).names == ("a", "b")


# Damage


def refused(path, *words: str) -> None:
    with pytest.raises(VaekitError) as error:
        load(path)
    for word in (path.name, *words):
        assert word in str(error.value)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".idx", ".idx.gz"])
def test_a_truncated_file_is_refused(tmp_path, x, ending):
    path = tmp_path / f"x{ending}"
    if ending.startswith(".np"):
        (np.save if ending == ".npy" else np.savez_compressed)(path, x)
    else:
        content = idx((x * 10).astype(np.uint8))
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    content = path.read_bytes()
    for length in (0, 1, 3, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".idx", ".idx.gz"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x00" * 64, b"hello, world\n", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x1f\x8b\x08\x00"],
    ids=["empty", "a zero", "zeros", "text", "npy", "zip", "gzip"],
)
def test_a_renamed_file_is_refused(tmp_path, ending, content):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    with pytest.raises(VaekitError):
        load(path)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".idx.gz"])
def test_a_flipped_bit_gives_other_numbers_or_one_clear_error(tmp_path, x, ending):
    path = tmp_path / f"x{ending}"
    if ending.startswith(".np"):
        (np.save if ending == ".npy" else np.savez_compressed)(path, x)
    else:
        path.write_bytes(gzip.compress(idx((x * 10).astype(np.uint8))))
    content = path.read_bytes()
    refusals = 0
    for place in range(min(len(content), 200)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place * 5 % 8
        path.write_bytes(damaged)
        try:
            load(path)
        except VaekitError:
            refusals += 1
    assert refusals > 20


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'gone off')!r}, 'w')",))

    np.save(tmp_path / "x.npy", np.array([[Bomb()]], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([[Bomb()]], object), allow_pickle=True)
    (tmp_path / "gone off").unlink(missing_ok=True)
    refused(tmp_path / "x.npy")
    refused(tmp_path / "x.npz")
    assert not (tmp_path / "gone off").exists()


@pytest.mark.parametrize(
    "array", [np.array([["a"]]), np.array([[1j]]), np.array([["2020"]], "M8[Y]"), np.zeros(2, "i4,f4")]
)
def test_arrays_of_other_things_are_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(VaekitError, match="numbers"):
        load(tmp_path / "x.npy")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    header = struct.pack(">BBBB", 0, 0, 8, 3) + struct.pack(">3I", 2**31, 2**31, 2**31)
    (tmp_path / "x.idx").write_bytes(header + b"\x01")
    refused(tmp_path / "x.idx", "truncated")
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    content = (
        (tmp_path / "x.npy")
        .read_bytes()
        .replace(b"(2, 3), ", b"(2000000000, 3000), ")
        .replace(b" " * 15 + b"\n", b"\n")
    )
    (tmp_path / "x.npy").write_bytes(content)
    refused(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\x01\x08\x01\0\0\0\x01A",  # not two zeros
        b"\0\0\x07\x01\0\0\0\x01A",  # no such type
        b"\0\0\x08\x02\0\0\0\x01A",  # two axes, one length
        b"\0\0\x08\x01\0\0\0\x01AB",  # a byte too many
    ],
)
def test_an_idx_file_must_be_exact(tmp_path, content):
    (tmp_path / "x.idx").write_bytes(content)
    refused(tmp_path / "x.idx")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_called_an_array_is_refused(tmp_path, x, save):
    save(tmp_path / "x.npz", x=x)
    refused((tmp_path / "x.npz").rename(tmp_path / "y.npy"))


def test_an_array_called_an_archive_is_refused(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    refused((tmp_path / "x.npy").rename(tmp_path / "y.npz"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("\n", []),
        ("a,b\n", ["(0, 2)"]),
        ("a,b\n1,2\n3,4,5\n", []),
        ("a,b\n1,2\n3,x\n", ["row 1", "'b'", "'x'", "exclude"]),
        ("a,b\n1,2\n3,-inf\n", ["row 1", "'b'", "-inf"]),
        ("a,b\n1,2\n3,1_000\n", ["row 1", "'b'"]),
        ("a,b\n1,2\n3,0x10\n", ["row 1", "'b'"]),
        ("a b\n1 2\n", ["'a b'", "'1 2'"]),
        ("a,a,b\n1,2,3\n", ["'a'"]),
    ],
)
def test_a_csv_file_that_is_no_table_of_numbers(tmp_path, text, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(VaekitError) as error:
        load(tmp_path / "x.csv")
    for word in words:
        assert word in str(error.value)


def test_a_long_cell_is_cut_in_the_message(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n" + "z" * 5000 + "\n")
    with pytest.raises(VaekitError) as error:
        load(tmp_path / "x.csv")
    assert len(str(error.value)) < 300


def test_columns_can_be_named_only_where_there_are_names(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    for options in ({"exclude": ("a",)}, {"label": "a"}):
        with pytest.raises(VaekitError, match=r"x\.npy has no column names"):
            load(tmp_path / "x.npy", **options)
        assert len(load(tmp_path / "x.npy", **options, strict=False)) == 12


@pytest.mark.parametrize("name", ["x.txt", "x", "x.npy.bak", "x.xlsx", "x.gz"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("1")
    with pytest.raises(VaekitError, match=r"\.npy, \.npz, \.csv"):
        load(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "x.csv").mkdir()
    refused(tmp_path / "x.csv", "not a file")


def test_an_unreadable_file_is_named(tmp_path, x, monkeypatch):
    np.save(tmp_path / "x.npy", x)

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", denied)
    refused(tmp_path / "x.npy", "Permission denied")
