"""A file, a name or an array → rows with a schema, a digest and a split."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data import datasets, images, readers
from vaekit.data.columns import ColumnType
from vaekit.data.conditions import label_column
from vaekit.data.fields import Column, Fields
from vaekit.data.layout import Layout, layout_of
from vaekit.data.ondisk import Rows, concatenate, in_memory, on_disk
from vaekit.data.schema import Schema
from vaekit.data.survey import check_pixels, check_rows, described, row_blocks
from vaekit.data.tables import Columns, all_names
from vaekit.data.united import united
from vaekit.errors import VaekitError, listed, unknown
from vaekit.noise import derive_seed

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Source:
    """Rows as stored (uint8 stays uint8, a `numpy.memmap` stays on disk), with what else their file said."""

    x: Rows
    """(n, *X); images with channels as (n, C, height, width), with one channel as (n, height, width)"""
    names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    """(n,), never given to the model"""
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """row numbers of the parts that the data set itself fixes"""
    name: str = "array"
    layout: Layout | str = "auto"
    """what the axes of x mean: a `Layout`, by which x lies already; or "table", "image", "sequence", or "auto" to find
    out, and x is put into its order"""
    label_name: str = "label"
    """the labels' own name"""
    beside: Mapping[str, Column] = field(default_factory=dict)
    """further columns (n,) of the rows that are never learned, each by its name: the files of images, what is kept"""
    numbers: np.ndarray | None = None
    """(n,) of the rows in their own file, where there are several; None: as they come, from 0"""
    types: tuple[ColumnType, ...] | None = None
    """of each column of a table what it is known to be; None: numbers"""
    spelled: Mapping[str, str] = field(default_factory=dict)
    """names of columns with the blanks that they have around them in the file, by the names without"""
    separator: str = ","
    decimal: str = ""
    """what separates the cells of a file of text, and the mark in front of its decimals, where it has any"""
    whole: "polars.DataFrame | None" = None
    """the table as it came, with all its columns, where that was asked for"""
    notes: tuple[str, ...] = ()
    """what was read otherwise than it is written, or left out: a sentence each, for people"""
    conditions: "Source | None" = None
    """the columns that x is given, in p(x|c), of the same rows; see `conditioned`"""
    places: tuple[int, ...] = ()
    """where each of these columns stood among all, from 0"""

    def __post_init__(self) -> None:
        x = self.x if on_disk(self.x) else np.asarray(self.x)
        x = check_rows(x, self.names)
        if isinstance(self.layout, str):
            found = layout_of(x, self.layout, self.name)
            assert isinstance(x, np.ndarray)  # a Stack is of rows whose layout is known
            x = found.stored(x)
            object.__setattr__(self, "layout", found)
        if self.axes.kind == "image":
            check_pixels(x)
        if in_memory(x):
            x = np.require(x, x.dtype.newbyteorder("="), ["C", "W"])
        object.__setattr__(self, "x", x)
        if self.labels is not None and np.shape(self.labels) != (len(self.x),):
            raise VaekitError(
                f"{self.name}: labels of shape {np.shape(self.labels)} for {len(self.x)} rows: give one a row."
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def axes(self) -> Layout:
        """The layout, found out where it was left open."""
        assert isinstance(self.layout, Layout)  # since `__post_init__`
        return self.layout

    @property
    def missing(self) -> np.ndarray:
        """Which cells are missing, (n, *X) bool."""
        return np.isnan(np.asarray(self.x))

    @property
    def row_numbers(self) -> np.ndarray:
        """(n,) of the rows in their own file, from 0."""
        if self.numbers is None:
            return np.arange(len(self))
        return self.numbers

    @property
    def in_colour(self) -> bool:
        """Whether the rows are RGB images."""
        return self.axes.kind == "image" and self.x.ndim == 4 and self.x.shape[1] == 3

    @cached_property
    def digest(self) -> str:
        """SHA-256 of type, shape, content and fixed parts."""
        digest = _Digest(self)
        for rows in row_blocks(self.x.shape):
            digest.add(self.x[rows])
        return digest.found()

    def describe(self, train: np.ndarray) -> Schema:
        """The schema of the rows, of which those of the numbers `train` are learned from; see `schema.describe`.

        The digest is computed in the same pass, where it is not known.
        """
        conditions = None if self.conditions is None else self.conditions.describe(train)
        digest = _Digest(self)
        seen = None if "digest" in vars(self) else digest.add
        schema = described(self.x, self.names, train, self.axes, self.types, seen)
        vars(self).setdefault("digest", digest.found())
        return replace(
            schema,
            conditions=conditions,
            places=self.places,
            spelled=tuple(self.spelled.items()),
            separator=self.separator,
            decimal=self.decimal or ".",
        )

    def split(self, seed: int, validation: float | str, test: float | str) -> dict[str, np.ndarray]:
        """Row numbers of train, validation and test: disjoint, sorted, a function of (seed, n) alone.

        Parts that the data set (or a file of one's own) fixes are kept; the fractions are of the rows that remain.

        Raises VaekitError for fractions that are none, or that leave no row to train on.
        """
        fractions: dict[str, float] = {}
        for name, fraction in (("validation", validation), ("test", test)):
            if name not in self.parts:
                assert not isinstance(fraction, str), f"the {name} rows of {fraction} are not joined yet"
                fractions[name] = fraction
        for name, fraction in fractions.items():
            if not 0 <= fraction < 1:
                raise VaekitError(f"the {name} fraction is {fraction:g}: give a number from 0 up to, not including, 1.")
        split = {name: np.sort(rows) for name, rows in self.parts.items() if name != "train"}
        held_out = np.concatenate([[], *split.values()])
        rest = self.parts.get("train", np.setdiff1d(np.arange(len(self)), held_out))
        order = np.random.default_rng(derive_seed(seed, "split")).permutation(rest).astype(np.int64)
        for name, fraction in fractions.items():
            count = round(fraction * len(rest))
            split[name] = np.sort(order[:count])
            order = order[count:]
        if not len(order):
            raise VaekitError(f"no rows are left to train on: {len(self)} rows, validation {validation}, test {test}.")
        return {"train": np.sort(order), "validation": split["validation"], "test": split["test"]}

    def conditioned(
        self, names: Sequence[str], types: Sequence[ColumnType] | None = None, unseen: str = "error"
    ) -> "Source":
        """The same rows with the columns of these names as their conditions, no longer among those to be learned.

        A column of an array without names is named by its number, from 0, and the labels are "label", or what they are
        called: their values are levels.

        types, unseen    what the labels, named last, were when a model was fitted to them: see `load`

        Raises VaekitError for other names, and where no column is left to learn.
        """
        if not names:
            return self
        columns = self._column_names
        label = "label" if "label" in names else self.label_name
        wanted = all_names(names, [*columns, label])
        labelled = self.labels is not None and label not in columns
        known = [label, *columns] if labelled else columns
        for name in wanted:
            if name not in known:
                raise unknown(f"condition of {self.name}", name, known) if known else self._nothing_given(name)
        places = [j for j, name in enumerate(columns) if name in wanted]
        others = [j for j in range(len(columns)) if j not in places]
        if columns and not others:
            raise VaekitError(f"{self.name}: all its columns are conditions, and none is left to learn.")
        parts: list[Fields] = []
        x = self.x
        if places:
            assert isinstance(x, np.ndarray)  # columns of a table, which is read whole
            own = None if self.types is None else tuple(self.types[j] for j in places)
            parts.append(_given(x[:, places], tuple(columns[j] for j in places), own))
            x = x[:, others]
        if labelled and label in wanted:
            kind = types[-1] if types else None
            parts.append(label_column(self.labels, label, self.name, kind, unseen))
            places.append(len(columns) if columns else 0)
        own_names = None if self.names is None else tuple(self.names[j] for j in others)
        own_types = None if self.types is None else tuple(self.types[j] for j in others)
        conditions = Source(
            np.column_stack([part["x"].astype(np.float64) for part in parts]),
            tuple(name for part in parts for name in part["names"] or ()),
            name=self.name,
            layout="table",
            types=tuple(kind for part in parts for kind in part["types"]),
        )
        return replace(self, x=x, names=own_names, types=own_types, conditions=conditions, places=tuple(places))

    @property
    def _column_names(self) -> list[str]:
        """The names of a table's columns, or their numbers."""
        if self.names is not None:
            return list(self.names)
        if self.axes.kind == "table" and self.x.ndim == 2:
            return [str(j) for j in range(self.x.shape[1])]
        return []

    def _nothing_given(self, name: str) -> VaekitError:
        """The error for rows without columns and without labels."""
        return VaekitError(
            f"{self.name} has no '{name}' to be given: its rows have neither labels nor columns with names. Labels are "
            f"'y' beside 'x' in an .npz, or the folders that images lie in, given to `vaekit fit`. In Python, "
            f"conditions are columns."
        )

    def joined(self, other: "Source", part: str) -> "Source":
        """These rows with another source's as their fixed `part` (a validation or test file of one's own)."""
        other = other.in_order_of(self)
        _check_alike(self, other, f"a {part} file needs")
        parts = dict(self.parts)
        if part != "train":
            parts.setdefault("train", np.arange(len(self)))
        parts[part] = np.arange(len(self), len(self) + len(other))
        others = [f"{other.name}: {note}" for note in other.notes if note not in self.notes]
        notes = (*self.notes, *others)
        return replace(_stacked([self, other]), parts=parts, name=self.name, notes=notes)

    def in_order_of(self, other: "Source") -> "Source":
        """The same rows with another source's order of columns, where both have the same."""
        if not self.names or not other.names or self.names == other.names:
            return self
        if set(self.names) != set(other.names):
            return self
        assert isinstance(self.x, np.ndarray)  # what has names are tables, which are read whole
        place = {name: j for j, name in enumerate(self.names)}
        order = [place[name] for name in other.names]
        types = None if self.types is None else tuple(self.types[j] for j in order)
        return replace(self, x=self.x[:, order], names=other.names, types=types)


class _Digest:
    """The SHA-256 of a source, computed block by block."""

    def __init__(self, source: Source) -> None:
        self.parts = source.parts
        self.conditions = source.conditions
        self.sha = hashlib.sha256(f"{source.x.dtype.newbyteorder('<').str}{source.x.shape}".encode())

    def add(self, block: np.ndarray) -> None:
        """The next rows."""
        self.sha.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).data)

    def found(self) -> str:
        """In hexadecimal digits, once all rows were added."""
        if self.conditions is not None:
            self.sha.update(self.conditions.digest.encode())
        for part, numbers in sorted(self.parts.items()):
            self.sha.update(part.encode() + np.asarray(numbers, "<i8").tobytes())
        return self.sha.hexdigest()


def _given(cells: np.ndarray, names: tuple[str, ...], types: tuple[ColumnType, ...] | None) -> Fields:
    """Columns of a table as the fields of a source."""
    return {"x": cells, "names": names, "types": types or (ColumnType(),) * len(names)}


def load(
    data: str | Path | Sequence[str | Path],
    *,
    exclude: tuple[str, ...] = (),
    label: str | None = None,
    keep: tuple[str, ...] = (),
    columns: tuple[str, ...] | None = None,
    resize: str = "",
    colour: bool = False,
    kind: str = "auto",
    strict: bool = True,
    asked: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    declared: Mapping[str, str] | None = None,
    types: tuple[ColumnType, ...] | None = None,
    unseen: str = "error",
    whole: bool = False,
) -> Source:
    """Rows from the name of a known data set, or from paths to .npy, .npz, tables (.csv, .tsv, .parquet), IDX (.gz),
    images or folders of images. The rows of several paths follow each other.

    exclude           columns of a table to leave out
    label, keep       one that tells the rows' classes, and others, to keep beside the rows without learning from them
    columns           read exactly these columns of a table, in this order, whatever else it has
    resize, colour    for images: see `images.read`
    kind              table, image or sequence: what the axes of an array mean; auto finds out (`layout.layout_of`)
    strict            refuse columns that are not there, and options that are not for this kind of data
    asked             names among `exclude` and `keep` that must be there although the reading is not strict
    missing           what else than an empty cell says that a cell of a table is missing
    declared          what columns of a table are, where that is not to be found out: see `columns.parse_types`
    types, unseen     what `columns` were when a model was fitted to them, and what becomes of levels that it never saw
    whole             keep a table as it came, with all its columns, beside the rows

    Raises VaekitError for anything unreadable.
    """
    places = [data] if isinstance(data, str | Path) else list(data)
    chosen = Columns(
        tuple(exclude),
        label,
        tuple(keep),
        columns,
        strict,
        tuple(asked),
        tuple(missing),
        declared or {},
        types,
        unseen,
        whole,
    )
    known = next((str(place) for place in places if str(place) in datasets.NAMES), None)
    if known and len(places) > 1:
        raise VaekitError(f"'{known}' is a known data set: it cannot be put together with other data.")
    if known:
        if chosen.refused_without_names or (strict and resize):
            raise VaekitError(
                f"--exclude, --label, --keep, --columns and --missing are for tables, --resize is for files of images; "
                f"'{known}' is a known data set."
            )
        layout = "image" if kind == "auto" else kind
        return Source(name=known, layout=layout, **datasets.load(known))
    paths = [_existing(place) for place in places]
    if _all_images(paths):
        if chosen.refused_without_names:
            raise VaekitError(
                f"{paths[0]} has no columns: --exclude, --label, --keep, --columns and --missing are for tables."
            )
        pictures = images.read(paths, resize, colour)
        if kind in ("table", "sequence"):
            pictures["layout"] = Layout(kind, "none", "as stated")
        return Source(name=_name(paths), **pictures)
    if strict and resize:
        raise VaekitError(f"{paths[0].name} is no image and no folder of images: --resize is for those.")
    found = [readers.read(path, chosen) for path in paths]
    if not strict and kind == "image" and np.ndim(found[0]["x"]) not in (3, 4):
        kind = "auto"  # rows of no image's shape: said by whoever compares them with the model's
    return _read(paths, found, kind)


def _read(paths: list[Path], found: list[Fields], kind: str) -> Source:
    """The rows found in files of arrays or tables, those of all in the layout of the first."""
    sources: list[Source] = []
    for path, fields in zip(paths, found, strict=True):
        sources.append(Source(name=path.name, layout=kind, **fields))
        kind = sources[0].axes.kind
    return _concatenated(sources)


def _all_images(paths: list[Path]) -> bool:
    """Whether these are images and folders of images, or none of them is; VaekitError for a mixture."""
    pictured = [images.holds_images(path) for path in paths]
    if any(pictured) and not all(pictured):
        one = paths[pictured.index(True)]
        other = paths[pictured.index(False)]
        raise VaekitError(f"{one} holds images and {other.name} does not: fit them one by one.")
    return all(pictured)


def _existing(place: str | Path) -> Path:
    path = Path(place)
    if path.exists():
        return path
    missing = f"'{place}' is neither a file nor a known data set"
    beside = []
    if path.parent.is_dir():
        beside = [other.name for other in path.parent.iterdir()]
    near = [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, beside, 1)]
    near = near or difflib.get_close_matches(str(place).lower(), datasets.NAMES, 1)
    if near:
        raise VaekitError(f"{missing}; did you mean '{near[0]}'?")
    raise VaekitError(f"{missing} ({', '.join(datasets.NAMES)}).")


def _name(paths: list[Path]) -> str:
    """What images of these files and folders are called together."""
    first = paths[0].resolve().name
    if len(paths) == 1:
        return first
    return f"{first} and {len(paths) - 1} more"


def _concatenated(sources: list[Source]) -> Source:
    """The rows of several files, one after another, each with its file's name beside it."""
    first, *others = sources
    if not others:
        return first
    others = [other.in_order_of(first) for other in others]
    for other in others:
        _check_alike(first, other, "files of one data set need", kind=True)
    whole = _stacked([first, *others])
    files = np.repeat([source.name for source in sources], [len(source) for source in sources])
    notes = dict.fromkeys(note for source in sources for note in source.notes)
    return replace(
        whole,
        name=f"{first.name} and {len(others)} more",
        beside={"file": files, **whole.beside},
        notes=tuple(notes),
    )


def _stacked(sources: list[Source]) -> Source:
    """The rows of all, one after another, with the labels and columns beside them that each of them has."""
    sources = _of_one_coding(sources)
    first = sources[0]
    labels = [s.labels for s in sources if s.labels is not None]
    shared = [name for name in first.beside if all(name in s.beside for s in sources)]
    beside = {name: np.concatenate([s.beside[name] for s in sources]) for name in shared}
    return replace(
        first,
        x=concatenate([s.x for s in sources]),
        labels=np.concatenate(labels) if len(labels) == len(sources) else None,
        beside=beside,
        decimal=next((s.decimal for s in sources if s.decimal), ""),
        whole=_wholes(sources),
        numbers=np.concatenate([s.row_numbers for s in sources]),
    )


def _wholes(sources: list[Source]) -> "polars.DataFrame | None":
    """The tables as they came, one below another, with the columns of all; None where one of them was not kept.

    Raises VaekitError where they are written in different ways, since no one file could be written so.
    """
    import polars

    tables = [source.whole for source in sources if source.whole is not None]
    if len(tables) < len(sources):
        return None
    first, *others = sources
    for other in others:
        marks = {first.decimal, other.decimal} - {""}
        forms = zip(first.types or (), other.types or (), strict=True)
        alike = all(own.format in ("", theirs.format) or not theirs.format for own, theirs in forms)
        if other.separator != first.separator or len(marks) > 1 or not alike:
            raise VaekitError(
                f"{first.name} and {other.name} are written in different ways (separator, decimal mark or dates): give "
                f"them one by one."
            )
    return polars.concat(tables, how="diagonal_relaxed")


def _of_one_coding(sources: list[Source]) -> list[Source]:
    """The sources with one type for each column of their tables: see `united`."""
    if any(source.types is None for source in sources):
        return sources
    tables: list[Fields] = []
    for source in sources:
        assert isinstance(source.x, np.ndarray)  # what has types was read whole
        assert source.types is not None
        tables.append({"x": source.x, "names": source.names, "types": source.types})
    joint = united(tables, [source.name for source in sources])
    return [replace(source, x=one["x"], types=one["types"]) for source, one in zip(sources, joint, strict=True)]


def _check_alike(one: Source, other: Source, need: str, kind: bool = False) -> None:
    """Refuse rows of other columns or another shape, and on request of another kind of number."""
    if other.names and one.names and set(other.names) != set(one.names):
        missing = [name for name in one.names if name not in other.names]
        found = [name for name in other.names if name not in one.names]
        faults = []
        if missing:
            faults.append(f"{other.name} lacks {listed(missing)}")
        if found:
            which = "it" if missing else other.name
            faults.append(f"{which} has {listed(found)} more than {one.name}")
        raise VaekitError(f"{' and '.join(faults)}: {need} the same columns; --exclude leaves out what one has more.")
    if other.x.shape[1:] != one.x.shape[1:] or bool(other.names) != bool(one.names):
        remedy = "the same columns" if one.x.ndim == 2 else "images of one size (see --resize)"
        raise VaekitError(f"{other.name} has rows of {_form(other)} and {one.name} of {_form(one)}: {need} {remedy}.")
    if kind and other.x.dtype.kind != one.x.dtype.kind:
        raise VaekitError(
            f"{other.name} has {other.x.dtype} numbers and {one.name} {one.x.dtype}: {need} one kind of number."
        )


def _form(source: Source) -> str:
    """What a row is: how many named columns, or of which shape."""
    if source.names:
        return f"{len(source.names):,} named columns"
    return f"shape {source.x.shape[1:]}"
