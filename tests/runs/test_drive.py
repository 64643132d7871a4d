"""When training that keeps a run folder saves; stopped and resumed it is in tests/reliability/test_resume.py."""

import shutil

import pytest
import torch

from vaekit import runs
from vaekit.runs import Run

CPU = torch.device("cpu")


def start(small, folder):
    prepared = small.prepare(epochs=30)  # 4 steps an epoch; a record every 100 steps
    return small.create(folder, prepared), prepared


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A finished run. Only to be read."""
    run, prepared = start(small, tmp_path_factory.mktemp("whole") / "run")
    list(runs.fit_and_save(run, prepared))
    assert [record["step"] for record in run.metrics] == [100, 120]
    return run, prepared.state


def test_checkpoints_are_saved_by_time(small, tmp_path):
    clock = [0.0]
    run, prepared = start(small, tmp_path / "run")
    seen = []
    for record in runs.fit_and_save(run, prepared, lambda: prepared.state.step == 10, clock=lambda: clock[0]):
        clock[0] += 11.0  # a step takes 11 seconds, a save is due after 30
        seen.append((record.step, Run.reopen(run.folder).state(CPU).step))
    assert seen[0] == (1, 0)  # saved before the first step
    assert {saved for _, saved in seen} == {0, 4, 7, 10}
    assert seen[-1] == (10, 10)
    assert Run.reopen(run.folder).state(CPU).step == 10


def test_a_finished_run_needs_no_further_step(small, whole, same, tmp_path):
    run, state = whole
    opened, prepared = Run.open(shutil.copytree(run.folder, tmp_path / "run")), small.prepare(epochs=30)
    opened.restore(prepared.state)
    assert opened.finished
    assert list(runs.fit_and_save(opened, prepared)) == []
    same(prepared.state, state)


def test_wall_clock_is_kept_apart(small, whole):
    run, _ = whole
    assert all("seconds" not in record for record in run.metrics)
    assert len((run.folder / "times.jsonl").read_text().splitlines()) == len(run.metrics)
