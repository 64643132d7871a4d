"""Bytes on disk that are either the old or the new, and known to be whole."""

import hashlib
import json
import os
from pathlib import Path

from vaekit.errors import VaekitError


class DamagedError(VaekitError):
    """A file of a run folder is not what was written."""


def write(path: Path, content: bytes) -> str:
    """Replace a file in one step: temporary file → fsync → rename → fsync of the folder. Returns its SHA-256."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
    return hashlib.sha256(content).hexdigest()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its names
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path, sha256: str) -> bytes:
    """The bytes of a file, if they are those that were written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing: the run folder is incomplete.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one recorded when it was written.")
    return content


def write_json(path: Path, value: dict) -> str:
    """A JSON file that carries the SHA-256 of its own content."""
    body = {key: value[key] for key in value if key != "sha256"}
    seal = hashlib.sha256(_canonical(body)).hexdigest()
    return write(path, json.dumps({**body, "sha256": seal}, indent=1, ensure_ascii=False).encode())


def read_json(path: Path) -> dict:
    """The content of a sealed JSON file, its own hash checked and left out."""
    try:
        value = json.loads(path.read_bytes())
        seal = value.pop("sha256")
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing: this is no complete run folder.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is not the JSON that was written.") from error
    if seal != hashlib.sha256(_canonical(value)).hexdigest():
        raise DamagedError(f"{path} is damaged: its content does not match its SHA-256.")
    return value


def _canonical(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
