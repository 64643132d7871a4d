"""Distributions on a sphere, against Bessel functions, quadrature by scipy, and central differences."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor

from vaekit.distributions import Normal, UniformSphere, VonMisesFisher
from vaekit.distributions.sphere import log_area

SIZES = [2, 3, 4, 5, 11, 50]
KAPPAS = [1e-3, 0.5, 1.0, 5.0, 10.0, 100.0, 1e3, 1e4]
every_size = pytest.mark.parametrize("dims", SIZES)


def von_mises_fisher(dims: int, kappas, dtype=torch.float64) -> VonMisesFisher:
    """One direction, and each concentration."""
    direction = torch.linspace(1, 2, dims, dtype=torch.float64)
    direction = (direction / direction.norm()).expand(len(kappas), -1)
    return VonMisesFisher(direction.to(dtype), torch.as_tensor(kappas, dtype=dtype))


def kl(q: VonMisesFisher) -> Tensor:
    return q.rate(UniformSphere(q.dims, q.direction), None, None)[0, :, 0]


def bessel(dims: int, kappas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[cos θ], the logarithm of the constant C_D, and KL(q ‖ uniform), by scaled Bessel functions."""
    kappas = np.asarray(kappas)
    order = dims / 2 - 1
    scaled = special.ive(order, kappas)
    cosine = special.ive(order + 1, kappas) / scaled
    log_c = order * np.log(kappas) - dims / 2 * np.log(2 * np.pi) - np.log(scaled) - kappas
    return cosine, log_c, kappas * cosine + log_c + log_area(dims)


@pytest.mark.parametrize(("dims", "kappa", "expected"), [
    (3, 1.0, 0.1515959239), (3, 10.0, 1.9957323168), (11, 5.0, 0.9122060958),
])  # fmt: skip
def test_the_divergence_from_the_uniform_distribution(dims, kappa, expected):
    """By quadrature over the angle; in three dimensions κ coth κ − 1 + log(κ / sinh κ)."""
    found = kl(von_mises_fisher(dims, [kappa])).item()
    assert found == pytest.approx(expected, abs=1e-9)
    if dims == 3:
        assert found == pytest.approx(kappa / math.tanh(kappa) - 1 + math.log(kappa / math.sinh(kappa)), abs=1e-12)


@every_size
def test_normaliser_mean_and_divergence_are_those_of_bessel_functions(dims):
    q = von_mises_fisher(dims, KAPPAS)
    cosine, log_c, divergence = bessel(dims, KAPPAS)
    assert np.abs((q.mean * q.direction).sum(-1).numpy() - cosine).max() < 1e-12
    at_mode = q.log_prob(q.direction).numpy()
    assert at_mode == pytest.approx(log_c + np.asarray(KAPPAS), abs=1e-10)
    assert kl(q).numpy() == pytest.approx(divergence, abs=1e-10)


@every_size
def test_without_concentration_it_is_uniform(dims, generator):
    q = von_mises_fisher(dims, [0.0])
    z, log_q = q.draw(torch.randn(50, 1, dims + 1, dtype=torch.float64, generator=generator))
    assert kl(q).item() == pytest.approx(0, abs=1e-14)
    assert torch.allclose(log_q, UniformSphere(dims, z).log_prob(z), atol=1e-13)
    assert torch.allclose(q.mean, torch.zeros(1, dims, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(q.stddev, UniformSphere(dims, z).stddev, atol=1e-13)


@every_size
def test_areas(dims):
    assert math.exp(log_area(dims)) == pytest.approx(2 * math.pi ** (dims / 2) / math.gamma(dims / 2), rel=1e-12)


@every_size
@pytest.mark.parametrize("kappa", [0.0, 1.0, 30.0, 1e4])
def test_an_angle_has_the_probability_of_its_noise(dims, kappa):
    noise = torch.tensor([-5.0, -2.0, -0.5, 0.0, 1.0, 3.0], dtype=torch.float64)
    q = von_mises_fisher(dims, [kappa])
    across = torch.zeros(6, 1, dims, dtype=torch.float64)
    across[..., 0] = 1.0
    z, _ = q.draw(torch.cat([noise[:, None, None], across], -1))
    angle = 2 * torch.asin((z - q.direction).norm(dim=-1) / 2)[:, 0].numpy()

    def probability(low: float, high: float) -> float:
        """By the tanh-sinh rule, which does not mind where in the interval the mass is."""
        t = np.linspace(-4, 4, 4001)
        share = 0.5 * (1 + np.tanh(np.pi / 2 * np.sinh(t)))
        weight = np.pi / 4 * np.cosh(t) / np.cosh(np.pi / 2 * np.sinh(t)) ** 2 * (t[1] - t[0])
        at = low + (high - low) * share
        return (high - low) * np.sum(weight * np.sin(at) ** (dims - 2) * np.exp(-2 * kappa * np.sin(at / 2) ** 2))

    for u, reached in zip(stats.norm.cdf(noise), angle, strict=True):
        below, above = probability(0.0, reached), probability(reached, np.pi)
        assert below / (below + above) == pytest.approx(u, abs=1e-10)


@every_size
def test_draws_are_on_the_sphere_with_their_own_density_and_the_moments_of_it(dims, generator):
    q = von_mises_fisher(dims, [0.3, 4.0, 50.0, 1e4])
    z, log_q = q.draw(torch.randn(100_000, 4, dims + 1, dtype=torch.float64, generator=generator))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-12
    assert torch.allclose(log_q, q.log_prob(z), rtol=1e-9, atol=1e-9)
    error = z.std(0) / len(z) ** 0.5
    assert ((z.mean(0) - q.mean).abs() < 5 * error).all()
    assert torch.allclose(q.stddev, z.std(0), rtol=0.02)
    drawn = log_q + log_area(dims)
    assert ((drawn.mean(0) - kl(q)).abs() < 5 * drawn.std(0) / len(z) ** 0.5 + 1e-12).all()


@pytest.mark.parametrize("kappa", [0.0, 2.0, 80.0])
def test_the_density_integrates_to_one(kappa):
    circle = von_mises_fisher(2, [kappa])
    turn = torch.linspace(0, 2 * math.pi, 1001, dtype=torch.float64)[:-1]
    z = torch.stack([turn.cos(), turn.sin()], -1)[:, None]
    assert (circle.log_prob(z).exp().mean() * 2 * math.pi).item() == pytest.approx(1, abs=1e-12)
    ball = von_mises_fisher(3, [kappa])

    def density(height: float, turn: float) -> float:
        across = math.sqrt(1 - height**2)
        point = torch.tensor([[[across * math.cos(turn), across * math.sin(turn), height]]], dtype=torch.float64)
        return ball.log_prob(point).exp().item()

    if kappa == 2.0:
        total, _ = integrate.dblquad(density, 0, 2 * math.pi, -1, 1, epsabs=1e-8)
        assert total == pytest.approx(1, abs=1e-7)


@every_size
def test_gradients_agree_with_central_differences(dims, generator):
    direction = torch.randn(3, dims, dtype=torch.float64, generator=generator).requires_grad_()
    kappa = torch.tensor([0.5, 7.0, 200.0], dtype=torch.float64, requires_grad=True)
    noise = torch.randn(4, 3, dims + 1, dtype=torch.float64, generator=generator).requires_grad_()

    def made(direction, kappa) -> VonMisesFisher:
        return VonMisesFisher(torch.nn.functional.normalize(direction, dim=-1), kappa)

    def drawn(direction, kappa, noise):
        z, log_q = made(direction, kappa).draw(noise)
        return z, log_q

    def known(direction, kappa):
        q = made(direction, kappa)
        return q.mean, kl(q), q.log_prob(torch.eye(dims, dtype=torch.float64)[0])

    assert torch.autograd.gradcheck(drawn, (direction, kappa, noise), atol=1e-6, rtol=1e-5)
    assert torch.autograd.gradcheck(known, (direction, kappa), atol=1e-7, rtol=1e-6)


@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_is_finite_from_no_concentration_to_the_greatest(dims, dtype):
    kappas = torch.tensor([0.0, 1e-30, 1e-6, 0.1, 3.0, 1e2, 1e4], dtype=dtype, requires_grad=True)
    q = von_mises_fisher(dims, KAPPAS[:7], dtype)
    q = VonMisesFisher(q.direction, kappas)
    noise = torch.linspace(-9, 9, 31, dtype=dtype)[:, None, None].expand(-1, 7, dims + 1).contiguous()
    noise[..., 1] += 1
    z, log_q = q.draw(noise)
    for value in (z, log_q, kl(q), q.mean, q.log_prob(z)):
        assert value.isfinite().all()
        gradient = torch.autograd.grad(value.sum(), kappas, retain_graph=True)[0]
        assert gradient.isfinite().all()
    assert q.stddev.isfinite().all()
    assert torch.allclose(log_q, q.log_prob(z), rtol=1e-3, atol=1e-3)


def test_held_constant_it_has_the_same_density_and_no_gradient_for_its_parameters(generator):
    q = von_mises_fisher(4, [3.0, 9.0])
    q = VonMisesFisher(q.direction.clone().requires_grad_(), q.concentration.clone().requires_grad_())
    z = q.draw(torch.randn(5, 2, 5, dtype=torch.float64, generator=generator))[0].detach().requires_grad_()
    held = q.detach().log_prob(z)
    assert torch.equal(held, q.log_prob(z))
    for_z, *others = torch.autograd.grad(held.sum(), [z, q.direction, q.concentration], allow_unused=True)
    assert for_z.abs().max() > 0
    assert others == [None, None]


def test_noise_almost_along_the_mean_direction_does_not_lead_off_the_sphere():
    direction = torch.tensor([[0.6, 0.8]])
    q = VonMisesFisher(direction, torch.tensor([2.0]))
    across = 1.7 * direction + torch.tensor([1e-6, 0.0])
    noise = torch.cat([torch.linspace(-2, 2, 9)[:, None, None], across.expand(9, 1, 2)], -1)
    assert (q.draw(noise)[0].norm(dim=-1) - 1).abs().max() < 1e-6


def test_against_another_prior_the_rate_is_by_draws():
    q = von_mises_fisher(2, [3.0])
    p = Normal(torch.zeros(2).double(), torch.zeros(2).double())
    z, log_q = q.draw(torch.ones(5, 1, 3, dtype=torch.float64))
    assert torch.equal(q.rate(p, z, log_q), (log_q - p.log_prob(z)).unsqueeze(-1))
