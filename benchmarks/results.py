"""What the benchmarks share: a command of vaekit's with what it took, the machine in words, a row of a page's table."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results.md"


class Finished(NamedTuple):
    last: dict
    """the last line that the command printed"""
    seconds: float
    """of processor time, which other work on the machine does not lengthen much"""
    memory: float
    """largest resident memory, MiB"""


def vaekit(*arguments: str) -> Finished:
    """Run a command to its end; what it prints goes on to stderr."""
    line = ""
    process = subprocess.Popen([sys.executable, "-m", "vaekit", *arguments], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        sys.stderr.write(line)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Finished(json.loads(line), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def machine() -> str:
    """The accelerator, or threads and processor; torch."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} × {_processor()}, torch {torch.__version__}"


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    names = [line for line in about.read_text().splitlines() if line.startswith("model name")] if about.exists() else []
    return names[0].split(":")[1].strip().replace("(R)", "") if names else platform.machine()


def write(heading: str, row: str, *, key: int = 1, page: Path = RESULTS) -> None:
    """A row into the table whose first line begins with `heading`, in the place of the one that has the same first
    `key` cells, else below the others."""
    print(row, flush=True)
    lines = page.read_text().splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(heading)), None)
    if start is None:
        sys.exit(f"{page} has no table that begins with {heading}")
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    cells = lambda line: line.split("|")[1 : key + 1]  # noqa: E731
    place = next((i for i in range(start + 2, end) if cells(lines[i]) == cells(row)), end)
    lines[place : min(place + 1, end)] = [row]
    page.write_text("\n".join(lines) + "\n")
