"""A run folder gives back what was put in, or says what is wrong with it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from runs.conftest import manifest, named, newest
from vaekit.errors import VaekitError
from vaekit.runs import (
    DamagedError,
    DiskError,
    Lock,
    Run,
    check_free,
    checkpoint,
    container,
    save_state,
    storage,
    verify,
)
from vaekit.runs.checkpoint import FORMAT

CPU = torch.device("cpu")
FILES = ("run.toml", "schema.json", "model.safetensors", "checkpoint")
"""the last by the beginning of its name"""


@pytest.fixture
def saved(small, tmp_path):
    """(folder, state) of a run saved after step 7."""
    prepared = small.trained(7)
    run = small.create(tmp_path / "run", prepared)
    run.save(prepared.state)
    return tmp_path / "run", prepared.state


def whole(folder) -> torch.nn.Module:
    """Everything that reading a run touches, for use and to go on."""
    assert Run.reopen(folder).state(CPU).step == 7
    run = Run.open(folder)
    assert run.finished is False
    assert run.step == 7
    return run.model(CPU)


def test_what_is_saved_is_what_is_restored(small, saved, same):
    folder, state = saved
    run = Run.open(folder)
    same(run.state(CPU), state)
    fresh = small.prepare()
    run.restore(fresh.state)
    same(fresh.state, state)
    assert run.settings == small.prepare().settings
    assert run.schema == small.prepare().schema
    assert run.data == small.data


def test_a_small_run_is_opened_without_pytorch_s_compiler(saved):
    """Its import takes longer than all the rest."""
    folder, _ = saved
    code = f"import sys, vaekit; vaekit.load({str(folder)!r}, device='cpu'); print('torch._dynamo' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert found.stdout.split() == [b"False"], found.stderr


def test_the_model_is_the_averaged_one_where_nothing_was_validated(small):
    state = small.trained(3).state
    state.best = None
    averaged, trained = state.averaged.state_dict(), state.trained().state_dict()
    assert all(torch.equal(trained[name], averaged[name]) for name in averaged)
    assert any(not torch.equal(trained[name], value) for name, value in state.model.state_dict().items())


def test_the_model_is_the_best_one_where_there_was_validation(small, tmp_path, same):
    prepared = small.trained(48)
    best = prepared.state.best
    prepared.state.best = {name: tensor + 1 for name, tensor in best.items()}  # unlike all other weights
    small.create(tmp_path / "run", prepared).save(prepared.state)
    trained = Run.open(tmp_path / "run").model(CPU).state_dict()
    assert all(torch.equal(value, best[f"model.{name}"] + 1) for name, value in trained.items())


def test_a_state_that_was_never_trained_round_trips(small, tmp_path, same):
    prepared = small.prepare()
    small.create(tmp_path / "run", prepared).save(prepared.state)
    same(Run.reopen(tmp_path / "run").state(CPU), small.prepare().state)


def test_the_newest_two_checkpoints_are_kept(small, tmp_path, same):
    run = small.create(tmp_path / "run", small.prepare())
    for kept in ((1,), (1, 5), (5, 9), (5, 9)):
        state = small.trained(kept[-1]).state
        run.save(state)
        assert (
            tuple(checkpoint.read(path).manifest["counters"]["step"] for path in checkpoint.files(run.folder)[::-1])
            == kept
        )
        same(Run.reopen(tmp_path / "run").state(CPU), state)


def test_no_pickle_and_a_digest_for_every_file(saved):
    folder, _ = saved
    path = newest(folder)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.split("-")[2]
    assert set(manifest(folder)["files"]) == {"run.toml", "schema.json"}
    assert safetensors.torch.load_file(path)
    assert (
        safetensors.torch.load_file(folder / "model.safetensors").keys()
        == Run.open(folder).model(CPU).state_dict().keys()
    )
    assert {p.name for p in folder.iterdir()} == {*FILES[:-1], path.name}


def forged(folder, content: bytes) -> None:
    """Other content as the newest checkpoint, under the name that it has to have."""
    newest(folder).unlink()
    (folder / f"checkpoint-9-{hashlib.sha256(content).hexdigest()}.safetensors").write_bytes(content)


# Damage


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_noticed_and_its_file_named(saved, name):
    folder, _ = saved
    path = named(folder, name)
    content = path.read_bytes()
    stride = max(1, len(content) // 60)
    for place in [*range(0, len(content), stride), len(content) - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedError) as error:
            whole(folder)
        assert name in str(error.value)
    path.write_bytes(content)
    whole(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_noticed_and_named(saved, name):
    folder, _ = saved
    path = named(folder, name)
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedError) as error:
            whole(folder)
        assert name in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    folder, _ = saved
    path = named(folder, name)
    path.unlink()
    with pytest.raises(VaekitError) as error:
        whole(folder)
    assert name in str(error.value)
    assert any(verify(folder).values())


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', "{}", '{"sha256": 1}', "[" * 100_000])
def test_other_json_in_place_of_the_manifest_is_damage(saved, content):
    folder, _ = saved
    tensors = safetensors.torch.load_file(newest(folder))
    forged(folder, safetensors.torch.save(tensors, metadata={"manifest": content}))
    with pytest.raises(DamagedError, match="checkpoint-"):
        whole(folder)


def test_a_newer_format_is_refused_in_a_sentence(saved):
    folder, _ = saved
    tensors = safetensors.torch.load_file(newest(folder))
    newer = {**manifest(folder), "format": FORMAT + 1, "vaekit": "7.8"}
    forged(folder, container.pack(tensors, newer))
    (folder / "model.safetensors").write_bytes(container.seal(tensors, newer))
    for attempt in (Run.open, Run.reopen):
        with pytest.raises(VaekitError, match=r"7\.8.*upgrade") as error:
            attempt(folder)
        assert not isinstance(error.value, DamagedError)
        assert str(folder) in str(error.value)


def test_an_older_format_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(VaekitError, match=r"before .*first release: fit again"):
        Run.open(tmp_path)


def test_a_checkpoint_of_another_model_does_not_fit(small, saved):
    folder, _ = saved
    other = small.prepare(latent_dim=2)
    with pytest.raises(VaekitError, match="do not fit"):
        Run.open(folder).restore(other.state)


def test_a_folder_without_a_run_is_none(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(VaekitError, match="no run folder"):
            Run.open(folder)


# Failures while writing


class Full(OSError):
    """No space left on device."""


def fail_at(monkeypatch, module, name: str, nth: int) -> None:
    """The nth call of `module.name` raises."""
    calls, real = [0], getattr(module, name)

    def wrapper(*arguments, **options):
        calls[0] += 1
        if calls[0] == nth:
            raise Full(name)
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, wrapper)


OLD = (("fsync", 1), ("replace", 1))
"""calls of a save before the new checkpoint has its name"""


@pytest.mark.parametrize(
    ("name", "nth"), [*(("fsync", nth) for nth in range(1, 5)), *(("replace", nth) for nth in range(1, 3))]
)
def test_a_failure_while_saving_leaves_a_whole_checkpoint(small, saved, same, monkeypatch, name, nth):
    folder, old = saved
    run, new = Run.open(folder), small.trained(9).state
    fail_at(monkeypatch, storage.os, name, nth)
    with pytest.raises(DiskError):
        run.save(new)
    monkeypatch.undo()
    same(Run.reopen(folder).state(CPU), old if (name, nth) in OLD else new)
    assert not list(folder.glob("*.part"))
    assert not list(folder.glob(".*.part"))
    run.save(new)
    same(Run.reopen(folder).state(CPU), new)


def test_a_file_has_its_new_content_only_when_it_is_on_disk(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(storage.os, "fsync", lambda handle: (seen.append(("fsync", path.read_bytes())), fsync(handle)))
    monkeypatch.setattr(storage.os, "replace", lambda a, b: (seen.append("replace"), replace(a, b)))
    digest = storage.write(path, b"new")
    assert seen == [("fsync", b"old"), "replace", ("fsync", b"new")]
    assert storage.read(path, digest) == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_between_checkpoint_and_model_is_mended(small, saved, same, monkeypatch):
    folder, old = saved
    new = small.trained(9).state
    (folder / ".model.safetensors.1.part").write_bytes(b"{")
    with monkeypatch.context() as patch:
        patch.setattr(container, "seal", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Run.open(folder).save(new)
    run = Run.open(folder)
    assert run.step == 7
    assert all(
        torch.equal(value, old.trained().state_dict()[name]) for name, value in run.model(CPU).state_dict().items()
    )
    again = Run.reopen(folder, repair=True)
    same(again.state(CPU), new)
    run = Run.open(folder)
    assert run.step == 9
    assert all(
        torch.equal(value, new.trained().state_dict()[name]) for name, value in run.model(CPU).state_dict().items()
    )
    assert not list(folder.glob(".*.part"))


def test_a_model_that_is_lost_is_written_again(saved):
    folder, _ = saved
    whole_model = (folder / "model.safetensors").read_bytes()
    for content in (None, whole_model[:-1], b""):
        (folder / "model.safetensors").unlink()
        if content is not None:
            (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(DamagedError, match=r"vaekit resume .* writes it again"):
            Run.open(folder)
        (note,) = Run.reopen(folder, repair=True).notes
        assert "model.safetensors is written again" in note
        assert (folder / "model.safetensors").read_bytes() == whole_model


def test_a_model_alone_is_enough_to_use_it(saved):
    folder, state = saved
    newest(folder).unlink()
    model = Run.open(folder).model(CPU)
    assert all(torch.equal(value, state.trained().state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(VaekitError, match="no checkpoint"):
        Run.reopen(folder)


def test_what_did_not_change_is_no_other_checkpoint(saved):
    folder, state = saved
    before = newest(folder)
    Run.reopen(folder).save(state)
    assert checkpoint.files(folder) == [before]


def test_lengthening_a_run_and_a_crash_before_run_toml_is_written_loses_nothing(saved, same, monkeypatch):
    folder, old = saved
    real = storage.write
    run = Run.open(folder)
    monkeypatch.setattr(
        storage, "write", lambda path, content: real(path, content) if path.name != "run.toml" else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):  # dies before run.toml is written
        run.respecify(run.settings.changed(epochs=20), old)
    monkeypatch.undo()
    assert Run.reopen(folder).settings.training.epochs == 20  # the checkpoint is the truth, and knows what run.toml was
    again = Run.reopen(folder, repair=True)
    assert "run.toml" in again.notes[0]
    assert "epochs = 20" in (folder / "run.toml").read_text()
    same(Run.reopen(folder).state(CPU), old)


def test_a_respecified_run_keeps_its_new_specification(small, saved):
    folder, state = saved
    run = Run.open(folder)
    run.respecify(run.settings.changed(epochs=20), state)
    assert Run.open(folder).settings.training.epochs == 20


# Records


def test_records_are_kept_in_order_and_cut_at_a_step(small, tmp_path):
    run = small.create(tmp_path / "run", small.prepare())
    records = [{"step": step, "elbo": -1.0 / step} for step in (1, 2, 3, 4)]
    for record in records:
        run.log(record, 1.0)
    assert run.metrics == records
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "el')  # killed while writing
    assert run.metrics == records
    run.forget_after(2)
    assert run.metrics == records[:2]
    run.log({"step": 3}, 2.0)
    assert [record["step"] for record in run.metrics] == [1, 2, 3]
    times = [json.loads(line) for line in (tmp_path / "run" / "times.jsonl").read_text().splitlines()]
    assert [line["step"] for line in times] == [1, 2, 3]


# New runs over old ones


def test_a_run_is_not_written_over_another(small, saved):
    folder, _ = saved
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for attempt in (
        lambda: small.create(folder, small.prepare()),
        lambda: save_state(folder, small.settings, None, {}, None, []),
        lambda: check_free(folder, overwrite=False),
    ):
        with pytest.raises(VaekitError, match="already holds a run"):
            attempt()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.raises(VaekitError, match="is a file"):
        check_free(folder / "run.toml", overwrite=True)


def test_overwriting_leaves_nothing_of_the_old_run(small, saved, same):
    folder, _ = saved
    Run.open(folder).log({"step": 7}, 0.0)
    new = small.trained(3)
    small.create(folder, new, overwrite=True).save(new.state)
    run = Run.open(folder)
    same(run.state(CPU), new.state)
    assert run.metrics == []
    assert len(checkpoint.files(folder)) == 1


def test_a_whole_run_at_once(small, tmp_path, same):
    prepared = small.trained(48)
    records = [{"step": 24, "elbo": -3.0}, {"step": 48, "elbo": -2.0}]
    about = (prepared.settings, prepared.schema, small.data, prepared.state)
    save_state(tmp_path / "a" / "run", *about, records)
    run = Run.open(tmp_path / "a" / "run")
    same(run.state(CPU), prepared.state)
    assert run.metrics == records
    assert run.finished
    with pytest.raises(VaekitError, match="already holds a run"):
        save_state(tmp_path / "a" / "run", *about, [])
    save_state(tmp_path / "a" / "run", *about, [], overwrite=True)
    assert Run.open(tmp_path / "a" / "run").metrics == []


def test_a_run_can_be_moved(saved, tmp_path, same):
    folder, state = saved
    moved = shutil.move(folder, tmp_path / "elsewhere")
    same(Run.reopen(moved).state(CPU), state)


# One writer


def test_a_folder_in_use_names_the_process(tmp_path):
    with Lock(tmp_path):
        with pytest.raises(VaekitError, match=rf"process {os.getpid()}\b"):
            Lock(tmp_path)
        with pytest.raises(VaekitError, match=str(tmp_path)):
            Lock(tmp_path)
    Lock(tmp_path).release()
    with Lock(tmp_path):
        assert (tmp_path / "run.lock").read_text() == str(os.getpid())


def test_saving_waits_for_no_one(small, saved, same):
    folder, state = saved
    prepared = small.trained(3)
    with Lock(folder), pytest.raises(VaekitError, match="in use"):
        save_state(folder, prepared.settings, prepared.schema, small.data, prepared.state, [], overwrite=True)
    same(Run.reopen(folder).state(CPU), state)
