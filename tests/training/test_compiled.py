"""A compiled step is the step: the same bound, gradient and training, up to rounding."""

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch

from vaekit.core import Batch
from vaekit.data import Source
from vaekit.spec import Specification, prepare, resolve
from vaekit.spec.automatic import has_compiler
from vaekit.training import TrainingError, descent, fit
from vaekit.training.descent import Compiled, Eager

pytestmark = [pytest.mark.filterwarnings(f"ignore:`torch.{part}") for part in ("jit", "_prims")]  # of torch by torch
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
TABLE = Source(np.random.default_rng(0).normal(size=(300, 5)))
SMALL = {
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
    "sticking the landing, bfloat16": {"gradient": "sticking-the-landing", "precision": "bfloat16"},
    "doubly reparameterised": {"objective": "iwae", "samples": 4, "gradient": "doubly-reparameterised"},
    "iwae, full covariance": {"objective": "iwae", "samples": 3, "posterior": "full"},
    "warm-up": {"warmup": 0.5, "beta": 2.0},
}


@pytest.fixture(autouse=True)
def from_the_first_step_on(monkeypatch):
    monkeypatch.setattr(descent, "EAGERLY", 0)


def state(compile: str, **changes):
    prepared = prepare(Specification().changed(**SMALL, compile=compile, **changes), TABLE)
    return prepared.state, prepared.rows["train"]


@needs_compiler
@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_a_compiled_step_changes_what_the_plain_one_does(changes, clip):
    """Also through a warm-up, on which it does not start, and with gradients that are shortened."""
    (compiled, rows), (plain, _) = state("on", **changes), state("off", **changes)
    assert isinstance(compiled.descend, Compiled)
    assert isinstance(plain.descend, Eager)
    for one in (compiled, plain):
        one.recipe = dataclasses.replace(one.recipe, clip=clip)
    within = 2e-2 if "precision" in changes else 1e-4
    for step in range(compiled.warmup + 6):
        batch = rows.train_batch(step, 32)
        one, other = compiled.advance(batch), plain.advance(batch)
        assert torch.allclose(one.value, other.value, rtol=within, atol=within)
        assert one.terms.keys() == other.terms.keys()
    assert compiled.gradient_norm == pytest.approx(plain.gradient_norm, rel=within)
    mine, its = compiled.tensors(), plain.tensors()
    assert mine.keys() == its.keys()
    for name, tensor in its.items():
        assert torch.allclose(mine[name], tensor, rtol=within, atol=within * max(1e-2, float(tensor.abs().max()))), name
    assert compiled.descend.seconds > 0


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


@needs_compiler
def test_a_compiled_training_repeats_to_the_bit_and_goes_on_from_its_tensors():
    whole, rows = state("on")
    for _ in fit(whole, rows):
        pass
    again, _ = state("on")
    for _, _ in zip(range(10), fit(again, rows), strict=False):
        pass
    later, _ = state("on")
    later.load({name: t.clone() for name, t in again.tensors().items()}, again.counters())
    for _ in fit(later, rows):
        pass
    assert later.step == whole.step
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, later.tensors()[name]), name


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


@needs_compiler
def test_the_first_steps_are_not_compiled(monkeypatch):
    monkeypatch.setattr(descent, "EAGERLY", 2)
    compiled, rows = state("on")
    seconds = []
    for step in range(3):
        compiled.advance(rows.train_batch(step, 32))
        seconds.append(compiled.descend.seconds)
    assert seconds[:2] == [None, None]
    assert seconds[2] > 0


def test_a_pickle_of_the_state_leaves_what_was_compiled_behind():
    compiled, _ = state("on")
    compiled.descend.functions = {(): lambda: None}
    assert pickle.loads(pickle.dumps(compiled)).descend.functions == {}


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({}, 1000, "off"),
        ({"epochs": 100}, 60_000, "on"),
        ({"epochs": 10, "samples": 10}, 60_000, "on"),
        ({"epochs": 100, "compile": "off"}, 60_000, "off"),
        ({"epochs": 1, "compile": "on"}, 1000, "on"),
    ],
)
def test_long_trainings_are_compiled(monkeypatch, changes, rows, expected):
    schema = prepare(Specification().changed(**SMALL), TABLE).schema
    monkeypatch.setattr("vaekit.spec.automatic.has_compiler", lambda: True)
    spec, _ = resolve(Specification().changed(**{**SMALL, **changes}), schema, rows, False)
    assert spec.training.compile == expected
    monkeypatch.setattr("vaekit.spec.automatic.has_compiler", lambda: False)
    assert resolve(Specification().changed(**{**SMALL, **changes}), schema, rows, False)[0].training.compile == (
        expected if "compile" in changes else "off"
    )
