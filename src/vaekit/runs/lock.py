"""One writer a run folder."""

import os
from pathlib import Path

from vaekit.errors import VaekitError

try:
    import fcntl
except ImportError:  # Windows has no flock: there, nothing guards a folder against two writers
    fcntl = None


class Lock:
    """Holds `run.lock` for as long as the process lives or until released; the system frees it even after kill −9."""

    def __init__(self, folder: Path):
        self.file = (folder / "run.lock").open("a+")
        if fcntl is None:
            return
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.seek(0)
            holder = self.file.read().strip() or "unknown"
            self.file.close()
            raise VaekitError(
                f"{folder} is in use by process {holder}: wait for it, or choose another folder."
            ) from error
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()

    def release(self) -> None:
        self.file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error) -> None:
        self.release()
