"""Arrays that stay on disk: the same schema, batches, scores and training as in memory, without being loaded."""

import tracemalloc

import numpy as np
import pytest
import torch

from vaekit.data import Dataset, Source, describe, load, readers
from vaekit.data.ondisk import Stack
from vaekit.data.survey import row_blocks
from vaekit.errors import VaekitError
from vaekit.settings import Settings, prepare
from vaekit.training import fit

KINDS = {
    "bytes": np.random.default_rng(0).integers(0, 256, (300, 6, 5), dtype=np.uint8),
    "colour": np.random.default_rng(0).integers(0, 256, (300, 6, 5, 3), dtype=np.uint8),
    "reals": np.random.default_rng(0).normal(size=(300, 7)),
    "fortran": np.asfortranarray(np.random.default_rng(0).normal(size=(300, 7))),
    "big-endian": np.random.default_rng(0).normal(size=(300, 7)).astype(">f4"),
    "bool": np.random.default_rng(0).integers(0, 2, (300, 9)).astype(bool),
    "integers": np.random.default_rng(0).integers(-50, 50, (300, 4)),
}


@pytest.fixture(params=KINDS)
def both(request, tmp_path, monkeypatch):
    """The same file as a Source in memory, and mapped."""
    np.save(tmp_path / "x.npy", KINDS[request.param])
    in_memory = load(tmp_path / "x.npy")
    monkeypatch.setattr(readers, "MAPPED", 500)
    mapped = load(tmp_path / "x.npy")
    assert isinstance(mapped.x, np.memmap)
    assert not isinstance(in_memory.x, np.memmap)
    return in_memory, mapped


def test_rows_schema_and_digest_are_those_in_memory(both):
    one, other = both
    assert np.array_equal(one.x, other.x)
    assert one.digest == other.digest
    assert one.layout == other.layout
    train = np.arange(0, 300, 3)
    assert describe(one.x, train=train) == describe(other.x, train=train)


def test_batches_are_those_in_memory(both):
    index = np.sort(np.random.default_rng(1).permutation(300)[:200])
    schema = describe(both[0].x)
    one, other = (Dataset(source.x, schema, seed=3, index=index) for source in both)
    assert other.mapped
    assert not one.mapped
    assert len(one) == len(other) == 200
    assert np.array_equal(one.keys, other.keys)
    for step in (0, 11, 2):
        assert torch.equal(one.train_batch(step, 32).x, other.train_batch(step, 32).x)
    for (n, a), (m, b) in zip(one.blocks(64), other.blocks(64), strict=True):
        assert n == m
        assert torch.equal(a.x, b.x)
        assert np.array_equal(a.key, b.key)
    some = torch.tensor([7, 3, 199, 3])  # in any order, twice
    assert torch.equal(one.take(some), other.take(some))
    assert torch.equal(one.first(9).stored, other.first(9).stored)


@pytest.mark.parametrize("how", ["dynamic", "threshold", "expected"])
def test_grey_values_are_binarised_as_in_memory(tmp_path, monkeypatch, how):
    np.save(tmp_path / "x.npy", KINDS["bytes"])
    in_memory = load(tmp_path / "x.npy")
    monkeypatch.setattr(readers, "MAPPED", 500)
    schema = describe(in_memory.x).as_binary(how)
    one, other = (Dataset(source.x, schema, seed=3) for source in (in_memory, load(tmp_path / "x.npy")))
    for (_, a), (_, b) in zip(one.blocks(64), other.blocks(64), strict=True):
        assert torch.equal(a.x, b.x)
    assert torch.equal(one.train_batch(5, 32).x, other.train_batch(5, 32).x)


def test_training_is_the_same_to_the_bit(both):
    settings = Settings().changed(latent_dim=2, hidden=(8,), epochs=2, batch_size=32, device="cpu")
    states = []
    for source in both:
        prepared = prepare(settings, source)
        list(fit(prepared.state, prepared.rows["train"], prepared.rows["validation"]))
        states.append(prepared)
    one, other = states
    assert other.rows["train"].mapped
    assert one.schema == other.schema
    tensors = other.state.tensors()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in one.state.tensors().items())


def test_a_cell_that_is_not_finite_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED", 500)
    x = np.zeros((300, 5))
    x[123, 4] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(VaekitError, match="row 123, column 4"):
        load(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.full((300, 5), 1j))
    with pytest.raises(VaekitError, match="numbers"):
        load(tmp_path / "x.npy")


def test_little_memory_is_taken(tmp_path, monkeypatch):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (4000, 64, 64))  # 65 MB
    x[:] = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    x[::2] *= 0.5
    x.flush()
    del x
    monkeypatch.setattr(readers, "MAPPED", 500)
    monkeypatch.setattr("vaekit.data.survey.BLOCK_CELLS", 2**18)
    monkeypatch.setattr("vaekit.data.survey.LOOKED_AT_CELLS", 2**18)
    tracemalloc.start()
    source = load(tmp_path / "x.npy")
    split = source.split(0, 0.1, 0.1)
    schema = describe(source.x, train=split["train"])
    rows = Dataset(source.x, schema, seed=0, index=split["train"])
    assert len(rows.train_batch(3, 64).x) == 64
    assert len(rows.keys) == len(split["train"])
    assert source.digest
    assert tracemalloc.get_traced_memory()[1] < 16e6
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4096, 3), (4097, 3), (10, 2**23), (5, 2**21), (9000, 40, 40)])
def test_blocks_cover_every_row_once(shape):
    blocks = list(row_blocks(shape))
    assert [i for b in blocks for i in range(b.start, min(b.stop, shape[0]))] == list(range(shape[0]))
    assert all(b.stop - b.start <= max(1, 2**22 // np.prod(shape[1:])) for b in blocks)


# Several arrays, some of them on disk


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three files of 300, 40 and 60 rows, the first and the last of them mapped; and all rows in memory."""
    x = np.random.default_rng(0).integers(0, 256, (400, 6, 5, 3), dtype=np.uint8)
    for name, part in (("a", x[:300]), ("b", x[300:302]), ("c", x[302:])):
        np.save(tmp_path / f"{name}.npy", part)
    monkeypatch.setattr(readers, "MAPPED", 500)
    return [tmp_path / f"{name}.npy" for name in "abc"], Source(x)


def test_several_files_on_disk_are_one(files):
    paths, whole = files
    source = load(paths)
    assert isinstance(source.x, Stack)
    assert source.digest == whole.digest
    assert source.layout.channels == "last"
    train = np.arange(0, 400, 3)
    assert describe(source.x, train=train) == describe(whole.x, train=train)
    schema = describe(whole.x)
    one, other = (Dataset(s.x, schema, seed=3, index=train) for s in (whole, source))
    assert other.mapped
    assert np.array_equal(one.keys, other.keys)
    assert torch.equal(one.train_batch(5, 64).x, other.train_batch(5, 64).x)


def test_rows_of_a_stack_are_those_of_the_whole(files):
    paths, whole = files
    x = load(paths).x
    assert (len(x), x.shape, x.ndim, x.size, x.dtype) == (400, (400, 3, 6, 5), 4, whole.x.size, np.uint8)
    for rows in (slice(None), slice(298, 305), slice(None, None, 7), slice(0, 0), 299, 300, np.array([399, 0, 301, 0])):
        assert np.array_equal(x[rows], whole.x[rows])


def test_a_file_of_ones_own_is_joined_without_loading(files):
    paths, _ = files
    source = load(paths[0]).joined(load(paths[2]), "validation").joined(load(paths[1]), "test")
    assert isinstance(source.x, Stack)
    split = source.split(0, 0.5, 0.5)
    assert {part: len(rows) for part, rows in split.items()} == {"train": 300, "validation": 98, "test": 2}
    settings = Settings().changed(latent_dim=2, hidden=(8,), epochs=1, batch_size=32, device="cpu", network="mlp")
    one, other = (prepare(settings, s) for s in (source, Source(source.x[:], parts=source.parts, layout=source.layout)))
    for prepared in (one, other):
        list(fit(prepared.state, prepared.rows["train"], prepared.rows["validation"]))
    tensors = other.state.tensors()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in one.state.tensors().items())
