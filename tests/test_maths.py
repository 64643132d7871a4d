"""Stable sums, smooth bounds."""

import math
import subprocess
import sys
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from vaekit import maths

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
    x = torch.logspace(-30, 2.8, 90, dtype=torch.float64).requires_grad_()
    y = maths.log1mexp(x)
    exact = np.array([_exact_log1mexp(v) for v in x.tolist()])
    assert np.abs((y.detach().numpy() - exact) / np.maximum(np.abs(exact), 1)).max() < 1e-15
    y.sum().backward()
    slope = 1 / np.expm1(x.detach().numpy())
    assert np.abs((x.grad.numpy() - slope) / np.maximum(slope, 1)).max() < 1e-15


def test_log1mexp_in_float32():
    x = torch.logspace(-30, 1.9, 60)
    exact = np.array([_exact_log1mexp(v) for v in x.tolist()])
    assert np.abs((maths.log1mexp(x).numpy() - exact) / np.maximum(np.abs(exact), 1)).max() < 2e-7


def test_the_shape_that_tensors_have_in_common_takes_no_algebra():
    assert maths.common_shape(torch.zeros(2, 1, 3), torch.zeros(4, 1)) == (2, 4, 3)
    code = "import sys, torch; from vaekit.distributions import Normal; Normal(torch.zeros(2), torch.zeros(3, 1)).mean"
    imported = subprocess.run([sys.executable, "-c", f"{code}; print('sympy' in sys.modules)"], capture_output=True)
    assert imported.stdout.split() == [b"False"], imported.stderr


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
