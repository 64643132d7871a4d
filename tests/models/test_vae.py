"""What a model promises whoever makes its parts: laws that need no formula."""

import pytest
import torch
from torch import Tensor, nn

from vaekit import inference
from vaekit.core import Batch, Bound, Latent, Objective, Penalty, UnknownError
from vaekit.data import Dataset, describe
from vaekit.distributions import Normal
from vaekit.evaluation import ImportanceSampling, evaluate
from vaekit.models import VAE
from vaekit.nets import MLP, Experts
from vaekit.objectives import ELBO, ImportanceWeighted, Penalised
from vaekit.parts import likelihoods, posteriors, priors

K, B, D, X, C = 3, 5, 2, 4, 2
LIKELIHOODS = {
    "gaussian": lambda: likelihoods.Gaussian((X,), mean=[5.0, -1.0, 0.0, 2.0], scale=[3.0, 1.0, 0.1, 1.0]),
    "bernoulli": lambda: likelihoods.Bernoulli((X,)),
    "discretized-logistic": lambda: likelihoods.DiscretizedLogistic((X,), low=0, high=9, mean=4.0, scale=2.0),
}
POSTERIORS = {
    "diagonal": posteriors.Diagonal, "full": posteriors.FullCovariance, "experts": posteriors.Experts,
    "coupling": posteriors.Coupling, "iaf": posteriors.InverseAutoregressive, "planar": posteriors.Planar,
    "ladder": posteriors.Ladder,
    "vmf": posteriors.Spherical, "fsq": posteriors.FSQ, "vq": posteriors.VQ, "lfq": posteriors.LFQ,
    "concrete": lambda d: posteriors.Concrete(d, levels=2),
}  # fmt: skip
OBJECTIVES = {"elbo": ELBO(K), "iwae": ImportanceWeighted(K)}


def make(likelihood="gaussian", posterior="diagonal", prior=None, encoder=None, decoder=None) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        q, family = POSTERIORS[posterior](D), LIKELIHOODS[likelihood]()
        if posterior == "experts":
            family.indicates = True
            encoder = encoder or Experts(family.inputs, (6,), D)
        encoder = encoder or MLP(X, (6,), q.features)
        decoder = decoder or MLP(D, (6,), family.features)
        own = priors.UniformSphere(D) if posterior == "vmf" else priors.StandardNormal(D)
        if isinstance(q, posteriors.CodesPosterior):
            own = priors.UniformCodes(q)
        return VAE(encoder, q, prior or own, decoder, family)


def rows(likelihood="gaussian") -> Tensor:
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(B, X, generator=generator)
    return x if likelihood == "gaussian" else (x > 0.5).float()


def noise(seed: int = 5, dims: int = D) -> Tensor:
    return torch.randn(K, B, dims, generator=torch.Generator().manual_seed(seed))


class Pseudo(nn.Module):
    """A prior at the posterior of one pseudo-input, which is what an encoder sees."""

    noise = D

    def __init__(self, u: Tensor):
        super().__init__()
        self.u = nn.Parameter(u)

    def forward(self, c=None, *, posterior) -> Normal:
        q = posterior(self.u[None])
        return Normal(q.loc[0], q.log_scale[0])


class Owing(nn.Module):
    """A posterior that wants half a nat per row paid beside the bound."""

    latent_dim = noise = D
    features = 2 * D

    def forward(self, h: Tensor) -> Normal:
        q = posteriors.Diagonal(D)(h)
        q.owed = h.new_full((len(h),), 0.5)
        return q


class Given(nn.Module):
    """A network that sees conditions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.layer = nn.Linear(inputs + C, outputs)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.layer(torch.cat([x, c], 1))


# chance


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_no_part_draws_by_itself(likelihood, posterior, objective):
    model, batch = make(likelihood, posterior), Batch(rows(likelihood))
    before = torch.get_rng_state()
    first, second = (objective(model, batch, noise(dims=model.noise)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.value, second.value)
    assert torch.equal(first.loss, second.loss)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_draws_are_told_apart_by_their_noise_alone(posterior):
    model, batch = make(posterior=posterior), Batch(rows())
    given = noise(dims=model.noise)
    one, other = model.draw(batch, given), model.draw(batch, given[[2, 0, 1]])
    assert torch.allclose(one.log_w[[2, 0, 1]], other.log_w, atol=1e-5)


# who sees what


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_prior_made_of_posteriors_lives_in_the_space_that_the_encoder_sees(likelihood):
    x = rows(likelihood)
    model = make(likelihood)
    u = model.likelihood.encode(x[:1])[0].detach()
    model.prior = Pseudo(u)
    q, p = model.encode(Batch(x[:1])), model.pz()
    assert torch.allclose(p.mean, q.mean[0])
    assert torch.allclose(p.stddev, q.stddev[0])
    bound = ELBO()(model, Batch(x), noise()[:1])
    assert torch.autograd.grad(bound.loss, model.prior.u)[0].abs().sum() > 0


def test_hidden_cells_change_nothing_whatever_they_hold():
    model = make()
    seen = torch.rand(B, X, generator=torch.Generator().manual_seed(1)) > 0.4
    found = [
        ELBO(K)(model, Batch(torch.where(seen, rows(), torch.full((), value)), seen), noise()).value
        for value in (0.0, 7.0, torch.nan)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_conditions_reach_encoder_decoder_and_prior():
    class Moved(nn.Module):
        noise = D

        def forward(self, c=None, *, posterior) -> Normal:
            return Normal(c.sum(-1, keepdim=True).expand(-1, D), torch.zeros(D))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make(prior=Moved(), encoder=Given(X, 2 * D), decoder=Given(D, X))
    c = torch.randn(B, C, generator=torch.Generator().manual_seed(2))
    draw = model.draw(Batch(rows(), c=c), noise())
    assert torch.allclose(draw.p.mean, c.sum(-1, keepdim=True).expand(-1, D))
    alone = [model.draw(Batch(rows()[i : i + 1], c=c[i : i + 1]), noise()[:, i : i + 1]) for i in range(B)]
    for name in ("log_w", "log_px", "log_pz"):
        joined = torch.cat([getattr(one, name) for one in alone], 1)
        assert torch.allclose(joined, getattr(draw, name), atol=1e-5), name
    assert torch.allclose(model.joint(draw.batch)(draw.z), draw.log_px + draw.log_pz)


# what is paid beside the bound


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_what_a_part_is_owed_is_in_the_loss_and_in_no_value(objective):
    model, batch = make(), Batch(rows())
    plain = objective(model, batch, noise())
    model.posterior = Owing()
    owing = objective(model, batch, noise())
    assert torch.equal(owing.value, plain.value)
    assert all(torch.equal(owing.terms[name], term) for name, term in plain.terms.items())
    assert owing.loss.item() == pytest.approx(plain.loss.item() + 0.5, abs=1e-5)


@pytest.mark.parametrize("make_objective", [ELBO, ImportanceWeighted])
def test_a_penalty_is_in_the_loss_and_in_no_value(make_objective):
    class Length(Penalty):
        def forward(self, model, draw) -> Tensor:
            return draw.q.mean.square().sum(-1).mean()

    model, batch = make(), Batch(rows())
    plain = make_objective(samples=K)(model, batch, noise())
    paid = Penalised(make_objective(samples=K), [Length(weight=0.7)])(model, batch, noise())
    assert torch.equal(paid.value, plain.value)
    expected = plain.loss + 0.7 * model.encode(batch).mean.square().sum(-1).mean()
    assert paid.loss.item() == pytest.approx(expected.item(), abs=1e-5)


# what a distribution of latents does not know


def test_a_distribution_that_knows_its_own_draws_only_has_every_bound_and_says_what_it_lacks():
    class Secret(Latent):
        """A normal posterior that keeps its density to itself."""

        def __init__(self, q: Normal):
            self.q = q

        def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
            return self.q.draw(noise)

    class Keeping(posteriors.Diagonal):
        def forward(self, h: Tensor) -> Latent:
            return Secret(super().forward(h))

    model, batch = make(), Batch(rows())
    open_draw = model.draw(batch, noise())
    model.posterior = Keeping(D)
    draw = model.draw(batch, noise())
    assert torch.equal(draw.log_w, open_draw.log_w)
    assert draw.rate_each.shape == (K, B, 1)
    assert torch.allclose(draw.rate, (draw.log_q - draw.log_pz).mean(0))
    data = Dataset(rows().numpy(), describe(rows().numpy()), seed=0)
    found = evaluate(model, data, ImportanceSampling(5))
    assert found.parts is None
    assert "Secret knows the density of its own draws only" in found.verdicts[-1]
    codes, spread = inference.encode(model, data)
    assert torch.allclose(codes, open_draw.q.mean)  # of a normal, its draw at ε = 0
    assert spread.isnan().all()
    for ask in (lambda: draw.q.log_prob(draw.z), lambda: draw.q.mean, lambda: draw.q.detach()):
        with pytest.raises(UnknownError, match="Secret"):
            ask()
    with pytest.raises(UnknownError, match="standard gradient"):
        ELBO(gradient="sticking-the-landing")(model, batch, noise()[:1])


def test_an_objective_declares_the_noise_that_it_wants():
    model = make()
    assert ELBO(4).noise(model, 7) == ((4, 7, D),)

    class Two(Objective):
        name = "two"

        def noise(self, model, rows):
            return (1, rows, model.noise), (2, rows, model.prior.noise)

        def forward(self, model, batch, *noise, step=0) -> Bound:
            first, second = noise
            z, _ = model.pz().draw(second)
            return Bound(None, model.draw(batch, first).distortion.mean() + z.mean(), {})

    shapes = Two().noise(model, B)
    found = Two()(model, Batch(rows()), *(torch.zeros(shape) for shape in shapes))
    assert found.value is None
