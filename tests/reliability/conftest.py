"""A run to be killed, and processes to kill: quick to start, because one server has imported everything already."""

import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

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
SERVER = multiprocessing.get_context("forkserver")
"""starts processes that have imported all that"""
SERVER.set_forkserver_preload(PRELOADED)


def many(quick: int, long: int) -> int:
    """How often: in every test run, and in the long form."""
    return long if SOAK else quick


HOLD = "hold"
"""in a script: say that this step is done, and stay there until told to go on"""


def command(arguments: list[str], log: str, line: Connection, script: dict, save_steps: int, killed_at, locked: bool):
    """`vaekit …` in a process of its own, whose clock counts steps.

    line         to whoever started the process: the steps at which it holds, and the word to go on
    script       what happens after a step: a signal that the process gets, or `HOLD`
    save_steps   from one checkpoint to the next
    killed_at    (function of `os`, pattern, n): the process is killed as it is about to call it for the nth time on a
                 file, or a folder, whose name is of that pattern
    locked       whether the folder's lock is heeded
    """
    from vaekit.cli import main, train
    from vaekit.runs import Lock, fit_and_save

    def driven(run, prepared, stop):
        for record in fit_and_save(run, prepared, stop, clock=lambda: prepared.state.step, save_seconds=save_steps - 1):
            act = script.get(record.step)
            if act == HOLD:
                line.send(record.step)
                line.recv()  # EOFError, and the end, where nobody is left to say it
            elif act is not None:
                signal.raise_signal(act)
            yield record

    torch.set_num_threads(1)
    train.fit_and_save = driven
    train.write_all = lambda *arguments: []
    if not locked:
        sys.modules[Lock.__module__]._taken = lambda file: True
    if killed_at is not None:
        _kill_at(*killed_at)
    with open(log, "a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        main(arguments)


def _kill_at(name: str, pattern: str, nth: int) -> None:
    real, calls = getattr(os, name), [0]

    def wrapper(file, *arguments, **options):
        path = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file
        calls[0] += re.fullmatch(pattern, os.path.basename(path)) is not None
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, *arguments, **options)

    setattr(os, name, wrapper)


class Started:
    """A process that runs a command."""

    def __init__(self, process: BaseProcess, line: Connection):
        self.process, self.line = process, line

    def held(self) -> int | None:
        """Wait for it to hold: the step that it has done; None where it ended before."""
        try:
            return self.line.recv()
        except EOFError:
            return None

    def go_on(self) -> None:
        self.line.send(None)

    def ended(self) -> int:
        """Wait for its end: the exit code, negative for a signal."""
        self.process.join()
        return self.process.exitcode

    def killed(self) -> None:
        self.process.kill()
        self.process.join()


class Vaekit:
    """Starts `vaekit` processes."""

    def __init__(self, log: Path):
        self.log = log

    def start(self, *arguments, script: dict | None = None, save_steps: int = 7,
              killed_at: tuple[str, str, int] | None = None, locked: bool = True) -> Started:  # fmt: skip
        ours, theirs = SERVER.Pipe()
        words = [str(argument) for argument in arguments]
        options = (script or {}, save_steps, killed_at, locked)
        process = SERVER.Process(target=command, args=(words, str(self.log), theirs, *options))
        process.start()
        theirs.close()  # so that its end is heard
        return Started(process, ours)

    def run(self, *arguments, **options) -> int:
        """The exit code, negative for a signal."""
        return self.start(*arguments, **options).ended()

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def vaekit(tmp_path) -> Vaekit:
    return Vaekit(tmp_path / "log.txt")


class Cost(NamedTuple):
    """What something took, whatever the machine: how fast it is, and who else uses it."""

    calls: int
    """of functions, of Python and of C"""
    memory: int
    """bytes by which this process grew at most; 0 where the system does not say"""


def cost(work: Callable[[], object]) -> Cost:
    calls, before = itertools.count(), sys.getprofile()
    sys.setprofile(lambda frame, event, argument: next(calls) if event.endswith("call") else None)
    try:
        memory = peak_memory(work)
    finally:
        sys.setprofile(before)
    return Cost(next(calls), memory)


def peak_memory(work: Callable[[], object]) -> int:
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
