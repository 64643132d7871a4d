"""C1, C4, C5: killed, interrupted or resumed anywhere, a run comes to the result that it would have had."""

import contextlib
import itertools
import random
import signal

import pytest
import torch
from runs.conftest import assert_equal, manifest

from reliability.conftest import OPTIONS, STEPS, many
from vaekit import runs
from vaekit.runs import Run, checkpoint, verify
from vaekit.training import loop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody disturbed. Only to be read."""
    from reliability.conftest import Vaekit

    home = tmp_path_factory.mktemp("whole")
    assert Vaekit(home / "log.txt").run("fit", "digits", "--out", home / "run", *OPTIONS, save_steps=10**9) == 0
    return home / "run"


def assert_same_run(folder, whole) -> None:
    """Bit-identical: weights, optimiser state, counters, records."""
    assert_equal(Run.open(folder).state(CPU), Run.open(whole).state(CPU))
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert manifest(folder) == manifest(whole)
    assert not any(verify(folder).values())


def test_c1_killed_at_random_until_done(vaekit, whole, tmp_path):
    """After a step, or at a call of the system within a save; every resume gets a little further."""
    chance, steps = random.Random(20260101), []
    for attempt in itertools.count():
        folder, words = tmp_path / f"run{attempt}", ["fit", "digits", "--out", tmp_path / f"run{attempt}", *OPTIONS]
        known = None
        while known is None or not known["finished"]:
            code = vaekit.run(*words, **a_death(chance, 0 if known is None else known["counters"]["step"]))
            words = ["resume", folder] if checkpoint.whole(folder) else words
            known = checkpoint.whole(folder)
            if code:
                steps.append(known["counters"]["step"] if known else 0)
        assert_same_run(folder, whole)
        if len(steps) >= many(20, 300):
            break
    assert len({step for step in steps if 0 < step < STEPS}) > len(steps) // 2  # most of them amid the training


def a_death(chance: random.Random, step: int) -> dict:
    """One of the ways to be killed, at random: soon after a step, or soon within the saves that follow."""
    if chance.random() < 0.7:
        return {"script": {step + chance.randrange(1, 80): signal.SIGKILL}}
    return {"killed_at": (chance.choice(("replace", "fsync", "unlink")), chance.randrange(1, 30))}


AIMED = {
    "before the tensors are renamed": ("replace", 8),
    "between tensors and manifest": ("replace", 10),
    "while the manifest is written": ("fsync", 20),
    "before a folder is synced": ("fsync", 23),
    "while old tensors are removed": ("unlink", 6),
}


@pytest.mark.parametrize("where", list(AIMED)[: many(2, len(AIMED))])
def test_c1_killed_within_a_save(vaekit, whole, tmp_path, where):
    folder = tmp_path / "run"
    assert vaekit.run("fit", "digits", "--out", folder, *OPTIONS, killed_at=AIMED[where]) == -signal.SIGKILL
    assert not Run.open(folder).finished
    assert vaekit.run("resume", folder) == 0
    assert_same_run(folder, whole)
    assert not list(folder.glob(".*.part"))


def test_c1_records_hold_no_wall_clock(whole):
    for record in Run.open(whole).metrics:
        assert not {"time", "seconds", "date", "elapsed"} & set(record)


# C4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_c4_a_polite_signal_ends_after_the_step_in_hand(vaekit, tmp_path, number):
    chance = random.Random(int(number))
    for attempt, step in enumerate((1, chance.randrange(2, STEPS - 1), STEPS - 1)):
        folder = tmp_path / f"run{attempt}"
        code = vaekit.run("fit", "digits", "--out", folder, *OPTIONS, save_steps=10**9, script={step: number})
        assert code == 128 + number, vaekit.output()
        assert Run.open(folder).state(CPU).step == step
        assert f"Stopped after step {step:,}" in vaekit.output()  # the last finished step is the one saved
        assert not any(verify(folder).values())


def test_c4_a_second_ctrl_c_stops_at_once(small, tmp_path):
    from vaekit.cli.progress import Interrupt

    prepared = small.prepare(epochs=30)
    run = small.create(tmp_path / "run", prepared)
    with pytest.raises(SystemExit) as stop, Interrupt().listening() as interrupt:
        twice_at(7, runs.drive(run, prepared, interrupt))
    assert stop.value.code == 130
    assert Run.open(run.folder).state(CPU).step in (0, 7)  # at once: what it had is there, the rest need not be


def twice_at(step, records) -> None:
    for record in records:
        if record.step == step:
            signal.raise_signal(signal.SIGINT)  # to this very thread: handled before the next line
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second one did not stop it")


# C5

EPOCH, RECORDS, LAST = 4, 100, 120
PLACES = {
    "before the first step": 0,
    "after it": 1,
    "before an epoch's end": EPOCH - 1,
    "at it": EPOCH,
    "after it, too": EPOCH + 1,
    "in the warm-up": 11,
    "before a record": RECORDS - 1,
    "after a record": RECORDS,
    "after a validation": RECORDS + 1,
    "before the last step": LAST - 1,
}
KINDS = {
    "plain": {},
    "warm-up": {"warmup": 0.5, "beta": 0.7},
    "draws": {"samples": 3},
    "iwae": {"objective": "iwae", "samples": 4},
    "stopped early": {"patience": 1, "epochs": 300, "learning_rate": 0.5},
}


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory):
    """Of every kind, the run that nobody stopped."""
    home, finished = tmp_path_factory.mktemp("undisturbed"), {}
    for kind, changes in KINDS.items():
        prepared = small.prepare(**{"epochs": 30, **changes})
        run = small.create(home / kind.replace(" ", "-"), prepared)
        list(runs.drive(run, prepared))
        finished[kind] = run
    assert Run.open(finished["stopped early"].folder).state(CPU).stale == 1
    return finished


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_c5_resumed_anywhere(small, undisturbed, tmp_path, kind, place):
    changes = {"epochs": 30, **KINDS[kind]}
    prepared = small.prepare(**changes)
    run = small.create(tmp_path / "run", prepared)
    run.save(prepared.state)
    with contextlib.closing(runs.drive(run, prepared)) as records:
        while prepared.state.step < PLACES[place]:
            next(records)
    assert_goes_on(small, run.folder, changes, undisturbed[kind])


def test_c5_stopped_in_a_validation(small, undisturbed, tmp_path, monkeypatch):
    prepared = small.prepare(epochs=30)
    run = small.create(tmp_path / "run", prepared)

    def stop(*arguments):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(loop, "over_rows", stop)
        with pytest.raises(SystemExit):
            list(runs.drive(run, prepared))
    assert_goes_on(small, run.folder, {"epochs": 30}, undisturbed["plain"])


def test_c5_without_keyed_noise_it_would_be_seen(small, tmp_path, monkeypatch):
    """Noise as it is usually made, by one generator that goes on and on: a resumed training starts it anew."""

    def go(run, prepared, until=None):
        running = torch.Generator().manual_seed(0)
        monkeypatch.setattr("vaekit.training.state.generator", lambda *key, device: running)
        list(runs.drive(run, prepared, lambda: prepared.state.step == until))
        return prepared.state

    whole, first, again = (small.prepare(epochs=30) for _ in range(3))
    go(small.create(tmp_path / "whole", whole), whole)
    go(small.create(tmp_path / "run", first), first, until=50)
    run = Run.open(tmp_path / "run")
    run.restore(again.state)
    with pytest.raises(AssertionError):
        assert_equal(go(run, again), whole.state)


def assert_goes_on(small, folder, changes, expected) -> None:
    run, prepared = Run.open(folder, repair=True), small.prepare(**changes)
    run.restore(prepared.state)
    run.forget_after(prepared.state.step)
    list(runs.drive(run, prepared))
    assert_equal(Run.open(folder).state(CPU), Run.open(expected.folder).state(CPU))
    assert (folder / "metrics.jsonl").read_bytes() == (expected.folder / "metrics.jsonl").read_bytes()
    assert manifest(folder) == manifest(expected.folder)
