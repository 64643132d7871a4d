"""Posteriors, priors and likelihoods: shapes, starts, floors, supports, units."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from vaekit import core
from vaekit.parts import likelihoods, posteriors, priors
from vaekit.parts.posteriors import LOG_SCALE_RANGE

K, B = 3, 5
SHAPES = [(4,), (2, 3), (2, 3, 4)]

LIKELIHOODS = {
    "bernoulli": lambda shape: likelihoods.Bernoulli(shape, mean=0.25),
    "bernoulli expected": lambda shape: likelihoods.Bernoulli(shape, mean=0.25, expected=True),
    "gaussian unit": lambda shape: likelihoods.Gaussian(shape, sigma="unit", mean=0.25, scale=0.5),
    "gaussian shared": lambda shape: likelihoods.Gaussian(shape, sigma="shared", mean=0.25, scale=0.5),
    "gaussian column": lambda shape: likelihoods.Gaussian(shape, sigma="column", mean=0.25, scale=0.5),
    "discretized logistic": lambda shape: likelihoods.DiscretizedLogistic(shape, low=0, high=4, mean=2, scale=0.25),
    "categorical": lambda shape: likelihoods.Categorical(shape, sizes=[2 + j % 3 for j in range(math.prod(shape))]),
    "poisson": lambda shape: likelihoods.Poisson(shape, mean=2.5, scale=2.0),
    "negative binomial": lambda shape: likelihoods.NegativeBinomial(shape, mean=2.5, scale=4.0),
    "negative binomial, cells": lambda shape: likelihoods.NegativeBinomial(
        shape, mean=2.5, scale=4.0, dispersion="cell"
    ),
    "zinb": lambda shape: likelihoods.ZeroInflatedNegativeBinomial(shape, mean=2.5, scale=4.0),
    "zinb, cells": lambda shape: likelihoods.ZeroInflatedNegativeBinomial(
        shape, mean=2.5, scale=4.0, dispersion="cell"
    ),
    "zero-inflated log-normal": lambda shape: likelihoods.ZeroInflatedLogNormal(shape, mean=2.5, scale=4.0),
    "ordinal": lambda shape: likelihoods.Ordinal(shape, sizes=[2 + j % 3 for j in range(math.prod(shape))]),
    "gaussian cell": lambda shape: likelihoods.Gaussian(shape, sigma="cell", mean=0.25, scale=0.5),
    "student-t": lambda shape: likelihoods.StudentT(shape, mean=0.25, scale=0.5),
    "laplace": lambda shape: likelihoods.Laplace(shape, mean=0.25, scale=0.5),
    "log-normal": lambda shape: likelihoods.LogNormal(shape, mean=0.25, scale=0.5),
    "logistic mixture": lambda shape: likelihoods.LogisticMixture(shape, mean=0.25, scale=0.5),
    "discretized mixture": lambda shape: likelihoods.DiscretizedLogisticMixture(
        shape, low=0, high=4, mean=2, scale=0.25, atoms=np.ones((1, *shape)), frequencies=np.full((1, *shape), 0.01)
    ),
}
CODED = ("categorical", "ordinal")
"""likelihoods of codes: their `mean` is the most probable one"""
every_likelihood = pytest.mark.parametrize("build", LIKELIHOODS.values(), ids=LIKELIHOODS.keys())
every_sigma = pytest.mark.parametrize("sigma", ["shared", "column"])


def set_raw(likelihood, raw: float):
    with torch.no_grad():
        likelihood.raw.fill_(raw)
    return likelihood


# what every likelihood promises


@every_likelihood
@pytest.mark.parametrize("shape", SHAPES)
def test_likelihood_shapes(build, shape, generator):
    likelihood = build(shape)
    assert isinstance(likelihood, core.Likelihood)
    assert likelihood.features == likelihood.per_feature * likelihood.codes
    assert likelihood.initial().shape == (likelihood.features,)
    y = torch.randn(K, B, likelihood.features, generator=generator)
    x = torch.randint(0, 2, (B, *shape), generator=generator).float()
    d = likelihood(y)
    assert d.mean.shape == (K, B, *shape)
    assert d.log_prob(x).shape == (K, B)
    assert d.log_prob_each(x).shape == (K, B, *shape)
    assert d.log_prob(x, x > 0).shape == (K, B)
    draws = d.sample(generator)
    assert draws.shape == (K, B, *shape)
    assert d.sample(generator, (2,)).shape == (2, K, B, *shape)
    assert likelihood.supports(draws).all()  # what it draws, it could have been given
    assert likelihood.supports(x).shape == x.shape
    codes = likelihood.standardise(x)
    assert codes.flatten(1).shape == (B, likelihood.codes)
    assert codes.dtype == x.dtype
    assert likelihood.spread_out(x > 0).shape == codes.shape


@every_likelihood
def test_each_feature_answers_to_its_own_outputs(build, generator):
    """Perturbing the decoder outputs of one pixel changes that pixel's density alone, in C order."""
    likelihood = build((2, 3))
    y = torch.randn(1, 1, likelihood.features, generator=generator)
    x = torch.ones(1, 2, 3)
    numbers = likelihood.spread_out(torch.arange(6.0).reshape(1, 2, 3)).flatten().tolist()
    for index in range(likelihood.features):
        moved = y.clone()
        moved[..., index] += 0.5
        changed = (likelihood(moved).log_prob_each(x) != likelihood(y).log_prob_each(x)).flatten()
        assert changed.nonzero().flatten().tolist() == [numbers[index % likelihood.codes]]


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name not in CODED])
def test_start_makes_the_decoder_say_the_mean_of_the_data(name):
    likelihood = LIKELIHOODS[name]((2, 3))
    d = likelihood(likelihood.initial().expand(1, 1, -1))
    assert torch.allclose(d.mean, likelihood.centre.expand(1, 1, 2, 3), atol=1e-3)


def test_start_follows_means_that_differ_by_feature():
    mean = np.array([[0.125, 0.5, 0.75], [0.25, 0.0, 1.0]])
    cases = [
        (likelihoods.Bernoulli((2, 3), mean=mean), 1e-3 + 1e-6),  # logits start at most at ±log 999
        (likelihoods.Gaussian((2, 3), mean=mean, scale=1 + mean), 1e-6),
        (likelihoods.DiscretizedLogistic((2, 3), low=-20, high=20, mean=mean, scale=1 + mean), 1e-3),
    ]
    for likelihood, within in cases:
        d = likelihood(likelihood.initial().expand(1, 1, -1))
        assert np.abs(d.mean[0, 0].numpy() - mean).max() < within


def test_start_has_the_spread_of_the_data():
    scale = [0.5, 1.0, 3.0]
    start = likelihoods.DiscretizedLogistic((3,), low=-40, high=40, scale=scale)
    d = start(start.initial().expand(1, 1, -1))
    stddev = d.log_scale.exp() * math.pi / math.sqrt(3)
    assert torch.allclose(stddev, torch.tensor(scale).expand(1, 1, 3), rtol=0.05)


@every_likelihood
def test_not_a_number_and_infinity_are_never_supported(build):
    bad = torch.tensor([[math.nan, math.inf, -math.inf]])
    assert not build((3,)).supports(bad).any()


@pytest.mark.parametrize(("likelihood", "x", "supported"), [
    (likelihoods.Bernoulli((4,)), [0.0, 1.0, 0.5, 2.0], [True, True, False, False]),
    (likelihoods.Bernoulli((4,), expected=True), [0.0, 1.0, 0.5, -0.1], [True, True, True, False]),
    (likelihoods.Gaussian((2,)), [-1e30, 0.0], [True, True]),
    (likelihoods.DiscretizedLogistic((6,), low=-1, high=2), [-1.0, 2.0, 0.0, 0.5, 3.0, -2.0],
     [True, True, True, False, False, False]),
    (likelihoods.DiscretizedLogistic((3,), low=0.1, high=0.7, step=0.1), [0.3, 0.7, 0.35], [True, True, False]),
    (likelihoods.DiscretizedLogistic((2,), low=[5.0, 0.0], high=[5.0, 9.0]), [5.0, 9.0], [True, True]),
    (likelihoods.DiscretizedLogistic((2,), low=[5.0, 0.0], high=[5.0, 9.0]), [4.0, 10.0], [False, False]),
])  # fmt: skip
def test_supports(likelihood, x, supported):
    assert likelihood.supports(torch.tensor([x])).tolist() == [supported]


def test_only_likelihoods_that_are_densities_of_x_call_themselves_normalised():
    flags = {name: (build((2,)).normalised, build((2,)).integers) for name, build in LIKELIHOODS.items()}
    assert flags == {
        "bernoulli": (True, True), "bernoulli expected": (False, False), "gaussian unit": (True, False),
        "gaussian shared": (True, False), "gaussian column": (True, False), "discretized logistic": (True, True),
        "categorical": (True, True), "ordinal": (True, True), "poisson": (True, True),
        "negative binomial": (True, True), "negative binomial, cells": (True, True), "zinb": (True, True),
        "zinb, cells": (True, True), "zero-inflated log-normal": (True, False),
        "gaussian cell": (True, False), "student-t": (True, False), "laplace": (True, False),
        "log-normal": (True, False), "logistic mixture": (True, False), "discretized mixture": (True, True),
    }  # fmt: skip


# Bernoulli


def test_expected_bernoulli_is_the_mean_over_binarisations(generator):
    likelihood = likelihoods.Bernoulli((3,), expected=True)
    y = torch.randn(2, 1, 3, generator=generator)
    grey = torch.tensor([[0.0, 0.3, 1.0]])
    mean = sum(
        weight * likelihood(y).log_prob(torch.tensor([[0.0, bit, 1.0]])) for weight, bit in ((0.7, 0.0), (0.3, 1.0))
    )
    assert torch.allclose(likelihood(y).log_prob(grey), mean, atol=1e-6)


def test_bernoulli_works_in_the_data_s_own_units():
    x = torch.tensor([[0.0, 1.0]])
    assert torch.equal(likelihoods.Bernoulli((2,), mean=0.3).standardise(x), x)


# Gaussian


def test_gaussian_agrees_with_scipy_in_the_units_of_the_data(generator):
    mean, scale = np.array([1.0, -20.0, 0.5]), np.array([2.0, 0.25, 8.0])
    y = torch.randn(K, B, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(B, 3, generator=generator, dtype=torch.float64) * 5
    for sigma in ("unit", "shared", "column"):
        likelihood = likelihoods.Gaussian((3,), sigma=sigma, mean=mean, scale=scale).double()
        m, s, std = likelihood.centre.numpy(), likelihood.scale.numpy(), likelihood.log_sigma().exp().detach().numpy()
        assert np.allclose(m, mean)
        assert np.allclose(s, scale if sigma == "column" else math.sqrt((scale**2).mean()), rtol=1e-6)
        exact = stats.norm.logpdf(x, m + s * y.numpy(), np.broadcast_to(std, 3)).sum(-1)
        assert np.allclose(likelihood(y).log_prob(x).detach(), exact, rtol=1e-12)
        assert np.allclose(likelihood.standardise(x), np.clip((x.numpy() - m) / s, -30, 30))


def test_unit_sigma_is_one_in_the_units_of_the_data():
    likelihood = likelihoods.Gaussian((2,), sigma="unit", mean=3.0, scale=50.0)
    assert torch.equal(likelihood.log_sigma(), torch.zeros(2))
    assert list(likelihood.parameters()) == []


def test_learned_sigmas_are_counted():
    assert [p.shape for p in likelihoods.Gaussian((2, 3), sigma="shared").parameters()] == [(1, 1)]
    assert [p.shape for p in likelihoods.Gaussian((2, 3), sigma="column").parameters()] == [(2, 3)]


@every_sigma
def test_learned_sigma_starts_at_the_scale_of_the_data(sigma):
    likelihood = likelihoods.Gaussian((2,), sigma=sigma, scale=[3.0, 4.0], floor=0.01)
    wanted = [3.0, 4.0] if sigma == "column" else [math.sqrt(12.5)] * 2
    assert np.allclose(likelihood.log_sigma().exp().detach().expand(2), wanted, rtol=0.01)


@every_sigma
@pytest.mark.parametrize("floor", [1e-3, 0.1, 0.25, 0.28867513])  # the last: 1/√12, that of whole numbers
@pytest.mark.parametrize("scale", [1.0, 37.0, 4000.0])
def test_sigma_never_falls_below_its_floor(sigma, floor, scale):
    likelihood = likelihoods.Gaussian((3,), sigma=sigma, scale=scale, floor=floor)
    sigmas = [set_raw(likelihood, raw).log_sigma().exp().detach().min().item() for raw in (-1e4, -100, -8, -2, 0, 2)]
    assert sigmas[0] >= floor * (1 - 1e-5)
    assert sigmas == sorted(sigmas)
    assert sigmas[0] <= max(floor, 1e-6 * scale) * 1.001  # and reaches it
    set_raw(likelihood, -5.0).log_sigma().sum().backward()
    assert (likelihood.raw.grad > 0).all()  # smoothly: the gradient leads back


@every_sigma
@pytest.mark.parametrize("ratio", [0.6, 1.0, 3.0])
def test_the_floor_holds_where_a_column_varies_less_than_its_resolution(sigma, ratio):
    """A column that is 1 once in a hundred rows has a standard deviation of .1 and a resolution of 1."""
    likelihood = set_raw(likelihoods.Gaussian((2,), sigma=sigma, scale=0.1, floor=0.1 * ratio), -1e4)
    assert (likelihood.log_sigma().exp() >= 0.1 * ratio * (1 - 1e-5)).all()


def test_floors_differ_by_column():
    floor = [0.001, 0.01, 0.3]
    likelihood = set_raw(likelihoods.Gaussian((3,), scale=[1.0, 10.0, 100.0], floor=floor), -1e4)
    assert np.allclose(likelihood.log_sigma().exp().detach(), floor, rtol=1e-3)


def test_the_floor_bounds_the_density_of_data_on_a_line():
    """Without it, log p grows without bound as σ → 0 at the data (Mattei & Frellsen 2018)."""
    likelihood = set_raw(likelihoods.Gaussian((4,), floor=0.1), -1e4)
    peak = likelihood(torch.zeros(1, 1, 4)).log_prob(torch.zeros(1, 4)).item()
    assert peak == pytest.approx(4 * stats.norm.logpdf(0, 0, 0.1), rel=1e-4)


@pytest.mark.parametrize("factor", [1000.0, 1e-4, -2.5])
def test_a_change_of_units_shifts_log_p_by_its_logarithm(factor, generator):
    """Column 1 times a: the same networks, the same raw σ, the schema's numbers times a."""
    mean, scale, floor = np.array([1.0, 5.0, -3.0]), np.array([2.0, 0.5, 8.0]), np.array([0.01, 0.02, 0.03])
    a = np.array([1.0, factor, 1.0])
    before = likelihoods.Gaussian((3,), mean=mean, scale=scale, floor=floor).double()
    after = likelihoods.Gaussian((3,), mean=mean * a, scale=scale * abs(a), floor=floor * abs(a)).double()
    raw = torch.randn(3, generator=generator)
    with torch.no_grad():
        before.raw.copy_(raw)
        after.raw.copy_(raw)
    y = torch.randn(K, B, 3, generator=generator, dtype=torch.float64)
    x = torch.from_numpy(mean) + torch.randn(B, 3, generator=generator, dtype=torch.float64)
    sign, scaled = torch.from_numpy(np.sign(a)), x * torch.from_numpy(a)
    assert torch.allclose(after.standardise(scaled), sign * before.standardise(x), rtol=1e-5, atol=1e-6)
    shift = after(sign * y).log_prob_each(scaled) - before(y).log_prob_each(x)
    wanted = torch.from_numpy(-np.log(np.abs(a))).expand_as(shift)
    assert torch.allclose(shift, wanted, atol=1e-4)  # the schema's numbers are kept in float32
    # to rounding, where those numbers scale exactly
    power = likelihoods.Gaussian((3,), mean=mean * 4, scale=scale * 4, floor=floor * 4).double()
    with torch.no_grad():
        power.raw.copy_(raw)
    shift = power(y).log_prob(x * 4) - before(y).log_prob(x)
    assert torch.allclose(shift, torch.full_like(shift, -3 * math.log(4)), rtol=0, atol=1e-10)


CONSTANT = [False, True, False, True]


@pytest.mark.parametrize("sigma", ["unit", "shared", "column"])
def test_a_constant_has_its_value_and_no_part_in_sigma(sigma, generator):
    """Beside columns of scale 2 and 4 stand constants: 250, and one of 1e-6."""
    mean, scale, floor = [1.0, 250.0, 0.0, 1e-6], [2.0, 250.0, 4.0, 1e-6], [0.1, 70.0, 0.2, 3e-7]
    likelihood = likelihoods.Gaussian((4,), sigma=sigma, mean=mean, scale=scale, floor=floor, constant=CONSTANT)
    varying = likelihoods.Gaussian((2,), sigma=sigma, mean=mean[::2], scale=scale[::2], floor=floor[::2])
    y = (100 * torch.randn(K, B, 4, generator=generator)).requires_grad_()
    d, rest = likelihood(y), varying(y[..., ::2])
    x = torch.randn(B, 4, generator=generator)
    x[:, 1::2] = torch.tensor(mean)[1::2]
    assert torch.equal(d.mean[..., 1::2], torch.tensor(mean)[1::2].expand(K, B, 2))
    assert torch.equal(d.mean[..., ::2], rest.mean)
    assert likelihood.sigmas == varying.sigmas
    if sigma != "unit":  # whose density is the textbook's whatever the data
        assert torch.equal(d.sample(generator)[..., 1::2], d.mean[..., 1::2])
        assert torch.allclose(d.log_prob(x), rest.log_prob(x[:, ::2]), rtol=1e-6)
        set_raw(likelihood, -1e4), set_raw(varying, -1e4)
        assert likelihood.at_floor() == varying.at_floor() == varying.sigmas
        assert torch.equal(likelihood.log_sigma().expand(4)[::2], varying.log_sigma().expand(2))
    x[0, 1] = 1e30 if sigma != "unit" else 1e3
    d = likelihood(y)
    d.log_prob(x).sum().backward()
    assert d.log_prob(x).isfinite().all()
    assert y.grad.isfinite().all()
    assert torch.equal(y.grad[..., 1::2], torch.zeros(K, B, 2))
    assert likelihood.standardise(x).abs().max() <= 30


@pytest.mark.parametrize("sigma", ["shared", "column"])
def test_constants_alone_are_certain(sigma, generator):
    likelihood = likelihoods.Gaussian((3,), sigma=sigma, mean=[0.0, -5.0, 0.1], scale=[1.0, 5.0, 0.1], constant=True)
    d = likelihood(torch.randn(K, B, 3, generator=generator))
    assert torch.allclose(d.log_prob(torch.tensor([0.0, -5.0, 0.1])), torch.zeros(K, B), atol=1e-7)
    assert (d.log_prob(torch.tensor([0.0, -5.0, 0.2])) < -20).all()
    assert likelihood.at_floor() == 0


@pytest.mark.parametrize("build", [
    lambda: likelihoods.Gaussian((2,), scale=3.0),
    lambda: likelihoods.DiscretizedLogistic((2,), low=0, high=9),
    lambda: likelihoods.DiscretizedLogistic((2,), low=0, high=10**6, mean=4.0, scale=2.0, by_scale=True),
], ids=["gaussian", "logistic", "logistic by scale"])  # fmt: skip
def test_networks_see_no_number_far_from_the_others(build):
    likelihood = build()
    seen = likelihood.standardise(torch.tensor([[1e30, -1e30], [1.0, 2.0]]))
    assert seen[0].tolist() == [30.0, -30.0]
    assert seen[1].abs().max() < 2


# discretised logistic


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_discretized_logistic_sums_to_one_for_every_feature(dtype, generator):
    """a wide one, a narrow one, a constant one, one of fractions, one of two values"""
    low, high, step = [0, -3, 7, 0.25, 0], [255, 2, 7, 1.5, 1], [1, 1, 1, 0.25, 1]
    likelihood = likelihoods.DiscretizedLogistic((5,), low=low, high=high, step=step).to(dtype)
    y = 3 * torch.randn(20, 4, likelihood.features, generator=generator, dtype=dtype)
    d = likelihood(y)
    total = torch.zeros(20, 4, 5, dtype=dtype)
    for index in range(256):
        x = torch.tensor(low, dtype=dtype) + index * torch.tensor(step, dtype=dtype)
        inside = x <= torch.tensor(high, dtype=dtype)
        if inside.any():
            total += torch.where(inside, d.log_prob_each(x).exp(), 0.0)
    assert (total - 1).abs().max() < (1e-10 if dtype == torch.float64 else 2e-5)


def test_a_constant_feature_costs_nothing_and_is_drawn_as_it_is(generator):
    low, high, mean, scale = [7.0, 0.0], [7.0, 9.0], [7.0, 4.0], [0.0, 2.0]
    likelihood = likelihoods.DiscretizedLogistic((2,), low=low, high=high, mean=mean, scale=scale)
    y = (5 * torch.randn(K, B, 4, generator=generator)).requires_grad_()
    d = likelihood(y)
    each = d.log_prob_each(torch.tensor([[7.0, 3.0]]))
    assert torch.equal(each[..., 0], torch.zeros(K, B))
    assert torch.equal(d.mean[..., 0], torch.full((K, B), 7.0))
    assert (d.sample(generator)[..., 0] == 7).all()
    assert torch.equal(likelihood.standardise(torch.tensor([7.0, 4.5])), torch.zeros(2))
    each.sum().backward()
    assert torch.equal(y.grad[..., [0, 2]], torch.zeros(K, B, 2))  # nothing to learn there
    assert likelihood.initial().isfinite().all()


def test_discretized_logistic_standardises_its_range():
    likelihood = likelihoods.DiscretizedLogistic((2,), low=[0.0, -4.0], high=[255.0, 4.0])
    ends = likelihood.standardise(torch.tensor([[0.0, -4.0], [255.0, 4.0]]))
    assert torch.equal(ends, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def test_a_logistic_in_units_of_the_scale_sums_to_one_and_starts_at_the_data_s(generator):
    """Counts of mean 4 and standard deviation 2, one of which is 3,000."""
    likelihood = likelihoods.DiscretizedLogistic((1,), low=0, high=3000, mean=4.0, scale=2.0, by_scale=True).double()
    grid = torch.arange(3001.0, dtype=torch.float64)[:, None, None]
    for y in (likelihood.initial().double(), *20 * torch.randn(20, 2, generator=generator, dtype=torch.float64)):
        assert likelihood(y[None, None]).log_prob(grid).exp().sum() == pytest.approx(1, abs=1e-9)
    assert likelihood.standardise(torch.tensor([4.0, 6.0])).tolist() == [0.0, 1.0]
    start = likelihood(likelihood.initial().double()[None, None])
    assert start.log_scale.exp().item() * math.pi / math.sqrt(3) == pytest.approx(2, rel=0.05)


def test_a_grid_far_from_0_has_its_origin_where_0_is():
    """Counts of 100 to 130 in units of 115 less."""
    likelihood = likelihoods.DiscretizedLogistic((1,), low=-15, high=15, bounded=False, least=-115)
    assert likelihood.supports(torch.tensor([-115.0, -116.0, 400.0])).tolist() == [True, False, True]


def test_a_finer_unit_does_not_change_a_probability(generator):
    """A probability of integers has no units: log p of 2x on a grid of twice the step is the same."""
    y = torch.randn(K, B, 6, generator=generator, dtype=torch.float64)
    x = torch.randint(0, 9, (B, 3), generator=generator).double()
    one = likelihoods.DiscretizedLogistic((3,), low=0, high=8, step=1).double()
    two = likelihoods.DiscretizedLogistic((3,), low=0, high=16, step=2).double()
    assert torch.allclose(one(y).log_prob(x), two(y).log_prob(2 * x), rtol=1e-12)


# posteriors and priors


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("family", [posteriors.Diagonal, posteriors.FullCovariance])
def test_posterior_shapes(family, latent_dim, generator):
    posterior = family(latent_dim)
    assert isinstance(posterior, core.Posterior)
    h = torch.randn(B, posterior.features, generator=generator)
    q = posterior(h)
    assert q.mean.shape == q.stddev.shape == (B, latent_dim)
    z = q.draw(torch.randn(K, B, latent_dim, generator=generator))[0]
    assert z.shape == (K, B, latent_dim)
    assert q.log_prob(z).shape == (K, B)
    assert q.rate(priors.StandardNormal(latent_dim)(), None, None).sum((0, 2)).shape == (B,)


@pytest.mark.parametrize("family", [posteriors.Diagonal, posteriors.FullCovariance])
def test_a_row_s_posterior_is_made_of_that_row_s_features(family, generator):
    posterior = family(3)
    h = torch.randn(B, posterior.features, generator=generator)
    noise = torch.randn(K, B, 3, generator=generator)
    z = posterior(h).draw(noise)[0]
    for row in range(B):
        assert torch.allclose(posterior(h[row : row + 1]).draw(noise[:, row : row + 1])[0][:, 0], z[:, row], atol=1e-6)
        for index in range(posterior.features):  # every feature says something about its row, and only about it
            moved = h.clone()
            moved[row, index] += 0.5
            changed = (posterior(moved).draw(noise)[0] != z).any(-1).any(0)
            assert changed.nonzero().flatten().tolist() == [row]


@pytest.mark.parametrize("family", [posteriors.Diagonal, posteriors.FullCovariance])
def test_posterior_scales_are_log_scales_within_their_range(family):
    posterior = family(2)
    h = torch.zeros(3, posterior.features)
    h[:, 2:4] = torch.tensor([[-1e4], [-3.0], [1e4]])  # log σ follows μ
    low, high = LOG_SCALE_RANGE
    assert torch.allclose(posterior(h).stddev.log(), torch.tensor([[low] * 2, [-3.0] * 2, [high] * 2]), atol=2e-3)


def test_full_covariance_reaches_every_covariance(generator):
    """μ, log L_ii and the rows below the diagonal, in that order."""
    posterior = posteriors.FullCovariance(3)
    entries = torch.tensor([[1.0, 2.0, 3.0, 0.0, -1.0, -2.0, 0.5, -0.25, 0.75]])
    factor = np.diag(np.exp([0.0, -1.0, -2.0]))
    factor[[1, 2, 2], [0, 0, 1]] = [0.5, -0.25, 0.75]
    q = posterior(entries)
    assert torch.equal(q.mean, entries[:, :3])
    assert np.allclose(q.covariance[0], factor @ factor.T, atol=5e-3)


def test_standard_normal_prior(generator):
    prior = priors.StandardNormal(3)
    assert isinstance(prior, core.Prior)
    assert list(prior.parameters()) == []
    assert prior.state_dict() == {}
    p = prior(posterior=None)
    z = torch.randn(K, B, 3, generator=generator)
    assert np.allclose(p.log_prob(z), stats.norm.logpdf(z).sum(-1), rtol=1e-5)
    assert p.sample(generator, (1, 7)).shape == (1, 7, 3)
    assert prior.double()().sample(generator).dtype == torch.float64
