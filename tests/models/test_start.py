"""A start at factor analysis: the bound is the linear model's log-likelihood before anything is learned."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import FactorAnalysis

from vaekit import nets, parts
from vaekit.core import Batch
from vaekit.data import Source
from vaekit.models import VAE
from vaekit.models.start import factor_analysis, factor_analysis_observed, start
from vaekit.settings import Settings, prepare

X = load_breast_cancer().data[:, :12]
X = 10 * (X - X.mean(0)) / X.std(0) + 5
LIKELIHOODS = {
    "a sigma per column": lambda: parts.likelihoods.Gaussian((12,), mean=X.mean(0), scale=X.std(0), floor=1e-9),
    "integers of a wide range": lambda: parts.likelihoods.DiscretizedLogistic((12,), low=-1e4, high=1e4, step=1.0),
}
POSTERIORS = {
    "diagonal": parts.posteriors.Diagonal, "full": parts.posteriors.FullCovariance,
    "coupling": parts.posteriors.Coupling, "iaf": parts.posteriors.InverseAutoregressive,
    "planar": parts.posteriors.Planar, "ladder": lambda d: parts.posteriors.Ladder(d, rungs=min(d, 3)),
}  # fmt: skip


NETWORKS = {"a linear path": (nets.SkipMLP, (8,)), "linear": (nets.MLP, ())}


def started(posterior, likelihood, latents: int, x: np.ndarray = X, network="a linear path") -> tuple[VAE, object]:
    q = posterior(latents)
    kind, hidden = NETWORKS[network]
    encoder = kind(x.shape[1], hidden, q.features, "silu")
    decoder = kind(latents, hidden, likelihood.features, "silu")
    model = VAE(encoder, q, parts.priors.StandardNormal(latents), decoder, likelihood)
    dtype = torch.get_default_dtype()
    codes = likelihood.encode(torch.tensor(x, dtype=dtype)).double().numpy()
    start(model, factor_analysis([codes], np.zeros(x.shape[1]), np.ones(x.shape[1]), latents))
    return model, factor_analysis(np.array_split(x, 3), x.mean(0), x.std(0), latents)


@pytest.mark.parametrize("posterior", POSTERIORS.values(), ids=POSTERIORS)
@pytest.mark.parametrize("latents", [1, 4, 11])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_draw_gives_the_exact_log_likelihood(posterior, latents, network):
    torch.set_default_dtype(torch.float64)
    try:
        model, factors = started(posterior, LIKELIHOODS["a sigma per column"](), latents, network=network)
        x = torch.from_numpy(X)
        with torch.no_grad():
            log_w = model.draw(Batch(x), torch.randn(3, len(X), latents, generator=torch.manual_seed(0))).log_w
    finally:
        torch.set_default_dtype(torch.float32)
    covariance = factors.loading @ factors.loading.T + np.diag(factors.deviation**2)
    exact = multivariate_normal(factors.mean, covariance).logpdf(X)
    off = log_w.numpy() - exact
    assert np.abs(off).max() < 0.1  # log scales are clamped smoothly, which moves them by up to 2e-3
    assert np.abs(off.mean()) < 5e-3


@pytest.mark.parametrize("unit", [7e-36, 1e-31, 1e25])
def test_units_shift_the_bound_and_nothing_else(unit):
    """Squares of such numbers are none in 32 bits."""
    noise = torch.randn(2, len(X), 3, generator=torch.manual_seed(0))

    def log_w(x):
        sigmas = parts.likelihoods.Gaussian((12,), mean=x.mean(0), scale=x.std(0), floor=x.std(0) / 1e4)
        model, _ = started(POSTERIORS["diagonal"], sigmas, 3, x)
        with torch.no_grad():
            return model.draw(Batch(torch.tensor(x, dtype=torch.float32)), noise).log_w.numpy()

    assert np.allclose(log_w(X * unit) + 12 * np.log(unit), log_w(X), atol=0.02)


def test_more_latents_than_columns_say_nothing_more():
    few, many = (factor_analysis([X], X.mean(0), X.std(0), latents) for latents in (12, 15))
    assert np.allclose(many.loading[:, 12:], 0)
    assert np.allclose(few.loading @ few.loading.T, many.loading @ many.loading.T)


@pytest.mark.parametrize("columns", [2, 5, 12])
def test_as_many_latents_as_columns_explain_no_less(columns):
    x = X[:, :columns]

    def log_p(latents):
        factors = factor_analysis([x], x.mean(0), x.std(0), latents)
        covariance = factors.loading @ factors.loading.T + np.diag(factors.deviation**2)
        return multivariate_normal(factors.mean, covariance).logpdf(x).mean()

    fewer = log_p(columns - 1)
    assert all(log_p(latents) >= fewer - 1e-6 for latents in (columns, columns + 3))


def test_blocks_do_not_matter():
    one = factor_analysis([X], X.mean(0), X.std(0), 3)
    other = factor_analysis(np.array_split(X, 50), X.mean(0), X.std(0), 3)
    assert np.allclose(one.loading @ one.loading.T, other.loading @ other.loading.T)


def test_constant_and_equal_columns_do_no_harm():
    x = np.column_stack([X[:, 0], X[:, 0], np.full(len(X), 7.0), X[:, 1]])
    scale = np.where(x.std(0) == 0, 1, x.std(0))
    factors = factor_analysis([x], x.mean(0), scale, 2)
    assert all(np.isfinite(values).all() for values in factors)
    assert np.abs(factors.loading[2]).max() < 1e-3


def test_integers_start_at_the_same_linear_model():
    x = np.round(X)
    model, factors = started(POSTERIORS["diagonal"], LIKELIHOODS["integers of a wide range"](), 4, x)
    with torch.no_grad():
        z = model.encode(Batch(torch.tensor(x, dtype=torch.float32))).mean
        again = model.decode(z[None]).mean[0].numpy()
    errors = (again - x).std(0) / factors.deviation
    assert (errors < 1.1).all()
    assert model.decode(torch.zeros(1, 1, 4)).mean[0, 0].detach().numpy() == pytest.approx(
        factors.mean, rel=1e-2, abs=0.1
    )


def test_bernoulli_columns_start_near_the_linear_model():
    x = (np.random.default_rng(0).normal(size=(400, 1)) + np.random.default_rng(1).normal(size=(400, 6)) > 0.5) * 1.0
    likelihood = parts.likelihoods.Bernoulli((6,), mean=x.mean(0))
    model, _ = started(POSTERIORS["diagonal"], likelihood, 1, x)
    batch = Batch(torch.tensor(x, dtype=torch.float32))
    with torch.no_grad():
        log_w = model.draw(batch, torch.randn(50, 400, 1, generator=torch.manual_seed(0))).log_w
    p = x.mean(0)
    independent = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()
    assert log_w.mean() > independent


def test_levels_start_no_worse_than_independent_columns():
    """Codes of levels sum to 1: a factor analysis of them explains nearly all of their variance."""
    random = np.random.default_rng(0)
    factor = random.normal(size=(500, 1))
    x = np.column_stack([np.digitize(factor[:, 0] + random.normal(size=500), [-1, 0, 1]) for _ in range(5)]) * 1.0
    likelihood = parts.likelihoods.Categorical((5,), sizes=[4] * 5)
    q = POSTERIORS["diagonal"](3)
    encoder = nets.SkipMLP(likelihood.inputs, (8,), q.features, "silu")
    decoder = nets.SkipMLP(3, (8,), likelihood.features, "silu")
    model = VAE(encoder, q, parts.priors.StandardNormal(3), decoder, likelihood)
    rows = torch.tensor(x, dtype=torch.float32)
    codes = likelihood.encode(rows).double().numpy()
    zeros, ones = np.zeros(codes.shape[1]), np.ones(codes.shape[1])
    noise = torch.randn(50, 500, 3, generator=torch.manual_seed(0))

    def bound(least) -> float:
        start(model, factor_analysis([codes], zeros, ones, 3, least))
        with torch.no_grad():
            return model.draw(Batch(rows), noise).log_w.mean().item()

    counts = np.stack([np.bincount(column.astype(int), minlength=4) / 500 for column in x.T])
    independent = (counts * np.log(counts)).sum()
    held_back = bound(likelihood.unexplained().numpy())
    assert held_back > bound(5e-3)
    assert held_back > independent - 0.3


@pytest.mark.parametrize("noise", [1.0, 0.3, 0.03])
def test_missing_cells_take_no_variance_away(noise):
    """Rows of two factors, an eighth of whose cells are missing at random: as spread out as those of which none is."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 9)) + noise * rng.normal(size=(300, 9))
    observed = rng.random(x.shape) > 1 / 8
    for latents in (2, 7):
        factors = factor_analysis_observed(np.where(observed, x, 0.0), observed, latents)
        spread = np.sqrt(np.square(factors.loading).sum(1) + np.square(factors.deviation))
        assert np.abs(spread / x.std(0) - 1).max() < 0.1


def test_where_no_cell_is_missing_both_ways_to_factors_agree():
    complete = factor_analysis([X], X.mean(0), X.std(0), 3)
    observed = factor_analysis_observed(X, np.ones(X.shape, bool), 3)
    implied = [f.loading @ f.loading.T + np.diag(f.deviation**2) for f in (complete, observed)]
    assert np.abs(implied[0] - implied[1]).max() < 0.03 * X.var(0).max()


@pytest.mark.parametrize("posterior", ["auto", "diagonal", "full"])
@pytest.mark.parametrize("hidden", [(), (8,)])
def test_every_posterior_starts_at_factor_analysis_where_cells_are_missing(posterior, hidden):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(200, 6))
    cells = np.where(rng.random(x.shape) < 0.02, np.nan, x)
    settings = Settings().changed(
        likelihood="gaussian", posterior=posterior, hidden=hidden, latent_dim=2, start="factor-analysis", device="cpu"
    )
    model = prepare(settings, Source(cells)).state.averaged
    complete = Batch(torch.tensor(x, dtype=torch.float32), torch.ones(x.shape, dtype=torch.bool))
    with torch.no_grad():
        log_w = model.draw(complete, torch.randn(3, len(x), 2, generator=torch.manual_seed(0))).log_w
    exact = multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x)
    assert abs(log_w.numpy() - exact).mean() < 0.5
    assert log_w.mean().item() == pytest.approx(exact.mean(), abs=0.15)


def test_a_decomposition_that_does_not_converge_is_not_the_end(monkeypatch):
    usual = factor_analysis([X], X.mean(0), X.std(0), 3)
    found = FactorAnalysis.fit
    tried = []

    def failing(self, rows):
        tried.append(self.svd_method)
        if self.svd_method == "lapack":
            raise np.linalg.LinAlgError("SVD did not converge")
        return found(self, rows)

    monkeypatch.setattr(FactorAnalysis, "fit", failing)
    other = factor_analysis([X], X.mean(0), X.std(0), 3)
    assert tried == ["lapack", "randomized"]
    assert np.allclose(usual.deviation, other.deviation, rtol=0.02)
