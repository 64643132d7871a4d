"""Bounds against the linear-Gaussian model of `touchstone`, where log p(x) and the posterior are known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from touchstone import SIGMAS, B, D, Touchstone, X, corners

from vaekit.core import Batch
from vaekit.data import Rows, describe
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.maths import log_mean_exp
from vaekit.models import FlatModel
from vaekit.nets import MLP
from vaekit.objectives import ELBO, over_rows
from vaekit.parts import likelihoods, posteriors, priors


@pytest.fixture(params=SIGMAS)
def exact(request) -> Touchstone:
    return Touchstone(request.param)


@pytest.fixture
def inexact() -> Touchstone:
    return Touchstone().blur()


# where q is the exact posterior


def test_the_touchstone_s_encoder_is_the_exact_posterior(exact):
    q = exact.model.encode(exact.x)
    assert torch.allclose(q.mean, exact.posterior_mean, rtol=1e-10)
    assert torch.allclose(q.covariance, exact.covariance.expand(B, -1, -1), rtol=1e-8)


def test_every_weight_is_log_p_for_every_draw(exact):
    log_w = exact.model.draw(exact.batch, 3 * exact.noise(50)).log_w
    assert log_w.shape == (50, B)
    assert (log_w - exact.log_p).abs().max() < 1e-7
    for samples in (1, 5, 50):
        assert (log_mean_exp(log_w[:samples]) - exact.log_p).abs().max() < 1e-7


def test_the_elbo_with_its_closed_form_kl_is_log_p_in_expectation_only(exact):
    objective = ELBO(samples=4)
    expected = objective(exact.model, exact.batch, corners()).value
    assert expected.shape == (B,)
    assert (expected - exact.log_p).abs().max() < 1e-7
    one = ELBO()(exact.model, exact.batch, exact.noise(1)).value
    assert (one - exact.log_p).abs().min() > 1e-4


# where it is not


def test_the_elbo_misses_log_p_by_the_divergence_from_the_true_posterior(inexact):
    """log p(x) − ELBO = KL(q(z|x) ‖ p(z|x)), exactly."""
    q = inexact.model.encode(inexact.x)
    true = torch.distributions.MultivariateNormal(inexact.posterior_mean, inexact.covariance)
    gap = torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(q.mean, scale_tril=q.tril), true)
    value = ELBO(samples=4)(inexact.model, inexact.batch, corners()).value
    assert gap.min() > 0.1
    assert torch.allclose(inexact.log_p - value, gap, rtol=1e-6)


def test_bounds_rise_with_the_number_of_samples_and_stay_below_log_p(inexact):
    """ELBO ≤ E log mean of K weights ≤ log p(x), non-decreasing in K, the gap → Var(w) / (2 K p(x)²)."""
    repeats, most = 4000, 32
    log_w = inexact.model.draw(inexact.batch, inexact.noise(repeats * most)).log_w.unflatten(0, (repeats, most))
    value = ELBO(samples=4)(inexact.model, inexact.batch, corners()).value
    means, errors = [], []
    for k in (1, 2, 4, 8, 16, 32):
        bounds = log_mean_exp(log_w[:, :k], 1)
        means.append(bounds.mean(0))
        errors.append(bounds.std(0) / math.sqrt(repeats))
    assert ((means[0] - value).abs() < 5 * errors[0]).all()  # K = 1 is the ELBO
    for lower, higher in itertools.pairwise(means):
        assert (higher > lower).all()
    for mean, error in zip(means, errors, strict=True):
        assert (mean < inexact.log_p + 5 * error).all()
        assert (mean > value - 5 * errors[0]).all()
    relative = (log_w - inexact.log_p).exp().flatten(0, 1)
    assert ((relative.mean(0) - 1).abs() < 5 * relative.std(0) / math.sqrt(len(relative))).all()  # E[w] = p(x)
    gap, expected = inexact.log_p - means[-1], relative.var(0) / (2 * most)
    assert ((gap - expected).abs() < 0.3 * expected + 5 * errors[-1]).all()


class _Unknown:
    """A normal under another name, so that no closed form is found for it."""

    def __init__(self, p: Normal):
        self.log_prob, self.sample, self.mean = p.log_prob, p.sample, p.mean


class _UnknownPrior(nn.Module):
    def __init__(self, p: Normal):
        super().__init__()
        self.p = p

    def forward(self, *, posterior=None) -> _Unknown:
        return _Unknown(self.p)


def test_without_a_closed_form_the_rate_is_the_average_over_draws(inexact):
    closed = ELBO(samples=4)(inexact.model, inexact.batch, corners())
    standard = inexact.model.prior()
    inexact.model.prior = _UnknownPrior(standard)
    draw = inexact.model.draw(inexact.batch, corners())
    assert torch.allclose(draw.kl, (draw.log_q - draw.log_pz).mean(0))
    sampled = ELBO(samples=4)(inexact.model, inexact.batch, corners())
    assert torch.allclose(sampled.value, draw.log_w.mean(0))
    assert torch.allclose(sampled.value, closed.value)  # log q − log p is quadratic in ε too
    noise = inexact.noise(20_000)
    sampled = ELBO(samples=20_000)(inexact.model, inexact.batch, noise)
    log_w = inexact.model.draw(inexact.batch, noise).log_w.detach()
    assert ((sampled.value - closed.value).abs() < 5 * log_w.std(0) / math.sqrt(20_000)).all()


# what the objective does with its draws


def test_samples_are_averaged(inexact):
    noise = inexact.noise(5)
    several = ELBO(samples=5)(inexact.model, inexact.batch, noise)
    single = [ELBO()(inexact.model, inexact.batch, noise[k : k + 1]) for k in range(5)]
    assert torch.allclose(several.value, sum(b.value for b in single) / 5)
    assert torch.allclose(several.loss, sum(b.loss for b in single) / 5)
    assert several.terms["distortion"].shape == several.terms["rate"].shape == (B,)


def test_the_value_is_minus_distortion_minus_rate_in_nats_per_row(inexact):
    noise = inexact.noise(3)
    bound = ELBO(samples=3)(inexact.model, inexact.batch, noise)
    draw = inexact.model.draw(inexact.batch, noise)
    assert torch.allclose(bound.terms["distortion"], -draw.log_px.mean(0))
    assert torch.allclose(bound.terms["rate"], draw.q.kl(draw.p))
    assert torch.allclose(bound.value, -bound.terms["distortion"] - bound.terms["rate"])
    assert torch.allclose(bound.loss, -bound.value.mean())
    assert bound.loss.shape == ()
    assert bound.loss.requires_grad
    assert not any(t.requires_grad for t in (bound.value, *bound.terms.values()))


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_beta_changes_the_loss_and_never_the_value(inexact, beta):
    noise = inexact.noise(3)
    plain = ELBO(samples=3)(inexact.model, inexact.batch, noise)
    weighted = ELBO(samples=3, beta=beta)(inexact.model, inexact.batch, noise)
    assert torch.equal(weighted.value, plain.value)
    assert all(torch.equal(weighted.terms[name], plain.terms[name]) for name in plain.terms)
    assert torch.allclose(weighted.loss, (plain.terms["distortion"] + beta * plain.terms["rate"]).mean())


def test_row_order_and_batch_split_change_nothing(inexact):
    noise, objective = inexact.noise(3), ELBO(samples=3)
    whole = objective(inexact.model, inexact.batch, noise)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = objective(inexact.model, Batch(inexact.x[order]), noise[:, order])
    assert torch.allclose(shuffled.value, whole.value[order], rtol=1e-13)
    assert torch.allclose(shuffled.loss, whole.loss, rtol=1e-13)
    parts = [objective(inexact.model, Batch(inexact.x[s]), noise[:, s]) for s in (slice(0, 2), slice(2, B))]
    assert torch.allclose(torch.cat([p.value for p in parts]), whole.value, rtol=1e-13)
    assert torch.allclose((2 * parts[0].loss + 4 * parts[1].loss) / 6, whole.loss, rtol=1e-13)


def test_latents_may_be_permuted_flipped_and_joined_by_dead_ones():
    """None of it changes log p(x), nor the bound where q follows."""
    stone = Touchstone(sigma="unit").blur()
    noise = stone.noise(3)
    log_w = stone.model.draw(stone.batch, noise).log_w
    decoder = stone.model.decoder.layers[-1]
    mean, factor = stone.model.encode(stone.x).mean, stone.model.encode(stone.x).tril
    with torch.no_grad():
        decoder.weight.mul_(torch.tensor([1.0, -1.0]))  # z₂ ↦ −z₂
    flip = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    q = MultivariateNormal(mean @ flip, factor.diagonal(dim1=-2, dim2=-1).log(), flip @ factor @ flip)
    stone.model.encode = lambda x, mask=None: q
    assert torch.allclose(stone.model.draw(stone.batch, noise @ flip).log_w, log_w)
    wide = nn.Linear(D + 1, X).double()
    with torch.no_grad():
        wide.weight.copy_(torch.cat([decoder.weight, torch.zeros(X, 1)], 1))
        wide.bias.copy_(decoder.bias)
    below = torch.zeros(B, D + 1, D + 1, dtype=torch.float64)
    below[:, :D, :D] = q.below
    pad = torch.zeros(B, 1, dtype=torch.float64)
    dead = MultivariateNormal(torch.cat([q.mean, pad], 1), torch.cat([q.log_diagonal, pad], 1), below)
    prior = priors.StandardNormal(D + 1).double()
    model = FlatModel(nn.Identity(), stone.model.posterior, prior, wide, stone.model.likelihood)
    model.encode = lambda x, mask=None: dead
    extra = torch.randn(3, B, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.allclose(model.draw(stone.batch, torch.cat([noise @ flip, extra], -1)).log_w, log_w)


def test_hidden_cells_leave_the_bound_on_what_was_seen(inexact):
    """A full mask is the ordinary bound; an empty one leaves −KL(q(z|∅) ‖ p)."""
    noise, objective = inexact.noise(3), ELBO(samples=3)
    plain = objective(inexact.model, inexact.batch, noise)
    seen = torch.ones(B, X, dtype=torch.bool)
    assert torch.equal(objective(inexact.model, Batch(inexact.x, seen), noise).value, plain.value)
    x = inexact.x.clone()
    x[:, 1] = math.nan
    seen[:, 1] = False
    partly = objective(inexact.model, Batch(x, seen), noise)
    partly.loss.backward()
    assert all(p.grad.isfinite().all() for p in inexact.model.parameters())
    px = inexact.model.draw(Batch(x, seen), noise).px
    columns = [0, 2, 3]
    each = px.log_prob_each(inexact.x)[..., columns].sum(-1).mean(0)
    assert torch.allclose(partly.terms["distortion"], -each)
    nothing = objective(inexact.model, Batch(torch.full_like(x, math.nan), torch.zeros_like(seen)), noise)
    assert torch.equal(nothing.terms["distortion"], torch.zeros(B, dtype=torch.float64))
    assert torch.equal(nothing.value, -nothing.terms["rate"])
    assert (nothing.value <= 0).all()


# gradients


def _split_parameters(model: FlatModel) -> tuple[list, list]:
    return [*model.decoder.parameters(), *model.likelihood.parameters()], [*model.encoder.parameters()]


def test_with_a_fixed_prior_the_rate_has_no_gradient_for_the_decoder(inexact):
    theta, phi = _split_parameters(inexact.model)
    draw = inexact.model.draw(inexact.batch, inexact.noise(3))
    gradients = torch.autograd.grad(draw.kl.mean(), theta, allow_unused=True, retain_graph=True)
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
    rate = torch.autograd.grad(draw.kl.mean(), phi)
    rate = [torch.zeros_like(p) for p in theta] + list(rate)
    assert len(total) == len(rate) > len(phi)
    for whole, part, other in zip(total, distortion, rate, strict=True):
        assert part.abs().sum() > 0
        assert torch.allclose(whole, part + beta * other, rtol=1e-10)
    assert all(g.abs().sum() > 0 for g in rate[len(theta) :])


def test_gradients_agree_with_central_differences(inexact):
    theta, phi = _split_parameters(inexact.model)
    noise = inexact.noise(2)

    def loss(*values):
        return ELBO(samples=2)(inexact.model, inexact.batch, noise).loss

    assert torch.autograd.gradcheck(loss, theta + phi, rtol=1e-6, atol=1e-6)


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
    """An encoder that says the same whatever it sees: (loc, log σ), one pair a row, as leaves."""

    def __init__(self, loc: float, log_scale: float, rows: int):
        super().__init__()
        self.h = nn.Parameter(torch.tensor([[loc, log_scale]], dtype=torch.float64).repeat(rows, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.h


def _curved(rows: int) -> tuple[FlatModel, Tensor]:
    """One latent, a decoder that is far from linear, and one x repeated: gradients come out one a draw."""
    generator = torch.Generator().manual_seed(8)
    decoder = MLP(1, (8,), 3, "tanh").double()
    with torch.no_grad():
        for p in decoder.parameters():
            p.copy_(1.5 * torch.randn(p.shape, generator=generator))
    likelihood = likelihoods.Gaussian((3,), sigma="unit")
    model = FlatModel(_Given(0.4, -0.7, rows), posteriors.Diagonal(1), priors.StandardNormal(1), decoder, likelihood)
    return model.double(), torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64).repeat(rows, 1)


def _gradient_by_quadrature() -> Tensor:
    """∂ELBO/∂(loc, log σ features): log p(x|z) on a fixed grid of z, weighted with q's density and differentiated."""
    model, x = _curved(1)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None, None]
    q = model.encode(x)
    integral = (q.log_prob(grid).exp() * model.decode(grid).log_prob(x)).sum() * (grid[1] - grid[0]).squeeze()
    (gradient,) = torch.autograd.grad(integral - q.kl(model.prior()).sum(), model.encoder.h)
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
    score = (draw.log_px.detach() * draw.q.log_prob(draw.z.detach())).sum() - draw.kl.sum()
    (scored,) = torch.autograd.grad(score, model.encoder.h)
    assert ((scored.mean(0) - exact).abs() < 5 * scored.std(0) / math.sqrt(rows)).all()
    ratio = scored.var(0) / gradient.var(0)
    print(f"variance of the score-function gradient over the reparameterised one: {ratio.tolist()}")
    assert (ratio > 10).all()


# averages over rows


def test_over_rows_repeats_and_does_not_depend_on_neighbours_or_place():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, X)).astype(np.float32)
    x[40] = x[3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = MLP(X, (8,), 2 * D), MLP(D, (8,), X)
    model = FlatModel(encoder, posteriors.Diagonal(D), priors.StandardNormal(D), decoder, likelihoods.Gaussian((X,)))
    score = lambda x, size=16, seed=0: over_rows(  # noqa: E731
        ELBO(samples=3), model, Rows(x, describe(x), seed=0).blocks(size), seed
    )
    first = score(x)
    assert first.value.shape == first.terms["rate"].shape == first.terms["distortion"].shape == (50,)
    assert first.means.shape == (50, D)
    assert not first.value.requires_grad
    assert torch.equal(first.value, score(x).value)
    assert torch.allclose(first.value[3], first.value[40], rtol=1e-6)
    order = rng.permutation(50)
    assert torch.allclose(score(x[order]).value, first.value[order], rtol=1e-5)
    assert torch.allclose(score(x, size=7).value, first.value, rtol=1e-5)
    assert torch.allclose(score(x[10:11], size=1).value, first.value[10:11], rtol=1e-5)
    assert (score(x, seed=1).value - first.value).abs().mean() > 1e-3  # the noise is there
    assert torch.allclose(first.value, -first.terms["rate"] - first.terms["distortion"])


def test_active_units_are_those_that_vary_over_rows():
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None].repeat(3, 1)
    encoder, posterior = MLP(3, (), 4), posteriors.Diagonal(2)
    with torch.no_grad():
        encoder.layers[-1].weight.zero_()
        encoder.layers[-1].weight[0, 0] = 1.0  # Var = 0.35
        encoder.layers[-1].weight[1, 0] = 0.1  # Var = 0.0035
    likelihood = likelihoods.Gaussian((3,), sigma="unit")
    model = FlatModel(encoder, posterior, priors.StandardNormal(2), MLP(2, (), 3), likelihood)
    assert over_rows(ELBO(), model, Rows(x, describe(x), seed=0).blocks(8), 0).active_units == 1
