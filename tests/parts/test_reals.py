"""Likelihoods whose scale, or whole shape, is the decoder's for each cell: floors, starts, units, extremes."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from vaekit import distributions
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.parts import likelihoods

K, B = 3, 5
MEAN, SCALE = np.array([1.0, -20.0, 0.5]), np.array([2.0, 0.25, 8.0])

REALS = {
    "gaussian cell": lambda shape, **data: likelihoods.Gaussian(shape, sigma="cell", **data),
    "student-t": likelihoods.StudentT,
    "laplace": likelihoods.Laplace,
    "logistic mixture": likelihoods.LogisticMixture,
}
every_real = pytest.mark.parametrize("build", REALS.values(), ids=REALS.keys())
CONTINUOUS = {**REALS, "log-normal": likelihoods.LogNormal}
every_continuous = pytest.mark.parametrize("build", CONTINUOUS.values(), ids=CONTINUOUS.keys())
GRID = {"low": 0, "high": 60, "mean": 20.0, "scale": 9.0, "by_scale": True}
ATOMS = [[40.0, 0.0], [7.0, np.nan]]
FREQUENCIES = [[0.3, 0.9], [0.1, np.nan]]


def mixture(**others) -> likelihoods.DiscretizedLogisticMixture:
    """Two features: one with two atoms, and one with one that is nearly all of it."""
    data = {**GRID, "mean": [20.0, 1.0], "scale": [12.0, 5.0], "atoms": ATOMS, "frequencies": FREQUENCIES}
    return likelihoods.DiscretizedLogisticMixture((2,), **{**data, **others})


def schema_of(low=0.5, high=90.0, kinds=("positive", "positive"), **others) -> Schema:
    return Schema((2,), "real", ("a", "b"), low, high, 0.01, 4.0, 6.0, kinds=kinds, **others)


def scales(likelihood, y):
    """The scale parameters of a law of the decoder's y."""
    law = likelihood(y)
    law = getattr(law, "logarithm", law)
    return law.log_scale.exp()


# what they share


@every_continuous
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_all_is_finite_whatever_the_decoder_says(build, extreme, generator):
    likelihood = build((3,), mean=abs(MEAN), scale=SCALE)
    signs = torch.randint(0, 2, (K, B, likelihood.features), generator=generator) * 2.0 - 1
    y = (extreme * signs).requires_grad_()
    x = torch.tensor([[1.0, 20.0, 0.5], [1e-30, 1e-30, 1e-30], [1e12, 1e10, 1e12]])[:, None, None]
    d = likelihood(y)
    assert d.log_prob(x).isfinite().all()
    assert d.mean.isfinite().all()
    assert d.sample(generator).isfinite().all()
    gradients = torch.autograd.grad(d.log_prob(x).sum(), [y, *likelihood.parameters()])
    assert all(g.isfinite().all() for g in gradients)
    assert likelihood.standardise(x).abs().max() <= 30


@every_continuous
def test_no_scale_falls_below_its_floor_and_the_gradient_leads_back(build):
    floor = np.array([0.01, 0.02, 0.1])
    likelihood = build((3,), mean=[1.0, 20.0, 0.5], scale=SCALE, floor=floor)
    y = torch.full((1, 1, likelihood.features), -1e4)
    y[..., : likelihood.codes] = 0
    smallest = scales(likelihood, y)
    if build is likelihoods.LogNormal:
        floor = np.array([0.01, 0.001, 0.2])  # of log x at its mean
        floor = np.maximum(floor, 0.005 * likelihood.scale.numpy())
    assert np.allclose(smallest.detach(), floor, rtol=1e-3)
    y = torch.full((1, 1, likelihood.features), -7.0, requires_grad=True)
    scales(likelihood, y).log().sum().backward()
    assert (y.grad[..., -likelihood.codes :] > 0).all()


@every_continuous
@pytest.mark.parametrize("deviation", [[1.0, 0.3, 0.7], [0.07, 0.5, 0.9]])
def test_a_linear_start_has_the_mean_and_deviation_asked_for(build, deviation, generator):
    likelihood = build((3,), mean=[1.0, 20.0, 5.0], scale=[2.0, 0.25, 8.0], floor=0.01)
    centre, deviation = torch.tensor([0.5, -0.3, 0.1]), torch.tensor(deviation)
    loading = torch.randn(3, 2, generator=generator)
    weight, bias = likelihood.affine(centre, loading, deviation)
    z = torch.randn(K, B, 2, generator=generator)
    d = likelihood(z @ weight.mT + bias)
    d = getattr(d, "logarithm", d)  # whose codes are those of log x
    middle = getattr(likelihood, "log_centre", likelihood.centre)
    assert torch.allclose(d.mean, middle + likelihood.scale * (centre + z @ loading.mT), rtol=1e-5, atol=1e-5)
    assert torch.allclose(d.stddev, (likelihood.scale * deviation).expand(K, B, 3), rtol=1e-3)


@every_real
def test_a_start_below_the_floor_is_at_the_floor(build):
    likelihood = build((2,), scale=2.0, floor=1.0)
    _, bias = likelihood.affine(torch.zeros(2), torch.zeros(2, 1), torch.full((2,), 1e-3))
    found = scales(likelihood, bias[None, None])
    assert ((found >= 1) & (found < 1.11)).all()


@every_real
def test_a_start_at_the_scale_has_it_where_the_floor_is_near(build):
    """Whole numbers of standard deviation .7: rounding alone has .29."""
    likelihood = build((1,), mean=3.0, scale=0.7, floor=12**-0.5)
    start = likelihood(likelihood.initial()[None, None])
    assert start.stddev.item() == pytest.approx(0.7, rel=1e-4)


@every_real
@pytest.mark.parametrize("factor", [1024.0, -0.25])
def test_a_change_of_units_shifts_log_p_by_its_logarithm(build, factor, generator):
    floor = np.array([0.01, 0.02, 0.03])
    before = build((3,), mean=MEAN, scale=SCALE, floor=floor).double()
    after = build((3,), mean=MEAN * factor, scale=SCALE * abs(factor), floor=floor * abs(factor)).double()
    y = torch.randn(K, B, before.features, generator=generator, dtype=torch.float64)
    turned = y.clone()
    first = before.features // 3 if build is likelihoods.LogisticMixture else 0
    places = slice(first, first + max(first, 3))  # of the locations
    turned[..., places] *= math.copysign(1, factor)
    x = torch.from_numpy(MEAN) + torch.randn(B, 3, generator=generator, dtype=torch.float64)
    shift = after(turned).log_prob_each(x * factor) - before(y).log_prob_each(x)
    assert torch.allclose(shift, torch.full_like(shift, -math.log(abs(factor))), rtol=0, atol=1e-6)
    assert torch.allclose(after.standardise(x * factor), math.copysign(1, factor) * before.standardise(x))


@every_continuous
def test_a_constant_has_its_value_and_no_part_in_the_rest(build, generator):
    constant = [False, True, False, True]
    mean, scale = [1.0, 250.0, 3.0, -1e-6], [2.0, 250.0, 4.0, 1e-6]
    likelihood = build((4,), mean=mean, scale=scale, constant=constant)
    varying = build((2,), mean=mean[::2], scale=scale[::2])
    y = (100 * torch.randn(K, B, likelihood.features, generator=generator)).requires_grad_()
    d, rest = likelihood(y), varying(y[..., ::2])
    x = torch.rand(B, 4, generator=generator)
    x[:, 1::2] = torch.tensor(mean)[1::2]
    assert likelihood.supports(x).all()
    assert torch.equal(d.mean[..., 1::2], torch.tensor(mean)[1::2].expand(K, B, 2))
    assert torch.equal(d.sample(generator)[..., 1::2], d.mean[..., 1::2])
    assert torch.equal(d.mean[..., ::2], rest.mean)
    assert torch.allclose(d.log_prob(x), rest.log_prob(x[:, ::2]), rtol=1e-5)
    x[0, 1] = 1e30
    d.log_prob(x).sum().backward()
    assert y.grad.isfinite().all()
    assert (y.grad[..., 1::2] == 0).all()


@pytest.mark.parametrize("build", [*CONTINUOUS.values(), lambda shape: mixture()], ids=[*CONTINUOUS, "whole"])
def test_it_is_compiled_whole(build, generator):
    likelihood = build((2,))
    y = torch.randn(K, B, likelihood.features, generator=generator)
    x = torch.tensor([40.0, 3.0])
    value = lambda y, mask: likelihood(y).log_prob(x, mask)  # noqa: E731
    mask = torch.tensor([True, False])
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(y, mask), value(y, mask), rtol=1e-6)


@pytest.mark.parametrize("build", [*CONTINUOUS.values(), lambda shape: mixture()], ids=[*CONTINUOUS, "whole"])
def test_its_shapes_are_known_without_its_numbers(build):
    """As a saved run is compared with what describes it before memory is taken for either."""
    with torch.device("meta"):
        likelihood = build((2,))
        assert likelihood.initial().shape == (likelihood.features,)
    shapes = lambda part: {name: tensor.shape for name, tensor in part.state_dict().items()}  # noqa: E731
    assert shapes(likelihood) == shapes(build((2,)))


def test_of_a_schema_the_floor_is_that_of_its_resolution_or_of_its_scale():
    schema = Schema((2,), "real", None, 0.5, 90.0, (0.5, 1e-6), 4.0, 6.0)
    wanted = [0.5 / math.sqrt(12), 0.03]
    for family in (likelihoods.StudentT, likelihoods.Laplace, likelihoods.LogisticMixture):
        assert np.allclose(family.of(schema).log_floor.exp() * 6, wanted)
        assert (family.suits(schema) is not None) == (family is likelihoods.StudentT)
        assert family.misfit(schema) is None
    assert np.allclose(likelihoods.Gaussian.of(schema, "cell").log_floor.exp() * 6, wanted)
    assert np.allclose(likelihoods.Gaussian.of(schema).log_floor.exp() * 6, [wanted[0], 6e-6])
    assert likelihoods.LogisticMixture.of(schema, components=7).features == 42


@every_continuous
def test_hidden_cells_and_none_at_all_are_no_matter(build, generator):
    likelihood = build((2,))
    y = torch.randn(1, 1, likelihood.features, generator=generator, requires_grad=True)
    x = torch.tensor([math.nan, 2.0])
    value = likelihood(y).log_prob(x, torch.tensor([False, True]))
    assert torch.allclose(value, likelihood(y).log_prob_each(torch.full((2,), 2.0))[..., 1])
    (gradient,) = torch.autograd.grad(value.sum(), y)
    assert gradient.isfinite().all()
    assert (gradient[..., ::2] == 0).all()


# the Gaussian


def test_sigma_of_cells_follows_the_decoder(generator):
    likelihood = likelihoods.Gaussian((3,), sigma="cell", mean=MEAN, scale=SCALE, floor=1e-6).double()
    assert list(likelihood.parameters()) == []
    assert likelihood.at_floor() == likelihood.sigmas == 0
    y = torch.randn(K, B, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(B, 3, generator=generator, dtype=torch.float64)
    loc, sigma = MEAN + SCALE * y[..., :3].numpy(), SCALE * np.exp(y[..., 3:].numpy())
    exact = stats.norm.logpdf(x, loc, sigma).sum(-1)
    assert np.allclose(likelihood(y).log_prob(x), exact, rtol=1e-2)  # all but the bounds
    assert np.allclose(scales(likelihood, y), sigma, rtol=1e-2)


# Student's t


def test_degrees_of_freedom_start_at_30_and_stay_between_their_bounds():
    likelihood = likelihoods.StudentT((2, 3))
    assert torch.allclose(likelihood.df(), torch.full((2, 3), 30.0), rtol=1e-4)
    for raw, wanted in ((-1e4, 2.1), (1e4, 100.0)):
        with torch.no_grad():
            likelihood.raw.fill_(raw)
        assert torch.allclose(likelihood.df(), torch.full((2, 3), wanted), rtol=1e-4)
        y = torch.zeros(1, 1, 12)
        assert likelihood(y).stddev.isfinite().all()


def test_degrees_of_freedom_find_the_tails_of_the_data(generator):
    rows = torch.from_numpy(stats.t.rvs(3, size=(4000, 1), random_state=5)).float()
    likelihood = likelihoods.StudentT((1,))
    y = likelihood.initial().requires_grad_()
    descent = torch.optim.Adam([y, *likelihood.parameters()], 0.05)
    for _ in range(150):
        descent.zero_grad()
        (-likelihood(y[None, None]).log_prob(rows).mean()).backward()
        descent.step()
    df, _, scale = stats.t.fit(rows.numpy())
    assert likelihood.df().item() == pytest.approx(df, rel=0.05)
    assert scales(likelihood, y[None, None]).item() == pytest.approx(scale, rel=0.02)


def test_a_cell_far_out_costs_a_logarithm_in_32_bits_too():
    d = distributions.StudentT(torch.zeros(3), torch.zeros(3), torch.tensor(4.0))
    x = torch.tensor([1e5, 1e15, 1e30])
    assert np.allclose(d.log_prob_each(x), stats.t.logpdf(x.double(), 4.0), rtol=1e-6)


# the log-normal


def test_the_moments_of_log_x_follow_from_those_of_x_unless_they_are_given():
    by_moments = likelihoods.LogNormal((1,), mean=3.0, scale=4.0)
    law = by_moments(by_moments.initial()[None, None])
    assert law.mean.item() == pytest.approx(3.0, rel=1e-4)
    assert law.stddev.item() == pytest.approx(4.0, rel=1e-3)
    given = likelihoods.LogNormal((1,), mean=3.0, scale=4.0, log_mean=0.25, log_scale=1.5)
    assert given.standardise(torch.tensor([math.exp(0.25 + 1.5)])).item() == pytest.approx(1.0, rel=1e-5)
    logarithm = given(given.initial()[None, None]).logarithm
    assert logarithm.mean.item() == pytest.approx(0.25, abs=1e-5)
    assert logarithm.stddev.item() == pytest.approx(1.5, rel=1e-4)


def test_a_log_normal_is_a_density_of_x_itself(generator):
    likelihood = likelihoods.LogNormal((1,), mean=3.0, scale=4.0).double()
    y = torch.randn(1, 1, 2, generator=generator, dtype=torch.float64)
    density = lambda x: likelihood(y).log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()  # noqa: E731
    assert integrate.quad(density, 0, np.inf, limit=200)[0] == pytest.approx(1, abs=1e-6)
    # in a unit a quarter as large, x is four times as much
    quarter = likelihoods.LogNormal((1,), mean=12.0, scale=16.0).double()
    shift = quarter(y).log_prob(torch.tensor([8.0])) - likelihood(y).log_prob(torch.tensor([2.0]))
    assert shift.item() == pytest.approx(-math.log(4), abs=1e-6)


def test_a_log_normal_is_for_numbers_above_0():
    family = likelihoods.LogNormal
    assert family.suits(schema_of()) is not None
    assert family.suits(schema_of(kinds=("positive", "real"))) is None
    assert family.misfit(schema_of(kinds=None)) is None
    for low in ((0.0, 1.0), (1.0, -3.0)):
        wrong = schema_of(low=low)
        assert family.suits(wrong) is None
        assert ("column 'a'" if low[0] == 0 else "column 'b' goes down to -3") in family.misfit(wrong)
    assert "differ little" in family.misfit(schema_of(low=(1e9, 2.0), high=1e9 + 5, offset=(1e9, 0.0)))
    x = torch.tensor([[0.0, -1.0], [1e-30, 1e30], [math.nan, math.inf]])
    likelihood = family((2,))
    assert likelihood.supports(x).tolist() == [[False, False], [True, True], [False, False]]
    law = likelihood(likelihood.initial()[None, None])
    assert (law.log_prob_each(x[0]) == -math.inf).all()
    assert family.of(schema_of()).misfit(schema_of()) is None


# the mixtures


def test_the_components_of_a_mixture_start_apart_and_symmetric():
    likelihood = likelihoods.LogisticMixture((2,), mean=[1.0, 5.0], scale=[2.0, 3.0])
    law = likelihood(likelihood.initial()[None, None])
    off = (law.loc[0, 0] - likelihood.centre) / likelihood.scale
    assert torch.allclose(off, -off.flip(0), atol=1e-6)
    assert off[:, 0].diff().min() > 0.1
    assert likelihoods.LogisticMixture((2,), components=1).features == 6


def test_a_mixture_of_one_is_a_logistic(generator):
    likelihood = likelihoods.LogisticMixture((2,), components=1, floor=1e-6).double()
    y = torch.randn(K, B, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(B, 2, generator=generator, dtype=torch.float64)
    law = likelihood(y)
    exact = stats.logistic.logpdf(x, law.loc[..., 0, :], law.log_scale[..., 0, :].exp()).sum(-1)
    assert np.allclose(law.log_prob(x), exact, rtol=1e-12)


@pytest.mark.parametrize("extreme", [1.0, 20.0, 1e4])
@pytest.mark.parametrize("bounded", [True, False])
def test_whole_numbers_with_atoms_sum_to_one(bounded, extreme, generator):
    likelihood = mixture(bounded=bounded).double()
    y = extreme * torch.randn(K, B, likelihood.features, generator=generator, dtype=torch.float64)
    y[0] = likelihood.initial().double()
    y.requires_grad_()
    last = 61 if bounded else 20_000
    grid = torch.arange(float(last), dtype=torch.float64)[:, None, None, None]
    d = likelihood(y if bounded else y[:1])
    each = d.log_prob_each(grid)
    assert each.isfinite().all()
    if bounded or extreme == 1:
        assert (each.exp().sum(0) - 1).abs().max() < 1e-10
    (gradient,) = torch.autograd.grad(each.sum(), y)
    assert gradient.isfinite().all()
    assert d.mean.isfinite().all()
    assert likelihood.supports(d.sample(generator)).all()


def test_what_is_beyond_has_its_probability_whatever_the_atoms_weigh():
    likelihood = mixture(beyond=1e-4)
    y = likelihood.initial()[None, None].clone()
    x = torch.tensor([[61.0, 62.0], [-1.0, 70.0]])
    usual = likelihood(y).log_prob_each(x)
    y[..., :4] = 1e4  # all to the atoms
    assert torch.equal(likelihood(y).log_prob_each(x), usual)
    assert usual[0, 0, 0].item() == pytest.approx(math.log(1e-4 / 4), rel=1e-6)


def test_atoms_start_at_their_frequencies_and_the_whole_at_the_data_s_mean(generator):
    likelihood = mixture()
    d = likelihood(likelihood.initial()[None, None])
    masses = d.logits.softmax(-2)[0, 0, :2]
    assert torch.allclose(masses, torch.tensor([[0.3, 0.9], [0.1, 0.0]]), atol=1e-6)
    start = d.mean.flatten()
    assert start[0].item() == pytest.approx(20.0, rel=0.2)
    assert start[1].item() == pytest.approx(1.0, rel=0.4)  # 0 cuts much of the rest off
    drawn = d.sample(generator, (20_000,))[:, 0, 0]
    assert torch.allclose(drawn.mean(0), start, rtol=0.1)
    assert drawn[:, 0].std().item() == pytest.approx(12.0, rel=0.15)
    assert (drawn[:, 1] == 0).float().mean().item() == pytest.approx(0.91, abs=0.02)


def test_the_ends_of_the_range_are_no_likelier_than_what_is_beside_them(generator):
    """Evenly spread over 0 … 60, of which a logistic variable alone would put a third beyond."""
    likelihood = likelihoods.DiscretizedLogisticMixture((1,), **{**GRID, "mean": 30.0, "scale": 60 / math.sqrt(12)})
    d = likelihood(likelihood.initial()[None, None])
    p = d.log_prob(torch.tensor([0.0, 1.0, 59.0, 60.0])[:, None, None, None]).exp().flatten()
    assert (p[0] / p[1]).item() == pytest.approx(1, abs=0.1)
    assert (p[3] / p[2]).item() == pytest.approx(1, abs=0.1)
    drawn = d.sample(generator, (20_000,))
    assert (drawn == 0).float().mean().item() == pytest.approx(p[0].item(), abs=0.003)


def test_a_repeated_value_is_learned_as_an_atom(generator):
    """Hours: 40 for half of the rows, spread widely otherwise."""
    rows = torch.where(torch.rand(3000, generator=generator) < 0.5, 40.0, 60 * torch.rand(3000, generator=generator))
    rows = rows.round()[:, None]
    data = {**GRID, "mean": rows.mean().item(), "scale": rows.std().item()}
    found = []
    for atoms in ({}, {"atoms": [[40.0]], "frequencies": [[0.2]]}):
        likelihood = likelihoods.DiscretizedLogisticMixture((1,), components=1, **data, **atoms)
        y = likelihood.initial().requires_grad_()
        descent = torch.optim.Adam([y], 0.05)
        for _ in range(200):
            descent.zero_grad()
            loss = -likelihood(y[None, None]).log_prob(rows).mean()
            loss.backward()
            descent.step()
        found.append(loss.item())
    assert found[1] < found[0] - 0.03
    share = (rows == 40).float().mean().item()
    assert likelihood(y[None, None]).log_prob(torch.tensor([40.0])).exp().item() == pytest.approx(share, abs=0.02)


def test_atoms_far_from_0_are_told_apart():
    likelihood = likelihoods.DiscretizedLogisticMixture(
        (1,), low=0, high=99_999, mean=1_000.0, scale=7_000.0, by_scale=True,
        atoms=[[0.0], [99_999.0], [15_024.0]], frequencies=[[0.9], [0.005], [0.01]],
    )  # fmt: skip
    d = likelihood(likelihood.initial()[None, None])
    x = torch.tensor([0.0, 99_999.0, 15_024.0, 15_025.0, 99_998.0])[:, None, None, None]
    p = d.log_prob(x).exp().flatten().tolist()
    assert p[:3] == pytest.approx([0.9, 0.005, 0.01], rel=0.02)
    assert max(p[3:]) < 1e-4


@pytest.mark.parametrize(("atoms", "frequencies"), [([[1.0]], [[0.1]]), ([[1.0, 2.0]], [[0.1]]), ([[1.0, 2.0]], None)])
def test_atoms_go_with_the_features_and_with_their_frequencies(atoms, frequencies):
    with pytest.raises(VaekitError, match="frequencies"):
        likelihoods.DiscretizedLogisticMixture((2,), low=0, high=9, atoms=atoms, frequencies=frequencies)


def test_a_mixture_without_atoms_is_made_of_a_schema():
    schema = Schema((2,), "integer", None, 0.0, (9.0, 300.0), 1.0, 4.0, 2.0)
    likelihood = likelihoods.DiscretizedLogisticMixture.of(schema, range="open", components=3)
    assert likelihood.features == 18
    assert likelihood.supports(torch.tensor([[1e4, 3.0], [-1.0, 0.5]])).tolist() == [[True, True], [False, False]]
    assert likelihoods.DiscretizedLogisticMixture.misfit(schema) is None
    assert likelihoods.DiscretizedLogisticMixture.suits(schema) is None
    assert "whole numbers" in likelihoods.DiscretizedLogisticMixture.misfit(schema_of())
