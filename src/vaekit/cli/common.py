"""What several commands need: the rows of a run, its model, and one way to write results."""

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data import Dataset, Source, load
from vaekit.data.images import holds_images
from vaekit.errors import VaekitError, counted
from vaekit.evaluation import Method, log_likelihood
from vaekit.evaluation.likelihood import TOGETHER
from vaekit.evaluation.methods import SIZES
from vaekit.runs import Run
from vaekit.runs.storage import write
from vaekit.settings import Settings, check_rows_fit, choose_device


def training_source(settings: Settings, run: Path | None = None) -> Source:
    """The rows that settings name, with validation and test files of one's own as fixed parts.

    run    the folder of the run whose settings they are, for the remedy where its data is elsewhere or changed
    """
    section = settings.data
    if not section.source:
        raise VaekitError("this run was fitted to an array in Python, which it does not keep: name the data.")
    if run is not None:
        _check_there(section, run)
    columns = {"exclude": section.exclude, "label": section.label or None, "keep": section.keep}
    source = load(section.source, resize=section.resize, kind=section.kind, **columns)
    for part, path in _parts_of_its_own(section):
        source = source.joined(_part_of_its_own(part, path, section, source), part)
    if section.digest and source.digest != section.digest:
        places = section.source if isinstance(section.source, str) else ", ".join(section.source)
        remedy = "fit again (with --config, delete the line `digest` first)"
        if run is not None:
            remedy = f"say where it is now: `vaekit resume {run} --data PATH`"
        raise VaekitError(
            f"{places} is not the data of this run: it has {counted(len(source))} with the digest "
            f"{source.digest[:12]}…, and the run was fitted to {section.digest[:12]}…. Restore the file, or {remedy}."
        )
    return source


def _check_there(section, run: Path) -> None:
    """Refuse a run whose files are gone, with the option that says where they are."""
    places = [section.source] if isinstance(section.source, str) else section.source
    for option, path in (*(("data", place) for place in places), *_parts_of_its_own(section)):
        if Path(path).is_absolute() and not Path(path).exists():
            raise VaekitError(
                f"{run} was fitted to {path}, and it is not there any more. Say where it is now: "
                f"`vaekit resume {run} --{option} PATH`."
            )


def _parts_of_its_own(section) -> list[tuple[str, str]]:
    """(name, path) of validation and test rows that are in files of their own"""
    return [(part, path) for part in ("validation", "test") if isinstance(path := getattr(section, part), str)]


def _part_of_its_own(part: str, path: str, section, source: Source) -> Source:
    """The rows of --validation PATH or --test PATH, which must not be among those trained on."""
    if not Path(path).exists():
        raise VaekitError(f"--{part} is '{path}': give a fraction, or a file or folder that exists.")
    places = [section.source] if isinstance(section.source, str) else section.source
    if any(Path(path).resolve().is_relative_to(Path(place).resolve()) for place in places):
        raise VaekitError(f"--{part} {path} is among the data to train on: move it elsewhere, or give a fraction.")
    pictures = {"resize": section.resize, "colour": source.in_colour} if holds_images(Path(path)) else {}
    aside = {"exclude": section.exclude, "label": section.label or None, "keep": section.keep}
    return load(path, columns=source.names, kind=source.layout.kind, strict=False, **aside, **pictures)


def open_model(
    folder: Path, device: str | None, trust: Sequence[str] | None
) -> tuple[Run, torch.nn.Module, torch.device]:
    """A run and its trained model on a device; `trust` names modules of its own."""
    run = Run.open(folder, trust=trust or ())
    if not run.finished:
        note = f"{folder} is not finished: these are its weights after step {run.step:,}."
        print(f"vaekit: {note} `vaekit resume {folder}` goes on.", file=sys.stderr)
    place = choose_device(device or run.settings.training.device)
    return run, run.model(place), place


def rows_of(
    run: Run,
    model: torch.nn.Module,
    data: str | Sequence[str] | None,
    device: torch.device,
    exclude: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
) -> tuple[Dataset, Source, dict[str, Any]]:
    """The rows of files or a data set, checked against the run's schema, where they are from, and what tells them
    apart: columns (n,) by name, see `identity`. Without data, the run's own test rows.

    A table's columns are found by their names: what else it has is left out, with a note on stderr.

    exclude, keep    columns of a table beside those of the run's settings
    """
    section, seed = run.settings.data, run.settings.training.seed
    if not data:
        if exclude or keep:
            raise VaekitError("--exclude and --keep are for a table that is named: name it after the run.")
        source = training_source(run.settings, run.folder)
        test = source.split(seed, section.validation, section.test)["test"]
        if not len(test):
            raise VaekitError(f"{run.folder} held out no test rows: name the data to use.")
        return Dataset(source.x, run.schema, seed=seed, device=device, index=test), source, identity(source, test)
    loose = {"label": section.label or None, "resize": section.resize, "colour": run.schema.channels == 3}
    source = load(
        data, exclude=(*section.exclude, *(exclude or ())), keep=(*section.keep, *(keep or ())), **loose,
        columns=run.schema.names, kind=run.schema.layout, strict=False, asked=(*(exclude or ()), *(keep or ())),
    )  # fmt: skip
    for note in source.notes:
        print(f"note: {source.name}: {note}", file=sys.stderr)
    check_rows_fit(model.likelihood, run.schema, source)
    known = identity(source, np.arange(len(source)))
    return Dataset(source.x, run.schema, seed=seed, device=device), source, known


def identity(source: Source, index: np.ndarray) -> dict[str, Any]:
    """What joins results to the rows `index` they are of: the rows' numbers (from 0 in each file), files' names,
    columns kept, and the labels under their own name."""
    labels = {} if source.labels is None else {source.label_name: source.labels}
    columns = _named_apart({**source.beside, **labels}, ["row"])
    numbers = index if source.numbers is None else source.numbers[index]
    return {"row": numbers, **{name: values[index] for name, values in columns.items()}}


def training_rows(run: Run, device: torch.device, source: Source | None = None) -> Dataset | None:
    """The rows that a run was trained on, extreme cells hidden as they were then, from its `source` where that is at
    hand; None where they cannot be had."""
    try:
        source = training_source(run.settings) if source is None else source
    except VaekitError:
        return None
    split = source.split(run.settings.training.seed, run.settings.data.validation, run.settings.data.test)
    return Dataset(
        source.x, run.schema, seed=run.settings.training.seed, device=device, index=split["train"], hide_extremes=True
    )


LONG = 20.0
"""seconds from which on a cost is announced"""


def announce(model: torch.nn.Module, rows: Dataset, method: Method, seed: int) -> None:
    """Say what log p(x) will cost before it is spent, if that is much."""
    for _ in range(2):  # the first row also pays for getting ready
        began = time.monotonic()
        log_likelihood(model, rows.first(1), method, seed)
    together = torch.get_num_threads() if rows.device.type == "cpu" else TOGETHER
    seconds = (time.monotonic() - began) * len(rows) / together
    if seconds > LONG:
        minutes = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        remedy = " Fewer --samples take less." if method.name in SIZES else ""
        print(f"log p(x) of {counted(len(rows))} by {method.name} will take about {minutes}.{remedy}", file=sys.stderr)


@contextmanager
def scoring_bar(count: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar for so many rows, on a terminal; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("log p(x)"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not sys.stderr.isatty()
    with Progress(*columns, transient=True, console=Console(stderr=True), disable=hidden) as bar:
        task = bar.add_task("", total=count)
        yield lambda rows: bar.advance(task, rows)


def check_output(path: Path, *endings: str) -> None:
    """Refuse an output of the wrong kind, or in no folder, before any work is done."""
    if path.suffix.lower() not in endings:
        raise VaekitError(f"cannot write {path.name}: the output must end in {', '.join(endings)}.")
    if not path.parent.is_dir():
        raise VaekitError(f"{path.parent} is no folder: make it first, or choose another -o.")


def write_rows(path: Path, rows: np.ndarray, names: list[str], known: dict[str, Any] | None = None) -> None:
    """Rows as .npy, or as a table with a column a name as .csv or .parquet; all of it or nothing.

    known    columns that tell which rows these are, put before; one whose name is taken is called "NAME (data)"
    """
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(buffer, rows, allow_pickle=False)
    else:
        import polars

        values = dict(zip(names, rows.reshape(len(rows), -1).T, strict=True))
        table = polars.DataFrame({**_named_apart(known or {}, names), **values})
        table.write_csv(buffer) if path.suffix.lower() == ".csv" else table.write_parquet(buffer)
    write(path, buffer.getvalue())


def _named_apart(known: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The columns `known` under names that are not among `names`.

    >>> list(_named_apart({"row": 0, "age": 0}, ["age", "size"]))
    ['row', 'age (data)']
    """
    taken, apart = set(names), {}
    for name, column in known.items():
        while name in taken:
            name = f"{name} (data)"
        apart[name] = column
        taken.add(name)
    return apart


def feature_names(run: Run) -> list[str]:
    """Column names for a table of x."""
    return list(run.schema.names or (f"x{j}" for j in range(run.schema.features)))
