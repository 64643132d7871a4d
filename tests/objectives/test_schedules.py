"""What is descended while the rate's weight still grows, and what is free of charge."""

import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor, nn
from touchstone import D, X

from vaekit.core import Batch
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.objectives.bounds import rate_weight
from vaekit.parts import likelihoods, posteriors, priors

# warm-up


def test_the_weight_grows_in_a_line_to_beta_and_stays_there():
    weights = [rate_weight(step, 2.0, 8) for step in range(20)]
    assert weights[:8] == pytest.approx([0.25 * (step + 1) for step in range(8)])
    assert weights[8:] == [2.0] * 12
    assert [rate_weight(step, 3.0, 0) for step in (0, 1, 999)] == [3.0] * 3


@pytest.mark.parametrize(("step", "weight"), [(0, 0.05), (4, 0.25), (9, 0.5), (10, 0.5), (1000, 0.5)])
@pytest.mark.parametrize("gradient", ["standard", "sticking-the-landing"])
def test_it_weighs_the_rate_of_the_elbo(inexact, step, weight, gradient):
    noise, objective = inexact.noise(4), ELBO(4, beta=0.5, warmup=0.1, gradient=gradient)
    objective.begin(100)
    loss = objective(inexact.model, inexact.batch, noise, step=step).loss
    draw = inexact.model.draw(inexact.batch, noise)
    rate = draw.rate if gradient == "standard" else draw.log_q - draw.log_pz
    assert torch.allclose(loss, -draw.log_px.mean() + weight * rate.mean(), rtol=1e-12)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.05), (4, 0.25), (9, 0.5), (10, 0.5), (1000, 0.5)])
@pytest.mark.parametrize("gradient", ["standard", "doubly-reparameterised"])
def test_it_weighs_the_rate_within_each_importance_weight(inexact, step, weight, gradient):
    noise, objective = inexact.noise(4), ImportanceWeighted(4, beta=0.5, warmup=0.1, gradient=gradient)
    objective.begin(100)
    loss = objective(inexact.model, inexact.batch, noise, step=step).loss
    draw = inexact.model.draw(inexact.batch, noise)
    log_w = (draw.log_px + weight * (draw.log_pz - draw.log_q)).detach().numpy()
    assert loss.item() == pytest.approx(-logsumexp(log_w, axis=0, b=1 / 4).mean(), rel=1e-12)


# free bits


class _Posteriors(nn.Module):
    """An encoder that says what it is given, (rows, 2D): means, then log σ."""

    def __init__(self, means: list[list[float]]):
        super().__init__()
        means = torch.tensor(means, dtype=torch.float64)
        self.h = nn.Parameter(torch.cat([means, torch.zeros_like(means)], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.h


def _model(means: list[list[float]]) -> tuple[VAE, Batch, Tensor]:
    """With σ = 1 the KL of a latent is half its squared mean."""
    latents, rows = len(means[0]), len(means)
    generator = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    decoder, likelihood = MLP(latents, (), X).double(), likelihoods.Gaussian((X,), sigma="unit")
    with torch.no_grad():
        for p in decoder.parameters():
            p.copy_(draw(*p.shape))
    posterior, prior = posteriors.Diagonal(latents), priors.StandardNormal(latents)
    model = VAE(_Posteriors(means), posterior, prior, decoder, likelihood).double()
    return model, Batch(draw(rows, X)), draw(1, rows, latents)


def _rate(objective, means: list[list[float]]) -> tuple[float, Tensor]:
    """What the objective makes of the rate, and its gradient for the means (rows, D)."""
    model, batch, noise = _model(means)
    loss = objective(model, batch, noise).loss + model.draw(batch, noise).log_px.mean()
    (gradient,) = torch.autograd.grad(loss, model.encoder.h)
    return loss.item(), gradient[:, : len(means[0])]


def test_a_latent_below_its_free_bits_costs_a_constant_and_is_not_pushed():
    """KL, averaged over rows: 2.5, 0.25 and 0.005 nats; λ = 0.3."""
    means = [[1.0, 0.0, 0.1], [3.0, 1.0, 0.1]]
    value, gradient = _rate(ELBO(free_bits=0.3, beta=2.0), means)
    assert value == pytest.approx(2 * (2.5 + 0.3 + 0.3), abs=1e-4)
    assert gradient[:, 0].tolist() == pytest.approx([1.0, 3.0])  # β μ / rows
    assert gradient[:, 1:].abs().max() < 1e-12


def test_what_is_free_is_the_mean_over_the_rows_and_not_each_row_s():
    """Rows of 0 and 2 nats are 1 on average, which is above λ = 0.5, and below 1.5."""
    means = [[0.0], [2.0]]
    value, gradient = _rate(ELBO(free_bits=0.5), means)
    assert value == pytest.approx(1.0, abs=1e-4)
    assert gradient.flatten().tolist() == pytest.approx([0.0, 1.0])
    value, gradient = _rate(ELBO(free_bits=1.5), means)
    assert value == pytest.approx(1.5)
    assert gradient.abs().max() < 1e-12


def test_without_a_kl_of_each_latent_the_total_is_free_up_to_as_much(inexact):
    noise = inexact.noise(2)
    draw = inexact.model.draw(inexact.batch, noise)
    total, distortion = draw.rate.mean().item(), -draw.log_px.mean().item()
    assert draw.rate_each.shape[-1] == 1
    phi = list(inexact.model.encoder.parameters())
    for free in (0.9 * total / D, 1.1 * total / D):
        loss = ELBO(2, free_bits=free)(inexact.model, inexact.batch, noise).loss
        assert loss.item() == pytest.approx(distortion + max(total, D * free), rel=1e-12)
        gradients = torch.autograd.grad(loss, phi)
        rate = torch.zeros(()) if D * free > total else inexact.model.draw(inexact.batch, noise).rate.mean()
        wanted = torch.autograd.grad(rate - inexact.model.draw(inexact.batch, noise).log_px.mean(), phi)
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(gradients, wanted, strict=True))


def test_no_free_bits_are_the_ordinary_loss():
    means = [[1.0, 0.2], [0.0, -0.3]]
    assert _rate(ELBO(free_bits=0.0), means)[0] == pytest.approx((0.5 + 0.02 + 0.045) / 2, abs=1e-4)


# cycles


def test_the_weight_grows_and_stays_as_often_as_it_is_said():
    weights = [rate_weight(step, 3.0, 25, cycles=3) for step in range(40)]
    rise, stay = [0.6, 1.2, 1.8, 2.4, 3.0], [3.0] * 5
    assert weights == pytest.approx([*rise, *stay, *rise, *stay, *rise, *[3.0] * 15])


def test_four_cycles_over_seven_eighths_are_those_of_fu_and_others():
    """β_t = f(τ), τ = mod(t − 1, T/M) / (T/M), f = τ/R up to R and then 1, with M = 4, R = 0.5: to a step."""
    steps = 800
    objective = ELBO(warmup=0.875, cycles=4)
    objective.begin(steps)
    for t in range(steps):
        tau = (t % (steps // 4)) / (steps // 4)
        assert objective.rate_weight(t) == pytest.approx(min(1.0, tau / 0.5), abs=1 / 100 + 1e-12)
    assert objective.settled == 700


# capacity


def test_the_rate_is_drawn_to_a_capacity_that_grows_from_above_and_from_below(inexact):
    noise, objective = inexact.noise(3), ELBO(3, beta=7.0, warmup=0.1, capacity=5.0)
    objective.begin(100)
    draw = inexact.model.draw(inexact.batch, noise)
    rate, distortion = draw.rate.mean(), draw.distortion.mean()
    assert 2.0 < rate.item() < 5.0  # so that both sides are met
    for step, capacity in ((0, 0.5), (1, 1.0), (9, 5.0), (99, 5.0)):
        loss = objective(inexact.model, inexact.batch, noise, step=step).loss
        assert loss.item() == pytest.approx((distortion + 7 * (rate - capacity).abs()).item(), rel=1e-12)
        (found,) = torch.autograd.grad(loss - inexact.model.draw(inexact.batch, noise).distortion.mean(),
                                       inexact.model.encoder.layers[-1].bias)  # fmt: skip
        (plain,) = torch.autograd.grad(inexact.model.draw(inexact.batch, noise).rate.mean(),
                                       inexact.model.encoder.layers[-1].bias)  # fmt: skip
        sign = 1 if rate.item() > capacity else -1
        assert torch.allclose(found, sign * 7 * plain, rtol=1e-9, atol=1e-10)


def test_a_capacity_of_nothing_is_the_weighted_rate(inexact):
    noise = inexact.noise(3)
    small = ELBO(3, beta=7.0, capacity=1e-300)(inexact.model, inexact.batch, noise)
    plain = ELBO(3, beta=7.0)(inexact.model, inexact.batch, noise)
    assert torch.equal(small.loss, plain.loss)
    assert torch.equal(small.value, plain.value)
