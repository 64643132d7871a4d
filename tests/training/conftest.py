"""A model small enough to be trained hundreds of times."""

import numpy as np
import pytest
import torch

from vaekit import nets, parts
from vaekit.data import Dataset, describe
from vaekit.models import VAE
from vaekit.objectives import ELBO
from vaekit.training import Recipe, State

SHAPE, LATENTS = (4,), 2


def table(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(2, 4))
    return rng.normal(size=(rows, 2)) @ mixing + 0.3 * rng.normal(size=(rows, 4))


class Bench:
    """64 rows, 16 a step, and validation rows of the same kind."""

    def __init__(self, rows: int = 64, width: int = 8):
        self.x, self.width = table(rows, seed=2), width
        self.schema = describe(self.x)
        self.rows = Dataset(self.x, self.schema, seed=0)
        self.validation = Dataset(table(40, seed=3), self.schema, seed=0)

    def state(self, objective=None, **recipe) -> State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            posterior = parts.posteriors.Diagonal(LATENTS)
            likelihood = parts.likelihoods.Gaussian(SHAPE, mean=self.schema.array("mean"), floor=1e-3)
            encoder = nets.MLP(4, (self.width,), posterior.features)
            decoder = nets.MLP(LATENTS, (self.width,), likelihood.features)
        model = VAE(encoder, posterior, parts.priors.StandardNormal(LATENTS), decoder, likelihood)
        return State(model, objective or ELBO(), Recipe(**{"steps": 40, "batch_size": 16, "record_steps": 10} | recipe))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def make_bench():
    return Bench
