"""The files of tensors in a run folder, each with its manifest in the header.

checkpoint-K-SHA256.safetensors   the training state at the Kth save, named by the SHA-256 of its bytes; the newest is
                                  kept, and the one before
model.safetensors                 the trained model alone, sealed by a SHA-256 within it

A checkpoint is a function of the training: a run that was killed and resumed comes to the same bytes. What is not (the
wall-clock, which save it was) stands with the model, which is written again from a checkpoint at any time.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import vaekit
from vaekit.errors import VaekitError
from vaekit.runs import container, storage
from vaekit.runs.storage import DamagedError

FORMAT = 4
RUN, SCHEMA, METRICS, TIMES, MODEL = "run.toml", "schema.json", "metrics.jsonl", "times.jsonl", "model.safetensors"
NAME = re.compile(r"checkpoint-(\d{1,18})-([0-9a-f]{64})\.safetensors")
OLD = "checkpoint.json"
"""a file that folders had before format 3"""
KEYS = {"vaekit": str, "finished": bool, "settings": dict, "counters": dict, "files": dict, "logs": dict}
MOST = 2**20
"""bytes of a run.toml"""


@dataclass(frozen=True)
class Saved:
    """A file of tensors that was read and found whole."""

    path: Path
    content: bytes
    manifest: dict
    shapes: container.Shapes


def files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    return sorted(found, key=save_number, reverse=True)


def save_number(path: Path) -> int:
    """Which save of its run a checkpoint is, from its name; 0 for other files."""
    name = NAME.fullmatch(path.name)
    return int(name[1]) if name else 0


def read(path: Path) -> Saved:
    """A checkpoint; DamagedError where it is not what its name says."""
    name = NAME.fullmatch(path.name)
    if name is None:
        raise DamagedError(f"{path} is no checkpoint: its name holds no SHA-256.")
    content = storage.read(path, name[2])
    manifest, shapes = container.header(content, path)
    _check_manifest(manifest, path)
    return Saved(path, content, manifest, shapes)


def read_model(folder: Path) -> Saved:
    """The trained model; DamagedError where it is not as it was sealed, VaekitError where a newer vaekit wrote it."""
    path = folder / MODEL
    content = storage.read(path)
    manifest, shapes = container.header(content, path)
    if not container.is_sealed(content, manifest):
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one sealed in it.")
    _check_manifest(manifest, path)
    return Saved(path, content, manifest, shapes)


def whole_model(folder: Path) -> Saved | None:
    """The trained model if it is whole, else None."""
    try:
        return read_model(folder)
    except VaekitError:
        return None


def _check_manifest(manifest: dict, path: Path) -> None:
    form = manifest.get("format")
    if isinstance(form, int) and form > FORMAT:
        raise VaekitError(
            f"{path.parent} was written by vaekit {manifest.get('vaekit')} (format {form}); this is "
            f"{vaekit.__version__}, which reads up to format {FORMAT}: upgrade vaekit."
        )
    wrong = [key for key, kind in KEYS.items() if not isinstance(manifest.get(key), kind)]
    if form != FORMAT or wrong:
        raise DamagedError(f"{path} holds no manifest of a run: look at {', '.join(wrong) or 'format'}.")
    step = manifest["counters"].get("step")
    if not alike(step, 0):
        raise DamagedError(f"{path} holds no manifest of a run: its step is {step!r:.40}.")
    if not _files_are_ours(manifest["files"]) or not _logs_are_ours(manifest["logs"]):
        raise DamagedError(f"{path} holds no manifest of a run: look at its files and logs.")


def _files_are_ours(hashes: dict) -> bool:
    """Whether they are run.toml and schema.json: a name cannot lead out of the folder."""
    return set(hashes) == {RUN, SCHEMA} and all(isinstance(digest, str) for digest in hashes.values())


def _logs_are_ours(logs: dict) -> bool:
    for name, log in logs.items():
        if name not in (METRICS, TIMES) or not isinstance(log, dict):
            return False
        if not isinstance(log.get("bytes"), int) or not isinstance(log.get("sha256"), str):
            return False
    return True


def commit(folder: Path, content: bytes, before: Path | None) -> Path:
    """Write the newest checkpoint and keep the one `before`; what neither is goes. Returns its path."""
    digest = hashlib.sha256(content).hexdigest()
    found = files(folder)
    newest = max(map(save_number, found), default=0)
    path = folder / f"checkpoint-{newest + 1}-{digest}.safetensors"
    if before is not None and before.name.endswith(f"-{digest}.safetensors"):
        path = before  # nothing has changed since
    storage.write(path, content)
    kept = [path, before]
    if path == before:
        kept = [path, *[other for other in found if save_number(other) < save_number(path)][:1]]
    for old in found:
        if old not in kept:
            storage.remove(old)
    return path


def sealed_log(folder: Path, name: str) -> dict:
    """Make a file of records durable; its number of bytes and their SHA-256, nothing where there is none."""
    if not (folder / name).exists():
        return {}
    storage.sync_file(folder / name)
    content = (folder / name).read_bytes()
    return {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}


def check_file(folder: Path, manifest: dict, name: str) -> None:
    """DamagedError where run.toml or schema.json is not the one that a manifest knows."""
    storage.read(folder / name, manifest["files"][name])


def check_log(folder: Path, manifest: dict, name: str) -> None:
    """DamagedError where the records that a manifest knows were changed; those made since are not its affair."""
    log = manifest["logs"].get(name)
    if log is None:
        return
    known = storage.read(folder / name)
    if not manifest["finished"]:  # nothing follows a finished run
        known = known[: log["bytes"]]
    if hashlib.sha256(known).hexdigest() != log["sha256"]:
        raise DamagedError(f"{folder / name} is damaged: its SHA-256 is not the one recorded when it was written.")


def missing(folder: Path, manifest: dict) -> Path | None:
    """The checkpoint that a model of this manifest was written with, where it is neither there nor followed."""
    name = manifest.get("checkpoint")
    if not isinstance(name, str) or not NAME.fullmatch(name) or (folder / name).exists():
        return None
    path = folder / name
    newest = max(map(save_number, files(folder)), default=0)
    return path if save_number(path) > newest else None


def verify(folder: str | Path) -> dict[str, str]:
    """Check every file of a run folder that is covered by a hash: what is wrong with each, "" where nothing is.

    >>> import tempfile
    >>> verify(tempfile.mkdtemp())["model.safetensors"].endswith("is missing: the run folder is incomplete.")
    True
    """
    folder = Path(folder)
    while True:
        before = files(folder)
        found = _verified(folder)
        if not any(found.values()) or files(folder) == before:  # else a training saved meanwhile
            return found


def _verified(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    manifests: list[dict] = []
    """of the files that are whole: the first vouches for the others"""

    def keep(reader: Callable[[Path], Saved], path: Path) -> None:
        manifests.append(reader(path).manifest)

    for path in files(folder):
        found[path.name] = _complaint(keep, read, path)
    found[MODEL] = _complaint(keep, read_model, folder)
    if not manifests:
        return found
    model = manifests[-1] if not found[MODEL] else None
    newest = next(iter(found))
    judge = manifests[0]
    if found[newest] and model is not None:  # an earlier run.toml may have said something else
        judge = model
    for name in (RUN, SCHEMA):
        found[name] = _complaint(check_file, folder, judge, name)
    if METRICS in judge["logs"]:
        found[METRICS] = _complaint(check_log, folder, judge, METRICS)
    if model is not None:
        if TIMES in model["logs"]:
            found[TIMES] = _complaint(check_log, folder, model, TIMES)
        lost = missing(folder, model)
        if lost is not None:
            found[lost.name] = f"{lost} is missing: the run folder is incomplete."
    return found


def _complaint(check: Callable[..., object], *given: object) -> str:
    """What a check of these has to say, "" where nothing."""
    try:
        check(*given)
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


def alike(saved: object, fresh: object) -> bool:
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
    if isinstance(fresh, float):
        return isinstance(saved, float | int)
    return fresh is None or isinstance(saved, type(fresh))


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
