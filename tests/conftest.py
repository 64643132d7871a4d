"""Fixtures that several rooms share."""

import os
import signal
import time
import zlib

import numpy as np
import pytest
import torch

for number in (signal.SIGINT, getattr(signal, "SIGHUP", None)):
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:  # as under nohup, or in a shell's background
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


PACE = float(os.environ.get("VAEKIT_TEST_CLOCK", "1"))
"""how fast the clock goes: with 1000 every save is due at once and every wait is over, with 0.001 none ever is. The
tests must pass with either, so that none depends on how fast the machine is."""
if PACE != 1:
    time.monotonic = lambda real=time.monotonic: PACE * real()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small are faster on one, and far faster where the other cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_numbers(request: pytest.FixtureRequest) -> None:
    """Of a module's generator `RNG` too each test has the same numbers, whichever ran before."""
    source = getattr(request.module, "RNG", None)
    if isinstance(source, np.random.Generator):
        name = zlib.crc32(request.node.name.encode())
        source.bit_generator.state = np.random.default_rng(name).bit_generator.state


@pytest.fixture
def generator() -> torch.Generator:
    """A generator of one's own: the same numbers whichever tests run, and in whatever order."""
    return torch.Generator().manual_seed(20240229)


@pytest.fixture
def threads():
    """The number of threads, put back afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SLOW = (
    "tests/reliability/",
    "tests/cli/test_interrupt.py",
    "tests/training/test_compiled.py",
    "tests/test_documents.py",
)
"""files whose tests take some seconds each: `make slow`"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(item.config.rootpath).as_posix()
        if path.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
