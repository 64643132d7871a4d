"""A prior fitted anew to a trained model."""

import numpy as np
import polars
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import vaekit
from vaekit import VAE
from vaekit.cli import main
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.settings import Settings, prepare, refit
from vaekit.training.refit import drawn, fit_prior, gain, log_prior, with_prior

RNG = np.random.default_rng(3)
ROWS = 400
GROUP = RNG.integers(0, 3, ROWS)
CENTRES = np.array([[4.0, 0.0], [-3.0, 3.0], [-2.0, -4.0]])
X = (CENTRES[GROUP] + 0.4 * RNG.normal(size=(ROWS, 2))) @ RNG.normal(size=(2, 5)) + 0.2 * RNG.normal(size=(ROWS, 5))
TINY = {"latent_dim": 2, "hidden": (), "max_epochs": 40, "device": "cpu", "importance_samples": 20}


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(**TINY).fit(X)


@pytest.fixture(scope="module")
def again(fitted) -> VAE:
    return fitted.refit(X)


def test_rows_of_groups_gain_much_and_latents_stay(fitted, again):
    assert again.prior.startswith("mixture:components=")
    assert again.refit_gains_["validation"] > 0.5
    assert again.score(X) - fitted.score(X) == pytest.approx(again.refit_gains_["train"], abs=0.1)
    assert again.lower_bound_ - fitted.lower_bound_ == pytest.approx(again.refit_gains_["train"], abs=0.02)
    assert np.array_equal(again.transform(X), fitted.transform(X))
    assert np.array_equal(again.inverse_transform([[0.5, 1.0]]), fitted.inverse_transform([[0.5, 1.0]]))


def test_samples_are_of_the_new_prior(fitted, again):
    """Nearest centre and distance: rows between the groups are drawn no more."""
    z = fitted.transform(X)
    centres = np.array([z[group == GROUP].mean(0) for group in range(3)])

    def far(vae: VAE) -> float:
        codes = vae.transform(vae.sample(500, random_state=0))
        return float(np.linalg.norm(codes[:, None] - centres, axis=-1).min(1).mean())

    assert far(again) < 0.6 * far(fitted)


def test_it_is_an_ordinary_run_and_the_one_before_is_as_it_was(fitted, again, tmp_path):
    before = fitted.score_samples(X[:9])
    again.save(tmp_path / "run")
    opened = vaekit.load(tmp_path / "run", device="cpu")
    assert np.array_equal(opened.score_samples(X[:9]), again.score_samples(X[:9]))
    assert np.array_equal(opened.sample(5, random_state=0), again.sample(5, random_state=0))
    assert opened.settings_.model.refitted == "standard"
    assert np.array_equal(fitted.score_samples(X[:9]), before)
    assert fitted.prior == "auto"


def test_the_standard_normal_undoes_it(fitted, again):
    undone = again.refit(X, prior="standard")
    assert np.array_equal(undone.score_samples(X[:9]), fitted.score_samples(X[:9]))
    assert undone.refit_gains_["train"] == pytest.approx(-again.refit_gains_["train"], abs=1e-4)
    assert undone.settings_.model.refitted == "standard"


def test_it_repeats(again, fitted):
    assert np.array_equal(fitted.refit(X).score_samples(X[:9]), again.score_samples(X[:9]))


@pytest.mark.parametrize("prior", ["gaussian", "mixture:components=3", "vamp:components=20"])
def test_no_prior_loses_on_the_rows_it_was_fitted_to(fitted, prior):
    found = fitted.refit(X, prior=prior)
    assert found.refit_gains_["train"] > -1e-3
    assert found.prior == prior


def test_the_settings_of_a_refitted_run_are_not_mistaken_for_those_of_a_training(again):
    settings = Settings().changed(**{"prior": again.prior, "refitted": "standard"})
    with pytest.raises(VaekitError, match=r"fit with prior 'standard'.*vaekit refit RUN --prior mixture"):
        prepare(settings, vaekit.data.Source(X))


def test_the_change_is_that_of_the_divergences_from_the_prior():
    """Of a normal fitted to draws, log p changes by ½ (E‖z‖² − D − log|Σ|), whatever the model is."""
    prepared = prepare(Settings().changed(latent_dim=2, hidden=(), compile="off"), vaekit.data.Source(X))
    model = prepared.state.trained()
    found = refit(prepared.settings, model, prepared.schema, prepared.rows, "gaussian")
    z = drawn(model, prepared.rows["train"], 0).z.flatten(0, 1).double()
    covariance = torch.cov(z.T, correction=0)
    expected = 0.5 * (z.square().sum(1).mean() - 2 - covariance.logdet()).item()
    assert found.gains["train"].mean == pytest.approx(expected, abs=1e-3)


def test_a_linear_model_at_its_optimum_keeps_the_standard_normal():
    """At probabilistic PCA's optimum q(z) has the covariance I: a normal fitted to draws of it is N(0, I)."""
    rows = RNG.normal(size=(4000, 2)) @ RNG.normal(size=(2, 6)) + 0.5 * RNG.normal(size=(4000, 6))
    settings = Settings().changed(
        latent_dim=2,
        hidden=(),
        likelihood="gaussian:sigma=shared",
        posterior="full",
        start="factor-analysis",
        compile="off",
    )
    prepared = prepare(settings, vaekit.data.Source(rows))
    model = prepared.state.trained()
    found = refit(prepared.settings, model, prepared.schema, prepared.rows, "gaussian")
    prior = found.model.pz()
    assert torch.allclose(prior.covariance, torch.eye(2), atol=0.08)
    assert abs(found.gains["validation"].mean) < 0.02


def test_it_is_fitted_to_draws_and_not_to_means():
    """The means of q(z|x) are less spread than its draws: a prior fitted to them gives held-out draws less."""
    settings = Settings().changed(latent_dim=2, hidden=(), compile="off")
    prepared = prepare(settings, vaekit.data.Source(RNG.normal(size=(300, 4)).cumsum(1)))
    model = prepared.state.trained()
    train, held_out = (drawn(model, prepared.rows[part], 0) for part in ("train", "validation"))
    with torch.no_grad():
        codes = vaekit.inference.encode(model, prepared.rows["train"])[0]
    means = train._replace(z=codes.unsqueeze(1).expand_as(train.z))
    gains = []
    for draws in (train, means):
        changed = with_prior(model, vaekit.parts.priors.Gaussian(2))
        fit_prior(changed, draws, held_out, 0)
        gains.append(gain(changed, held_out).mean)
    assert gains[0] > gains[1] + 0.01


def test_without_validation_rows_a_tenth_is_held_out():
    vae = VAE(**TINY, validation_fraction=0.0).fit(X)
    found = vae.refit(X)
    assert set(found.refit_gains_) == {"train"}
    assert found.refit_gains_["train"] > 0.5


def test_members_have_priors_of_their_own():
    vae = VAE(**{**TINY, "max_epochs": 10}, members=2).fit(X)
    found = vae.refit(X, prior="mixture:components=3,covariance=full")
    first, second = (member.prior.loc for member in found.model_)
    assert not torch.equal(first, second)
    assert found.score(X) > vae.score(X) + 0.3


def test_frames_with_missing_cells_and_conditions():
    frame = polars.DataFrame(X, schema=list("abcde")).with_columns(
        group=polars.Series(GROUP).cast(polars.String),
        a=polars.Series([None if row % 7 == 0 else value for row, value in enumerate(X[:, 0])]),
    )
    vae = VAE(**{**TINY, "hidden": (8,)}, condition="group", posterior="experts").fit(frame)
    found = vae.refit(frame, prior="gaussian")
    assert np.array_equal(found.transform(frame), vae.transform(frame))
    assert found.sample(3, given={"group": "1"})["group"].to_list() == [1] * 3


def test_draws_are_those_of_any_number_of_rows(fitted):
    rows = Dataset(X.astype(np.float32), fitted.schema_, seed=0)
    some = drawn(fitted.model_, rows, 0)
    few = drawn(fitted.model_, rows.first(10), 0)
    assert torch.allclose(some.z[:10], few.z, atol=1e-5)
    assert torch.allclose(log_prior(fitted.model_, some), some.log_p, atol=1e-5)
    assert some.z.shape == (ROWS, 5, 2)


def test_rows_of_groups_are_told_apart_by_the_components(fitted):
    found = fitted.refit(X, prior="mixture:components=3,covariance=full")
    each = found.clusters(X)
    assert each.shape == (ROWS, 3)
    assert np.allclose(each.sum(1), 1, atol=1e-5)
    assert adjusted_rand_score(GROUP, each.argmax(1)) > 0.95
    assert np.allclose(found.clusters(X[:7]), each[:7], atol=1e-5)
    with pytest.raises(VaekitError, match="vaekit refit RUN --prior mixture"):
        fitted.clusters(X)


def test_rows_that_were_held_out_stay_so(fitted, tmp_path):
    np.save(tmp_path / "x.npy", X)
    arguments = ["fit", tmp_path / "x.npy", "--out", tmp_path / "run", "--latent-dim", 2, "--hidden", "none"]
    with pytest.raises(SystemExit):
        main([*map(str, arguments), "--epochs", "3", "--test", "0.2", "--device", "cpu", "--seed", "5000000000"])
    found = vaekit.load(tmp_path / "run", device="cpu").refit(X, prior="mixture:components=2")
    assert set(found.refit_gains_) == {"train", "validation", "test"}
    assert found.data_["refitted"]["gains"]["test"]["rows"] == ROWS // 5


def test_an_autoencoder_can_be_sampled_after_it():
    vae = VAE(**TINY, objective="ae").fit(X)
    found = vae.refit(X, prior="gaussian")
    assert found.sample(4, random_state=0).shape == (4, 5)
    assert not hasattr(found, "lower_bound_")
