"""One step: what it changes, what it leaves, and what it refuses."""

import copy
from collections.abc import Callable

import pytest
import torch

from vaekit.core import Bound
from vaekit.errors import VaekitError
from vaekit.noise import derive_seed
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.training import TrainingError


class Altered(ELBO):
    """The ELBO, its loss changed at one step."""

    def __init__(self, at: int, change: Callable):
        super().__init__()
        self.at, self.change = at, change

    def forward(self, model, batch, *noise, step=0) -> Bound:
        bound = super().forward(model, batch, *noise, step=step)
        return bound._replace(loss=self.change(bound.loss, model)) if step == self.at else bound


def weights(state) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


def test_the_averaged_weights_are_the_running_average(bench):
    state = bench.state()
    averaged = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    for step in range(12):
        state.advance(bench.rows.train_batch(step, 16))
        decay = state.recipe.decay(step)
        for name, parameter in state.model.named_parameters():
            averaged[name] = decay * averaged[name] + (1 - decay) * parameter.detach()
    for name, parameter in state.averaged.named_parameters():
        assert torch.allclose(parameter, averaged[name], atol=1e-6), name
    moved = [not torch.equal(a, b) for a, b in zip(state.averaged.parameters(), state.model.parameters(), strict=True)]
    assert all(moved)


def test_without_averaging_they_are_the_weights(bench):
    state = bench.state(averaging=0.0)
    for step in range(3):
        state.advance(bench.rows.train_batch(step, 16))
    for a, b in zip(state.averaged.parameters(), state.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_averaged_model_needs_no_gradients(bench):
    state = bench.state()
    assert not any(p.requires_grad for p in state.averaged.parameters())
    assert not state.averaged.training
    assert not state.trained().training


def test_the_optimiser_is_adam_at_the_schedule_s_rate(bench):
    state = bench.state(clip=0, steps=5)
    twin = copy.deepcopy(state.model)
    adam = torch.optim.Adam(twin.parameters(), betas=state.recipe.betas)
    for step in range(5):
        batch = bench.rows.train_batch(step, 16)
        source = torch.Generator().manual_seed(derive_seed(0, "noise", step))
        loss = ELBO()(twin, batch, torch.randn(1, 16, 2, generator=source)).loss
        adam.zero_grad()
        loss.backward()
        adam.param_groups[0]["lr"] = state.recipe.rate(step)
        adam.step()
        state.advance(batch)
    for a, b in zip(state.model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def followed(state, batch) -> torch.Tensor:
    """The gradient that a step follows, from what it does to Adam's mean: m ← β m + (1 − β) g"""
    first, before = state.recipe.betas[0], torch.cat([m.flatten() for m in state.adam.means])
    state.advance(batch)
    return (torch.cat([m.flatten() for m in state.adam.means]) - first * before) / (1 - first)


def test_a_sudden_long_gradient_is_shortened_and_an_ordinary_one_is_not(bench):
    spiked = bench.state(Altered(20, lambda loss, model: 1e4 * loss))
    plain = bench.state()
    for step in range(20):
        for state in (spiked, plain):
            state.advance(bench.rows.train_batch(step, 16))
    mean = plain.gradient_norm
    batch = bench.rows.train_batch(20, 16)
    ordinary, shortened = followed(plain, batch), followed(spiked, batch)
    assert ordinary.norm().item() < 4 * mean  # left as it is
    assert shortened.norm().item() == pytest.approx(4 * mean, rel=1e-4)
    assert spiked.gradient_norm == pytest.approx(mean + 0.05 * (4 * mean - mean), rel=1e-4)
    assert torch.cosine_similarity(ordinary, shortened, dim=0) == pytest.approx(1, abs=1e-4)


def test_the_running_length_follows_the_gradients(bench):
    state, expected = bench.state(clip=0), None
    for step in range(6):
        length = followed(state, bench.rows.train_batch(step, 16)).norm().item()
        expected = length if expected is None else expected + 0.05 * (length - expected)
        assert state.gradient_norm == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda loss, model: loss * float("nan"),
        lambda loss, model: loss + float("inf"),
        lambda loss, model: loss + next(model.parameters()).sum().mul(0).sqrt(),  # finite, with a gradient that is not
    ],
    ids=["nan", "inf", "gradient"],
)
@pytest.mark.parametrize("step", [0, 3])
def test_a_number_that_is_not_finite_stops_the_run_and_changes_nothing(bench, change, step):
    state = bench.state(Altered(step, change))
    for earlier in range(step):
        state.advance(bench.rows.train_batch(earlier, 16))
    before, counters = weights(state), state.counters()
    with pytest.raises(TrainingError, match=rf"step {step}\b") as error:
        state.advance(bench.rows.train_batch(step, 16))
    assert "learning rate" in str(error.value)
    assert isinstance(error.value, VaekitError)
    assert state.counters() == counters
    after = state.tensors()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_noise_and_step_leave_the_global_random_state_alone(bench):
    state, before = bench.state(), torch.random.get_rng_state()
    state.advance(bench.rows.train_batch(0, 16))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_tensor_and_counter_is_carried_over(bench):
    state = bench.state()
    for step in range(7):
        state.advance(bench.rows.train_batch(step, 16))
    state.best = {name: tensor + 1 for name, tensor in state.smooth.state_dict().items()}
    state.best_value, state.best_step, state.stale, state.sums = -1.5, 4, 2, {"elbo": -3.0, "steps": 7.0}
    other = bench.state()
    other.load(weights(state), state.counters())
    for a, b in ((state, other), (other, state)):
        a, b = a.tensors(), b.tensors()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert other.counters() == state.counters()
    assert (other.step, other.best_value, other.best_step, other.stale) == (7, -1.5, 4, 2)
    assert other.sums == {"elbo": -3.0, "steps": 7.0}
    assert other.gradient_norm == state.gradient_norm > 0
    assert {name.split("/")[0] for name in state.tensors()} == {
        "last", "averaged", "best", "adam-step", "adam-exp_avg", "adam-exp_avg_sq",
    }  # fmt: skip


@pytest.mark.parametrize("make", [ELBO, ImportanceWeighted])
def test_a_warm_up_is_a_part_of_the_training(bench, make):
    assert bench.state(make(warmup=0.3), steps=40).settled == 12
    with pytest.raises(VaekitError, match=r"warmup is 1: .*below 1"):
        make(warmup=1)
