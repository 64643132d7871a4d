"""What only an accelerator can show: the same numbers as on a CPU, and the same bits again."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch

import vaekit
from vaekit import evaluation, nets, parts
from vaekit.core import Batch
from vaekit.data import Dataset, Source, dataset
from vaekit.models import VAE
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.settings import Settings, prepare
from vaekit.training import TrainingError, fit
from vaekit.training import compiled as compiling
from vaekit.training.recorded import CompiledRecording, Recorded
from vaekit.training.step import Eager

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here"),
    *(
        pytest.mark.filterwarnings(f"ignore:{words}")  # of torch by torch
        for words in ("`torch.jit", "`torch._prims", "<class 'torch.autograd.function.Function'>")
    ),
]
RNG = np.random.default_rng(0)
TABLE = Source(RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5)))
IMAGES = Source((RNG.integers(0, 256, (200, 1, 16, 16)) * (RNG.random((200, 1, 16, 16)) < 0.4)).astype(np.uint8))
SMALL = {"hidden": (8,), "latent_dim": 2, "batch_size": 32, "epochs": 6, "validation": 0.0, "test": 0.0,
         "device": "cuda", "precision": "float32"}  # fmt: skip
CONV = {"network": "conv", "hidden": (4, 8), "latent_dim": 2}
CASES = {
    "elbo": (TABLE, {}),
    "sticking the landing": (TABLE, {"objective": "elbo:gradient=sticking-the-landing"}),
    "doubly reparameterised": (TABLE, {"objective": "iwae:samples=4,gradient=doubly-reparameterised"}),
    "iwae, full covariance": (TABLE, {"objective": "iwae:samples=3", "posterior": "full"}),
    "free bits": (TABLE, {"objective": "elbo:free_bits=0.1"}),
    "warm-up": (TABLE, {"objective": "elbo:beta=2.0,warmup=0.3"}),
    "tanh, gaussian": (TABLE, {"activation": "tanh", "likelihood": "gaussian:sigma=shared"}),
    "convolutions": (IMAGES, CONV),
    "convolutions, binarised": (IMAGES, {**CONV, "binarize": "dynamic"}),
    "bfloat16": (IMAGES, {"precision": "bfloat16", "binarize": "expected", "network": "mlp"}),
    "convolutions, bfloat16": (IMAGES, {**CONV, "precision": "bfloat16"}),
}
either = pytest.mark.parametrize("compile", ["off", "on"])
REFUSED = [name for name in CASES if name.startswith("convolutions")] + ["doubly reparameterised"]
"""by the compiler of torch 2.11, at least"""
ways = pytest.mark.parametrize(
    ("source", "changes", "compile"),
    [
        pytest.param(*case, compile, id=f"{name}, {compile}")
        for name, case in CASES.items()
        for compile in ("off", "on")
        if compile == "off" or name not in REFUSED
    ],
)
cases = pytest.mark.parametrize(("source", "changes"), CASES.values(), ids=CASES.keys())


@pytest.fixture(autouse=True)
def from_the_third_step_on(monkeypatch):
    monkeypatch.setattr(compiling, "EAGERLY", 2)


def prepared(source: Source = TABLE, compile: str = "off", **changes):
    return prepare(Settings().changed(**{**SMALL, **changes}, compile=compile), source)


def plain(source: Source = TABLE, **changes):
    """The same, gone operation by operation."""
    run = prepared(source, **changes)
    run.state.stepper = Eager()
    return run


def assert_alike(mine: dict, its: dict, within: float) -> None:
    assert mine.keys() == its.keys()
    for name, tensor in its.items():
        if within == 0:
            assert torch.equal(mine[name], tensor), name
        else:
            most = within * max(1e-2, float(tensor.abs().max()))
            assert torch.allclose(mine[name].cpu(), tensor.cpu(), rtol=within, atol=most), name


def bytes_of(x: torch.Tensor) -> torch.Tensor:
    return (x * 40 + 128).round().clamp(0, 255)


LIKELIHOODS = {
    "bernoulli": (parts.likelihoods.Bernoulli((6,)), lambda x: (x > 0).float()),
    "gaussian": (parts.likelihoods.Gaussian((6,), mean=0.3, scale=2.0), lambda x: x),
    "discretised logistic": (parts.likelihoods.DiscretizedLogistic((6,), low=0, high=255), bytes_of),
    "colour logistic": (
        parts.likelihoods.ColourLogistic((3, 1, 2), low=0, high=255),
        lambda x: bytes_of(x).view(-1, 3, 1, 2),
    ),
}
POSTERIORS = {"diagonal": parts.posteriors.Diagonal(3), "full": parts.posteriors.FullCovariance(3)}
OBJECTIVES = {
    "elbo": ELBO(2), "sticking": ELBO(2, gradient="sticking-the-landing"), "iwae": ImportanceWeighted(4),
    "dreg": ImportanceWeighted(4, gradient="doubly-reparameterised"),
}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
@pytest.mark.parametrize("posterior", POSTERIORS.values(), ids=POSTERIORS.keys())
@pytest.mark.parametrize(("likelihood", "values"), LIKELIHOODS.values(), ids=LIKELIHOODS.keys())
def test_bounds_and_gradients_are_those_of_a_cpu(likelihood, values, posterior, objective, generator):
    """Within 1e-4 of their size, for every likelihood, posterior and objective."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nets.MLP(6, (16,), posterior.features)
        decoder = nets.MLP(3, (16,), likelihood.features)
    model = VAE(encoder, posterior, parts.priors.StandardNormal(3), decoder, likelihood)
    x, noise = (
        values(torch.randn(32, 6, generator=generator)),
        torch.randn(objective.samples, 32, 3, generator=generator),
    )
    found = {}
    for device in ("cpu", "cuda"):
        model = model.to(device)
        bound = objective(model, Batch(x.to(device)), noise.to(device))
        gradient = torch.autograd.grad(bound.loss, list(model.parameters()))
        names = [f"gradient of {name}" for name, _ in model.named_parameters()]
        found[device] = {"value": bound.value, **bound.terms, **dict(zip(names, gradient, strict=True))}
    model.cpu()
    assert_alike(found["cuda"], found["cpu"], 1e-4)


@pytest.mark.parametrize("clip", [0.0, 0.3])
@ways
def test_a_replayed_step_changes_what_the_plain_one_does(source, changes, compile, clip):
    """Also through a warm-up, on which it does not start, and with gradients that are shortened."""
    replayed = prepared(source, compile, **changes)
    rows, states = replayed.rows["train"], (replayed.state, plain(source, **changes).state)
    assert isinstance(states[0].stepper, Recorded)
    for state in states:
        state.recipe = dataclasses.replace(state.recipe, clip=clip)
    within = 2e-2 if changes.get("precision") == "bfloat16" else 1e-3
    for step in range(states[0].warmup + 8):
        batch = rows.train_batch(step, 32)
        assert states[0].advance(batch) == pytest.approx(states[1].advance(batch), rel=within, abs=within)
    compiled = [isinstance(recording, CompiledRecording) for recording in states[0].stepper.recordings.values()]
    assert compiled == [compile == "on"]
    assert not states[0].uncompiled
    assert states[0].gradient_norm == pytest.approx(states[1].gradient_norm, rel=within)
    assert_alike(states[0].tensors(), states[1].tensors(), 5 * within)


@ways
def test_training_repeats_to_the_bit_wherever_it_is_taken_up_again(source, changes, compile):
    """Stopped at ten steps: before, at and after the first that is recorded, within and at the end of an epoch."""
    whole = prepared(source, compile, **changes)
    for _ in fit(whole.state, whole.rows["train"]):
        pass
    steps = whole.state.step
    stops = {1, 2, 3, 4, steps // 4, steps // 3, steps // 2, 2 * steps // 3, steps - 2, steps - 1}
    for stop in sorted(stops) if compile == "off" else (2, 4, steps // 2):
        first = prepared(source, compile, **changes)
        for _ in itertools.islice(fit(first.state, first.rows["train"]), stop):
            pass
        saved = {name: tensor.cpu().clone() for name, tensor in first.state.tensors().items()}
        later = prepared(source, compile, **changes)
        later.state.load({name: tensor.cuda() for name, tensor in saved.items()}, first.state.counters())
        for _ in fit(later.state, later.rows["train"]):
            pass
        assert later.state.counters() == whole.state.counters(), stop
        assert_alike(later.state.tensors(), whole.state.tensors(), 0)


@either
def test_a_replayed_step_that_is_not_finite_changes_nothing(compile):
    run = prepared(compile=compile)
    for step in range(5):
        run.state.advance(run.rows["train"].train_batch(step, 32))
    before = {name: tensor.clone() for name, tensor in run.state.tensors().items()}
    with pytest.raises(TrainingError, match="not finite at step 5"):
        run.state.advance(Batch(torch.full((32, 5), torch.inf, device="cuda")))
    assert_alike(run.state.tensors(), before, 0)
    run.state.advance(run.rows["train"].train_batch(5, 32))
    assert all(tensor.isfinite().all() for tensor in run.state.tensors().values())


@pytest.mark.parametrize("name", ["convolutions", "doubly reparameterised"])
def test_what_the_compiler_may_refuse_is_recorded_as_it_is(name):
    source, changes = CASES[name]
    run, other = prepared(source, "on", **changes), plain(source, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(6):
            for state in (run.state, other.state):
                state.advance(run.rows["train"].train_batch(step, 32))
    assert run.state.stepper.recordings
    assert_alike(run.state.tensors(), other.state.tensors(), 5e-3)


class Asking(torch.nn.Module):
    """A network that waits for a number to leave the accelerator."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) * (1.0 if x.sum().item() else 0.0)


def test_what_cannot_be_recorded_is_gone_step_by_step_and_said():
    run, other = prepared(), plain()
    run.state.model.encoder = Asking(run.state.model.encoder)
    rows = run.rows["train"]
    for step in range(2):
        run.state.advance(rows.train_batch(step, 32))
    with pytest.warns(UserWarning, match="goes on without recording its steps, as that failed"):
        run.state.advance(rows.train_batch(2, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        run.state.advance(rows.train_batch(3, 32))
    for step in range(4):
        other.state.advance(rows.train_batch(step, 32))
    for mine, its in zip(run.state.parameters, other.state.parameters, strict=True):
        assert torch.equal(mine, its)
    assert run.state.uncompiled == 2


@cases
def test_what_is_trained_there_scores_alike_on_a_cpu(source, changes):
    run = prepared(source, **changes)
    for _ in fit(run.state, run.rows["train"]):
        pass
    model = run.state.trained()
    model.precision = None
    there = evaluation.log_likelihood(model, run.rows["train"], evaluation.ImportanceSampling(50))
    here = Dataset(source.x, run.schema, seed=0, index=run.split["train"])
    again = evaluation.log_likelihood(model.cpu(), here, evaluation.ImportanceSampling(50))
    assert there.mean == pytest.approx(again.mean, abs=1e-3, rel=1e-5)
    assert torch.allclose(there.value.cpu(), again.value, atol=1e-2, rtol=1e-4)


def test_an_estimator_is_fitted_there_and_loaded_on_a_cpu(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 5))
    model = vaekit.VAE(latent_dim=2, max_epochs=40, device="cuda").fit(x)
    model.save(tmp_path / "model")
    assert np.allclose(
        vaekit.load(tmp_path / "model", device="cpu").score_samples(x), model.score_samples(x), atol=1e-2
    )


def test_rows_larger_than_the_card_stay_on_the_host(monkeypatch):
    run = prepared(IMAGES, binarize="dynamic", **CONV)
    plenty = run.rows["train"]
    monkeypatch.setattr(dataset, "DEVICE_SHARE", 0.0)
    crowded = Dataset(IMAGES.x, run.schema, seed=0, device="cuda", index=run.split["train"])
    assert plenty.resident
    assert not crowded.resident
    for step in range(3):
        one, other = plenty.train_batch(step, 32).x, crowded.train_batch(step, 32).x
        assert other.device.type == "cuda"
        assert torch.equal(one, other)
    scored = [
        evaluation.log_likelihood(run.state.trained(), rows, evaluation.ImportanceSampling(10)).value
        for rows in (plenty, crowded, plenty.first(50), crowded.first(50))
    ]
    assert torch.equal(scored[0], scored[1])
    assert torch.equal(scored[2], scored[3])


@pytest.mark.parametrize("size", [7, 64, 160])
def test_batches_that_are_made_at_once_are_those_of_their_numbers(size, monkeypatch):
    """Also where an epoch is no whole number of them, and one is asked for out of turn."""
    run = prepared(IMAGES, binarize="threshold", **CONV)
    for cells in (dataset.TOGETHER_CELLS, 3 * size * run.schema.features, 1):
        monkeypatch.setattr(dataset, "TOGETHER_CELLS", cells)
        rows = Dataset(IMAGES.x, run.schema, seed=0, device="cuda")
        for step in (*range(2 * rows.batches_per_epoch(size) + 2), 1, 0):
            expected = (rows.take(rows.numbers(step, size)) >= 128).float()
            assert torch.equal(rows.train_batch(step, size).x, expected)


def test_recording_leaves_the_process_as_it_was():
    run = prepared(IMAGES, **CONV)
    settings = lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark,  # noqa: E731
                        torch.are_deterministic_algorithms_enabled(), torch.cuda.get_rng_state().tolist())  # fmt: skip
    before = settings()
    for _ in itertools.islice(fit(run.state, run.rows["train"]), 6):
        pass
    assert settings() == before
