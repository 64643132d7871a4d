"""The command line called in this process, and two small runs to look at."""

import contextlib
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vaekit.cli import common, main
from vaekit.report import pictures

TINY = ("--latent-dim", 2, "--hidden", "16", "--batch-size", 64)


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def call(*arguments) -> Result:
    """`vaekit …` without a new process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        main([str(argument) for argument in arguments])
    return Result(stop.value.code, out.getvalue(), err.getvalue())


def write_table(path: Path, rows: int = 80, seed: int = 0) -> Path:
    """A CSV file with two columns of numbers, one of text and a row number."""
    rng = np.random.default_rng(seed)
    a = rng.normal(10, 2, rows)
    b = a + rng.normal(0, 0.5, rows)
    lines = [f"{i},{a[i]:.4f},{b[i]:.4f},{'even' if i % 2 == 0 else 'odd'}" for i in range(rows)]
    path.write_text("\n".join(["id,length,width,kind", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def vaekit():
    return call


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    """Charts are put together and their files made, but not rendered, which takes most of a short fit's time. Those of
    the runs that several tests look at are: such a run is there before this."""

    def save(figure, path: Path) -> Path:
        path.touch()
        return path

    monkeypatch.setattr(pictures, "_save", save)


@pytest.fixture(autouse=True)
def unannounced(monkeypatch):
    """No command says what log p(x) will cost: whether that is much depends on the machine, and on who else uses it."""
    monkeypatch.setattr(common, "LONG", math.inf)


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path / "table.csv")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """A finished run on digits. Only to be read."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    result = call("fit", "digits", "--out", folder, *TINY, "--epochs", 8)
    assert result.code == 0, result.err
    (folder.parent / "fit.txt").write_text(result.out)
    return folder


@pytest.fixture(scope="session")
def table_run(tmp_path_factory) -> Path:
    """A finished run on a table with a label and an excluded column; table.csv beside it. Only to be read."""
    folder = tmp_path_factory.mktemp("table") / "run"
    path = write_table(folder.parent / "table.csv")
    options = ("--exclude", "id", "--label", "kind", "--latent-dim", 1, "--hidden", "none", "--test", 0.25)
    result = call("fit", path, "--out", folder, *options, "--epochs", 20, "--likelihood", "gaussian")
    assert result.code == 0, result.err
    return folder
