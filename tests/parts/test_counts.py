"""Likelihoods of what is no real number: categories, ordered levels, counts, amounts with zeros."""

import math

import numpy as np
import pytest
import torch
from lanes import but_few_slow

from vaekit.data import Schema
from vaekit.distributions.categorical import Levels
from vaekit.errors import VaekitError
from vaekit.parts import likelihoods

K, B = 3, 5
HIDDEN = (1.0, math.nan, math.inf, -7.5, 1e30)
"""what a hidden cell may hold"""


def table(kinds: tuple[str, ...], levels: tuple[int, ...] | None = None, **fields) -> Schema:
    """The schema of columns of these kinds, of 0 … 9 where nothing else is said."""
    columns = len(kinds)
    names = None if levels is None else tuple(tuple(map(str, range(size))) for size in levels)
    known = {"low": 0.0, "high": 9.0, "resolution": 1.0, "mean": 3.0, "scale": 4.0} | fields
    return Schema((columns,), "mixed", None, kinds=kinds, levels=names, **known)


def compiled_as_eager(likelihood, x: torch.Tensor, generator: torch.Generator) -> None:
    """Whether a step is traced whole, and gives the same numbers."""

    def step(y: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return likelihood(y).log_prob(x, mask), likelihood.encode(x, mask)

    mask = torch.rand(x.shape, generator=generator) < 0.7
    y = torch.randn(K, len(x), likelihood.features, generator=generator, requires_grad=True)
    expected = step(y, x, mask)
    found = torch.compile(step, fullgraph=True, backend="aot_eager")(y, x, mask)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value[0].sum(), y)[0] for value in (found, expected)]
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-5)


BUILT = {
    "categorical": lambda: likelihoods.Categorical((3,), sizes=[3, 2, 3]),
    "ordinal": lambda: likelihoods.Ordinal((3,), sizes=[3, 2, 5]),
    "poisson": lambda: likelihoods.Poisson((3,), mean=[1.0, 4.0, 0.0], scale=[1.0, 2.0, 1.0]),
    "negative binomial": lambda: likelihoods.NegativeBinomial((3,), mean=2.0, scale=3.0),
    "negative binomial, cells": lambda: likelihoods.NegativeBinomial((3,), mean=2.0, scale=3.0, dispersion="cell"),
    "zinb": lambda: likelihoods.ZeroInflatedNegativeBinomial((3,), mean=2.0, scale=3.0),
    "amounts": lambda: likelihoods.ZeroInflatedLogNormal((3,), mean=2.0, scale=3.0),
}
every_family = pytest.mark.parametrize("build", BUILT.values(), ids=BUILT.keys())


@every_family
def test_a_hidden_cell_touches_neither_value_nor_gradient_nor_code(build, generator):
    likelihood = build()
    y = torch.randn(K, 2, likelihood.features, generator=generator, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    results = []
    for hidden in HIDDEN:
        x = torch.tensor([[1.0, hidden, 0.0], [hidden] * 3])
        value = likelihood(y).log_prob(x, mask)
        (gradient,) = torch.autograd.grad(value.sum(), y)
        results.append((value, gradient, likelihood.encode(x, mask)))
    for found in results:
        for one, first in zip(found, results[0], strict=True):
            assert torch.equal(one, first)
    assert (results[0][0][:, 1] == 0).all()
    assert (results[0][1][:, 1] == 0).all()
    assert (results[0][1][:, 0] != 0).any()
    assert (results[0][2][1] == 0).all()


@pytest.mark.parametrize("name", but_few_slow(BUILT))
def test_a_step_is_compiled_whole(name, generator):
    compiled_as_eager(BUILT[name](), torch.randint(0, 2, (B, 3), generator=generator).float(), generator)


@every_family
def test_every_parameter_has_a_finite_gradient(build, generator):
    likelihood = build()
    y = torch.randn(K, B, likelihood.features, generator=generator, requires_grad=True)
    likelihood(y).log_prob(torch.randint(0, 2, (B, 3), generator=generator).float()).sum().backward()
    assert all(p.grad.isfinite().all() for p in [y, *likelihood.parameters()])


# categories


@pytest.mark.parametrize("sizes", [[4, 1, 3, 4, 2, 3, 7, 1], [30, 5, 5, 5, 2, 2], [3, 3], [6]])
def test_levels_of_each_column_are_normalised_by_themselves(sizes, generator):
    """Columns of as many levels as each other are worked on together, and in their place afterwards."""
    values = torch.randn(2, 5, sum(sizes), generator=generator)
    levels = Levels.of(sizes)
    whole = levels.over_columns(values, lambda each: each.log_softmax(-1))
    assert torch.equal(whole, torch.cat([each.log_softmax(-1) for each in values.split(sizes, -1)], -1))
    greatest = levels.over_columns(values, lambda each: each.argmax(-1))
    assert torch.equal(greatest, torch.stack([each.argmax(-1) for each in values.split(sizes, -1)], -1))
    assert levels.column.tolist() == [j for j, size in enumerate(sizes) for _ in range(size)]


def test_a_category_is_seen_as_a_number_for_each_level():
    likelihood = likelihoods.Categorical((2,), sizes=[3, 2])
    x = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert likelihood.standardise(x).tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]
    likelihood.indicates = True
    seen = likelihood.encode(x, torch.tensor([[True, False], [True, True]]))
    assert seen.tolist() == [[0, 0, 1, 0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 1, 1, 1, 1]]


def test_categories_start_at_their_frequencies():
    likelihood = likelihoods.Categorical((2,), sizes=[3, 2], frequencies=[0.7, 0.2, 0.1, 30.0, 10.0])
    p = likelihood(likelihood.initial()[None, None]).probabilities
    assert np.allclose(p[0, 0], [0.7, 0.2, 0.1, 0.75, 0.25], rtol=1e-6)
    even = likelihoods.Categorical((2,), sizes=[3, 2])
    assert np.allclose(even(even.initial()[None, None]).probabilities[0, 0], [1 / 3] * 3 + [1 / 2] * 2)
    never_seen = likelihoods.Categorical((1,), sizes=[2], frequencies=[1.0, 0.0])
    assert never_seen.initial().isfinite().all()


def test_a_linear_decoder_of_categories_is_right_to_first_order(generator):
    likelihood = likelihoods.Categorical((2,), sizes=[3, 2]).double()
    centre = torch.tensor([0.5, 0.3, 0.2, 0.9, 0.1], dtype=torch.float64)
    loading = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    loading[:3] -= loading[:3].mean(0)
    loading[3:] -= loading[3:].mean(0)
    weight, bias = likelihood.affine(centre, loading, torch.ones(5))
    z = 1e-5 * torch.randn(4, 2, generator=generator, dtype=torch.float64)
    p = likelihood((z @ weight.mT + bias)[None]).probabilities[0]
    assert torch.allclose(p - centre, z @ loading.mT, rtol=0, atol=1e-8)


def test_an_average_of_categories_is_the_most_probable_code_of_the_mixture():
    """Two draws say 0 by a little, one says 2 for certain."""
    logits = torch.tensor([[[0.4, 0.3, 0.3]], [[0.4, 0.3, 0.3]], [[1e-9, 1e-9, 1.0]]]).log()
    d = likelihoods.Categorical((1,), sizes=[3])(logits)
    assert d.mean.flatten().tolist() == [0.0, 0.0, 2.0]
    assert d.average(torch.full((3, 1), 1 / 3)).tolist() == [[2.0]]
    assert [part.shape for part in d.by_column(d.probabilities)] == [(3, 1, 3)]


@pytest.mark.parametrize("cell", [-1.0, 2.0, 0.5, math.nan, math.inf])
def test_what_is_no_level_has_no_probability(cell):
    likelihood = likelihoods.Categorical((2,), sizes=[3, 2])
    x = torch.tensor([[2.0, cell]])
    assert likelihood.supports(x).tolist() == [[True, False]]
    assert likelihood(torch.zeros(1, 1, 5)).log_prob_each(x)[0, 0, 1] == -math.inf


def test_which_tables_categories_are_for():
    family = likelihoods.Categorical
    assert family.suits(table(("category",) * 3, (2, 14, 3))) == "3 columns of categories, 2 to 14 levels"
    assert family.suits(table(("category",), (4,))) == "a column of categories, 4 levels"
    assert family.suits(table(("category", "ordinal"), (4, 3))) is None
    assert family.suits(table(("category", "real"), (4, 0))) is None
    assert family.misfit(table(("category", "ordinal"), (4, 3))) is None
    assert "column 1 holds numbers" in family.misfit(table(("category", "real"), (4, 0)))
    assert family.of(table(("category",) * 2, (4, 3))).codes == 7
    with pytest.raises(VaekitError, match="number of levels"):
        family((2,), sizes=[3])


# ordered levels


def test_ordered_levels_start_at_their_frequencies():
    wanted = [[0.7, 0.2, 0.1], [0.25, 0.75], [0.01, 0.04, 0.9, 0.05]]
    likelihood = likelihoods.Ordinal((3,), sizes=[3, 2, 4], frequencies=np.concatenate(wanted))
    p = likelihood(likelihood.initial()[None, None]).probabilities[0, 0]
    for found, one in zip(p.detach(), wanted, strict=True):
        assert np.allclose(found, one + [0] * (4 - len(one)), rtol=1e-4)
    codes = likelihood.standardise(torch.arange(4.0)[:, None].expand(4, 3))
    mean = (torch.tensor(wanted[2]) * codes[:, 2]).sum()
    assert abs(mean) < 1e-6
    assert (torch.tensor(wanted[2]) * codes[:, 2].square()).sum() == pytest.approx(1, abs=1e-5)


def test_ordered_levels_start_at_the_mean_and_scale_that_a_schema_knows():
    schema = table(("ordinal",) * 2, (9, 5), mean=(5.25, 1.5), scale=(1.5, 0.75))
    likelihood = likelihoods.Ordinal.of(schema)
    p = likelihood(likelihood.initial()[None, None]).probabilities[0, 0].detach()
    codes = torch.arange(9.0)
    mean = (p * codes).sum(-1)
    assert torch.allclose(mean, torch.tensor([5.25, 1.5]), atol=0.1)
    assert torch.allclose((p * (codes - mean[:, None]).square()).sum(-1).sqrt(), torch.tensor([1.5, 0.75]), atol=0.15)


def test_gaps_stay_positive_whatever_their_parameters(generator):
    likelihood = likelihoods.Ordinal((2,), sizes=[4, 3])
    for raw in (-1e4, -100.0, 100.0, 1e4):
        with torch.no_grad():
            likelihood.raw.fill_(raw)
        assert (likelihood.gaps() > 0).all()
        y = (20 * torch.randn(K, B, 2, generator=generator)).requires_grad_()
        value = likelihood(y).log_prob(torch.ones(B, 2))
        value.sum().backward()
        assert value.isfinite().all()
        assert y.grad.isfinite().all()
        assert likelihood.raw.grad.isfinite().all()


def test_a_linear_decoder_of_ordered_levels_keeps_their_frequencies_and_their_correlation(generator):
    """Of a latent variable of which z explains 64 %: the codes of two columns with it correlate by about .64."""
    wanted = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1])
    likelihood = likelihoods.Ordinal((2,), sizes=[5, 5], frequencies=wanted.repeat(2).tolist())
    loading, deviation = torch.full((2, 1), 0.8), torch.full((2,), 0.6)
    weight, bias = likelihood.affine(torch.zeros(2), loading, deviation)
    z = torch.randn(200_000, 1, generator=generator)
    d = likelihood((z @ weight.mT + bias)[None])
    assert (d.probabilities[0].mean(0) - wanted).abs().max() < 0.05  # a logistic beside a normal is not quite logistic
    x = d.sample(generator)[0]
    assert x.T.corrcoef()[0, 1] == pytest.approx(0.64, abs=0.08)
    for centre in (-1.0, 1.0):
        _, bias = likelihood.affine(torch.full((2,), centre), loading, torch.ones(2))
        assert torch.equal(bias.sign(), torch.full((2,), centre))


def test_an_average_of_ordered_levels_is_the_most_probable_code_of_the_mixture():
    likelihood = likelihoods.Ordinal((1,), sizes=[3], frequencies=[0.3, 0.3, 0.4])
    d = likelihood(torch.tensor([[[-2.0]], [[-2.0]], [[8.0]]]))
    assert d.mean.flatten().tolist() == [0.0, 0.0, 2.0]
    assert d.average(torch.tensor([[0.5], [0.4], [0.1]])).tolist() == [[0.0]]
    assert d.average(torch.tensor([[0.1], [0.1], [0.8]])).tolist() == [[2.0]]


def test_ordered_levels_are_what_their_columns_have(generator):
    likelihood = likelihoods.Ordinal((3,), sizes=[2, 1, 4])
    x = torch.tensor([[1.0, 0.0, 3.0], [2.0, 1.0, 4.0], [0.5, -1.0, math.nan]])
    assert likelihood.supports(x).tolist() == [[True] * 3, [False] * 3, [False] * 3]
    d = likelihood(torch.zeros(1, 3, 3))
    assert d.log_prob_each(x)[0, 0, 1] == 0  # the only level
    assert (d.log_prob_each(x)[0, 1:] == -math.inf).all()
    assert (d.sample(generator, (500,)).amax((0, 1, 2)) == torch.tensor([1.0, 0.0, 3.0])).all()


def test_which_tables_ordered_levels_are_for():
    family = likelihoods.Ordinal
    assert family.suits(table(("ordinal",) * 2, (5, 3))) == "2 columns of ordered levels, 3 to 5 levels"
    assert family.suits(table(("category", "ordinal"), (4, 3))) is None
    assert "column 0 holds numbers" in family.misfit(table(("real", "ordinal"), (0, 4)))
    assert family.misfit(table(("ordinal",) * 2, (5, 3))) is None


# counts


COUNTS = (likelihoods.Poisson, likelihoods.NegativeBinomial, likelihoods.ZeroInflatedNegativeBinomial)


@pytest.mark.parametrize("family", COUNTS)
def test_counts_start_at_the_mean_whatever_it_is(family):
    mean = [0.01, 0.5, 7.0, 400.0, 1e6]
    likelihood = family((5,), mean=mean, scale=[0.1, 2.0, 5.0, 900.0, 1e5])
    d = likelihood(likelihood.initial()[None, None])
    assert np.allclose(d.mean.detach()[0, 0], mean, rtol=3e-3)


def test_a_negative_binomial_starts_at_the_scale_too():
    scale = [2.0, 5.0, 900.0]
    likelihood = likelihoods.NegativeBinomial((3,), mean=[0.5, 7.0, 400.0], scale=scale)
    assert np.allclose(likelihood(likelihood.initial()[None, None]).stddev.detach()[0, 0], scale, rtol=5e-3)


def test_dispersions_are_learned_per_column_or_given_per_cell(generator):
    column = likelihoods.NegativeBinomial((2,), mean=2.0, scale=3.0)
    cell = likelihoods.NegativeBinomial((2,), mean=2.0, scale=3.0, dispersion="cell")
    assert [p.shape for p in column.parameters()] == [(2,)]
    assert list(cell.parameters()) == []
    assert (column.features, cell.features) == (2, 4)
    y = torch.randn(K, B, 4, generator=generator)
    assert torch.equal(cell(torch.zeros(1, 1, 4)).log_dispersion[0, 0], column.log_dispersion())
    assert torch.equal(cell(y).mean, column(y[..., :2]).mean)
    assert (cell(y).log_dispersion.std((0, 1)) > 0.5).all()


def test_dispersions_stay_within_their_range():
    likelihood = likelihoods.NegativeBinomial((1,))
    for raw, least, most in ((-1e4, -10.1, -9.9), (1e4, 11.9, 12.1)):
        with torch.no_grad():
            likelihood.raw.fill_(raw)
        value = likelihood(torch.zeros(1, 1, 1)).log_prob(torch.tensor([[3.0]]))
        value.backward()
        assert least < likelihood.log_dispersion().item() < most
        assert value.isfinite().all()
        assert likelihood.raw.grad.isfinite().all()


@pytest.mark.parametrize("dispersion", ["column", "cell"])
@pytest.mark.parametrize("family", COUNTS[1:])
def test_a_linear_decoder_of_counts_is_right_to_first_order(family, dispersion, generator):
    """log(1 + x), standardised, is centre + loading z ± deviation, of counts drawn with small loadings."""
    mean = torch.tensor([20.0, 300.0])
    likelihood = family((2,), mean=mean.tolist(), scale=[15.0, 120.0], dispersion=dispersion)
    centre, loading = torch.tensor([0.1, -0.2]), torch.tensor([[0.3], [-0.2]])
    deviation = torch.tensor([0.8, 0.9])
    weight, bias = likelihood.affine(centre, loading, deviation)
    assert weight.shape == (likelihood.features, 1)
    for z in (-0.5, 0.0, 0.5):
        d = likelihood((weight @ torch.tensor([z]) + bias)[None, None])
        inner = getattr(d, "inner", d)  # without the zeros that are added, whose start is a guess
        codes = likelihood.standardise(inner.sample(generator, (100_000,)))[:, 0, 0]
        added = 0.0 if inner is d else -math.log(likelihood.kept)
        wanted = centre + loading[:, 0] * z + added / likelihood.unit
        assert torch.allclose(codes.mean(0), wanted, atol=0.1)
        assert torch.allclose(codes.std(0), deviation, rtol=0.2)


def test_a_linear_decoder_of_rare_counts_is_not_steep():
    """Where 1 % of the cells are not 0, the first order alone is a factor of e⁵⁰."""
    likelihood = likelihoods.NegativeBinomial((1,), mean=0.01, scale=0.1)
    weight, bias = likelihood.affine(torch.zeros(1), torch.tensor([[0.9]]), torch.tensor([0.4]))
    means = likelihood((torch.tensor([[3.0], [-3.0]]) @ weight.mT + bias)[None]).mean
    assert means.max() < 0.01 * math.exp(5)


@pytest.mark.parametrize("family", COUNTS)
def test_counts_are_whole_and_not_negative(family):
    x = torch.tensor([[0.0, 3.0, 0.5, -1.0, 2.0**24]])
    assert family((5,)).supports(x).tolist() == [[True, True, False, False, True]]
    seen = family((2,), mean=4.0, scale=3.0).standardise(torch.tensor([[1e30, -1e30]]))
    assert seen.abs().max() <= 30


def test_which_tables_counts_are_for():
    family = likelihoods.NegativeBinomial
    assert family.suits(table(("count",) * 3, high=4213.0)) == "3 columns of counts, up to 4,213"
    assert family.suits(table(("count", "real"))) is None
    assert family.suits(table(("integer",))) is None
    assert [other.suits(table(("count",) * 3)) for other in (COUNTS[0], COUNTS[2])] == [None, None]
    for each in COUNTS:
        assert each.misfit(table(("count", "integer", "binary"))) is None
        assert "column 1 is real" in each.misfit(table(("count", "real")))
        assert "column 0 is category" in each.misfit(table(("category",), (3,)))
        assert "column 1 has negative numbers" in each.misfit(table(("integer",) * 2, low=(0.0, -3.0)))
        assert "up to 16,777,216" in each.misfit(table(("count",), offset=1e9))
        built = each.of(table(("count",) * 3, mean=2.0, scale=3.0))
        assert torch.equal(built.centre, torch.full((3,), 2.0))


# amounts


@pytest.mark.parametrize(("mean", "scale", "positive"), [
    (3.0, 4.0, 0.5), (0.2, 5.0, 0.5), (1e6, 1e4, 0.99), (1e-8, 2e-8, 0.99), (2.0, 0.5, 0.5), (5.0, 5.0, 0.1),
])  # fmt: skip
def test_amounts_start_at_the_mean(mean, scale, positive, generator):
    likelihood = likelihoods.ZeroInflatedLogNormal((1,), mean=mean, scale=scale, positive=positive)
    d = likelihood(likelihood.initial()[None, None])
    assert d.mean.item() == pytest.approx(mean, rel=1e-3)
    if scale > mean / 9 and scale < 5 * mean:  # 1 % of zeros is more than less, and more is in few draws
        assert d.sample(generator, (200_000,)).std().item() == pytest.approx(scale, rel=0.4)


def test_a_change_of_units_shifts_log_p_of_an_amount_by_its_logarithm(generator):
    y = torch.randn(K, B, 6, generator=generator, dtype=torch.float64)
    x = torch.tensor([[0.0, 2.0], [3.0, 0.5], [1.0, 0.0], [0.0, 0.0], [9.0, 1.0]], dtype=torch.float64)
    one = likelihoods.ZeroInflatedLogNormal((2,), mean=2.0, scale=3.0).double()
    other = likelihoods.ZeroInflatedLogNormal((2,), mean=2048.0, scale=3072.0).double()
    shift = other(y).log_prob_each(1024 * x) - one(y).log_prob_each(x)
    wanted = -math.log(1024) * (x > 0).double()
    assert torch.allclose(shift, wanted.expand_as(shift), atol=1e-5)
    assert torch.allclose(one.standardise(x), other.standardise(1024 * x), atol=1e-5)


def test_the_floor_bounds_the_density_of_an_amount_that_comes_back():
    likelihood = likelihoods.ZeroInflatedLogNormal((1,), mean=9.99, scale=5.0, floor=0.01)
    y = torch.tensor([20.0, ((torch.tensor(9.99).log() - likelihood.loc) / likelihood.log_scale.exp()).item(), -1e4])
    peak = likelihood(y[None, None]).log_prob(torch.tensor([[9.99]])).item()
    assert peak == pytest.approx(-math.log(0.01 * 9.99 * math.sqrt(2 * math.pi)), abs=1e-3)


def test_a_linear_decoder_of_amounts_follows_the_latents(generator):
    """Codes go with z as the loading says, roughly, and those of z = 0 are about the centre."""
    likelihood = likelihoods.ZeroInflatedLogNormal((1,), mean=10.0, scale=8.0, positive=0.99)
    weight, bias = likelihood.affine(torch.zeros(1), torch.tensor([[0.6]]), torch.tensor([0.8]))
    z = torch.randn(100_000, 1, generator=generator)
    x = likelihood((z @ weight.mT + bias)[None]).sample(generator)[0]
    codes = likelihood.standardise(x)
    assert codes.mean() == pytest.approx(0, abs=0.3)
    assert torch.stack([codes[:, 0], z[:, 0]]).corrcoef()[0, 1] == pytest.approx(0.6, abs=0.15)


def test_which_tables_amounts_are_for():
    family = likelihoods.ZeroInflatedLogNormal
    assert family.suits(table(("positive",) * 2)) is None
    assert family.misfit(table(("positive", "count"))) is None
    assert "column 1 has negative numbers" in family.misfit(table(("real",) * 2, low=(0.0, -1.5)))
    assert "column 1 holds levels" in family.misfit(table(("positive", "category"), (0, 3)))
    zeros = family.of(table(("positive",) * 2, low=(0.0, 0.5), mean=2.0, scale=4.0, resolution=0.01))
    assert zeros.logit.sigmoid().tolist() == pytest.approx([0.5, 0.99], abs=1e-3)
    x = torch.tensor([[0.0, -0.1], [1e-30, math.inf]])
    assert zeros.supports(x).tolist() == [[True, False], [True, False]]
