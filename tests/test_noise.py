"""Keyed noise: seeds, keys of rows, and the standard normals made of them."""

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats

from vaekit import noise as keyed

KEYS = np.array([3, 2**63 + 11, 12345678901234567890, 3], np.uint64)


@pytest.fixture
def global_state():
    """Whatever the test does, the global generators must come out as they went in."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_derived_seeds_differ_by_seed_purpose_and_counter_and_never_change():
    seeds = [keyed.derive_seed(s, p, *c) for s in (0, 1) for p in ("order", "noise") for c in ((), (0,), (1,), (1, 0))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert keyed.derive_seed(0, "order", 3) == 5486038029339273987  # everywhere and for good: runs depend on it


def test_generators_repeat_by_key(global_state):
    draw = lambda *key: keyed.normal_noise(keyed.generator(*key))(2, 3, 4)  # noqa: E731
    assert draw(0, "noise", 5).shape == (2, 3, 4)
    assert torch.equal(draw(0, "noise", 5), draw(0, "noise", 5))
    assert not torch.equal(draw(0, "noise", 5), draw(0, "noise", 6))
    assert keyed.normal_noise(keyed.generator(0, "noise"), torch.float64)(1, 1, 1).dtype == torch.float64


def test_equal_rows_have_equal_keys_whatever_their_type_and_place(global_state):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, (50, 3, 4))
    keys = keyed.row_keys(x)
    assert keys.dtype == np.uint64
    assert len(set(keys.tolist())) == 50
    for dtype in (np.uint8, np.int16, np.float32, np.float64, ">f8", ">i2"):
        assert np.array_equal(keyed.row_keys(x.astype(dtype)), keys)
    order = rng.permutation(50)
    assert np.array_equal(keyed.row_keys(x[order]), keys[order])
    assert np.array_equal(keyed.row_keys(x[7:8]), keys[7:8])
    assert np.array_equal(keyed.row_keys(np.asfortranarray(x)), keys)
    assert np.array_equal(keyed.row_keys(x.reshape(50, 12)), keys)
    changed = x.copy()
    changed[4, 2, 3] += 1
    assert (keyed.row_keys(changed) != keys).nonzero()[0].tolist() == [4]


def test_keys_ignore_the_sign_of_zero_and_whatever_is_hidden():
    assert keyed.row_keys(np.array([[0.0, 1.0]])) == keyed.row_keys(np.array([[-0.0, 1.0]]))
    x = np.array([[1.0, 2.0], [1.0, np.nan], [1.0, 9.0]])
    hidden = keyed.row_keys(x, np.array([[True, False]] * 3))
    assert len(set(hidden.tolist())) == 1
    assert hidden[0] == keyed.row_keys(np.array([[1.0, 0.0]]))[0]


def test_keyed_uniforms_are_uniform_and_depend_on_their_own_key_alone(global_state):
    keys = np.arange(20_000, dtype=np.uint64)  # the worst of keys: neighbours differ in a bit or two
    u = keyed.keyed_uniform(keys, 0, "test", 3)
    assert ((u >= 0) & (u < 1)).all()
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    bound = 5 / math.sqrt(len(u))
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < bound  # columns
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < bound  # neighbours
    assert np.array_equal(keyed.keyed_uniform(keys[99:100], 0, "test", 3), u[99:100])
    assert np.array_equal(keyed.keyed_uniform(keys, 0, "test", 2), u[:, :2])
    for other in (keyed.keyed_uniform(keys, 1, "test", 3), keyed.keyed_uniform(keys, 0, "else", 3)):
        assert abs(np.corrcoef(u[:, 0], other[:, 0])[0, 1]) < bound


def test_row_noise_depends_on_the_row_alone(global_state):
    noise = keyed.RowNoise(KEYS, seed=4, total=8)(8, 4, 5)
    assert noise.shape == (8, 4, 5)
    assert noise.dtype == torch.float32
    assert torch.equal(noise[:, 0], noise[:, 3])  # equal rows
    assert not torch.equal(noise[:, 0], noise[:, 1])
    order = [2, 3, 1, 0]
    assert torch.equal(keyed.RowNoise(KEYS[order], seed=4, total=8)(8, 4, 5), noise[:, order])
    alone = keyed.RowNoise(KEYS[1:2], seed=4, total=8)(8, 1, 5)
    assert torch.equal(alone[:, 0], noise[:, 1])
    assert not torch.equal(keyed.RowNoise(KEYS, seed=5, total=8)(8, 4, 5), noise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_noise_in_chunks_is_the_row_noise(dtype, global_state):
    whole = keyed.RowNoise(KEYS, 0, 10, dtype=dtype)(10, 4, 3)
    pieces = [keyed.RowNoise(KEYS, 0, 10, start=s, dtype=dtype)(n, 4, 3) for s, n in ((0, 4), (4, 4), (8, 2))]
    assert torch.equal(torch.cat(pieces), whole)


def test_successive_calls_give_fresh_dimensions():
    noise, again = keyed.RowNoise(KEYS, 0, 4), keyed.RowNoise(KEYS, 0, 4)
    first, second = noise(4, 4, 3), noise(4, 4, 3)
    assert not torch.equal(first, second)
    assert torch.equal(again(4, 4, 3), first)
    assert torch.equal(again(4, 4, 3), second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_noise_is_standard_normal_over_rows_for_every_draw(dtype):
    n, dims = 20_000, 3
    keys = keyed.row_keys(np.arange(n, dtype=np.float32)[:, None])
    noise = keyed.RowNoise(keys, 1, 4, dtype=dtype)(4, n, dims).double()
    assert noise.isfinite().all()
    for draw in noise:  # each draw by itself: then averages over draws are unbiased
        assert (draw.mean(0).abs() < 5 / math.sqrt(n)).all()
        assert ((draw.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()
        assert ((draw.T.corrcoef() - torch.eye(dims)).abs() < 5 / math.sqrt(n)).all()
        for column in draw.T:
            assert stats.kstest(column.numpy(), "norm").pvalue > 1e-4


def test_row_noise_covers_evenly_within_a_row():
    """Low discrepancy: the mean over 256 draws misses 0 by far less than independent draws do (sd 1/16)."""
    keys = keyed.row_keys(np.arange(200, dtype=np.float32)[:, None])
    means = keyed.RowNoise(keys, 0, 256, dtype=torch.float64)(256, 200, 4).mean(0)
    assert means.std() < 0.25 / 16


@pytest.mark.slow
def test_row_noise_has_any_number_of_dimensions(global_state):
    """Beyond the last Sobol dimension as before it: N(0, I) for each draw, of the row's own, in chunks as in one."""
    last, dims, n = torch.quasirandom.SobolEngine.MAXDIM, 25_000, 300
    keys = keyed.row_keys(np.arange(n, dtype=np.float32)[:, None])
    noise = keyed.RowNoise(keys, 1, 3)(3, n, dims)
    assert torch.equal(noise[..., :last], keyed.RowNoise(keys, 1, 3)(3, n, last))
    for draw in noise[..., last:].double():
        assert abs(draw.mean()) < 5 / math.sqrt(draw.numel())
        assert abs(draw.var() - 1) < 5 * math.sqrt(2 / draw.numel())
        for column in (draw[:, 0], draw[:, -1]):
            assert stats.kstest(column.numpy(), "norm").pvalue > 1e-4
        corner = torch.cat([draw[:, :2], draw[:, -2:]], 1)
        assert ((corner.T.corrcoef() - torch.eye(4)).abs() < 5 / math.sqrt(n)).all()
    independent = noise[:, 0, last:].double().corrcoef() - torch.eye(3)  # the draws of one row
    assert (independent.abs() < 5 / math.sqrt(dims - last)).all()
    assert torch.equal(keyed.RowNoise(keys[7:8], 1, 3)(3, 1, dims)[:, 0], noise[:, 7])
    assert torch.equal(keyed.RowNoise(keys[:2], 1, 3, start=2)(1, 2, dims), noise[2:, :2])
    assert not torch.equal(keyed.RowNoise(keys[:1], 2, 3)(3, 1, dims)[..., last:], noise[:, :1, last:])


def test_row_noise_is_finite_at_the_edges_of_the_unit_interval(monkeypatch):
    for dtype in (torch.float32, torch.float64):
        for u in (0.0, 1 - 2**-53, 0.5):
            points = torch.full((3, 2), u, dtype=torch.float64)
            monkeypatch.setattr(keyed, "_points", lambda *_, points=points: points)
            monkeypatch.setattr(keyed, "keyed_uniform", lambda keys, *_: np.zeros((len(keys), 2)))
            assert keyed.RowNoise(KEYS, 0, 3, dtype=dtype)(3, 4, 2).isfinite().all()


@pytest.mark.parametrize("limit", [2, 100, 128, 200, 255])
def test_bytes_below_a_limit_are_equally_likely(limit):
    drawn = keyed.bytes_below(limit, (300, 1001), np.random.Generator(np.random.SFC64(1)))
    counts = np.bincount(drawn.ravel(), minlength=256)
    expected = drawn.size / limit
    chi2 = ((counts[:limit] - expected) ** 2 / expected).sum()
    assert not counts[limit:].any()
    assert abs(chi2 - (limit - 1)) < 5 * (2 * (limit - 1)) ** 0.5
