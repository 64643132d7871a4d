"""What training does about numbers that are not finite: leave out, go back, give up and say where."""

import numpy as np
import pytest
import torch
from torch import nn

from vaekit import nets, parts
from vaekit.core import Bound
from vaekit.data import Dataset, describe
from vaekit.models import VAE
from vaekit.objectives import ELBO
from vaekit.training import Recipe, State, TrainingError, fit
from vaekit.training.state import SETBACKS, SKIPS


class Broken(ELBO):
    """The ELBO, infinite at some steps."""

    def __init__(self, steps: range):
        super().__init__()
        self.steps = steps

    def forward(self, model, batch, *noise, step=0) -> Bound:
        bound = super().forward(model, batch, *noise, step=step)
        return bound._replace(loss=bound.loss * torch.inf) if step in self.steps else bound


def run(bench, state, until=None):
    return [r.metrics for r in fit(state, bench.rows, bench.validation) if r.metrics or r.step == until]


@pytest.mark.parametrize("start", [0, 1, 17])
@pytest.mark.parametrize("length", [1, SKIPS])
def test_a_few_batches_are_left_out(bench, start, length):
    state = bench.state(Broken(range(start, start + length)))
    records = run(bench, state)
    assert (state.step, state.setbacks, state.skipped) == (40, 0, 0)
    assert all(np.isfinite(record["elbo"]) for record in records)
    assert all("setbacks" not in record for record in records)


def test_more_in_a_row_take_training_back_to_the_weights_worth_keeping_at_half_the_rate(bench):
    state, plain = bench.state(Broken(range(20, 20 + SKIPS + 1))), bench.state()
    for step in range(20 + SKIPS):
        batch = bench.rows.train_batch(step, 16)
        if step < 20:
            state.advance(batch)
        else:
            assert state.recover()
    assert state.setbacks == 0
    assert state.recover()
    assert (state.setbacks, state.skipped, state.step) == (1, 0, 20 + SKIPS + 1)
    kept, now = state.weights(), state.last.state_dict()
    assert all(torch.equal(kept[name], now[name]) for name in kept)
    assert not any(moment.any() for moment in (*state.adam.means, *state.adam.squares, state.adam.steps))
    assert state.rate(30) == plain.rate(30) / 2
    records = run(bench, state)
    assert [record["setbacks"] for record in records] == [1] * len(records)
    assert state.step == 40


def test_it_gives_up_after_some_setbacks(bench):
    state = bench.state(Broken(range(5, 1000)), steps=1000)
    with pytest.raises(TrainingError, match="not finite at step"):
        run(bench, state)
    assert state.step == 5 + SETBACKS * (SKIPS + 1) + SKIPS
    assert all(p.isfinite().all() for p in state.model.parameters())


class Fragile(nn.Module):
    """A network that breaks on values above 20."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) / (x.amax(1, keepdim=True) < 20)


def test_the_row_the_column_and_the_term_are_named():
    x = np.random.default_rng(0).normal(size=(64, 3))
    x[37, 1] = 99.0
    schema = describe(x, ("height", "width", "depth"))
    posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Gaussian((3,), sigma="unit")
    encoder = Fragile(nets.MLP(3, (4,), posterior.features))
    model = VAE(encoder, posterior, parts.priors.StandardNormal(2), nets.MLP(2, (4,), 3), likelihood)
    state = State(model, ELBO(), Recipe(steps=100, batch_size=64))
    with pytest.raises(TrainingError) as error:
        for _ in fit(state, Dataset(x, schema, seed=0)):
            pass
    for word in ("It is the rate", "training row 37", "99 in column 'width'", "learning rate"):
        assert word in str(error.value)


class Foreign(nn.Module):
    """A likelihood with what `core.Likelihood` asks for, and nothing else."""

    inputs, features, shape = 3, 3, (3,)
    normalised, integers, support = True, False, "real numbers"

    def encode(self, x, mask=None):
        return x

    def supports(self, x):
        return torch.isfinite(x)

    def forward(self, y):
        return parts.likelihoods.Gaussian((3,), sigma="unit")(y)


@pytest.mark.parametrize(("objective", "cell", "sentence"), [
    (ELBO(), 55.0, "It is the rate; look at training row 21 (counted from 0)."),
    (Broken(range(100)), 0.0, "It is the gradient."),
])  # fmt: skip
def test_a_likelihood_of_the_contract_alone_is_diagnosed_without_the_most_extreme_value(objective, cell, sentence):
    x = np.random.default_rng(1).normal(size=(48, 3))
    x[21, 2] = cell
    posterior = parts.posteriors.Diagonal(2)
    encoder = Fragile(nets.MLP(3, (4,), posterior.features))
    model = VAE(encoder, posterior, parts.priors.StandardNormal(2), nets.MLP(2, (4,), 3), Foreign())
    state = State(model, objective, Recipe(steps=100, batch_size=48))
    with pytest.raises(TrainingError) as error:
        list(fit(state, Dataset(x, describe(x), seed=0)))
    assert str(error.value).endswith(sentence)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("learning_rate", [1e-3, 0.1, 1.0])
def test_nothing_that_is_not_finite_is_ever_kept(make_bench, scale, learning_rate):
    bench = make_bench()
    bench.x = bench.x * scale
    bench.schema = describe(bench.x)
    bench.rows = bench.validation = Dataset(bench.x, bench.schema, seed=0)
    state = bench.state(learning_rate=learning_rate, warmup=0)
    try:
        records = run(bench, state)
        assert all(np.isfinite(list(record.values())).all() for record in records)
    except TrainingError as error:
        assert "training row" in str(error)  # noqa: PT017
    assert all(tensor.isfinite().all() for tensor in state.tensors().values())
