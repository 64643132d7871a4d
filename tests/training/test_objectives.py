"""Objectives with parameters of their own, and such as have no bound: trained, selected on, saved and resumed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core import Bound, Objective
from vaekit.inference import over_rows
from vaekit.objectives import ELBO
from vaekit.training import Recipe, State, fit

D = 2


class Criticised(ELBO):
    """The ELBO and a critic that tells z from z with its latents shuffled; neither has the other's gradient (Kim & Mnih
    2018, arXiv:1802.05983)."""

    def __init__(self, weight: float = 2.0):
        super().__init__()
        self.weight = weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(9)
            self.critic = nn.Sequential(nn.Linear(D, 8), nn.LeakyReLU(), nn.Linear(8, 1))

    def forward(self, model, batch, *noise, step=0) -> Bound:
        bound = super().forward(model, batch, *noise, step=step)
        z = model.draw(batch, noise[0]).z.flatten(0, 1)
        held = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        correlation = torch.func.functional_call(self.critic, held, (z,)).mean()
        still = z.detach()
        shuffled = torch.stack([column.roll(j + 1) for j, column in enumerate(still.unbind(-1))], -1)
        mistaken = F.softplus(-self.critic(still)).mean() + F.softplus(self.critic(shuffled)).mean()
        return bound._replace(loss=bound.loss + self.weight * correlation + mistaken)


class Squared(Objective):
    """The squared error of x̂ at the posterior mean: no bound on anything."""

    name = "squared"
    bounded = False

    def noise(self, model, rows) -> tuple:
        return ()

    def forward(self, model, batch, *noise, step=0) -> Bound:
        z = model.encode(batch).mean
        error = (model.decode(z[None]).mean[0] - batch.x).square().sum(-1)
        return Bound(None, error.mean(), {"error": error.detach()})


def weights(state: State) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


def test_a_critic_is_trained_with_the_model_and_changes_no_value(bench):
    state = bench.state(Criticised())
    before = weights(state)
    records = [record.metrics for record in fit(state, bench.rows, bench.validation) if record.metrics]
    after = weights(state)
    critic = [name for name in after if name.startswith("last/objective.critic.")]
    assert len(critic) == 4
    assert all(not torch.equal(after[name], before[name]) for name in critic)
    averaged = [name.replace("last/", "averaged/") for name in critic]
    assert all(not torch.equal(after[name], before[name]) for name in averaged)
    plain = over_rows(ELBO(), state.averaged, bench.validation.blocks(), 0).value
    assert torch.equal(over_rows(state.objective, state.averaged, bench.validation.blocks(), 0).value, plain)
    assert "loss" not in records[-1]


def test_a_critic_is_resumed_to_the_same_bits(bench):
    whole = bench.state(Criticised())
    for _ in fit(whole, bench.rows, bench.validation):
        pass
    first = bench.state(Criticised())
    for record in fit(first, bench.rows, bench.validation):
        if record.step == 17:
            break
    second = bench.state(Criticised())
    second.load(weights(first), first.counters())
    for _ in fit(second, bench.rows, bench.validation):
        pass
    assert all(torch.equal(tensor, second.tensors()[name]) for name, tensor in whole.tensors().items())


def test_without_a_bound_the_loss_on_rows_held_out_is_selected_on(bench):
    state = bench.state(Squared(), steps=60)
    records = [record.metrics for record in fit(state, bench.rows, bench.validation) if record.metrics]
    assert "squared" not in records[-1]
    assert "validation_squared" not in records[-1]
    losses = {record["step"]: record["validation_loss"] for record in records}
    assert state.best_step == min(losses, key=losses.get)
    assert state.best_value == pytest.approx(-losses[state.best_step])
    assert records[-1]["validation_loss"] < records[0]["validation_loss"]


def test_without_rows_held_out_it_is_judged_by_its_training_loss(bench):
    state = bench.state(Squared())
    records = [record.metrics for record in fit(state, bench.rows) if record.metrics]
    assert state.reference >= -records[-1]["loss"] - Recipe(steps=1).tolerance
