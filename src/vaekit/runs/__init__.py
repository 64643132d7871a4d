"""Run folders: atomic, hashed, without pickle."""

from vaekit.runs.checkpoint import verify, versions
from vaekit.runs.fitting import fit_and_save, selected
from vaekit.runs.folder import Run, check_free, check_run, save_state
from vaekit.runs.lock import Lock
from vaekit.runs.storage import DamagedError, DiskError

__all__ = [
    "DamagedError", "DiskError", "Lock", "Run", "check_free", "check_run", "fit_and_save", "save_state", "selected",
    "verify", "versions",
]  # fmt: skip
