"""A compiled step is the step: the same bound, gradient and training, up to rounding."""

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch

from vaekit.core import Batch
from vaekit.data import Source
from vaekit.settings import Settings, prepare, resolve
from vaekit.settings.automatic import has_compiler
from vaekit.training import State, TrainingError
from vaekit.training import compiled as compiling
from vaekit.training.compiled import Compiled
from vaekit.training.step import Eager

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
ROWS = np.random.default_rng(0).normal(size=(300, 5))
TABLE = Source(ROWS)
HOLEY = Source(np.where(np.random.default_rng(1).random(ROWS.shape) < 0.3, np.nan, ROWS))
SMALL = {
    "network": "mlp",
    "hidden": (8,),
    "latent_dim": 2,
    "batch_size": 32,
    "epochs": 3,
    "validation": 0.0,
    "test": 0.0,
    "device": "cpu",
}
CASES = {
    "elbo": {},
    "sticking the landing, bfloat16": {"objective": "elbo:gradient=sticking-the-landing", "precision": "bfloat16"},
    "doubly reparameterised": {"objective": "iwae:samples=4,gradient=doubly-reparameterised"},
    "iwae, full covariance": {"objective": "iwae:samples=3", "posterior": "full"},
    "partially weighted": {"objective": "iwae:samples=4,repeats=2,gradient=partially-weighted"},
    "an autoencoder": {"objective": "ae", "penalty": ("mmd", "code-norm", "weight-decay", "jacobian")},
    "penalties": {"penalty": ("mmd:weight=3", "tc:weight=2", "dip-ii")},
    "tanh": {"activation": "tanh"},
    "a linear path": {"network": "skip"},
    "experts": {"network": "skip", "posterior": "experts"},
    "coupling, sticking the landing": {
        "posterior": "coupling:width=8", "prior": "flow:steps=2,width=8",
        "objective": "elbo:gradient=sticking-the-landing",
    },
    "iaf": {"posterior": "iaf:width=8"},
    "planar": {"posterior": "planar:steps=2"},
    "ladder": {"posterior": "ladder:width=8"},
    "von Mises-Fisher": {"posterior": "vmf"},
    "warm-up": {"objective": "elbo:beta=2.0,warmup=0.5"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def from_the_first_step_on(monkeypatch):
    monkeypatch.setattr(compiling, "EAGERLY", 0)


def state(compile: str, **changes):
    source = HOLEY if changes.get("posterior") == "experts" else TABLE
    prepared = prepare(Settings().changed(**(SMALL | changes), compile=compile), source)
    return prepared.state, prepared.rows["train"]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_a_compiled_step_changes_what_the_plain_one_does(changes, clip):
    """Also through a warm-up, on which it does not start, and with gradients that are shortened."""
    (compiled, rows), (plain, _) = state("on", **changes), state("off", **changes)
    assert isinstance(compiled.stepper, Compiled)
    assert isinstance(plain.stepper, Eager)
    for one in (compiled, plain):
        one.recipe = dataclasses.replace(one.recipe, clip=clip)
    within = 2e-2 if "precision" in changes else 1e-4
    for step in range(compiled.settled + 6):
        batch = rows.train_batch(step, 32)
        assert compiled.advance(batch) == pytest.approx(plain.advance(batch), rel=within, abs=within)
    assert compiled.gradient_norm == pytest.approx(plain.gradient_norm, rel=within)
    mine, its = compiled.tensors(), plain.tensors()
    assert mine.keys() == its.keys()
    for name, tensor in its.items():
        assert torch.allclose(mine[name], tensor, rtol=within, atol=within * max(1e-2, float(tensor.abs().max()))), name
    assert compiled.stepper.seconds > 0


@pytest.mark.slow
@needs_compiler
def test_a_compiled_step_takes_nothing_from_the_global_generator():
    """What a part draws by itself would make a run that does not repeat, and nothing else would notice."""
    found = []
    for seed in (1, 2):
        compiled, rows = state("on")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for step in range(2):
                compiled.advance(rows.train_batch(step, 32))
        found.append(compiled.tensors())
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


@needs_compiler
def test_a_compiled_step_that_is_not_finite_changes_nothing():
    compiled, rows = state("on")
    for step in range(3):
        compiled.advance(rows.train_batch(step, 32))
    before = {name: tensor.clone() for name, tensor in compiled.tensors().items()}
    with pytest.raises(TrainingError, match="not finite at step 3"):
        compiled.advance(Batch(torch.full((32, 5), torch.inf)))
    after = compiled.tensors()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_without_a_compiler_training_goes_on_and_says_so(monkeypatch):
    def refuse(*arguments, **options):
        raise torch._dynamo.exc.TorchDynamoException("no compiler\nand more")

    compiled, rows = state("on")
    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    with pytest.warns(UserWarning, match="without compiling, as that failed: no compiler"):
        compiled.advance(rows.train_batch(0, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        compiled.advance(rows.train_batch(1, 32))
        later, _ = state("on")
        later.load(compiled.tensors(), compiled.counters())
        later.advance(rows.train_batch(2, 32))  # resumed, it does not try again
    plain, _ = state("off")
    for step in range(2):
        plain.advance(rows.train_batch(step, 32))
    assert all(torch.equal(t, plain.tensors()[name]) for name, t in compiled.tensors().items())


@pytest.mark.slow
@needs_compiler
def test_the_first_steps_are_not_compiled(monkeypatch):
    monkeypatch.setattr(compiling, "EAGERLY", 2)
    compiled, rows = state("on")
    seconds = []
    for step in range(3):
        compiled.advance(rows.train_batch(step, 32))
        seconds.append(compiled.stepper.seconds)
    assert seconds[:2] == [None, None]
    assert seconds[2] > 0


CONV = {"network": "conv", "hidden": (4, 8), "latent_dim": 2, "batch_size": 32, "epochs": 3}
IMAGES = Source(np.random.default_rng(0).integers(0, 256, (200, 3, 8, 8)).astype(np.uint8))


def conv(compile: str):
    settings = Settings().changed(**{**SMALL, **CONV}, compile=compile, precision="float32")
    prepared = prepare(settings, IMAGES)
    return prepared.state, prepared.rows["train"]


def assert_alike(one, other, within: float) -> None:
    for name, tensor in other.tensors().items():
        assert torch.allclose(one.tensors()[name], tensor, rtol=within, atol=within), name


@pytest.mark.slow
@needs_compiler
def test_convolutions_lie_in_memory_as_they_did():
    """Channels last: eager steps after a compiled one, too, take the gradient as it lies."""
    (compiled, rows), (plain, _) = conv("on"), conv("off")
    strides = [p.stride() for p in compiled.parameters]
    for step in range(3):
        for state in (compiled, plain):
            state.advance(rows.train_batch(step, 32))
    assert [p.stride() for p in compiled.parameters] == strides
    assert_alike(compiled, plain, 1e-3)
    compiled.uncompiled = 1
    for step in range(3, 6):
        for state in (compiled, plain):
            state.advance(rows.train_batch(step, 32))
    assert_alike(compiled, plain, 1e-3)


def test_where_compiling_convolutions_fails_training_goes_on_as_it_was(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError

    (compiled, rows), (plain, _) = conv("on"), conv("off")
    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    with pytest.warns(UserWarning, match="as that failed: OSError"):
        compiled.advance(rows.train_batch(0, 32))
    plain.advance(rows.train_batch(0, 32))
    for step in range(1, 4):
        for state in (compiled, plain):
            state.advance(rows.train_batch(step, 32))
    assert all(torch.equal(compiled.tensors()[name], tensor) for name, tensor in plain.tensors().items())


class Unused(torch.nn.Module):
    """A network with a parameter, the first, that nothing uses."""

    def __init__(self, network):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(3))
        self.network = network

    def forward(self, x):
        return self.network(x)


@pytest.mark.slow
@needs_compiler
def test_a_parameter_that_nothing_uses_does_not_slow_the_others(monkeypatch):
    monkeypatch.setattr(compiling, "EAGERLY", 5)
    states = []
    for compile in ("on", "off"):
        fresh, rows = state(compile)
        fresh.model.encoder = Unused(fresh.model.encoder)
        states.append(State(fresh.model, fresh.objective, fresh.recipe))
    for step in range(8):
        for one in states:
            one.advance(rows.train_batch(step, 32))
    weights, expected = (one.model.state_dict() for one in states)
    assert all(torch.allclose(weights[name], tensor, rtol=1e-4, atol=1e-4) for name, tensor in expected.items())


@pytest.mark.slow
@needs_compiler
def test_rows_that_lie_otherwise_in_memory_give_the_same():
    (one, rows), (other, _) = state("on"), state("on")
    for step in range(2):
        x = rows.train_batch(step, 32).x
        one.advance(Batch(x))
        other.advance(Batch(x.T.contiguous().T))
    assert_alike(one, other, 0)


@pytest.mark.slow
@needs_compiler
def test_a_pickle_of_a_compiled_state_is_no_larger():
    (compiled, rows), (plain, _) = state("on"), state("off")
    for one in (compiled, plain):
        one.advance(rows.train_batch(0, 32))
    assert len(pickle.dumps(compiled)) < len(pickle.dumps(plain)) + 1000
    again = pickle.loads(pickle.dumps(compiled))
    for one in (compiled, again):
        one.advance(rows.train_batch(1, 32))
    assert_alike(again, compiled, 0)
    assert again.parameters[0] is next(again.model.parameters())


def test_a_pickle_of_the_state_leaves_what_was_compiled_behind():
    compiled, _ = state("on")
    compiled.stepper.functions = {(): lambda: None}
    assert pickle.loads(pickle.dumps(compiled)).stepper.functions == {}


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({}, 1000, "off"),
        ({"epochs": 100}, 60_000, "on"),
        ({"objective": "elbo:samples=10", "epochs": 10}, 60_000, "on"),
        ({"epochs": 100, "compile": "off"}, 60_000, "off"),
        ({"epochs": 1, "compile": "on"}, 1000, "on"),
    ],
)
def test_long_trainings_are_compiled(monkeypatch, changes, rows, expected):
    schema = prepare(Settings().changed(**SMALL), TABLE).schema
    monkeypatch.setattr("vaekit.settings.automatic.has_compiler", lambda: True)
    settings, _ = resolve(Settings().changed(**{**SMALL, **changes}), schema, rows, False)
    assert settings.training.compile == expected
    monkeypatch.setattr("vaekit.settings.automatic.has_compiler", lambda: False)
    assert resolve(Settings().changed(**{**SMALL, **changes}), schema, rows, False)[0].training.compile == (
        expected if "compile" in changes else "off"
    )
