"""A run folder: everything that re-creates a trained model, or goes on training it.

run.toml                    the whole specification; `vaekit fit --config run.toml` repeats the run
schema.json                 what the data was: schema, digest, split sizes
checkpoint-N.safetensors    every tensor of the training state after step N
checkpoint.json             which of them is the newest whole one, its counters, and the SHA-256 of all of these
metrics.jsonl               one record a line; times.jsonl beside it holds the wall-clock
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import vaekit
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.runs import storage
from vaekit.runs.lock import Lock
from vaekit.spec import Specification, build_state
from vaekit.training import State

FORMAT = 1
RUN, SCHEMA, CHECKPOINT, METRICS, TIMES = "run.toml", "schema.json", "checkpoint.json", "metrics.jsonl", "times.jsonl"
PICTURES = "pictures"


class Run:
    """A run folder, opened. `create` starts one, `open` reads one."""

    def __init__(self, folder: Path, spec: Specification, schema: Schema, data: dict, hashes: dict[str, str]):
        self.folder, self.spec, self.schema, self.data, self.hashes = folder, spec, schema, data, hashes

    @classmethod
    def create(
        cls, folder: str | Path, spec: Specification, schema: Schema, data: dict, *, overwrite: bool = False
    ) -> "Run":
        """A new run folder; refused where one is, unless `overwrite`.

        data    what else is known of the rows: name, digest, number of rows in each part
        """
        folder = Path(folder)
        check_free(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        for old in [*folder.glob("checkpoint*"), *(folder / name for name in (METRICS, TIMES))]:
            old.unlink(missing_ok=True)
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        about = {"format": FORMAT, "schema": schema.to_dict(), "data": data}
        hashes = {
            RUN: storage.write(folder / RUN, _toml(spec)),
            SCHEMA: storage.write_json(folder / SCHEMA, about),
        }
        return cls(folder, spec, schema, data, hashes)

    @classmethod
    def open(cls, folder: str | Path, *, repair: bool = False) -> "Run":
        """Read a run folder; VaekitError where it is none, is newer than this version, or is damaged.

        repair    write run.toml again where it is not what the checkpoint says
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise VaekitError(f"{folder} is no run folder: there is no such folder.")
        if not (folder / CHECKPOINT).exists():
            raise VaekitError(f"{folder} is no run folder, or nothing was saved in it yet: it has no {CHECKPOINT}.")
        manifest = _manifest(folder)
        hashes = {name: manifest["files"][name] for name in (RUN, SCHEMA)}
        storage.read(folder / SCHEMA, hashes[SCHEMA])
        saved = storage.read_json(folder / SCHEMA)
        spec = Specification.from_dict(manifest["specification"])
        run = cls(folder, spec, Schema.from_dict(saved["schema"]), saved["data"], hashes)
        run._check_specification(repair)
        return run

    def save(self, state: State) -> None:
        """Write the state as the newest checkpoint; the one before stays until the new one is whole on disk."""
        _sync(self.folder / METRICS)  # the records first: a checkpoint must not know more than they do
        tensors = {
            name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.tensors().items()
        }
        content = safetensors.torch.save(tensors)
        name = f"checkpoint-{state.step}.safetensors"
        digest = storage.write(self.folder / name, content)
        manifest = {
            "format": FORMAT,
            "vaekit": vaekit.__version__,
            "finished": state.finished,
            "specification": self.spec.to_dict(),
            "counters": state.counters(),
            "files": {**self.hashes, name: digest},
        }
        storage.write_json(self.folder / CHECKPOINT, manifest)
        for old in self.folder.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self, state: State) -> None:
        """Put the newest checkpoint into a state of the same specification."""
        manifest = _manifest(self.folder)
        try:
            state.load(_tensors(self.folder, manifest), manifest["counters"])
        except (RuntimeError, KeyError) as error:
            raise VaekitError(f"{self.folder}: the weights do not fit the model that {RUN} describes.") from error

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that the checkpoint does not know: they will be made again."""
        for name in (METRICS, TIMES):
            kept = [line for line in _lines(self.folder / name) if line["step"] <= step]
            storage.write(self.folder / name, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def respecify(self, spec: Specification, state: State) -> None:
        """Go on under a changed specification (more epochs): first in the checkpoint, which is the truth."""
        self.spec, text = spec, _toml(spec)
        self.hashes[RUN] = hashlib.sha256(text).hexdigest()
        self.save(state)
        storage.write(self.folder / RUN, text)

    def state(self, device: torch.device) -> State:
        """The newest checkpoint as a training state, built from the specification alone."""
        state = build_state(self.spec, self.schema, self.data["train"], device)
        self.restore(state)
        return state

    def model(self, device: torch.device) -> torch.nn.Module:
        """The trained model, ready for use: the best weights, or the averaged ones where nothing was validated."""
        return self.state(device).trained()

    @property
    def finished(self) -> bool:
        return _manifest(self.folder)["finished"]

    @property
    def metrics(self) -> list[dict]:
        """The records so far, oldest first."""
        return list(_lines(self.folder / METRICS))

    def log(self, metrics: dict, seconds: float | None = None) -> None:
        """Append one record; wall-clock goes to a file of its own, so that metrics repeat to the bit."""
        lines = {METRICS: metrics}
        if seconds is not None:
            lines[TIMES] = {"step": metrics["step"], "seconds": round(seconds, 3)}
        for name, line in lines.items():
            with (self.folder / name).open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _check_specification(self, repair: bool) -> None:
        try:
            storage.read(self.folder / RUN, self.hashes[RUN])
        except storage.DamagedError as error:
            if not repair:
                raise storage.DamagedError(
                    f"{error} (Edited? To train with other settings, copy it and fit with --config. `vaekit resume` "
                    f"writes it again.)"
                ) from error
            self.hashes[RUN] = storage.write(self.folder / RUN, _toml(self.spec))


def _toml(spec: Specification) -> bytes:
    import tomli_w

    return tomli_w.dumps(spec.to_dict()).encode()


def save_state(
    folder, spec: Specification, schema: Schema, data: dict, state: State, records: list[dict], *, overwrite=False
):
    """Write a whole run folder at once: a state trained elsewhere, with its records."""
    check_free(Path(folder), overwrite)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Lock(Path(folder)):
        run = Run.create(folder, spec, schema, data, overwrite=overwrite)
        for record in records:
            run.log(record)
        run.save(state)


def _sync(path: Path) -> None:
    if path.exists():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse to write a new run over an old one, or over a file."""
    if folder.exists() and not folder.is_dir():
        raise VaekitError(f"{folder} is a file: choose another folder for the run.")
    if not overwrite and any((folder / name).exists() for name in (RUN, CHECKPOINT)):
        raise VaekitError(
            f"{folder} already holds a run: choose another --out, go on with `vaekit resume`, or --overwrite."
        )


def _manifest(folder: Path) -> dict:
    manifest = storage.read_json(folder / CHECKPOINT)
    if manifest["format"] > FORMAT:
        raise VaekitError(
            f"{folder} was written by vaekit {manifest['vaekit']} (format {manifest['format']}); this is "
            f"{vaekit.__version__}, which reads up to format {FORMAT}: upgrade vaekit."
        )
    return manifest


def _tensors(folder: Path, manifest: dict) -> dict[str, Tensor]:
    name = next(name for name in manifest["files"] if name.endswith(".safetensors"))
    content = storage.read(folder / name, manifest["files"][name])
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise storage.DamagedError(f"{folder / name} is no safetensors file: {error}.") from error


def _lines(path: Path):
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the last line of a run that was killed while writing it
            return
