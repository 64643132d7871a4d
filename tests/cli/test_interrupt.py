"""Ctrl-C loses nothing: the run goes on to the result that it would have had."""

import contextlib
import gc
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from runs.conftest import manifest, newest

from vaekit import runs
from vaekit.cli import main, train
from vaekit.runs import Run

OPTIONS = (
    "--latent-dim", "2", "--hidden", "8", "--batch-size", "64", "--epochs", "60", "--patience", "0",
    "--binarize", "dynamic",
)  # fmt: skip
STEPS = 60 * (1437 // 64)


@pytest.fixture(scope="module")
def whole(vaekit, tmp_path_factory) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert vaekit("fit", "digits", "--out", folder, *OPTIONS).code == 0
    return folder


@pytest.fixture
def no_pictures(monkeypatch):
    """To save a second a run."""
    monkeypatch.setattr(train, "write_all", lambda *arguments: [])


def assert_same_run(a: Path, b: Path) -> None:
    """Equal to the last bit: records, weights, optimiser, counters."""
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    left, right = (safetensors.torch.load_file(newest(folder)) for folder in (a, b))
    assert left.keys() == right.keys()
    assert any(name.startswith("best/") for name in left)
    assert any(name.startswith("adam-exp_avg_sq/") for name in left)
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name
    assert manifest(a) == manifest(b)
    assert newest(a).name.split("-")[2] == newest(b).name.split("-")[2]  # the very bytes


@contextlib.contextmanager
def stopping_at(step: int, number: signal.Signals):
    """Send this process a signal when training has done `step` steps."""

    def fit_and_save(*arguments):
        for record in runs.fit_and_save(*arguments):
            if record.step == step:
                os.kill(os.getpid(), number)
            yield record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit_and_save", fit_and_save)
        yield


WAITING = """
import sys
from vaekit.cli import main, train

def fit_and_save(*arguments, real=train.fit_and_save):
    for record in real(*arguments):
        if record.step == 30:
            print("at step 30", flush=True)
            sys.stdin.readline()
        yield record

train.fit_and_save = fit_and_save
main(sys.argv[1:])
"""
"""the command line, which waits for a word after step 30"""


def test_a_process_stopped_by_ctrl_c_goes_on_to_the_same_result(vaekit, whole, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", WAITING, "fit", "digits", "--out", str(folder), *OPTIONS, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        while process.stdout.readline() != "at step 30\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate("go on\n")
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"vaekit resume {folder}" in err
    assert not Run.open(folder).finished
    early = vaekit("evaluate", folder, "--samples", 2)
    assert early.code == 0
    assert f"{folder} is not finished: these are its weights after step 30" in early.err
    assert "what more steps, or a better prior, could save" in " ".join(early.out.split())
    end = ["The training has not ended, at step 30, and all of this may change:", f"`vaekit resume {folder}` goes on."]
    assert early.out.splitlines()[-2:] == end
    assert json.loads(vaekit("evaluate", folder, "--samples", 2, "--json").out)["unfinished_at_step"] == 30
    assert vaekit("resume", folder).code == 0
    late = vaekit("evaluate", folder, "--samples", 2)
    assert "not finished" not in late.err
    assert "what a better prior could save" in " ".join(late.out.split())
    assert "has not ended" not in late.out
    assert_same_run(folder, whole)


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, 1), (signal.SIGINT, 110), (signal.SIGTERM, 1), (signal.SIGHUP, 2)],
)
def test_any_polite_signal_finishes_the_step_and_saves(vaekit, whole, tmp_path, no_pictures, number, step):
    folder = tmp_path / "run"
    listened = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(each) for each in listened]
    with stopping_at(step, number):
        stopped = vaekit("fit", "digits", "--out", folder, *OPTIONS)
    assert stopped.code == 128 + number
    assert f"after step {step}" in stopped.err
    assert f"vaekit resume {folder}" in stopped.err
    assert Run.reopen(folder).state(torch.device("cpu")).step == step
    assert [signal.getsignal(each) for each in listened] == handlers
    if number is signal.SIGINT:
        assert vaekit("resume", folder).code == 0
        assert_same_run(folder, whole)


def test_stopping_twice_and_resuming_twice(vaekit, whole, tmp_path, no_pictures):
    folder = tmp_path / "run"
    for command, step in ((("fit", "digits", "--out", folder, *OPTIONS), 109), (("resume", folder), 300)):
        with stopping_at(step, signal.SIGINT):
            assert vaekit(*command).code == 130
    with (folder / "metrics.jsonl").open("a") as file:  # as if it had gone on, and was then killed while writing
        file.write('{"step": 330, "elbo": -1.0}\n{"step": 440, "el')
    assert vaekit("resume", folder).code == 0
    assert_same_run(folder, whole)


def test_ctrl_c_at_the_last_step_leaves_a_whole_run(vaekit, whole, tmp_path):
    folder = tmp_path / "run"
    with stopping_at(STEPS, signal.SIGINT):
        stopped = vaekit("fit", "digits", "--out", folder, *OPTIONS)
    if "vaekit resume" in stopped.err:  # what is advised must work
        assert vaekit("resume", folder).code == 0
    assert_same_run(folder, whole)
    assert (folder / "pictures" / "samples.png").exists()


class Closed(io.StringIO):
    """A pipe whose reader goes away after the first record."""

    def write(self, text):
        if text.startswith("{") and self.getvalue():
            raise BrokenPipeError
        return super().write(text)


def test_a_reader_that_goes_away_loses_nothing(vaekit, whole, tmp_path, no_pictures):
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        with pytest.raises(SystemExit) as stop:
            main(["fit", "digits", "--out", str(folder), *OPTIONS, "--json"])
    assert stop.value.code == 141
    del stop
    gc.collect()
    assert vaekit("resume", folder).code == 0
    assert_same_run(folder, whole)
