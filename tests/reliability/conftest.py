"""A run to be killed, and processes to kill: quick to start, because one server has imported everything already."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from runs.conftest import same, small  # noqa: F401  the run of three columns, and when two states are the same

SOAK = bool(os.environ.get("VAEKIT_SOAK"))
"""the long form: `make soak`"""

OPTIONS = (
    "--latent-dim", "2", "--hidden", "8", "--batch-size", "64", "--epochs", "15", "--patience", "0",
    "--binarize", "dynamic",
)  # fmt: skip
STEPS = 15 * (1437 // 64)


PRELOADED = [
    "pytest",
    "torch._dynamo",
    "sklearn.datasets",
    "tomli_w",
    "vaekit.cli.common",
    "vaekit.cli.train",
    "vaekit.estimators",
]


def many(quick: int, long: int) -> int:
    """How often: in every test run, and in the long form."""
    return long if SOAK else quick


WAIT = "wait"
"""in a script: stay at this step until killed"""
HANGS = 1800
"""seconds after which something is taken to hang: no outcome depends on it otherwise"""


def command(arguments: list[str], log: str, options: dict):
    """`vaekit …` in a process of its own, whose clock counts steps.

    save_steps   from one checkpoint to the next
    script       what happens after a step: a signal that the process gets, or `WAIT`
    killed_at    (function of `os`, n): the process is killed as it is about to call it for the nth time on a file of
                 the run folder
    locked       whether the folder's lock is heeded
    waits        an event, set once the process waits
    """
    from vaekit.cli import main, train
    from vaekit.runs import Lock, drive

    def driven(run, prepared, stop):
        records = drive(run, prepared, stop, clock=lambda: prepared.state.step, save_seconds=options["save_steps"] - 1)
        for record in records:
            act = options["script"].get(record.step)
            if act == WAIT:
                options["waits"].set()
                threading.Event().wait()
            elif act is not None:
                os.kill(os.getpid(), act)
            yield record

    torch.set_num_threads(1)
    train.drive = driven
    train.write_all = lambda *arguments: []
    killed_at, locked = options["killed_at"], options["locked"]
    if not locked:
        sys.modules[Lock.__module__]._taken = lambda file: True
    if killed_at is not None:
        _kill_at(*killed_at)
    with open(log, "a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        main(arguments)


def _kill_at(name: str, nth: int) -> None:
    real, calls = getattr(os, name), [0]

    def wrapper(*arguments, **options):
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, name, wrapper)


class Vaekit:
    """Starts `vaekit` processes."""

    def __init__(self, log: Path):
        self.log = log
        self.server = multiprocessing.get_context("forkserver")
        self.server.set_forkserver_preload(PRELOADED)

    def start(self, *arguments, save_steps: int = 7, script: dict | None = None,
              killed_at: tuple[str, int] | None = None, locked: bool = True):  # fmt: skip
        words = [str(argument) for argument in arguments]
        options = {"save_steps": save_steps, "script": script or {}, "killed_at": killed_at, "locked": locked}
        waits = self.server.Event()
        process = self.server.Process(target=command, args=(words, str(self.log), {**options, "waits": waits}))
        process.waits = waits
        process.start()
        return process

    def run(self, *arguments, **options) -> int:
        """The exit code, negative for a signal."""
        process = self.start(*arguments, **options)
        process.join(HANGS)
        return process.exitcode

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def waiting(process) -> bool:
    """Whether it has come to a step at which it waits."""
    return process.waits.is_set()


def wait_for(condition) -> None:
    end = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture
def vaekit(tmp_path) -> Vaekit:
    return Vaekit(tmp_path / "log.txt")


def peak_memory(work) -> int:
    """Bytes by which this process grew at most while it did something; 0 where the system does not say."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        work()
        return 0
    with contextlib.suppress(OSError):
        reset.write_text("5")  # the high-water mark becomes what there is now
    before = _kibibytes(status, "VmRSS")
    work()
    return max(0, _kibibytes(status, "VmHWM") - before) * 1024


def _kibibytes(status: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))
