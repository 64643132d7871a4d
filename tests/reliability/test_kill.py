"""C1: killed anywhere, again and again, the command line comes to the result that it would have had."""

import itertools
import random
import signal

import pytest
import torch
from runs.conftest import assert_equal, manifest, newest

from reliability.conftest import OPTIONS, STEPS, many
from vaekit.runs import Run, checkpoint, verify

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
    assert_equal(Run.reopen(folder).state(CPU), Run.reopen(whole).state(CPU))
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert manifest(folder) == manifest(whole)
    assert newest(folder).name.split("-")[2] == newest(whole).name.split("-")[2]  # the very bytes
    assert not any(verify(folder).values())


def test_c1_killed_at_random_until_done(vaekit, whole, tmp_path):
    """After a step, or at a call of the system within a save; every resume gets a little further."""
    chance, steps = random.Random(20260101), []
    for attempt in itertools.count():
        folder, words = tmp_path / f"run{attempt}", ["fit", "digits", "--out", tmp_path / f"run{attempt}", *OPTIONS]
        known = {"finished": False, "counters": {"step": 0}}
        while not known["finished"]:
            code = vaekit.run(*words, **a_death(chance, known["counters"]["step"]))
            if folder.exists() and checkpoint.files(folder):
                words = ["resume", folder]
                known = manifest(folder)
            if code:
                steps.append(known["counters"]["step"])
        assert vaekit.run("resume", folder) == 0  # killed after the checkpoint, before the model
        assert_same_run(folder, whole)
        if len(steps) >= many(20, 300):
            break
    assert sum(0 < step < STEPS for step in steps) > len(steps) // 2  # most of them amid the training


def a_death(chance: random.Random, step: int) -> dict:
    """One of the ways to be killed, at random: soon after a step, or soon within the saves that follow."""
    if chance.random() < 0.7:
        return {"script": {step + chance.randrange(1, 80): signal.SIGKILL}}
    return {"killed_at": (chance.choice(("replace", "fsync", "unlink")), ".*", chance.randrange(1, 30))}


AIMED = {
    "before a checkpoint is renamed": ("replace", r"\.checkpoint-.*", 4),
    "between checkpoint and model": ("replace", r"\.model.*", 4),
    "while a model is written": ("fsync", r"\.model.*", 5),
    "before a folder is synced": ("fsync", "run", 12),
    "while an old checkpoint is removed": ("unlink", "checkpoint-.*", 2),
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
