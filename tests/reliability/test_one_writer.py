"""K1, M1, M2, D3: one writer, whole files for readers, nothing grows, no code from data."""

import json
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.conftest import call
from test_house import FILES, dangers

from reliability.conftest import HOLD, OPTIONS, SOAK, many, peak_memory
from vaekit import VAE, inference, runs
from vaekit.data import Dataset, Source, readers
from vaekit.inference import over_rows
from vaekit.objectives import ELBO
from vaekit.runs import Run, checkpoint, storage, verify
from vaekit.settings import Settings, prepare

CPU = torch.device("cpu")
MIB = 2**20


# K1


def holder(folder: Path) -> str:
    return (folder / "run.lock").read_text() if (folder / "run.lock").exists() else ""


def test_k1_one_of_four_trains_and_the_others_name_it(vaekit, tmp_path):
    folder = tmp_path / "run"
    four = [vaekit.start("fit", "digits", "--out", folder, *OPTIONS, script={5: HOLD}) for _ in range(4)]
    held = [each.held() for each in four]
    assert sorted(held, key=str) == [5, None, None, None]
    running = four.pop(held.index(5))
    pid = running.process.pid
    assert [each.ended() for each in four] == [2, 2, 2]
    assert vaekit.output().count(f"in use by process {pid}") == 3
    for late in (("fit", "digits", "--out", folder), ("fit", "digits", "--out", folder, "--overwrite"),
                 ("resume", folder)):  # fmt: skip
        assert vaekit.run(*late) == 2
    assert vaekit.output().count(f"in use by process {pid}") == 6
    running.killed()
    assert holder(folder) == str(pid)  # what is left of it holds nobody up
    last = vaekit.start("resume", folder, script={9: signal.SIGINT})
    assert last.ended() == 130, vaekit.output()
    assert holder(folder) == str(last.process.pid)
    assert not any(verify(folder).values())


def test_k1_without_the_lock_two_would_train(vaekit, tmp_path):
    folder = tmp_path / "run"
    first = vaekit.start("fit", "digits", "--out", folder, *OPTIONS, script={5: HOLD})
    assert first.held() == 5
    second = vaekit.start("resume", folder, script={9: HOLD}, locked=False)
    assert second.held() == 9
    for each in (first, second):
        each.killed()


def test_k1_readers_see_whole_files(vaekit, tmp_path):
    """Each reading begins as the training goes on to its next save."""
    folder, rounds = tmp_path / "run", many(10, 300)
    longer = [100 if option == "15" else option for option in OPTIONS]
    script = dict.fromkeys(range(5, 5 * rounds + 6, 5), HOLD)
    training = vaekit.start("fit", "digits", "--out", folder, *longer, script=script, save_steps=5)
    before = training.held()
    for _ in range(rounds):
        training.go_on()
        run = Run.open(folder)
        step = run.state(CPU).step
        metrics, damage = run.metrics, verify(folder)
        after = training.held()
        assert step in (before, after)
        assert all(record["step"] for record in metrics)
        assert not any(damage.values())
        before = after
    training.killed()


def test_k1_what_is_saved_while_verifying_is_no_damage(small, tmp_path, monkeypatch):
    """The checkpoints that were listed are gone by the time they are read."""
    run, states = (
        small.create(tmp_path / "run", small.prepare()),
        [small.trained(steps).state for steps in (1, 2, 3, 4)],
    )
    run.save(states[0])
    real = checkpoint.read

    def save_and_read(path):
        monkeypatch.setattr(checkpoint, "read", real)
        for state in states[1:]:
            run.save(state)
        return real(path)

    monkeypatch.setattr(checkpoint, "read", save_and_read)
    assert not any(verify(run.folder).values())


# M1


def array_on_disk(path: Path, mebibytes: int) -> Path:
    """Grey images of 64 × 64, as an .npy."""
    x = np.lib.format.open_memmap(path, "w+", np.uint8, (mebibytes * MIB // 4096, 64, 64))
    block = np.random.default_rng(0).integers(0, 256, (256, 64, 64), np.uint8)
    for start in range(0, len(x), len(block)):
        x[start : start + len(block)] = block
    return path


def peak_of_fit(home: Path, mebibytes: int) -> float:
    """MiB that fitting a file takes above what the process held before. Mapped pages are the system's to take back:
    what counts is memory of the process's own."""
    path = array_on_disk(home / f"{mebibytes}.npy", mebibytes)
    options = (
        "--hidden",
        "4",
        "--network",
        "mlp",
        "--latent-dim",
        2,
        "--epochs",
        1,
        "--likelihood",
        "gaussian:sigma=shared",
    )
    with OwnMemory() as own:
        result = call("fit", path, "--out", home / f"run-{mebibytes}", *options)
    assert result.code == 0, result.err
    return own.peak / MIB


@pytest.mark.slow
def test_m1_a_file_of_four_times_the_ceiling(tmp_path, monkeypatch):
    """In the quick form: a file ten times as large takes no more."""
    if SOAK:
        assert in_a_process_of_its_own(peak_in_the_long_form, tmp_path) < 256
        return
    monkeypatch.setattr(readers, "MAPPED", MIB)
    monkeypatch.setattr("vaekit.data.survey.BLOCK_CELLS", 2**18)
    monkeypatch.setattr("vaekit.data.survey.LOOKED_AT_CELLS", 2**18)
    peaks = [peak_of_fit(tmp_path, mebibytes) for mebibytes in (2, 14, 140)]
    assert peaks[2] < peaks[1] + 70  # of 126 more in the file


def peak_in_the_long_form(home: Path) -> float:
    peak_of_fit(home, 1)  # what is imported and kept
    return peak_of_fit(home, 1100)


def in_a_process_of_its_own(measure, *arguments) -> float:
    """What others have left in the memory of this one does not count."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


class OwnMemory:
    """The most that this process held in memory of its own (no file's pages) above what it held before."""

    def __enter__(self):
        self.start, self.peak, self.over = self._now(), 0, threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.watch.join()

    def _watch(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, self._now() - self.start)

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status")
        if not status.exists():
            pytest.skip("the system does not say how much memory is in use")
        return 1024 * next(int(s.split()[1]) for s in status.read_text().splitlines() if s.startswith("RssAnon"))


# M2


def held() -> tuple[int, int, int]:
    """(KiB of memory of its own, open files, threads) of this process"""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]), len(os.listdir("/proc/self/fd")), int(fields["Threads"])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not say what is in use")
def test_m2_nothing_grows(small, tmp_path, monkeypatch):
    prepared = small.prepare(epochs=1250 * many(1, 10))
    run = small.create(tmp_path / "run", prepared)
    seen = {}
    for record in runs.fit_and_save(run, prepared):
        if record.step % 100 == 0 or SOAK:
            run.save(prepared.state)
        if record.step in (1000, prepared.state.recipe.steps):
            seen[record.step] = (*held(), len(list(run.folder.iterdir())))
    assert prepared.state.step >= 5000
    before, after = seen.values()
    assert after[1:] == before[1:]  # files, threads, files of the run folder
    assert after[0] - before[0] < 4096


def peak_of_a_pass(count: int) -> float:
    """MiB that the objective and the encodings of so many images of 64 × 64 take."""
    x = np.random.default_rng(0).integers(0, 256, (count, 64, 64), np.uint8)
    prepared = prepare(Settings().changed(hidden=(4,), latent_dim=2, network="mlp", device="cpu"), Source(x[:512]))
    model, rows = prepared.state.averaged, Dataset(x, prepared.schema, seed=0)
    with OwnMemory() as own:
        over_rows(ELBO(), model, rows.blocks(), 0)
        inference.encode(model, rows)
    return own.peak / MIB


@pytest.mark.slow
def test_m2_a_longer_pass_takes_no_more():
    """What is kept of a block does not leave the memory of the next in pieces: that took hundreds of MiB."""
    assert in_a_process_of_its_own(peak_of_a_pass, 20_000) < 300


def peak_of_an_estimator() -> float:
    """MiB that fitting, scoring, encoding and sampling a few photographs take."""
    x = np.random.default_rng(0).integers(0, 256, (44, 88, 104, 3), np.uint8)
    vae = VAE(latent_dim=6, network="conv", hidden=(8, 16, 16), max_epochs=1, importance_samples=40, device="cpu")
    with OwnMemory() as own:
        vae.fit(x).score_samples(x[:4])
        vae.inverse_transform(vae.transform(x))
        vae.sample(200)
    return own.peak / MIB


@pytest.mark.slow
def test_m2_large_images_take_no_more_after_training():
    """The bound over the rows trained on took 16 GiB; 200 images as float64 are 42 MiB each time."""
    assert in_a_process_of_its_own(peak_of_an_estimator) < 1024


def test_saving_takes_little_of_the_time(small, tmp_path, monkeypatch):
    """At most two hundredths, however slow the disk: the next save waits until that is so."""
    clock = [0.0]
    prepared = small.prepare(epochs=1000)
    run, spent = small.create(tmp_path / "run", prepared), [0.0]
    monkeypatch.setattr(run, "save", lambda state: (spent.append(5.0), clock.__setitem__(0, clock[0] + 5.0)))
    for _ in runs.fit_and_save(run, prepared, lambda: clock[0] > 5000, clock=lambda: clock[0]):
        clock[0] += 10.0
    assert len(spent) > 10
    assert sum(spent[2:-1]) <= 0.02 * clock[0]  # without the first state and the last


# D3


def test_d3_no_code_from_data():
    assert [danger for path, file in FILES.items() for danger in dangers(file.read_text(encoding="utf8"), path)] == []


def test_what_is_logged_is_json(small, tmp_path):
    run = small.create(tmp_path / "run", small.prepare())
    run.log({"step": 1, "elbo": -1.0}, 0.5)
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == run.metrics


def memory_of_a_long_text() -> int:
    return peak_memory(lambda: storage.json.dumps([0] * 5_000_000))


@pytest.mark.slow
def test_the_measure_of_memory_measures():
    """In a process of its own: one that has freed much memory before takes no more of the system."""
    taken = in_a_process_of_its_own(memory_of_a_long_text)
    assert taken == 0 or taken > 10 * MIB
