"""Models of p(x|c): what conditions say, and what they must not."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from vaekit.data import Source, describe
from vaekit.data.columns import ColumnType
from vaekit.errors import VaekitError
from vaekit.evaluation import ImportanceSampling, log_likelihood
from vaekit.nets import MLP
from vaekit.parts import Conditions
from vaekit.settings import Settings, dataset, prepare
from vaekit.training import fit

RNG = np.random.default_rng(7)
N = 300
SITE = ColumnType("category", levels=("a", "b", "c"))
C = np.stack([RNG.normal(40, 12, N), RNG.integers(0, 3, N)], 1)
EFFECT = RNG.normal(size=(4, 2))
X = (C - C.mean(0)) @ EFFECT.T + RNG.normal(size=(N, 2)) @ RNG.normal(size=(2, 4)) + 0.5 * RNG.normal(size=(N, 4))
NAMES = ("p", "age", "q", "site", "r", "s")
NUMBERS = ColumnType()


def table(c: np.ndarray = C, x: np.ndarray = X) -> Source:
    """x and c as one table, with the conditions in the midst of it."""
    cells = np.stack([x[:, 0], c[:, 0], x[:, 1], c[:, 1], x[:, 2], x[:, 3]], 1)
    types = (NUMBERS, NUMBERS, NUMBERS, SITE, NUMBERS, NUMBERS)
    return Source(cells, NAMES, name="table", types=types)


def prepared(source: Source, **changes):
    small = {"latent_dim": 2, "likelihood": "gaussian", "hidden": (8,), "epochs": 2, "device": "cpu"}
    return prepare(Settings().changed(**small | changes), source)


def trained(source: Source, **changes):
    """(what was prepared, the model after some epochs)"""
    made = prepared(source, **changes)
    for _ in fit(made.state, made.rows["train"], made.rows["validation"]):
        pass
    return made, made.state.trained()


def scores(model, rows) -> np.ndarray:
    return log_likelihood(model, rows, ImportanceSampling(20), 0).value.numpy()


@pytest.mark.parametrize("posterior", ["diagonal", "full", "experts"])
def test_the_linear_model_starts_at_its_closed_form(posterior):
    """x = A c + b + W z + e: log p(x|c) is that of N(A c + b, W Wᵀ + Ψ)."""
    network = "skip" if posterior == "experts" else "mlp"
    x = X.copy()
    if posterior == "experts":
        x[::7, 1] = np.nan
    made = prepared(table(x=x).conditioned(["age", "site"]), hidden=(), network=network, posterior=posterior)
    model = made.state.trainable.smooth.model
    rows = made.rows["validation"]
    batch = rows.scoring_batch(torch.arange(len(rows)))
    C_ = batch.c.shape[1]
    with torch.no_grad():
        px = model.decode(torch.zeros(1, 1, 2), torch.zeros(1, C_))
        b = px.mean[0, 0]
        W = (model.decode(torch.eye(2)[None], torch.zeros(2, C_)).mean[0] - b).T
        A = (model.decode(torch.zeros(1, C_, 2), torch.eye(C_)).mean[0] - b).T
        mean = (batch.c @ A.T + b).double().numpy()
    covariance = (W @ W.T).double().numpy() + np.diag(px.stddev[0, 0].detach().double().numpy() ** 2)
    observed = np.ones(mean.shape, bool) if batch.mask is None else batch.mask.numpy()
    exact = [
        multivariate_normal(m[there], covariance[np.ix_(there, there)]).logpdf(row[there])
        for row, m, there in zip(batch.x.double().numpy(), mean, observed, strict=True)
    ]
    found = log_likelihood(model, rows, ImportanceSampling(500), 0).value.numpy()
    assert A.abs().max() > 0.1
    np.testing.assert_allclose(found, exact, atol=1e-4)


def test_the_start_is_the_regression_on_the_conditions():
    """What one more of a number adds to x, in the units of both, the levels as they are."""
    made = prepared(table().conditioned(["age", "site"]), hidden=(), network="mlp", validation=0.0)
    size = made.rows["train"].c.shape[1]
    c = torch.zeros(2, size)
    c[1, 0] = 1
    low, high = made.state.model.decode(torch.zeros(1, 2, 2), c).mean[0].detach().numpy()
    train = made.split["train"]
    design = np.column_stack([C[train, 0], np.eye(3)[C[train, 1].astype(int)]])
    wanted = np.linalg.lstsq(design, X[train], rcond=None)[0][0]
    np.testing.assert_allclose(
        (high - low) / made.schema.conditions.array("scale")[0], wanted, rtol=0.02
    )  # a few rows of c that changes nothing


def test_constant_conditions_are_no_conditions():
    source = table(np.full_like(C, 2.0)).conditioned(["age", "site"])
    alone = Source(X, ("p", "q", "r", "s"), name="table", types=(NUMBERS,) * 4)
    _, given = trained(source)
    _, without = trained(alone)
    weights, same = given.state_dict(), without.state_dict()
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_what_an_unknown_condition_holds_changes_nothing():
    """Of a cell that is not known nothing is in c but that; so with one that is too far out to train on."""
    cells = C.copy()
    cells[::5, 0] = np.nan
    cells[1, 0] = 1e9
    schema = describe(cells, names=("age", "site"), types=(NUMBERS, SITE))
    unknown = Conditions(schema).codes(cells[:1])
    assert unknown.isfinite().all()
    assert not unknown[0, 0]  # the mean
    for far in (1e8, -1e12):
        extreme = cells[:1].copy()
        extreme[0, 0] = far
        assert torch.equal(Conditions(schema).codes(extreme, hide_extremes=True), unknown)


def test_rows_do_not_hear_the_conditions_of_others():
    made, model = trained(table().conditioned(["age", "site"]))
    source = table().conditioned(["age", "site"])
    numbers = np.arange(40)
    before = scores(model, dataset(source, made.schema, 0, torch.device("cpu"), numbers))
    moved = C.copy()
    moved[3, 1] = (moved[3, 1] + 1) % 3
    moved[9, 0] = np.nan
    after = scores(
        model, dataset(table(moved).conditioned(["age", "site"]), made.schema, 0, torch.device("cpu"), numbers)
    )
    assert np.flatnonzero(before != after).tolist() == [3, 9]
    fewer = dataset(source, made.schema, 0, torch.device("cpu"), numbers[::-3])
    np.testing.assert_array_equal(scores(model, fewer), before[::-3])


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet", "local"])
def test_networks_of_images_are_given_labels(network):
    images = RNG.integers(0, 17, (60, 8, 8)).astype(float)
    labels = RNG.integers(0, 3, 60)
    source = Source(images, labels=labels, name="images", layout="image").conditioned(["label"])
    latents = 16 if network == "local" else 2
    made, model = trained(source, network=network, hidden=(4,), latent_dim=latents, epochs=20)
    rows = dataset(source, made.schema, 0, torch.device("cpu"))
    other = Source(images, labels=(labels + 1) % 3, name="images", layout="image").conditioned(
        ["label"], made.schema.conditions.types
    )
    moved = dataset(other, made.schema, 0, torch.device("cpu"))
    assert (scores(model, rows) != scores(model, moved)).all()


def test_a_network_that_takes_no_conditions_is_refused():
    with pytest.raises(VaekitError, match="takes no conditions: give what makes it a parameter `conditions`"):
        prepared(table().conditioned(["age", "site"]), network=unconditional)


def unconditional(posterior, likelihood) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Networks that know of no c."""
    return MLP(likelihood.inputs, (), posterior.features), MLP(posterior.latent_dim, (), likelihood.features)
