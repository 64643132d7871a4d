"""Annealed importance sampling against models whose log p(x), posterior and whole path are known."""

import math

import numpy as np
import pytest
import torch
from lanes import but_few_slow
from scipy import stats
from torch import Tensor, nn
from touchstone import Touchstone

from vaekit.core import Batch, Joint
from vaekit.errors import VaekitError
from vaekit.evaluation import annealing
from vaekit.evaluation.annealing import AnnealedImportance, leapfrog, path, schedule, transition, two_sided
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.noise import row_keys
from vaekit.parts import likelihoods, posteriors, priors

STARTS = ("encoder", "prior")


def keyed(x: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch(x, mask, key=row_keys(x.numpy(), None if mask is None else mask.numpy()))


def repeated(x: Tensor, times: int) -> Batch:
    """One row of x many times over, each time with another key."""
    return Batch(x.expand(times, *x.shape[1:]), key=np.arange(times, dtype=np.uint64))


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def stone() -> Touchstone:
    """q is displaced and too wide, but not so wide that the variance of 1/w is infinite."""
    return Touchstone().blur(0.1, 0.15)


@pytest.fixture(scope="module")
def vague() -> Touchstone:
    """x says little of z: the prior is displaced and too wide, but no more than that."""
    stone = Touchstone()
    with torch.no_grad():
        stone.model.likelihood.raw.fill_(1.0)
        noise = (2 * stone.model.likelihood.log_sigma()).exp().diag()
    stone.marginal = stats.multivariate_normal(stone.mean.detach(), stone.w.detach() @ stone.w.detach().T + noise)
    stone.log_p = torch.from_numpy(stone.marginal.logpdf(stone.x))
    return stone


@pytest.fixture(params=but_few_slow(STARTS))
def case(request, stone, vague) -> tuple[str, Touchstone]:
    """Where to start, and a model for which that is a fair place."""
    return request.param, {"encoder": stone, "prior": vague}[request.param]


class Constant(nn.Module):
    """An encoder that says the same of every row."""

    def __init__(self, h: list[float]):
        super().__init__()
        self.register_buffer("h", torch.tensor(h))

    def forward(self, x: Tensor) -> Tensor:
        return self.h.expand(len(x), -1)


@pytest.fixture(scope="module")
def curved() -> tuple[VAE, Tensor, Tensor]:
    """One latent, a decoder far from linear, rows of x; and log p(x) from a fine grid."""
    generator = torch.Generator().manual_seed(8)
    decoder = MLP(1, (8,), 3, "tanh").double()
    with torch.no_grad():
        for p in decoder.parameters():
            p.copy_(1.5 * normal(generator, *p.shape))
    likelihood, prior = likelihoods.Gaussian((3,), sigma="unit"), priors.StandardNormal(1)
    model = VAE(Constant([0.4, -0.7]), posteriors.Diagonal(1), prior, decoder, likelihood).double()
    x = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.5, 1.0]], dtype=torch.float64)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None, None].expand(-1, 2, -1)
    with torch.no_grad():
        log_p = torch.logsumexp(model.joint(Batch(x))(grid), 0) + math.log(18 / 20_000)
    return model, x, log_p


# the transition


def chains_of(stone: Touchstone, z: Tensor):
    """The path of the first row, and the point at z (K, D)."""
    at = path(stone.model, Batch(stone.x[:1]), stone.model.encode(Batch(stone.x[:1])))
    return at, at(z[:, None])


def test_the_leapfrog_is_reversible(curved, generator):
    model, x, _ = curved
    at = path(model, Batch(x), model.encode(Batch(x)))
    start, momentum = at(normal(generator, 50, 2, 1)), normal(generator, 50, 2, 1)
    step = torch.full((50, 2, 1), 0.2, dtype=torch.float64)
    there, final = leapfrog(at, start, momentum, 0.6, step, 10)
    back, initial = leapfrog(at, there, -final, 0.6, step, 10)
    assert (there.z - start.z).abs().mean() > 0.5
    assert (back.z - start.z).abs().max() < 1e-10
    assert (initial + momentum).abs().max() < 1e-10


def test_the_leapfrog_s_error_in_the_energy_is_of_second_order(stone, generator):
    at, start = chains_of(stone, normal(generator, 50, 2))
    momentum, errors = normal(generator, 50, 1, 2), []
    for halvings in (0, 1):
        step = torch.full((50, 1, 2), 0.02 / 2**halvings, dtype=torch.float64)
        there, final = leapfrog(at, start, momentum, 0.6, step, 10 * 2**halvings)
        energy = [0.5 * v.square().sum(-1) - p.log_density(0.6) for p, v in ((start, momentum), (there, final))]
        errors.append((energy[1] - energy[0]).abs().mean())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_acceptance_goes_to_one_with_the_step(stone, generator):
    at, start = chains_of(stone, normal(generator, 200, 2))
    momentum, never = normal(generator, 200, 1, 2), torch.full((200, 1), math.inf, dtype=torch.float64)
    rates = []
    for size in (1.0, 0.1, 0.01, 0.001):
        stayed, acceptance = transition(at, start, momentum, never, 0.6, torch.tensor(size), 5)
        assert torch.equal(stayed.z, start.z)
        rates.append(acceptance.mean().item())
    assert rates == sorted(rates)
    assert rates[0] < 0.7
    assert rates[-1] > 1 - 1e-5


def bridge(stone: Touchstone, beta: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of f_β ∝ q^(1−β) p(z|x)^β for the first row: the precisions of normals add up."""
    q = stone.model.encode(Batch(stone.x[:1]))
    first, last = torch.linalg.inv(q.covariance[0].detach()), torch.linalg.inv(stone.covariance)
    covariance = torch.linalg.inv((1 - beta) * first + beta * last)
    pull = (1 - beta) * first @ q.mean[0].detach() + beta * last @ stone.posterior_mean[0]
    return covariance @ pull, covariance


@pytest.mark.parametrize("beta", [0.4, 1.0])
@pytest.mark.parametrize(("away", "moves", "size"), [(0.0, 2, 0.9), (3.0, 12, 0.5)])
def test_the_transition_leaves_the_path_s_density_as_it_is_and_leads_to_it(stone, generator, beta, away, moves, size):
    """Mean and covariance of many chains. With steps so long that many are refused: then no refusal may be missed."""
    count, (mean, covariance) = 10_000, bridge(stone, beta)
    factor = torch.linalg.cholesky(covariance)
    at, point = chains_of(stone, mean + (away + normal(generator, count, 2)) @ factor.T)
    for _ in range(moves):
        u = torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
        step = size * (0.5 + u[..., 1:]) * covariance.diagonal().sqrt()
        momentum = normal(generator, count, 1, 2)
        point, acceptance = transition(at, point, momentum, u[..., 0].log(), beta, step, 3)
    assert 0.3 < acceptance.mean() < 0.95
    y = torch.linalg.solve_triangular(factor, (point.z[:, 0] - mean).T, upper=False).T  # N(0, I) if all is well
    moments = torch.stack([y[:, 0], y[:, 1], y[:, 0] ** 2 - 1, y[:, 1] ** 2 - 1, y[:, 0] * y[:, 1]], 1)
    assert (moments.mean(0).abs() < 5 * moments.std(0) / math.sqrt(count)).all()


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_what_is_not_finite_is_not_accepted(stone, generator, value):
    at, _ = chains_of(stone, normal(generator, 50, 2))
    broken = lambda z: at(z)._replace(log_joint=torch.full(z.shape[:2], value, dtype=z.dtype))  # noqa: E731
    start, momentum = at(normal(generator, 50, 1, 2)), normal(generator, 50, 1, 2)
    always = torch.full((50, 1), -1e300, dtype=torch.float64)
    point, acceptance = transition(broken, start, momentum, always, 0.5, torch.tensor(0.1), 3)
    assert all(torch.equal(new, old) for new, old in zip(point, start, strict=True))
    assert not acceptance.any()
    nowhere = lambda z: at(torch.full_like(z, math.nan))  # noqa: E731
    point, acceptance = transition(nowhere, start, momentum, always, 0.5, torch.tensor(0.1), 3)
    assert all(torch.equal(new, old) for new, old in zip(point, start, strict=True))
    assert not acceptance.any()


def test_the_schedule_rises_from_0_to_1():
    betas = schedule(50)
    assert betas.shape == (51,)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (betas.diff() > 0).all()
    assert torch.allclose(betas + betas.flip(0), torch.ones(51, dtype=torch.float64))


# log p(x)


def test_it_finds_log_p(case):
    start, stone = case
    scores = AnnealedImportance(chains=2000, temperatures=50, start=start)(stone.model, keyed(stone.x[:2]), seed=0)
    assert scores.value.dtype == scores.error.dtype == torch.float64
    off = (scores.value - stone.log_p[:2]).abs()
    assert off.max() < 0.01
    assert (off < 4 * scores.error).all()
    assert scores.error.max() < 0.01
    assert scores.terms["ess"].min() > 1500
    assert ((scores.terms["acceptance"] > 0.65) & (scores.terms["acceptance"] < 0.9)).all()


def test_where_q_is_exact_every_weight_is_p():
    exact = Touchstone()
    scores = AnnealedImportance(chains=4, temperatures=5)(exact.model, keyed(exact.x), seed=0)
    assert (scores.value - exact.log_p).abs().max() < 1e-7
    assert scores.error.max() < 1e-7
    assert torch.allclose(scores.terms["ess"], torch.full_like(scores.value, 4))


@pytest.mark.parametrize("start", but_few_slow(STARTS))
def test_it_finds_log_p_of_a_curved_model(curved, start):
    model, x, log_p = curved
    scores = AnnealedImportance(chains=2000, temperatures=50, start=start)(model, keyed(x), seed=0)
    assert (scores.value - log_p).abs().max() < 0.02
    assert ((scores.value - log_p).abs() < 5 * scores.error).all()


def test_a_schedule_too_short_is_unbiased_for_p_and_below_log_p(case):
    (start, stone), times = case, 3000
    method = AnnealedImportance(chains=2, temperatures=3, start=start)
    off = method(stone.model, repeated(stone.x[1:2], times), seed=0).value - stone.log_p[1]
    assert (off.exp().mean() - 1).abs() < 5 * off.exp().std() / math.sqrt(times)
    assert off.mean() < -5 * off.std() / math.sqrt(times)


def test_the_error_is_how_far_the_estimate_is_off(stone):
    scores = AnnealedImportance(chains=16, temperatures=10)(stone.model, repeated(stone.x[:1], 500), seed=0)
    off = (scores.value - stone.log_p[0]).square().mean().sqrt().item()
    assert off == pytest.approx(scores.error.square().mean().sqrt().item(), rel=0.2)


@pytest.mark.parametrize("start", but_few_slow(STARTS))
def test_hidden_cells_leave_log_p_of_what_was_seen(stone, start):
    mask = torch.ones_like(stone.x, dtype=torch.bool)
    mask[:, 1] = False
    seen = [0, 2, 3]
    law = stats.multivariate_normal(stone.mean[seen].detach(), stone.marginal.cov[np.ix_(seen, seen)])
    x = torch.where(mask, stone.x, math.nan)
    scores = AnnealedImportance(chains=400, temperatures=50, start=start)(stone.model, keyed(x, mask), seed=0)
    off = (scores.value - torch.from_numpy(law.logpdf(stone.x[:, seen]))).abs()
    assert off.max() < 0.15
    assert (off < 5 * scores.error).all()


class Walled:
    """A model without a density where z_1 > wall."""

    def __init__(self, model: VAE, wall: float):
        self.encode, self.pz, self.noise, self.inner, self.wall = model.encode, model.pz, model.noise, model, wall

    def joint(self, batch: Batch) -> Joint:
        inside = self.inner.joint(batch)
        return lambda z: torch.where(z[..., 0] > self.wall, -math.inf, inside(z))


def test_a_region_without_density_is_left_out(stone):
    mean, sd = stone.posterior_mean[0, 0].item(), stone.covariance[0, 0].sqrt().item()
    walled = Walled(stone.model, mean + 0.5 * sd)
    scores = AnnealedImportance(chains=2000, temperatures=50)(walled, keyed(stone.x[:1]), seed=0)
    exact = stone.log_p[0] + stats.norm.logcdf(0.5)
    assert (scores.value - exact).abs() < 5 * scores.error
    assert scores.error < 0.1


def test_the_chains_that_count_never_change_their_own_steps(stone, monkeypatch):
    """They walk the same steps when told that all was refused; and no two moves share their random numbers."""

    def walked(lie: bool) -> tuple[list[Tensor], list[Tensor]]:
        steps, momenta = [], []

        def watched(at, point, momentum, log_u, beta, step, count):
            point, acceptance = transition(at, point, momentum, log_u, beta, step, count)
            steps.append(step)
            momenta.append(momentum)
            tuning = len(steps) < annealing.TUNING_LEAST
            return point, acceptance if tuning or not lie else torch.zeros_like(acceptance)

        monkeypatch.setattr(annealing, "transition", watched)
        two_sided(stone.model, 2, AnnealedImportance(temperatures=6), seed=0)
        return steps, momenta

    (honest, momenta), (deceived, _) = walked(False), walked(True)
    assert len(honest) == annealing.TUNING_LEAST - 1 + 5 + 5
    assert all(torch.equal(one, other) for one, other in zip(honest, deceived, strict=True))
    assert len({momentum[0, 0, 0].item() for momentum in momenta}) == len(momenta)


def test_steps_are_tuned_to_the_posterior_s_width():
    """From the prior, ten times as wide in one direction: a run whose steps stood still would be refused."""
    sharp = Touchstone()
    with torch.no_grad():
        sharp.model.likelihood.raw.fill_(-3)
    scores = AnnealedImportance(chains=32, temperatures=80, start="prior")(sharp.model, keyed(sharp.x), seed=0)
    assert ((scores.terms["acceptance"] > 0.65) & (scores.terms["acceptance"] < 0.9)).all()


# both sides


def test_both_sides_meet_at_log_p(case):
    start, stone = case
    both = two_sided(stone.model, 2, AnnealedImportance(chains=2000, temperatures=80, start=start), seed=0)
    log_p = torch.from_numpy(stone.marginal.logpdf(both.x))
    assert (both.lower - log_p).abs().max() < 0.01
    assert (both.upper - log_p).abs().max() < 0.01
    assert abs(both.gap) < 0.01


def test_short_schedules_leave_log_p_between_the_sides(case):
    (start, stone), n = case, 2000
    both = two_sided(stone.model, n, AnnealedImportance(chains=2, temperatures=4, start=start), seed=0)
    assert both.lower.shape == both.upper.shape == (n,)
    log_p = torch.from_numpy(stone.marginal.logpdf(both.x))
    for low, high in ((both.lower, log_p), (log_p, both.upper)):
        below, ratio = high - low, (low - high).exp()  # p̂/p forwards, p/p̂ backwards
        assert below.mean() > 5 * below.std() / math.sqrt(n)
        assert (ratio.mean() - 1).abs() < 5 * ratio.std() / math.sqrt(n)
    gap = both.upper - both.lower
    assert both.gap == pytest.approx(gap.mean().item())
    assert both.gap_error == pytest.approx(gap.std().item() / math.sqrt(n))


def test_both_sides_of_a_curved_model(curved):
    model, _, _ = curved
    both = two_sided(model, 100, AnnealedImportance(temperatures=20), seed=0)
    assert -3 * both.gap_error < both.gap < 0.3
    assert torch.equal(both.lower, two_sided(model, 100, AnnealedImportance(temperatures=20), seed=0).lower)


# what it must not do


@pytest.mark.parametrize("start", but_few_slow(STARTS))
def test_a_row_s_score_repeats_and_is_its_own(stone, start):
    method, batch = AnnealedImportance(chains=8, temperatures=20, start=start), keyed(stone.x)
    random = torch.get_rng_state(), np.random.get_state()[1].copy()
    scores = method(stone.model, batch, seed=3)
    assert torch.equal(random[0], torch.get_rng_state())
    assert np.array_equal(random[1], np.random.get_state()[1])
    assert all(p.grad is None for p in stone.model.parameters())
    assert not any(t.requires_grad for t in (scores.value, scores.error, *scores.terms.values()))
    assert all(t.shape == (len(stone.x),) for t in (scores.value, scores.error, *scores.terms.values()))
    again = method(stone.model, batch, seed=3)
    assert torch.equal(scores.value, again.value)
    assert torch.equal(scores.error, again.error)
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    for rows in (order, order[:1], order[2:4]):
        some = method(stone.model, keyed(stone.x[rows]), seed=3)
        assert (some.value - scores.value[rows]).abs().max() < 1e-6
        assert (some.error - scores.error[rows]).abs().max() < 1e-6
    other = method(stone.model, batch, seed=4)
    assert (other.value - scores.value).abs().min() > 1e-6


def test_rows_in_single_precision_give_scores_in_double(stone):
    method = AnnealedImportance(chains=400, temperatures=20)
    single = Touchstone().blur()
    scores = method(single.model.float(), keyed(single.x.float()), seed=0)
    assert scores.value.dtype == torch.float64
    assert ((scores.value - stone.log_p).abs() < 5 * scores.error).all()


def test_what_cannot_be_done_is_refused(stone):
    with pytest.raises(VaekitError, match="did you mean 'encoder'"):
        AnnealedImportance(start="encode")
    for wrong in ({"chains": 1}, {"temperatures": 1}, {"leapfrog": 0}):
        with pytest.raises(VaekitError, match="2 or more"):
            AnnealedImportance(**wrong)
    with pytest.raises(VaekitError, match="keys"):
        AnnealedImportance()(stone.model, Batch(stone.x), seed=0)
    with pytest.raises(VaekitError, match="2 or more"):
        two_sided(stone.model, 1, AnnealedImportance(), seed=0)
