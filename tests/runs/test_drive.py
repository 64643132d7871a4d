"""Training that keeps a run folder, stopped and killed anywhere, comes to the same result."""

import shutil

import numpy as np
import pytest
import torch

from runs.conftest import manifest
from vaekit import runs, training
from vaekit.data import Source
from vaekit.runs import Run
from vaekit.spec import Specification, prepare
from vaekit.training import TrainingError, fit, loop

CPU = torch.device("cpu")


def start(small, folder, **changes):
    prepared = small.prepare(epochs=30, **changes)  # 4 steps an epoch; a record every 100 steps
    return small.create(folder, prepared), prepared


def go_on(small, folder):
    run = Run.open(folder)
    prepared = small.prepare(epochs=30)
    run.restore(prepared.state)
    run.forget_after(prepared.state.step)
    return run, prepared


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The run that nobody stopped. Only to be read."""
    run, prepared = start(small, tmp_path_factory.mktemp("whole") / "run")
    list(runs.drive(run, prepared))
    assert [record["step"] for record in run.metrics] == [100, 120]
    return run, prepared.state


def assert_same_run(folder, whole, same) -> None:
    run, state = whole
    same(Run.open(folder).state(CPU), state)
    assert (folder / "metrics.jsonl").read_bytes() == (run.folder / "metrics.jsonl").read_bytes()
    assert manifest(folder) == manifest(run.folder)


@pytest.mark.parametrize(
    ("step", "how"),
    [
        *((step, "stop") for step in (1, 4, 99, 100, 101, 119)),
        (2, "close"),
        (100, "close"),
        (3, "raise"),
        (100, "raise"),
    ],
)
def test_stopped_anywhere_it_goes_on_to_the_same_result(small, whole, same, tmp_path, step, how):
    folder = tmp_path / "run"
    run, prepared = start(small, folder)
    if how == "stop":
        for _ in runs.drive(run, prepared, lambda: prepared.state.step == step):
            pass
    else:
        records = runs.drive(run, prepared)
        for record in records:
            if record.step == step:
                break
        if how == "close":
            records.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                records.throw(KeyboardInterrupt)
    assert Run.open(folder).state(CPU).step == step
    assert not Run.open(folder).finished
    list(runs.drive(*go_on(small, folder)))
    assert_same_run(folder, whole, same)


@pytest.mark.parametrize("step", [3, 100, 106])
def test_killed_after_a_checkpoint_it_goes_on_to_the_same_result(small, whole, same, tmp_path, step):
    """The folder as it is on disk at `step`, records newer than the checkpoint."""
    run, prepared = start(small, tmp_path / "alive")
    for record in runs.drive(run, prepared, clock=iter(range(0, 10_000_000, 4)).__next__):
        if record.step == step:
            folder = shutil.copytree(run.folder, tmp_path / "killed")
            break
    assert 0 < Run.open(folder).state(CPU).step <= step or step == 3
    list(runs.drive(*go_on(small, folder)))
    assert_same_run(folder, whole, same)


def test_checkpoints_are_saved_by_time(small, tmp_path):
    clock = [0.0]
    run, prepared = start(small, tmp_path / "run")
    seen = []
    for record in runs.drive(run, prepared, lambda: prepared.state.step == 10, clock=lambda: clock[0]):
        clock[0] += 11.0  # a step takes 11 seconds, a save is due after 30
        seen.append((record.step, Run.open(run.folder).state(CPU).step))
    assert seen[0] == (1, 0)  # saved before the first step
    assert {saved for _, saved in seen} == {0, 4, 7, 10}
    assert seen[-1] == (10, 10)
    assert Run.open(run.folder).state(CPU).step == 10


def test_a_step_that_fails_leaves_the_state_before_it(small, whole, same, tmp_path, monkeypatch):
    run, prepared = start(small, tmp_path / "run")
    advance = training.State.advance

    def broken(state, batch):
        if state.step == 57:
            raise TrainingError("the loss is not finite")
        return advance(state, batch)

    monkeypatch.setattr(training.State, "advance", broken)
    with pytest.raises(TrainingError):
        list(runs.drive(run, prepared))
    monkeypatch.undo()
    assert Run.open(run.folder).state(CPU).step == 57
    list(runs.drive(*go_on(small, run.folder)))
    assert_same_run(run.folder, whole, same)


@pytest.mark.parametrize("error", [SystemExit, MemoryError])
@pytest.mark.parametrize("where", ["validation", "between the update and its count"])
def test_stopped_within_a_step_no_half_step_is_saved(small, whole, same, tmp_path, monkeypatch, where, error):
    """A second Ctrl-C stops at once, wherever it hits."""
    run, prepared = start(small, tmp_path / "run")

    def hit(*arguments):
        if prepared.state.step in (99, 100):
            raise error
        return real(*arguments)

    if where == "validation":
        real = loop.over_rows
        monkeypatch.setattr(loop, "over_rows", hit)
    else:
        real = torch._foreach_lerp_
        monkeypatch.setattr(torch, "_foreach_lerp_", hit)
    with pytest.raises(error):
        list(runs.drive(run, prepared))
    monkeypatch.undo()
    list(runs.drive(*go_on(small, run.folder)))
    assert_same_run(run.folder, whole, same)


def test_a_finished_run_needs_no_further_step(small, whole, same, tmp_path):
    run, state = whole
    opened, prepared = go_on(small, shutil.copytree(run.folder, tmp_path / "run"))
    assert opened.finished
    assert list(runs.drive(opened, prepared)) == []
    same(prepared.state, state)


def test_wall_clock_is_kept_apart(small, whole):
    run, _ = whole
    assert all("seconds" not in record for record in run.metrics)
    assert len((run.folder / "times.jsonl").read_text().splitlines()) == len(run.metrics)


@pytest.mark.parametrize("network", ["conv", "resnet", "local"])
def test_a_convolutional_run_resumes_to_the_bit(network):
    """Its weights lie in memory with their channels last, and so must the moments that come back from disk."""
    x = np.random.default_rng(0).integers(0, 256, (48, 3, 16, 16)).astype(np.uint8)
    spec = Specification().changed(
        network=network, hidden=(4, 8), latent_dim=16, batch_size=8, epochs=4, device="cpu", precision="float32"
    )

    def training():
        prepared = prepare(spec, Source(x))
        return prepared.state, prepared.rows["train"]

    whole, rows = training()
    for _ in fit(whole, rows):
        pass
    stopped, rows = training()
    for record in fit(stopped, rows):
        if record.step == 7:
            break
    later, rows = training()
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in stopped.tensors().items()}
    later.load(tensors, stopped.counters())
    for _ in fit(later, rows):
        pass
    assert all(torch.equal(tensor, later.tensors()[name]) for name, tensor in whole.tensors().items())
