"""Every distribution through the same laws. A new one is a line in FAMILIES."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor

from vaekit.core import Latent
from vaekit.distributions import (
    Bernoulli,
    Categorical,
    ColourLogistic,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Ladder,
    Laplace,
    LogisticMixture,
    LogNormal,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Ordinal,
    Poisson,
    PrecisionNormal,
    Pushed,
    Rung,
    StudentT,
    TruncatedLogistic,
    WithAtoms,
    ZeroInflated,
    ZeroInflatedLogNormal,
    log_atom,
)
from vaekit.errors import VaekitError
from vaekit.parts import flows, likelihoods, posteriors, priors

N = 100_000
MODE = math.inf
"""`mean_within` of codes: `mean` is the most probable one"""


class Family(NamedTuple):
    build: Callable
    """parameters, (S, …) each ↦ S distributions over one event (D,)"""
    parameters: tuple
    """S settings, each given as nested lists"""
    reference: Callable
    """(x, *parameters), arrays ↦ log p, by scipy"""
    grid: Tensor | None
    """every value of x (G, D); None: the real numbers"""
    mean_within: float = 1e-8
    """how far `mean` may be from E[x]"""
    stddev_within: float = 1e-8
    """how far `stddev` may be from that of x, as a part of it"""
    sides: tuple[int, ...] = ()
    """integrated over half-lines, for what is no smooth function of light tails: (−1, 1) from the mean, (1,) from 0"""


def _logistic_on_grid(x, loc, log_scale, high=16):
    law, a, b = stats.logistic(loc, np.exp(log_scale)), x - 0.5, x + 0.5
    inside = np.where(x > loc, law.sf(a) - law.sf(b), law.cdf(b) - law.cdf(a))
    return np.where(x == 0, law.logcdf(b), np.where(x == high, law.logsf(a), np.log(inside))).sum(-1)


def _between(law, lower, upper):
    """The logarithm of a probability, of two small tails and not of two numbers close to 1."""
    above = lower > law.mean()
    by_sf = law.sf(lower) - law.sf(upper)
    return np.log(np.where(above, by_sf, law.cdf(upper) - law.cdf(lower)))


def _truncated_each(x, loc, log_scale, high=16):
    law = stats.logistic(loc, np.exp(log_scale))
    return _between(law, x - 0.5, x + 0.5) - _between(law, np.full_like(loc, -0.5), np.full_like(loc, high + 0.5))


def _colours_on_grid(x, loc, log_scale, slopes):
    red, green = x[..., 0] - loc[..., 0], x[..., 1] - loc[..., 1]
    shift = [0 * red, slopes[..., 0] * red, slopes[..., 1] * red + slopes[..., 2] * green]
    return _logistic_on_grid(x, loc + np.stack(shift, -1), log_scale, 8)


def _full_normal(x, loc, log_diagonal, below):
    factors = np.tril(below, -1) + [np.diag(d) for d in np.exp(log_diagonal)]
    laws = [stats.multivariate_normal(m, f @ f.T) for m, f in zip(loc, factors, strict=True)]
    return np.stack([law.logpdf(x[:, s]) for s, law in enumerate(laws)], -1)


def _by_precision(x, natural, precision, shift, log_scale):
    found = []
    for s, (h, p, d, log_s) in enumerate(zip(natural, precision, shift, log_scale, strict=True)):
        inverse = np.linalg.inv(np.linalg.cholesky(p)).T
        factor = inverse * np.exp(log_s)
        law = stats.multivariate_normal(np.linalg.solve(p, h) + inverse @ d, factor @ factor.T)
        found.append(law.logpdf(x[:, s]))
    return np.stack(found, -1)


def _categories(x, logits):
    laws = [special.log_softmax(each, -1) for each in logits]
    picked = [np.take_along_axis(np.broadcast_to(law, (*x.shape[:2], law.shape[-1])), x[..., [j]].astype(int), -1)
              for j, law in enumerate(laws)]  # fmt: skip
    return np.concatenate(picked, -1).sum(-1)


def _cut(x, loc, cuts):
    ends = np.concatenate([[-np.inf], cuts, [np.inf]])
    lower, upper = (ends[x.astype(int) + k] - loc for k in (0, 1))
    flip = np.where(lower > 0, -1, 1)  # of two small tails, not of two numbers close to 1
    return np.log(np.abs(special.expit(flip * upper) - special.expit(flip * lower)))


def _negative_binomial(x, log_mean, log_dispersion):
    """Not by `stats.nbinom`, which takes r/(r + μ) itself, and loses a small μ."""
    r = np.exp(log_dispersion)
    gammas = special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1)
    log_odds = log_mean - log_dispersion
    return gammas + r * special.log_expit(-log_odds) + x * special.log_expit(log_odds)


COUNTS = torch.arange(300.0)[:, None]


def _mixture(x, logits, each):
    """x (…, D), each (…, C, D)"""
    return special.logsumexp(special.log_softmax(logits, -2) + each, -2).sum(-1)


def _rounded_mixture(x, logits, loc, log_scale):
    rounded = _truncated_each(x[..., None, :], loc, log_scale)
    at = np.where(x[..., None, :] == ATOMS.numpy(), 0.0, -np.inf)
    at = np.broadcast_to(at, (*rounded.shape[:-2], *at.shape[-2:]))
    return _mixture(x, logits, np.concatenate([at, rounded], -2))


def _coupled() -> flows.Coupling:
    """z_2 ↦ z_2 e^s + t,  t = 0.5 silu(0.75 z_1),  s = 2 tanh(0.2 silu(0.75 z_1))."""
    flow = flows.Coupling(torch.tensor([0.0, 1.0]), width=1).double().requires_grad_(False)
    conditioner = flow.conditioner
    with torch.no_grad():
        conditioner.first.weight.copy_(torch.tensor([[0.75, 9.0]]).double())  # it does not look at what it moves
        conditioner.first.bias.zero_()
        conditioner.last.weight.copy_(torch.tensor([[9.0], [0.5], [9.0], [0.4]], dtype=torch.float64))
    return flow


COUPLED = _coupled()


def _coupled_normal(x, loc, log_scale):
    silu = 0.75 * x[..., 0] * special.expit(0.75 * x[..., 0])
    s = 2 * np.tanh(0.2 * silu)
    u = np.stack([x[..., 0], (x[..., 1] - 0.5 * silu) * np.exp(-s)], -1)
    return stats.norm.logpdf(u, loc, np.exp(log_scale)).sum(-1) - s


def _below(above: Tensor) -> Normal:
    """N(2 z_2 − 1, e^(−0.6)) of one latent, given the one above it."""
    return Normal(2 * above - 1, torch.full_like(above, -0.3))


def _two_rungs(x, loc, log_scale):
    top = stats.norm.logpdf(x[..., 0], loc[..., 0], np.exp(log_scale[..., 0]))
    return top + stats.norm.logpdf(x[..., 1], 2 * x[..., 0] - 1, np.exp(-0.3))


ATOMS = torch.tensor([[0.0], [7.0]], dtype=torch.float64)

FAMILIES = {
    "normal": Family(
        Normal, ([[-3.0], [0.0], [2.0], [0.25]], [[-2.0], [0.0], [1.0], [3.0]]),
        lambda x, m, s: stats.norm.logpdf(x, m, np.exp(s))[..., 0], None),
    "normal-2": Family(
        Normal, ([[-3.0, 1.0], [0.0, 0.5]], [[-2.0, 0.0], [1.0, 0.5]]),
        lambda x, m, s: stats.norm.logpdf(x, m, np.exp(s)).sum(-1), None),
    "multivariate-normal-1": Family(
        MultivariateNormal, ([[-1.0], [4.0]], [[-2.0], [1.0]], [[[5.0]], [[-5.0]]]), _full_normal, None),
    "multivariate-normal": Family(
        MultivariateNormal, ([[1.0, -2.0], [0.0, 3.0]], [[0.0, -0.5], [0.5, -0.5]],
                             [[[9.0, 9.0], [0.75, 9.0]], [[0.0, 0.0], [-1.0, 0.0]]]), _full_normal, None),
    "precision-normal": Family(
        lambda h, p, d, s: PrecisionNormal(h, (p + p.mT) / 2, d, s),
        ([[1.0, -2.0], [0.0, 3.0]], [[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 4.0]]],
                          [[0.25, -0.5], [0.0, 0.0]], [[0.0, -0.5], [0.5, 0.0]]), _by_precision, None),
    "pushed": Family(
        lambda m, s: Pushed(Normal(m, s), copy.deepcopy(COUPLED).to(m.dtype)),
        ([[1.0, -2.0], [0.0, 0.5]], [[0.0, -0.5], [-1.0, 0.5]]),
        _coupled_normal, None, 0.01, stddev_within=0.03),
    "ladder": Family(
        lambda m, s: Ladder(Normal(m, s), [Rung(1, _below)]), ([[1.0], [-0.5]], [[-1.0], [0.5]]),
        _two_rungs, None, 0.01, stddev_within=0.03),
    "bernoulli": Family(
        Bernoulli, ([[-40.0], [-22.0], [-3.0], [0.0], [0.5], [6.0], [22.0], [40.0]],),
        lambda x, logit: special.log_expit(np.where(x == 1, logit, -logit))[..., 0],
        torch.tensor([[0.0], [1.0]]), 1e-10),
    "discretized-logistic": Family(
        lambda m, s: DiscretizedLogistic(m, s, 0.0, 16.0, 1.0),
        ([[3.25], [8.0], [0.0], [16.0], [-4.0], [30.0]], [[-3.0], [0.0], [0.5], [1.5], [2.0], [2.0]]),
        _logistic_on_grid, torch.arange(17.0)[:, None], 0.5),
    "truncated-logistic": Family(
        lambda m, s: TruncatedLogistic(m, s, 0.0, 16.0, 1.0),
        ([[3.25], [8.0], [0.0], [16.0], [-40.0], [30.0], [90.0]], [[-3.0], [0.0], [0.5], [1.5], [2.0], [5.0], [2.0]]),
        lambda x, m, s: _truncated_each(x, m, s).sum(-1), torch.arange(17.0)[:, None], 0.5),
    "discretized-logistic and beyond": Family(
        lambda m, s: DiscretizedLogistic(m, s, 0.0, 4.0, 1.0, beyond=1e-15),
        ([[3.25], [0.0], [-4.0]], [[-3.0], [0.5], [2.0]]),
        lambda x, m, s: _logistic_on_grid(x, m, s, 4.0), torch.arange(5.0)[:, None], 0.5),
    "colour-logistic": Family(
        lambda m, s, slopes: ColourLogistic(m, s, slopes, 0.0, 8.0, 1.0, event_dims=1),
        ([[4.0, 3.5, 4.5], [2.0, 6.0, 8.0]], [[-1.0, -0.5, -2.0], [0.0, 0.5, -0.5]],
         [[0.9, -0.3, 0.5], [0.0, 0.0, 0.0]]),
        _colours_on_grid, torch.cartesian_prod(*[torch.arange(9.0)] * 3), 0.5),
    "categorical": Family(
        lambda logits: Categorical(logits, [3, 2, 3, 1]),
        ([[0.0, 1.0, -2.0, 0.5, 0.25, 3.0, -3.0, 0.0, 7.0], [40.0, 0.0, -40.0, -22.0, 0.0, 9.0, 8.0, 0.0, 0.0]],),
        lambda x, logits: _categories(x, np.split(logits, [3, 5, 8], -1)),
        torch.cartesian_prod(*(torch.arange(size * 1.0) for size in (3, 2, 3, 1))), MODE),
    "poisson": Family(
        Poisson, ([[-20.0], [-3.0], [0.0], [1.5], [3.5]],), lambda x, m: stats.poisson.logpmf(x, np.exp(m))[..., 0],
        COUNTS),
    "negative-binomial": Family(
        NegativeBinomial, ([[-20.0], [-3.0], [0.0], [1.5], [2.5], [2.5]], [[0.0], [-4.0], [-1.0], [1.0], [2.5], [4.0]]),
        lambda x, m, r: _negative_binomial(x, m, r)[..., 0], COUNTS),
    "zero-inflated": Family(
        lambda m, r, logits: ZeroInflated(NegativeBinomial(m, r), logits),
        ([[-3.0], [0.0], [1.5], [2.5]], [[-4.0], [-1.0], [1.0], [4.0]], [[-40.0], [0.0], [3.0], [-2.0]]),
        lambda x, m, r, logits: np.logaddexp(
            np.where(x == 0, special.log_expit(logits), -np.inf),
            special.log_expit(-logits) + _negative_binomial(x, m, r),
        )[..., 0],
        COUNTS),
    "ordinal": Family(
        lambda loc, first, gaps: Ordinal(loc, first[0], gaps[0], torch.tensor([4, 3])),
        ([[0.0, 0.5], [3.0, -40.0], [-22.0, 40.0], [8.0, 2.0]], [[-1.5, 0.25]], [[[2.0, 0.125], [1e-3, 9.0]]]),
        lambda x, loc, first, gaps: _cut(x[..., 0], loc[..., 0], first[0, 0] + np.cumsum([0, *gaps[0, 0]]))
        + _cut(x[..., 1], loc[..., 1], first[0, 1] + np.cumsum([0, gaps[0, 1, 0]])),
        torch.cartesian_prod(torch.arange(4.0), torch.arange(3.0)), MODE),
    "student-t": Family(
        StudentT, ([[-3.0], [0.0], [2.0], [0.25]], [[-2.0], [0.0], [1.0], [3.0]], [[5.0], [8.0], [30.0], [100.0]]),
        lambda x, m, s, df: stats.t.logpdf(x, df, m, np.exp(s))[..., 0], None, sides=(-1, 1)),
    "laplace": Family(
        Laplace, ([[-3.0], [0.0], [2.0], [0.25]], [[-2.0], [0.0], [1.0], [3.0]]),
        lambda x, m, s: stats.laplace.logpdf(x, m, np.exp(s))[..., 0], None, sides=(-1, 1)),
    "log-normal": Family(
        LogNormal, ([[-3.0], [0.0], [2.0], [0.25]], [[-2.0], [-1.0], [-0.5], [-3.0]]),
        lambda x, m, s: stats.lognorm.logpdf(x, np.exp(s), 0, np.exp(m))[..., 0], None, sides=(1,)),
    "logistic-mixture": Family(
        LogisticMixture,
        ([[[0.0], [1.0], [-2.0]], [[30.0], [0.0], [0.0]]], [[[-1.0], [0.5], [3.0]], [[0.0], [9.0], [-9.0]]],
         [[[-1.0], [0.0], [-2.0]], [[0.5], [1.0], [0.0]]]),
        lambda x, w, m, s: _mixture(x, w, stats.logistic.logpdf(x[..., None, :], m, np.exp(s))), None),
    "discretized-logistic-mixture": Family(
        lambda w, m, s: DiscretizedLogisticMixture(w, m, s, 0.0, 16.0, 1.0, atoms=ATOMS.to(w)),
        ([[[2.0], [0.0], [1.0], [-1.0]], [[-40.0], [1.0], [-2.0], [0.0]]], [[[3.25], [12.0]], [[-4.0], [7.0]]],
         [[[-1.0], [0.5]], [[1.5], [-3.0]]]),
        _rounded_mixture, torch.arange(17.0)[:, None], 0.5),
}  # fmt: skip

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def tensors(family: Family, dtype=torch.float64) -> list[Tensor]:
    return [torch.tensor(p, dtype=dtype) for p in family.parameters]


def points(family: Family, d) -> tuple[Tensor, Tensor | float]:
    """x (G, S or 1, D) and weights: Σ w f(x) is the sum over the grid, or the integral to far below 1e-8.

    The integral is a trapezoidal sum after x = mean + stddev · sinh t, which reaches 10^4 standard deviations.
    """
    if family.grid is not None:
        return family.grid.double()[:, None], 1.0
    if family.sides:
        return half_lines(family, d)
    dims = d.mean.shape[-1]
    t = torch.linspace(-4.5, 4.5, 1201 if dims == 1 else 301, dtype=torch.float64)
    nodes = torch.cartesian_prod(*[t] * dims).reshape(-1, dims)
    jacobian = (nodes.cosh() * (t[1] - t[0])).prod(-1)
    return d.mean + d.stddev * nodes.sinh()[:, None], jacobian[:, None] * d.stddev.prod(-1)


def half_lines(family: Family, d) -> tuple[Tensor, Tensor]:
    """The same of one feature by x = origin ± unit · exp(π/2 sinh t), which thins out towards both ends."""
    t = torch.linspace(-4, 4, 1201, dtype=torch.float64)
    distance = (math.pi / 2 * t.sinh()).exp()
    jacobian = distance * math.pi / 2 * t.cosh() * (t[1] - t[0])
    origin, unit = (0.0, d.mean) if family.sides == (1,) else (d.mean, d.stddev)
    x = torch.cat([origin + side * unit * distance[:, None, None] for side in family.sides])
    weights = torch.cat([jacobian[:, None] * unit[..., 0] for _ in family.sides])
    return x, weights


def expectation(family: Family, d) -> Callable[[Callable[[Tensor], Tensor]], Tensor]:
    """f (G, S, D) ↦ E[f(x)] (S, D), of the density as `log_prob` gives it"""
    x, weights = points(family, d)
    p = (d.log_prob(x).exp() * weights).unsqueeze(-1)
    return lambda f: (p * f(x)).sum(0)


@every_family
def test_normalises(family):
    d = family.build(*tensors(family))
    total = expectation(family, d)(torch.ones_like)
    assert total.shape == d.mean.shape
    assert (total - 1).abs().max() < (1e-8 if family.grid is None else 1e-10)


@every_family
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_agrees_with_scipy(family, dtype, within, generator):
    parameters = tensors(family, dtype)
    d = family.build(*parameters)
    if family.grid is None:
        x = (d.mean + 6 * d.stddev * torch.randn(200, *d.mean.shape, generator=generator, dtype=dtype)).detach()
        x = x.abs() if family.sides == (1,) else x
    else:
        x = family.grid.to(dtype)[:, None].expand(-1, len(d.mean), -1)
    ours = d.log_prob(x)
    assert ours.dtype == dtype
    assert ours.shape == x.shape[:-1]
    reference = family.reference(x.double().numpy(), *(p.double().numpy() for p in parameters))
    error = np.abs(ours.double().numpy() - reference) / np.maximum(1, np.abs(reference))
    assert error.max() < within


def some(grid: Tensor, generator: torch.Generator) -> Tensor:
    """At most 40 values of a grid, its ends among them."""
    if len(grid) <= 40:
        return grid
    between = 1 + torch.randperm(len(grid) - 2, generator=generator)[:38]
    return torch.cat([grid[:1], grid[between], grid[-1:]])


@every_family
def test_gradients_agree_with_central_differences(family, generator):
    parameters = [p.requires_grad_() for p in tensors(family)]
    if family.grid is None:
        d = family.build(*parameters)
        x = (d.mean + d.stddev * torch.randn(5, *d.mean.shape, generator=generator, dtype=torch.float64)).detach()
        x = x.abs() if family.sides == (1,) else x
        inputs = (x.requires_grad_(), *parameters)
        assert torch.autograd.gradcheck(lambda x, *p: family.build(*p).log_prob(x), inputs, atol=1e-6, rtol=1e-6)
    else:
        agrees_with_central_differences(family, parameters, some(family.grid, generator))


def agrees_with_central_differences(family: Family, parameters: list[Tensor], grid: Tensor) -> None:
    x = grid.double()[:, None]
    assert torch.autograd.gradcheck(lambda *p: family.build(*p).log_prob(x), parameters, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.grid is not None])
def test_gradients_agree_with_central_differences_at_every_value(name):
    family = FAMILIES[name]
    parameters = [p.requires_grad_() for p in tensors(family)]
    agrees_with_central_differences(family, parameters, family.grid)


@every_family
def test_mean_and_stddev_are_those_of_the_density(family):
    d = family.build(*tensors(family))
    expect = expectation(family, d)
    mean = expect(lambda x: x)
    assert (d.mean - mean).abs().max() < family.mean_within
    if hasattr(d, "stddev"):
        stddev = expect(lambda x: (x - mean).square()).sqrt()
        assert torch.allclose(d.stddev, stddev, rtol=family.stddev_within, atol=1e-10)


@every_family
def test_samples_match_the_density(family, generator):
    d = family.build(*tensors(family))
    x = d.sample(generator, (N,))
    assert x.shape == (N, *d.mean.shape)
    assert x.dtype == torch.float64
    expect = expectation(family, d)
    mean = expect(lambda x: x)
    second, fourth = (expect(lambda x, k=k: (x - mean) ** k) for k in (2, 4))
    assert ((x.mean(0) - mean).abs() <= 5 * (second / N).sqrt() + 1e-9).all()
    error = ((fourth - second**2 * (N - 3) / (N - 1)) / N).clamp(min=0).sqrt()  # of a sample variance, exactly
    assert ((x.var(0) - second).abs() <= 5 * error + 1e-9).all()


def frequencies(x: Tensor, grid: Tensor) -> Tensor:
    """How many rows of whole numbers below 1000, x (N, D), are each row of the grid (G, D)."""
    assert (x == x.round()).all()
    digits = 1000.0 ** torch.arange(x.shape[-1], dtype=torch.float64)
    values, counts = (x * digits).sum(-1).unique(return_counts=True)
    return ((grid * digits).sum(-1)[:, None] == values).long() @ counts


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.grid is not None])
def test_sampled_frequencies_match_the_probabilities(name, generator):
    family = FAMILIES[name]
    d = family.build(*tensors(family))
    x = d.sample(generator, (N,))
    grid = family.grid.double()
    p = d.log_prob(grid[:, None]).exp()
    counts = torch.stack([frequencies(each, grid) for each in x.unbind(1)], 1)
    assert (counts.sum(0) == N).all()  # nothing beside the grid
    often = N * p > 10  # elsewhere the count is Poisson, not normal
    excess = (counts - N * p).abs() / (N * p * (1 - p)).sqrt()
    assert (excess[often & (1 - p > 1e-9)] < 5).all()
    assert (counts[~often] < 60).all()


@every_family
def test_samples_come_from_the_given_generator_alone(family):
    d = family.build(*tensors(family))
    before = torch.get_rng_state()
    first, second = (d.sample(torch.Generator().manual_seed(5), (3, 2)) for _ in range(2))
    assert first.shape == (3, 2, *d.mean.shape)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["normal-2", "multivariate-normal"])
def test_draw_pushes_noise_to_samples_and_knows_their_density(name, generator):
    """z = g(ε) has the log-density of the change of variables: log q(g(ε)) = log N(ε; 0, I) − log |∂g/∂ε|."""
    family = FAMILIES[name]
    d = family.build(*tensors(family))
    noise = torch.randn(7, *d.mean.shape, generator=generator, dtype=torch.float64)
    z, log_q = d.draw(noise)
    assert log_q.shape == z.shape[:-1]
    assert torch.allclose(log_q, d.log_prob(z), rtol=1e-12, atol=1e-12)
    assert torch.allclose(d.draw(torch.zeros_like(noise))[0], d.mean.expand_as(noise))
    for s in range(len(d.mean)):
        jacobian = torch.autograd.functional.jacobian(
            lambda e, s=s: d.draw(e.expand(len(d.mean), -1))[0][s], noise[0, s]
        )
        density = stats.norm.logpdf(noise[:, s]).sum(-1) - torch.linalg.slogdet(jacobian).logabsdet.item()
        assert np.abs(d.log_prob(z)[:, s].numpy() - density).max() < 1e-12


# point masses


@pytest.mark.parametrize("name", ["normal-2", "multivariate-normal", "precision-normal"])
def test_densities_of_latents_are_of_any_z(name, generator):
    """Every z (K, 1, D) under each of the S distributions, as a mixture of them asks: (K, S)."""
    family = FAMILIES[name]
    d = family.build(*tensors(family))
    each = d.mean.shape[0]
    z = torch.randn(5, 1, d.mean.shape[-1], dtype=torch.float64, generator=generator)
    found = d.log_prob(z)
    assert found.shape == (5, each)
    assert torch.equal(found, d.log_prob(z.expand(5, each, -1)))


@pytest.mark.parametrize("value", [0.0, 1e-6, -3.0, 250.0])
def test_an_atom_has_all_but_a_billionth_and_the_law_normalises(value):
    at = torch.tensor(value, dtype=torch.float64)
    density = lambda x: log_atom(torch.tensor(x, dtype=torch.float64), at).exp().item()  # noqa: E731
    beside = 2 * integrate.quad(lambda x: density(value + x) * 1e9, 1e-15, np.inf)[0]
    assert beside == pytest.approx(1, rel=1e-6)
    assert density(value) == pytest.approx(1 - 1e-9, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1e-6, 0.1, -3.0, 250.0, 1e20])
def test_other_values_than_an_atom_s_are_very_surprising_and_finite(value, dtype):
    at = torch.tensor(value, dtype=dtype)
    others = torch.tensor([-1e30, -1.0, 0.5, 251.0, 1e19, 1e30], dtype=dtype)
    near = torch.nextafter(at, torch.tensor(torch.inf, dtype=dtype))
    found = log_atom(torch.cat([others, near[None]]), at)
    assert (found < -20).all()
    assert found.isfinite().all()
    assert log_atom(at, at).abs() < 1e-6  # that of the atom itself


def test_beside_an_atom_all_is_as_without(generator):
    loc, x = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    normal, where = Normal(loc.requires_grad_(), 0.3 * loc), torch.tensor([False, True, False])
    d = WithAtoms(normal, where, torch.tensor(7.0, dtype=torch.float64))
    x[:, 1] = torch.tensor([7.0, 7.0, 1e30, math.pi], dtype=torch.float64)
    each = d.log_prob_each(x)
    assert torch.equal(each[:, ::2], normal.log_prob_each(x)[:, ::2])
    assert torch.equal(each[:, 1], log_atom(x[:, 1], torch.tensor(7.0, dtype=torch.float64)))
    (gradient,) = torch.autograd.grad(each.sum(), loc)
    assert gradient.isfinite().all()
    assert (gradient[:, 1] == 0).all()
    assert (d.mean[:, 1] == 7).all()
    drawn = d.sample(generator, (50,))
    assert (drawn[..., 1] == 7).all()
    assert drawn[..., 0].std() > 0.1


# amounts with zeros

AMOUNTS = ([[-3.0], [0.5], [40.0]], [[-2.0], [0.0], [3.0]], [[-1.5], [0.25], [-0.5]])


def test_amounts_agree_with_scipy_and_normalise():
    """The integral is over log x: a trapezoidal sum, exact to rounding."""
    logits, loc, log_scale = (torch.tensor(p, dtype=torch.float64) for p in AMOUNTS)
    d = ZeroInflatedLogNormal(logits, loc, log_scale)
    t = torch.linspace(-12, 12, 2001, dtype=torch.float64)[:, None, None]
    x = (loc + log_scale.exp() * t).exp()
    reference = stats.lognorm.logpdf(x, log_scale.exp(), scale=loc.exp()) + special.log_expit(logits.numpy())
    assert np.allclose(d.log_prob(x), reference[..., 0], rtol=1e-12, atol=1e-12)
    length = x * log_scale.exp() * (t[1] - t[0])
    at_zero = d.log_prob(torch.zeros(3, 1, dtype=torch.float64)).exp()
    assert torch.allclose(at_zero, torch.sigmoid(-logits[:, 0]), rtol=1e-12, atol=0)
    total = at_zero + (d.log_prob(x).exp() * length[..., 0]).sum(0)
    assert (total - 1).abs().max() < 1e-8
    mean = (d.log_prob(x).exp() * (length * x)[..., 0]).sum(0)
    assert torch.allclose(d.mean[:, 0], mean, rtol=1e-10)
    single = ZeroInflatedLogNormal(*(torch.tensor(p) for p in AMOUNTS)).log_prob(x.float()).double()
    assert ((single - d.log_prob(x.float().double())).abs() < 1e-5 * d.log_prob(x).abs().clamp_min(1)).all()


def test_gradients_of_amounts_agree_with_central_differences():
    parameters = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in AMOUNTS]
    x = torch.tensor([0.0, 0.1, 1.0, 7.0], dtype=torch.float64)[:, None, None]
    assert torch.autograd.gradcheck(lambda *p: ZeroInflatedLogNormal(*p).log_prob(x), parameters, atol=1e-6, rtol=1e-6)


def test_samples_of_amounts_match_their_density(generator):
    logits, loc, log_scale = (torch.tensor(p, dtype=torch.float64) for p in AMOUNTS)
    d = ZeroInflatedLogNormal(logits, loc, log_scale)
    before = torch.get_rng_state()
    x = d.sample(generator, (N,))
    assert torch.equal(before, torch.get_rng_state())
    assert x.shape == (N, 3, 1)
    for s in range(3):
        amounts = x[:, s, 0][x[:, s, 0] > 0]
        p = torch.sigmoid(logits[s]).item()
        assert abs(len(amounts) - N * p) < 5 * math.sqrt(N * p * (1 - p)) + 1
        law = stats.norm(loc[s].item(), log_scale[s].exp().item())
        assert stats.kstest(amounts.log().numpy(), law.cdf).pvalue > 1e-4


# counts of any size

LARGE_COUNTS = {
    (7.0, math.inf, 1000.0): -8.761336916621948,
    (16.0, math.inf, 9000000.0): -735.663518424133,
    (2.0, math.inf, 8.0): -1.9936590016759004,
    (16.0, math.inf, 7.0): -8886007.045669233,
    (7.0, 12.0, 1000.0): -8.735898795417977,
    (7.0, -2.0, 1000.0): -9.250422670609433,
    (16.0, 3.0, 10000000.0): -15.686926040117452,
    (5.0, 9.0, 140.0): -3.6377278795012016,
    (0.5, 12.0, 3.0): -1.9404843467183706,
    (-8.0, -5.0, 200.0): -619.9765799931907,
}  # fmt: skip
"""(log μ, log r, x): log p, by arithmetic of 60 digits"""


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_large_counts_are_as_exact_as_small_ones(dtype, within):
    """The terms of log p are then far larger than their sum. It is as exact as its arguments, log x and log μ, are."""
    for (log_mean, log_dispersion, x), reference in LARGE_COUNTS.items():
        m, r, count = (torch.tensor([v], dtype=dtype) for v in (log_mean, log_dispersion, x))
        d = Poisson(m) if log_dispersion == math.inf else NegativeBinomial(m, r)
        rounding = torch.finfo(dtype).eps * log_mean * abs(x - math.exp(log_mean))
        assert abs(d.log_prob(count).item() - reference) < within * max(1, abs(reference)) + rounding, (log_mean, x)


# what independent features share


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_features_are_summed_over_the_event(dims, generator):
    loc, x = (torch.randn(5, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for d in (Normal(loc, loc / 2, dims), Bernoulli(loc, dims), DiscretizedLogistic(loc, loc, -9.0, 9.0, 1.0, dims)):
        each, mask = d.log_prob_each(x), x > 0
        assert each.shape == (5, 2, 3)
        total = d.log_prob(x)
        assert total.shape == (5, 2, 3)[: 3 - dims]
        summed = each.flatten(3 - dims).sum(-1) if dims else each
        assert torch.allclose(total, summed)
        seen = each.where(mask, torch.zeros_like(each))
        assert torch.allclose(d.log_prob(x, mask), seen.flatten(3 - dims).sum(-1) if dims else seen)


@pytest.mark.parametrize("build", [
    lambda y: Normal(y, y), Bernoulli, lambda y: DiscretizedLogistic(y, y, 0.0, 9.0, 1.0),
    lambda y: TruncatedLogistic(y, y, 0.0, 9.0, 1.0),
    lambda y: Laplace(y, y), lambda y: LogNormal(y, y), lambda y: StudentT(y, y, 3 + y),
    lambda y: LogisticMixture(y[:, None], y[:, None], y[:, None]),
    lambda y: DiscretizedLogisticMixture(y[:, None], y[:, None], y[:, None], 0.0, 9.0, 1.0),
    lambda y: WithAtoms(Normal(y, y), torch.tensor([True, False, False]), torch.tensor(1.0, dtype=y.dtype)),
])  # fmt: skip
def test_a_hidden_cell_touches_neither_value_nor_gradient(build):
    y = torch.full((2, 3), 0.5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    results = []
    for hidden in (1.0, math.nan, math.inf):
        x = torch.tensor([[1.0, hidden, 0.0], [hidden] * 3], dtype=torch.float64)
        value = build(y).log_prob(x, mask)
        (gradient,) = torch.autograd.grad(value.sum(), y)
        results.append((value, gradient))
    for value, gradient in results:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])
        assert (gradient[~mask] == 0).all()
    assert results[0][0][1] == 0


def test_normal_parameters_broadcast_against_each_other(generator):
    loc, log_scale = torch.zeros(1), torch.zeros(3)
    for d in (Normal(loc, log_scale), Normal(log_scale, loc)):
        assert d.stddev.shape == (3,)
        x = d.sample(generator, (5000,))
        assert x.shape == (5000, 3)
        assert (x.T.corrcoef() - torch.eye(3)).abs().max() < 5 / math.sqrt(5000)  # independent features


def test_full_covariance_uses_the_lower_triangle_only_and_refuses_a_mask(generator):
    below = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    log_diagonal, loc = below.diagonal(dim1=-2, dim2=-1) / 3, below[:, 0]
    q, same = MultivariateNormal(loc, log_diagonal, below), MultivariateNormal(loc, log_diagonal, below.tril(-1))
    z, _ = q.draw(torch.randn(2, 4, 3, generator=generator, dtype=torch.float64))
    assert torch.equal(q.log_prob(z), same.log_prob(z))
    assert torch.equal(kl(q, Normal(loc, loc)), kl(same, Normal(loc, loc)))
    factor = below.tril(-1) + torch.diag_embed(log_diagonal.exp())
    assert torch.allclose(q.covariance, factor @ factor.mT)
    assert torch.allclose(q.stddev, q.covariance.diagonal(dim1=-2, dim2=-1).sqrt())
    with pytest.raises(ValueError, match="mask"):
        q.log_prob(z, torch.ones_like(z, dtype=torch.bool))


@pytest.mark.parametrize("name", ["normal-2", "multivariate-normal"])
def test_detach_stops_the_parameters_and_leaves_z_alive(name):
    family = FAMILIES[name]
    parameters = [p.requires_grad_() for p in tensors(family)]
    q = family.build(*parameters)
    z = q.mean.detach().clone().add(0.5).requires_grad_()
    stopped = q.detach()
    assert type(stopped) is type(q)
    value = stopped.log_prob(z)
    assert torch.equal(value, q.log_prob(z))
    gradients = torch.autograd.grad(value.sum(), [z, *parameters], allow_unused=True)
    assert gradients[0].abs().min() > 0
    assert all(g is None for g in gradients[1:])


def test_a_colour_follows_those_before_it_in_its_own_pixel_alone(generator):
    shape = (3, 4, 5)
    loc, log_scale, slopes = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    d = ColourLogistic(8 + loc, log_scale, slopes, 0.0, 16.0, 1.0)
    x = d.sample(generator)
    for colour, touched in ((0, [0, 1, 2]), (1, [1, 2]), (2, [2])):
        moved = x.clone()
        moved[colour, 2, 3] = 16 - moved[colour, 2, 3] + 0.5  # off the value it had, whatever that was
        changed = (d.log_prob_each(moved) != d.log_prob_each(x)).nonzero().tolist()
        assert changed == [[c, 2, 3] for c in touched]


def test_slopes_of_zero_leave_the_colours_independent(generator):
    loc, log_scale, x = (torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    chained = ColourLogistic(loc, log_scale, torch.zeros_like(loc), -9.0, 9.0, 1.0)
    apart = DiscretizedLogistic(loc, log_scale, -9.0, 9.0, 1.0, 3)
    assert torch.equal(chained.log_prob_each(x.round()), apart.log_prob_each(x.round()))


def test_a_pixel_is_hidden_whole_or_not_at_all(generator):
    loc, log_scale, slopes = torch.randn(3, 2, 3, 4, 5, generator=generator)
    d = ColourLogistic(loc, log_scale, slopes, -9.0, 9.0, 1.0)
    x = d.sample(generator)
    mask = (torch.rand(2, 1, 4, 5, generator=generator) < 0.5).expand(x.shape)
    expected = d.log_prob_each(x).where(mask, 0.0).sum((-3, -2, -1))
    assert torch.allclose(d.log_prob(x.where(mask, torch.nan), mask), expected)
    part = mask.clone()
    part[0, 1, 0, 0] = ~part[0, 1, 0, 0]
    with pytest.raises(VaekitError, match=r"whole pixels.*discretized-logistic"):
        d.log_prob(x, part)


def _missed_means(high: float, log_scale: float) -> Tensor:
    """|mean − E[x]| for locations inside and outside the grid 0 … high"""
    grid = torch.arange(high + 1, dtype=torch.float64)[:, None]
    loc = torch.linspace(-0.5 * high, 1.5 * high, 81, dtype=torch.float64)
    d = DiscretizedLogistic(loc, torch.full_like(loc, log_scale), 0.0, high, 1.0, 0)
    return (d.mean - (d.log_prob(grid).exp() * grid).sum(0)).abs()


@pytest.mark.parametrize("high", [0.0, 1.0, 16.0, 255.0])
def test_discretized_logistic_mean_is_within_half_a_step(high):
    for log_scale in (-5.0, -2.0, -1.0, 0.0, 2.0, 5.0):
        assert _missed_means(high, log_scale).max() < 0.5 + 1e-12


def test_discretized_logistic_mean_is_as_exact_as_its_docstring_says():
    """Within step²/(90 s) where the scale s is a step or more: the worst is with the mass at an end of the grid."""
    for scale in (1.0, 2.0, 8.0):
        assert _missed_means(255.0, math.log(scale)).max() < 1 / (90 * scale)


# extremes

EXTREME = (-1e4, -200.0, -100.0, -1.0, 0.0, 1.0, 100.0, 200.0, 1e4)


def _all_finite(values: dict[str, Tensor], y: Tensor):
    for name, value in values.items():
        assert value.isfinite().all(), f"{name} is not finite"
        if not value.requires_grad:  # a most probable code
            continue
        (gradient,) = torch.autograd.grad(value.sum(), y, retain_graph=True, allow_unused=True)
        assert gradient is None or gradient.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("likelihood", "values"), [
    (likelihoods.Bernoulli((1,)), [0.0, 1.0]),
    (likelihoods.Bernoulli((1,), expected=True), [0.0, 0.3, 1.0]),
    (likelihoods.DiscretizedLogistic((1,), low=0, high=255), [0.0, 1.0, 128.0, 254.0, 255.0]),
    (likelihoods.DiscretizedLogistic((1,), low=0, high=1), [0.0, 1.0]),
    (likelihoods.DiscretizedLogistic((1,), low=5, high=5), [5.0]),
    (likelihoods.DiscretizedLogistic((1,), low=-1e3, high=1e3, step=1e-2), [-1e3, 0.25, 1e3]),
    (likelihoods.Categorical((1,), sizes=[3]), [0.0, 1.0, 2.0]),
    (likelihoods.Ordinal((1,), sizes=[4]), [0.0, 1.0, 2.0, 3.0]),
    (likelihoods.Poisson((1,), mean=2.0, scale=9.0), [0.0, 1.0, 7.0, 9.0, 1e7]),
    (likelihoods.Poisson((1,), mean=0.0, scale=1.0), [0.0, 3.0, 1e3]),
    (likelihoods.NegativeBinomial((1,), mean=2.0, scale=9.0), [0.0, 1.0, 7.0, 9.0, 1e7]),
    (likelihoods.NegativeBinomial((1,), mean=1e6, scale=1e3, dispersion="cell"), [0.0, 1.0, 1e6, 1.6e7]),
    (likelihoods.ZeroInflatedNegativeBinomial((1,), mean=2.0, scale=9.0), [0.0, 1.0, 7.0, 9.0, 1e7]),
    (likelihoods.ZeroInflatedNegativeBinomial((1,), mean=0.1, scale=2.0, dispersion="cell"), [0.0, 5.0, 1e5]),
    (likelihoods.ZeroInflatedLogNormal((1,), mean=2.0, scale=9.0), [0.0, 1e-30, 3.0, 1e30]),
    (likelihoods.ZeroInflatedLogNormal((1,), mean=1e9, scale=1e12), [0.0, 1e-30, 3.0, 1e30]),
    (likelihoods.Gaussian((1,), sigma="column", scale=3.0), [-30.0, 0.0, 5.0]),
    (likelihoods.Gaussian((1,), sigma="unit", scale=3.0), [-30.0, 0.0, 5.0]),
    (likelihoods.Gaussian((1,), mean=250.0, constant=True), [250.0, 251.0, -1e30]),
    (likelihoods.DiscretizedLogistic((1,), low=0, high=2**25, mean=9.0, scale=4.0, by_scale=True), [0.0, 7.0, 2.0**24]),
])  # fmt: skip
def test_likelihoods_are_finite_over_extreme_decoder_outputs(likelihood, values, dtype, generator):
    likelihood = likelihood.to(dtype)
    grid = torch.cartesian_prod(*[torch.tensor(EXTREME, dtype=dtype)] * likelihood.features)
    y = grid.reshape(1, -1, likelihood.features).requires_grad_()
    for x in values:
        d = likelihood(y)
        log_prob = d.log_prob(torch.full((1, 1), x, dtype=dtype))
        _all_finite({"log p": log_prob, "mean": d.mean}, y)
        assert not likelihood.normalised or not likelihood.integers or (log_prob <= 1e-6).all()
    assert d.sample(generator, (20,)).isfinite().all()
    likelihood.to(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("raw", EXTREME)
@pytest.mark.parametrize("sigma", ["shared", "column"])
def test_learned_sigma_is_finite_over_extreme_parameters(raw, sigma, dtype):
    likelihood = likelihoods.Gaussian((2,), sigma=sigma, mean=[0.0, 9.0], scale=[1e-3, 1e3], floor=1e-5).to(dtype)
    with torch.no_grad():
        likelihood.raw.fill_(raw)
    value = likelihood(torch.zeros(1, 3, 2, dtype=dtype)).log_prob(torch.tensor([[0.5, 1e4]], dtype=dtype))
    _all_finite({"log p": value}, likelihood.raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", [posteriors.Diagonal, posteriors.FullCovariance])
def test_posteriors_are_finite_over_extreme_encoder_outputs(family, dtype, generator):
    """log-variances of ±200 and ±2·10⁴, and means and off-diagonal entries as large, through the soft clamp"""
    posterior = family(2)
    extreme = torch.tensor(EXTREME, dtype=dtype)
    h = torch.cat([torch.cartesian_prod(extreme, extreme, extreme)] * 2, -1)[:, : posterior.features].requires_grad_()
    q, p = posterior(h), priors.StandardNormal(2).to(dtype)()
    z, log_q = q.draw(torch.randn(2, len(h), 2, generator=generator, dtype=dtype))
    values = {
        "z": z,
        "log q": log_q,
        "log q of z": q.log_prob(z),
        "KL": kl(q, p),
        "σ": q.stddev,
        "log p": p.log_prob(z),
    }
    _all_finite(values, h)
    assert (q.stddev > 0).all()


# Kullback–Leibler divergences in closed form


def kl(q: Latent, p: Latent) -> torch.Tensor:
    """KL(q ‖ p), (B,), in closed form: no draws are there"""
    return q.rate(p, None, None).sum((0, 2))


def _pair(generator, rows: int, dims: int, full: bool):
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    loc, log_scale = draw(rows, dims), 0.5 * draw(rows, dims)
    q = MultivariateNormal(loc, log_scale, draw(rows, dims, dims)) if full else Normal(loc, log_scale)
    return q, Normal(draw(rows, dims), 0.5 * draw(rows, dims))


diagonal_and_full = pytest.mark.parametrize("full", [False, True], ids=["diagonal", "full"])


@diagonal_and_full
def test_kl_agrees_with_monte_carlo(full, generator):
    q, p = _pair(generator, 4, 3, full)
    standard = Normal(torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    for prior in (p, standard):
        z = q.sample(generator, (N,))
        ratio = q.log_prob(z) - prior.log_prob(z)
        closed = kl(q, prior)
        assert closed.shape == (4,)
        assert ((ratio.mean(0) - closed).abs() < 5 * ratio.std(0) / math.sqrt(N)).all()


@diagonal_and_full
@pytest.mark.parametrize("dims", [1, 2])
def test_kl_agrees_with_quadrature(full, dims, generator):
    q, p = _pair(generator, 5, dims, full)
    x, weights = points(FAMILIES["normal"], q)
    log_q = q.log_prob(x)
    exact = (weights * log_q.exp() * (log_q - p.log_prob(x))).sum(0)
    assert (kl(q, p) - exact).abs().max() < 1e-8


@diagonal_and_full
def test_kl_agrees_with_torch(full, generator):
    q, p = _pair(generator, 50, 4, full)
    theirs = torch.distributions.MultivariateNormal
    factor = q.tril if full else torch.diag_embed(q.log_scale.exp())
    other = theirs(p.loc, scale_tril=torch.diag_embed(p.log_scale.exp()))
    exact = torch.distributions.kl_divergence(theirs(q.loc, scale_tril=factor), other)
    assert torch.allclose(kl(q, p), exact, rtol=1e-12)


@diagonal_and_full
def test_kl_is_never_negative_and_zero_when_equal(full, generator):
    q, p = _pair(generator, 2000, 3, full)
    assert (kl(q, p) > 0).all()
    same = Normal(q.loc, q.log_diagonal if full else q.log_scale)
    if full:
        q = MultivariateNormal(q.loc, q.log_diagonal, torch.zeros_like(q.below))
    assert torch.equal(kl(q, same), torch.zeros(2000, dtype=torch.float64))
    for size in (1e-2, 1e-5, 1e-8):  # nearly equal: no cancellation below zero
        near = Normal(q.loc, same.log_scale + size * torch.randn(2000, 3, generator=generator, dtype=torch.float64))
        assert (kl(q, near) > -1e-16).all()


def test_full_without_off_diagonals_is_diagonal(generator):
    q, p = _pair(generator, 20, 3, full=False)
    full = MultivariateNormal(q.loc, q.log_scale, torch.zeros(20, 3, 3, dtype=torch.float64))
    z = torch.randn(5, 20, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(kl(full, p), kl(q, p), rtol=1e-13)
    assert torch.allclose(full.log_prob(z), q.log_prob(z), rtol=1e-13)
    assert all(torch.allclose(a, b, rtol=1e-13) for a, b in zip(full.draw(z), q.draw(z), strict=True))
    assert torch.allclose(full.stddev, q.stddev, rtol=1e-13)


def test_the_rate_falls_apart_into_that_of_each_latent(generator):
    q, p = _pair(generator, 6, 3, full=False)
    each = q.rate(p, None, None)
    assert each.shape == (1, 6, 3)
    of_each_draw = Normal(q.loc.expand(4, -1, -1), q.log_scale)
    assert torch.allclose(of_each_draw.rate(p, None, None), each.expand(4, -1, -1))
    single = Normal(q.loc[:, 1:2], q.log_scale[:, 1:2])
    assert torch.allclose(each[0, :, 1], kl(single, Normal(p.loc[:, 1:2], p.log_scale[:, 1:2])))


@diagonal_and_full
def test_the_rate_to_an_unknown_family_is_by_draws(full, generator):
    q, _ = _pair(generator, 2, 3, full)
    other, _ = _pair(generator, 2, 3, full=True)
    z, log_q = q.draw(torch.randn(5, 2, 3, generator=generator, dtype=torch.float64))
    found = q.rate(other, z, log_q)
    assert found.shape == (5, 2, 1)
    assert torch.allclose(found[..., 0], log_q - other.log_prob(z))


def test_values_beyond_the_grid_take_the_probability_that_is_left_for_them():
    """Σ over the grid, over 1,000 steps beyond it on either side, and of all that follows: ε/2 · 1/1001 each."""
    location, log_scale = torch.tensor([1.3]).double(), torch.zeros(1).double()
    p = DiscretizedLogistic(location, log_scale, 0.0, 4.0, 1.0, beyond=0.01)
    x = torch.arange(-1000.0, 1005.0, dtype=torch.float64)[:, None]
    total = p.log_prob(x).exp()
    assert total.sum().item() + 0.01 / 1001 == pytest.approx(1, abs=1e-12)
    assert total[1000:1005].sum().item() == pytest.approx(0.99, abs=1e-12)
    assert p.log_prob(torch.tensor([[5.0]])).item() == pytest.approx(np.log(0.0025))
