"""Several models as one: the mean of their densities, whatever it is used for."""

import copy
import math

import numpy as np
import polars as pl
import pytest
import torch
from inference.test_imputation import Doubles, holey, linear
from scipy.stats import multivariate_normal

import vaekit
from vaekit import VAE, inference
from vaekit.core import Batch
from vaekit.data import describe
from vaekit.errors import VaekitError
from vaekit.evaluation import AnnealedImportance, ImportanceSampling, Scores, log_likelihood
from vaekit.models import Ensemble
from vaekit.noise import generator
from vaekit.objectives import ELBO, EachMember, ImportanceWeighted
from vaekit.training.diagnosis import diagnosis

RNG = np.random.default_rng(0)
X = holey(0.3)
SCHEMA = describe(X)
MEMBERS = [linear(holey(0.3, seed)) for seed in (0, 1, 2)]
"""linear models of other rows each, whose posteriors are exact, with their means and covariances"""
SMALL = {"latent_dim": 2, "hidden": (8,), "max_epochs": 3, "device": "cpu", "members": 3}


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble([model for model, _, _ in MEMBERS])


@pytest.fixture
def batch() -> Batch:
    x = torch.from_numpy(np.nan_to_num(X[2:12]))
    return Batch(x, torch.from_numpy(~np.isnan(X[2:12])), key=np.arange(10, dtype=np.uint64))


def densities(x: np.ndarray) -> np.ndarray:
    """log p_m(x_observed) of each member, (M, n)."""
    found = []
    for _, mean, covariance in MEMBERS:
        each = []
        for row in x:
            seen = ~np.isnan(row)
            each.append(multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(row[seen]))
        found.append(each)
    return np.array(found)


def test_log_p_is_that_of_the_mean_density(ensemble):
    rows = Doubles(X[2:40], SCHEMA, seed=0)
    found = log_likelihood(ensemble, rows, ImportanceSampling(30), seed=0)
    exact = np.logaddexp.reduce(densities(X[2:40])) - math.log(3)
    assert found.value.numpy() == pytest.approx(exact, abs=1e-4)  # each member's posterior is exact
    assert found.scores.error.max() < 1e-3
    assert np.abs(found.value.numpy() - densities(X[2:40])[0]).max() > 0.1


def test_any_draws_of_a_member_and_its_latent_give_the_mean_density_without_bias(ensemble, batch):
    log_joint = ensemble.joint(batch)
    z, log_q = ensemble.encode(batch).draw(torch.randn(5000, 10, ensemble.noise, dtype=torch.float64))
    density = (log_joint(z) - log_q).detach().exp()
    x = X[2:12]
    exact = np.exp(np.logaddexp.reduce(densities(x)) - math.log(3))
    off = density.mean(0).numpy() - exact
    assert (np.abs(off) < 5 * density.std(0).numpy() / 5000**0.5).all()


def test_the_density_of_a_draw_is_that_of_any_latent(ensemble, batch):
    q = ensemble.encode(batch)
    z, log_q = q.draw(torch.randn(200, 10, ensemble.noise, dtype=torch.float64))
    assert torch.allclose(q.log_prob(z), log_q)
    counts = torch.stack([(z[..., -1] == member).sum() for member in range(3)])
    assert counts.sum() == 2000
    assert (counts > 500).all()
    extremes = torch.tensor([-40.0, 40.0], dtype=torch.float64)[:, None, None].expand(2, 10, ensemble.noise)
    assert q.draw(extremes)[0][..., -1].unique().tolist() == [0, 2]


def test_each_latent_is_decoded_by_its_own_member(ensemble, batch):
    z, _ = ensemble.encode(batch).draw(torch.randn(9, 10, ensemble.noise, dtype=torch.float64))
    px = ensemble.decode(z)
    mean, log_p = px.mean, px.log_prob(batch.x, batch.mask)
    for number, (model, _, _) in enumerate(MEMBERS):
        alone = model.decode(z[..., :-1])
        mine = z[..., -1] == number
        assert torch.allclose(mean[mine], alone.mean[mine])
        assert torch.allclose(log_p[mine], alone.log_prob(batch.x, batch.mask)[mine])


def test_missing_cells_are_those_of_all_members_by_how_well_they_explain_the_rest(ensemble):
    rows = Doubles(X[2:30], SCHEMA, seed=0)
    found = inference.impute(ensemble, rows, generator(0, "impute"), samples=3000)
    log_p = densities(X[2:30])
    weight = np.exp(log_p - np.logaddexp.reduce(log_p))
    expected = np.zeros_like(X[2:30])
    for share, (_, mean, covariance) in zip(weight, MEMBERS, strict=True):
        for i, row in enumerate(X[2:30]):
            seen = ~np.isnan(row)
            regression = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen])
            expected[i] += share[i] * (mean + (row[seen] - mean[seen]) @ regression)
    hidden = np.isnan(X[2:30])
    assert found.values.numpy()[hidden] == pytest.approx(expected[hidden], abs=0.1)


@pytest.mark.parametrize("objective", [ELBO(samples=2), ImportanceWeighted(samples=4)], ids=["elbo", "iwae"])
def test_the_bound_is_the_mean_of_the_members_and_moves_each_by_its_own(ensemble, batch, objective):
    whole = EachMember(objective, 3)
    whole.begin(100)
    noise = [torch.randn(shape, dtype=torch.float64) for shape in whole.noise(ensemble, 10)]
    found = whole(ensemble, batch, *noise)
    alone = [objective(member, batch, e) for member, e in zip(ensemble, noise, strict=True)]
    assert torch.allclose(found.value, torch.stack([bound.value for bound in alone]).mean(0))
    parameters = list(MEMBERS[1][0].parameters())
    together = torch.autograd.grad(found.loss, parameters)
    apart = torch.autograd.grad(alone[1].loss, parameters)
    assert all(torch.allclose(3 * one, other) for one, other in zip(together, apart, strict=True))


def test_errors_are_those_of_the_members_by_their_shares():
    one = Scores(torch.tensor([0.0, -9.0]), torch.tensor([0.3, 0.3]), {"ess": torch.tensor([5.0, 6.0])})
    other = Scores(torch.tensor([0.0, 0.0]), torch.tensor([0.4, 0.1]), {"ess": torch.tensor([7.0, 8.0])})
    found = Scores.of_mean([one, other])
    assert found.value.tolist() == pytest.approx([0.0, -math.log(2)], abs=1e-3)
    assert found.error.tolist() == pytest.approx([0.25, 0.1], abs=1e-3)
    assert found.terms["ess"][1] == 8


def test_annealing_goes_through_each_member(ensemble):
    rows = Doubles(X[2:6], SCHEMA, seed=0)
    found = log_likelihood(ensemble, rows, AnnealedImportance(temperatures=30, chains=8), seed=0)
    exact = np.logaddexp.reduce(densities(X[2:6])) - math.log(3)
    assert found.value.numpy() == pytest.approx(exact, abs=0.05)


def test_what_is_not_finite_is_looked_for_in_each_member(ensemble, batch):
    whole = EachMember(ELBO(), 3)
    noise = tuple(torch.randn(shape, dtype=torch.float64) for shape in whole.noise(ensemble, 10))
    numbers = torch.arange(10)
    assert "It is the gradient" in diagnosis(ensemble, batch, noise, numbers, SCHEMA)
    broken = copy.deepcopy(ensemble)
    with torch.no_grad():
        next(iter(list(broken)[2].decoder.parameters())).fill_(torch.nan)
    assert "log p(x|z); look at training row 0" in diagnosis(broken, batch, noise, numbers, SCHEMA)


def frame(n: int = 120) -> pl.DataFrame:
    random = np.random.default_rng(5)
    factor = random.normal(size=n)
    size = factor + 0.3 * random.normal(size=n)
    grade = np.array(["low", "mid", "high"])[np.digitize(factor + 0.5 * random.normal(size=n), [-0.5, 0.5])]
    colour = np.where(random.random(n) < 0.1, None, random.choice(["red", "green"], n))
    return pl.DataFrame({"size": size, "grade": grade, "colour": colour, "count": random.poisson(np.exp(factor))})


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(**SMALL, columns="grade=ordinal:low<mid<high").fit(frame())


def test_a_table_of_several_kinds_has_a_mean_density_and_is_filled(fitted):
    rows = frame()
    scores = fitted.score_samples(rows)
    assert np.isfinite(scores).all()
    assert np.array_equal(fitted.score_samples(rows[7:9]), scores[7:9])  # a row's score is its own
    filled = fitted.impute(rows)
    assert filled["colour"].null_count() == 0
    assert filled["size"].to_list() == rows["size"].to_list()
    assert fitted.transform(rows).shape == (120, 6)
    assert fitted.sample(50, random_state=0).columns == rows.columns


def test_the_members_differ_from_the_start_and_each_is_trained(fitted):
    rows = fitted._rows(frame())
    start = VAE(**SMALL | {"learning_rate": 1e-9}, columns="grade=ordinal:low<mid<high").fit(frame()).model_
    for model in (start, fitted.model_):
        first, second, _ = (log_likelihood(member, rows, seed=0).value for member in model)
        assert (first - second).abs().mean() > 1e-3
    for before, after in zip(start, fitted.model_, strict=True):
        pairs = zip(before.parameters(), after.parameters(), strict=True)
        assert any((one - other).abs().max() > 1e-4 for one, other in pairs)


def test_a_saved_ensemble_is_opened_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run", device="cpu")
    assert again.members == 3
    assert np.array_equal(again.score_samples(frame()), fitted.score_samples(frame()))
    assert again.sample(9, random_state=0).equals(fitted.sample(9, random_state=0))


def test_latents_of_an_ensemble_have_no_decoder_of_their_own(fitted):
    with pytest.raises(VaekitError, match="each member of an ensemble has latents and a decoder of its own"):
        fitted.inverse_transform(np.zeros((2, 6)))
