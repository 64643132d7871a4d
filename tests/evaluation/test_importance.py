"""Importance sampling against the touchstone, where log p(x) is known; its own error against what it is off by."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from touchstone import SIGMAS, B, D, Touchstone, X

from vaekit.core import Batch
from vaekit.errors import VaekitError
from vaekit.evaluation import importance
from vaekit.evaluation.importance import ImportanceSampling, pareto_shape
from vaekit.inference import joint
from vaekit.noise import normal_noise, row_keys


def keyed(stone: Touchstone) -> Batch:
    return Batch(stone.x, key=row_keys(stone.x.numpy()))


@pytest.fixture
def inexact() -> Touchstone:
    return Touchstone().blur(0.2, 0.2)


@pytest.fixture
def independent(monkeypatch):
    """Noise without the order of a low-discrepancy point set."""
    normal = normal_noise(torch.Generator().manual_seed(5), torch.float64)
    monkeypatch.setattr(importance, "RowNoise", lambda *_, **__: normal)


def many(stone: Touchstone, samples: int, repeats: int):
    """Values and errors of the same rows under one key after another, (repeats, B) each."""
    keys = np.random.default_rng(6).integers(2**63, size=repeats * B, dtype=np.uint64)
    scores = ImportanceSampling(samples)(stone.model, Batch(stone.x.repeat(repeats, 1), key=keys), 0)
    return scores.value.unflatten(0, (repeats, B)), scores.error.unflatten(0, (repeats, B))


# the estimate


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("samples", [1, 2, 10, 100, 1000])
def test_where_q_is_exact_it_is_log_p_for_every_number_of_draws(sigma, samples):
    stone = Touchstone(sigma)
    scores = ImportanceSampling(samples)(stone.model, keyed(stone), 0)
    assert scores.value.dtype == scores.error.dtype == torch.float64
    assert (scores.value - stone.log_p).abs().max() < 1e-6
    assert torch.allclose(scores.terms["ess"], torch.full((B,), float(samples), dtype=torch.float64))
    assert (scores.error < 1e-6).all() or samples == 1


def test_where_it_is_not_it_climbs_towards_log_p_with_the_number_of_draws(inexact):
    repeats, found = 1000, []
    for samples in (1, 3, 9, 27):
        values, _ = many(inexact, samples, repeats)
        found.append((values.mean(0), values.std(0) / math.sqrt(repeats)))
    for (lower, _), (higher, _) in itertools.pairwise(found):
        assert (higher > lower).all()
    assert all((mean < inexact.log_p + 5 * error).all() for mean, error in found)
    assert (found[0][0] < inexact.log_p - 0.3).all()
    assert (found[-1][0] - inexact.log_p).abs().max() < 0.05


def test_error_and_bias_are_those_of_independent_draws(inexact, independent):
    """error = spread over repetitions, and E log p̂ = log p − ½ error² = log p − Var(w) / (2 K p²)."""
    samples, repeats = 50, 1500
    values, errors = many(inexact, samples, repeats)
    assert torch.allclose(errors.square().mean(0).sqrt(), values.std(0), rtol=0.1)
    gap, uncertain = (inexact.log_p - values).mean(), values.std(0).mean() / math.sqrt(repeats * B)
    bias = 0.5 * errors.square().mean()
    log_w = inexact.model.draw(inexact.batch, inexact.noise(20_000)).log_w.detach()
    variance = (log_w - inexact.log_p).exp().var(0).mean()
    assert bias > 6 * uncertain  # there is something to be wrong about
    assert (gap - bias).abs() < 4 * uncertain
    assert bias == pytest.approx(variance.item() / (2 * samples), rel=0.1)


def test_its_own_draws_are_at_least_as_good_as_it_says(inexact):
    values, errors = many(inexact, 64, 500)
    spread, error = values.std(0), errors.mean(0)
    assert (spread < error).all()
    assert (spread > error / 10).all()
    assert ((values - inexact.log_p).square().mean(0).sqrt() < error).all()
    assert ((inexact.log_p - values.mean(0)) < 0.5 * errors.square().mean(0)).all()


# what it knows beside it


def test_value_error_and_effective_sample_size_by_hand(inexact):
    method = ImportanceSampling(45)
    scores = method(inexact.model, keyed(inexact), 3)
    w = method.log_weights(inexact.model, keyed(inexact), 3).exp().detach().numpy()
    assert w.shape == (45, B)
    assert scores.value.numpy() == pytest.approx(np.log(w.mean(0)), rel=1e-12)
    assert scores.error.numpy() == pytest.approx(w.std(0, ddof=1) / np.sqrt(45) / w.mean(0), rel=1e-9)
    assert scores.terms["ess"].numpy() == pytest.approx(w.sum(0) ** 2 / np.square(w).sum(0), rel=1e-9)
    assert (scores.terms["ess"] < 44).all()


def test_one_draw_knows_no_error(inexact):
    scores = ImportanceSampling(1)(inexact.model, keyed(inexact), 0)
    assert scores.error.isinf().all()
    assert torch.equal(scores.terms["ess"], torch.ones(B, dtype=torch.float64))


def test_the_curve_goes_from_the_elbo_by_draws_to_the_value(inexact):
    method = ImportanceSampling(45)
    scores = method(inexact.model, keyed(inexact), 3)
    log_w, curve = method.log_weights(inexact.model, keyed(inexact), 3).detach(), scores.terms["curve"]
    assert method.sizes == [1, 10, 45]
    assert curve.shape == (B, 3)
    assert torch.equal(curve[:, -1], scores.value)
    assert torch.allclose(curve[:, 0], log_w.mean(0), rtol=1e-12)
    blocks = [log_w[i : i + 10].exp().mean(0).log() for i in (0, 10, 20, 30)]  # five draws are left over
    assert torch.allclose(curve[:, 1], sum(blocks) / 4, rtol=1e-12)
    assert (curve.mean(0).diff() > 0).all()


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [(1, [1]), (2, [1, 2]), (10, [1, 10]), (11, [1, 10, 11]), (1000, [1, 10, 100, 1000])],
)
def test_the_curve_s_sizes_are_powers_of_ten_and_all(samples, sizes):
    assert ImportanceSampling(samples).sizes == sizes


# how the draws are made


@pytest.mark.parametrize("samples", [1, 7, 100, 2500])
def test_exactly_as_many_draws_as_asked_for_reach_the_decoder(inexact, samples):
    rows = []
    inexact.model.decoder.register_forward_hook(lambda module, given, y: rows.append(len(given[0])))
    log_w = ImportanceSampling(samples).log_weights(inexact.model, keyed(inexact), 0)
    assert sum(rows) == samples * B
    assert max(rows) <= joint.MOST_DRAWS
    assert log_w.shape == (samples, B)
    assert len({*log_w[:, 0].tolist()}) == samples  # and none twice


@pytest.mark.parametrize(
    ("name", "most"), [("MOST_DRAWS", 3 * B), ("CELLS", 8 * B * X), ("CELLS", 1), ("LATENTS", 7 * B * D)]
)
def test_draws_that_do_not_fit_at_once_are_the_same_draws(inexact, monkeypatch, name, most):
    method = ImportanceSampling(50)
    whole = method.log_weights(inexact.model, keyed(inexact), 0)
    monkeypatch.setattr(importance if name == "LATENTS" else joint, name, most)
    rows = []
    inexact.model.decoder.register_forward_hook(lambda module, given, y: rows.append(len(given[0])))
    assert torch.allclose(method.log_weights(inexact.model, keyed(inexact), 0), whole, rtol=1e-12)
    assert len(rows) > 5
    assert sum(rows) == 50 * B


def test_the_draws_of_a_row_come_from_its_key_and_the_seed_alone(inexact):
    method, batch = ImportanceSampling(20), keyed(inexact)
    whole = method.log_weights(inexact.model, batch, 0)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(method.log_weights(inexact.model, batch, 0), whole)
    some = [4, 1]
    part = method.log_weights(inexact.model, Batch(batch.x[some], key=batch.key[some]), 0)
    assert torch.allclose(part, whole[:, some], rtol=1e-12)
    assert not torch.allclose(method.log_weights(inexact.model, batch, 1), whole, rtol=1e-2)
    swapped = method.log_weights(inexact.model, Batch(batch.x, key=batch.key[::-1].copy()), 0)
    assert not torch.allclose(swapped, whole, rtol=1e-2)


def test_it_needs_no_gradient(inexact):
    scores = ImportanceSampling(5)(inexact.model, keyed(inexact), 0)
    assert not any(t.requires_grad for t in (scores.value, scores.error, *scores.terms.values()))


@pytest.mark.parametrize("samples", [0, -3])
def test_no_draws_are_refused(samples):
    with pytest.raises(VaekitError, match=f"samples is {samples}: give 1"):
        ImportanceSampling(samples)


# the tail of the weights


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_pareto_shape_is_that_of_a_generalised_pareto_distribution(shape):
    weights = stats.genpareto.rvs(shape, scale=3.0, size=(10_000, 40), random_state=2)
    found = pareto_shape(torch.from_numpy(np.log(weights)))
    assert found.mean().item() == pytest.approx(shape, abs=0.05)
    assert (found - shape).abs().max() < 0.4


@pytest.mark.parametrize(("sigma", "shape"), [(2.0, 0.0), (0.5, 0.75), (0.3, 0.91)])
def test_a_proposal_too_narrow_is_seen_and_one_too_wide_is_harmless(sigma, shape):
    """N(0, 1) by draws from N(0, σ²): log w = (1 − σ²) χ²/2, of shape 1 − σ² where that is positive."""
    z = sigma * torch.randn(10_000, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = pareto_shape(-0.5 * z.square() + 0.5 * (z / sigma).square())
    assert found.mean() == pytest.approx(shape, abs=0.15) if shape else (found < 0.1).all()


@pytest.mark.parametrize("name", ["uniform", "log-normal", "exponential"])
def test_weights_of_finite_variance_are_trusted(name):
    rng = np.random.default_rng(4)
    draw = {
        "uniform": rng.uniform,
        "log-normal": lambda size: rng.lognormal(0, 0.5, size),
        "exponential": lambda size: rng.exponential(1.0, size),
    }[name]
    found = pareto_shape(torch.from_numpy(np.log(draw(size=(2000, 50)))))
    assert (found < 0.7).all()
    assert found.mean() < 0.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [100, 5000])
def test_weights_that_differ_by_rounding_alone_are_trusted(dtype, samples):
    stone = Touchstone()
    batch = keyed(stone)
    batch = batch._replace(x=batch.x.to(dtype))
    found = ImportanceSampling(samples)(stone.model.to(dtype), batch, 0).terms["pareto_k"]
    assert (found < 0.5).all()
    large = 4000 + 2e-4 * torch.randn(samples, 20, generator=torch.Generator().manual_seed(6))
    assert (pareto_shape(large.double()) < 0.5).all()


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_the_shape_does_not_depend_on_the_scale_of_the_weights(offset):
    log_w = torch.randn(400, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert torch.allclose(pareto_shape(log_w + offset), pareto_shape(log_w), rtol=1e-6, atol=1e-6)
    far = pareto_shape(1000 * log_w)  # thousands of nats apart
    assert far.isfinite().all()
    assert (far > 0.7).all()


def test_fewer_than_25_draws_have_no_tail():
    log_w = torch.randn(25, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert pareto_shape(log_w[:24]).isnan().all()
    assert pareto_shape(log_w).isfinite().all()
