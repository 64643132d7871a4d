"""Priors: what all promise, by the table of their names, and what each is."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vaekit.core import Batch, Prior, Starting
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.noise import normal_quantile
from vaekit.parts import likelihoods, posteriors, priors

D, X, N = 2, 5, 4096
PRIORS = {
    "standard": lambda likelihood: priors.StandardNormal(D),
    "gaussian": lambda likelihood: priors.Gaussian(D),
    "mixture": lambda likelihood: priors.Mixture(D, components=4),
    "mixture, full": lambda likelihood: priors.Mixture(D, components=4, covariance="full"),
    "vamp": lambda likelihood: priors.VampPrior(posteriors.Diagonal(D), likelihood, components=4),
}
"""of two latents, for the encoder below"""
RNG = np.random.default_rng(0)
CLUSTERS = np.concatenate([RNG.normal(size=(300, D)) * (0.2, 0.5) + (2, 0), RNG.normal(size=(100, D)) * 0.3 - 1])


@pytest.fixture(params=PRIORS)
def prior(request) -> Prior:
    """A prior away from where it begins."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = PRIORS[request.param](likelihoods.Bernoulli((X,))).double()
        for parameter in made.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return made


def encoder(u: Tensor) -> Normal:
    """The posterior of a fixed encoder."""
    return Normal(2 * u[:, :D] - 1, u[:, D : 2 * D] - 1)


def test_its_density_integrates_to_one(prior):
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = prior(posterior=encoder).log_prob(grid).exp().sum() * 0.04**2
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_draws_are_of_its_density_and_have_its_moments(prior):
    points = torch.quasirandom.SobolEngine(prior.noise, scramble=True, seed=3).draw(N, dtype=torch.float64)
    p = prior(posterior=encoder)
    with torch.no_grad():
        z, log_p = p.draw(normal_quantile(points).unsqueeze(1))
        assert torch.allclose(log_p, p.log_prob(z), atol=1e-9)
        assert torch.allclose(z.mean((0, 1)), p.mean.expand(D), atol=0.03)
        assert torch.allclose(z[:, 0].std(0), p.stddev.expand(D), rtol=0.05)


def test_every_parameter_has_a_gradient_and_the_weights_are_bounded(prior):
    for parameter in prior.parameters():
        parameter.data[parameter.data > 0] += 1e4
    z = torch.randn(7, 3, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_p = prior(posterior=lambda u: Normal(u[:, :D].tanh(), u[:, D : 2 * D].tanh())).log_prob(z).sum()
    assert log_p.isfinite()
    if list(prior.parameters()):
        gradients = torch.autograd.grad(log_p, list(prior.parameters()), allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_held_constant_it_is_the_same(prior):
    p = prior(posterior=encoder)
    z = torch.zeros(3, 1, D, dtype=torch.float64)
    held = p.detach()
    assert torch.equal(held.log_prob(z), p.log_prob(z))
    assert not held.log_prob(z).requires_grad


# mixtures


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_fitted_to_draws_it_has_the_density_that_scikit_learn_finds(covariance):
    prior = priors.Mixture(D, components=3, covariance=covariance).double()
    prior.fit(torch.from_numpy(CLUSTERS), seed=5)
    kind = "full" if covariance == "full" else "diag"
    usual = GaussianMixture(3, covariance_type=kind, reg_covar=1e-5, random_state=5, max_iter=100).fit(CLUSTERS)
    with torch.no_grad():
        found = prior(posterior=encoder).log_prob(torch.from_numpy(CLUSTERS))
    assert np.allclose(found, usual.score_samples(CLUSTERS), atol=1e-9)
    assert found.mean().item() == pytest.approx(usual.score(CLUSTERS), abs=1e-9)


def test_one_component_is_a_normal_and_equal_ones_are_one():
    z = torch.randn(5, 3, D, generator=torch.Generator().manual_seed(0))
    alone = priors.Mixture(D, components=1)
    loc = alone.loc.data
    once = alone(posterior=encoder).log_prob(z)
    log_scale = soft_clamp(torch.zeros(D), -8.0, 4.0)
    assert torch.allclose(once, Normal(loc[0], log_scale).log_prob(z), atol=1e-5)
    many = priors.Mixture(D, components=7)
    many.loc.data = loc.expand(7, D).clone()
    assert torch.allclose(many(posterior=encoder).log_prob(z), once, atol=1e-5)


def test_responsibilities_say_which_component_a_draw_is_of():
    prior = priors.Mixture(D, components=2)
    prior.fit(torch.from_numpy(CLUSTERS))
    with torch.no_grad():
        found = prior(posterior=encoder).responsibilities(torch.from_numpy(CLUSTERS).float())
    assert torch.allclose(found.sum(-1), torch.ones(len(CLUSTERS)))
    first = found[:, 0].round()
    share = max(first[:300].mean().item(), 1 - first[:300].mean().item())
    assert share > 0.99
    assert abs(first[:300].mean() - first[300:].mean()) > 0.99


def test_a_normal_fitted_to_draws_has_their_mean_and_covariance():
    prior = priors.Gaussian(D).double()
    prior.fit(torch.from_numpy(CLUSTERS))
    p = prior(posterior=encoder)
    assert isinstance(p, MultivariateNormal)
    assert np.allclose(p.mean.detach(), CLUSTERS.mean(0))
    assert np.allclose(p.covariance.detach(), np.cov(CLUSTERS.T, bias=True), atol=2e-5)


def test_more_components_than_draws_are_refused():
    with pytest.raises(VaekitError, match="5 components was to be fitted to 4 draws"):
        priors.Mixture(D, components=5).fit(torch.zeros(4, D))


# made of posteriors


def model_with_vamp(likelihood, components: int, conditions: int = 0) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        posterior = posteriors.Diagonal(D)
        prior = priors.VampPrior(posteriors.Diagonal(D), likelihood, conditions, components=components)
        networks = (
            MLP(likelihood.inputs, (6,), posterior.features, conditions=conditions),
            MLP(D, (6,), likelihood.features, conditions=conditions),
        )
        return VAE(networks[0], posterior, prior, networks[1], likelihood).double()


def test_with_every_row_a_pseudo_input_the_rate_is_the_information_of_the_rows():
    """E_x KL(q(z|x) ‖ (1/n) Σ q(z|x_j)) = I_q(x; z) ≤ log n, on finite data."""
    x = torch.from_numpy(RNG.normal(size=(9, X)) * 3)
    model = model_with_vamp(likelihoods.Gaussian((X,)), components=9)
    model.prior.learned.data = x.clone()
    points = torch.quasirandom.SobolEngine(D, scramble=True, seed=0).draw(N, dtype=torch.float64)
    draw = model.draw(Batch(x), normal_quantile(points).unsqueeze(1).expand(-1, 9, -1))
    every = torch.stack([model.encode(Batch(one[None])).log_prob(draw.z) for one in x])
    information = (draw.log_q - every.logsumexp(0) + math.log(9)).mean()
    assert torch.allclose(draw.rate.mean(), information)
    assert draw.rate.mean() < math.log(9)


@pytest.mark.parametrize("conditions", [0, 2])
def test_it_begins_at_training_rows(conditions):
    model = model_with_vamp(likelihoods.Gaussian((X,)), components=7, conditions=conditions)
    assert isinstance(model.prior, Starting)
    x = torch.from_numpy(RNG.normal(size=(3, X)) * 5)
    c = torch.ones(3, 2, dtype=torch.float64) if conditions else None
    with torch.no_grad():
        model.prior.start(model, Batch(x, c=c))
    assert torch.allclose(model.prior.learned, x[[0, 1, 2, 0, 1, 2, 0]], atol=0.1)
    assert model.pz(None if c is None else c).log_prob(torch.zeros(1, 3, D, dtype=torch.float64)).isfinite().all()
    if conditions:
        assert torch.allclose(model.prior.given, torch.ones(7, 2, dtype=torch.float64), atol=0.1)


def test_what_says_which_cells_are_observed_is_not_learned():
    likelihood = likelihoods.Gaussian((X,))
    likelihood.indicates = True
    prior = priors.VampPrior(posteriors.Diagonal(D), likelihood, components=3)
    seen = []
    prior(posterior=lambda u: (seen.append(u), encoder(u))[1])
    assert prior.learned.shape == (3, X)
    assert torch.equal(seen[0][:, X:], torch.ones(3, X))
