"""Columns of several kinds: what a family does not support is surprising, and never refused."""

import math

import numpy as np
import polars
import pytest
import torch

from vaekit import VAE
from vaekit.data import describe
from vaekit.data.columns import ColumnType
from vaekit.distributions import Bernoulli, NegativeBinomial, Unforeseen
from vaekit.parts import likelihoods


def table(n: int, seed: int = 0) -> np.ndarray:
    """A real column, truths, whole numbers, positive ones, and amounts."""
    rng = np.random.default_rng(seed)
    amounts = np.where(rng.random(n) < 0.4, 0, np.exp(rng.normal(1, 0.8, n)))
    return np.column_stack(
        [rng.normal(size=n), rng.random(n) < 0.3, rng.poisson(3, n), np.exp(rng.normal(0, 1, n)), amounts]
    ).astype(np.float64)


ODD = {"a truth": (1, 2.0), "below a count": (2, -1.0), "half a count": (2, 2.5), "not positive": (3, 0.0),
       "an owed amount": (4, -3.0), "a fraction of a truth": (1, 0.5)}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(max_epochs=1, hidden=(8,), device="cpu", random_state=0).fit(table(200))


@pytest.mark.parametrize(("column", "value"), ODD.values(), ids=ODD)
def test_a_cell_of_a_kind_that_fitting_never_saw_is_surprising(fitted, column, value):
    rows = table(5, seed=1)
    usual = fitted.score_samples(rows)
    rows[3, column] = value
    scores = fitted.score_samples(rows)
    assert np.isfinite(scores).all()
    assert scores[3] < usual[3] - 5
    others = [0, 1, 2, 4]
    assert (scores[others] == usual[others]).all()


def test_a_table_of_one_kind_meets_the_same():
    rng = np.random.default_rng(0)
    model = VAE(max_epochs=1, hidden=(8,), device="cpu").fit(np.exp(rng.normal(0, 1, (100, 3))))
    assert np.isfinite(model.score_samples([[1.0, 0.0, 2.0]])).all()


def test_a_level_that_fitting_never_saw_is_refused():
    frame = polars.DataFrame({"x": np.arange(60.0) ** 1.5, "of": ["a", "b"] * 30})
    model = VAE(max_epochs=1, hidden=(8,), device="cpu").fit(frame)
    with pytest.raises(ValueError, match="'c'"):
        model.score_samples(polars.DataFrame({"x": [1.0], "of": ["c"]}))


def test_the_encoder_does_not_look_at_what_is_not_supported():
    likelihood = likelihoods.Columns.of(describe(table(300)))
    rows = torch.from_numpy(table(4, seed=2)).float()
    odd = rows.clone()
    odd[:, 1] = 2
    odd[:, 3] = -1
    gone = torch.ones_like(rows, dtype=torch.bool)
    gone[:, [1, 3]] = False
    assert torch.equal(likelihood.encode(odd), likelihood.encode(rows, gone))


@pytest.mark.parametrize(
    ("inner", "supports"),
    [
        (Bernoulli(torch.tensor([0.7])), lambda x: (x == 0) | (x == 1)),
        (NegativeBinomial(torch.tensor([0.5]), torch.tensor([0.0])), lambda x: (x >= 0) & (x == x.floor())),
    ],
    ids=["truths", "counts"],
)
def test_what_was_foreseen_and_what_was_not_are_one_at_most(inner, supports):
    p = Unforeseen(inner, supports, torch.tensor([1.0]), torch.tensor([1.5]), probability=0.1)
    whole = torch.arange(-5_000.0, 5_000)[:, None]
    broken = torch.linspace(-5_000, 5_000, 2_000_001)[:, None]
    broken = broken[~supports(broken)[:, 0]]
    total = p.log_prob(whole).exp().sum() + p.log_prob(broken).exp().sum() * 5e-3
    assert 0.95 < total.item() <= 1 + 1e-4
    assert p.log_prob(torch.tensor([1.0])).item() == pytest.approx(inner.log_prob(torch.tensor([1.0])) + math.log(0.9))


def test_categories_of_an_array_are_as_they_were_declared():
    types = (ColumnType("category", levels=("0", "1", "2")), ColumnType())
    rows = np.column_stack([np.arange(30) % 3, np.random.default_rng(0).normal(size=30)])
    likelihood = likelihoods.Columns.of(describe(rows, types=types))
    assert likelihood.supports(torch.tensor([[2.0, 0.5], [3.0, 0.5]])).tolist() == [[True, True], [False, True]]
