"""C4, C5: one law. However a training is stopped, and wherever, resumed it comes to the result it would have had.

Every way of `WAYS` stops the plain training at every place of `PLACES`, and one way stops every training of `TRAININGS`
there. What must come out is the same to the last bit: weights, optimiser, counters, records, manifest.
"""

import dataclasses
import functools
import gc
import importlib
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from runs.conftest import assert_equal, manifest
from training.test_setbacks import Broken

from reliability.conftest import SERVER
from vaekit.cli.progress import Interrupt
from vaekit.data import Source
from vaekit.runs import Run, fit_and_save, verify
from vaekit.settings import Prepared, Settings, prepare
from vaekit.settings.automatic import has_compiler
from vaekit.training import Record, State, TrainingError, compiled, loop
from vaekit.training.state import SKIPS

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
TABLE = Source(RNG.normal(size=(80, 3)) @ RNG.normal(size=(3, 3)), ("a", "b", "größe"), name="table")
IMAGES = Source(RNG.integers(0, 256, (80, 3, 8, 8), dtype=np.uint8), name="images")
PLAIN = {
    "latent_dim": 1, "hidden": (3,), "epochs": 8, "batch_size": 16, "patience": 0, "validation": 0.2, "test": 0.0,
    "device": "cpu", "compile": "off", "precision": "float32",
}  # fmt: skip
EPOCH, RECORD = 4, 12
"""steps in an epoch, and from one record to the next"""
EVERY = 3
"""steps from one checkpoint to the next"""


class Training(NamedTuple):
    """What is trained, where that differs from the plain one."""

    changes: Mapping = MappingProxyType({})
    source: Source = TABLE
    objective: Callable | None = None
    """instead of what the specification says"""
    recipe: Mapping = MappingProxyType({})


def images(**changes) -> Training:
    return Training({"hidden": (4, 8), "latent_dim": 2, "epochs": 6, **changes}, IMAGES)


TRAININGS = {
    "plain": Training(),
    "not validated": Training({"validation": 0.0}),
    "warm-up": Training({"objective": "elbo:beta=0.7,warmup=0.5"}),
    "free bits": Training({"objective": "elbo:samples=3,free_bits=0.1"}),
    "sticking the landing": Training({"objective": "elbo:warmup=0.5,gradient=sticking-the-landing"}),
    "importance-weighted": Training({"objective": "iwae:samples=4"}),
    "all at once": Training(
        {
            "objective": "iwae:samples=4,repeats=2,beta=0.9,warmup=0.5,gradient=doubly-reparameterised",
            "precision": "bfloat16",
        }
    ),
    "partially weighted": Training({"objective": "iwae:samples=4,repeats=2,gradient=partially-weighted"}),
    "capacity in cycles": Training({"objective": "elbo:beta=9,capacity=1,warmup=0.75,cycles=2"}),
    "an autoencoder": Training({"objective": "ae", "penalty": ("mmd", "code-norm", "weight-decay", "jacobian")}),
    "penalties": Training({"penalty": ("tc:weight=2", "mmd:weight=3"), "latent_dim": 2}),
    "penalties of an ensemble": Training({"penalty": "dip-ii", "latent_dim": 2, "members": 2}),
    "without averaging": Training(recipe={"averaging": 0.0}),
    "stopped early": Training({"patience": 2, "epochs": 75, "learning_rate": 0.5}, recipe={"schedule": "cosine"}),
    "on the plateau": Training({"patience": 1, "epochs": 75}, recipe={"schedule": "plateau", "tolerance": 1.0}),
    "setbacks": Training(objective=Broken(range(9, 9 + 2 * SKIPS + 3))),
    "full covariance": images(network="mlp", posterior="full"),
    "binarised anew each step": images(network="mlp", binarize="dynamic"),
    "convolutions": images(network="conv"),
    "convolutions in bfloat16": images(network="conv", precision="bfloat16", binarize="dynamic"),
    "an ensemble": Training({"members": 2}),
    "residual": images(network="resnet"),
    "local": images(network="local", latent_dim=4),
    "compiled": Training({"compile": "on"}),
}  # fmt: skip


def begin(name: str, folder: Path) -> tuple[Run, Prepared]:
    prepared = prepared_as(name)
    data = {"name": name, "digest": "", **{part: len(rows) for part, rows in prepared.split.items()}}
    return Run.create(folder, prepared.settings, prepared.schema, data), prepared


def prepared_as(name: str) -> Prepared:
    training = TRAININGS[name]
    prepared = prepare(Settings().changed(**{**PLAIN, **training.changes}), training.source)
    state = prepared.state
    state.last.objective = training.objective or state.objective
    state.recipe = dataclasses.replace(state.recipe, **{"record_steps": 10, **training.recipe})
    return prepared


def go_on(name: str, folder: Path, stop: Callable[[State], bool] = lambda state: False) -> State:
    run, prepared = Run.reopen(folder, repair=True), prepared_as(name)
    run.restore(prepared.state)
    run.forget_after(prepared.state.step)
    list(fit_and_save(run, prepared, lambda: stop(prepared.state)))
    return prepared.state


class Whole(NamedTuple):
    """A training that nobody stopped. Only to be read."""

    folder: Path
    state: State


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Callable[[str], Whole]:
    """That of a name, trained when it is first asked for."""
    home, known = tmp_path_factory.mktemp("undisturbed"), {}

    def of(name: str) -> Whole:
        if name not in known:
            run, prepared = begin(name, home / str(len(known)))
            list(fit_and_save(run, prepared))
            known[name] = Whole(run.folder, prepared.state)
        return known[name]

    return of


def assert_same(folder: Path, state: State, whole: Whole) -> None:
    assert_equal(state, whole.state)
    assert (folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    assert manifest(folder) == manifest(whole.folder)
    assert not any(verify(folder).values())


# Ways to stop


class Stopping:
    """A training that is to be stopped, and after which step; it saves every few."""

    def __init__(self, name: str, folder: Path, step: int):
        self.name, self.step = name, step
        self.run, self.prepared = begin(name, folder)

    @property
    def reached(self) -> bool:
        return self.prepared.state.step >= self.step

    def records(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        return fit_and_save(
            self.run, self.prepared, stop, clock=lambda: self.prepared.state.step, save_seconds=EVERY - 1
        )

    def consumed(self, records: Iterator[Record], act: Callable[[], object]) -> None:
        """All of them, but for what becomes of it by acting after the step."""
        for record in records:
            if record.step == self.step:
                act()

    def having_reached(self) -> Iterator[Record]:
        records = self.records()
        while not self.reached:
            next(records)
        return records

    def replace(self, patch: pytest.MonkeyPatch, home: object, name: str, act: Callable[[], object]) -> None:
        """From the step on a function acts before it does what it does."""
        real = getattr(home, name)

        def function(*arguments, **options):
            if self.reached:
                act()
            return real(*arguments, **options)

        patch.setattr(home, name, function)


def asked(stopping: Stopping) -> None:
    list(stopping.records(lambda: stopping.reached))


def closed(stopping: Stopping) -> None:
    stopping.having_reached().close()


def thrown(stopping: Stopping) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopping.having_reached().throw(KeyboardInterrupt)


def failed(stopping: Stopping) -> None:
    """Whoever drives fails, and the generator is forgotten."""
    with pytest.raises(ZeroDivisionError):
        stopping.consumed(stopping.records(), lambda: 1 / 0)
    gc.collect()


def signalled(number: signal.Signals) -> Callable[[Stopping], None]:
    def way(stopping: Stopping) -> None:
        with Interrupt().listening() as interrupt:
            stopping.consumed(stopping.records(interrupt), lambda: signal.raise_signal(number))
        assert interrupt.exit_code == 128 + number

    return way


def signalled_twice(stopping: Stopping) -> None:
    """The second Ctrl-C does not wait for the step in hand."""

    def press() -> None:
        signal.raise_signal(signal.SIGINT)  # to this very thread: handled before the next line
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one did not stop it")

    with pytest.raises(SystemExit) as stop, Interrupt().listening() as interrupt:
        stopping.consumed(stopping.records(interrupt), press)
    assert stop.value.code == 130
    del stop
    gc.collect()


def failing(home: object, name: str, error: type[BaseException]) -> Callable[[Stopping], None]:
    """A function of the training's own fails, once the step is done."""

    def fail() -> None:
        raise error("as if")

    def way(stopping: Stopping) -> None:
        with pytest.MonkeyPatch.context() as patch:
            stopping.replace(patch, home, name, fail)
            with pytest.raises(error):
                list(stopping.records())

    return way


def killed(home: str | None = None, name: str = "") -> Callable[[Stopping], None]:
    """kill −9, in a process of its own: between two steps, or as a function is called once the step is done."""

    def way(stopping: Stopping) -> None:
        arguments = (stopping.name, stopping.run.folder, stopping.step, home, name)
        process = SERVER.Process(target=die, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL

    return way


def die(training: str, folder: Path, step: int, home: str | None, name: str) -> None:
    stopping, act = Stopping(training, folder, step), functools.partial(signal.raise_signal, signal.SIGKILL)
    if home is not None:
        stopping.replace(pytest.MonkeyPatch(), importlib.import_module(home), name, act)
    torch.set_num_threads(1)
    stopping.consumed(stopping.records(), act if home is None else lambda: None)


class Way(NamedTuple):
    """How a training is stopped."""

    stop: Callable[[Stopping], None]
    loses: int = 0
    """steps that have to be done again, at most"""
    first: int = 1
    """the first step that can be the one"""
    last: int = -1
    """the last that can be, counted from the end"""


WAYS = {
    "asked to stop": Way(asked),
    "closed": Way(closed),
    "an error thrown in": Way(thrown),
    "an error of whoever drives": Way(failed),
    "SIGINT": Way(signalled(signal.SIGINT)),
    "SIGTERM": Way(signalled(signal.SIGTERM)),
    "SIGHUP": Way(signalled(signal.SIGHUP)),
    "SIGINT twice": Way(signalled_twice, EVERY),
    "a step that is refused": Way(failing(State, "advance", TrainingError), first=0, last=-2),
    "no memory amid an update": Way(failing(torch, "_foreach_lerp_", MemoryError), EVERY, first=0, last=-2),
    "an exit in a validation": Way(failing(loop, "over_rows", SystemExit), 2 * RECORD, first=0),  # in the next one
    "kill −9 after a step": Way(killed(), EVERY),
    "kill −9 amid an update": Way(killed("torch", "_foreach_lerp_"), EVERY, first=0, last=-2),
    "kill −9 within a save": Way(killed("os", "replace"), EVERY),
}
PLACES = {
    "before the first step": 0,
    "after it": 1,
    "before an epoch's end": EPOCH - 1,
    "at it": EPOCH,
    "after it, too": EPOCH + 1,
    "before a record": RECORD - 1,
    "at a record": RECORD,
    "after a record": RECORD + 1,
    "before the last step": -2,
    "at the last step": -1,
}
"""steps done, from the end where negative: −1 is all of them"""
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
MARKS = {"compiled": [needs_compiler, pytest.mark.slow]}


def possible(way: str, place: int) -> bool:
    return place >= WAYS[way].first if place >= 0 else place <= WAYS[way].last


CASES = [("plain", way, place) for way in WAYS for place in PLACES]
CASES += [(name, "asked to stop", place) for name in TRAININGS for place in PLACES]
CASES = [
    pytest.param(name, way, place, marks=MARKS.get(name, []))
    for name, way, place in dict.fromkeys(CASES)
    if possible(way, PLACES[place])
]


@pytest.fixture(autouse=True)
def as_trained(monkeypatch):
    """A compiled training is compiled from its fifth step on."""
    monkeypatch.setattr(compiled, "EAGERLY", EPOCH)


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:`torch._prims")  # of torch by torch
@pytest.mark.parametrize(("name", "way", "place"), CASES)
def test_c5_stopped_anyhow_and_anywhere_it_comes_to_the_same_result(undisturbed, tmp_path, name, way, place):
    whole, (stop, loses, *_) = undisturbed(name), WAYS[way]
    step = range(whole.state.step + 1)[PLACES[place]]
    stopping = Stopping(name, tmp_path / "run", step)
    stop(stopping)
    kept = Run.reopen(stopping.run.folder).state(CPU).step
    assert step - loses <= kept <= step + loses
    state = go_on(name, stopping.run.folder)
    assert_same(stopping.run.folder, state, whole)


@pytest.mark.parametrize("name", ["plain", "warm-up", "setbacks"])
def test_c5_stopped_after_every_single_step(undisturbed, tmp_path, name):
    folder, whole = tmp_path / "run", undisturbed(name)
    asked(Stopping(name, folder, 1))
    for step in range(2, whole.state.step + 1):
        state = go_on(name, folder, lambda state, step=step: state.step == step)
        assert state.step == step
    assert_same(folder, state, whole)


def test_c5_the_trainings_are_what_they_are_called(undisturbed):
    """So that there is something to lose."""
    states = {name: undisturbed(name).state for name in TRAININGS if name != "compiled"}
    plain = states["plain"]
    records = [record["step"] for record in Run.open(undisturbed("plain").folder).metrics]
    assert records == [RECORD, 2 * RECORD, plain.step]
    assert plain.step == 8 * EPOCH
    assert states["stopped early"].step < states["stopped early"].recipe.steps
    assert states["stopped early"].stale == 2
    assert 0 < states["on the plateau"].cooling < states["on the plateau"].step
    assert states["setbacks"].setbacks == 2
    assert states["not validated"].best is None
    assert states["convolutions in bfloat16"].recipe.precision == "bfloat16"
    assert states["all at once"].settled > RECORD


def test_c5_without_keyed_noise_it_would_be_seen(undisturbed, tmp_path, monkeypatch):
    """Noise as it is usually made, by one generator that goes on and on: a resumed training starts it anew."""

    def generator_anew() -> None:
        running = torch.Generator().manual_seed(0)
        monkeypatch.setattr("vaekit.training.state.generator", lambda *key, device="cpu": running)

    generator_anew()
    whole = Stopping("plain", tmp_path / "whole", 10**9)
    asked(whole)
    generator_anew()
    asked(Stopping("plain", tmp_path / "run", 10))
    generator_anew()
    state = go_on("plain", tmp_path / "run")
    with pytest.raises(AssertionError):
        assert_equal(state, whole.prepared.state)
