"""Stand-ins for `os` in `vaekit.runs.storage`: a disk that fails, and one that remembers what was durable when."""

import errno
import itertools
import os
import random
from pathlib import Path
from typing import NamedTuple

CALLS = ("open", "write", "fsync", "replace", "unlink")


class Death(BaseException):
    """The process is gone: nothing that it would have done after this happens."""


class FailingDisk:
    """The kth call fails in one of the ways of FAULTS."""

    def __init__(self, k: int, fault: str):
        self.k, self.fault, self.calls, self.dead = k, fault, 0, False

    def __getattr__(self, name: str):
        return self._watched(name) if name in CALLS else getattr(os, name)

    def _watched(self, name: str):
        def call(*arguments):
            if self.dead:
                raise Death
            self.calls += 1
            return FAULTS[self.fault](self, name, *arguments) if self.calls == self.k else getattr(os, name)(*arguments)

        return call

    def die(self):
        self.dead = True
        raise Death


def _refuse(number: int):
    def fault(disk, name, *arguments):
        raise OSError(number, os.strerror(number))

    return fault


def _short(disk, name, *arguments):
    if name == "write":
        handle, content = arguments
        return os.write(handle, content[: max(1, len(content) // 2)])
    return getattr(os, name)(*arguments)


def _death_after(disk, name, *arguments):
    getattr(os, name)(*arguments)
    disk.die()


def _death_amid(disk, name, *arguments):
    if name == "write":
        _short(disk, name, *arguments)
    disk.die()


FAULTS = {
    "ENOSPC": _refuse(errno.ENOSPC),
    "EIO": _refuse(errno.EIO),
    "EACCES": _refuse(errno.EACCES),
    "short write": _short,
    "death before": lambda disk, name, *arguments: disk.die(),
    "death amid": _death_amid,
    "death after": _death_after,
}


class Event(NamedTuple):
    """One thing done to the disk; `file` is the number of a file's content, whatever its name is by then."""

    kind: str
    file: int | None = None
    name: str = ""
    to: str = ""
    content: bytes = b""


class RecordingDisk:
    """Does what it is asked, and keeps a record of it."""

    def __init__(self, folder: Path):
        self.names = {path.name: i for i, path in enumerate(sorted(folder.iterdir()))}
        self.before = {self.names[path.name]: path.read_bytes() for path in folder.iterdir()}
        self.durable_names, self.handles, self.events = dict(self.names), {}, []

    def __getattr__(self, name: str):
        return getattr(os, name)

    def open(self, path, how, *mode) -> int:
        handle, name = os.open(path, how, *mode), Path(path).name
        if Path(path).is_dir():
            self.handles[handle] = None
            return handle
        if name not in self.names:
            self.names[name] = len(self.before) + len(self.events)
            self.events.append(Event("create", self.names[name], name))
        self.handles[handle] = self.names[name]
        return handle

    def write(self, handle, content) -> int:
        self.events.append(Event("write", self.handles[handle], content=bytes(content)))
        return os.write(handle, content)

    def fsync(self, handle) -> None:
        self.events.append(Event("sync", self.handles[handle]))
        os.fsync(handle)

    def replace(self, a, b) -> None:
        os.replace(a, b)
        self.names[Path(b).name] = self.names.pop(Path(a).name)
        self.events.append(Event("rename", self.names[Path(b).name], Path(a).name, Path(b).name))

    def unlink(self, path) -> None:
        os.unlink(path)
        self.names.pop(Path(path).name)
        self.events.append(Event("unlink", name=Path(path).name))

    def after_power_loss(self, most: int = 200):
        """Every folder, {name: content}, that the disk may hold after the power failed at some point: of what was not
        synced by then, anything may be there and anything else missing, half of a write too."""
        chance, seen = random.Random(0), set()
        for point in range(len(self.events) + 1):
            certain, pending = self._split(self.events[:point])
            choices = [(0, 0.5, 1) if event.kind == "write" else (0, 1) for event in pending]
            fates = list(itertools.islice(itertools.product(*choices), 10 * most))
            for fate in fates if len(fates) <= most else chance.sample(fates, most):
                folder = self._folder(certain, pending, fate)
                key = point == len(self.events), *sorted(folder.items())
                if key not in seen:
                    seen.add(key)
                    yield point, folder

    @staticmethod
    def _split(events) -> tuple[list[Event], list[Event]]:
        """What is on disk for certain, and what may be, in order."""
        certain, pending = [], []
        for event in events:
            if event.kind != "sync":
                pending.append(event)
                continue
            synced = [e for e in pending if (e.kind == "write") == (event.file is not None)
                      and event.file in (None, e.file)]  # fmt: skip
            certain += synced
            pending = [e for e in pending if e not in synced]
        return certain, pending

    def _folder(self, certain, pending, fate) -> dict[str, bytes]:
        contents, names = dict(self.before), dict(self.durable_names)
        for event, much in [*((e, 1) for e in certain), *zip(pending, fate, strict=True)]:
            if not much:
                continue
            if event.kind == "write":
                part = event.content[: int(len(event.content) * much)]
                contents[event.file] = contents.get(event.file, b"") + part
            elif event.kind == "create":
                names[event.name] = event.file
            elif event.kind == "rename":
                names.pop(event.name, None)
                names[event.to] = event.file
            else:
                names.pop(event.name, None)
        return {name: contents.get(number, b"") for name, number in names.items()}
