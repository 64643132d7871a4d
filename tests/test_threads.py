"""One thread an operation, for as long as it is asked for."""

from threading import Event, Thread

import numpy as np
import pytest
import torch
from torch import nn

from vaekit import evaluation, inference, parts
from vaekit.data import Dataset, describe
from vaekit.inference import posterior_means
from vaekit.models import VAE
from vaekit.threads import single_threaded, suited


@pytest.fixture(autouse=True)
def three(threads):
    torch.set_num_threads(3)


def test_the_number_is_given_and_put_back():
    with single_threaded() as count:
        assert (count, torch.get_num_threads()) == (3, 1)
    assert torch.get_num_threads() == 3


def test_the_number_is_put_back_after_an_error():
    with pytest.raises(KeyError), single_threaded():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_who_does_not_wait_leaves_the_number_of_another_alone():
    begun, ended, found = Event(), Event(), []

    def other() -> None:
        with single_threaded():
            begun.set()
            ended.wait(60)

    thread = Thread(target=other)
    thread.start()
    begun.wait(60)
    with single_threaded(wait=False) as count:
        found.append((count, torch.get_num_threads()))
    ended.set()
    thread.join()
    assert found == [(3, 3)]
    with single_threaded(wait=False):
        assert torch.get_num_threads() == 1


class Watched(nn.Linear):
    """Notes the number of threads that it is called with."""

    def forward(self, x):
        self.__dict__.setdefault("seen", set()).add(torch.get_num_threads())
        return super().forward(x)


PASSES = {
    "encode": lambda model, rows: inference.encode(model, rows),
    "decode": lambda model, rows: inference.decode(model, torch.zeros(9, 2)),
    "reconstruct": lambda model, rows: inference.reconstruct(model, rows, 2, torch.Generator().manual_seed(0)),
    "sample": lambda model, rows: inference.sample(model, 9, torch.Generator().manual_seed(0)),
    "ELBO": lambda model, rows: evaluation.elbo(model, rows),
    "means": lambda model, rows: posterior_means(model, rows.blocks()),
    "rate": lambda model, rows: evaluation.rate_parts(model, rows, points=50),
    "log p": lambda model, rows: evaluation.log_likelihood(model, rows, evaluation.ImportanceSampling(5)),
}


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(("narrow", "expected"), [(2**40, 1), (0, 3)])
def test_passes_of_narrow_networks_take_one_thread(monkeypatch, name, narrow, expected):
    monkeypatch.setattr("vaekit.threads.NARROW", narrow)
    x = np.random.default_rng(0).normal(size=(40, 3))
    posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Gaussian((3,))
    encoder, decoder = Watched(3, posterior.features), Watched(2, likelihood.features)
    model = VAE(encoder, posterior, parts.priors.StandardNormal(2), decoder, likelihood)
    PASSES[name](model, Dataset(x, describe(x), seed=0))
    seen = getattr(encoder, "seen", set()) | getattr(decoder, "seen", set())
    assert seen == {1 if name == "log p" else expected}
    assert torch.get_num_threads() == 3


def test_work_that_is_wide_or_of_no_known_size_keeps_the_threads():
    for model, draws in ((nn.Linear(100, 100), 10_000), (nn.Conv2d(1, 1, 3), 1), (object(), 1)):
        with suited(model, draws):
            assert torch.get_num_threads() == 3
    with suited(nn.Linear(100, 100), 100):
        assert torch.get_num_threads() == 1
