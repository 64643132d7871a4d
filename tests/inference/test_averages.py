"""Bounds averaged over rows: the same rows and weights give the same numbers."""

import numpy as np
import pytest
import torch
from touchstone import D, X

from vaekit import core
from vaekit.data import Dataset, describe
from vaekit.inference import active_units, over_rows, posterior_means
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.parts import likelihoods, posteriors, priors


def a_model() -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = MLP(X, (8,), 2 * D), MLP(D, (8,), X)
    return VAE(encoder, posteriors.Diagonal(D), priors.StandardNormal(D), decoder, likelihoods.Gaussian((X,)))


def test_over_rows_repeats_and_does_not_depend_on_neighbours_or_place():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, X)).astype(np.float32)
    x[40] = x[3]
    model = a_model()
    score = lambda x, size=16, seed=0: over_rows(  # noqa: E731
        ELBO(samples=3), model, Dataset(x, describe(x), seed=0).blocks(size), seed
    )
    first = score(x)
    assert first.value.shape == first.terms["rate"].shape == first.terms["distortion"].shape == (50,)
    assert first.means.shape == (50, D)
    assert not first.value.requires_grad
    assert torch.equal(first.value, score(x).value)
    assert torch.allclose(first.value[3], first.value[40], rtol=1e-6)
    order = rng.permutation(50)
    assert torch.allclose(score(x[order]).value, first.value[order], rtol=1e-5)
    assert torch.allclose(score(x, size=7).value, first.value, rtol=1e-5)
    assert torch.allclose(score(x[10:11], size=1).value, first.value[10:11], rtol=1e-5)
    assert (score(x, seed=1).value - first.value).abs().mean() > 1e-3  # the noise is there
    assert torch.allclose(first.value, -first.terms["rate"] - first.terms["distortion"])


@pytest.mark.parametrize("objective", [ELBO(samples=7), ImportanceWeighted(samples=6)])
@pytest.mark.parametrize("budget", [1, 50, 400])
def test_what_fits_into_memory_changes_nothing_but_rounding(objective, budget, monkeypatch):
    x = np.random.default_rng(0).normal(size=(21, X)).astype(np.float32)
    model, rows = a_model(), Dataset(x, describe(x), seed=0)
    whole, largest = over_rows(objective, model, rows.blocks(), 0), []
    seen = lambda module, inputs: largest.append(inputs[0][..., 0].numel())  # noqa: E731
    model.decoder.register_forward_pre_hook(seen)
    monkeypatch.setattr(core, "BUDGET", budget)
    cut = over_rows(objective, model, rows.blocks(), 0)
    each = lambda found: {"value": found.value, "means": found.means, **found.terms}  # noqa: E731
    for name, value in each(whole).items():
        assert torch.allclose(each(cut)[name], value, rtol=1e-5, atol=1e-6), name
    assert torch.allclose(posterior_means(model, rows.blocks()), whole.means, rtol=1e-5, atol=1e-6)
    least = 1 if isinstance(objective, ELBO) else objective.samples  # whose draws are averaged in the logarithm
    assert max(largest) <= max(least, budget / model.width)


def test_active_units_are_those_that_vary_over_rows():
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None].repeat(3, 1)
    encoder, posterior = MLP(3, (), 4), posteriors.Diagonal(2)
    with torch.no_grad():
        encoder.layers[-1].weight.zero_()
        encoder.layers[-1].weight[0, 0] = 1.0  # Var = 0.35
        encoder.layers[-1].weight[1, 0] = 0.1  # Var = 0.0035
    likelihood = likelihoods.Gaussian((3,), sigma="unit")
    model = VAE(encoder, posterior, priors.StandardNormal(2), MLP(2, (), 3), likelihood)
    rows = Dataset(x, describe(x), seed=0)
    means = over_rows(ELBO(), model, rows.blocks(8), 0).means
    assert torch.equal(posterior_means(model, rows.blocks(8)), means)
    assert active_units(means) == 1
