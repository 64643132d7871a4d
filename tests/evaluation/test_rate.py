"""The parts of the rate: an identity, limits that are known, and quadrature in one dimension."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from touchstone import Touchstone

from vaekit.data import Dataset, describe
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.errors import VaekitError
from vaekit.evaluation import rate
from vaekit.evaluation.rate import rate_parts
from vaekit.noise import RowNoise


class Code:
    """q(z|x) = N(μ, σ²), with (μ, log σ) the row itself; p(z) = N(0, I)."""

    def __init__(self, latent_dim: int, full: bool = False):
        self.latent_dim, self.noise, self.width, self.full = latent_dim, latent_dim, 2 * latent_dim, full

    def encode(self, batch):
        loc, log_scale = batch.x.chunk(2, -1)
        if self.full:
            return MultivariateNormal(loc, log_scale, torch.zeros(*loc.shape, self.latent_dim))
        return Normal(loc, log_scale)

    def pz(self, c=None):
        return Normal(torch.zeros(self.latent_dim), torch.zeros(self.latent_dim))


def rows(*columns) -> Dataset:
    x = np.column_stack(columns).astype(np.float32)
    return Dataset(x, describe(x), seed=0)


def codes(n: int, latent_dim: int = 2, seed: int = 0) -> np.ndarray:
    """(n, 2 D): random μ and log σ"""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.normal(size=(n, latent_dim)), rng.normal(-1, 0.3, (n, latent_dim))]).astype(np.float32)


@pytest.fixture
def touchstone() -> tuple:
    exact = Touchstone()
    x = exact.marginal.rvs(600, random_state=0)
    return exact, Dataset(x, describe(x), seed=0)


@pytest.mark.parametrize("blur", [False, True])
def test_the_surgery_is_an_identity(touchstone, blur):
    exact, data = touchstone
    model = (exact.blur() if blur else exact).model.float()
    found = rate_parts(model, data, points=300)
    assert found.rate == pytest.approx(found.information + found.marginal_kl, abs=1e-10)
    closed = 0.0
    for count, batch in data.blocks(600):
        each = model.encode(batch).rate(model.pz(), None, None)
        closed += each[:, :count].sum().item() / len(data)
    assert abs(found.rate - closed) < 5 * found.rate_se
    assert found.rate_se < 0.2
    assert (found.points, found.n) == (300, 600)


def test_where_q_is_the_exact_posterior_information_is_the_model_s_and_nothing_else_is_left(touchstone):
    exact, data = touchstone
    found = rate_parts(exact.model.float(), data)
    true = -0.5 * torch.logdet(exact.covariance).item()  # I(x; z) of the model: half the log-ratio of the volumes
    assert found.information == pytest.approx(true, abs=5 * found.information_se + 0.1)
    assert abs(found.marginal_kl) < 0.15  # a finite mixture is near p(z), not at it
    assert true > 2


def test_a_mixture_of_three_against_quadrature():
    loc, scale = np.array([-1.5, 0.2, 1.0]), np.array([0.5, 0.3, 1.2])
    z = np.linspace(-12, 12, 40_001)
    q = stats.norm.pdf(z[:, None], loc, scale)
    log_mixture = np.log(q.mean(1))
    information = np.trapezoid(q * (stats.norm.logpdf(z[:, None], loc, scale) - log_mixture[:, None]), z, axis=0).mean()
    marginal = np.trapezoid(q.mean(1) * (log_mixture - stats.norm.logpdf(z)), z)
    found = rate_parts(Code(1), rows(loc, np.log(scale)), points=30_000)
    assert found.points == 30_000
    assert found.information == pytest.approx(information, abs=1e-2)
    assert found.marginal_kl == pytest.approx(marginal, abs=1e-2)


@pytest.mark.parametrize("n", [100, 257, 600])
@pytest.mark.parametrize("full", [False, True])
def test_every_density_is_that_of_the_mixture_of_all_rows(n, full):
    data, model = rows(codes(n)), Code(2, full)
    found = rate_parts(model, data, points=100, seed=3)
    chosen = np.arange(100) * n // 100
    loc, scale = codes(n)[:, :2].astype(float), np.exp(codes(n)[:, 2:].astype(float))
    noise = RowNoise(data.keys[chosen], 3, 1)(1, 100, 2)[0].double().numpy()
    z = loc[chosen] + scale[chosen] * noise
    log_q = stats.norm.logpdf(z[:, None], loc, scale).sum(-1)
    own, mixture = log_q[np.arange(100), chosen], np.log(np.exp(log_q).mean(1))
    assert found.information == pytest.approx((own - mixture).mean(), abs=1e-5)
    assert found.information_se == pytest.approx((own - mixture).std(ddof=1) / 10, abs=1e-5)
    assert found.marginal_kl == pytest.approx((mixture - stats.norm.logpdf(z).sum(-1)).mean(), abs=1e-5)
    assert found.rate_se == pytest.approx((own - stats.norm.logpdf(z).sum(-1)).std(ddof=1) / 10, abs=1e-5)


@pytest.mark.parametrize("n", [2, 50, 700])
def test_a_code_of_one_s_own_for_every_row_is_worth_log_n(n):
    found = rate_parts(Code(1), rows(np.arange(n), np.full(n, -4.0)))
    assert found.ceiling == math.log(n)
    assert found.information == pytest.approx(math.log(n), abs=1e-4)


def test_information_is_below_its_ceiling_whatever_the_codes():
    found = rate_parts(Code(3), rows(codes(40, 3)), points=4000)
    assert 0 < found.information < found.ceiling


def test_q_that_is_the_prior_has_no_parts():
    found = rate_parts(Code(2), rows(np.zeros((300, 4))))
    assert (found.rate, found.information, found.marginal_kl) == pytest.approx((0, 0, 0), abs=1e-6)
    assert found.rate_each == (0.0, 0.0)


def test_one_displaced_code_is_all_marginal():
    found = rate_parts(Code(1), rows(np.full(300, 2.0), np.zeros(300)), points=300)
    assert found.information == pytest.approx(0, abs=1e-6)
    assert found.marginal_kl == found.rate
    assert found.rate_each == pytest.approx((2.0,))  # ½ μ²


def test_rate_each_is_the_mean_over_all_rows_in_closed_form():
    x = codes(300, 3).astype(float)
    mean, scale = x[:, :3], np.exp(x[:, 3:])
    expected = (0.5 * (scale**2 + mean**2 - 1) - x[:, 3:]).mean(0)
    found = rate_parts(Code(3), rows(x), points=50)
    assert found.rate_each == pytest.approx(expected, rel=1e-5)
    assert abs(sum(found.rate_each) - found.rate) < 5 * found.rate_se
    assert rate_parts(Code(3, full=True), rows(x), points=50).rate_each is None


def test_few_rows_are_drawn_from_many_times():
    one, many = (rate_parts(Code(2), rows(codes(5)), points=points) for points in (5, 1000))
    assert (one.points, many.points) == (5, 1000)
    assert abs(many.rate - sum(many.rate_each)) < 0.02 < abs(one.rate - sum(one.rate_each))
    x = codes(5).astype(float)
    kl = (0.5 * (np.exp(2 * x[:, 2:]) + x[:, :2] ** 2 - 1) - x[:, 2:]).sum(1)
    assert many.rate_se == pytest.approx(kl.std(ddof=1) / math.sqrt(5), rel=0.05)  # over rows, not over draws
    assert rate_parts(Code(2), rows(codes(1))).information_se is None


def test_the_same_rows_give_the_same_numbers_in_any_order_and_chunks(monkeypatch):
    x = codes(300)
    first = rate_parts(Code(2), rows(x))
    before = torch.get_rng_state()
    assert rate_parts(Code(2), rows(x)) == first
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(rate, "CELLS", 1)
    assert rate_parts(Code(2), rows(x)).information == pytest.approx(first.information, abs=1e-9)
    assert rate_parts(Code(2), rows(x[::-1])).information == pytest.approx(first.information, abs=1e-5)
    assert rate_parts(Code(2), rows(x), seed=1).information != first.information


def test_the_error_shrinks_with_the_points_and_is_about_right():
    data = rows(codes(4000))
    found = [rate_parts(Code(2), data, points=100, seed=seed) for seed in range(12)]
    closed, error = sum(found[0].rate_each), np.mean([one.rate_se for one in found])
    assert rate_parts(Code(2), data, points=1600).rate_se == pytest.approx(error / 4, rel=0.25)
    assert all(abs(one.rate - closed) < 4 * one.rate_se for one in found)


def test_nothing_to_do_is_refused():
    data = rows(codes(5))
    with pytest.raises(VaekitError, match="0 points in 5 rows"):
        rate_parts(Code(2), data, points=0)
    with pytest.raises(VaekitError, match="in 0 rows"):
        rate_parts(Code(2), data.first(0))


def test_to_dict_is_plain():
    found = rate_parts(Code(2), rows(codes(5))).to_dict()
    assert found["n"] == 5
    assert all(isinstance(value, int | float | tuple) for value in found.values())
