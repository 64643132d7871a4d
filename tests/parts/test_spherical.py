"""The posterior on a sphere through a whole model."""

import numpy as np
import pytest
import torch

import vaekit
from vaekit import VAE
from vaekit.data import Dataset, Source
from vaekit.errors import VaekitError
from vaekit.evaluation import AnnealedImportance, ImportanceSampling, Quadrature, evaluate, log_likelihood
from vaekit.parts import posteriors, priors
from vaekit.settings import Settings, prepare

TURN = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
X = np.column_stack([np.cos(TURN), np.sin(TURN), np.cos(TURN + 1)]) + 0.1 * np.random.default_rng(1).normal(
    size=(200, 3)
)


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(latent_dim=2, posterior="vmf", hidden=(16,), max_epochs=60, random_state=0).fit(X)


def test_its_prior_is_the_uniform_one_and_no_other_goes_with_it():
    prepared = prepare(Settings().changed(posterior="vmf", latent_dim=3, hidden=(4,)), Source(X))
    assert isinstance(prepared.state.model.prior, priors.UniformSphere)
    for changes in ({"posterior": "vmf", "prior": "standard"}, {"prior": "uniform-sphere"}):
        with pytest.raises(VaekitError, match=r"points of a sphere.*choose prior auto"):
            prepare(Settings().changed(**changes, latent_dim=3, hidden=(4,)), Source(X))


def test_a_sphere_has_two_coordinates_or_more():
    with pytest.raises(VaekitError, match="latent_dim is 1: give 2 or more"):
        posteriors.Spherical(1)


def test_it_learns_a_circle_and_evaluates(fitted):
    rows = Dataset(X, fitted.schema_, seed=0)
    found = evaluate(fitted.model_, rows, ImportanceSampling(200))
    assert found.parts.rate == pytest.approx(found.parts.information + found.parts.marginal_kl, abs=1e-6)
    assert found.parts.information > 0.5
    assert found.parts.marginal_kl < 0.5
    by_grid = _by_circle(fitted, rows)
    assert found.log_likelihood.mean == pytest.approx(by_grid, abs=0.02)


def _by_circle(vae: VAE, rows: Dataset) -> float:
    """The mean of log ∫ p(x|z) dz / 2π over the circle."""
    turn = torch.linspace(0, 2 * torch.pi, 2001)[:-1]
    z = torch.stack([turn.cos(), turn.sin()], -1)[:, None].expand(-1, len(rows), -1)
    batch = rows.scoring_batch(torch.arange(len(rows)))
    with torch.no_grad():
        log_px = vae.model_.decode(z).log_prob(batch.x)
    return (log_px.logsumexp(0) - np.log(2000)).mean().item()


def test_codes_lie_within_the_sphere_and_samples_come_from_all_of_it(fitted):
    codes = fitted.transform(X)
    assert (np.linalg.norm(codes, axis=1) < 1).all()
    assert np.linalg.norm(codes, axis=1).mean() > 0.5
    assert fitted.sample(20).shape == (20, 3)
    assert np.isfinite(fitted.score_samples(X)).all()


@pytest.mark.parametrize("method", [Quadrature(), AnnealedImportance(), AnnealedImportance(start="prior")])
def test_methods_that_integrate_over_the_plane_are_refused(fitted, method):
    rows = Dataset(X[:3], fitted.schema_, seed=0)
    with pytest.raises(VaekitError, match=rf"{method.name} is for latents that are real numbers.*sphere: use iwae"):
        log_likelihood(fitted.model_, rows, method)


def test_a_run_is_opened_again_to_the_bit_and_images_have_no_plane(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (40, 4, 4))
    vae = VAE(latent_dim=2, posterior="vmf", network="mlp", hidden=(8,), max_epochs=1, members=1, random_state=0)
    vae.fit(images).save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu")
    assert np.array_equal(again.score_samples(images), vae.score_samples(images))
    assert np.array_equal(again.transform(images), vae.transform(images))


def test_missing_cells_and_members_go_through_it():
    holey = np.where(np.random.default_rng(2).random(X.shape) < 0.2, np.nan, X)
    vae = VAE(latent_dim=3, posterior="vmf", hidden=(4,), max_epochs=1, members=2, random_state=0).fit(holey)
    assert np.isfinite(vae.score_samples(holey)).all()
    assert not np.isnan(vae.impute(holey)).any()
