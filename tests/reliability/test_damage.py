"""C7, D1, D2: what was changed or damaged is seen, and a stranger's run folder is safe to open."""

import io
import itertools
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from cli.conftest import call, write_table
from runs.conftest import assert_equal, named, newest

import vaekit
from reliability.conftest import cost, many
from vaekit.errors import VaekitError
from vaekit.runs import DamagedError, Run, checkpoint, container, storage, verify
from vaekit.settings.declared import WIDEST
from vaekit.training import trained_tensors

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture(scope="module")
def table_run(tmp_path_factory) -> Path:
    """A finished run on a table, with an earlier checkpoint. Only to be read."""
    home = tmp_path_factory.mktemp("damage")
    table = write_table(home / "table.csv")
    options = ("--exclude", "id,kind", "--latent-dim", 1, "--hidden", "4", "--epochs", 20, "--patience", 0)
    assert call("fit", table, "--out", home / "run", *options).code == 0
    return home / "run"


@pytest.fixture
def folder(table_run, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(table_run, tmp_path / "run"))


def stopped(folder: Path) -> Path:
    """Made the run that was stopped at its earlier checkpoint."""
    newest(folder).unlink()
    assert "before it, after step 0" in Run.reopen(folder, repair=True).notes[0]
    return folder


def covered(folder: Path) -> list[Path]:
    return [folder / name for name in verify(folder)]


# D1


def flip(content: bytes, chance: random.Random) -> bytes:
    damaged, place = bytearray(content), chance.randrange(len(content))
    damaged[place] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def zero(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.choice((1, 16, 512, 4096))
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def cut_out(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content)), chance.choice((1, 16, 512))
    return content[:start] + content[start + length :]


def move(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[place:] + content[:place]


DAMAGE = {"flipped bit": flip, "truncated": truncate, "zeroed": zero, "cut out": cut_out, "moved": move}


def undetected(folder: Path, count: int) -> list[str]:
    """Which of so many damages `verify` does not see, or gives another file's name."""
    chance, missed, files = random.Random(1), [], covered(folder)
    for _ in range(count):
        path, kind = chance.choice(files), chance.choice(list(DAMAGE))
        content = path.read_bytes()
        damaged = DAMAGE[kind](content, chance)
        if damaged != content:
            path.write_bytes(damaged)
            if path.name not in verify(folder).get(path.name, ""):
                missed.append(f"{path.name}: {kind}")
            path.write_bytes(content)
    return missed


def test_d1_damage_is_seen_and_its_file_named(folder):
    assert not any(verify(folder).values())
    assert len(covered(folder)) == 7
    assert undetected(folder, many(1000, 20_000)) == []
    assert not any(verify(folder).values())


def test_d1_swapped_files_are_seen(folder):
    for a, b in itertools.permutations(covered(folder), 2):
        kept = a.read_bytes(), b.read_bytes()
        for swap in (kept[::-1], (kept[1], kept[1])):
            a.write_bytes(swap[0]), b.write_bytes(swap[1])
            assert any(verify(folder).values()), (a.name, b.name)
        a.write_bytes(kept[0]), b.write_bytes(kept[1])


def test_d1_a_damaged_run_is_refused_or_it_is_the_right_one(folder):
    """Whatever the damage, what opens is what was saved."""
    run, chance, refused = Run.open(folder), random.Random(2), 0
    metrics = run.metrics
    model = run.model(CPU).state_dict()
    state = Run.reopen(folder).state(CPU)
    for path, kind in itertools.product(covered(folder), DAMAGE):
        content = path.read_bytes()
        path.write_bytes(DAMAGE[kind](content, chance))
        try:
            assert_equal(Run.reopen(folder).state(CPU), state)
            opened = Run.open(folder)
            assert opened.metrics == metrics
            assert all(torch.equal(value, model[name]) for name, value in opened.model(CPU).state_dict().items())
        except DamagedError as error:
            refused += path.name in str(error)
        path.write_bytes(content)
    assert refused >= 5 * 4  # of run.toml, the schema, checkpoint and model


def test_d1_without_hashes_it_would_not_be_seen(folder, monkeypatch):
    monkeypatch.setattr(storage, "read", lambda path, sha256=None, most=None: path.read_bytes())
    monkeypatch.setattr(checkpoint, "check_log", lambda folder, manifest, name: None)
    monkeypatch.setattr(container, "is_sealed", lambda content, manifest: True)
    assert undetected(folder, 50)


@pytest.mark.parametrize("name", ["checkpoint", "metrics.jsonl"])
def test_d1_resume_goes_back_and_says_so(folder, table_run, name):
    """The newest checkpoint or its records are damaged: the one before is whole."""
    path = named(folder, name)
    path.write_bytes(flip(path.read_bytes(), random.Random(3)))
    resumed = call("resume", folder)
    assert resumed.code == 0, resumed.err
    assert f"{path.name} is damaged" in resumed.err
    assert "after step 0" in resumed.err
    assert_equal(Run.reopen(folder).state(CPU), Run.reopen(table_run).state(CPU))
    assert (folder / "metrics.jsonl").read_bytes() == (table_run / "metrics.jsonl").read_bytes()


def test_d1_two_damaged_checkpoints_are_refused(folder):
    for path in folder.glob("checkpoint-*.safetensors"):
        path.write_bytes(flip(path.read_bytes(), random.Random(3)))
    resumed = call("resume", folder)
    assert resumed.code == 2
    assert "safetensors is damaged" in resumed.err


def test_d1_damaged_wall_clock_costs_nothing_else(folder):
    path = folder / "times.jsonl"
    path.write_bytes(flip(path.read_bytes(), random.Random(3)))
    resumed = call("resume", folder, "--epochs", 22)
    assert resumed.code == 0
    assert "times.jsonl is damaged" in resumed.err
    assert "begun anew" in resumed.err
    assert not any(verify(folder).values())


def test_d1_a_wall_clock_begun_anew_is_no_damage_later(folder):
    (folder / "times.jsonl").unlink()
    assert "begun anew" in Run.reopen(folder, repair=True).notes[0]
    assert Run.reopen(folder, repair=True).notes == []
    assert not any(verify(folder).values())
    newest(folder).unlink()
    (note,) = Run.reopen(folder, repair=True).notes
    assert "from the checkpoint before it" in note


def test_d1_nothing_can_be_added_to_a_finished_run(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10000, "elbo": 0.0}\n')
    assert "metrics.jsonl" in verify(folder)["metrics.jsonl"]
    with pytest.raises(DamagedError, match="metrics"):
        Run.open(folder).metrics  # noqa: B018


# C7


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def forge(folder: Path, *, content: bytes | None = None, schema=None, **manifest) -> None:
    """A run folder whose hashes are all right, whatever is in it: `schema` and `manifest` are changed as said."""
    saved = checkpoint.read(newest(folder))
    found = saved.manifest
    if schema is not None:
        about = storage.read_json(folder / "schema.json", most=MIB)
        schema(about)
        found["files"]["schema.json"] = storage.write_json(folder / "schema.json", about)
    for key, change in manifest.items():
        found[key] = change(found[key]) if callable(change) else change
    tensors = safetensors.torch.load(saved.content)
    model = container.seal(trained_tensors(tensors), found)
    if content is None:
        content = container.pack(tensors, found)
    else:
        model = content
    for path in checkpoint.files(folder):
        path.unlink()
    checkpoint.commit(folder, content, None)
    (folder / "model.safetensors").write_bytes(model)


def test_c7_changed_data_is_refused(folder, tmp_path):
    stopped(folder)
    place = Path(Run.open(folder).settings.data.source)
    content = place.read_text()
    try:
        place.write_text(content + "80,10,10,even\n")
        resumed = call("resume", folder)
    finally:
        place.write_text(content)
    assert resumed.code == 2
    assert "81 rows with the digest" in resumed.err
    assert Run.open(folder).data["digest"][:12] in resumed.err


def test_c7_a_changed_specification_is_refused_and_shown(folder):
    stopped(folder)
    edit(folder / "run.toml", "learning_rate = 0.005", "learning_rate = 0.05")
    resumed = call("resume", folder)
    assert resumed.code == 2
    assert "learning_rate is 0.05 there and 0.005 in the run" in resumed.err
    (folder / "run.toml").unlink()
    assert call("resume", folder).code == 0
    assert "learning_rate = 0.005" in (folder / "run.toml").read_text()


@pytest.mark.parametrize("text", ["# a remark\n", "\x00[", "[model]\nlatnt_dim = 2\n"])
def test_c7_a_specification_that_says_nothing_else_is_written_again(folder, text):
    stopped(folder)
    before = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text + (before if text.startswith("#") else ""))
    resumed = call("resume", folder)
    assert resumed.code == 0
    assert "run.toml is written again" in resumed.err
    assert (folder / "run.toml").read_text() == before


@pytest.mark.parametrize("name", ["vaekit", "torch"])
def test_c7_another_version_is_refused_or_recorded(folder, name):
    forge(stopped(folder), **{name: "0.0.1"})
    refused = call("resume", folder)
    assert refused.code == 2
    assert f"{name} 0.0.1 then" in refused.err
    allowed = call("resume", folder, "--allow-changes")
    assert allowed.code == 0
    assert Run.open(folder).changes[0]["after_step"] == 0
    assert Run.open(folder).changes[0][name][0] == "0.0.1"


def test_c7_other_threads_are_said_and_recorded(folder):
    forge(stopped(folder), threads=64)
    resumed = call("resume", folder)
    assert resumed.code == 0
    assert "threads 64 then, 1 now" in resumed.err
    assert Run.open(folder).changes == [{"after_step": 0, "threads": [64, 1]}]


# D2


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def packed(header: object, length: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(200 * MIB))
    return buffer.getvalue()


def model(**values):
    return {"settings": lambda settings: {**settings, "model": {**settings["model"], **values}}}


def training(**values):
    return {"settings": lambda settings: {**settings, "training": {**settings["training"], **values}}}


def renamed(name: str):
    """Another file in the place of schema.json."""
    return {"files": lambda files: {n if "toml" in n else name: sha for n, sha in files.items()}}


def counted(**values):
    return {"counters": lambda counters: {**counters, **values}}


def one(shape, start=0, end=4):
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


HUGE = 10**12
MOST_CALLS = 4 * 10**6
"""of functions, to refuse a run"""
HOSTILE = {
    "pickle renamed": {"content": pickle.dumps(Payload())},
    "zip bomb": {"content": zipped},
    "empty": {"content": b""},
    "header of 2^60 bytes": {"content": packed({}, 2**60)},
    "header of 2 MiB": {"content": lambda: packed({"__metadata__": {"a": "x" * 2 * MIB}})},
    "a million tensors": {"content": lambda: packed(
        b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(10**6)) + b"}")},
    "ten thousand tensors": {"content": lambda: packed({f"last/{i}": one([0], 0, 0) for i in range(10**4)})},
    "overlapping tensors": {"content": packed({"last/a": one([1]), "last/b": one([1])}, data=bytes(4))},
    "tensors beyond the end": {"content": packed({"last/a": one([9], 0, 36)}, data=bytes(4))},
    "a tensor of 10^12": {"content": packed({"last/a": one([HUGE], 0, 4 * HUGE)}, data=bytes(4))},
    "a negative shape": {"content": packed({"last/a": one([-1])}, data=bytes(4))},
    "header no JSON": {"content": packed(b"{" * 1000)},
    "header a list": {"content": packed([])},
    "other tensors": {"content": lambda: safetensors.torch.save({"last/x": torch.zeros(3)})},
    "a name that leads out": renamed("../schema.json"),
    "an absolute name": renamed("/etc/passwd"),
    "no schema": {"files": lambda files: {n: s for n, s in files.items() if n != "schema.json"}},
    "a manifest of lists": {"changes": [[]] * 10**5},
    "records elsewhere": {"logs": {"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}},
    "files a list": {"files": []},
    "10^12 hidden units": model(hidden=[HUGE]),
    "10^12 times 10^12": model(hidden=[HUGE, HUGE]),
    "a hundred thousand layers": model(hidden=[1] * 10**5),
    "a million layers": model(hidden=[1] * 10**6),
    "10^12 latents": model(latent_dim=HUGE),
    "other units": model(hidden=[5]),
    "hidden auto": model(hidden="auto"),
    "hidden text": model(hidden="4"),
    "code as likelihood": model(likelihood="os.system"),
    "code as network": model(network="vaekit.cli.main"),
    "code as activation": model(activation="__import__('os')"),
    "a key too many": model(code="print(1)"),
    "epochs auto": training(epochs="auto"),
    "a device of one's own": training(device="mps:eval"),
    "no settings": {"settings": {"model": 3}},
    "counters of text": counted(step="7"),
    "a step of 2^70": counted(step=2**70),
    "a negative step": counted(step=-1),
    "sums of text": counted(sums={"elbo": "x"}),
    "no sums": counted(sums=[]),
    "no counters": {"counters": {}},
    "10^12 features": {"schema": lambda saved: saved["schema"].update(shape=[HUGE], names=None)},
    "2^24 features": {"schema": lambda s: s["schema"].update(
        shape=[2**24], names=None, low=0.0, high=1.0, mean=0.0, scale=1.0, resolution=1.0)},
    "a shape of text": {"schema": lambda saved: saved["schema"].update(shape=["2"])},
    "names for others": {"schema": lambda saved: saved["schema"].update(names=["a"] * 5)},
    "an infinite scale": {"schema": lambda saved: saved["schema"].update(scale=float("inf"))},
    "a schema of text": {"schema": lambda saved: saved.update(schema="x")},
    "no rows": {"schema": lambda saved: saved["data"].update(train=0)},
    "rows of text": {"schema": lambda saved: saved["data"].update(train="many")},
    "lists in a schema": {"schema": lambda saved: saved.update(more=[[]] * 10**5)},
}  # fmt: skip


OF_TRAINING = {"sums of text", "no sums", "no rows", "rows of text"}


@pytest.mark.parametrize("case", HOSTILE)
def test_d2_a_hostile_run_is_refused(folder, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    changes = dict(HOSTILE[case])
    if callable(changes.get("content")):
        changes["content"] = changes["content"]()
    forge(folder, **changes)
    del changes
    assert_safe(folder, tmp_path, of_training=case in OF_TRAINING)


@pytest.mark.parametrize("name", ["more", "last/more", "other/encoder"])
def test_d2_a_tensor_too_many_is_refused(folder, tmp_path, name):
    saved = checkpoint.read(newest(folder))
    more = {**safetensors.torch.load(saved.content), name: torch.zeros(())}
    forge(folder, content=container.pack(more, saved.manifest))
    assert_safe(folder, tmp_path)


def assert_safe(folder, home, *, of_training: bool = False) -> None:
    """Rule R, in work and memory, for whatever opens a run.

    of_training     what is wrong concerns going on alone, and is not looked at by what uses the model
    """
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.name != "run.lock"}
    attempts = {
        "resume": lambda: refused(call("resume", folder)),
        "resume longer": lambda: refused(call("resume", folder, "--epochs", 99)),
        "load": lambda: cannot_load(folder),
    }
    if not of_training:
        attempts["sample"] = lambda: refused(call("sample", folder, "-o", home / "x.npy"))
    for name, attempt in attempts.items():
        taken = cost(attempt)
        assert taken.calls < MOST_CALLS, name
        assert taken.memory < 64 * MIB + 2 * size, name
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.name != "run.lock"} == before
    assert not (home / "executed").exists()


def cannot_load(folder) -> None:
    with pytest.raises(VaekitError):
        vaekit.load(folder)


def refused(result) -> None:
    assert result.code == 2, result
    assert 1 <= len(result.err.splitlines()) <= 3, result.err
    assert "Traceback" not in result.err
    assert len(result.err) < 2000


def manifest_of_noise(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "brackets":
        path.write_bytes(b"[" * MIB)
    elif kind == "lists":
        path.write_bytes(b"[" + b"[]," * (MIB // 4) + b"[]]")
    else:
        path.write_bytes(bytes(5 * MIB))


@pytest.mark.skipif(os.name == "nt", reason="no pipes, no /dev")
@pytest.mark.parametrize("kind", ["a pipe", "endless", "a folder", "brackets", "lists", "5 MiB"])
@pytest.mark.parametrize("name", ["model.safetensors", "schema.json", "checkpoint"])
def test_d2_what_is_no_file_is_refused(folder, tmp_path, name, kind):
    for path in checkpoint.files(folder)[1:]:
        path.unlink()
    manifest_of_noise(named(folder, name), kind)
    if name == "schema.json":
        assert_safe(folder, tmp_path)
    with pytest.raises(DamagedError):
        Run.open(folder) if name == "model.safetensors" else Run.reopen(folder)


def test_d2_without_a_check_of_sizes_it_would_not_be_refused(folder, monkeypatch):
    forge(folder, **model(hidden=[WIDEST - 1] * 2))
    monkeypatch.setattr(container, "check_state", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="memory"):
        Run.reopen(folder).state(CPU)


def test_d2_the_right_run_opens(folder):
    assert np.isfinite(vaekit.load(folder).sample(3)).all()
