"""run.toml: the settings of a run, and how they were edited since."""

import hashlib
from pathlib import Path

from vaekit.runs import checkpoint, storage
from vaekit.settings import Settings


def dump(settings: Settings) -> bytes:
    """Settings as the bytes of a run.toml."""
    import tomli_w

    return tomli_w.dumps(settings.to_dict()).encode()


def edits(path: Path, settings: Settings) -> list[str]:
    """How the settings in a run.toml differ from the run's; nothing where it cannot be read."""
    import tomllib

    try:
        found = Settings.from_dict(tomllib.loads(storage.read(path, most=checkpoint.MOST).decode())).to_dict()
    except (ValueError, RecursionError):
        return []
    own = settings.to_dict()
    return [
        f"{name} is {value!r} there and {own[section][name]!r} in the run"
        for section, values in found.items()
        for name, value in values.items()
        if value != own[section][name]
    ]


def sha256(path: Path) -> str | None:
    """Of a file's content; None where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
