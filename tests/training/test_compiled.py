"""A compiled step is the step: the same bound, gradient and training, up to rounding."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from vaekit.data import Source
from vaekit.errors import VaekitError
from vaekit.spec import Specification, prepare, resolve
from vaekit.spec.automatic import has_compiler
from vaekit.training import fit
from vaekit.training.gradient import Compiled, Eager

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
    "iwae, full covariance": {"objective": "iwae", "samples": 3, "posterior": "full"},
    "warm-up": {"warmup": 0.5, "beta": 2.0},
}


def state(compile: str, **changes):
    prepared = prepare(Specification().changed(**SMALL, compile=compile, **changes), TABLE)
    return prepared.state, prepared.rows["train"]


@needs_compiler
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_bound_and_gradient_are_those_of_the_plain_step(changes):
    compiled, rows = state("on", **changes)
    plain = Eager(compiled.model, compiled.objective)
    assert isinstance(compiled.gradient, Compiled)
    for step in (0, compiled.gradient.warmup, compiled.gradient.warmup + 5):
        batch = rows.train_batch(step, 32)
        noise = torch.randn(compiled.objective.samples, 32, 2, generator=torch.Generator().manual_seed(step))
        one, other = compiled.gradient(batch, noise, step), plain(batch, noise, step)
        assert torch.allclose(one.bound.value, other.bound.value, rtol=1e-4, atol=1e-4)
        assert one.bound.terms.keys() == other.bound.terms.keys()
        assert torch.allclose(one.norm, other.norm, rtol=1e-2 if "precision" in changes else 1e-4)
        for mine, its in zip(one.each, other.each, strict=True):
            within = 2e-2 if "precision" in changes else 1e-4
            assert torch.allclose(mine, its, rtol=within, atol=within * float(its.abs().max()))
    assert compiled.gradient.seconds > 0


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
    monkeypatch.setattr(torch, "compile", lambda function: refuse)
    with pytest.warns(UserWarning, match="without compiling, as that failed: no compiler"):
        compiled.advance(rows.train_batch(0, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        compiled.advance(rows.train_batch(1, 32))
    plain, _ = state("off")
    for step in range(2):
        plain.advance(rows.train_batch(step, 32))
    assert all(torch.equal(t, plain.tensors()[name]) for name, t in compiled.tensors().items())


def test_a_pickle_of_the_state_leaves_what_was_compiled_behind():
    compiled, _ = state("on")
    compiled.gradient.function = lambda: None
    assert pickle.loads(pickle.dumps(compiled)).gradient.function is None


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({}, 1000, "off"),
        ({"epochs": 100}, 60_000, "on"),
        ({"epochs": 10, "samples": 10}, 60_000, "on"),
        ({"epochs": 100, "compile": "off"}, 60_000, "off"),
        ({"epochs": 1, "compile": "on"}, 1000, "on"),
        ({"epochs": 100, "objective": "iwae", "samples": 5, "gradient": "doubly-reparameterised"}, 60_000, "off"),
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


def test_what_cannot_be_compiled_is_refused():
    doubly = {"objective": "iwae", "samples": 5, "gradient": "doubly-reparameterised"}
    with pytest.raises(VaekitError, match="cannot be compiled"):
        state("on", **doubly)
