"""C2, C3, C6: whatever the disk does during a save, the old checkpoint or the new one loads."""

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from runs.conftest import assert_equal

from reliability.conftest import OPTIONS
from reliability.disks import FAULTS, Death, FailingDisk, RecordingDisk
from vaekit import runs
from vaekit.errors import VaekitError
from vaekit.runs import DiskError, Run, storage, verify

CPU = torch.device("cpu")
RECORD = {"step": 9, "elbo": -1.0}


@pytest.fixture(scope="module")
def saves(small, tmp_path_factory):
    """A run saved after steps 5 and 7, and the states after 7 and 9. Only to be read."""
    run = small.create(tmp_path_factory.mktemp("saves") / "run", small.prepare())
    old, new = small.trained(7).state, small.trained(9).state
    run.save(small.trained(5).state)
    run.log({"step": 7, "elbo": -2.0}, 1.0)
    run.save(old)
    return run.folder, old, new


def is_one_of(folder, *states) -> bool:
    """Whether the newest checkpoint and the model load, without a repair, and are of these."""
    try:
        found = Run.reopen(folder).state(CPU)
        model = Run.open(folder).model(CPU).state_dict()
    except VaekitError:
        return False
    models = [state.trained().state_dict() for state in states]
    known = any(all(torch.equal(model[name], value) for name, value in each.items()) for each in models)
    return known and any(_equal(found, state) for state in states)


def _equal(a, b) -> bool:
    try:
        assert_equal(a, b)
    except AssertionError:
        return False
    return True


def attempt(folder, new, disk, monkeypatch) -> BaseException | None:
    """Log and save through a disk; what came of it."""
    run = Run.open(folder)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "os", disk)
        try:
            run.log(RECORD, 2.0)
            run.save(new)
        except (Death, Exception) as error:
            return error
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_c2_the_kth_call_of_a_save_fails(saves, tmp_path, monkeypatch, fault):
    saved, old, new = saves
    for k in itertools.count(1):
        folder = Path(shutil.copytree(saved, tmp_path / str(k)))
        disk = FailingDisk(k, fault)
        error = attempt(folder, new, disk, monkeypatch)
        assert error is None or isinstance(error, DiskError | Death), error
        assert is_one_of(folder, old, new), k
        if disk.calls < k:
            break
        if error is None:
            assert is_one_of(folder, new)
        again = Run.reopen(folder, repair=True)  # it goes on from there
        again.forget_after(again.step)
        again.save(new)
        assert is_one_of(folder, new)
        assert not list(folder.glob(".*.part"))
        assert len(list(folder.glob("checkpoint-*"))) <= 2
    assert k > 20


def power_loss(saves, tmp_path, monkeypatch) -> tuple[int, list[int]]:
    """(number of folders that the disk may hold, events after which it may hold neither checkpoint)"""
    before, old, new = saves
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    disk = RecordingDisk(folder)
    assert attempt(folder, new, disk, monkeypatch) is None
    count, lost = 0, []
    for point, files in disk.after_power_loss():
        count += 1
        left = tmp_path / f"left{count}"
        left.mkdir()
        for name, content in files.items():
            (left / name).write_bytes(content)
        saved = point == len(disk.events)  # what is said to be saved has to be there
        if not is_one_of(left, *((new,) if saved else (old, new))):
            lost.append(point)
        shutil.rmtree(left)
    return count, lost


def test_c3_the_power_fails_at_any_point_of_a_save(saves, tmp_path, monkeypatch):
    count, lost = power_loss(saves, tmp_path, monkeypatch)
    assert count >= 20
    assert not lost


UNSAFE = {
    "no fsync of the file": ("_put", lambda real: lambda *a, durable: real(*a, durable=False)),
    "no fsync of the folder": ("sync", lambda real: lambda folder: None),
    "written in place": ("write", lambda real: in_place),
}


def in_place(path, content) -> str:
    storage._put(path, os.O_TRUNC, content, durable=True)
    return storage.hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("how", UNSAFE)
def test_c3_an_unsafe_write_is_seen(saves, tmp_path, monkeypatch, how):
    name, change = UNSAFE[how]
    monkeypatch.setattr(storage, name, change(getattr(storage, name)))
    assert power_loss(saves, tmp_path, monkeypatch)[1]


def test_c2_writing_in_place_is_seen(saves, tmp_path, monkeypatch):
    saved, old, new = saves
    monkeypatch.setattr(storage, "write", in_place)
    found = []
    for k in range(1, 20):
        folder = Path(shutil.copytree(saved, tmp_path / str(k)))
        attempt(folder, new, FailingDisk(k, "death amid"), monkeypatch)
        found.append(is_one_of(folder, old, new))
    assert not all(found)


# C6


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name == "nt" or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_c6_a_disk_that_fills_up_while_training(vaekit, small_disk):
    folder = small_disk / "run"
    (small_disk / "ballast").write_bytes(bytes(2**20 - 100_000))
    assert vaekit.run("fit", "digits", "--out", folder, *OPTIONS) == 2
    said = vaekit.output()
    assert "No space left" in said
    assert "bytes are needed" in said
    assert "are free" in said
    assert "Traceback" not in said
    assert not any(verify(folder).values())
    (small_disk / "ballast").unlink()
    assert vaekit.run("resume", folder) == 0
    assert Run.open(folder).finished


def drive_until(run, prepared, step, then) -> None:
    for record in runs.fit_and_save(run, prepared):
        if record.step == step:
            then()


def test_c6_a_folder_that_is_removed(small, tmp_path):
    prepared = small.prepare(epochs=30)
    run = small.create(tmp_path / "run", prepared)
    with pytest.raises(DiskError, match=r"run/.*No such file"):
        drive_until(run, prepared, 50, lambda: shutil.rmtree(run.folder))
    assert not run.folder.exists()


def test_c6_a_folder_that_can_no_longer_be_written(small, tmp_path, monkeypatch):
    prepared = small.prepare(epochs=30)
    run = small.create(tmp_path / "run", prepared)
    with pytest.raises(DiskError, match="Permission denied"):
        drive_until(run, prepared, 50, lambda: monkeypatch.setattr(storage, "os", FailingDisk(1, "EACCES")))
    monkeypatch.undo()
    assert Run.reopen(run.folder).state(CPU).step == 0
    assert not any(verify(run.folder).values())


def test_c6_a_path_that_is_a_file(vaekit, tmp_path):
    (tmp_path / "run").write_text("precious")
    assert vaekit.run("fit", "digits", "--out", tmp_path / "run", *OPTIONS) == 2
    assert "run is a file" in vaekit.output()
    assert (tmp_path / "run").read_text() == "precious"
