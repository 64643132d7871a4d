"""F1: whatever becomes of a good file, what comes of it is its content or our error, in little time and memory."""

import gzip
import io
import json
import random
import struct
import tomllib

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from runs.conftest import newest

from reliability.conftest import cost, many
from vaekit.data import load
from vaekit.errors import VaekitError
from vaekit.runs import Run, checkpoint, container, storage
from vaekit.settings import Settings
from vaekit.training import trained_tensors

INPUTS = many(60, 10_000)
OWN_PROCESS = many(5, 200)
"""inputs of a kind of file that is tried in a process of its own first"""
MOST_CALLS = 5 * 10**5
"""of functions, to read one"""
X = np.random.default_rng(0).normal(size=(30, 3))


def saved(save, *arguments) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arguments)
    return buffer.getvalue()


def parquet() -> bytes:
    import polars

    return saved(lambda buffer: polars.DataFrame({"a": X[:, 0], "b": X[:, 1]}).write_parquet(buffer))


GOOD = {
    "x.npy": lambda: saved(np.save, X),
    "x.npz": lambda: saved(np.savez_compressed, X),
    "x.csv": lambda: ("a,b\n" + "".join(f"{a},{b}\n" for a, b, _ in X)).encode(),
    "x.idx": lambda: struct.pack(">BBBB2I", 0, 0, 8, 2, 30, 3) + bytes(range(90)),
    "x.idx.gz": lambda: gzip.compress(struct.pack(">BBBB2I", 0, 0, 8, 2, 30, 3) + bytes(range(90))),
    "x.png": lambda: saved(lambda buffer: Image.new("RGB", (9, 7), "red").save(buffer, "PNG")),
    "x.parquet": parquet,
}
WORDS = (
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e308",
    b"nan",
    b",",
    b"\n",
    b'"',
    b"[",
    b"{",
    b"'",
    b"9" * 20,
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few changes: bytes and words put in, taken out, repeated and flipped."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        a, b = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        b = min(b, a + chance.choice((1, 8, 64)))
        change = chance.randrange(5)
        middle = {0: b"", 1: chance.choice(WORDS), 2: content[a:b] * chance.choice((2, 50)), 3: content[a:b][::-1],
                  4: bytes(byte ^ 1 << chance.randrange(8) for byte in content[a:b])}[change]  # fmt: skip
        content = content[:a] + middle + content[b:]
        if not content:
            break
    return content


def fuzz(read, good: bytes, inputs: int = INPUTS) -> None:
    """All of them different; what fails can be had again from its number."""
    for number in range(inputs):
        content = mutated(good, random.Random(number))
        taken = cost(lambda content=content, number=number: attempt(read, content, number))
        assert taken.calls < MOST_CALLS, number
        assert taken.memory < 512 * 2**20, number


def attempt(read, content: bytes, number: int) -> None:
    try:
        read(content)
    except VaekitError:
        pass
    except Exception as error:
        raise AssertionError(f"input {number}: {content[:200]!r}") from error


@pytest.mark.parametrize("name", GOOD)
def test_f1_readers(tmp_path, name):
    path = tmp_path / name

    def read(content: bytes) -> None:
        path.write_bytes(content)
        load(path)

    read(GOOD[name]())
    fuzz(read, GOOD[name](), OWN_PROCESS if name.endswith(".parquet") else INPUTS)


@pytest.fixture
def folder(small, tmp_path):
    run = small.create(tmp_path / "run", small.prepare())
    run.save(small.trained(3).state)
    return run.folder


def test_f1_the_container(folder, monkeypatch):
    """A file of tensors with its manifest, as if whoever changed it had made its name right."""
    monkeypatch.setattr(storage.os, "fsync", lambda handle: None)

    def read(content: bytes) -> None:
        replace(folder, content)
        Run.reopen(folder).state(torch.device("cpu"))

    fuzz(read, newest(folder).read_bytes())


def replace(folder, content: bytes) -> None:
    """Another newest checkpoint."""
    newest(folder).unlink()
    checkpoint.commit(folder, content, None)


@pytest.mark.parametrize("name", ["the manifest", "schema.json"])
def test_f1_json(folder, monkeypatch, name):
    monkeypatch.setattr(storage.os, "fsync", lambda handle: None)
    saved = checkpoint.read(newest(folder))
    tensors = safetensors.torch.load(saved.content)

    def read(content: bytes) -> None:
        try:
            value = json.loads(content)
            value.pop("sha256", None)
        except (ValueError, AttributeError, RecursionError, TypeError):
            return
        if name == "schema.json":
            sha256 = storage.write_json(folder / name, value)
            value = {**saved.manifest, "files": {**saved.manifest["files"], name: sha256}}
        replace(folder, container.pack(tensors, value))
        (folder / "model.safetensors").write_bytes(container.seal(trained_tensors(tensors), value))
        for opened in (Run.reopen(folder).state, Run.open(folder).model):
            opened(torch.device("cpu"))

    manifest = json.dumps(saved.manifest).encode()
    fuzz(read, manifest if name == "the manifest" else (folder / name).read_bytes())


def test_f1_the_configuration(folder):
    def read(content: bytes) -> None:
        try:
            values = tomllib.loads(content.decode())
        except (ValueError, RecursionError):
            return
        Settings.from_dict(values)

    fuzz(read, (folder / "run.toml").read_bytes())
