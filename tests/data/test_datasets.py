"""Data sets by name."""

import functools
import gzip
import hashlib
import http.server
import logging
import os
import threading

import numpy as np
import pooch
import pytest

from vaekit.data import datasets, load
from vaekit.errors import VaekitError


def test_digits_are_always_there():
    source = load("digits")
    assert source.x.shape == (1797, 8, 8)
    assert source.x.dtype == np.uint8
    assert (source.x.min(), source.x.max()) == (0, 16)
    assert source.x.sum() == 561718
    assert np.bincount(source.labels).sum() == 1797
    assert len(np.unique(source.labels)) == 10
    assert not source.parts


def available(name: str):
    """Run where $VAEKIT_DATA has the data set."""
    there = bool(os.environ.get("VAEKIT_DATA")) and datasets.find(name) is not None
    return pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"{name} is not in $VAEKIT_DATA"))


@pytest.mark.parametrize("name", [available("mnist"), available("fashion-mnist")])
def test_the_large_ones_have_their_own_test_rows(name):
    source = load(name)
    assert source.x.shape == (70_000, 28, 28)
    assert source.x.dtype == np.uint8
    assert source.x.max() == 255
    assert source.labels.shape == (70_000,)
    split = source.split(0, 0.1, 0.5)
    assert np.array_equal(split["test"], np.arange(60_000, 70_000))
    assert [len(split[part]) for part in ("train", "validation")] == [54_000, 6_000]
    if name == "fashion-mnist":
        assert np.array_equal(np.bincount(source.labels), np.full(10, 7000))


@pytest.mark.parametrize("name", [available("static-mnist")])
def test_static_mnist_has_the_split_of_the_literature(name):
    source = load(name)
    assert source.x.shape == (70_000, 28, 28)
    assert set(np.unique(source.x)) == {0, 1}
    assert [len(part) for part in source.split(0, 0.5, 0.5).values()] == [50_000, 10_000, 10_000]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch, "retrieve", offline)
    return tmp_path


def offline(url, **options):
    raise ConnectionError(f"no network for {url}")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "static-mnist"])
def test_what_is_not_there_says_where_it_was_looked_for(elsewhere, name):
    assert datasets.find(name) is None
    with pytest.raises(VaekitError) as error:
        load(name)
    for word in (name, str(elsewhere / "data"), str(elsewhere / "cache" / "vaekit"), "VAEKIT_DATA"):
        assert word in str(error.value)


def test_the_folder_that_was_named_comes_first(elsewhere):
    for folder in ("cache/vaekit", "data"):
        (elsewhere / folder / "mnist").mkdir(parents=True)
        assert datasets.find("mnist") == elsewhere / folder / "mnist"
    (elsewhere / "data" / "images" / "mnist").mkdir(parents=True)
    assert datasets.find("mnist") == elsewhere / "data" / "images" / "mnist"


@pytest.mark.parametrize("packed", [True, False])
def test_other_files_of_that_name_are_refused(elsewhere, packed):
    folder = elsewhere / "data" / "mnist"
    folder.mkdir(parents=True)
    content = b"\0\0\x08\x03" + np.array([2, 28, 28], ">u4").tobytes() + bytes(2 * 784)
    for name in datasets.IDX_FILES:
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(VaekitError, match=r"train-images-idx3-ubyte.*SHA-256"):
        load("mnist")


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"x" * 1000)[:-12], b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 40],
    ids=["empty", "text", "cut", "damaged"],
)
def test_damaged_archives_are_refused(elsewhere, content):
    folder = elsewhere / "data" / "mnist"
    folder.mkdir(parents=True)
    with pytest.raises(VaekitError, match="train-images"):
        load("mnist")  # an empty folder
    for name in datasets.IDX_FILES:
        (folder / f"{name}.gz").write_bytes(content)
    with pytest.raises(VaekitError, match="train-images"):
        load("mnist")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + b"\0" * 40], ids=["empty", "text", "damaged"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # numpy leaves it open for the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_static_mnist_is_refused(elsewhere, content):
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "static-mnist.npz").write_bytes(content)
    with pytest.raises(VaekitError, match=r"static-mnist\.npz"):
        load("static-mnist")


def test_static_mnist_is_unpacked_bit_by_bit(elsewhere):
    rng = np.random.default_rng(0)
    bits = {name: rng.integers(0, 2, (n, 784), dtype=np.uint8) for name, n in (("train", 5), ("valid", 3), ("test", 2))}
    (elsewhere / "data").mkdir()
    np.savez(
        elsewhere / "data" / "static-mnist.npz", **{name: np.packbits(rows, axis=1) for name, rows in bits.items()}
    )
    source = load("static-mnist")
    assert np.array_equal(source.x.reshape(-1, 784), np.concatenate(list(bits.values())))
    assert {name: rows.tolist() for name, rows in source.split(0, 0.1, 0.1).items()} == {
        "train": [0, 1, 2, 3, 4], "validation": [5, 6, 7], "test": [8, 9],
    }  # fmt: skip


# Downloads


def contents() -> dict[str, bytes]:
    """The four files of a small data set of 3 + 2 images."""
    rng, files = np.random.default_rng(0), {}
    for name in datasets.IDX_FILES:
        shape = (3 if name.startswith("train") else 2, *((28, 28) if "images" in name else ()))
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        files[name] = head + rng.integers(0, 256, shape, dtype=np.uint8).tobytes()
    return files


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        self.server.asked.append(self.path)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server on this machine with a small 'mnist', and no other copy of it; .asked lists what was fetched."""
    for name, folder in (("VAEKIT_DATA", "data"), ("XDG_CACHE_HOME", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("no_proxy", "*")
    files = contents()
    (tmp_path / "mirror").mkdir()
    for name, content in files.items():
        (tmp_path / "mirror" / f"{name}.gz").write_bytes(gzip.compress(content))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    )
    server.asked, server.folder, server.cache = [], tmp_path / "mirror", tmp_path / "cache" / "vaekit"
    monkeypatch.setitem(datasets.SHA256, "mnist", tuple(hashlib.sha256(files[n]).hexdigest() for n in files))
    monkeypatch.setitem(datasets.MIRRORS, "mnist", f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_not_there_is_downloaded_once(mirror, capsys):
    level = pooch.get_logger().level
    source = load("mnist")
    assert source.x.shape == (5, 28, 28)
    assert source.parts["test"].tolist() == [3, 4]
    assert datasets.find("mnist") == mirror.cache / "mnist"
    assert [path.name for path in mirror.cache.iterdir()] == ["mnist"]
    assert len(mirror.asked) == 4
    assert "mnist" in capsys.readouterr().err
    assert load("mnist").digest == source.digest
    assert len(mirror.asked) == 4
    assert pooch.get_logger().level == level != logging.WARNING


def test_a_download_that_broke_off_goes_on(mirror):
    last = mirror.folder / f"{datasets.IDX_FILES[3]}.gz"
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(VaekitError, match="404"):
        load("mnist")
    assert datasets.find("mnist") is None
    last.write_bytes(content)
    del mirror.asked[:]
    assert len(load("mnist")) == 5
    assert mirror.asked == [f"/{last.name}"]


def test_other_content_is_never_kept(mirror):
    first = mirror.folder / f"{datasets.IDX_FILES[0]}.gz"
    content = first.read_bytes()
    for wrong in (b"a page that says sorry", gzip.compress(b"something else"), content[:-20]):
        first.write_bytes(wrong)
        with pytest.raises(VaekitError, match="train-images"):
            load("mnist")
        assert datasets.find("mnist") is None
    first.write_bytes(content)
    assert len(load("mnist")) == 5


def test_a_failed_download_is_one_clear_error(elsewhere):
    with pytest.raises(VaekitError) as error:
        load("fashion-mnist")
    cache = elsewhere / "cache" / "vaekit"
    for word in ("no network", datasets.MIRRORS["fashion-mnist"], str(cache), "'fashion-mnist'", "IDX", "VAEKIT_DATA"):
        assert word in str(error.value)
