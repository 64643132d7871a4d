"""Batches: any of them from (seed, step) alone, scores from the row alone."""

import numpy as np
import pytest
import torch

from vaekit.data import Dataset, describe


def rows(n: int = 50, seed: int = 0, **options) -> Dataset:
    x = np.random.default_rng(1).normal(size=(n, 3))
    return Dataset(x, describe(x), seed=seed, **options)


def grey(x: np.ndarray, how: str, seed: int = 0) -> Dataset:
    full = np.concatenate([x, np.full_like(x[:1], 255)])
    return Dataset(x, describe(full).as_binary(how), seed=seed)


@pytest.mark.parametrize("size", [1, 7, 16, 50])
def test_a_batch_is_a_function_of_seed_and_step(size):
    one, other = rows(), rows()
    batches = [one.train_batch(step, size).x for step in range(20)]
    for step in (19, 3, 0, 12, 7):  # in any order, by any object
        torch.manual_seed(step)
        assert torch.equal(other.train_batch(step, size).x, batches[step])
    assert not torch.equal(rows(seed=1).train_batch(0, 16).x, one.train_batch(0, 16).x)


def test_making_a_batch_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    rows().train_batch(3, 8)
    grey(np.full((4, 5), 99, np.uint8), "dynamic").train_batch(3, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_epoch_sees_every_row_once_and_the_next_in_another_order():
    source = rows(48)
    epochs = [torch.cat([source.train_batch(step, 16).x for step in range(e * 3, e * 3 + 3)]) for e in range(3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(0).values, source.stored.sort(0).values)
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def test_rows_left_over_differ_from_epoch_to_epoch():
    source = rows(50)
    assert source.batches_per_epoch(16) == 3
    seen = [torch.cat([source.train_batch(e * 3 + i, 16).x for i in range(3)]) for e in range(40)]
    assert all(len(epoch) == 48 for epoch in seen)
    assert len(torch.unique(torch.cat(seen), dim=0)) == 50


def test_fewer_rows_than_a_batch_are_one_batch():
    assert rows(5).batches_per_epoch(16) == 1
    assert rows(5).train_batch(0, 16).x.shape == (5, 3)


def test_bytes_stay_bytes_until_they_are_asked_for():
    x = np.random.default_rng(0).integers(0, 256, (10, 4, 4), dtype=np.uint8)
    source = Dataset(x, describe(x), seed=0)
    assert source.stored.dtype == torch.uint8
    batch = next(source.blocks(10))[1]
    assert batch.x.dtype == torch.float32
    assert np.array_equal(batch.x.numpy(), x)


@pytest.mark.parametrize(("n", "size"), [(10, 4), (8, 4), (3, 4), (1, 1), (9, 10)])
def test_blocks_have_one_size_and_come_in_order(n, size):
    source = rows(n)
    counts, batches = zip(*source.blocks(size), strict=True)
    assert all(len(batch.x) == len(batch.key) == size for batch in batches)
    assert sum(counts) == n
    assert torch.equal(torch.cat([b.x[:c] for c, b in zip(counts, batches, strict=True)]), source.stored)
    assert np.array_equal(np.concatenate([b.key[:c] for c, b in zip(counts, batches, strict=True)]), source.keys)
    last = batches[-1]
    assert (last.x[counts[-1] :] == last.x[0]).all()


def test_a_key_is_the_row_s_own():
    x = np.random.default_rng(0).integers(0, 9, (30, 4)).astype(np.uint8)
    keys = Dataset(x, describe(x), seed=0).keys
    order = np.random.default_rng(1).permutation(30)
    assert np.array_equal(Dataset(x[order], describe(x), seed=7).keys, keys[order])
    assert np.array_equal(Dataset(x.astype(np.float64), describe(x), seed=0).keys, keys)
    assert len(np.unique(keys)) == len(np.unique(x, axis=0))


# Binarisation

LEVELS, PIXELS = 256, 3000


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """One row a grey value, and a pixel that makes the rows' content differ."""
    return np.repeat(np.arange(LEVELS, dtype=np.uint8)[:, None], PIXELS, 1)


def assert_frequencies(ones: np.ndarray, draws: int) -> None:
    """ones (256,) of `draws` for grey g: binomial with P = g/255, exactly 0 and all at the two ends."""
    assert ones[0] == 0
    assert ones[255] == draws
    p = np.arange(1, 255) / 255
    z = (ones[1:255] - draws * p) / np.sqrt(draws * p * (1 - p))
    assert np.abs(z).max() < 5
    assert abs((z**2).sum() - 254) < 5 * np.sqrt(2 * 254)
    assert abs(z.sum()) < 5 * np.sqrt(254)  # g/256 would be off by 9 of these at g = 128 alone, summed far more


def test_dynamic_binarisation_has_probability_g_over_255(ramp):
    source = grey(ramp, "dynamic")
    ones = np.zeros(LEVELS)
    for step in range(4):
        batch = source.train_batch(step, LEVELS).x
        assert ((batch == 0) | (batch == 1)).all()
        order = source.stored[source._permutation(step)][:, 0].numpy()
        ones[order] += batch.sum(1).numpy()
    assert_frequencies(ones, 4 * PIXELS)


def test_black_and_white_are_certain_whatever_is_drawn(monkeypatch):
    source = grey(np.array([[0, 255]], np.uint8), "dynamic")
    for u in (0.0, 1 - 2.0**-24):  # the least and the most that a uniform can be
        monkeypatch.setattr(torch, "rand", lambda shape, u=u, **options: torch.full(shape, u))
        monkeypatch.setattr("vaekit.data.dataset.keyed_uniform", lambda *arguments, u=u: np.full((1, 2), u))
        assert source.train_batch(0, 1).x.tolist() == [[0.0, 1.0]]
        assert source.scoring_batch(torch.arange(1)).x.tolist() == [[0.0, 1.0]]


def test_scoring_binarises_with_the_same_probabilities(ramp):
    ones = np.zeros(LEVELS)
    for seed in range(4):
        ones += grey(ramp, "dynamic", seed).scoring_batch(torch.arange(LEVELS)).x.sum(1).numpy()
    assert_frequencies(ones, 4 * PIXELS)


def test_training_binarises_afresh_and_scoring_by_content(ramp):
    x = ramp[100:104]
    source = grey(x, "dynamic")
    assert not torch.equal(source.train_batch(0, 4).x.sort(0).values, source.train_batch(1, 4).x.sort(0).values)
    first = source.scoring_batch(torch.arange(4)).x
    assert torch.equal(source.scoring_batch(torch.arange(4)).x, first)
    assert torch.equal(source.scoring_batch(torch.tensor([2])).x[0], first[2])  # whatever its neighbours
    assert torch.equal(grey(x[::-1], "dynamic").scoring_batch(torch.arange(4)).x.flip(0), first)
    assert not torch.equal(grey(x, "dynamic", seed=1).scoring_batch(torch.arange(4)).x, first)
    for _, batch in source.blocks(3):
        assert torch.equal(batch.x[0], first[0] if len(batch.x) and batch.key[0] == source.keys[0] else first[3])


def test_pixels_are_binarised_independently(ramp):
    x = grey(ramp[127:128], "dynamic").scoring_batch(torch.arange(1)).x[0].double() - 127 / 255
    for lag in (1, 2, 7):
        assert abs((x[lag:] * x[:-lag]).mean()) < 5 * 0.25 / PIXELS**0.5


def test_threshold_is_at_half_of_white(ramp):
    source = grey(ramp, "threshold")
    x = source.scoring_batch(torch.arange(LEVELS)).x[:, 0]
    assert x.tolist() == [0.0] * 128 + [1.0] * 128
    assert set(source.train_batch(0, 10).x.unique().tolist()) <= {0.0, 1.0}


def test_expected_keeps_the_grey_as_a_probability(ramp):
    x = grey(ramp, "expected").scoring_batch(torch.arange(LEVELS)).x[:, 0]
    assert np.allclose(x.numpy(), np.arange(LEVELS) / 255)


def test_grey_values_already_from_0_to_1_are_taken_as_they_are():
    x = np.full((2, 20_000), 0.25)
    source = Dataset(x, describe(np.concatenate([x, np.full_like(x, 0.5)])).as_binary("dynamic"), seed=0)
    assert source.train_batch(0, 2).x.mean().item() == pytest.approx(0.25, abs=5 * np.sqrt(0.1875 / 40_000))


def test_extreme_cells_are_hidden_where_that_is_asked_for():
    x = np.random.default_rng(0).normal(size=(500, 2))
    x[7, 1] = 1e9
    schema = describe(x)
    hidden, plain = Dataset(x, schema, seed=0, hide_extremes=True), Dataset(x, schema, seed=0)
    seen = torch.cat([hidden.train_batch(step, 100).mask for step in range(5)])
    assert (~seen).sum() == 1
    assert plain.train_batch(0, 100).mask is None
    masks = torch.cat([batch.mask[:count] for count, batch in hidden.blocks()])
    assert not masks[7, 1]
    assert (~masks).sum() == 1
    assert next(plain.blocks())[1].mask is None
    assert (~next(hidden.subset(np.array([3, 7])).blocks())[1].mask[:2]).sum() == 1
    clean = Dataset(x[8:], describe(x[8:]), seed=0, hide_extremes=True)
    assert clean.train_batch(0, 100).mask is None  # ordinary data takes the way it always took


def test_offsets_are_subtracted_before_numbers_are_narrowed(tmp_path):
    x = 1e9 + np.arange(40.0)[:, None] * [1, 0.5]
    np.save(tmp_path / "x.npy", x)
    schema = describe(x)
    for source in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        rows = Dataset(source, schema, seed=0)
        assert np.array_equal(schema.from_stored(rows.stored.numpy()), x)
        some = rows.subset(np.array([5, 3]))
        assert np.array_equal(schema.from_stored(some.stored.numpy()), x[[5, 3]])
        assert np.array_equal(some.keys, rows.keys[[5, 3]])
        assert np.array_equal(rows.first(2).subset(np.array([1])).keys, rows.keys[1:2])
