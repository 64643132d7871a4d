"""Simple models against exact values, scipy and numbers worked out by hand."""

import bz2
import dataclasses
import gzip
import lzma
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import load_digits, load_wine, make_moons
from sklearn.decomposition import FactorAnalysis

from vaekit import parts
from vaekit.data import Dataset, Schema, describe
from vaekit.data.columns import ColumnType
from vaekit.errors import VaekitError
from vaekit.evaluation import baselines, tables
from vaekit.evaluation.baselines import Baseline, SimpleModels
from vaekit.evaluation.classes import latent_classes
from vaekit.evaluation.gaussians import PrincipalGaussian
from vaekit.evaluation.histograms import PSEUDO_COUNTS, Histograms
from vaekit.evaluation.importance import ImportanceSampling
from vaekit.evaluation.independent import Columns, Independent
from vaekit.evaluation.missing import gaussian_observed
from vaekit.evaluation.summary import _farthest_cell, beaten, evaluate
from vaekit.evaluation.verdicts import collapse
from vaekit.models import VAE

INDEPENDENT, PPCA, FULL = "independent columns", "probabilistic PCA", "full-covariance Gaussian"
MIXTURE = "mixture of Gaussians"


def simple(train, rows=None, latent_dim=2, how="none", **options) -> SimpleModels:
    """Models of one array scored on another, described by both."""
    train = np.asarray(train)
    rows = train if rows is None else np.asarray(rows)
    schema = describe(np.concatenate([train, rows]), train=np.arange(len(train)))
    schema = schema if how == "none" else schema.as_binary(how)
    return SimpleModels(Dataset(train, schema, seed=0), Dataset(rows, schema, seed=0), latent_dim, **options)


def found(models: SimpleModels) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in models.baselines}


def real(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    """Correlated columns of different size and place, exact in 32 bits."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) * np.logspace(-1, 2, d)
    return (rng.normal(size=(n, d)) @ mixing + 10).astype(np.float32)


def whole(n: int, seed: int = 0) -> np.ndarray:
    """Whole numbers with a shared cause, (n, 4) from −20 to 20"""
    rng = np.random.default_rng(seed)
    return np.clip(np.round(3 * rng.normal(size=(n, 1)) + rng.normal(size=(n, 4)) * [1, 2, 3, 4]), -20, 20)


def floors(models: SimpleModels) -> np.ndarray:
    return models.schema.array("resolution") ** 2 / 12


@pytest.fixture
def unridged(monkeypatch):
    """A full covariance as the rows have it."""
    monkeypatch.setattr(baselines, "RIDGES", (0.0,))


# Gaussians

TABLE = [
    ("digits", {1: -3.748464, 2: 0.005707, 5: 8.907637, 10: 17.451947, 20: 27.277300, 50: 55.958277}),
    ("wine", {1: -17.004467, 2: -16.155260, 5: -15.212645, 10: -14.688000}),
]


@pytest.mark.parametrize(("name", "exact"), TABLE)
def test_probabilistic_pca_is_exact(name, exact):
    wine = load_wine().data
    x = load_digits().data / 16 if name == "digits" else (wine - wine.mean(0)) / wine.std(0)
    mean, values = x.mean(0), np.linalg.eigh(np.cov(x.T, ddof=0))
    given = [torch.from_numpy(v) for v in (mean, np.ones_like(mean), *values)]
    for k, nats in exact.items():
        log_p = PrincipalGaussian.fit(*given, k).log_prob(torch.from_numpy(x))
        assert log_p.mean().item() == pytest.approx(nats, abs=2e-6)


def test_probabilistic_pca_of_standardised_rows_from_blocks(monkeypatch):
    wine = load_wine().data
    monkeypatch.setattr("vaekit.data.dataset.at_once", lambda width: 100)
    for scale in (1.0, 1000.0):
        models = simple(((wine - wine.mean(0)) / wine.std(0) * scale).astype(np.float32))
        lost = floors(models).sum() / scale**2 / 2 / 0.4  # at most, σ² being more than .4
        assert found(models)[PPCA].nats == pytest.approx(-16.155260 - 13 * math.log(scale), abs=lost + 1e-4)
        assert lost < 0.01


@pytest.mark.parametrize("k", [0, 1, 2, 4])
def test_densities_and_precisions_are_those_of_the_whole_matrix(k):
    x = real(200).astype(float)
    scale = np.array([1, 2, 0.5, 100, 3.0])
    values, vectors = np.linalg.eigh(np.cov(x.T / scale[:, None], ddof=0))
    given = (torch.from_numpy(v) for v in (x.mean(0), scale, values, vectors))
    gaussian = PrincipalGaussian.fit(*given, k)
    values[: 5 - k] = values[: 5 - k].mean()
    covariance = (vectors * values) @ vectors.T * np.outer(scale, scale)
    if k == 4:
        assert covariance == pytest.approx(np.cov(x.T, ddof=0))
    expected = stats.multivariate_normal(x.mean(0), covariance).logpdf(x)
    assert gaussian.log_prob(torch.from_numpy(x)).numpy() == pytest.approx(expected, rel=1e-9)
    assert gaussian.precision().numpy() == pytest.approx(np.diag(np.linalg.inv(covariance)), rel=1e-9)


@pytest.mark.usefixtures("unridged")
def test_real_columns_agree_with_scipy():
    train, rows = real(600), real(300, seed=1)
    models = simple(train, rows, latent_dim=2)
    covariance = np.cov(train.astype(float).T, ddof=0) + np.diag(floors(models))
    mean, scale = train.mean(0, dtype=float), np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    values[:3] = values[:3].mean()
    linear = (vectors * values) @ vectors.T * np.outer(scale, scale)
    for name, matrix in {INDEPENDENT: np.diag(scale**2), PPCA: linear, FULL: covariance}.items():
        log_p = stats.multivariate_normal(mean, matrix).logpdf(rows)
        one = found(models)[name]
        assert one.nats == pytest.approx(log_p.mean(), rel=1e-8)
        assert one.nats_se == pytest.approx(log_p.std(ddof=1) / math.sqrt(300), rel=1e-8)
        assert one.bits_per_dim is None
    assert [one.name for one in models.baselines] == [INDEPENDENT, PPCA, "factor analysis", FULL, MIXTURE]


def test_rows_whose_mean_is_not_the_schema_s(monkeypatch):
    x = real(300)
    train = x[x[:, 0] > np.quantile(x[:, 0], 0.6)]
    same, other = describe(train), describe(x)
    options = {name: getattr(same, name) for name in ("low", "high", "resolution")}
    models = [SimpleModels(*[Dataset(train, s, seed=0)] * 2, 2) for s in (same, dataclasses.replace(other, **options))]
    assert models[0].schema.mean[0] != models[1].schema.mean[0]
    for most in (4000, 4):
        monkeypatch.setattr(baselines, "MOST_COLUMNS", most)
        one, two = (SimpleModels(m.train, m.rows, 2).baselines for m in models)
        assert one[0].nats == pytest.approx(two[0].nats, rel=1e-9)
        assert most == 4 or one[1].nats == pytest.approx(two[1].nats, rel=1e-9)


@pytest.mark.usefixtures("unridged")
def test_a_change_of_units_shifts_the_density_and_nothing_else():
    train, rows, factors = real(300), real(100, seed=1), np.array([4, -0.5, 1024, 1, -0.125], np.float32)
    before, after = simple(train, rows), simple(train * factors, rows * factors)
    for one, other in zip(before.baselines, after.baselines, strict=True):
        assert other.nats == pytest.approx(one.nats - np.log(np.abs(factors)).sum(), abs=1e-6)
    assert after.structure.gain == pytest.approx(before.structure.gain, abs=1e-6)


@pytest.mark.usefixtures("unridged")
def test_constants_are_certain_and_repeated_columns_known_to_the_resolution_and_no_better():
    x = np.round(real(300, 3)[:, 1:], 1)
    x = np.column_stack([x, x[:, 0], np.full(300, 5.1)]).astype(np.float32)
    models = simple(x, latent_dim=3)
    alone = found(simple(x[:, :3], latent_dim=2))
    for name in (INDEPENDENT, FULL):
        assert found(models)[name].nats == pytest.approx(alone[name].nats, abs=1e-6)
    gained = alone[FULL].nats - found(simple(x[:, :2]))[FULL].nats
    floor = models.schema.array("resolution")[0] / math.sqrt(12)
    assert floor == pytest.approx(0.1 / math.sqrt(12), rel=1e-3)
    assert gained == pytest.approx(-0.5 * math.log(2 * math.pi * 2 * floor**2), abs=0.01)  # either may be that far off


@pytest.mark.usefixtures("unridged")
def test_latents_beyond_the_columns_are_a_full_covariance():
    models = found(simple(real(100), latent_dim=64))
    assert models[PPCA].nats == models[FULL].nats
    assert models[PPCA].note == "4 latents"
    one = simple(real(100, 1), latent_dim=2)
    assert len({baseline.nats for baseline in one.baselines if baseline.name != MIXTURE}) == 1
    assert one.structure.gain == 0


# mixtures

CENTRES = np.array([[0, 0, 0], [9, 0, 1], [0, 9, 2], [9, 9, -3]])


def grouped(n: int, seed: int = 0) -> np.ndarray:
    """Four groups of correlated columns, of which two are in other units."""
    rng = np.random.default_rng(seed)
    x = CENTRES[rng.integers(0, 4, n)] + rng.normal(size=(n, 3))
    x[:, 2] += x[:, 0]
    return x * [1, 100, 1e-3] + [0, 0, 5]


def test_a_mixture_is_known_group_by_group():
    train, rows = grouped(600), grouped(400, seed=1)
    one = found(simple(train, rows))
    assert one[MIXTURE].note == "4 components"
    covariance = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 2]]) * np.outer([1, 100, 1e-3], [1, 100, 1e-3])
    means = (CENTRES + [0, 0, 1] * CENTRES[:, :1]) * [1, 100, 1e-3] + [0, 0, 5]
    scale = np.sqrt(np.diag(covariance))  # scipy takes a matrix of such units for a singular one
    covariance /= np.outer(scale, scale)
    each = [stats.multivariate_normal(m / scale, covariance).pdf(rows / scale) for m in means]
    true = np.mean(each, 0) / scale.prod()
    assert one[MIXTURE].nats == pytest.approx(np.log(true).mean(), abs=0.06)
    assert one[MIXTURE].nats > one[FULL].nats + 1
    assert found(simple(train, rows))[MIXTURE].nats == one[MIXTURE].nats


def test_a_mixture_agrees_with_scipy():
    models = simple(grouped(300), grouped(50, seed=1))
    mixture = models.mixture
    pairs = zip(mixture.components.loc.numpy(), mixture.components.covariance_matrix.numpy(), strict=True)
    y = (models.rows.stored.double() - mixture.mean) / mixture.scale
    each = [stats.multivariate_normal(m, c).logpdf(y.numpy()) for m, c in pairs]
    exact = np.log(np.exp(mixture.log_weights.numpy()) @ np.exp(each)) - mixture.scale.log().sum().item()
    assert found(models)[MIXTURE].scores.numpy() == pytest.approx(exact, rel=1e-9)


def test_curved_rows_want_more_components_than_straight_ones():
    curved, other = (make_moons(800, noise=0.05, random_state=seed)[0] for seed in (0, 1))
    models = simple(curved, other)
    assert len(models.mixture) >= 6
    assert found(models)[MIXTURE].nats > found(models)[FULL].nats + 0.9
    straight = simple(real(800), real(800, seed=1))
    assert len(straight.mixture) <= 3
    assert found(straight)[MIXTURE].nats == pytest.approx(found(straight)[FULL].nats, abs=0.1)


def test_a_mixture_of_whole_numbers_is_below_the_probability_of_the_cell():
    rng = np.random.default_rng(0)
    x = np.round(np.where(rng.random(600) < 0.3, 4, 30) + rng.normal(size=600) * 1.5)[:, None]
    models = simple(x, np.arange(-20.0, 60)[:, None])
    one = found(models)[MIXTURE]
    assert one.note == "2 components; a lower bound, by uniform dequantisation"
    mixture = models.mixture
    mean = (mixture.mean + mixture.scale * mixture.components.loc).flatten().numpy()
    deviation = (mixture.scale * mixture.components.stddev).flatten().numpy()
    cells = stats.norm.cdf(np.arange(-19.5, 60)[:, None], mean, deviation)
    cells -= stats.norm.cdf(np.arange(-20.5, 59)[:, None], mean, deviation)
    exact = cells @ np.exp(mixture.log_weights.numpy())
    given = np.exp(one.scores.numpy())
    assert (given <= exact + 1e-12).all()
    assert 0.98 < given.sum() <= 1
    assert one.bits_per_dim is not None


def test_a_component_knows_no_column_better_than_its_resolution():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.where(rng.random(500) < 0.5, 7.0, 9.0 + np.round(rng.normal(size=500), 1))])
    models = simple(x)
    least = models.schema.resolution / math.sqrt(12)
    assert least == pytest.approx(0.1 / math.sqrt(12), rel=1e-6)
    assert (models.mixture.scale * models.mixture.components.stddev).min() >= least
    assert found(models)[MIXTURE].scores.max() < -math.log(least * math.sqrt(2 * math.pi))


@pytest.mark.slow
def test_there_is_no_mixture_of_many_columns_few_rows_or_truths():
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(2000, 51)), rng.normal(size=(70, 6)), rng.integers(0, 2, (300, 3))):
        assert MIXTURE not in found(simple(x))
    assert MIXTURE in found(simple(rng.normal(size=(1100, 50))))
    assert MIXTURE in found(simple(rng.normal(size=(100, 6))))


# whole numbers


def test_dequantised_gaussians_are_below_the_probability_of_the_cell():
    x = whole(500)[:, :1]
    models = simple(x, latent_dim=1)
    bound = models.score_principal(0).numpy()
    mean, scale = x.mean(), math.sqrt(x.var() + 1 / 12)
    cell = np.log(stats.norm.cdf(x[:, 0] + 0.5, mean, scale) - stats.norm.cdf(x[:, 0] - 0.5, mean, scale))
    assert (bound <= cell).all()
    slope = (x[:, 0] - mean) / scale**2
    assert cell - bound == pytest.approx(slope**2 / 24, abs=2e-3)  # ½ Var_u log N(x + u), to first order
    value = x[3, 0]
    average, _ = integrate.quad(lambda u: stats.norm.logpdf(value + u, mean, scale), -0.5, 0.5)
    assert bound[3] == pytest.approx(average, abs=1e-10)


def test_dequantised_gaussians_of_two_columns_are_below_the_probability_of_the_cell():
    x = whole(400)[:, :2]
    models = simple(x, latent_dim=1)
    covariance = np.cov(x.T, ddof=0) + np.eye(2) / 12
    law = stats.multivariate_normal(x.mean(0), covariance)
    bound = models.score_principal(1).numpy()
    for row in (0, 7, int(np.abs(x[:, 0]).argmax())):
        cell = math.log(law.cdf(x[row] + 0.5, lower_limit=x[row] - 0.5))
        assert cell - 0.1 < bound[row] < cell
        average, _ = integrate.dblquad(lambda v, u, c=x[row]: law.logpdf(c + np.array([u, v])), -0.5, 0.5, -0.5, 0.5)
        assert bound[row] == pytest.approx(average, abs=1e-8)


def test_histograms_by_hand():
    models = simple([[0], [0], [0], [2]], [[0], [1], [2]], latent_dim=1)
    scores = {a: 3 * math.log((2 + a) / (3 + 3 * a)) + math.log(a / (3 + 3 * a)) for a in PSEUDO_COUNTS}
    a = max(scores, key=scores.get)
    assert a == 1.0
    expected = [(3 + a) / (4 + 3 * a), a / (4 + 3 * a), (1 + a) / (4 + 3 * a)]
    one = found(models)[INDEPENDENT]
    assert one.nats == pytest.approx(np.log(expected).mean(), rel=1e-12)
    assert one.bits_per_dim == pytest.approx(-np.log2(expected).mean(), rel=1e-12)


def test_histograms_sum_to_one_over_each_column_s_grid():
    x = torch.tensor([[3.0, -5.0, 0.0], [3.0, 7.0, 100.0], [4.0, 7.0, 0.0]])
    low, high = torch.tensor([3.0, -5.0, 0.0]), torch.tensor([4.0, 7.0, 4000.0])
    joint = Histograms([x[:2], x[2:]], low, high)
    for j, (start, stop) in enumerate(zip(low, high, strict=True)):
        grid = x[:1].repeat(int(stop - start) + 1, 1)
        grid[:, j] = torch.arange(start, stop + 1)
        each = joint.log_prob(grid).exp()
        assert each.min() > 0
        alone = Histograms([x[:, j : j + 1]], low[j : j + 1], high[j : j + 1]).log_prob(grid[:, j : j + 1]).exp()
        assert alone.sum().item() == pytest.approx(1, abs=1e-12)
        assert (each / each[0]).numpy() == pytest.approx((alone / alone[0]).numpy())


def test_the_pseudo_count_is_the_column_s_own():
    rng = np.random.default_rng(0)
    sparse, even = np.where(rng.random(300) < 0.02, rng.integers(1, 3001, 300), 0), rng.integers(0, 3001, 300)
    train, rows = np.stack([sparse, even], 1)[:200], np.stack([sparse, even], 1)[200:]
    nats = found(simple(train, rows))[INDEPENDENT].nats
    uniform = -math.log(3001)
    best = 0.98 * math.log(0.98) + 0.02 * (math.log(0.02) + uniform)
    assert nats > best + uniform - 0.5  # no single pseudo-count comes near for both
    for alpha in PSEUDO_COUNTS:
        fixed = [(np.bincount(c, minlength=3001) + alpha) / (200 + 3001 * alpha) for c in train.T]
        assert nats > sum(np.log(p[c]).mean() for p, c in zip(fixed, rows.T, strict=True)) + 0.2


def test_values_that_no_schema_foresaw_have_a_probability():
    train = whole(200)
    schema = describe(train)
    rows = np.vstack([whole(50, seed=1), [[90, -90, 0, 0]]])
    models = SimpleModels(Dataset(train, schema, seed=0), Dataset(rows, schema, seed=0), 1)
    assert math.isfinite(found(models)[INDEPENDENT].nats)
    assert found(models)["lzma"].nats < 0


def test_columns_of_many_values_have_a_gaussian():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 6, 500), np.round(rng.normal(0, 3000, 500)), rng.integers(3, 9, 500)])
    wide = x[:, 1]
    models = found(simple(x))
    narrow = found(simple(x[:, [0, 2]]))[INDEPENDENT]
    gaussian = stats.norm.logpdf(wide, wide.mean(), math.sqrt(wide.var() + 1 / 12)).mean()
    lost = 1 / 24 / (wide.var() + 1 / 12)
    assert models[INDEPENDENT].nats == pytest.approx(narrow.nats + gaussian - lost, abs=1e-9)
    assert "of 1 with more than 4,096 values a Gaussian" in models[INDEPENDENT].note
    alone = simple(x[:, 1:2], latent_dim=1)
    assert found(alone)[INDEPENDENT].nats == pytest.approx(gaussian - lost, abs=1e-9)


@pytest.mark.usefixtures("unridged")
def test_beside_a_density_whole_numbers_have_densities():
    models = simple(whole(200), integers=False)
    covariance = np.cov(whole(200).T, ddof=0) + np.eye(4) / 12
    expected = stats.multivariate_normal(whole(200).mean(0), covariance).logpdf(whole(200)).mean()
    assert found(models)[FULL].nats == pytest.approx(expected, rel=1e-9)
    assert [(one.name, one.bits_per_dim) for one in models.baselines] == [
        (n, None) for n in (INDEPENDENT, PPCA, "factor analysis", FULL, MIXTURE)
    ]
    assert found(simple(whole(200)))[FULL].bits_per_dim == pytest.approx(
        -(expected - np.trace(np.linalg.inv(covariance)) / 24) / 4 / math.log(2)
    )


# 0 and 1


def test_bernoulli_columns_by_hand():
    models = found(simple([[1, 0], [1, 1], [0, 0]], [[1, 1], [0, 1]]))
    p, q = 2.5 / 4, 1.5 / 4
    rows = [math.log(p * q), math.log((1 - p) * q)]
    one = models[INDEPENDENT]
    assert one.nats == pytest.approx(np.mean(rows), rel=1e-12)
    assert one.nats_se == pytest.approx(np.std(rows, ddof=1) / math.sqrt(2), rel=1e-12)
    assert one.bits_per_dim == pytest.approx(-np.mean(rows) / 2 / math.log(2), rel=1e-12)
    assert list(models) == [INDEPENDENT, "gzip", "bz2", "lzma"]


def grey(n: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).integers(0, 256, (n, 4, 5), dtype=np.uint8)
    x[:, 0] = 51
    return x


def test_dynamic_binarisation_is_fitted_in_grey_and_scored_in_black_and_white():
    models = simple(grey(300), grey(280, 1), how="dynamic")
    p = ((grey(300) / 255).sum(0) + 0.5) / 301
    assert p[0] == pytest.approx((300 * 0.2 + 0.5) / 301)
    x = torch.cat([batch.x[:count] for count, batch in models.rows.blocks()]).double().numpy()
    assert set(np.unique(x)) == {0, 1}
    log_p = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2))
    assert found(models)[INDEPENDENT].nats == pytest.approx(log_p.mean(), rel=1e-10)
    packed = np.packbits(x.reshape(280, -1).astype(np.uint8), axis=1).tobytes()
    assert found(models)["bz2"].bits_per_dim == 8 * len(bz2.compress(packed)) / 280 / 20


def test_threshold_and_expected_binarisation():
    black = found(simple(grey(300), how="threshold"))[INDEPENDENT]
    x = grey(300) > 127
    p = (x.sum(0) + 0.5) / 301
    assert black.nats == pytest.approx(np.where(x, np.log(p), np.log1p(-p)).sum((1, 2)).mean(), rel=1e-12)
    models = found(simple(grey(300), how="expected"))
    x, p = grey(300) / 255, ((grey(300) / 255).sum(0) + 0.5) / 301
    expected = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2)).mean()
    assert models[INDEPENDENT].nats == pytest.approx(expected, rel=1e-6)
    assert list(models) == [INDEPENDENT]
    assert models[INDEPENDENT].bits_per_dim is None


# codecs


@pytest.mark.parametrize(("x", "stored"), [
    (np.random.default_rng(0).integers(0, 2, (300, 19)), lambda x: np.packbits(x.astype(np.uint8), axis=1)),
    (np.random.default_rng(0).integers(0, 17, (300, 19)), lambda x: x.astype(np.uint8)),
    (np.random.default_rng(0).integers(-3, 100, (300, 19)), lambda x: x.astype(np.int8)),
    (np.random.default_rng(0).integers(-100, 200, (300, 19)), lambda x: x.astype(np.int16)),
    (np.random.default_rng(0).integers(0, 70_000, (300, 19)), lambda x: x.astype(np.uint32)),
])  # fmt: skip
def test_codecs_see_the_rows_in_as_few_bytes_as_hold_them(x, stored):
    models = found(simple(x))
    data = stored(x).tobytes()
    for name, compress in {"gzip": lambda d: gzip.compress(d, 6), "bz2": bz2.compress, "lzma": lzma.compress}.items():
        bits = 8 * len(compress(data))
        assert models[name].bits_per_dim == pytest.approx(bits / x.size, rel=1e-12)
        assert models[name].nats == pytest.approx(-bits * math.log(2) / 300, rel=1e-12)
        assert models[name].nats_se is None


def test_codecs_of_noise_and_of_nothing():
    noise = found(simple(np.random.default_rng(0).integers(0, 2, (2000, 32))))
    assert 1 < noise["lzma"].bits_per_dim < 1.1
    assert found(simple(np.zeros((2000, 32), int)))["bz2"].bits_per_dim < 0.01


def test_a_codec_is_given_no_more_than_so_many_bytes(monkeypatch):
    x = np.arange(1000)[:, None].repeat(8, 1) % 251
    monkeypatch.setattr(baselines, "CODEC_BYTES", 800)
    one = found(simple(x))["bz2"]
    assert one.note == "100 rows, uint8"
    assert one.bits_per_dim == 8 * len(bz2.compress(x[::10].astype(np.uint8).tobytes())) / 800
    assert found(simple(x[:50]))["bz2"].note == "50 rows, uint8"


def test_whole_numbers_beyond_any_integer_type_are_packed_as_they_are_stored():
    assert found(simple(np.array([*range(30), 1e25])[:, None]))["gzip"].note == "31 rows, float32"


@pytest.mark.parametrize("count", [1, 3])
def test_constants_beside_real_columns_change_no_baseline_and_no_structure(count):
    x, other = real(300, 4), real(100, 4, seed=1)
    beside = lambda x: np.column_stack([x, np.tile([250.0, 0.1, -1e-6][:count], (len(x), 1))])  # noqa: E731
    alone, with_constants = simple(x, other), simple(beside(x), beside(other))
    for one, two in zip(alone.baselines, with_constants.baselines, strict=True):
        assert two.nats == pytest.approx(one.nats, abs=1e-6)
        assert two.note == one.note
    assert with_constants.structure.gain == pytest.approx(alone.structure.gain, abs=1e-6)


@pytest.mark.parametrize(("make", "value"), [(real, 4e7), (real, -1e17), (whole, 10**6)], ids=["real", "far", "whole"])
def test_extreme_cells_that_were_not_trained_on_change_no_baseline(make, value):
    """A model that left them out is not to win against simple ones that did not."""
    x = make(600).astype(np.float64)
    clean, rows = x.copy(), make(300, seed=1)
    x[17, 1] = value

    def models(train):
        schema = describe(train)
        return SimpleModels(Dataset(train, schema, seed=0, hide_extremes=True), Dataset(rows, schema, seed=0), 2)

    spoilt, others = found(models(x)), found(models(clean))
    for name in baselines.MODELS:
        assert spoilt[name].nats == pytest.approx(others[name].nats, abs=0.1)


def test_an_offset_changes_no_baseline():
    x, other = np.round(real(300, 4), 3), np.round(real(100, 4, seed=1), 3)
    for kind in (np.float64, np.int64):
        one, two = (
            simple(x.astype(kind), other.astype(kind)),
            simple(x.astype(kind) + kind(10**9), other.astype(kind) + kind(10**9)),
        )
        assert two.schema.offset != 0
        for before, after in zip(one.baselines[:3], two.baselines[:3], strict=True):
            assert after.nats == pytest.approx(before.nats, abs=1e-3)


# structure


def test_structure_is_the_mean_of_the_rows_differences():
    train, rows = real(400), real(100, seed=1)
    models = simple(train, rows, latent_dim=2)
    difference = (models.score_principal(2) - models.score_principal(0)).numpy()
    assert models.structure.gain == pytest.approx(found(models)[PPCA].nats - found(models)[INDEPENDENT].nats, abs=1e-9)
    assert models.structure.gain_se == pytest.approx(difference.std(ddof=1) / 10, rel=1e-12)
    assert models.structure.latent_dim == 2


@pytest.mark.parametrize("kind", ["real", "whole", "binary"])
def test_structure_is_seen_where_there_is_some_and_only_there(kind):
    def draw(shared: float, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x = shared * rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 6))
        return {"real": x, "whole": np.round(3 * x), "binary": (x > 0).astype(np.uint8)}[kind]

    for shared in (0.0, 1.0):
        seen = simple(draw(shared, 1), draw(shared, 2), latent_dim=1).structure
        assert (seen.gain > 2 * seen.gain_se) == bool(shared)


# columns of several kinds, and missing cells

MIXED_TYPES = (
    ColumnType(),  # real
    ColumnType("positive"),
    ColumnType("count"),
    ColumnType(),  # binary
    ColumnType("category", tuple("abcde")),
    ColumnType("ordinal", ("low", "middle", "high")),
    ColumnType(),  # whole numbers of a wide range
    ColumnType(),  # a constant
)
CLASSES = "mixture of independent columns"
FACTORED = "factor analysis"


def several(n: int, seed: int = 0, apart: float = 1.0, hidden: float = 0.2) -> np.ndarray:
    """Columns of every kind that differ between two classes of rows, (n, 8)."""
    rng = np.random.default_rng(seed)
    z = apart * rng.integers(0, 2, n)
    x = np.column_stack([
        rng.normal(250 + 6 * z, 2),
        np.exp(rng.normal(3 - z, 0.4)),
        rng.poisson(2 + 7 * z),
        rng.random(n) < 0.2 + 0.6 * z,
        np.where(rng.random(n) < 0.7 * z, 3, rng.integers(0, 4, n)),
        np.where(rng.random(n) < 0.6 * z, 2, rng.integers(0, 3, n)),
        np.round(rng.normal(2e6 + 2e6 * z, 4e5)),
        np.full(n, -3.25),
    ])  # fmt: skip
    x[rng.random(x.shape) < hidden] = np.nan
    return x


def of_kinds(train: np.ndarray, rows: np.ndarray, types: tuple[ColumnType, ...] | None = MIXED_TYPES, **options):
    """Models of a table whose columns are known to be of these types."""
    schema = described(train, rows, types)
    return SimpleModels(Dataset(train, schema, seed=3), Dataset(rows, schema, seed=3), 2, **options)


def described(train: np.ndarray, rows: np.ndarray, types: tuple[ColumnType, ...] | None) -> Schema:
    return describe(np.concatenate([train, rows]), train=np.arange(len(train)), types=types)


def test_each_kind_of_column_has_its_own_distribution():
    """Against scipy, column by column: others hidden, one cell is all that a row's score says."""
    train = several(400)
    values = train[~np.isnan(train).any(1)][:5]
    rows = np.full((40, 8), np.nan)
    for j in range(8):
        rows[5 * j : 5 * j + 5, j] = values[:, j]
    models = of_kinds(train, rows)
    scores = found(models)[INDEPENDENT].scores.numpy().reshape(8, 5)
    seen = [column[~np.isnan(column)] for column in train.T]
    deviation = math.sqrt(seen[0].var() + models.schema.array("resolution")[0] ** 2 / 12)
    assert scores[0] == pytest.approx(stats.norm.logpdf(values[:, 0], seen[0].mean(), deviation), rel=1e-5)
    logs = np.log(seen[1])
    positive = stats.lognorm.logpdf(values[:, 1], logs.std(), scale=math.exp(logs.mean()))
    assert scores[1] == pytest.approx(positive, rel=1e-4)
    for j, size in ((2, None), (3, 2), (4, 5), (5, 3)):
        size = size or int(np.nanmax(np.concatenate([train, rows])[:, j]) + 1)
        counts = np.bincount(seen[j].astype(int), minlength=size)
        smoothed = [(counts + a) / (counts.sum() + a * size) for a in PSEUDO_COUNTS]
        assert any(scores[j] == pytest.approx(np.log(p[values[:, j].astype(int)]), rel=1e-9) for p in smoothed), j
    law = stats.norm(seen[6].mean(), seen[6].std())
    cell = law.cdf(values[:, 6] + 0.5) - law.cdf(values[:, 6] - 0.5)
    assert scores[6] == pytest.approx(np.log(cell), rel=1e-6)
    assert scores[7] == pytest.approx(0, abs=1e-8)  # a mass of 1 at the constant
    assert models.table.independent.log_prob(torch.full((1, 8), torch.nan, dtype=torch.float64)).item() == 0


@pytest.mark.parametrize("rounded", [True, False])
def test_probabilities_of_whole_numbers_of_a_wide_range_sum_to_one(rounded, monkeypatch):
    monkeypatch.setattr("vaekit.evaluation.independent.MOST_VALUES", 8192 if rounded else 2**18)
    values = np.arange(-3000.0, 9000)[:, None]
    train = np.random.default_rng(0).normal([3000], 400, (300, 1)).round()
    columns = Columns(describe(values), torch.tensor([True]), torch.tensor([-3000.0]), torch.tensor([8999.0]))
    everyone = Independent(lambda: [torch.from_numpy(train)], columns)
    for model in (everyone, latent_classes(torch.from_numpy(train), everyone, 0, [3])):
        assert model.log_prob(torch.from_numpy(values)).exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert len(columns.numbers) == rounded
    if rounded:
        far = everyone.log_prob(torch.tensor([[1e7]], dtype=torch.float64)).item()
        assert -1e9 < far < -1e6


def test_a_histogram_of_many_values_knows_frequent_ones_and_where_the_others_lie():
    """Better than a Gaussian of all values, and than pseudo-counts that are the same everywhere."""

    def draw(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return np.where(rng.random(n) < 0.3, 40_000, rng.normal(40_000, 500, n).round())[:, None]

    train, rows = (torch.from_numpy(draw(400, seed)) for seed in (0, 1))
    low, high = torch.zeros(1, dtype=torch.float64), torch.full((1,), 50_000.0, dtype=torch.float64)
    plain, shaped = (Histograms([train], low, high, torch.tensor([how])) for how in (False, True))
    assert shaped.log_prob(torch.arange(50_001.0)[:, None]).exp().sum().item() == pytest.approx(1, abs=1e-9)
    nats = shaped.log_prob(rows).mean().item()
    assert nats > plain.log_prob(rows).mean().item() + 0.5
    assert nats > stats.norm.logpdf(rows, train.mean(), train.std()).mean() + 0.5


def test_probabilities_of_a_table_of_codes_sum_to_one():
    rng = np.random.default_rng(0)
    train = np.column_stack([rng.integers(0, 4, 300), rng.integers(0, 3, 300)]).astype(float)
    train[train[:, 0] == 0, 1] = 2
    train[::7, 0] = np.nan
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(3.0)), -1).reshape(-1, 2)
    types = (ColumnType("category", tuple("abcde")), ColumnType("ordinal", tuple("xyz")))
    models = of_kinds(train, grid, types)
    for one in models.baselines:
        assert one.scores.exp().sum().item() == pytest.approx(1, abs=1e-9)
        assert one.bits_per_dim == pytest.approx(-one.nats / 2 / math.log(2))
    known = grid[:5].copy()
    known[:, 1] = np.nan
    alone = models.table.classes.log_prob(torch.from_numpy(known)).exp()
    assert alone.sum().item() == pytest.approx(1, abs=1e-9)
    both = models.table.classes.log_prob(torch.from_numpy(grid)).exp().reshape(3, 5)
    assert alone.numpy() == pytest.approx(both.sum(0).numpy(), rel=1e-9)  # the exact marginal


def test_bits_per_dim_are_of_observed_cells():
    x = whole(400)
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    one = found(simple(x))[INDEPENDENT]
    assert one.bits_per_dim == pytest.approx(-one.scores.sum().item() / (~np.isnan(x)).sum() / math.log(2))


def test_independent_columns_and_classes_agree_where_there_are_none():
    models = of_kinds(several(1200, apart=0), several(600, seed=1, apart=0))
    gain, error = models.models[-1].gain(models.models[0].scores)
    assert models.models[-1].name == CLASSES
    assert abs(gain) < 0.06 + 2 * error
    assert models.structure.gain < max(0.06, 2 * models.structure.gain_se)


def test_classes_lose_nothing_to_columns_of_more_values_than_rows():
    """Days of three years, of which a class has seen a few."""
    rng = np.random.default_rng(2)
    train, rows = (np.column_stack([rng.integers(0, 1100, (n, 2)), rng.normal(size=n)]) for n in (900, 400))
    models = of_kinds(train, rows, None)
    gain, _ = models.models[-1].gain(models.models[0].scores)
    assert models.models[-1].name == CLASSES
    assert gain < 0.1


def test_classes_are_found_where_there_are_some():
    train, rows = several(1200), several(600, seed=1)
    models = of_kinds(train, rows)
    assert list(found(models)) == [INDEPENDENT, FACTORED, FULL, CLASSES]
    structure = models.structure
    gain, error = found(models)[CLASSES].gain(found(models)[INDEPENDENT].scores)
    assert (structure.gain, structure.gain_se) == (pytest.approx(-gain), pytest.approx(error))
    assert structure.gain > 1 > 10 * structure.gain_se
    assert f"a mixture of {len(models.table.classes)} classes gains" in collapse(0.0, structure)
    again = of_kinds(train, rows)
    assert torch.equal(found(again)[CLASSES].scores, found(models)[CLASSES].scores)


def test_classes_are_nearly_the_truth():
    """Two classes of one real and one binary column, of which all is known."""

    def draw(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        z = rng.random(n) < 0.3
        x = np.column_stack([rng.normal(np.where(z, 4, 0), np.where(z, 0.5, 1)), rng.random(n) < 0.1 + 0.8 * z])
        x[rng.random(n) < 0.3, 1] = np.nan
        return x

    rows = draw(800, 1)
    one = found(of_kinds(draw(3000, 0), rows, None))[CLASSES]
    classes = []
    for weight, mean, scale, p in ((0.3, 4, 0.5, 0.9), (0.7, 0, 1, 0.1)):
        seen = np.where(rows[:, 1] == 1, p, 1 - p)
        classes.append(weight * stats.norm.pdf(rows[:, 0], mean, scale) * np.where(np.isnan(rows[:, 1]), 1, seen))
    assert one.nats == pytest.approx(np.log(sum(classes)).mean(), abs=0.03)


def test_the_order_of_the_columns_changes_nothing():
    train, rows = several(500), several(200, seed=1)
    order = [4, 6, 0, 7, 3, 5, 1, 2]
    one = of_kinds(train, rows)
    two = of_kinds(train[:, order], rows[:, order], tuple(MIXED_TYPES[j] for j in order))
    for before, after in zip(one.models, two.models, strict=True):
        assert after.scores.numpy() == pytest.approx(before.scores.numpy(), abs=1e-6)
    x = holey(400)
    one, two = simple(x), simple(x[:, [3, 1, 0, 2]])
    for before, after in zip(one.models, two.models, strict=True):
        assert after.nats == pytest.approx(before.nats, abs=1e-2 if before.name == "factor analysis" else 1e-6)


def test_what_is_hidden_changes_nothing():
    """Neither in training nor in scoring: what a batch holds where its mask hides is never looked at."""
    models = [of_kinds(several(300), several(100, seed=1)) for _ in range(2)]
    for rows in (models[1].train, models[1].rows):
        rows._filled = lambda x: torch.where(x.isnan(), 2.0, x)
    for one, two in zip(models[0].models, models[1].models, strict=True):
        assert torch.equal(one.scores, two.scores)


@pytest.mark.parametrize("hidden", [0.0, 0.3])
def test_numbers_among_other_columns_have_a_gaussian_on_their_own_scales(hidden):
    """Against scipy: a normal of one number and of the logarithms of two, beside a histogram."""

    def draw(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        z = rng.normal(size=n)
        numbers = [z + 0.3 * rng.normal(size=n), np.exp(z), np.exp(5 - z + 0.5 * rng.normal(size=n))]
        x = np.column_stack([*numbers, rng.integers(0, 3, n)])
        x[rng.random(x.shape) < hidden] = np.nan
        return x

    rows = draw(80, 1)
    types = (ColumnType(), ColumnType("positive"), ColumnType("positive"), ColumnType("category", tuple("abc")))
    models = of_kinds(draw(500, 0), rows, types)
    independent = models.table.independent
    y = rows[:, :3].copy()
    y[:, 1:] = np.log(y[:, 1:])
    for name, gaussian in ((FULL, models.table.full), (FACTORED, models.table.factors)):
        mean = (gaussian.mean + gaussian.scale * gaussian.centre).numpy()
        covariance = (gaussian.covariance * gaussian.scale[:, None] * gaussian.scale).numpy()
        exact = independent.histograms.log_prob(torch.from_numpy(rows[:, 3:])).numpy().copy()
        for i, row in enumerate(y):
            o = ~np.isnan(row)
            if o.any():
                exact[i] += stats.multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(row[o])
            exact[i] -= np.nansum(row[1:])
        one = found(models)[name]
        assert one.scores.numpy() == pytest.approx(exact, rel=1e-5, abs=1e-5)
        assert one.note.endswith("; of 2 logarithms; of 3 columns, the others independent")
        assert one.nats > found(models)[INDEPENDENT].nats + 0.4


def test_a_number_alone_among_other_columns_has_no_gaussian_beside_its_own():
    x = np.column_stack([np.random.default_rng(0).normal(size=90), np.arange(90) % 3])
    names = found(of_kinds(x[:60], x[60:], (ColumnType(), ColumnType("category", tuple("abc")))))
    assert FULL not in names
    assert FACTORED not in names


def holey(n: int, seed: int = 0, share: float = 0.25) -> np.ndarray:
    x = real(n, 4, seed)
    x[np.random.default_rng(seed + 50).random(x.shape) < share] = np.nan
    return x


def test_gaussians_of_missing_cells_have_exact_marginals():
    rows = holey(60, seed=1)
    models = simple(holey(500), rows)
    assert [one.name for one in models.models] == [INDEPENDENT, "factor analysis", FULL, CLASSES]
    for name, gaussian in ((FULL, models.table.full), ("factor analysis", models.table.factors)):
        mean = (gaussian.mean + gaussian.scale * gaussian.centre).numpy()
        covariance = (gaussian.covariance * gaussian.scale[:, None] * gaussian.scale).numpy()
        exact = []
        for row in rows.astype(float):
            o = ~np.isnan(row)
            law = stats.multivariate_normal(mean[o], covariance[np.ix_(o, o)]) if o.any() else None
            exact.append(law.logpdf(row[o]) if law else 0.0)
        assert found(models)[name].scores.numpy() == pytest.approx(np.array(exact), rel=1e-6, abs=1e-8)


def test_a_gaussian_by_em_is_the_ridged_one_where_nothing_is_missing():
    x = torch.from_numpy(real(300, 4)).double()
    mean, scale = x.mean(0), x.std(0, unbiased=False)
    fitted = gaussian_observed(x, mean, scale, torch.zeros(4))
    y = (x - mean) / scale
    expected = (y.mT @ y + 3 * torch.eye(4)) / 303
    assert fitted.covariance.numpy() == pytest.approx(expected.numpy(), abs=1e-9)


def test_a_gaussian_by_em_finds_what_is_missing_at_random():
    true = found(simple(real(2000, 4), real(500, 4, seed=1)))[FULL].nats
    fitted = simple(holey(2000), real(500, 4, seed=1))
    assert found(fitted)[FULL].nats == pytest.approx(true, abs=0.15)
    assert found(fitted)[FULL].nats > found(fitted)[INDEPENDENT].nats + 1


def test_many_columns_of_which_cells_are_missing_have_no_covariance_and_say_so(monkeypatch):
    monkeypatch.setattr(tables, "MOST_COLUMNS", 3)
    one = found(simple(holey(100)))
    assert one[FULL].nats is None
    assert one[FULL].note == "not fitted: more than 3 columns of numbers"
    assert list(one) == [INDEPENDENT, FULL, CLASSES]


def test_positive_columns_are_scored_in_their_own_units():
    """The Gaussian of logarithms, each with its −log x."""
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(600, 2)) @ [[1, 0.9], [0, 0.3]] + [5, -4]
    models = of_kinds(np.exp(logs[:400]), np.exp(logs[400:]), (ColumnType("positive"),) * 2)
    law = stats.multivariate_normal(logs[:400].mean(0), np.cov(logs[:400].T, ddof=0))
    exact = law.logpdf(logs[400:]) - logs[400:].sum(1)
    assert found(models)[FULL].nats == pytest.approx(exact.mean(), abs=0.02)


def test_a_likelihood_says_which_columns_have_densities():
    x = np.column_stack([whole(300)[:, 0], real(300, 1)])
    assert describe(x).kinds == ("integer", "real")
    plain = simple(x, integers=False)
    assert (plain.several, PPCA in found(plain)) == (False, True)
    assert simple(x).several
    per_column = simple(x, integers=[False, False])
    assert found(per_column)[FULL].nats == found(plain)[FULL].nats
    assert simple(x).table.independent.columns.cells.tolist() == [0]


@pytest.mark.parametrize("rows", [1, 2, 9, 30])
def test_few_rows_of_several_kinds(rows):
    train = several(40)[:rows]
    train[0] = several(40, hidden=0)[0]
    models = of_kinds(train, several(40, seed=1))
    assert all(math.isfinite(one.nats) for one in models.baselines)
    assert models.structure is None or math.isfinite(models.structure.gain)
    hidden = simple(holey(40), np.full((3, 4), np.nan, np.float32))
    assert [one.nats for one in hidden.baselines] == pytest.approx([0.0] * 4, abs=1e-12)


def test_cells_that_only_the_scored_rows_have_and_columns_that_only_they_have():
    train, rows = several(200, hidden=0), several(100, seed=1, hidden=0)
    rows[:, 2] += 40
    assert all(math.isfinite(one.nats) for one in of_kinds(train, rows).baselines)
    train[:, :3] = np.nan
    train[0, :3] = several(1, seed=5, hidden=0)[0, :3]
    schema = described(train, rows, MIXED_TYPES)
    models = SimpleModels(Dataset(train[1:], schema, seed=0), Dataset(rows, schema, seed=0), 2)
    assert all(math.isfinite(one.nats) for one in models.baselines)


def test_missing_cells_of_binary_and_of_binarised_tables():
    x = (np.random.default_rng(0).random((400, 5)) < 0.3).astype(float)
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    models = simple(x)
    assert list(found(models)) == [INDEPENDENT, CLASSES]
    expected = -np.nansum(x * np.log(0.3) + (1 - x) * np.log(0.7)) / (~np.isnan(x)).sum() / math.log(2)
    assert found(models)[INDEPENDENT].bits_per_dim == pytest.approx(expected, abs=0.02)
    binarised = simple(255 * x, how="threshold")
    assert list(found(binarised)) == [INDEPENDENT]
    assert found(binarised)[INDEPENDENT].bits_per_dim == pytest.approx(expected, abs=0.02)
    assert binarised.structure is None


def test_a_table_on_disk_of_which_nothing_is_missing_is_as_in_memory(tmp_path):
    x = real(200, 4)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    on_disk = SimpleModels(*[Dataset(mapped, describe(x), seed=0)] * 2, 2)
    assert on_disk.rows.has_missing
    assert not on_disk.several
    assert [one.nats for one in on_disk.baselines] == [one.nats for one in simple(x).baselines]


def test_extreme_cells_of_several_kinds_are_left_out_of_training():
    train, rows = several(600), several(200, seed=1)
    spoilt = train.copy()
    spoilt[5, 0] = 1e9
    schemas = [described(x, rows, MIXED_TYPES) for x in (train, spoilt)]
    assert schemas[1].typical_low is not None
    one, two = (
        SimpleModels(Dataset(x, schema, seed=0, hide_extremes=True), Dataset(rows, schema, seed=0), 2)
        for x, schema in zip((train, spoilt), schemas, strict=True)
    )
    assert two.models[0].nats == pytest.approx(one.models[0].nats, abs=0.05)


def untrained(schema: Schema) -> VAE:
    """A model that has not learned anything."""
    likelihood = parts.likelihoods.Columns.of(schema)
    encoder = torch.nn.Linear(likelihood.inputs, 2)
    decoder = torch.nn.Linear(1, likelihood.features)
    with torch.no_grad():
        decoder.weight.zero_()
        encoder.weight.zero_()
        encoder.bias.zero_()
        decoder.bias.copy_(likelihood.initial())
    return VAE(encoder, parts.posteriors.Diagonal(1), parts.priors.StandardNormal(1), decoder, likelihood)


def test_an_evaluation_of_several_kinds_and_missing_cells():
    """Numbers of every kind that has a family, one column hidden in one row, another of which nothing is known."""
    x = several(500)[:, [0, 2, 3]]
    types = (ColumnType(), ColumnType(), ColumnType())
    x[410] = np.nan
    schema = described(x[:400], x[400:], types)
    assert schema.kinds == ("real", "integer", "binary")
    train, rows = (Dataset(part, schema, seed=0) for part in (x[:400], x[400:]))
    model = untrained(schema)
    result = evaluate(model, rows, ImportanceSampling(10), train=train)
    assert [one.name for one in result.baselines] == [INDEPENDENT, CLASSES]
    assert result.bits_per_dim is None
    marginals = result.baselines[0]
    assert marginals.nats == pytest.approx(result.log_likelihood.mean, abs=0.5)  # a logistic for a histogram
    assert any("Posterior collapse" in line and "a mixture of" in line for line in result.verdicts)
    assert "mixture of independent columns is better by" in beaten(model, train, rows)
    assert math.isfinite(result.to_dict()["baselines"][1]["gain"])
    assert _farthest_cell(rows, 10) == (None, None)  # all of it is missing
    row = x[400].copy()
    distance = np.abs(row - schema.array("mean")) / schema.array("scale")
    column, value = _farthest_cell(rows, 0)
    assert column == f"column {np.nanargmax(distance)}"
    assert value == pytest.approx(row[np.nanargmax(distance)])


def test_a_code_is_no_number_that_lies_far_out():
    x = several(300, hidden=0)
    schema = described(x, x, MIXED_TYPES)
    x[0] = schema.array("mean")
    x[0, 0] += 1
    x[0, 4] = 4
    assert _farthest_cell(Dataset(x, schema, seed=0), 0)[0] == "column 0"


def test_a_model_s_bits_per_dim_are_of_observed_cells():
    x = several(400)[:, [2, 3]]
    schema = described(x[:300], x[300:], None)
    rows = Dataset(x[300:], schema, seed=0)
    result = evaluate(untrained(schema), rows, ImportanceSampling(10))
    cells = (~np.isnan(x[300:])).sum()
    assert result.bits_per_dim == pytest.approx(-result.log_likelihood.mean * 100 / cells / math.log(2))


# all of them


def test_too_many_columns_have_no_matrix_and_say_so(monkeypatch):
    train, rows = real(100), real(50, seed=1)
    before = found(simple(train, rows))
    monkeypatch.setattr(baselines, "MOST_COLUMNS", 4)
    models = simple(train, rows)
    assert found(models)[INDEPENDENT].nats == pytest.approx(before[INDEPENDENT].nats, rel=1e-12)
    for name in (PPCA, FULL):
        assert found(models)[name] == Baseline(name, None, None, None, "not fitted: more than 4 rows and columns")
    assert models.structure is None


def test_fewer_rows_than_columns_are_fitted_by_the_products_of_rows(monkeypatch):
    """The same probabilistic PCA and ridged Gaussian, whichever matrix they come from."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40)) + rng.normal(size=(60, 40))).astype(np.float32)
    train, rows = x[:30], x[30:]
    few = simple(train, rows)
    assert few.principal.vectors.shape[1] < 30
    _, ridge = few.full
    covariance = np.cov(train.T, ddof=0) / np.outer(few.principal.scale, few.principal.scale)
    covariance = (30 * covariance + ridge * np.eye(40)) / (30 + ridge)
    covariance *= np.outer(few.principal.scale, few.principal.scale)
    exact = stats.multivariate_normal(train.mean(0), covariance).logpdf(rows)
    assert few.score_full().numpy() == pytest.approx(exact, rel=1e-3)
    assert found(few)[FULL].nats > found(few)[INDEPENDENT].nats
    wide = simple(rng.normal(size=(20, 5000)), rng.normal(size=(9, 5000)))
    assert all(-9000 < found(wide)[name].nats < -5000 for name in (INDEPENDENT, PPCA, FULL))


def test_a_covariance_of_few_rows_is_ridged_by_what_predicts_the_others():
    few, many = (simple(real(n, d=12), real(500, d=12, seed=1)) for n in (14, 3000))
    assert few.full[1] > many.full[1]
    assert few.score_full().mean() > few.score_principal(11).mean()


def test_factor_analysis_is_that_of_scikit_learn():
    train, rows = real(400), real(200, seed=1)
    mean, scale = train.mean(0), train.std(0)
    analysis = FactorAnalysis(2).fit((train - mean) / scale)
    expected = analysis.score_samples((rows - mean) / scale).mean() - np.log(scale).sum()
    assert found(simple(train, rows))["factor analysis"].nats == pytest.approx(expected, abs=0.1)


def test_the_gain_over_a_simple_model_is_paired():
    models = simple(real(100), real(50, seed=1))
    one = found(models)[PPCA]
    log_p = one.scores + 1.5 + 0.1 * torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gain, error = one.gain(log_p)
    assert gain == pytest.approx(1.5, abs=0.05)
    assert error == pytest.approx(0.1 / 50**0.5, rel=0.4)
    assert error < one.nats_se / 5


@pytest.mark.parametrize(("n", "d", "latents"), [(30, 100, 50), (9, 20, 16), (9, 4000, 8), (3, 5, 2)])
def test_linear_models_do_not_keep_every_direction_of_few_rows(n, d, latents):
    """What is left over must tell how large the noise is, or new rows are impossible: −10¹³ nats."""
    mixing = np.random.default_rng(99).normal(size=(4, d))
    rng = np.random.default_rng(0)
    train, rows = (rng.normal(size=(m, 4)) @ mixing + rng.normal(size=(m, d)) for m in (n, 100))
    models = simple(train, rows, latent_dim=latents)
    assert models.latents == (n - 1) // 2
    worst = min(one.nats for one in models.baselines)
    assert worst > 3 * found(models)[INDEPENDENT].nats


def test_one_row_and_no_row():
    models = found(simple(whole(30), whole(1, seed=1)))
    assert all(one.nats_se is None and math.isfinite(one.nats) for one in models.values())
    assert simple(whole(30), whole(1, seed=1)).structure.gain_se is None
    assert all(math.isfinite(one.nats) for one in simple(whole(1), whole(30)).baselines)
    empty = Dataset(whole(3), describe(whole(3)), seed=0).first(0)
    with pytest.raises(VaekitError, match="0 rows to fit and 0 to score"):
        SimpleModels(empty, empty, 2)


def test_to_dict_is_plain():
    assert Baseline("gzip", -1.0, None, 2.0, "3 rows").to_dict() == {
        "name": "gzip", "nats": -1.0, "nats_se": None, "bits_per_dim": 2.0, "note": "3 rows",
    }  # fmt: skip


def test_an_amount_has_a_mass_at_0_and_a_density_above_it():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((900, 2)) < [0.3, 0.6], 0.0, np.exp(rng.normal([1.0, 4.0], [0.5, 0.2], (900, 2))))
    models = of_kinds(x[:600], x[600:], (ColumnType("amount"),) * 2)
    expected = np.zeros(300)
    for train, rows in zip(x[:600].T, x[600:].T, strict=True):
        above = np.log(train[train > 0])
        law = stats.norm(above.mean(), above.std())
        logs = np.log(np.where(rows > 0, rows, 1.0))
        expected += np.where(
            rows > 0, np.log((train > 0).mean()) + law.logpdf(logs) - logs, np.log((train == 0).mean())
        )
    assert found(models)["independent columns"].nats == pytest.approx(expected.mean(), abs=0.01)
    assert abs(found(models)["mixture of independent columns"].nats - expected.mean()) < 0.2
