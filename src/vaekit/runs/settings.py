"""run.toml: the settings of a run, and how they were edited since."""

import hashlib
from pathlib import Path

from vaekit.runs import checkpoint, storage
from vaekit.spec import Specification


def dump(spec: Specification) -> bytes:
    """A specification as the bytes of a run.toml."""
    import tomli_w

    return tomli_w.dumps(spec.to_dict()).encode()


def edits(path: Path, spec: Specification) -> list[str]:
    """How the settings in a run.toml differ from the run's; nothing where it is no specification."""
    import tomllib

    try:
        found = Specification.from_dict(tomllib.loads(storage.read(path, most=checkpoint.MOST).decode())).to_dict()
    except (ValueError, RecursionError):
        return []
    return [
        f"{name} is {value!r} there and {spec.to_dict()[section][name]!r} in the run"
        for section, settings in found.items()
        for name, value in settings.items()
        if value != spec.to_dict()[section][name]
    ]


def sha256(path: Path) -> str | None:
    """Of a file's content; None where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
