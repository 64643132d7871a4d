"""A step as it is recorded for an accelerator does what the plain one does. Here it is gone through each time, as there
is no graph without an accelerator; tests/accelerator has those with one."""

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch

from vaekit.core import Batch
from vaekit.data import Source
from vaekit.settings import Settings, prepare
from vaekit.settings.automatic import has_compiler
from vaekit.training import TrainingError, fit
from vaekit.training import compiled as compiling
from vaekit.training import recorded as recording
from vaekit.training.compiled import Compiled, Flat
from vaekit.training.recorded import ALIGNED, CompiledRecording, Recorded, Recording
from vaekit.training.state import stepper
from vaekit.training.step import Eager, Pace, of_numbers

pytestmark = [pytest.mark.filterwarnings(f"ignore:`torch.{part}") for part in ("jit", "_prims")]  # of torch by torch
TABLE = Source(np.random.default_rng(0).normal(size=(300, 5)))
SMALL = {"hidden": (8,), "latent_dim": 2, "batch_size": 32, "epochs": 3, "validation": 0.0, "test": 0.0,
         "device": "cpu", "precision": "float32", "compile": "off"}  # fmt: skip
CASES = {
    "elbo": {},
    "doubly reparameterised": {"objective": "iwae:samples=4,gradient=doubly-reparameterised"},
    "iwae, full covariance": {"objective": "iwae:samples=3", "posterior": "full"},
    "warm-up": {"objective": "elbo:beta=2.0,warmup=0.5"},
}


class Unrecorded(Recording):
    """The recorded step without a graph."""

    def __init__(self, trainable, batch, noise, settled):
        self.trainable = trainable
        self.settled = settled
        self.pace = torch.zeros(len(Pace._fields))

    def play(self, batch, noise, pace, ahead):
        self.batch, self.noise = batch, noise
        self.pace.copy_(torch.tensor(pace))
        names, numbers = self._step(self.trainable)
        ahead()
        return of_numbers(names, numbers)


class UnrecordedCompiled(Unrecorded, CompiledRecording):
    """The compiled one without a graph."""

    def __init__(self, trainable, batch, noise, settled):
        layout = Flat(trainable.parameters, ALIGNED)
        self.flat = layout.of(trainable)
        self.function = compiling.compiled(compiling.tensor_step(trainable, layout, settled), {})
        super().__init__(trainable, batch, noise, settled)


CLIPS = (0.0, 0.3)
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
compiled_slowly = (needs_compiler, pytest.mark.slow)


@pytest.fixture(autouse=True)
def from_the_third_step_on(monkeypatch):
    monkeypatch.setattr(compiling, "EAGERLY", 2)
    monkeypatch.setattr(recording, "Recording", Unrecorded)
    monkeypatch.setattr(recording, "CompiledRecording", UnrecordedCompiled)


def state(way, **changes):
    prepared = prepare(Settings().changed(**{**SMALL, **changes}), TABLE)
    way.settled = prepared.state.settled
    prepared.state.stepper = way
    return prepared.state, prepared.rows["train"]


def test_which_step_a_training_takes():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    found = [type(stepper(on, 0, device)) for on in (False, True) for device in (cpu, cuda)]
    assert found == [Eager, Recorded, Compiled, Recorded]


@pytest.mark.parametrize(
    ("changes", "clip", "compiled"),
    [
        *(
            pytest.param(changes, clip, False, id=f"{name}, {clip}")
            for name, changes in CASES.items()
            for clip in CLIPS
        ),
        pytest.param(CASES["doubly reparameterised"], 0.3, True, id="compiled", marks=compiled_slowly),
    ],
)
def test_a_recorded_step_changes_what_the_plain_one_does(changes, clip, compiled):
    """Also through a warm-up, on which it does not start, and with gradients that are shortened."""
    (recorded, rows), (plain, _) = state(Recorded(0, compiled), **changes), state(Eager(), **changes)
    for one in (recorded, plain):
        one.recipe = dataclasses.replace(one.recipe, clip=clip)
    for step in range(recorded.settled + 6):
        batch = rows.train_batch(step, 32)
        assert recorded.advance(batch) == pytest.approx(plain.advance(batch), rel=1e-4, abs=1e-4)
    assert [isinstance(r, CompiledRecording) for r in recorded.stepper.recordings.values()] == [compiled]
    assert recorded.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-4)
    for name, tensor in plain.tensors().items():
        assert torch.allclose(recorded.tensors()[name], tensor, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize(
    ("wrong", "compiled"),
    [(torch.inf, False), (torch.nan, False), pytest.param(torch.inf, True, marks=compiled_slowly)],
)
def test_a_recorded_step_that_is_not_finite_changes_nothing(wrong, compiled):
    recorded, rows = state(Recorded(0, compiled))
    for step in range(4):
        recorded.advance(rows.train_batch(step, 32))
    before = {name: tensor.clone() for name, tensor in recorded.tensors().items()}
    with pytest.raises(TrainingError, match="not finite at step 4"):
        recorded.advance(Batch(torch.full((32, 5), wrong)))
    assert all(torch.equal(tensor, recorded.tensors()[name]) for name, tensor in before.items())
    recorded.advance(rows.train_batch(4, 32))
    assert all(tensor.isfinite().all() for tensor in recorded.tensors().values())


def test_what_was_made_ahead_is_what_would_have_been_made():
    """Stopped anywhere and taken up again, a training does not know what another had prepared."""
    whole, rows = state(Recorded(0, False))
    for _ in fit(whole, rows):
        pass
    for stop in (1, 2, 3, 9, 17):
        first, _ = state(Recorded(0, False))
        for _, _ in zip(range(stop), fit(first, rows), strict=False):
            pass
        later, _ = state(Recorded(0, False))
        later.load({name: t.clone() for name, t in first.tensors().items()}, first.counters())
        for _ in fit(later, rows):
            pass
        for name, tensor in whole.tensors().items():
            assert torch.equal(tensor, later.tensors()[name]), (stop, name)


def refuse(*arguments):
    raise RuntimeError("not here\nand more")


def test_where_compiling_fails_the_plain_step_is_recorded(monkeypatch):
    monkeypatch.setattr(recording, "CompiledRecording", refuse)
    (recorded, rows), (plain, _) = state(Recorded(0, True)), state(Recorded(0, False))
    for step in range(2):
        recorded.advance(rows.train_batch(step, 32))
    with pytest.warns(UserWarning, match="goes on without compiling, as that failed: not here$"):
        recorded.advance(rows.train_batch(2, 32))
    for step in range(3):
        plain.advance(rows.train_batch(step, 32))
    assert len(recorded.stepper.recordings) == 1
    assert all(torch.equal(t, plain.tensors()[name]) for name, t in recorded.tensors().items())
    assert recorded.counters()["uncompiled"] == 1


def test_where_recording_fails_training_goes_on_as_it_was(monkeypatch):
    monkeypatch.setattr(recording, "Recording", refuse)
    (recorded, rows), (plain, _) = state(Recorded(0, False)), state(Eager())
    for step in range(2):
        recorded.advance(rows.train_batch(step, 32))
    with pytest.warns(UserWarning, match="goes on without recording its steps, as that failed: not here$"):
        recorded.advance(rows.train_batch(2, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        recorded.advance(rows.train_batch(3, 32))
    for step in range(4):
        plain.advance(rows.train_batch(step, 32))
    assert all(torch.equal(t, plain.tensors()[name]) for name, t in recorded.tensors().items())
    assert recorded.counters()["uncompiled"] == 2


def test_a_pickle_of_the_state_leaves_what_was_recorded_behind():
    recorded, rows = state(Recorded(0, False))
    for step in range(3):
        recorded.advance(rows.train_batch(step, 32))
    again = pickle.loads(pickle.dumps(recorded))
    assert again.stepper.recordings == {}
    for one in (recorded, again):
        one.advance(rows.train_batch(3, 32))
    assert all(torch.equal(t, again.tensors()[name]) for name, t in recorded.tensors().items())
