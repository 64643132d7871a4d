"""Gradients of bounds: right in expectation, and as quiet as they are said to be."""

import math

import pytest
import torch
from torch import Tensor, nn
from touchstone import D, Touchstone, corners

from vaekit.core import Batch
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.parts import likelihoods, posteriors, priors

STICKING, DOUBLY = "sticking-the-landing", "doubly-reparameterised"


def _split_parameters(model: VAE) -> tuple[list, list]:
    return [*model.decoder.parameters(), *model.likelihood.parameters()], [*model.encoder.parameters()]


def test_with_a_fixed_prior_the_rate_has_no_gradient_for_the_decoder(inexact):
    theta, phi = _split_parameters(inexact.model)
    draw = inexact.model.draw(inexact.batch, inexact.noise(3))
    gradients = torch.autograd.grad(draw.rate.mean(), theta, allow_unused=True, retain_graph=True)
    assert all(g is None or not g.any() for g in gradients)
    gradients = torch.autograd.grad(draw.log_px.mean(), theta + phi)
    assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_the_gradient_is_the_sum_of_its_terms_gradients(inexact, beta):
    theta, phi = _split_parameters(inexact.model)
    noise = inexact.noise(3)
    loss = ELBO(samples=3, beta=beta)(inexact.model, inexact.batch, noise).loss
    total = torch.autograd.grad(loss, theta + phi)
    draw = inexact.model.draw(inexact.batch, noise)
    distortion = torch.autograd.grad(-draw.log_px.mean(), theta + phi, retain_graph=True)
    rate = torch.autograd.grad(draw.rate.mean(), phi)
    rate = [torch.zeros_like(p) for p in theta] + list(rate)
    assert len(total) == len(rate) > len(phi)
    for whole, part, other in zip(total, distortion, rate, strict=True):
        assert part.abs().sum() > 0
        assert torch.allclose(whole, part + beta * other, rtol=1e-10)
    assert all(g.abs().sum() > 0 for g in rate[len(theta) :])


def test_where_q_is_exact_the_decoder_s_gradient_is_that_of_log_p(exact):
    """∂ELBO/∂θ = ∂log p(x)/∂θ at the exact posterior, in expectation."""
    weight = exact.model.decoder.layers[-1].weight
    loss = ELBO(samples=4)(exact.model, exact.batch, corners()).loss
    (gradient,) = torch.autograd.grad(loss, weight)
    w = exact.w.clone().requires_grad_()
    noise = (torch.from_numpy(exact.marginal.cov) - exact.w @ exact.w.T).detach()
    law = torch.distributions.MultivariateNormal(exact.mean, w @ w.T + noise)
    (exactly,) = torch.autograd.grad(-law.log_prob(exact.x).mean(), w)
    assert torch.allclose(gradient, exact.model.likelihood.scale[:, None] * exactly, rtol=1e-6, atol=1e-8)


class _Given(nn.Module):
    """An encoder that says h (rows, features) whatever it sees, as leaves: gradients come out one a row."""

    def __init__(self, h: Tensor):
        super().__init__()
        self.h = nn.Parameter(h.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.h


def _curved(rows: int) -> tuple[VAE, Tensor]:
    """One latent, a decoder that is far from linear, and one x repeated: gradients come out one a draw."""
    generator = torch.Generator().manual_seed(8)
    decoder = MLP(1, (8,), 3, "tanh").double()
    with torch.no_grad():
        for p in decoder.parameters():
            p.copy_(1.5 * torch.randn(p.shape, generator=generator))
    likelihood, encoder = likelihoods.Gaussian((3,), sigma="unit"), _Given(torch.tensor([[0.4, -0.7]]).repeat(rows, 1))
    model = VAE(encoder, posteriors.Diagonal(1), priors.StandardNormal(1), decoder, likelihood)
    return model.double(), torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64).repeat(rows, 1)


def _gradient_by_quadrature() -> Tensor:
    """∂ELBO/∂(loc, log σ features): log p(x|z) on a fixed grid of z, weighted with q's density and differentiated."""
    model, x = _curved(1)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None, None]
    q = model.encode(Batch(x))
    integral = (q.log_prob(grid).exp() * model.decode(grid).log_prob(x)).sum() * (grid[1] - grid[0]).squeeze()
    (gradient,) = torch.autograd.grad(integral - q.rate(model.prior(), None, None).sum(), model.encoder.h)
    return gradient[0]


def test_the_reparameterised_gradient_is_unbiased_and_far_quieter_than_the_score_function_s(generator):
    rows = 20_000
    model, x = _curved(rows)
    noise = torch.randn(1, rows, 1, generator=generator, dtype=torch.float64)
    loss = ELBO()(model, Batch(x), noise).loss
    (gradient,) = torch.autograd.grad(-rows * loss, model.encoder.h)
    exact, error = _gradient_by_quadrature(), gradient.std(0) / math.sqrt(rows)
    assert exact.abs().min() > 10 * error.max()  # there is something to be wrong about
    assert ((gradient.mean(0) - exact).abs() < 5 * error).all()

    draw = model.draw(Batch(x), noise)
    score = (draw.log_px.detach() * draw.q.log_prob(draw.z.detach())).sum() - draw.rate.sum()
    (scored,) = torch.autograd.grad(score, model.encoder.h)
    assert ((scored.mean(0) - exact).abs() < 5 * scored.std(0) / math.sqrt(rows)).all()
    ratio = scored.var(0) / gradient.var(0)
    print(f"variance of the score-function gradient over the reparameterised one: {ratio.tolist()}")
    assert (ratio > 10).all()


# sticking the landing


def _gradients(objective, stone: Touchstone, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Of the loss, for θ and for φ, each as one vector."""
    theta, phi = _split_parameters(stone.model)
    gradients = torch.autograd.grad(objective(stone.model, stone.batch, noise).loss, theta + phi)
    flat = [g.flatten() for g in gradients]
    return torch.cat(flat[: len(theta)]), torch.cat(flat[len(theta) :])


def test_sticking_the_landing_is_without_noise_where_q_is_exact(exact):
    noise = 3 * exact.noise(5)
    _, sticking = _gradients(ELBO(5, gradient=STICKING), exact, noise)
    _, standard = _gradients(ELBO(5), exact, noise)
    assert sticking.abs().max() < 1e-6 * standard.abs().max()


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_sticking_the_landing_has_the_standard_gradient_s_expectation(inexact, beta):
    """Both are quadratic in ε, so `corners` gives both expectations exactly."""
    sticking = _gradients(ELBO(4, beta, gradient=STICKING), inexact, corners())
    standard = _gradients(ELBO(4, beta), inexact, corners())
    for ours, theirs in zip(sticking, standard, strict=True):
        assert theirs.abs().max() > 0.1
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    noise = inexact.noise(3)
    _, ours = _gradients(ELBO(3, beta, gradient=STICKING), inexact, noise)
    _, theirs = _gradients(ELBO(3, beta), inexact, noise)
    assert (ours - theirs).abs().max() > 0.1  # draw by draw they differ


# the doubly-reparameterised gradient


def _each(objective, noise: Tensor) -> Tensor:
    """The gradient of the loss for (loc, log σ features), one row of `noise` (K, rows, 1) each: (rows, 2)"""
    model, x = _curved(noise.shape[1])
    loss = objective(model, Batch(x), noise).loss
    return torch.autograd.grad(noise.shape[1] * loss, model.encoder.h)[0]


def _grid(draws: int, step: float) -> tuple[Tensor, Tensor]:
    """Every combination of `draws` ε on a grid, (draws, rows, 1), and its weight (rows, 1): exact for smooth f."""
    axis = torch.arange(-7, 7 + step / 2, step, dtype=torch.float64)
    noise = torch.cartesian_prod(*[axis] * draws).T.unsqueeze(-1)
    weight = (-0.5 * noise.square().sum(0)).exp()
    return noise, weight / weight.sum()


@pytest.mark.parametrize("beta", [1.0, 0.4, 0.0, 2.0])
@pytest.mark.parametrize(("samples", "step", "rtol"), [(2, 0.1, 1e-6), (3, 0.35, 1e-3)], ids=["2", "3"])
def test_doubly_reparameterised_it_has_the_importance_weighted_gradient_s_expectation(samples, step, rtol, beta):
    """By quadrature over all ε at once, for φ."""
    noise, weight = _grid(samples, step)
    doubly, standard = (
        (_each(ImportanceWeighted(samples, beta=beta, gradient=name), noise) * weight).sum(0)
        for name in (DOUBLY, "standard")
    )
    assert standard.abs().min() > 0.05
    assert torch.allclose(doubly, standard, rtol=rtol)


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_doubly_reparameterised_the_decoder_s_gradient_is_the_same_draw_by_draw(inexact, beta):
    noise = inexact.noise(6)
    doubly = _gradients(ImportanceWeighted(6, 2, beta, gradient=DOUBLY), inexact, noise)
    standard = _gradients(ImportanceWeighted(6, 2, beta), inexact, noise)
    assert torch.allclose(doubly[0], standard[0], rtol=1e-10)
    assert not torch.allclose(doubly[1], standard[1], rtol=1e-2)


def test_doubly_reparameterised_it_is_unbiased_for_every_weight_of_an_encoder(inexact):
    """Full covariance, K = 5, averages of 40 · 100 · B draws of each."""
    stone, averages = inexact, {DOUBLY: [], "standard": []}
    stone.batch = Batch(stone.x.repeat(100, 1))
    for gradient, found in averages.items():
        objective = ImportanceWeighted(5, gradient=gradient)
        for seed in range(40):
            _, phi = _gradients(objective, stone, stone.noise(5, len(stone.batch.x), seed))
            found.append(phi)
    difference = torch.stack(averages[DOUBLY]) - torch.stack(averages["standard"])
    mean, error = difference.mean(0), difference.std(0) / math.sqrt(40)
    assert (mean.abs() < 5 * error).all()
    signal = torch.stack(averages[DOUBLY]).mean(0).abs()
    assert (signal > 20 * error).any()


def test_doubly_reparameterised_the_encoder_s_signal_to_noise_does_not_fall_with_the_number_of_draws():
    """And the plain one's does, as 1/√K: the signal shrinks as 1/K, the noise as 1/√K."""
    rows, few, many = 300, 8, 72
    stone = Touchstone().blur(0.2, 0.2)
    x = stone.x.repeat(rows, 1)
    stone.model.encoder = _Given(stone.model.encoder(stone.model.likelihood.standardise(x)))

    def moments(objective) -> tuple[Tensor, Tensor]:
        loss = objective(stone.model, Batch(x), stone.noise(objective.samples, len(x))).loss
        (gradient,) = torch.autograd.grad(len(x) * loss, stone.model.encoder.h)
        return gradient.mean(0), gradient.std(0)

    doubly, plain = [], []
    for k in (few, many):
        signal, quiet = moments(ImportanceWeighted(k, gradient=DOUBLY))
        _, loud = moments(ImportanceWeighted(k))
        signal = signal.abs()[: 2 * D]  # of both, and here with less noise
        assert (signal > 10 * quiet[: 2 * D] / math.sqrt(len(x))).all()
        doubly.append(signal / quiet[: 2 * D])
        plain.append(signal / loud[: 2 * D])
    expected = math.sqrt(few / many)
    assert (doubly[1] > 1.5 * doubly[0]).all()
    assert (plain[1] < 1.5 * expected * plain[0]).all()
    assert (plain[1] > 0.6 * expected * plain[0]).all()
