"""A file, a name or an array → rows with a schema, a digest and a split."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.data import datasets, images, readers
from vaekit.data.layout import Layout, layout_of
from vaekit.data.ondisk import Stack, concatenate, on_disk
from vaekit.data.schema import check_rows, row_blocks
from vaekit.errors import VaekitError
from vaekit.maths import derive_seed


@dataclass(frozen=True)
class Source:
    """Rows as stored (uint8 stays uint8, a `numpy.memmap` stays on disk), with what else their file said."""

    x: np.ndarray | Stack
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
    beside: Mapping[str, Any] = field(default_factory=dict)
    """further columns (n,) of the rows that are never learned, each by its name: the files of images"""
    notes: tuple[str, ...] = ()
    """what was read otherwise than it is written, or left out: a sentence each, for people"""

    def __post_init__(self):
        x = check_rows(self.x if on_disk(self.x) else np.asarray(self.x), self.names)
        if isinstance(self.layout, str):
            found = layout_of(x, self.layout, self.name)
            x = found.stored(x)
            object.__setattr__(self, "layout", found)
        if not on_disk(x):
            x = np.require(x, x.dtype.newbyteorder("="), ["C", "W"])
        object.__setattr__(self, "x", x)
        if self.labels is not None and np.shape(self.labels) != (len(self.x),):
            raise VaekitError(
                f"{self.name}: labels of shape {np.shape(self.labels)} for {len(self.x)} rows: give one a row."
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def in_colour(self) -> bool:
        """Whether the rows are RGB images."""
        return self.layout.kind == "image" and self.x.ndim == 4 and self.x.shape[1] == 3

    @property
    def digest(self) -> str:
        """SHA-256 of type, shape, content and fixed parts."""
        sha = hashlib.sha256(f"{self.x.dtype.newbyteorder('<').str}{self.x.shape}".encode())
        for rows in row_blocks(self.x.shape):
            block = self.x[rows]
            sha.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).tobytes())
        for part, numbers in sorted(self.parts.items()):
            sha.update(part.encode() + np.asarray(numbers, "<i8").tobytes())
        return sha.hexdigest()

    def split(self, seed: int, validation: float | str, test: float | str) -> dict[str, np.ndarray]:
        """Row numbers of train, validation and test: disjoint, sorted, a function of (seed, n) alone.

        Parts that the data set (or a file of one's own) fixes are kept; the fractions are of the rows that remain.
        """
        fractions = {n: f for n, f in (("validation", validation), ("test", test)) if n not in self.parts}
        for name, fraction in fractions.items():
            if not 0 <= fraction < 1:
                raise VaekitError(f"the {name} fraction is {fraction:g}: give a number from 0 up to, not including, 1.")
        split = {name: np.sort(rows) for name, rows in self.parts.items() if name != "train"}
        rest = self.parts.get("train", np.setdiff1d(np.arange(len(self)), np.concatenate([[], *split.values()])))
        order = np.random.default_rng(derive_seed(seed, "split")).permutation(rest).astype(np.int64)
        for name, fraction in fractions.items():
            count = round(fraction * len(rest))
            split[name], order = np.sort(order[:count]), order[count:]
        if not len(order):
            raise VaekitError(f"no rows are left to train on: {len(self)} rows, validation {validation}, test {test}.")
        return {"train": np.sort(order), "validation": split["validation"], "test": split["test"]}

    def joined(self, other: "Source", part: str) -> "Source":
        """These rows with another source's as their fixed `part` (a validation or test file of one's own)."""
        _check_alike(self, other, f"a {part} file needs")
        rows = np.arange(len(self), len(self) + len(other))
        free = {"train": np.arange(len(self)), **self.parts} if part != "train" else dict(self.parts)
        labels = None if self.labels is None or other.labels is None else np.concatenate([self.labels, other.labels])
        x = concatenate([self.x, other.x])
        notes = tuple(dict.fromkeys(self.notes + other.notes))
        shared = [name for name in self.beside if name in other.beside]
        beside = {name: np.concatenate([self.beside[name], other.beside[name]]) for name in shared}
        return Source(x, self.names, labels, {**free, part: rows}, self.name, self.layout, beside, notes)


def load(
    data: str | Path | Sequence[str | Path],
    *,
    exclude: tuple[str, ...] = (),
    label: str | None = None,
    resize: str = "",
    colour: bool = False,
    kind: str = "auto",
    strict: bool = True,
) -> Source:
    """Rows from the name of a known data set, or from paths to .npy, .npz, .csv, .parquet, IDX (.gz), images or folders
    of images. The rows of several paths follow each other.

    exclude, label    columns of a table to leave out, and one to keep aside
    resize, colour    for images: see `images.read`
    kind              table, image or sequence: what the axes of an array mean; auto finds out (`layout.layout_of`)
    strict            refuse columns that are not there, and options that are not for this kind of data

    Raises VaekitError for anything unreadable.
    """
    places = [data] if isinstance(data, str | Path) else list(data)
    known = next((str(place) for place in places if str(place) in datasets.NAMES), None)
    if known and len(places) > 1:
        raise VaekitError(f"'{known}' is a known data set: it cannot be put together with other data.")
    if known:
        if strict and (exclude or label or resize):
            raise VaekitError(
                f"--exclude and --label are for tables, --resize is for files of images; '{known}' is a known data set."
            )
        return Source(name=known, layout="image" if kind == "auto" else kind, **datasets.load(known))
    paths = [_existing(place) for place in places]
    if _all_images(paths):
        if strict and (exclude or label):
            raise VaekitError(f"{paths[0]} has no columns: --exclude and --label are for .csv and .parquet files.")
        found = images.read(paths, resize, colour)
        if kind in ("table", "sequence"):
            found["layout"] = Layout(kind, "none", "as stated")
        return Source(name=_name(paths), **found)
    if strict and resize:
        raise VaekitError(f"{paths[0].name} is no image and no folder of images: --resize is for those.")
    found = [readers.read(path, tuple(exclude), label, strict) for path in paths]
    if not strict and kind == "image" and np.ndim(found[0]["x"]) not in (3, 4):
        kind = "auto"  # rows of no image's shape: said by whoever compares them with the model's
    first = Source(name=paths[0].name, layout=kind, **found[0])
    others = [
        Source(name=p.name, layout=first.layout.kind, **rows) for p, rows in zip(paths[1:], found[1:], strict=True)
    ]
    return _concatenated([first, *others])


def _all_images(paths: list[Path]) -> bool:
    """Whether these are images and folders of images, or none of them is; VaekitError for a mixture."""
    pictured = [images.holds_images(path) for path in paths]
    if any(pictured) and not all(pictured):
        one, other = paths[pictured.index(True)], paths[pictured.index(False)]
        raise VaekitError(f"{one} holds images and {other.name} does not: fit them one by one.")
    return all(pictured)


def _existing(place: str | Path) -> Path:
    if Path(place).exists():
        return Path(place)
    missing = f"'{place}' is neither a file nor a known data set"
    beside = [path.name for path in Path(place).parent.iterdir()] if Path(place).parent.is_dir() else []
    near = [str(Path(place).with_name(name)) for name in difflib.get_close_matches(Path(place).name, beside, 1)]
    near = near or difflib.get_close_matches(str(place).lower(), datasets.NAMES, 1)
    raise VaekitError(f"{missing}; did you mean '{near[0]}'?" if near else f"{missing} ({', '.join(datasets.NAMES)}).")


def _name(paths: list[Path]) -> str:
    first = paths[0].resolve().name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _concatenated(sources: list[Source]) -> Source:
    first, *others = sources
    if not others:
        return first
    for other in others:
        _check_alike(first, other, "files of one data set need", kind=True)
    labels = None if any(s.labels is None for s in sources) else np.concatenate([s.labels for s in sources])
    x = concatenate([s.x for s in sources])
    name = f"{first.name} and {len(others)} more"
    notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))
    return Source(x, first.names, labels, name=name, layout=first.layout, notes=notes)


def _check_alike(one: Source, other: Source, need: str, kind: bool = False) -> None:
    """Refuse rows of other columns or another shape, and on request of another kind of number."""
    if other.x.shape[1:] != one.x.shape[1:] or other.names != one.names:
        first, second = (", ".join(s.names) if s.names else f"shape {s.x.shape[1:]}" for s in (one, other))
        remedy = "the same columns in the same order" if one.x.ndim == 2 else "images of one size (see --resize)"
        raise VaekitError(f"{other.name} has rows of {second} and {one.name} of {first}: {need} {remedy}.")
    if kind and other.x.dtype.kind != one.x.dtype.kind:
        raise VaekitError(
            f"{other.name} has {other.x.dtype} numbers and {one.name} {one.x.dtype}: {need} one kind of number."
        )
