"""What several commands need: the rows of a run, its model, and one way to write results."""

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

import numpy as np
import torch

from vaekit.core import LatentModel
from vaekit.data import Dataset, Schema, Source, load
from vaekit.data.columns import ColumnType, parse_types
from vaekit.data.fields import Column
from vaekit.data.images import holds_images
from vaekit.data.ondisk import Rows
from vaekit.data.survey import row_blocks
from vaekit.data.written import as_table, as_text, as_those, digits_of_means, filled_in
from vaekit.errors import VaekitError, counted, unknown
from vaekit.evaluation import AnnealedImportance, Method, log_likelihood
from vaekit.evaluation.likelihood import TOGETHER
from vaekit.evaluation.verdicts import unforeseen_holes
from vaekit.runs import Run
from vaekit.runs.storage import write
from vaekit.settings import Settings, can_be_sampled, check_rows_fit, choose_device, dataset
from vaekit.settings.declared import DataSettings

if TYPE_CHECKING:
    import polars

T = TypeVar("T")
UNSEEN = ("error", "missing")
"""what may become of a level that a model was not fitted to"""


def training_source(settings: Settings, run: Path | None = None) -> Source:
    """The rows that settings name, with validation and test files of one's own as fixed parts.

    run    the folder of the run whose settings they are, for the remedy where its data is elsewhere or changed

    Raises VaekitError where the data is not there any more, or not what the settings' digest says.
    """
    section = settings.data
    if not section.source:
        raise VaekitError("this run was fitted to an array in Python, which it does not keep: name the data.")
    if run is not None:
        _check_there(section, run)
    source = load(
        section.source,
        exclude=section.exclude,
        label=section.label or None,
        keep=section.keep,
        missing=section.missing,
        declared=parse_types(section.columns),
        resize=section.resize,
        kind=section.kind,
    )
    for part, path in _parts_of_its_own(section):
        source = source.joined(_part_of_its_own(part, path, section, source), part)
    source = source.conditioned(section.condition)
    if section.digest and source.digest != section.digest:
        places = ", ".join(_places(section))
        remedy = "fit again (with --config, delete the line `digest` first)"
        if run is not None:
            remedy = f"say where it is now: `vaekit resume {run} --data PATH`"
        raise VaekitError(
            f"{places} is not the data of this run: it has {counted(len(source))} with the digest "
            f"{source.digest[:12]}…, and the run was fitted to {section.digest[:12]}…. Restore the file, or {remedy}."
        )
    return source


def _places(section: DataSettings) -> tuple[str, ...]:
    """The paths of the data, or its name among the data sets."""
    if isinstance(section.source, str):
        return (section.source,)
    return section.source


def _check_there(section: DataSettings, run: Path) -> None:
    """Refuse a run whose files are gone, with the option that says where they are."""
    data = [("data", place) for place in _places(section)]
    for option, path in data + _parts_of_its_own(section):
        if Path(path).is_absolute() and not Path(path).exists():
            raise VaekitError(
                f"{run} was fitted to {path}, and it is not there any more. Say where it is now: "
                f"`vaekit resume {run} --{option} PATH`."
            )


def _parts_of_its_own(section: DataSettings) -> list[tuple[str, str]]:
    """(name, path) of validation and test rows that are in files of their own."""
    parts = (("validation", section.validation), ("test", section.test))
    return [(part, path) for part, path in parts if isinstance(path, str)]


def _part_of_its_own(part: str, path: str, section: DataSettings, source: Source) -> Source:
    """The rows of --validation PATH or --test PATH, which must not be among those trained on."""
    if not Path(path).exists():
        raise VaekitError(f"--{part} is '{path}': give a fraction, or a file or folder that exists.")
    file = Path(path).resolve()
    if any(file.is_relative_to(Path(place).resolve()) for place in _places(section)):
        raise VaekitError(f"--{part} {path} is among the data to train on: move it elsewhere, or give a fraction.")
    pictures = holds_images(Path(path))
    return load(
        path,
        exclude=section.exclude,
        label=section.label or None,
        keep=section.keep,
        columns=source.names,
        missing=section.missing,
        declared=parse_types(section.columns),
        resize=section.resize if pictures else "",
        colour=pictures and source.in_colour,
        kind=source.axes.kind,
        strict=False,
    )


def open_model(folder: Path, device: str | None, trust: Sequence[str] | None) -> tuple[Run, LatentModel, torch.device]:
    """A run and its trained model on a device; `trust` names modules of its own.

    Says on stderr where the run is not finished.
    """
    run = Run.open(folder, trust=trust or ())
    if not run.finished:
        note = f"{folder} is not finished: these are its weights after step {run.step:,}."
        print(f"vaekit: {note} `vaekit resume {folder}` goes on.", file=sys.stderr)
    place = choose_device(device or run.settings.training.device)
    return run, run.model(place), place


def check_density(run: Run) -> None:
    """Refuse a run without a density of x: an autoencoder's."""
    if run.objective.bounded:
        return
    raise VaekitError(
        f"{run.folder} was trained with objective {run.objective.name}, which gives rows no density to be measured by: "
        f"`vaekit reconstruct {run.folder} -o again.npy` shows what it has learned, and after `vaekit refit "
        f"{run.folder} --prior mixture` it can be sampled."
    )


def check_prior(run: Run) -> None:
    """Refuse a run whose prior has nothing to do with its codes: an autoencoder's."""
    if can_be_sampled(run.settings, run.objective):
        return
    raise VaekitError(
        f"{run.folder} was trained with objective {run.objective.name}, whose codes follow no prior: `vaekit refit "
        f"{run.folder} --prior mixture` fits one to them, to be sampled."
    )


def rows_of(
    run: Run,
    model: LatentModel,
    data: str | Sequence[str] | None,
    device: torch.device,
    exclude: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    unseen: str = "error",
    *,
    whole: bool = False,
) -> tuple[Dataset, Source, dict[str, Column]]:
    """The rows of files or a data set, checked against the run's schema, where they are from, and what tells them
    apart: columns (n,) by name, see `identity`. Without data, the run's own test rows.

    A table's columns are found by their names: what else it has is left out, with a note on stderr.

    exclude, keep    columns of a table beside those of the run's settings
    unseen           what becomes of levels that the model was not fitted to: an "error", or "missing" cells
    whole            keep a table as it came with the rows

    Raises VaekitError for rows that the model was not fitted to, and where the run has no test rows.
    """
    if not data:
        if exclude or keep:
            raise VaekitError("--exclude and --keep are for a table that is named: name it after the run.")
        return _test_rows(run, device)
    if unseen not in UNSEEN:
        raise unknown("choice for unseen levels", unseen, UNSEEN)
    section = run.settings.data
    left_out = tuple(exclude or ())
    kept = tuple(keep or ())
    source = load(
        data,
        exclude=section.exclude + left_out,
        label=section.label or None,
        keep=section.keep + kept,
        **_fitted_columns(run),
        missing=section.missing,
        unseen=unseen,
        resize=section.resize,
        colour=run.schema.channels == 3,
        kind=run.schema.layout,
        strict=False,
        asked=left_out + kept,
        whole=whole,
    )
    for note in source.notes:
        print(f"note: {source.name}: {note}", file=sys.stderr)
    if run.schema.conditions is not None:
        source = source.conditioned(run.schema.given, run.schema.conditions.types, unseen)
    check_rows_fit(model.likelihood, run.schema, source)
    rows = dataset(source, run.schema, run.settings.training.seed, device)
    unforeseen = unforeseen_holes(model, rows)
    if unforeseen:
        print(f"vaekit: {source.name}: {unforeseen}", file=sys.stderr)
    return rows, source, identity(source, np.arange(len(source)))


class _Fitted(TypedDict):
    """Columns of a table that a model was fitted to, and what they were, as `load` takes them."""

    columns: tuple[str, ...] | None
    types: tuple[ColumnType, ...] | None


def _fitted_columns(run: Run) -> _Fitted:
    """The columns of a run's table in their order, the conditions among them."""
    schema = run.schema
    conditions = schema.conditions
    if conditions is None or schema.names is None:
        return {"columns": schema.names, "types": schema.types}
    names = schema.together(schema.names, schema.given)
    types = schema.together(schema.types or (), conditions.types or ())
    columns = [(name, kind) for name, kind in zip(names, types, strict=True) if name != run.settings.data.label]
    return {"columns": tuple(name for name, _ in columns), "types": tuple(kind for _, kind in columns)}


def _test_rows(run: Run, device: torch.device) -> tuple[Dataset, Source, dict[str, Column]]:
    """The rows that a run held out, where they are from, and what tells them apart."""
    section = run.settings.data
    seed = run.settings.training.seed
    source = training_source(run.settings, run.folder)
    test = source.split(seed, section.validation, section.test)["test"]
    if not len(test):
        raise VaekitError(f"{run.folder} held out no test rows: name the data to use.")
    rows = dataset(source, run.schema, seed, device, test)
    return rows, source, identity(source, test)


def identity(source: Source, index: np.ndarray) -> dict[str, Column]:
    """What joins results to the rows `index` they are of: the rows' numbers (from 0 in each file), files' names,
    columns kept, the labels under their own name, and the conditions."""
    columns = dict(source.beside)
    if source.labels is not None:
        columns[source.label_name] = source.labels
    conditions = source.conditions
    if conditions is not None and conditions.names is not None:
        columns |= as_columns(np.asarray(conditions.x), conditions.names, conditions.types)
    found: dict[str, Column] = {"row": source.row_numbers[index]}
    for name, values in _named_apart(columns, ["row"]).items():
        found[name] = values[index]
    return found


def as_columns(cells: np.ndarray, names: Sequence[str], types: Sequence[ColumnType] | None) -> dict[str, Column]:
    """Cells (n, columns) as columns written as the data's were."""
    kinds = types or (ColumnType(),) * len(names)
    written = [kind.written for kind in kinds]
    table = as_table(cells, names, written, [kind.levels for kind in kinds], [kind.decimals for kind in kinds])
    return {column.name: column for column in table}


def training_rows(run: Run, device: torch.device, source: Source | None = None) -> Dataset | None:
    """The rows that a run was trained on, extreme cells hidden as they were then, from its `source` where that is at
    hand; None where they cannot be had."""
    if source is None:
        try:
            source = training_source(run.settings)
        except VaekitError:
            return None
    section = run.settings.data
    seed = run.settings.training.seed
    train = source.split(seed, section.validation, section.test)["train"]
    return dataset(source, run.schema, seed, device, train, hide_extremes=True)


def with_parts(
    known: dict[str, Column], run: Run, source: Source, data: str | Sequence[str] | None
) -> dict[str, Column]:
    """What tells rows apart, and beside it as `part` whether the run was trained on them: train, validation or test.

    Only where the rows are the run's own test rows, or whole files of its own data.
    """
    part: np.ndarray | None = np.full(len(known["row"]), "test")
    if data:
        part = _own_parts(run, source)
    if part is None:
        return known
    return {**_named_apart(known, ["part"]), "part": part}


def _own_parts(run: Run, source: Source) -> np.ndarray | None:
    """(n,) the part of a run's data that each row is in; None for other rows than whole files of it."""
    try:
        own = training_source(run.settings)
    except VaekitError:
        return None
    section = run.settings.data
    split = own.split(run.settings.training.seed, section.validation, section.test)
    parts = np.empty(len(own), object)
    for name, rows in split.items():
        parts[rows] = name
    limits = [*np.flatnonzero(own.row_numbers == 0), len(own)]
    for start in limits[:-1]:
        if start + len(source) in limits and _same_rows(source, own, start):
            return parts[start : start + len(source)].astype(str)
    return None


def _same_rows(source: Source, own: Source, start: int) -> bool:
    """Whether the rows of a source are what `own` has from row `start` on, their conditions too."""
    alike = _are_rows(source.x, own.x, start)
    if source.conditions is None or own.conditions is None:
        return alike
    given = np.asarray(source.conditions.x)
    cells = np.asarray(own.conditions.x)[start : start + len(source)]
    return alike and np.array_equal(given, cells, equal_nan=True)


def _are_rows(x: Rows, own: Rows, start: int) -> bool:
    """Whether x is what `own` has from row `start` on."""
    blocks = row_blocks(x.shape)
    return all(np.array_equal(x[b], own[start + b.start : start + min(b.stop, len(x))]) for b in blocks)


def of_what(run: Run) -> str:
    """What a run's log-likelihood is called: "log p(x)", or where rows are given conditions "log p(x | c)"."""
    return "log p(x | c)" if run.schema.given else "log p(x)"


LONG = 20.0
"""seconds from which on a cost is announced"""


SURELY = 2.0
"""seconds of one row beside which getting ready is little"""


def announce(model: LatentModel, rows: Dataset, method: Method, seed: int, *, rows_option: bool = False) -> None:
    """Say what log p(x) will cost before it is spent, if that is much; of annealing what is to be done even before one
    row is tried, which may take minutes itself.

    rows_option    whether the command has --rows
    """
    remedy = " --rows N takes N of them." if rows_option else ""
    if isinstance(method, AnnealedImportance):
        work = f"{counted(len(rows))} × {method.temperatures} temperatures × {method.chains} chains"
        print(f"log p(x) by {method.name}: {work}; one row is tried first.{remedy}", file=sys.stderr)
        remedy = ""
    for _ in range(2):  # the first row also pays for getting ready
        began = time.monotonic()
        log_likelihood(model, rows.first(1), method, seed)
        for_one = time.monotonic() - began
        if for_one > SURELY:
            break
    together = torch.get_num_threads() if rows.device.type == "cpu" else TOGETHER
    seconds = for_one * len(rows) / together
    if seconds <= LONG:
        return
    duration = f"{seconds:.0f} s"
    if seconds >= 90:
        duration = f"{seconds / 60:.0f} min"
    line = f"log p(x) of {counted(len(rows))} by {method.name} will take about {duration}."
    if method.size:
        line += " Fewer --samples take less."
    print(line + remedy, file=sys.stderr)


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


def check_apart(output: Path, run: Run, data: Sequence[str]) -> None:
    """Refuse an output that would be written over rows that are read, or that the run was fitted to."""
    if not output.exists():
        return
    section = run.settings.data
    own = [path for _, path in _parts_of_its_own(section)]
    for place in (*data, *_places(section), *own):
        if Path(place).exists() and Path(place).samefile(output):
            raise VaekitError(f"-o {output} would be written over the rows that {place} holds: choose another -o.")


def write_rows(
    path: Path,
    rows: np.ndarray,
    names: list[str],
    known: dict[str, Column] | None = None,
    schema: Schema | None = None,
    *,
    means: bool = False,
    after: Mapping[str, np.ndarray] | None = None,
    spelled: Mapping[str, str] | None = None,
) -> None:
    """Rows as .npy, or as a table with a column a name as .csv or .parquet; all of it or nothing.

    known     columns that tell which rows these are, put before; one whose name is taken is called "NAME (data)"
    schema    of the data, where the rows are like its: a table's cells are written as the data's were, as text with
              its separator, decimal mark and format of dates; the conditions among `known` stand where they stood in it
    after     further columns, put behind
    means     the rows are means of such, which are not rounded to the data's own numbers
    spelled   names as they are to be written, where they have blanks around them
    """
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        write(path, buffer.getvalue())
        return
    import polars

    before = dict(known or {})
    separator = ","
    decimal = "."
    if schema is None:
        own: dict[str, Column] = {column.name: column for column in as_table(rows, names)}
    else:
        separator = schema.separator
        decimal = schema.decimal
        values = as_those(rows, names, schema, means=means)
        if path.suffix.lower() == ".csv":
            decimals = digits_of_means(schema) if means else schema.decimals
            values = as_text(values, decimals, schema.formats, decimal)
        own = {column.name: column for column in values}
        if schema.names is not None and before and schema.conditions is not None:
            conditions = polars.DataFrame({name: before.pop(name) for name in schema.given})
            if path.suffix.lower() == ".csv":
                conditions = as_text(conditions, schema.conditions.decimals, schema.conditions.formats, decimal)
            given = [(column.name, column) for column in conditions]
            own = dict(schema.together(list(own.items()), given))
        own = _as_spelled(own, spelled or {}, theirs=True)
    before = _as_spelled(before, spelled or {})
    table = polars.DataFrame({**_named_apart(before, list(own)), **own, **(after or {})})
    write(path, _bytes_of(table, path, separator, decimal))


def write_filled(
    path: Path,
    rows: np.ndarray,
    source: Source,
    index: np.ndarray,
    schema: Schema,
    known: dict[str, Column],
    after: Mapping[str, np.ndarray],
) -> None:
    """The table that a source came as, its missing cells filled, as .csv or .parquet; all of it or nothing.

    rows      (m, columns) of the schema, with values where the source has none
    index     (m,) which of the source's rows each of them is
    known     columns that tell which rows these are, put before; one whose name is taken is called "NAME (data)"
    after     further columns, put behind
    """
    import polars

    assert source.whole is not None
    assert schema.names is not None
    whole = source.whole[index]
    values = as_those(rows, schema.names, schema)
    decimal = source.decimal or (schema.decimal if source.separator == schema.separator else ".")
    forms = [own.format for own in source.types or schema.types or ()]
    texts = as_text(values, schema.decimals, forms, decimal)
    table = filled_in(whole, values, source.missing[index], texts)
    own = _as_spelled(dict(zip(table.columns, table, strict=True)), source.spelled, theirs=True)
    before = _named_apart(_as_spelled(known, source.spelled), list(own))
    behind = _named_apart(dict(after), [*before, *own])
    table = polars.DataFrame({**before, **own, **behind})
    write(path, _bytes_of(table, path, source.separator, decimal))


OURS = ("row", "part", "draw")
"""columns beside the rows that are not the data's, whose own would be called "NAME (data)" """


def _as_spelled(columns: Mapping[str, T], spelled: Mapping[str, str], *, theirs: bool = False) -> dict[str, T]:
    """Columns of the data by their names with the blanks that a file had around these.

    theirs    whether all of them are the data's, and none is of `OURS`

    >>> list(_as_spelled({"row": 0, "age": 0}, {"row": " row", "age": " age"}))
    ['row', ' age']
    """
    return {
        name if name in OURS and not theirs else spelled.get(name, name): column for name, column in columns.items()
    }


def _bytes_of(table: "polars.DataFrame", path: Path, separator: str, decimal: str) -> bytes:
    """A table as a file of this name has it: .csv, with these marks, or .parquet."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        as_text(table, decimal=decimal).write_csv(buffer, separator=separator)
    else:
        table.write_parquet(buffer)
    return buffer.getvalue()


def _named_apart(known: dict[str, T], names: list[str]) -> dict[str, T]:
    """The columns `known` under names that are not among `names`.

    >>> list(_named_apart({"row": 0, "age": 0}, ["age", "size"]))
    ['row', 'age (data)']
    """
    taken = set(names)
    apart = {}
    for name, column in known.items():
        while name in taken:
            name = f"{name} (data)"
        apart[name] = column
        taken.add(name)
    return apart


def whole_numbers(rows: np.ndarray, schema: Schema, path: Path) -> np.ndarray:
    """Rows of whole numbers, which a model holds as float32, as integers for a table, and for an .npy in the type in
    which the data came, where it holds them all.

    >>> schema = Schema((2,), "binary", None, 0.0, 1.0, 1.0, 0.5, 0.5, dtype="float64")
    >>> rows = np.array([[0.0, 1.0]], np.float32)
    >>> whole_numbers(rows, schema, Path("x.csv")).dtype, whole_numbers(rows, schema, Path("x.npy")).dtype
    (dtype('int64'), dtype('float64'))
    """
    integers = rows.round().astype(np.int64)
    own = np.dtype(schema.dtype)
    if own.kind == "f" and path.suffix.lower() != ".npy":
        return integers
    with np.errstate(over="ignore"):  # what does not fit is noticed below
        typed = integers.astype(own)
    if np.array_equal(typed, integers):
        return typed
    return integers


def feature_names(run: Run) -> list[str]:
    """Column names for a table of x."""
    if run.schema.names:
        return list(run.schema.names)
    return [f"x{j}" for j in range(run.schema.features)]
