"""Run folders: atomic, hashed, without pickle."""

from vaekit.runs.drive import drive
from vaekit.runs.folder import Run, check_free, save_state
from vaekit.runs.lock import Lock
from vaekit.runs.storage import DamagedError

__all__ = ["DamagedError", "Lock", "Run", "check_free", "drive", "save_state"]
