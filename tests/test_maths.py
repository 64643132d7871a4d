"""Stable sums, smooth bounds, keyed noise."""

import math
import random
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy import stats

from vaekit import maths

KEYS = np.array([3, 2**63 + 11, 12345678901234567890, 3], np.uint64)


@pytest.fixture
def global_state():
    """Whatever the test does, the global generators must come out as they went in."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


# sums


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_log_mean_exp_is_the_log_of_the_mean(generator, dim):
    x = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    assert torch.allclose(maths.log_mean_exp(x, dim), x.exp().mean(dim).log(), rtol=0, atol=1e-14)


def test_log_mean_exp_of_one_is_the_value_and_shifts_with_its_argument(generator):
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(maths.log_mean_exp(x[:1]), x[0])
    for shift in (-1e5, 1e5):
        assert torch.allclose(maths.log_mean_exp(x + shift) - shift, maths.log_mean_exp(x), rtol=0, atol=1e-9)


def test_log_mean_exp_survives_draws_of_weight_zero():
    x = torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]])
    assert maths.log_mean_exp(x).tolist() == pytest.approx([-math.log(2), -math.inf])


def test_log_mean_exp_gradient_is_the_normalised_weight(generator):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    maths.log_mean_exp(x).sum().backward()
    assert torch.allclose(x.grad, x.detach().softmax(0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_masked_sum_never_sees_what_is_hidden(bad):
    values = torch.tensor([[1.0, bad, 2.0], [bad, bad, bad]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    total = maths.masked_sum(values, mask, 1)
    assert total.tolist() == [3.0, 0.0]
    total.sum().backward()
    assert torch.equal(values.grad, mask.float())


def test_masked_sum_is_over_the_last_axes_and_broadcasts_the_mask(generator):
    values = torch.randn(5, 4, 3, 2, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 3, 2, generator=generator) < 0.5
    assert maths.masked_sum(values, None, 0) is values
    assert torch.allclose(maths.masked_sum(values, None, 2), values.sum((-2, -1)))
    assert torch.allclose(maths.masked_sum(values, mask, 2), (values * mask).sum((-2, -1)))
    assert maths.masked_sum(values, mask, 3).shape == (5,)


# smooth bounds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(-12.0, 6.0), (-0.7, 6.0), (-100.0, 100.0)])
def test_soft_clamp_stays_in_its_range(dtype, low, high):
    size = torch.logspace(-3, 30, 400, dtype=dtype)
    x = torch.cat([-size.flip(0), torch.zeros(1, dtype=dtype), size]).requires_grad_()
    y = maths.soft_clamp(x, low, high)
    rounding = 4 * torch.finfo(dtype).eps * max(-low, high)
    assert (y >= low - rounding).all()
    assert (y <= high + rounding).all()
    assert (y.diff() >= -rounding).all()  # increasing
    assert abs(y[0].item() - low) <= rounding
    assert abs(y[-1].item() - high) <= rounding
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_soft_clamp_is_the_identity_well_inside_and_increases_near_the_ends():
    inside = torch.linspace(-60, 60, 401, dtype=torch.float64)
    assert torch.allclose(maths.soft_clamp(inside, -100.0, 100.0), inside, rtol=0, atol=1e-13)
    x = torch.linspace(-25, 25, 2001, dtype=torch.float64, requires_grad=True)
    y = maths.soft_clamp(x, -5.0, 5.0)
    y.sum().backward()
    assert (y.diff() > 0).all()
    assert ((x.grad > 0) & (x.grad <= 1)).all()
    zero = torch.zeros_like(x)
    exact = -5 + torch.logaddexp(zero, x + 5) - torch.logaddexp(zero, x - 5)
    assert torch.allclose(y, exact, rtol=0, atol=1e-8)


def test_soft_clamp_takes_tensors_as_ends():
    low, high = torch.tensor([-1.0, -70.0]), torch.tensor([1.0, 70.0])
    clamped = maths.soft_clamp(torch.tensor([[40.0], [-40.0]]), low, high)
    assert torch.allclose(clamped, torch.tensor([[1.0, 40.0], [-1.0, -40.0]]))


def _exact_log1mexp(x: float) -> float:
    with localcontext() as context:
        context.prec = 400
        return float((1 - (-Decimal(x)).exp()).ln())


def test_log1mexp_is_right_to_rounding_at_both_ends():
    middle = torch.tensor([math.log(2), math.nextafter(math.log(2), 0)], dtype=torch.float64)
    x = torch.cat([torch.logspace(-30, 2.8, 90, dtype=torch.float64), middle]).requires_grad_()
    y = maths.log1mexp(x)
    exact = np.array([_exact_log1mexp(v) for v in x.tolist()])
    assert np.abs(y.detach().numpy() / exact - 1).max() < 1e-14
    y.sum().backward()
    assert np.abs(x.grad.numpy() * np.expm1(x.detach().numpy()) - 1).max() < 1e-13  # the derivative is 1/(e^x − 1)


def test_log1mexp_in_float32():
    x = torch.logspace(-30, 1.9, 60)
    exact = np.array([_exact_log1mexp(v) for v in x.tolist()])
    assert np.abs(maths.log1mexp(x).numpy() / exact - 1).max() < 1e-6


# keyed randomness


def test_derived_seeds_differ_by_seed_purpose_and_counter_and_never_change():
    seeds = [maths.derive_seed(s, p, *c) for s in (0, 1) for p in ("order", "noise") for c in ((), (0,), (1,), (1, 0))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert maths.derive_seed(0, "order", 3) == 5486038029339273987  # everywhere and for good: runs depend on it


def test_generators_repeat_by_key(global_state):
    draw = lambda *key: maths.normal_noise(maths.generator(*key))(2, 3, 4)  # noqa: E731
    assert draw(0, "noise", 5).shape == (2, 3, 4)
    assert torch.equal(draw(0, "noise", 5), draw(0, "noise", 5))
    assert not torch.equal(draw(0, "noise", 5), draw(0, "noise", 6))
    assert maths.normal_noise(maths.generator(0, "noise"), torch.float64)(1, 1, 1).dtype == torch.float64


def test_equal_rows_have_equal_keys_whatever_their_type_and_place(global_state):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, (50, 3, 4))
    keys = maths.row_keys(x)
    assert keys.dtype == np.uint64
    assert len(set(keys.tolist())) == 50
    for dtype in (np.uint8, np.int16, np.float32, np.float64, ">f8", ">i2"):
        assert np.array_equal(maths.row_keys(x.astype(dtype)), keys)
    order = rng.permutation(50)
    assert np.array_equal(maths.row_keys(x[order]), keys[order])
    assert np.array_equal(maths.row_keys(x[7:8]), keys[7:8])
    assert np.array_equal(maths.row_keys(np.asfortranarray(x)), keys)
    assert np.array_equal(maths.row_keys(x.reshape(50, 12)), keys)
    changed = x.copy()
    changed[4, 2, 3] += 1
    assert (maths.row_keys(changed) != keys).nonzero()[0].tolist() == [4]


def test_keys_ignore_the_sign_of_zero_and_whatever_is_hidden():
    assert maths.row_keys(np.array([[0.0, 1.0]])) == maths.row_keys(np.array([[-0.0, 1.0]]))
    x = np.array([[1.0, 2.0], [1.0, np.nan], [1.0, 9.0]])
    hidden = maths.row_keys(x, np.array([[True, False]] * 3))
    assert len(set(hidden.tolist())) == 1
    assert hidden[0] == maths.row_keys(np.array([[1.0, 0.0]]))[0]


def test_keyed_uniforms_are_uniform_and_depend_on_their_own_key_alone(global_state):
    keys = np.arange(20_000, dtype=np.uint64)  # the worst of keys: neighbours differ in a bit or two
    u = maths.keyed_uniform(keys, 0, "test", 3)
    assert ((u >= 0) & (u < 1)).all()
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    bound = 5 / math.sqrt(len(u))
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < bound  # columns
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < bound  # neighbours
    assert np.array_equal(maths.keyed_uniform(keys[99:100], 0, "test", 3), u[99:100])
    assert np.array_equal(maths.keyed_uniform(keys, 0, "test", 2), u[:, :2])
    for other in (maths.keyed_uniform(keys, 1, "test", 3), maths.keyed_uniform(keys, 0, "else", 3)):
        assert abs(np.corrcoef(u[:, 0], other[:, 0])[0, 1]) < bound


def test_row_noise_depends_on_the_row_alone(global_state):
    noise = maths.RowNoise(KEYS, seed=4, total=8)(8, 4, 5)
    assert noise.shape == (8, 4, 5)
    assert noise.dtype == torch.float32
    assert torch.equal(noise[:, 0], noise[:, 3])  # equal rows
    assert not torch.equal(noise[:, 0], noise[:, 1])
    order = [2, 3, 1, 0]
    assert torch.equal(maths.RowNoise(KEYS[order], seed=4, total=8)(8, 4, 5), noise[:, order])
    alone = maths.RowNoise(KEYS[1:2], seed=4, total=8)(8, 1, 5)
    assert torch.equal(alone[:, 0], noise[:, 1])
    assert not torch.equal(maths.RowNoise(KEYS, seed=5, total=8)(8, 4, 5), noise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_noise_in_chunks_is_the_row_noise(dtype, global_state):
    whole = maths.RowNoise(KEYS, 0, 10, dtype=dtype)(10, 4, 3)
    pieces = [maths.RowNoise(KEYS, 0, 10, start=s, dtype=dtype)(n, 4, 3) for s, n in ((0, 4), (4, 4), (8, 2))]
    assert torch.equal(torch.cat(pieces), whole)


def test_successive_calls_give_fresh_dimensions():
    noise, again = maths.RowNoise(KEYS, 0, 4), maths.RowNoise(KEYS, 0, 4)
    first, second = noise(4, 4, 3), noise(4, 4, 3)
    assert not torch.equal(first, second)
    assert torch.equal(again(4, 4, 3), first)
    assert torch.equal(again(4, 4, 3), second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_noise_is_standard_normal_over_rows_for_every_draw(dtype):
    n, dims = 20_000, 3
    keys = maths.row_keys(np.arange(n, dtype=np.float32)[:, None])
    noise = maths.RowNoise(keys, 1, 4, dtype=dtype)(4, n, dims).double()
    assert noise.isfinite().all()
    for draw in noise:  # each draw by itself: then averages over draws are unbiased
        assert (draw.mean(0).abs() < 5 / math.sqrt(n)).all()
        assert ((draw.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()
        assert ((draw.T.corrcoef() - torch.eye(dims)).abs() < 5 / math.sqrt(n)).all()
        for column in draw.T:
            assert stats.kstest(column.numpy(), "norm").pvalue > 1e-4


def test_row_noise_covers_evenly_within_a_row():
    """Low discrepancy: the mean over 256 draws misses 0 by far less than independent draws do (sd 1/16)."""
    keys = maths.row_keys(np.arange(200, dtype=np.float32)[:, None])
    means = maths.RowNoise(keys, 0, 256, dtype=torch.float64)(256, 200, 4).mean(0)
    assert means.std() < 0.25 / 16


def test_row_noise_has_any_number_of_dimensions(global_state):
    """Beyond the last Sobol dimension as before it: N(0, I) for each draw, of the row's own, in chunks as in one."""
    last, dims, n = torch.quasirandom.SobolEngine.MAXDIM, 25_000, 300
    keys = maths.row_keys(np.arange(n, dtype=np.float32)[:, None])
    noise = maths.RowNoise(keys, 1, 3)(3, n, dims)
    assert torch.equal(noise[..., :last], maths.RowNoise(keys, 1, 3)(3, n, last))
    for draw in noise[..., last:].double():
        assert abs(draw.mean()) < 5 / math.sqrt(draw.numel())
        assert abs(draw.var() - 1) < 5 * math.sqrt(2 / draw.numel())
        for column in (draw[:, 0], draw[:, -1]):
            assert stats.kstest(column.numpy(), "norm").pvalue > 1e-4
        corner = torch.cat([draw[:, :2], draw[:, -2:]], 1)
        assert ((corner.T.corrcoef() - torch.eye(4)).abs() < 5 / math.sqrt(n)).all()
    independent = noise[:, 0, last:].double().corrcoef() - torch.eye(3)  # the draws of one row
    assert (independent.abs() < 5 / math.sqrt(dims - last)).all()
    assert torch.equal(maths.RowNoise(keys[7:8], 1, 3)(3, 1, dims)[:, 0], noise[:, 7])
    assert torch.equal(maths.RowNoise(keys[:2], 1, 3, start=2)(1, 2, dims), noise[2:, :2])
    assert not torch.equal(maths.RowNoise(keys[:1], 2, 3)(3, 1, dims)[..., last:], noise[:, :1, last:])


def test_row_noise_is_finite_at_the_edges_of_the_unit_interval(monkeypatch):
    for dtype in (torch.float32, torch.float64):
        for u in (0.0, 1 - 2**-53, 0.5):
            points = torch.full((3, 2), u, dtype=torch.float64)
            monkeypatch.setattr(maths, "_points", lambda *_, points=points: points)
            monkeypatch.setattr(maths, "keyed_uniform", lambda keys, *_: np.zeros((len(keys), 2)))
            assert maths.RowNoise(KEYS, 0, 3, dtype=dtype)(3, 4, 2).isfinite().all()


@pytest.mark.parametrize("limit", [2, 100, 128, 200, 255])
def test_bytes_below_a_limit_are_equally_likely(limit):
    drawn = maths.bytes_below(limit, (300, 1001), np.random.Generator(np.random.SFC64(1)))
    counts = np.bincount(drawn.ravel(), minlength=256)
    expected = drawn.size / limit
    chi2 = ((counts[:limit] - expected) ** 2 / expected).sum()
    assert not counts[limit:].any()
    assert abs(chi2 - (limit - 1)) < 5 * (2 * (limit - 1)) ** 0.5


def test_blocks_that_do_not_go_together_are_refused():
    rows = torch.zeros(2)
    for blocks in ([], [{"a": rows}, {"a": rows, "b": rows}], [{"a": rows, "b": rows[:1]}]):
        with pytest.raises(ValueError, match=r"no rows|do not go together"):
            maths.joined(blocks)


def test_joined_blocks_are_as_concatenated():
    blocks = [{"a": torch.randn(n, 3), "b": torch.arange(n)} for n in (4, 4, 1, 7)]
    for n in (0, 16):
        found = maths.joined(iter(blocks), n)
        for name in ("a", "b"):
            assert torch.equal(found[name], torch.cat([block[name] for block in blocks]))
