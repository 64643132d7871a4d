"""Quadrature against what is known: the touchstone's log p(x), other closed forms, and other rules of integration."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from touchstone import B, Touchstone, X, corners

from vaekit.core import Batch
from vaekit.distributions import Normal
from vaekit.errors import VaekitError
from vaekit.evaluation.quadrature import Quadrature
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.objectives import ELBO
from vaekit.parts import posteriors, priors

FINE = Quadrature(tolerance=1e-8)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


class NormalPrior(nn.Module):
    def __init__(self, mean: list[float], scale: list[float]):
        super().__init__()
        self.p = Normal(torch.tensor(mean).double(), torch.tensor(scale).double().log())

    def forward(self, c=None, *, posterior=None) -> Normal:
        return self.p


class Noise(nn.Module):
    """p(x|z) = N(x; y, σ²), with σ to the last bit"""

    def __init__(self, features: int, sigma: float):
        super().__init__()
        self.features, self.log_sigma = features, torch.tensor(math.log(sigma), dtype=torch.float64)

    def standardise(self, x: Tensor) -> Tensor:
        return x

    def forward(self, y: Tensor) -> Normal:
        return Normal(y, self.log_sigma.to(y.dtype))


def around(decoder, sigma: float, dims: int, features: int, q_mean: float = 0.0, prior=None) -> VAE:
    """p(x|z) = N(decoder(z), σ²), features independent; q(z|x) at `q_mean`, of standard deviation σ, whatever x is."""
    posterior = posteriors.Diagonal(dims)
    encoder = MLP(features, (), posterior.features)
    with torch.no_grad():
        encoder.layers[-1].weight.zero_()
        encoder.layers[-1].bias.copy_(torch.tensor([q_mean] * dims + [math.log(sigma)] * dims))
    prior = priors.StandardNormal(dims) if prior is None else prior
    return VAE(encoder, posterior, prior, Function(decoder), Noise(features, sigma)).double()


def rows(*x) -> Batch:
    return Batch(torch.tensor(x, dtype=torch.float64))


def score(model: VAE, batch: Batch, method: Quadrature = FINE):
    return method(model, batch, 0)


def assert_right(scores, truth, within: float = 1e-8):
    """As near as was asked for, and known to be"""
    missed = (scores.value - torch.as_tensor(truth, dtype=torch.float64)).abs()
    assert (scores.error <= within).all()
    assert (missed <= scores.error + 1e-12).all(), (missed, scores)


# the touchstone


@pytest.mark.parametrize("sigma", ["unit", "shared", "column"])
def test_log_p_of_the_touchstone(sigma):
    stone = Touchstone(sigma)
    scores = score(stone.model, stone.batch)
    assert scores.value.dtype == scores.error.dtype == torch.float64
    assert scores.value.shape == scores.error.shape == scores.terms["cells"].shape == (B,)
    assert_right(scores, stone.log_p)


def test_it_does_not_depend_on_the_encoder():
    exact, blurred = Touchstone(), Touchstone().blur()
    assert torch.equal(score(exact.model, exact.batch).value, score(blurred.model, blurred.batch).value)


def test_it_is_no_less_than_the_elbo():
    stone = Touchstone().blur()
    elbo = ELBO(samples=4)(stone.model, stone.batch, corners()).value
    gap = score(stone.model, stone.batch).value - elbo
    assert (gap > 0.01).all()


def test_in_float32_to_within_a_tolerance_that_float32_has():
    stone = Touchstone()
    scores = score(stone.model.float(), Batch(stone.x.float()), Quadrature())
    assert scores.value.dtype == torch.float64
    assert (scores.error < 1.1e-4).all()
    assert (scores.value - stone.log_p).abs().max() < 1e-4


def test_a_row_s_value_does_not_depend_on_its_neighbours():
    stone = Touchstone()
    mask = torch.rand(B, X, generator=torch.Generator().manual_seed(0)) > 0.4
    together = score(stone.model, Batch(stone.x, mask))
    for i in range(B):
        alone = score(stone.model, Batch(stone.x[i : i + 1], mask[i : i + 1]))
        assert torch.equal(alone.value, together.value[i : i + 1])
        assert torch.equal(alone.error, together.error[i : i + 1])


def test_points_go_through_the_decoder_a_chunk_at_a_time(monkeypatch):
    stone = Touchstone()
    whole, sizes = score(stone.model, stone.batch), []
    monkeypatch.setattr("vaekit.inference.joint.MOST_DRAWS", 100)
    stone.model.decoder.register_forward_hook(lambda module, args, y: sizes.append(len(y)))
    assert (score(stone.model, stone.batch).value - whole.value).abs().max() < 1e-10
    assert max(sizes) == 100
    assert sum(sizes) == whole.terms["cells"].sum()


def test_no_rows():
    stone = Touchstone()
    assert score(stone.model, Batch(stone.x[:0])).value.shape == (0,)


# hidden cells


def test_log_p_of_the_observed_features():
    stone = Touchstone()
    mask = torch.tensor([True, False, True, False]).expand(B, X)
    x = torch.where(mask, stone.x, torch.nan)
    observed = stats.multivariate_normal(stone.marginal.mean[::2], stone.marginal.cov[::2, ::2])
    assert_right(score(stone.model, Batch(x, mask)), observed.logpdf(stone.x[:, ::2]))


def test_nothing_observed_is_certain():
    stone = Touchstone()
    assert_right(score(stone.model, Batch(stone.x, torch.zeros(B, X, dtype=torch.bool))), torch.zeros(B))


# decoders that are not linear


def test_a_curved_decoder_of_one_latent():
    model, x = around(lambda z: torch.cat([torch.sin(2 * z), z**2 / 2], -1), 0.3, 1, 2), [[0.3, -0.1], [0.9, 1.0]]

    def joint(z, a, b):
        return stats.norm.pdf(z) * stats.norm.pdf(a, math.sin(2 * z), 0.3) * stats.norm.pdf(b, z * z / 2, 0.3)

    truth = [math.log(integrate.quad(joint, -6, 6, tuple(row), epsabs=0, epsrel=1e-11, limit=500)[0]) for row in x]
    assert_right(score(model, rows(*x)), truth, 1e-8)


def test_a_network_of_two_latents():
    """Against the tensor product of Gauss and Legendre's rule, 200 nodes an axis."""
    torch.manual_seed(0)
    decoder = MLP(2, (8,), 3, "tanh").double()
    with torch.no_grad():
        decoder.layers[0].weight.mul_(3)
    model, batch = around(decoder, 0.3, 2, 3), rows([0.1, 0.0, -0.2], [0.8, -0.5, 0.5], [2.0, 2.0, 2.0])
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(200))
    z, log_weight = torch.cartesian_prod(8 * nodes, 8 * nodes), torch.cartesian_prod(8 * weights, 8 * weights).log()
    with torch.no_grad():
        log_joint = model.joint(batch)(z[:, None].expand(-1, 3, -1))
    assert_right(score(model, batch), (log_joint + log_weight.sum(-1)[:, None]).logsumexp(0))


def test_a_decoder_with_kinks():
    """p(x|z) = N(x; |z|, σ²) is linear on either side of 0."""
    sigma, x = 0.5, 0.7
    variance = sigma**2 / (1 + sigma**2)
    half = stats.norm.cdf(x / (1 + sigma**2) / math.sqrt(variance))
    truth = math.log(2 * half) + stats.norm.logpdf(x, 0, math.sqrt(1 + sigma**2))
    assert_right(score(around(torch.abs, sigma, 1, 1), rows([x]), Quadrature(1e-6)), truth, 1e-6)


# posteriors that are narrow, have several modes, or lie far out


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("sigma", [0.1, 0.02, 0.002, 1e-4])
def test_a_narrow_posterior(sigma, dims):
    x = torch.randn(3, dims, generator=torch.Generator().manual_seed(dims), dtype=torch.float64)
    truth = stats.norm.logpdf(x, 0, math.sqrt(1 + sigma**2)).sum(-1)
    scores = score(around(lambda z: z, sigma, dims, dims), Batch(x))
    assert_right(scores, truth, 1e-7)
    assert (scores.terms["cells"] < 20_000).all()


@pytest.mark.parametrize("sigma", [0.1, 0.02])
def test_a_ridge_across_both_latents(sigma):
    """x = z₁ + z₂ + σε: a posterior that is narrow in one direction, at 45°, and as wide as the prior in the other."""
    scores = score(around(lambda z: z.sum(-1, keepdim=True), sigma, 2, 1), rows([0.37], [-1.9]))
    assert_right(scores, stats.norm.logpdf([0.37, -1.9], 0, math.sqrt(2 + sigma**2)))


def test_a_decoder_that_ignores_a_latent_costs_no_cells_along_it():
    model, x = around(lambda z: z[:, :1], 0.002, 2, 1), [0.37]
    scores = score(model, rows(x))
    assert_right(scores, stats.norm.logpdf(x, 0, math.sqrt(1 + 0.002**2)), 1e-7)
    assert scores.terms["cells"] < 20_000


def of_a_square(x: float, sigma: float) -> float:
    """log ∫ N(x; z², σ²) N(z; 0, 1) dz by adaptive quadrature about the mode √x"""
    joint = lambda z: 2 * stats.norm.pdf(x, z * z, sigma) * stats.norm.pdf(z)  # noqa: E731
    mode = math.sqrt(x)
    edges = max(0, mode - 6 * sigma / mode), mode + 6 * sigma / mode
    return math.log(integrate.quad(joint, *edges, points=[mode], epsabs=0, epsrel=1e-11, limit=500)[0])


@pytest.mark.parametrize("sigma", [0.2, 0.06, 0.03])
def test_modes_that_the_encoder_misses(sigma):
    """x₁ = z₁² + σε has the modes ±√x₁, and q covers one of them: half of p(x)."""
    model = around(lambda z: torch.stack([z[:, 0] ** 2, z[:, 1]], -1), sigma, 2, 2, q_mean=1.0)
    x, width = [1.0, 1.0], math.sqrt(1 + sigma**2)
    assert_right(score(model, rows(x)), of_a_square(x[0], sigma) + stats.norm.logpdf(x[1], 0, width))
    one = around(torch.square, sigma, 1, 1, q_mean=1.0)
    assert_right(score(one, rows([1.7])), of_a_square(1.7, sigma))


def test_four_modes_of_different_heights():
    """x = (z₁² , z₂²) + σε, at σ = .06: posterior standard deviations of .03 and less"""
    model = around(torch.square, 0.06, 2, 2, q_mean=1.0)
    assert_right(score(model, rows([1.0, 1.44])), of_a_square(1.0, 0.06) + of_a_square(1.44, 0.06))


@pytest.mark.parametrize("x", [12.0, -100.0])
def test_a_row_far_outside_the_prior_s_box(x):
    truth = 2 * stats.norm.logpdf(x, 0, math.sqrt(1.01))
    scores = score(around(lambda z: z, 0.1, 2, 2), rows([x, x]))
    assert_right(scores, truth, 1e-7)


def test_the_box_is_the_prior_s():
    mean, scale = [300.0, -5.0], [20.0, 0.01]
    model = around(lambda z: z, 0.1, 2, 2, prior=NormalPrior(mean, scale))
    truth = stats.norm.logpdf([310.0, -4.9], mean, np.hypot(scale, 0.1)).sum()
    scores = score(model, rows([310.0, -4.9]))
    assert_right(scores, truth)
    assert scores.terms["cells"] < 20_000


# the error


@pytest.mark.parametrize("tolerance", [1.0, 1e-2, 1e-4, 1e-6])
def test_the_error_covers_the_truth(tolerance):
    sigmas = torch.logspace(-2.5, 0, 13).tolist()
    for sigma in sigmas:
        scores = score(around(lambda z: z, sigma, 2, 2), rows([0.6, -1.1]), Quadrature(tolerance))
        truth = stats.norm.logpdf([0.6, -1.1], 0, math.sqrt(1 + sigma**2)).sum()
        assert_right(scores, truth, tolerance * (1 + 1e-6))


def test_the_error_covers_the_truth_wherever_the_mode_lies_among_the_cells():
    x = torch.linspace(0.3, 0.3 + 1 / 32, 100, dtype=torch.float64)[:, None]
    truth = stats.norm.logpdf(x[:, 0], 0, math.sqrt(1 + 0.008**2))
    assert_right(score(around(lambda z: z, 0.008, 1, 1), Batch(x), Quadrature(0.1)), truth, 0.1)


def test_the_error_is_large_where_cells_do_not_suffice():
    model, batch = around(lambda z: z, 0.002, 2, 2), rows([0.6, -1.1])
    full = score(model, batch)
    for most_cells in (10, 4150, 4250, 4400, int(full.terms["cells"]) - 1):
        capped = score(model, batch, Quadrature(1e-8, most_cells))
        assert capped.terms["cells"] <= max(most_cells, 64**2)
        assert capped.error > 1e-8
        assert (capped.value - full.value).abs() <= capped.error
    assert score(model, batch, Quadrature(1e-8, 10)).error == torch.inf
    assert score(model, batch, Quadrature(1e-8, 4250)).error > 100


def test_it_ends_where_numbers_are_too_coarse_to_go_on():
    model = around(lambda z: z, 1e-6, 1, 1).float()
    scores = score(model, Batch(torch.tensor([[1.234567]])), Quadrature())
    assert scores.error > 0.1
    assert scores.terms["cells"] < 2000


def test_a_model_that_is_not_a_number_is_no_number():
    scores = score(around(lambda z: z * torch.nan, 0.1, 2, 2), rows([0.6, -1.1]))
    assert scores.value.isnan()
    assert not scores.error < torch.inf


def test_more_than_two_latents_are_refused():
    model = around(lambda z: z, 1.0, 50, 50)
    with pytest.raises(VaekitError, match="quadrature is for 1 or 2 latents, this model has 50: use iwae or ais"):
        score(model, Batch(torch.zeros(1, 50)))


def test_a_tolerance_of_nothing_is_refused():
    with pytest.raises(VaekitError, match="above 0"):
        Quadrature(tolerance=0)
