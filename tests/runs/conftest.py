"""A run small enough to be trained hundreds of times."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vaekit.data import Source
from vaekit.runs import Run, checkpoint
from vaekit.settings import Prepared, Settings, prepare
from vaekit.training import State, fit


class Small:
    """64 rows of 3 columns, a linear model with one latent; 4 steps an epoch, 12 epochs, validated."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.source = Source(rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)), ("a", "b", "größe"), name="small")
        self.settings = Settings().changed(
            latent_dim=1, hidden=(3,), epochs=12, batch_size=16, patience=0, likelihood="gaussian:sigma=shared",
            validation=0.2, test=0.0, device="cpu",
        )  # fmt: skip
        self.data = {"name": "small", "digest": self.source.digest, "train": 64, "validation": 16, "test": 0}

    def prepare(self, **changes) -> Prepared:
        return prepare(self.settings.changed(**changes), self.source)

    def create(self, folder: Path, prepared: Prepared, **options) -> Run:
        return Run.create(folder, prepared.settings, prepared.schema, self.data, **options)

    def trained(self, steps: int) -> Prepared:
        prepared = self.prepare()
        for record in fit(prepared.state, prepared.rows["train"], prepared.rows["validation"]):
            if record.step == steps:
                break
        return prepared


def manifest(folder: Path) -> dict:
    """What a run's newest checkpoint says."""
    return checkpoint.read(newest(folder)).manifest


def newest(folder: Path) -> Path:
    """The file of a run's newest checkpoint."""
    return checkpoint.files(folder)[0]


def named(folder: Path, name: str) -> Path:
    """A file of a run by what it is: "checkpoint" is the newest."""
    return newest(folder) if name == "checkpoint" else folder / name


def assert_equal(a: State, b: State) -> None:
    """Two training states are the same to the last bit."""
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name
    assert a.counters() == b.counters()


@pytest.fixture(scope="session")
def small() -> Small:
    return Small()


@pytest.fixture
def same():
    return assert_equal
