"""One writer a run folder."""

import os
from pathlib import Path
from typing import TextIO

from vaekit.errors import VaekitError

try:
    import fcntl
except ImportError:  # Windows has no flock: there, nothing guards a folder against two writers
    fcntl = None  # type: ignore[assignment]  # a module, or none

LOCK = "run.lock"


class Lock:
    """Holds `run.lock` until it is released or the process ends; the system frees it even after kill −9."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / LOCK).open("a+")
        if not _taken(self.file):
            holder = _read(self.file)
            self.file.close()
            raise in_use(folder, holder)
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()

    def release(self) -> None:
        """Let others write."""
        self.file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def other_holder(folder: Path) -> str | None:
    """The process that holds a folder's lock, if that is another than this one."""
    try:
        with (folder / LOCK).open("r+") as file:
            holder = None if _taken(file) else _read(file)
    except OSError:
        return None
    return None if holder == str(os.getpid()) else holder


def in_use(folder: Path, holder: str) -> VaekitError:
    """The error for a folder that another process writes."""
    return VaekitError(f"{folder} is in use by process {holder}: wait for it, or choose another folder.")


def _taken(file: TextIO) -> bool:
    """Whether the lock could be had; it can, unguarded, where the file system knows no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        pass
    return True


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read(20).strip() or "unknown"
