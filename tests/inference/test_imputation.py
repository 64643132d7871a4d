"""Missing cells: on a linear model the density of what is observed and the mean of what is not are known exactly."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from vaekit import evaluation, inference, nets, parts
from vaekit.core import Batch
from vaekit.data import Dataset, describe
from vaekit.errors import VaekitError
from vaekit.models import VAE
from vaekit.models.start import factor_analysis_observed, start
from vaekit.noise import generator

COLUMNS, LATENTS, ROWS = 7, 3, 60


def holey(share: float, seed: int = 0) -> np.ndarray:
    """Rows of three factors; the first row is empty, and the second whole."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, LATENTS)) @ random.normal(size=(LATENTS, COLUMNS))
    x += 0.5 * random.normal(size=x.shape) + 3
    hidden = random.random(x.shape) < share
    hidden[0] = True
    hidden[1] = False
    return np.where(hidden, np.nan, x)


def linear(x: np.ndarray) -> tuple[VAE, np.ndarray, np.ndarray]:
    """A model started at a factor analysis of x, with the mean and covariance that its decoder has."""
    schema = describe(x)
    likelihood = parts.likelihoods.Gaussian.of(schema)
    likelihood.indicates = True
    likelihood.log_floor -= 4  # σ is clamped smoothly: away from its floor it is what it is set to
    posterior = parts.posteriors.Experts(LATENTS)
    encoder = nets.Experts(likelihood.inputs, (8,), LATENTS)
    decoder = nets.SkipMLP(LATENTS, (8,), likelihood.features)
    model = VAE(encoder, posterior, parts.priors.StandardNormal(LATENTS), decoder, likelihood).double()
    codes = likelihood.encode(torch.from_numpy(np.nan_to_num(x)), torch.from_numpy(~np.isnan(x))).numpy()
    start(model, factor_analysis_observed(codes[:, :COLUMNS], codes[:, COLUMNS:] > 0, LATENTS))
    with torch.no_grad():
        origin = torch.cat([torch.zeros(1, LATENTS), torch.eye(LATENTS)]).double()
        decoded = model.decode(origin[:, None]).mean[:, 0].numpy()
        sigma = likelihood.log_sigma().exp().numpy()
    loading = (decoded[1:] - decoded[0]).T
    return model, decoded[0], loading @ loading.T + np.diag(sigma**2)


class Doubles(Dataset):
    """The same rows in double precision."""

    def scoring_batch(self, rows: torch.Tensor) -> Batch:
        batch = super().scoring_batch(rows)
        return batch._replace(x=batch.x.double())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_every_draw_has_the_marginal_density_of_what_is_observed(share):
    """Up to σ of the likelihood, whose logarithm is clamped smoothly."""
    x = holey(share)
    model, mean, covariance = linear(x)
    observed = ~np.isnan(x)
    batch = Batch(torch.from_numpy(np.nan_to_num(x)), torch.from_numpy(observed))
    noise = torch.randn(4, ROWS, LATENTS, generator=torch.manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        log_w = model.draw(batch, noise).log_w.numpy()
    for row, seen in enumerate(observed):
        exact = 0.0
        if seen.any():
            exact = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(x[row, seen])
        assert log_w[:, row] == pytest.approx(exact, abs=0.1)
        assert log_w[:, row].mean() == pytest.approx(exact, abs=0.03)


def test_of_a_row_without_any_cell_every_draw_has_probability_1():
    """Whatever the correction has learned: q is the prior, and nothing is left to explain."""
    x = holey(0.4)
    model, _, _ = linear(x)
    torch.nn.init.normal_(model.encoder.correction.last.weight)
    batch = Batch(torch.zeros(1, COLUMNS).double(), torch.zeros(1, COLUMNS, dtype=torch.bool))
    noise = torch.randn(4, 1, LATENTS, generator=torch.manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        assert model.draw(batch, noise).log_w.abs().max() < 1e-12


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_estimates_are_the_conditional_means_of_the_gaussian(share):
    x = holey(share)
    model, mean, covariance = linear(x)
    rows = Doubles(x, describe(x), seed=0)
    found = inference.impute(model, rows, generator(0, "test"), samples=2**14)
    for row, seen in enumerate(~np.isnan(x)):
        gain = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        expected = mean[~seen] + gain @ (x[row, seen] - mean[seen])
        variance = np.diag(covariance[np.ix_(~seen, ~seen)] - gain @ covariance[np.ix_(seen, ~seen)])
        assert np.abs(found.values[row].numpy()[~seen] - expected).max(initial=0) < 2e-3
        assert found.spread[row].numpy()[~seen] == pytest.approx(np.sqrt(variance), rel=0.05)
    assert found.ess.min() > 0.99 * 2**14


def test_what_is_observed_is_given_back_to_the_bit():
    x = holey(0.4)
    model, _, _ = linear(x)
    found = inference.impute(model.float(), Dataset(x, describe(x), seed=0), generator(0, "test"), samples=8, draws=3)
    seen = ~np.isnan(x)
    assert np.array_equal(found.values.numpy()[seen], x.astype(np.float32)[seen])
    assert np.array_equal(found.draws.numpy()[:, seen], np.broadcast_to(x.astype(np.float32)[seen], (3, seen.sum())))
    assert (found.spread.numpy()[seen] == 0).all()
    assert (found.spread.numpy()[~seen] > 0).all()


def test_draws_are_spread_as_the_cells_are_uncertain():
    x = holey(0.5)
    model, _, _ = linear(x)
    rows = Dataset(x, describe(x), seed=0)
    found = inference.impute(model.float(), rows, generator(0, "test"), samples=4000, draws=1000)
    hidden = np.isnan(x)
    drawn = found.draws.numpy()[:, hidden]
    assert np.abs(drawn.mean(0) - found.values.numpy()[hidden]).max() < 0.3
    assert np.median(drawn.std(0) / found.spread.numpy()[hidden]) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0xFFF8000000000123])
def test_how_a_missing_cell_is_held_changes_nothing(bits):
    x = holey(0.4)
    model, _, _ = linear(x)
    other = x.copy()
    other[np.isnan(x)] = np.array([bits], np.uint64).view(np.float64)[0]
    first, second = (Dataset(rows, describe(x), seed=0) for rows in (x, other))
    method = evaluation.ImportanceSampling(20)
    scores = [evaluation.log_likelihood(model.float(), rows, method, 0).value for rows in (first, second)]
    assert torch.equal(*scores)
    assert np.array_equal(first.keys, second.keys)


def test_no_samples_are_refused():
    x = holey(0.4)
    model, _, _ = linear(x)
    with pytest.raises(VaekitError, match="1 or more samples"):
        inference.impute(model, Dataset(x, describe(x), seed=0), generator(0, "test"), samples=0)
