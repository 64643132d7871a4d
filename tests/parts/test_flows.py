"""Normals pushed through flows: densities against the autograd Jacobian, inverses, and what they are good for."""

import math

import numpy as np
import pytest
import torch
from lanes import but_few_slow
from torch import Tensor
from touchstone import Touchstone

import vaekit
from vaekit import VAE
from vaekit.core import UnknownError
from vaekit.data import Source
from vaekit.distributions import Normal, Pushed
from vaekit.errors import VaekitError
from vaekit.models import VAE as Model
from vaekit.nets import MLP
from vaekit.objectives import ELBO
from vaekit.parts import flows, posteriors, priors
from vaekit.settings import Settings, prepare

K, B = 3, 4
FAMILIES = {"coupling": posteriors.Coupling, "iaf": posteriors.InverseAutoregressive, "planar": posteriors.Planar}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
every_size = pytest.mark.parametrize("dims", [1, 2, 3, 5])


@pytest.fixture(autouse=True)
def the_same_weights_each_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def moved(part: torch.nn.Module, generator: torch.Generator, by: float = 0.3) -> torch.nn.Module:
    """A part away from where it starts, in double precision."""
    part = part.double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return part


def normals(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@every_family
@every_size
def test_the_density_of_a_draw_is_the_noise_s_by_the_determinant_of_the_jacobian(family, dims, generator):
    posterior = moved(family(dims), generator, by=0.1)
    q = posterior(normals(generator, B, posterior.features))
    noise = normals(generator, dims)
    _, log_q = q.draw(noise.expand(1, B, dims))
    for row in range(B):
        jacobian = torch.autograd.functional.jacobian(lambda e, i=row: q.draw(e.expand(1, B, dims))[0][0, i], noise)
        log_normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum()
        expected = log_normal - torch.linalg.slogdet(jacobian).logabsdet
        assert log_q[0, row].item() == pytest.approx(expected.item(), abs=1e-8)


@pytest.mark.parametrize("make", [
    lambda dims: flows.couplings(dims, 5, 7, context=2),
    lambda dims: flows.Autoregressive(dims, 7, context=2),
    lambda dims: flows.Autoregressive(dims, 3, context=2, backwards=True),
])  # fmt: skip
@every_size
def test_the_log_determinant_is_that_of_the_jacobian(make, dims, generator):
    flow = moved(make(dims), generator, by=0.1)
    c = normals(generator, B, 2)
    z = normals(generator, B, dims)
    _, log_det = flow(z, c)
    for row in range(B):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=row: flow(v[None], c[i : i + 1])[0][0], z[row])
        assert log_det[row].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-10)


@every_size
def test_couplings_and_their_inverses_are_the_identity(dims, generator):
    flow = moved(flows.couplings(dims, 6, 7, context=2), generator, by=0.1)
    c = normals(generator, B, 2)
    z = normals(generator, K, B, dims)
    there, log_det = flow(z, c)
    back, log_back = flow(there, c, inverse=True)
    assert (there - z).abs().max() > 0.01
    assert torch.allclose(back, z, rtol=1e-12, atol=1e-12)
    assert torch.allclose(log_back, -log_det, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3, 5, 6])
def test_every_latent_is_moved_and_looked_at_by_some_coupling(dims):
    steps = flows.couplings(dims, 4, 2).steps
    masks = torch.stack([step.moved for step in steps])
    assert (masks.sum(0) == 2).all()
    assert (masks[0] + masks[1] == 1).all()
    assert (masks[2] + masks[3] == 1).all()


@pytest.mark.parametrize("backwards", [False, True])
def test_an_autoregressive_latent_leans_on_all_before_it_and_on_no_other(backwards, generator):
    flow = moved(flows.Autoregressive(5, 20, backwards=backwards), generator)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z)[0], normals(generator, 5))
    if backwards:
        jacobian = jacobian.flip(0, 1)
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian[torch.tril_indices(5, 5).unbind()] != 0).all()


@pytest.mark.parametrize("prior", [False, True])
def test_the_density_integrates_to_one(prior, generator):
    if prior:
        p = moved(priors.Flow(2, width=8), generator, by=0.05)()
    else:
        posterior = moved(posteriors.Coupling(2, width=8), generator, by=0.05)
        p = posterior(0.3 * normals(generator, 1, posterior.features))
    axis = torch.linspace(-25, 25, 1501, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None]
    total = p.log_prob(z).logsumexp(0) + 2 * (axis[1] - axis[0]).log()
    assert total.detach().numpy() == pytest.approx(0, abs=1e-7)


def model_with(posterior, encoder: MLP) -> Model:
    """The touchstone's model with another posterior, to which its encoder says nothing more than to the diagonal."""
    original = Touchstone().model
    wider = MLP(4, (), posterior.features).double()
    with torch.no_grad():
        wider.last.weight.zero_()
        wider.last.bias.zero_()
        wider.last.weight[:4].copy_(encoder.last.weight[:4])
        wider.last.bias[:4].copy_(encoder.last.bias[:4])
    return Model(wider, posterior, original.prior, original.decoder, original.likelihood)


@every_family
def test_without_weights_it_is_the_diagonal_posterior(family, generator):
    stone = Touchstone()
    posterior = family(2).double()
    h = normals(generator, len(stone.x), posterior.features)
    h[:, 4:] = 0
    diagonal = posteriors.Diagonal(2)(h[:, :4])
    (z, log_q), (expected, its_log_q) = posterior(h).draw(stone.noise(K)), diagonal.draw(stone.noise(K))
    if family is posteriors.InverseAutoregressive:  # whose gate is open for a part: made up for, to rounding
        assert torch.allclose(z, expected, rtol=1e-12)
        assert torch.allclose(log_q, its_log_q, rtol=1e-12)
        return
    assert torch.equal(z, expected)
    assert torch.equal(log_q, its_log_q)


def test_a_flow_prior_starts_as_the_standard_normal(generator):
    z = normals(generator, K, B, 3)
    p = priors.Flow(3).double()()
    standard = priors.StandardNormal(3).double()()
    assert torch.equal(p.log_prob(z), standard.log_prob(z))
    assert torch.equal(p.draw(z)[0], z)


@every_family
def test_moments_are_those_of_many_draws(family, generator):
    posterior = moved(family(2), generator, by=0.05)
    q = posterior(0.3 * normals(generator, B, posterior.features))
    z, _ = q.draw(normals(generator, 20_000, B, 2))
    assert ((q.mean - z.mean(0)).abs() < 0.05 * z.std(0)).all()
    assert torch.allclose(q.stddev, z.std(0), rtol=0.1)
    assert torch.equal(q.mean, q.mean)


@pytest.mark.parametrize("dims", [1, 3, 40])
def test_moments_are_exact_where_each_latent_is_moved_and_scaled_by_itself(dims, generator):
    flow = flows.couplings(dims, 1 if dims == 1 else 2, 4).double()
    for step in flow.steps:
        torch.nn.init.constant_(step.conditioner.last.bias, 0.5)
    base = Normal(normals(generator, B, dims), normals(generator, B, dims))
    q = Pushed(base, flow)
    scale = math.exp(2 * math.tanh(0.25))
    assert torch.allclose(q.mean, scale * base.mean + 0.5, rtol=1e-10)
    assert torch.allclose(q.stddev, scale * base.stddev, rtol=1e-10)


def test_held_constant_it_has_the_same_density_and_no_gradient_but_that_of_z(generator):
    posterior = moved(posteriors.Coupling(2, width=6), generator)
    h = normals(generator, B, posterior.features).requires_grad_()
    q = posterior(h)
    z = q.draw(normals(generator, K, B, 2))[0].detach().requires_grad_()
    held = q.detach().log_prob(z)
    assert torch.equal(held, q.log_prob(z))
    for_z, *others = torch.autograd.grad(held.sum(), [z, h, *posterior.parameters()], allow_unused=True)
    assert for_z.abs().max() > 0
    assert all(other is None for other in others)
    assert torch.equal(q.detach().detach().log_prob(z), held)


@pytest.mark.parametrize("gradient", ["sticking-the-landing", "doubly-reparameterised"])
@pytest.mark.parametrize("posterior", ["iaf", "planar"])
def test_a_gradient_that_wants_the_density_of_any_z_is_refused_before_a_step(posterior, gradient):
    objective = {"sticking-the-landing": "elbo", "doubly-reparameterised": "iwae"}[gradient]
    settings = Settings().changed(
        posterior=posterior, objective=f"{objective}:gradient={gradient}", latent_dim=2, hidden=(4,)
    )
    with pytest.raises(VaekitError, match=r"its own draws only.*choose the standard gradient"):
        prepare(settings, Source(np.random.default_rng(0).normal(size=(40, 3))))


@pytest.mark.parametrize("posterior", ["iaf", "planar"])
def test_what_takes_the_density_of_any_z_is_refused_or_left_out(posterior):
    x = np.random.default_rng(0).normal(size=(60, 3))
    vae = VAE(latent_dim=2, hidden=(4,), max_epochs=1, posterior=posterior, random_state=0).fit(x)
    found = vaekit.evaluation.evaluate(vae.model_, _rows(vae, x))
    assert found.parts is None
    assert "own draws only" in found.verdicts[-1]
    exact = vaekit.evaluation.log_likelihood(vae.model_, _rows(vae, x), vaekit.evaluation.Quadrature())
    assert found.log_likelihood.mean == pytest.approx(exact.mean, abs=0.05)
    with pytest.raises(UnknownError, match=r"annealing starts from .* own draws only\. Use iwae"):
        vaekit.evaluation.log_likelihood(vae.model_, _rows(vae, x), vaekit.evaluation.AnnealedImportance())


def _rows(vae: VAE, x: np.ndarray):
    return vaekit.data.Dataset(x, vae.schema_, seed=0)


def fitted(posterior, steps: int = 400) -> float:
    """By how much the ELBO of a posterior trained for a while stays below log p(x) where p(z|x) is correlated."""
    stone = Touchstone()
    model = model_with(posterior, stone.model.encoder)
    weights = [*model.encoder.parameters(), *posterior.parameters()]
    adam = torch.optim.Adam(weights, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        loss = ELBO(8)(model, stone.batch, stone.noise(8, seed=step)).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        return (stone.log_p - model.draw(stone.batch, stone.noise(500, seed=9999)).log_w.mean(0)).mean().item()


@pytest.mark.parametrize("family", but_few_slow(FAMILIES.values()))
def test_of_a_correlated_posterior_it_comes_closer_to_log_p_than_the_diagonal(family):
    stone = Touchstone()
    covariance = stone.covariance
    best = 0.5 * (torch.linalg.inv(covariance).diagonal().log().sum() + covariance.logdet()).item()
    assert best > 0.1  # nats that the best diagonal posterior misses
    assert fitted(family(2).double()) < 0.35 * best


@every_family
def test_numbers_far_out_stay_finite(family, generator):
    posterior = moved(family(3), generator).float()
    h = (1e3 * normals(generator, B, posterior.features)).float().requires_grad_()
    z, log_q = posterior(h).draw(normals(generator, K, B, 3).float())
    assert z.isfinite().all()
    assert log_q.isfinite().all()
    gradient = torch.autograd.grad(log_q.sum() + 1e-6 * z.sum(), h)[0]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("parts", but_few_slow([*({"posterior": name} for name in FAMILIES), {"prior": "flow"}]))
def test_missing_cells_conditions_and_members_go_through_it(parts):
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 4))
    x[random.random(x.shape) < 0.2] = np.nan
    x[:, 3] = random.integers(0, 2, 90)
    vae = VAE(latent_dim=2, hidden=(4,), max_epochs=1, condition=[3], members=2, random_state=0, **parts).fit(x)
    assert np.isfinite(vae.score_samples(x)).all()
    assert np.isfinite(vae.transform(x)).all()
    filled = vae.impute(x)
    assert np.array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert not np.isnan(filled).any()
    assert len(vae.sample(5, given={3: 1.0})) == 5


def test_a_batch_of_one_row_is_that_row(generator):
    posterior = moved(posteriors.Coupling(2), generator)
    h = normals(generator, B, posterior.features)
    noise = normals(generator, K, B, 2)
    whole = posterior(h).draw(noise)[1]
    for row in range(B):
        alone = posterior(h[row : row + 1]).draw(noise[:, row : row + 1])[1]
        assert torch.allclose(alone[:, 0], whole[:, row], rtol=1e-12)
