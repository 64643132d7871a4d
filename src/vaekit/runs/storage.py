"""Bytes on disk that are either the old or the new, and known to be whole."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

from vaekit.errors import VaekitError

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""what file systems answer that cannot sync a folder: there, its names are as durable as they make them"""


CONTAINERS = 1000
"""lists and objects in one of our JSON files at most: an empty list in a file takes thirty times its memory"""


class DamagedError(VaekitError):
    """A file of a run folder is not what was written."""


class DiskError(VaekitError):
    """A file could not be written; what it held before is still there."""


def write(path: Path, content: bytes) -> str:
    """Replace a file in one step: temporary file → fsync → rename → fsync of the folder. Returns its SHA-256.

    Raises DiskError, with the bytes free and needed where the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _put(temporary, os.O_TRUNC, content, durable=True)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError):
            raise _failure(path, len(content), error) from error
        raise
    return hashlib.sha256(content).hexdigest()


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file; it is durable after `sync_file`."""
    try:
        _put(path, os.O_APPEND, content, durable=False)
    except OSError as error:
        raise _failure(path, len(content), error) from error


def remove(path: Path) -> None:
    """Away with a file that nobody needs, if it can be had."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def clear_parts(folder: Path) -> None:
    """Remove what writers that were killed left half-written."""
    for part in folder.glob(".*.part"):
        remove(part)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its names
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make what was appended to a file durable."""
    try:
        handle = os.open(path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _failure(path, path.stat().st_size if path.exists() else 0, error) from error


def read(path: Path, sha256: str | None = None, *, most: int | None = None) -> bytes:
    """The bytes of a file, if they are those that were written.

    most    bytes: a larger file is refused unread
    """
    if not path.exists():
        raise DamagedError(f"{path} is missing: the run folder is incomplete.")
    if not path.is_file():  # a pipe would be waited for, a device has no end
        raise DamagedError(f"{path} is no regular file.")
    if most is not None and path.stat().st_size > most:
        raise DamagedError(f"{path} is damaged: it has {path.stat().st_size:,} bytes, where at most {most:,} can be.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}.") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one recorded when it was written.")
    return content


def write_json(path: Path, value: dict) -> str:
    """A JSON file that carries its own name, so that no other can stand in for it, and the SHA-256 of its content."""
    return write(path, _sealed({key: value[key] for key in value if key != "sha256"} | {"file": path.name}))


def read_json(path: Path, sha256: str | None = None, *, most: int) -> dict:
    """The content of a sealed JSON file, its own hash checked and left out."""
    try:
        content = read(path, sha256, most=most)
        if content.count(b"[") + content.count(b"{") > CONTAINERS:
            raise ValueError("made to take memory")
        value = json.loads(content)
        del value["sha256"]
        sealed = _sealed(value)
        name = value.pop("file", path.name)  # files of 0.1.0 do not say theirs
    except DamagedError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is not the JSON that was written.") from error
    if content != sealed:  # to the last space
        raise DamagedError(f"{path} is damaged: its content does not match its SHA-256.")
    if name != path.name:
        raise DamagedError(f"{path} is damaged: it was written as {str(name)[:40]}.")
    return value


def _put(path: Path, how: int, content: bytes, *, durable: bool) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = memoryview(content)
        while left:  # the system may take less than it was given
            left = left[os.write(handle, left) :]
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)


def _failure(path: Path, needed: int, error: OSError) -> DiskError:
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in FULL:
        with contextlib.suppress(OSError):
            reason += f": {needed:,} bytes are needed and {shutil.disk_usage(path.parent).free:,} are free"
    return DiskError(f"{path} cannot be written: {reason}. What was there before is unchanged.")


def _sealed(value: dict) -> bytes:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    seal = hashlib.sha256(canonical).hexdigest()
    return json.dumps({**value, "sha256": seal}, indent=1, ensure_ascii=False).encode()
