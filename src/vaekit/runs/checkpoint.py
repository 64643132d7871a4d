"""A checkpoint: a sealed manifest and all that it vouches for. The newest is kept, and the one before.

checkpoint.json    the newest: counters, versions, and the SHA-256 of run.toml, schema.json, the tensors and the records
previous.json      the same of the checkpoint before
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch

import vaekit
from vaekit.errors import VaekitError
from vaekit.runs import storage
from vaekit.runs.storage import DamagedError

FORMAT = 2
NEWEST, PREVIOUS = "checkpoint.json", "previous.json"
RUN, SCHEMA, METRICS, TIMES = "run.toml", "schema.json", "metrics.jsonl", "times.jsonl"
TENSORS = re.compile(r"checkpoint-\d{1,18}(-\d)?\.safetensors")
KEYS = {"vaekit": str, "finished": bool, "specification": dict, "counters": dict, "files": dict}
MOST = 2**20
"""bytes of a manifest"""


def read(folder: Path, name: str = NEWEST) -> dict:
    """A manifest; DamagedError where it is not as it was written, VaekitError where a newer vaekit wrote it."""
    manifest = storage.read_json(folder / name, most=MOST)
    form = manifest.get("format")
    if form == 1:
        raise VaekitError(f"{folder} was written before vaekit's first release: fit again.")
    if isinstance(form, int) and form > FORMAT:
        raise VaekitError(
            f"{folder} was written by vaekit {manifest.get('vaekit')} (format {form}); this is "
            f"{vaekit.__version__}, which reads up to format {FORMAT}: upgrade vaekit."
        )
    wrong = [key for key, kind in KEYS.items() if not isinstance(manifest.get(key), kind)]
    if form != FORMAT or wrong or not (_files_are_ours(manifest["files"]) and _logs_are_ours(manifest.get("logs", {}))):
        raise DamagedError(f"{folder / name} is no manifest of a checkpoint: look at {', '.join(wrong) or 'files'}.")
    return manifest


def _files_are_ours(files: dict) -> bool:
    """Whether they are run.toml, schema.json and one file of tensors: a name cannot lead out of the folder."""
    tensors = [name for name in files if TENSORS.fullmatch(name)]
    return (
        len(tensors) == 1 and set(files) == {RUN, SCHEMA, *tensors} and all(isinstance(f, str) for f in files.values())
    )


def _logs_are_ours(logs) -> bool:
    return isinstance(logs, dict) and all(
        name in (METRICS, TIMES)
        and isinstance(log, dict)
        and isinstance(log.get("bytes"), int)
        and isinstance(log.get("sha256"), str)
        for name, log in logs.items()
    )


def whole(folder: Path, name: str = NEWEST) -> dict | None:
    """A manifest that is there and whole, else None."""
    try:
        return read(folder, name)
    except VaekitError:
        return None


def tensor_file(manifest: dict) -> str:
    """The name of its file of tensors."""
    return next(name for name in manifest["files"] if TENSORS.fullmatch(name))


def commit(folder: Path, step: int, content: bytes, manifest: dict) -> dict:
    """Write tensors and their manifest as the newest checkpoint; the newest so far becomes the previous one, and what
    neither needs goes. Returns the manifest as written."""
    newest, previous = whole(folder), whole(folder, PREVIOUS)
    digest = hashlib.sha256(content).hexdigest()
    needed = {tensor_file(one): one["files"][tensor_file(one)] for one in (previous, newest) if one is not None}
    names = (f"checkpoint-{step}{suffix}.safetensors" for suffix in ("", "-1", "-2"))
    name = next(name for name in names if needed.get(name, digest) == digest)
    storage.write(folder / name, content)
    if newest is not None and tensor_file(newest) != name:
        storage.write_json(folder / PREVIOUS, newest)
        previous = newest
    manifest = {"format": FORMAT, **manifest, "files": {**manifest["files"], name: digest}}
    storage.write_json(folder / NEWEST, manifest)
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != name and (previous is None or old.name != tensor_file(previous)):
            storage.remove(old)
    return manifest


def seal_logs(folder: Path) -> dict[str, dict]:
    """Make the records durable; for each file of them its number of bytes and their SHA-256."""
    logs = {}
    for name in (METRICS, TIMES):
        if (folder / name).exists():
            storage.sync_file(folder / name)
            content = (folder / name).read_bytes()
            logs[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return logs


def without(folder: Path, log: str) -> dict:
    """Both manifests without one file of records, which is begun anew; the newest as written."""
    for name in (PREVIOUS, NEWEST):
        manifest = whole(folder, name)
        if manifest is not None:
            logs = {known: about for known, about in manifest.get("logs", {}).items() if known != log}
            manifest = {**manifest, "logs": logs}
            storage.write_json(folder / name, manifest)
    return manifest


def covered(manifest: dict) -> list[str]:
    """The names of all files that a manifest vouches for."""
    return [*manifest["files"], *manifest.get("logs", {})]


def check(folder: Path, manifest: dict, name: str) -> None:
    """DamagedError where a file is not the one that the manifest knows; records made since are not its affair."""
    if name in manifest["files"]:
        storage.read(folder / name, manifest["files"][name])
    elif name in manifest.get("logs", {}):
        log, content = manifest["logs"][name], storage.read(folder / name)
        known = content if manifest["finished"] else content[: log["bytes"]]  # nothing follows a finished run
        if hashlib.sha256(known).hexdigest() != log["sha256"]:
            raise DamagedError(f"{folder / name} is damaged: its SHA-256 is not the one recorded when it was written.")


def verify(folder: str | Path) -> dict[str, str]:
    """Check every file of a run folder that is covered by a hash: what is wrong with each, "" where nothing is.

    >>> import tempfile
    >>> verify(tempfile.mkdtemp())["checkpoint.json"].endswith("is missing: the run folder is incomplete.")
    True
    """
    folder = Path(folder)
    while True:
        newest, found = whole(folder), _verified(folder)
        if not any(found.values()) or whole(folder) == newest:  # else a training saved meanwhile
            return found


def _verified(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (NEWEST, PREVIOUS):
        if name == NEWEST or (folder / name).exists():
            found[name] = _complaint(read, folder, name)
        if found.get(name) == "":
            manifest = read(folder, name)
            # what the newest vouches for is judged by it: an earlier run.toml may have said something else
            names = covered(manifest) if name == NEWEST or found[NEWEST] else [tensor_file(manifest)]
            found |= {one: _complaint(check, folder, manifest, one) for one in names}
    return found


def _complaint(check, *arguments) -> str:
    try:
        check(*arguments)
    except VaekitError as error:
        return str(error)
    return ""


def versions(device: torch.device) -> dict:
    """What a result can depend on in its last bits."""
    return {
        "vaekit": vaekit.__version__,
        "torch": str(torch.__version__),
        "device": device.type,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def alike(saved, fresh) -> bool:
    """Whether saved counters are of the kinds that a fresh state's are; what is missing, `State.load` judges.

    >>> alike({"step": 7, "sums": {"elbo": -1.5}}, {"step": 0, "sums": {}}), alike({"step": "7"}, {"step": 0})
    (True, False)
    """
    if isinstance(fresh, bool) or isinstance(saved, bool):
        return type(saved) is type(fresh)
    if isinstance(fresh, dict):
        return isinstance(saved, dict) and all(alike(value, fresh.get(key, 0.0)) for key, value in saved.items())
    if isinstance(fresh, int):
        return isinstance(saved, int) and 0 <= saved < 2**63
    return fresh is None or isinstance(saved, float | int if isinstance(fresh, float) else type(fresh))


def lines(path: Path) -> Iterator[dict]:
    """The records in a file, up to one that is not whole."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            record["step"]
        except (ValueError, TypeError, KeyError):  # the last line of a run that was killed while writing it
            return
        yield record
