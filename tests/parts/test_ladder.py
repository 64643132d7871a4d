"""Several layers of latents: what they are where the answer is known, and what they keep of one layer."""

import copy
import math

import numpy as np
import pytest
import torch
from lanes import but_few_slow
from scipy import stats
from torch import Tensor
from touchstone import Touchstone

import vaekit
from vaekit import VAE, distributions
from vaekit.data import Dataset, Source
from vaekit.distributions import Normal, Rung
from vaekit.errors import VaekitError
from vaekit.models import VAE as Model
from vaekit.nets import MLP
from vaekit.objectives import ELBO
from vaekit.parts import likelihoods, posteriors, priors
from vaekit.settings import Settings, prepare

K, B, D = 3, 4, 7
RUNGS = {"one": (1, ""), "two": (2, ""), "three": (3, ""), "as said": (3, "3-1-3")}
every_ladder = pytest.mark.parametrize(("rungs", "sizes"), RUNGS.values(), ids=RUNGS)


@pytest.fixture(autouse=True)
def the_same_weights_each_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normals(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def moved(part: torch.nn.Module, generator: torch.Generator, by: float = 0.3) -> torch.nn.Module:
    """A part away from where it starts, in double precision."""
    part = part.double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += by * normals(generator, *parameter.shape)
    return part


def ladder(generator, rungs=3, sizes="", by=0.3) -> tuple[posteriors.Ladder, priors.Ladder]:
    posterior = moved(posteriors.Ladder(D, rungs, 8, sizes), generator, by)
    return posterior, priors.Ladder(posterior)


class GivenAll(torch.nn.Module):
    """A normal whose mean is linear in the latents above and in the data, z_l ~ N(a z_>l + b x + c, s²)."""

    def __init__(self, above: Tensor, constant: Tensor, log_scale: Tensor):
        super().__init__()
        self.weight, self.constant, self.log_scale = above, constant, log_scale

    def forward(self, above: Tensor, data: Tensor | None = None) -> Normal:
        loc = (above * self.weight).sum(-1, keepdim=True) + self.constant
        return Normal(loc if data is None else loc + data, self.log_scale)


def conditional(mean: Tensor, covariance: Tensor, of: int, given: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The weights, constant and log σ (1,) of one coordinate of a normal, given others."""
    weights = torch.linalg.solve(covariance[given][:, given], covariance[given, of])
    variance = covariance[of, of] - weights @ covariance[given, of]
    return weights, (mean[of] - weights @ mean[given]).reshape(1), 0.5 * variance.log().reshape(1)


@pytest.mark.parametrize("layers", [2, 3])
def test_with_the_exact_posterior_every_draw_weighs_log_p(layers, generator):
    """z_L ~ N(0, 1), z_l = a_l z_>l + b_l + s_l ε,  x = W z + c + Ψ^½ ε: p(x) and q by linear algebra."""
    pixels = 3
    mix, offset = torch.eye(layers + pixels).double(), torch.zeros(layers + pixels).double()
    deviation = (0.3 * normals(generator, layers + pixels)).exp()
    deviation[0] = 1
    lower = normals(generator, layers + pixels, layers + pixels).tril(-1)
    lower[layers:, layers:] = 0
    offset[1:] = normals(generator, layers + pixels - 1)
    solved = torch.linalg.inv(mix - lower)
    mean = solved @ offset
    covariance = solved @ deviation.square().diag() @ solved.mT
    x = mean[layers:] + normals(generator, B, pixels)
    exact = stats.multivariate_normal(mean[layers:], covariance[layers:, layers:]).logpdf(x)

    top = Normal(torch.zeros(1).double(), torch.zeros(1).double())
    down = [Rung(1, GivenAll(lower[i, :i], offset[i : i + 1], deviation[i : i + 1].log())) for i in range(1, layers)]
    p = distributions.Ladder(top, down)
    seen = list(range(layers, layers + pixels))
    each = [conditional(mean, covariance, i, [*range(i), *seen]) for i in range(layers)]
    of_x = [(x @ weights[i:].unsqueeze(-1)) for i, (weights, _, _) in enumerate(each)]
    first = Normal(each[0][1] + of_x[0], each[0][2])
    rungs = [Rung(1, GivenAll(each[i][0][:i], *each[i][1:]), (of_x[i],)) for i in range(1, layers)]
    q = distributions.Ladder(first, rungs)

    z, log_q = q.draw(normals(generator, K, B, layers))
    px = Normal(z @ lower[layers:, :layers].mT + offset[layers:], deviation[layers:].log())
    log_w = px.log_prob(x) + p.log_prob(z) - log_q
    assert log_w.numpy() == pytest.approx(np.broadcast_to(exact, (K, B)), abs=1e-8)
    assert q.log_prob(z).numpy() == pytest.approx(log_q.numpy(), abs=1e-10)
    joint = torch.linalg.inv(torch.linalg.inv(covariance)[:layers, :layers])
    points, _ = q.draw(normals(generator, 20_000, B, layers))
    assert torch.allclose(q.mean, points.mean(0), atol=0.05)
    assert torch.allclose(q.stddev, joint.diagonal().sqrt(), rtol=0.05)


def test_one_rung_is_the_diagonal_posterior_with_the_standard_prior(generator):
    posterior, prior = ladder(generator, rungs=1)
    h = normals(generator, B, posterior.features)
    noise = normals(generator, K, B, D)
    q, diagonal = posterior(h), posteriors.Diagonal(D)(h)
    p, standard = prior(), priors.StandardNormal(D).double()()
    assert not list(posterior.parameters())
    assert all(torch.equal(one, other) for one, other in zip(q.draw(noise), diagonal.draw(noise), strict=True))
    z, log_q = q.draw(noise)
    assert torch.equal(p.log_prob(z), standard.log_prob(z))
    assert torch.equal(q.rate(p, z, log_q)[0], diagonal.rate(standard, z, log_q)[0])
    assert torch.equal(q.mean, diagonal.mean)


@every_ladder
def test_it_starts_as_the_diagonal_posterior_and_the_standard_prior(rungs, sizes, generator):
    posterior, prior = ladder(generator, rungs, sizes, by=0.0)
    h = normals(generator, B, posterior.features)
    noise = normals(generator, K, B, D)
    diagonal = posteriors.Diagonal(D)(h[:, : 2 * D])
    z, log_q = posterior(h).draw(noise)
    expected, its_log_q = diagonal.draw(noise)
    assert torch.allclose(z, expected, rtol=1e-12)
    assert torch.allclose(log_q, its_log_q, rtol=1e-12)
    assert torch.allclose(prior().log_prob(z), priors.StandardNormal(D).double()().log_prob(z), rtol=1e-12)


@every_ladder
def test_log_prob_of_draws_is_the_density_that_came_with_them(rungs, sizes, generator):
    posterior, prior = ladder(generator, rungs, sizes)
    for latent in (posterior(normals(generator, B, posterior.features)), prior()):
        z, log_q = latent.draw(normals(generator, K, B, D))
        assert torch.allclose(latent.log_prob(z), log_q, rtol=1e-9, atol=1e-9)
        assert torch.allclose(latent.log_prob(z[0]), log_q[0], rtol=1e-9, atol=1e-9)


@every_ladder
def test_the_density_of_a_draw_is_the_noise_s_by_the_determinant_of_the_jacobian(rungs, sizes, generator):
    posterior, _ = ladder(generator, rungs, sizes)
    q = posterior(normals(generator, 1, posterior.features))
    noise = normals(generator, D)
    _, log_q = q.draw(noise.expand(1, 1, D))
    jacobian = torch.autograd.functional.jacobian(lambda e: q.draw(e.expand(1, 1, D))[0][0, 0], noise)
    log_normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum()
    expected = log_normal - torch.linalg.slogdet(jacobian).logabsdet
    assert log_q.item() == pytest.approx(expected.item(), abs=1e-8)


@every_ladder
def test_the_rate_is_the_mean_of_log_q_less_log_p_over_draws(rungs, sizes, generator):
    posterior, prior = ladder(generator, rungs, sizes, by=0.1)
    q, p = posterior(0.3 * normals(generator, B, posterior.features)), prior()
    z, log_q = q.draw(normals(generator, 40_000, B, D))
    each = q.rate(p, z, log_q)
    assert each.shape == z.shape
    assert (each >= 0).all()
    drawn = log_q - p.log_prob(z)
    error = drawn.std(0) / len(z) ** 0.5
    assert ((each.sum(-1).mean(0) - drawn.mean(0)).abs() < 5 * error).all()
    other = Normal(normals(generator, D), normals(generator, D))
    assert torch.allclose(q.rate(other, z, log_q).sum(-1).mean(0), (log_q - other.log_prob(z)).mean(0), rtol=0.02)
    mixture = priors.Mixture(D).double()()
    assert q.rate(mixture, z, log_q).shape == (len(z), B, 1)


def test_a_rung_depends_on_those_above_it_and_on_no_other(generator):
    posterior, prior = ladder(generator, sizes="3-1-3")
    for latent in (posterior(normals(generator, 1, posterior.features)), prior()):
        noise = normals(generator, 1, 1, D)
        jacobian = torch.autograd.functional.jacobian(lambda e, one=latent: one.draw(e)[0][0, 0], noise)[:, 0, 0]
        assert (jacobian[:3, 3:] == 0).all()
        assert (jacobian[3, 4:] == 0).all()
        assert (jacobian[3:4, :3] != 0).all()
        assert (jacobian[4:, :4] != 0).all()


def test_where_the_posterior_changes_nothing_the_rate_is_nothing(generator):
    posterior, prior = ladder(generator)
    for _, relative in posterior._below():
        torch.nn.init.zeros_(relative.last.weight)
        torch.nn.init.zeros_(relative.last.bias)
    h = torch.zeros(B, posterior.features).double()
    h[:, D : 2 * D] = vaekit.maths.soft_unclamp(torch.zeros(1).double(), *posteriors.LOG_SCALE_RANGE)
    q, p = posterior(h), prior()
    z, log_q = q.draw(normals(generator, K, B, D))
    assert q.rate(p, z, log_q).abs().max() < 1e-12
    assert torch.allclose(p.log_prob(z), log_q)


def test_held_constant_it_has_the_same_density_and_no_gradient_but_that_of_z(generator):
    posterior, _ = ladder(generator)
    h = normals(generator, B, posterior.features).requires_grad_()
    q = posterior(h)
    z = q.draw(normals(generator, K, B, D))[0].detach().requires_grad_()
    held = q.detach().log_prob(z)
    assert torch.equal(held, q.log_prob(z))
    (along,) = torch.autograd.grad(q.log_prob(z).sum(), [z])
    for_z, *others = torch.autograd.grad(held.sum(), [z, h, *posterior.parameters()], allow_unused=True)
    assert torch.equal(for_z, along)
    assert all(other is None for other in others)
    assert torch.equal(q.detach().detach().log_prob(z), held)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("rungs", [2, 6])
def test_networks_far_out_stay_finite(size, rungs, generator):
    posterior = posteriors.Ladder(D, rungs, 8)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    prior = priors.Ladder(posterior)
    h = (size * torch.randn(B, posterior.features, generator=generator)).requires_grad_()
    q, p = posterior(h), prior()
    z, log_q = q.draw(torch.randn(K, B, D, generator=generator))
    rate = q.rate(p, z, log_q)
    for number in (z, log_q, rate, p.log_prob(z), p.draw(z)[0], q.mean, q.stddev):
        assert number.isfinite().all()
    loss = rate.mean() + 1e-6 * z.sum() + log_q.mean()
    gradients = torch.autograd.grad(loss, [h, *posterior.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_each_rung_has_about_half_the_latents_of_the_one_below():
    assert posteriors.Ladder(150).each == (50, 100)
    assert posteriors.Ladder(32, rungs=3).each == (5, 9, 18)
    for rungs in range(1, 8):
        for dims in range(rungs, 70):
            each = posteriors.Ladder(dims, rungs=rungs, width=1).each
            assert sum(each) == dims
            assert len(each) == rungs
            assert min(each) >= 1
            assert list(each) == sorted(each)


@pytest.mark.parametrize(("posterior", "latents", "said"), [
    ("ladder:sizes=5-10", 14, "5-10 of posterior ladder are 15 latents, and latent_dim is 14: give latent_dim 15"),
    ("ladder:sizes=5x10", 15, r"sizes of posterior ladder are '5x10': give the latents of each rung, such as 50-100"),
    ("ladder:sizes=0-15", 15, "such as 50-100"),
    ("ladder:rungs=4", 3, "has 4 rungs, and latent_dim is 3"),
    ("ladder:rungs=0", 3, "rungs of posterior ladder"),
])  # fmt: skip
def test_rungs_that_cannot_be_are_refused(posterior, latents, said):
    with pytest.raises(VaekitError, match=said):
        prepare(Settings().changed(posterior=posterior, latent_dim=latents), Source(np.eye(30)))


def test_a_prior_of_a_ladder_goes_with_its_posterior_only():
    with pytest.raises(VaekitError, match="way down of posterior ladder"):
        prepare(Settings().changed(prior="ladder", posterior="full"), Source(np.eye(30)))


def test_automatic_sizes_are_those_that_were_said():
    settings = prepare(Settings().changed(posterior="ladder:sizes=2-4", hidden=(4,)), Source(np.eye(30))).settings
    assert settings.model.latent_dim == 6
    assert settings.model.prior == "ladder"


def test_posterior_and_prior_stay_one_in_a_copy(generator):
    posterior, prior = ladder(generator)
    likelihood = likelihoods.Gaussian((5,))
    model = Model(MLP(5, (), posterior.features), posterior, prior, MLP(D, (), likelihood.features), likelihood)
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    assert not [name for name in model.state_dict() if name.startswith("prior.")]
    other = copy.deepcopy(model.double())
    with torch.no_grad():
        for parameter in other.posterior.parameters():
            parameter += 1
    z = normals(generator, 1, 1, D)
    assert torch.equal(model.pz().log_prob(z), prior().log_prob(z))
    assert not torch.equal(other.pz().log_prob(z), prior().log_prob(z))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.pz().log_prob(z), prior().log_prob(z))


X = np.tanh(np.random.default_rng(0).normal(size=(90, 3))) @ np.random.default_rng(1).normal(size=(3, 4))


@pytest.mark.parametrize("parts", but_few_slow([
    {}, {"objective": "elbo:gradient=sticking-the-landing,samples=2"}, {"objective": "elbo:free_bits=0.1"},
    {"objective": "iwae:gradient=doubly-reparameterised"}, {"prior": "mixture"}, {"prior": "vamp:components=3"},
    {"prior": "standard"}, {"network": "mlp"},
], quick=2))  # fmt: skip
def test_missing_cells_conditions_and_members_go_through_it(parts):
    x = X.copy()
    random = np.random.default_rng(0)
    x[random.random(x.shape) < 0.2] = np.nan
    x[:, 3] = random.integers(0, 2, len(x))
    parts = {"posterior": "ladder:width=4", **parts}
    vae = VAE(latent_dim=2, hidden=(4,), max_epochs=1, condition=[3], members=2, random_state=0, **parts).fit(x)
    assert np.isfinite(vae.score_samples(x)).all()
    assert np.isfinite(vae.transform(x)).all()
    filled = vae.impute(x)
    assert np.array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert not np.isnan(filled).any()
    assert len(vae.sample(5, given={3: 1.0})) == 5


@pytest.fixture(scope="module")
def small() -> VAE:
    return VAE(latent_dim=2, hidden=(4,), max_epochs=30, posterior="ladder:width=4", random_state=0).fit(X)


@pytest.mark.slow
def test_every_way_to_log_p_agrees(small):
    rows = Dataset(X[:9], small.schema_, seed=0)
    exact = vaekit.evaluation.log_likelihood(small.model_, rows, vaekit.evaluation.Quadrature())
    drawn = vaekit.evaluation.log_likelihood(small.model_, rows, vaekit.evaluation.ImportanceSampling(2000))
    annealed = vaekit.evaluation.log_likelihood(small.model_, rows, vaekit.evaluation.AnnealedImportance(8))
    assert drawn.value.numpy() == pytest.approx(exact.value.numpy(), abs=0.05)
    assert annealed.mean == pytest.approx(exact.mean, abs=0.05)


def test_the_rates_of_rungs_sum_to_the_rate(small):
    rows = Dataset(X, small.schema_, seed=0)
    found = vaekit.evaluation.evaluate(small.model_, rows)
    assert len(found.rungs) == 2
    assert min(found.rungs) > 0.01
    assert sum(found.rungs) == pytest.approx(found.rate, abs=1e-5)
    several = VAE(latent_dim=3, hidden=(4,), max_epochs=1, posterior="ladder:width=4,rungs=3", members=2).fit(X)
    found = vaekit.evaluation.evaluate(several.model_, rows)
    assert len(found.rungs) == 3
    assert sum(found.rungs) == pytest.approx(found.rate, abs=1e-5)


def test_rungs_that_carry_nothing_are_named():
    idle = vaekit.evaluation.verdicts.idle_rungs
    assert idle([5.0, 0.04, 0.0]).startswith("Rungs 2 and 3 of 3, from the top, carry next to nothing (0.04 and 0.00")
    assert idle([0.0, 0.0]) is None  # that is a collapse
    assert idle([0.2, 0.1]) is None


def test_a_rung_that_says_nothing_is_said_by_evaluation(small):
    model = copy.deepcopy(small.model_)
    posterior = model.posterior
    last = model.encoder.correction.last
    with torch.no_grad():
        for layer in (last, model.encoder.linear):
            for place in (1, 3):  # μ and log σ of the lower rung
                layer.weight[place] = 0
                layer.bias[place] = 0
        posterior.below[0].last.weight.zero_()
        posterior.below[0].last.bias.zero_()
    found = vaekit.evaluation.evaluate(model, Dataset(X, small.schema_, seed=0))
    assert found.rungs[1] == pytest.approx(0, abs=1e-4)
    assert "Rung 2 of 2, from the top, carries next to nothing (0.00 nats): fewer rungs would do." in found.verdicts


@pytest.mark.parametrize("parts", [{"posterior": "diagonal"}, {"posterior": "ladder", "prior": "mixture"}])
def test_a_rate_that_does_not_fall_apart_by_rungs_is_not_told_apart(parts):
    vae = VAE(latent_dim=2, hidden=(4,), max_epochs=1, **parts).fit(X)
    assert vaekit.evaluation.evaluate(vae.model_, Dataset(X, vae.schema_, seed=0)).rungs is None


def test_a_refit_leaves_the_posterior_as_it_is_and_ladders_as_they_are(small):
    gaussian = copy.deepcopy(small).refit(X, prior="gaussian")
    again = copy.deepcopy(small).refit(X, prior="ladder")
    assert np.array_equal(gaussian.transform(X), small.transform(X))
    assert np.array_equal(again.score_samples(X), small.score_samples(X))


def model_with(posterior: posteriors.Ladder, stone: Touchstone) -> Model:
    original = stone.model
    encoder = MLP(4, (), posterior.features).double()
    return Model(encoder, posterior, priors.Ladder(posterior), original.decoder, original.likelihood)


def test_of_a_correlated_posterior_it_comes_closer_to_log_p_than_the_diagonal():
    stone = Touchstone()
    best = 0.5 * (torch.linalg.inv(stone.covariance).diagonal().log().sum() + stone.covariance.logdet()).item()
    assert best > 0.1  # nats that the best diagonal posterior misses
    posterior = posteriors.Ladder(2, width=8).double()
    model = model_with(posterior, stone)
    for parameter in (*model.decoder.parameters(), *model.likelihood.parameters()):
        parameter.requires_grad_(False)
    for _, relative in posterior._below():
        relative.way.last.requires_grad_(False)  # p(z) stays N(0, I)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(weights, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 400)
    for step in range(400):
        loss = ELBO(8)(model, stone.batch, stone.noise(8, seed=step)).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        log_w = model.draw(stone.batch, stone.noise(500, seed=9999)).log_w
    assert (stone.log_p - log_w.mean(0)).mean().item() < 0.35 * best


def test_a_row_is_its_own(generator):
    posterior, _ = ladder(generator)
    h = normals(generator, B, posterior.features)
    noise = normals(generator, K, B, D)
    whole = posterior(h).draw(noise)[1]
    for row in range(B):
        alone = posterior(h[row : row + 1]).draw(noise[:, row : row + 1])[1]
        assert torch.allclose(alone[:, 0], whole[:, row], rtol=1e-12)


def test_a_batch_goes_through_it_with_conditions_that_the_prior_leaves_alone(generator):
    _, prior = ladder(generator)
    c = normals(generator, B, 2)
    z = normals(generator, K, B, D)
    assert torch.equal(prior(c).log_prob(z), prior().log_prob(z))
