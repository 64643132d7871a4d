"""One clear error, exit code 2, and nothing lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lanes import but_few_slow
from runs.conftest import named

from vaekit.runs import Lock, storage


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with its content."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def assert_refused(result, *words: str) -> None:
    assert result.code == 2, result
    assert 1 <= len(result.err.splitlines()) <= 3
    for leak in ("Traceback", "[Errno", "Tokens"):
        assert leak not in result.err
    for word in words:
        assert word in result.err


@pytest.fixture
def here(tmp_path, monkeypatch, table) -> Path:
    """A folder of good and bad files, made the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("table.npy", rng.normal(size=(40, 3)))
    np.save("flat.npy", np.arange(5.0))
    np.save("objects.npy", np.array([[{}, 1]], dtype=object), allow_pickle=True)
    np.save("empty.npy", np.zeros((0, 4)))
    np.save("text.npy", np.array([["a", "b"]]))
    bad = rng.normal(size=(40, 3))
    bad[7, 2] = np.nan
    bad[7, 2] = -np.inf
    np.save("inf.npy", bad)
    Path("cut.npy").write_bytes(Path("table.npy").read_bytes()[:-100])
    Path("renamed.npy").write_bytes(b"length,width\n1,2\n")
    Path("renamed.csv").write_bytes(Path("table.npy").read_bytes())
    Path("notes.txt").write_text("hello")
    Path("empty.csv").write_text("")
    Path("header.csv").write_text("a,b\n")
    Path("ragged.csv").write_text("a,b\n1,2\n3,4,5\n")
    Path("cell.csv").write_text("a,b\n1,2\n3,four\n")
    Path("infinite.csv").write_text("a,b\n1,2\n3,inf\n")
    Path("huge.csv").write_text("a,b\n1,2\n3,1e300\n")
    Path("grey.csv").write_text("a,b\n1,0\n0,0.5\n")
    Path("bad.toml").write_text("[model\n")
    Path("key.toml").write_text("[data]\nsource = 'digits'\n[model]\nlatent_dims = 3\n")
    Path("section.toml").write_text("[modle]\nlatent_dim = 3\n")
    Path("value.toml").write_text("[data]\nsource = 'digits'\n[model]\nlatent_dim = 'many'\n")
    Path("folder").mkdir()
    return tmp_path


FIT = {
    "no data": ("", "nothing to fit", "vaekit datasets"),
    "missing file": ("nofile.csv", "nofile.csv"),
    "misspelt data set": ("digtis", "digits"),
    "a folder": ("folder", "folder"),
    "unknown ending": ("notes.txt", "notes.txt", ".csv"),
    "objects": ("objects.npy", "objects.npy"),
    "text array": ("text.npy",),
    "one axis": ("flat.npy", "(5,)", "(n, 1)"),
    "no rows": ("empty.npy", "(0, 4)"),
    "cut": ("cut.npy", "cut.npy"),
    "no npy": ("renamed.npy", "renamed.npy"),
    "no csv": ("renamed.csv", "renamed.csv"),
    "infinity": ("inf.npy", "row 7", "column 2", "inf"),
    "empty csv": ("empty.csv", "empty.csv"),
    "only a header": ("header.csv", "no rows"),
    "ragged": ("ragged.csv", "ragged.csv"),
    "a text cell": ("cell.csv", "row 1", "'b'", "four"),
    "infinity in a table": ("infinite.csv", "row 1", "'b'", "inf"),
    "too large for a float": ("huge.csv", "row 1", "'b'"),
    "grey and bernoulli": ("grey.csv --likelihood bernoulli", "bernoulli", "binarize"),
    "real and integers": ("table.npy --likelihood discretized-logistic", "whole numbers"),
    "reals binarised": ("table.npy --binarize dynamic", "0 to 1"),
    "binarised and gaussian": ("digits --binarize dynamic --likelihood gaussian", "bernoulli"),
    "misspelt option": ("digits --latnt-dim 3", "--latent-dim"),
    "misspelt likelihood": ("digits --likelihood gausian", "gaussian"),
    "a likelihood's other name": ("digits --likelihood Normal", "did you mean 'gaussian'?"),
    "an option without its value": ("digits --epochs", "--epochs needs a value"),
    "misspelt posterior": ("digits --posterior ful", "full"),
    "misspelt activation": ("digits --activation rely", "relu"),
    "misspelt binarisation": ("digits --binarize dynamc", "dynamic"),
    "misspelt network": ("digits --network mpl", "mlp"),
    "misspelt device": ("digits --device cpuu", "cpu"),
    "misspelt prior": ("digits --prior standrad", "standard"),
    "latents no number": ("digits --latent-dim two", "latent_dim", "two", "auto"),
    "no latents": ("digits --latent-dim 0", "latent_dim", "1 or more"),
    "half a latent": ("digits --latent-dim 1.5", "latent_dim", "1.5"),
    "hidden": ("digits --hidden 20,x", "hidden is '20,x'", "200,200, none"),
    "hidden of zero": ("digits --hidden 0", "hidden"),
    "no epochs": ("digits --epochs 0", "epochs"),
    "learning rate": ("digits --learning-rate nan", "learning_rate", "nan"),
    "negative beta": ("digits --objective elbo:beta=-1", "beta"),
    "no samples": ("digits --objective elbo:samples=0", "samples"),
    "samples no number": ("digits --objective elbo:samples=few", "few"),
    "one sample to iwae": ("digits --objective iwae:samples=1", "samples = 1", "samples = 5"),
    "samples not shared": ("digits --objective iwae:samples=7,repeats=2", "samples = 7", "repeats = 2"),
    "repeats with elbo": ("digits --objective elbo:samples=4,repeats=2", "repeats", "elbo"),
    "free bits with iwae": ("digits --objective iwae:free_bits=0.1", "free_bits", "iwae"),
    "free bits with draws": (
        "digits --objective elbo:free-bits=0.1,gradient=sticking-the-landing",
        "free bits",
        "closed-form",
    ),
    "gradient of another bound": (
        "digits --objective elbo:gradient=doubly-reparameterised",
        "elbo",
        "sticking-the-landing",
    ),
    "misspelt gradient": ("digits --objective iwae:gradient=doubly", "doubly-reparameterised"),
    "a warm-up without end": ("digits --objective elbo:warmup=1", "warmup", "below 1"),
    "steps of warm-up": ("digits --objective elbo:warmup=500", "warmup", "below 1"),
    "misspelt precision": ("digits --precision bf16", "bfloat16"),
    "all validation": ("digits --validation 1", "validation"),
    "nothing left": ("table.npy --validation 0.6 --test 0.6", "no rows are left"),
    "validation file": ("table.npy --validation nofile.npy", "nofile.npy"),
    "validation of other columns": ("table.npy --validation grey.csv", "grey.csv"),
    "unknown column": ("table.csv --exclude knd", "knd", "kind"),
    "unknown label": ("table.csv --label knd --exclude id", "knd", "kind"),
    "no columns left": ("table.csv --exclude id,length,width,kind", "columns"),
    "columns of an array": ("table.npy --exclude a", "--exclude"),
    "columns of digits": ("digits --label y", "--label"),
    "config missing": ("--config nofile.toml", "nofile.toml", "No such file"),
    "config a folder": ("--config folder", "folder", "directory"),
    "config damaged": ("--config bad.toml", "bad.toml"),
    "config key": ("--config key.toml", "latent_dims", "latent_dim'"),
    "config section": ("--config section.toml", "modle", "'model'"),
    "config value": ("--config value.toml", "latent_dim", "many"),
    "out is a file": ("table.npy --out notes.txt", "notes.txt"),
}


@pytest.mark.parametrize("name", FIT)
def test_fit_refuses(vaekit, here, name):
    command, *words = FIT[name]
    before = snapshot(here)
    assert_refused(vaekit("fit", *command.split(), *(() if "--out" in command else ("--out", "run"))), *words)
    assert snapshot(here) == before


ANY = {
    "unknown command": ("fti digits", "fit"),
    "more than a command takes": ("verify RUN one.npy two.npy", "'one.npy two.npy'", "verify --help"),
    "option of no command": ("--bogus", "--bogus"),
    "evaluate nothing": ("evaluate", "RUN is missing"),
    "evaluate nowhere": ("evaluate nowhere", "nowhere"),
    "evaluate no run": ("evaluate folder", "folder"),
    "evaluate a file": ("evaluate notes.txt", "notes.txt"),
    "evaluate no samples": ("evaluate RUN --samples 0", "samples is 0"),
    "evaluate other shape": ("evaluate RUN table.npy", "table.npy", "(3,)", "(8, 8)"),
    "evaluate with a misspelt option": ("evaluate RUN --sample 3", "--samples"),
    "encode other shape": ("encode RUN table.npy -o z.npy", "table.npy", "(3,)", "(8, 8)"),
    "encode outside the support": ("encode RUN loud.npy -o z.npy", "loud.npy", "row 4", "(2, 3)", "16.5"),
    "encode to a picture": ("encode RUN digits -o z.png", ".csv"),
    "encode without output": ("encode RUN digits", "-o is missing"),
    "encode to nothing": ("encode RUN digits -o", "-o needs a value"),
    "encode to no folder": ("encode RUN digits -o nowhere/z.npy", "nowhere"),
    "encode on no such device": ("encode RUN digits -o z.npy --device gpu", "gpu"),
    "sample none": ("sample RUN -n 0 -o x.npy", "-n"),
    "sample words": ("sample RUN -n many -o x.npy", "many"),
    "sample to an unknown kind": ("sample RUN -o x.jpg", ".png"),
    "sample a table as a picture": ("sample TABLE -o x.png", ".csv"),
    "reconstruct none": ("reconstruct RUN -o x.npy --samples 0", "--samples"),
    "reconstruct no rows": ("reconstruct RUN -o x.npy -n 0", "-n"),
    "reconstruct a table as a picture": ("reconstruct TABLE -o x.png", ".csv"),
    "encode other columns": ("encode TABLE grey.csv -o z.npy", "length", "width"),
    "resume nowhere": ("resume nowhere", "nowhere"),
    "resume for less": ("resume RUN --epochs 1", "--epochs"),
}


@pytest.mark.parametrize("name", ANY)
def test_commands_refuse(vaekit, here, digits_run, table_run, name):
    loud = np.zeros((6, 8, 8), np.float32)
    loud[4, 2, 3] = 16.5
    np.save("loud.npy", loud)
    command, *words = ANY[name]
    before, run = snapshot(here), snapshot(digits_run)
    paths = {"RUN": str(digits_run), "TABLE": str(table_run)}
    assert_refused(vaekit(*(paths.get(part, part) for part in command.split())), *words)
    assert snapshot(here) == before
    assert snapshot(digits_run) == run


def test_colour_images_are_fitted_or_refused_but_do_not_crash(vaekit, tmp_path):
    path = tmp_path / "rgb.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 3, 4, 4), dtype=np.uint8))
    result = vaekit("fit", path, "--out", tmp_path / "run", "--hidden", "4", "--latent-dim", 1, "--epochs", 1)
    if result.code:
        assert_refused(result, "rgb.npy")
        assert not (tmp_path / "run").exists()


def test_labels_that_do_not_match_the_rows_are_refused(vaekit, digits_run, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.arange(3))
    assert_refused(vaekit("encode", digits_run, tmp_path / "x.npz", "-o", tmp_path / "z.csv"), "x.npz")
    assert not (tmp_path / "z.csv").exists()


def test_a_folder_in_use_is_left_alone(vaekit, table, tmp_path):
    folder = tmp_path / "run"
    options = ("--exclude", "id,kind", "--hidden", "none", "--epochs", 1)
    assert vaekit("fit", table, "--out", folder, *options).code == 0
    before = snapshot(folder)
    before.pop(str(folder / "run.lock"))
    with Lock(folder):
        for command in (("fit", table, "--out", folder, *options, "--overwrite"), ("resume", folder, "--epochs", 3)):
            assert_refused(vaekit(*command), str(folder), str(os.getpid()))
    after = snapshot(folder)
    after.pop(str(folder / "run.lock"))
    assert after == before
    assert vaekit("resume", folder, "--epochs", 3).code == 0  # free again


@pytest.mark.parametrize("name", but_few_slow(["run.toml", "schema.json", "model.safetensors", "checkpoint"], quick=2))
def test_a_damaged_run_is_named(vaekit, table_run, tmp_path, name):
    folder = shutil.copytree(table_run, tmp_path / "run")
    path = named(folder, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert_refused(vaekit("verify", folder), path.name, "damaged")
    for command in (("evaluate", folder), ("sample", folder, "-o", tmp_path / "x.npy")):
        if name == "checkpoint":  # which they do not open
            assert vaekit(*command).code == 0
        else:
            assert_refused(vaekit(*command), path.name, "damaged")
            assert not (tmp_path / "x.npy").exists()
    resumed = vaekit("resume", folder, "--epochs", 24)
    if name == "schema.json":  # that is nowhere else
        assert_refused(resumed, path.name, "damaged")
    else:
        assert resumed.code == 0
        assert path.name in resumed.err
        assert vaekit("evaluate", folder).code == 0
        assert vaekit("verify", folder).code == 0


def test_an_output_that_cannot_be_written_keeps_the_one_before(vaekit, table_run, tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("precious")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    assert_refused(vaekit("sample", table_run, "-n", 3, "-o", path), "No space left")
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_a_process_ends_with_code_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "vaekit", "fit", "digits", "--latnt-dim", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--latent-dim" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert not list(tmp_path.iterdir())
