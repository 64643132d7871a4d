"""A run folder: everything that re-creates a trained model, or goes on training it.

run.toml                          all settings; `vaekit fit --config run.toml` repeats the run
schema.json                       what the data was: schema, digest, split sizes
checkpoint-K-SHA256.safetensors   every tensor of the training state, and in the header its counters and the hashes of
                                  all that belongs to it: the newest, and the one before
model.safetensors                 the trained model alone, which is all that scoring opens
metrics.jsonl                     one record per line; times.jsonl beside it holds the wall-clock
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

import torch

from vaekit.core import LatentModel, Objective
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.runs import checkpoint, container, storage, toml
from vaekit.runs.checkpoint import METRICS, MODEL, RUN, SCHEMA, TIMES, Saved
from vaekit.runs.lock import Lock, in_use, other_holder
from vaekit.settings import Settings, build_model, build_objective, build_state
from vaekit.settings.declared import AUTO
from vaekit.training import State, trained_tensors

PICTURES = "pictures"
MOST = 2**26
"""bytes of schema.json: ten numbers for each of 300,000 features"""


class Run:
    """A run folder: `create` starts one, `open` reads its trained model, `reopen` its training state."""

    def __init__(self, folder: Path, settings: Settings, schema: Schema, data: dict, hashes: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings
        self.schema = schema
        self.data = data
        self.hashes = hashes
        """of run.toml and schema.json"""
        self.manifest: dict = {"finished": False, "logs": {}}
        """of the file that was opened, or was saved last"""
        self.changes: list[dict] = []
        """of versions, device and threads, with the steps after which they came"""
        self.notes: list[str] = []
        """what `reopen` had to repair"""
        self._opened: Saved | None = None
        """held until it is used"""
        self._newest: Path | None = None
        """the newest checkpoint that is known to be whole"""

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
        for old in (*reversed(checkpoint.files(folder)), folder / MODEL):  # without the first it is no run any more
            old.unlink(missing_ok=True)
        for name in (METRICS, TIMES):
            (folder / name).unlink(missing_ok=True)
        storage.clear_parts(folder)
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        about = {"format": checkpoint.FORMAT, "schema": schema.to_dict(), "data": data}
        hashes = {
            RUN: storage.write(folder / RUN, toml.dump(settings)),
            SCHEMA: storage.write_json(folder / SCHEMA, about),
        }
        return cls(folder, settings, schema, data, hashes)

    @classmethod
    def open(cls, folder: str | Path, *, trust: Collection[str] = ()) -> "Run":
        """The trained model of a run folder; VaekitError where it is none, is newer than this version, or is damaged.

        trust     modules that its parts may be imported from, where they are not vaekit's
        """
        folder = check_run(folder)
        try:
            saved = checkpoint.read_model(folder)
        except storage.DamagedError as error:
            raise storage.DamagedError(f"{error} `vaekit resume {folder}` writes it again.") from error
        run = cls._of(saved, trust)
        run._check_settings()
        return run

    @classmethod
    def reopen(cls, folder: str | Path, *, repair: bool = False, trust: Collection[str] = ()) -> "Run":
        """The newest checkpoint of a run folder, to go on training; errors as `open`.

        repair    go back to the checkpoint before where the newest is damaged, and write again what is not as that
                  checkpoint says; `notes` says what was done. For the holder of the folder's Lock alone
        """
        folder = check_run(folder)
        found = checkpoint.files(folder)
        if not found:
            raise storage.DamagedError(f"{folder} holds a trained model and no checkpoint: it cannot be trained on.")
        if not repair:
            run = cls._of(checkpoint.read(found[0]), trust)
            run._check_settings()
            return run
        storage.clear_parts(folder)
        model = checkpoint.whole_model(folder)
        run = cls._newest_whole(folder, found, model, trust)
        run._repair(model)
        return run

    @classmethod
    def _of(cls, saved: Saved, trust: Collection[str]) -> "Run":
        folder = saved.path.parent
        manifest = saved.manifest
        about = storage.read_json(folder / SCHEMA, manifest["files"][SCHEMA], most=MOST)
        if not isinstance(about.get("schema"), dict) or not isinstance(about.get("data"), dict):
            raise storage.DamagedError(f"{folder / SCHEMA} is no schema of a run.")
        settings = Settings.from_dict(manifest["settings"], trust)
        run = cls(folder, settings, Schema.from_dict(about["schema"]), about["data"], dict(manifest["files"]))
        run.manifest = manifest
        run.changes = manifest.get("changes", [])
        run._check_complete(saved.path)
        run._check_fits(saved)
        run._opened = saved
        if saved.path.name != MODEL:
            run._newest = saved.path
        return run

    @classmethod
    def _newest_whole(cls, folder: Path, found: list[Path], model: Saved | None, trust: Collection[str]) -> "Run":
        """The newest checkpoint that is whole with all that belongs to it; the newest's error where none is."""
        first: VaekitError | None = None
        lost = checkpoint.missing(folder, model.manifest) if model is not None else None
        if lost is not None:
            first = storage.DamagedError(f"{lost} is missing.")
        for path in found:
            try:
                run = cls._of(checkpoint.read(path), trust)
                checkpoint.check_log(folder, run.manifest, METRICS)
                run._trained_on()
            except storage.DamagedError as error:
                first = first or error
                continue
            except VaekitError as error:
                raise first or error from None
            if first is not None:
                run.notes.append(f"{first} Going on from the checkpoint before it, after step {run.step:,}.")
            return run
        assert first is not None
        raise first

    @property
    def finished(self) -> bool:
        """Whether the training had come to its end."""
        return self.manifest["finished"]

    @property
    def step(self) -> int:
        """The number of steps that had been taken."""
        return self.manifest["counters"]["step"]

    def save(self, state: State, replaces: str | None = None) -> None:
        """Write the state as the newest checkpoint, and its model; keep the checkpoint before. A failure leaves both
        checkpoints, and a model, as they were.

        replaces    the SHA-256 of a run.toml that is about to be written again
        """
        manifest = {
            "format": checkpoint.FORMAT,
            **checkpoint.versions(state.parameters[0].device),
            "finished": state.finished,
            "settings": self.settings.to_dict(),
            "counters": state.counters(),
            "files": self.hashes,
            "logs": checkpoint.sealed_log(self.folder, METRICS),  # a checkpoint must not know more than the records do
            "changes": self.changes,
        }
        if replaces is not None:
            manifest["replaces"] = replaces
        tensors = state.tensors()
        before = self._newest or next(iter(checkpoint.files(self.folder)), None)
        self._newest = checkpoint.commit(self.folder, container.pack(tensors, manifest), before)
        self.manifest = manifest
        self._opened = None
        self._write_model(tensors)

    def _write_model(self, tensors: dict[str, torch.Tensor]) -> None:
        assert self._newest is not None
        times = checkpoint.sealed_log(self.folder, TIMES)
        manifest = {**self.manifest, "checkpoint": self._newest.name, "logs": {**self.manifest["logs"], **times}}
        storage.write(self.folder / MODEL, container.seal(trained_tensors(tensors), manifest))

    def restore(self, state: State) -> None:
        """Put the checkpoint into a state of the same settings."""
        saved = self._opened
        self._opened = None
        if saved is None or saved.path.name == MODEL:
            saved = checkpoint.read(checkpoint.files(self.folder)[0])
            self._check_fits(saved)
        counters = saved.manifest["counters"]
        if not checkpoint.alike(counters, state.counters()):
            raise storage.DamagedError(f"{saved.path} is damaged: its counters are not those of a training.")
        try:
            state.load(container.unpack(saved.content, saved.path), counters)
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise VaekitError(f"{self.folder}: the weights do not fit the model that {RUN} describes.") from error

    def state(self, device: torch.device) -> State:
        """The checkpoint as a training state, built from the settings alone."""
        state = build_state(self.settings, self.schema, self._trained_on(), device)
        self.restore(state)
        return state

    def model(self, device: torch.device) -> LatentModel:
        """The trained model, ready for use: the best weights, or the averaged ones where nothing was validated."""
        saved = self._opened
        self._opened = None
        if saved is None or saved.path.name != MODEL:
            saved = checkpoint.read_model(self.folder)
            self._check_fits(saved)
        model = build_model(self.settings, self.schema)
        model.load_state_dict(container.unpack(saved.content, saved.path))
        return model.to(device).eval().requires_grad_(False)

    def respecify(self, settings: Settings, state: State) -> None:
        """Go on under changed settings (more epochs): first in the checkpoint, which is the truth."""
        before = self.hashes[RUN]
        self.settings = settings
        text = toml.dump(settings)
        self.hashes[RUN] = hashlib.sha256(text).hexdigest()
        self.save(state, replaces=before)
        storage.write(self.folder / RUN, text)

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that the checkpoint does not know: they will be made again."""
        for name in (METRICS, TIMES):
            log = self.manifest["logs"].get(name)
            if log is not None and (self.folder / name).exists():
                kept = storage.read(self.folder / name)[: log["bytes"]]
            else:
                known = (record for record in checkpoint.lines(self.folder / name) if record["step"] <= step)
                kept = "".join(f"{json.dumps(record)}\n" for record in known).encode()
            storage.write(self.folder / name, kept)

    @property
    def objective(self) -> Objective:
        """What was descended, made anew: whether it was a bound, and whether the prior can be sampled."""
        return build_objective(self.settings, self.schema, self._trained_on())

    @property
    def metrics(self) -> list[dict]:
        """The records so far, oldest first; DamagedError where those that the checkpoint knows were changed."""
        checkpoint.check_log(self.folder, self.manifest, METRICS)
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
        then = self.manifest
        now = checkpoint.versions(device)
        return {name: [then[name], now[name]] for name in now if name in then and then[name] != now[name]}

    def note_changes(self, changes: dict[str, list]) -> None:
        """Record with every checkpoint from now on what changed here."""
        if changes:
            self.changes = [*self.changes, {"after_step": self.step, **changes}]

    def _trained_on(self) -> int:
        rows = self.data.get("train")
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise storage.DamagedError(f"{self.folder / SCHEMA} is no run's: it was trained on {rows!r} rows.")
        return rows

    def _check_complete(self, path: Path) -> None:
        """Refuse what no run is: nothing in it is left to "auto" but where it computes."""
        left = [k for part in (self.settings.model, self.settings.training) for k, v in vars(part).items() if v == AUTO]
        if wrong := set(left) - {"device"}:
            raise storage.DamagedError(f"{path} is no run's: {', '.join(sorted(wrong))} is still auto.")

    def _check_fits(self, saved: Saved) -> None:
        """Before memory is taken for a model."""
        check = container.check_model if saved.path.name == MODEL else container.check_state
        check(saved.shapes, saved.path, self.settings, self.schema, self._trained_on())

    def _check_settings(self) -> None:
        try:
            checkpoint.check_file(self.folder, self.manifest, RUN)
        except storage.DamagedError as error:
            if toml.sha256(self.folder / RUN) != self.manifest.get("replaces", ""):
                raise storage.DamagedError(
                    f"{error} (Edited? To train with other settings, copy it and fit with --config. Delete it, and "
                    f"`vaekit resume` writes it again.)"
                ) from error

    def _repair(self, model: Saved | None) -> None:
        """Write run.toml and the model again where they are not what the checkpoint says; begin times.jsonl anew if it
        is damaged.

        model    the trained model as it was found, if it was whole
        """
        self._repair_settings(model)
        if model is not None:
            try:
                checkpoint.check_log(self.folder, model.manifest, TIMES)
            except storage.DamagedError as error:
                storage.remove(self.folder / TIMES)
                self.notes.append(f"{error} It is begun anew.")
                model = None
        elif self.step or self.finished:
            self.notes.append(f"{self.folder / MODEL} is written again: it was damaged, or missing.")
        if model is None or any(
            model.manifest.get(name) != value for name, value in self.manifest.items() if name != "logs"
        ):
            assert self._opened is not None
            self._write_model(container.unpack(self._opened.content, self._opened.path))

    def _repair_settings(self, model: Saved | None) -> None:
        found = toml.sha256(self.folder / RUN)
        if found == self.hashes[RUN]:
            return
        replaced = [self.manifest.get("replaces")]
        if model is not None:  # it may be of a training made longer since
            replaced.append(model.manifest["files"][RUN])
        edits = toml.edits(self.folder / RUN, self.settings)
        if edits and found not in replaced:
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
    if not _holds_run(folder):
        if (folder / checkpoint.OLD).exists():
            raise VaekitError(f"{folder} was written before vaekit's first release: fit again.")
        raise VaekitError(f"{folder} is no run folder, or nothing was saved in it yet: it has no {MODEL}.")
    return folder


def _holds_run(folder: Path) -> bool:
    return (folder / MODEL).exists() or bool(checkpoint.files(folder))


def save_state(
    folder: str | Path,
    settings: Settings,
    schema: Schema,
    data: dict,
    state: State,
    records: list[dict],
    *,
    overwrite: bool = False,
) -> None:
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
    if not overwrite and folder.exists() and _holds_run(folder):
        raise VaekitError(
            f"{folder} already holds a run: choose another --out, go on with `vaekit resume`, or --overwrite."
        )
