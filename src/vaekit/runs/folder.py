"""A run folder: everything that re-creates a trained model, or goes on training it.

run.toml                    all settings; `vaekit fit --config run.toml` repeats the run
schema.json                 what the data was: schema, digest, split sizes
checkpoint-N.safetensors    every tensor of the training state after step N; of the newest checkpoint and the one before
checkpoint.json             the newest checkpoint: its counters, and the SHA-256 of all that belongs to it
previous.json               the same of the one before, which `resume` goes back to where the newest is damaged
metrics.jsonl               one record a line; times.jsonl beside it holds the wall-clock
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

import torch

from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.runs import checkpoint, storage, tensors, toml
from vaekit.runs.checkpoint import METRICS, NEWEST, PREVIOUS, RUN, SCHEMA, TIMES
from vaekit.runs.lock import Lock, in_use, other_holder
from vaekit.settings import Settings, build_state
from vaekit.settings.declared import AUTO
from vaekit.training import State

PICTURES = "pictures"
MOST = 2**26
"""bytes of schema.json: ten numbers for each of 300,000 features"""


class Run:
    """A run folder, opened. `create` starts one, `open` reads one."""

    def __init__(self, folder: Path, settings: Settings, schema: Schema, data: dict, hashes: dict[str, str]):
        self.folder, self.settings, self.schema, self.data, self.hashes = folder, settings, schema, data, hashes
        self.manifest: dict | None = None
        """the newest checkpoint's, where there is one"""
        self.changes: list[dict] = []
        """of versions, device and threads, with the steps after which they came"""
        self.notes: list[str] = []
        """what `open` had to repair"""

    @classmethod
    def create(
        cls, folder: str | Path, settings: Settings, schema: Schema, data: dict, *, overwrite: bool = False
    ) -> "Run":
        """A new run folder; refused where one is, unless `overwrite`.

        data    what else is known of the rows: name, digest, number of rows in each part
        """
        folder = Path(folder)
        check_free(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (NEWEST, PREVIOUS, METRICS, TIMES):  # without the first it is no run any more
            (folder / name).unlink(missing_ok=True)
        for old in folder.glob("checkpoint-*"):
            old.unlink()
        storage.clear_parts(folder)
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        about = {"format": checkpoint.FORMAT, "schema": schema.to_dict(), "data": data}
        hashes = {
            RUN: storage.write(folder / RUN, toml.dump(settings)),
            SCHEMA: storage.write_json(folder / SCHEMA, about),
        }
        return cls(folder, settings, schema, data, hashes)

    @classmethod
    def open(cls, folder: str | Path, *, repair: bool = False, trust: Collection[str] = ()) -> "Run":
        """Read a run folder; VaekitError where it is none, is newer than this version, or is damaged.

        trust     modules that its parts may be imported from, where they are not vaekit's
        repair    go back to the previous checkpoint where the newest is damaged, and write run.toml again where it is
                  not what the checkpoint says; `notes` says what was done. For the holder of the folder's Lock alone
        """
        folder = check_run(folder)
        if not repair:
            run = cls._read(folder, NEWEST, trust)
            run._check_settings()
            return run
        storage.clear_parts(folder)
        try:
            run = cls._read(folder, NEWEST, trust)
            run._check_resumable()
        except storage.DamagedError as error:
            run = cls._previous(folder, error, trust)
        run._repair()
        return run

    @classmethod
    def _read(cls, folder: Path, name: str, trust: Collection[str]) -> "Run":
        manifest = checkpoint.read(folder, name)
        hashes = {name: manifest["files"][name] for name in (RUN, SCHEMA)}
        saved = storage.read_json(folder / SCHEMA, hashes[SCHEMA], most=MOST)
        settings = Settings.from_dict(manifest["specification"], trust)
        if not isinstance(saved.get("schema"), dict) or not isinstance(saved.get("data"), dict):
            raise storage.DamagedError(f"{folder / SCHEMA} is no schema of a run.")
        run = cls(folder, settings, Schema.from_dict(saved["schema"]), saved["data"], hashes)
        run.manifest, run.changes = manifest, manifest.get("changes", [])
        run._check_complete()
        return run

    @classmethod
    def _previous(cls, folder: Path, error: VaekitError, trust: Collection[str]) -> "Run":
        """The checkpoint before the newest, made the newest; `error` where it is damaged too."""
        try:
            run = cls._read(folder, PREVIOUS, trust)
            run._check_resumable()
        except VaekitError:
            raise error from None
        newest = checkpoint.whole(folder)
        if newest is not None:  # it may be of a training made longer since
            run.manifest["replaces"] = newest["files"][RUN]
        storage.write_json(folder / NEWEST, run.manifest)
        step = run.manifest["counters"]["step"]
        run.notes.append(f"{error} Going on from the checkpoint before it, after step {step:,}.")
        return run

    def save(self, state: State, replaces: str | None = None) -> None:
        """Write the state as the newest checkpoint and keep the one before; a failure leaves both as they were.

        replaces    the SHA-256 of a run.toml that is about to be written again
        """
        manifest = {
            **checkpoint.versions(state.parameters[0].device),
            "finished": state.finished,
            "specification": self.settings.to_dict(),
            "counters": state.counters(),
            "files": self.hashes,
            "logs": checkpoint.seal_logs(self.folder),  # a checkpoint must not know more than the records do
            "changes": self.changes,
        }
        content = tensors.pack(state.tensors())
        self.manifest = checkpoint.commit(
            self.folder, state.step, content, manifest if replaces is None else {**manifest, "replaces": replaces}
        )

    def restore(self, state: State) -> None:
        """Put the newest checkpoint into a state of the same settings."""
        self._load(state, self._content())

    def _content(self) -> bytes:
        """The newest checkpoint's tensors as bytes, found whole and of these settings."""
        self.manifest = checkpoint.read(self.folder)
        return self._fitting()

    def _fitting(self) -> bytes:
        """The tensors that the manifest vouches for, as bytes, before memory is taken for a model."""
        name = checkpoint.tensor_file(self.manifest)
        content = storage.read(self.folder / name, self.manifest["files"][name])
        tensors.check_fits(content, self.folder / name, self.settings, self.schema)
        return content

    def _load(self, state: State, content: bytes) -> None:
        counters = self.manifest["counters"]
        if not checkpoint.alike(counters, state.counters()):
            raise storage.DamagedError(f"{self.folder / NEWEST} is damaged: its counters are not those of a training.")
        found = tensors.unpack(content, self.folder / checkpoint.tensor_file(self.manifest))
        try:
            state.load(found, counters)
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise VaekitError(f"{self.folder}: the weights do not fit the model that {RUN} describes.") from error

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that the checkpoint does not know: they will be made again."""
        for name in (METRICS, TIMES):
            log = (self.manifest or {}).get("logs", {}).get(name)
            if log is not None and (self.folder / name).exists():
                kept = storage.read(self.folder / name)[: log["bytes"]]
            else:  # no checkpoint yet
                known = (r for r in checkpoint.lines(self.folder / name) if r["step"] <= step)
                kept = "".join(f"{json.dumps(record)}\n" for record in known).encode()
            storage.write(self.folder / name, kept)

    def respecify(self, settings: Settings, state: State) -> None:
        """Go on under changed settings (more epochs): first in the checkpoint, which is the truth."""
        before, self.settings, text = self.hashes[RUN], settings, toml.dump(settings)
        self.hashes[RUN] = hashlib.sha256(text).hexdigest()
        self.save(state, replaces=before)
        storage.write(self.folder / RUN, text)

    def state(self, device: torch.device) -> State:
        """The newest checkpoint as a training state, built from the settings alone."""
        content = self._content()  # before memory is taken for the model
        state = build_state(self.settings, self.schema, self._trained_on(), device)
        self._load(state, content)
        return state

    def _trained_on(self) -> int:
        rows = self.data.get("train")
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise storage.DamagedError(f"{self.folder / SCHEMA} is no run's: it was trained on {rows!r} rows.")
        return rows

    def model(self, device: torch.device) -> torch.nn.Module:
        """The trained model, ready for use: the best weights, or the averaged ones where nothing was validated."""
        return self.state(device).trained()

    @property
    def finished(self) -> bool:
        return checkpoint.read(self.folder)["finished"]

    @property
    def metrics(self) -> list[dict]:
        """The records so far, oldest first; DamagedError where those that the checkpoint knows were changed."""
        checkpoint.check(self.folder, self.manifest or {"files": {}}, METRICS)
        return list(checkpoint.lines(self.folder / METRICS))

    def log(self, metrics: dict, seconds: float | None = None) -> None:
        """Append one record; wall-clock goes to a file of its own, so that metrics repeat to the bit."""
        lines = {METRICS: metrics}
        if seconds is not None:
            lines[TIMES] = {"step": metrics["step"], "seconds": round(seconds, 3)}
        for name, line in lines.items():
            storage.append(self.folder / name, f"{json.dumps(line)}\n".encode())

    def differences(self, device: torch.device) -> dict[str, list]:
        """What is not as it was when the checkpoint was written: {"torch": ["2.12.0", "2.13.0"]}, and so on.

        Other versions of vaekit or torch, another device or number of threads can change results in the last bits.
        """
        then, now = self.manifest, checkpoint.versions(device)
        return {name: [then[name], now[name]] for name in now if name in then and then[name] != now[name]}

    def note_changes(self, changes: dict[str, list]) -> None:
        """Record with every checkpoint from now on what changed here."""
        if changes:
            self.changes = [*self.changes, {"after_step": self.manifest["counters"]["step"], **changes}]

    def _check_complete(self) -> None:
        """Refuse what no run is: nothing in it is left to \"auto\" but where it computes."""
        left = [k for part in (self.settings.model, self.settings.training) for k, v in vars(part).items() if v == AUTO]
        if wrong := set(left) - {"device"}:
            raise storage.DamagedError(f"{self.folder / NEWEST} is no run's: {', '.join(sorted(wrong))} is still auto.")

    def _check_settings(self) -> None:
        try:
            checkpoint.check(self.folder, self.manifest, RUN)
        except storage.DamagedError as error:
            if toml.sha256(self.folder / RUN) != self.manifest.get("replaces", ""):
                raise storage.DamagedError(
                    f"{error} (Edited? To train with other settings, copy it and fit with --config. Delete it, and "
                    f"`vaekit resume` writes it again.)"
                ) from error

    def _check_resumable(self) -> None:
        """All files but run.toml and the wall-clock, which are not needed to go on; tensors that are the model's."""
        for name in checkpoint.covered(self.manifest):
            if name not in (RUN, TIMES):
                checkpoint.check(self.folder, self.manifest, name)
        self._trained_on()
        self._fitting()

    def _repair(self) -> None:
        """Write run.toml again where it is not what the checkpoint says; begin times.jsonl anew if it is damaged."""
        try:
            checkpoint.check(self.folder, self.manifest, TIMES)
        except storage.DamagedError as error:
            self.manifest = checkpoint.without(self.folder, TIMES)
            storage.remove(self.folder / TIMES)
            self.notes.append(f"{error} It is begun anew.")
        found = toml.sha256(self.folder / RUN)
        if found == self.hashes[RUN]:
            return
        edits = toml.edits(self.folder / RUN, self.settings)
        if edits and found != self.manifest.get("replaces"):
            raise VaekitError(
                f"{self.folder / RUN} was edited since the run was trained: {'; '.join(edits)}. To go on as before, "
                f"delete it: `vaekit resume` writes it again. For other settings, fit with --config and a copy."
            )
        self.hashes[RUN] = storage.write(self.folder / RUN, toml.dump(self.settings))
        self.notes.append(f"{self.folder / RUN} is written again: it was not what the checkpoint says.")


def check_run(folder: str | Path) -> Path:
    """The path of a folder that holds a run, as far as can be seen without reading it; VaekitError for others."""
    folder = Path(folder)
    if not folder.is_dir():
        raise VaekitError(f"{folder} is no run folder: there is no such folder.")
    if not any((folder / name).exists() for name in (NEWEST, PREVIOUS)):
        raise VaekitError(f"{folder} is no run folder, or nothing was saved in it yet: it has no {NEWEST}.")
    return folder


def save_state(
    folder, settings: Settings, schema: Schema, data: dict, state: State, records: list[dict], *, overwrite=False
):
    """Write a whole run folder at once: a state trained elsewhere, with its records."""
    check_free(Path(folder), overwrite)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Lock(Path(folder)):
        run = Run.create(folder, settings, schema, data, overwrite=overwrite)
        for record in records:
            run.log(record)
        run.save(state)


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse to write a new run over an old one, or over a file."""
    if folder.exists() and not folder.is_dir():
        raise VaekitError(f"{folder} is a file: choose another folder for the run.")
    holder = other_holder(folder)
    if holder is not None:
        raise in_use(folder, holder)
    if not overwrite and any((folder / name).exists() for name in (NEWEST, PREVIOUS)):
        raise VaekitError(
            f"{folder} already holds a run: choose another --out, go on with `vaekit resume`, or --overwrite."
        )
