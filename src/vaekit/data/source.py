"""A file, a name or an array → rows with a schema, a digest and a split."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vaekit.data import datasets, readers
from vaekit.data.schema import check_rows
from vaekit.errors import VaekitError
from vaekit.maths import derive_seed

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """Rows as stored (uint8 stays uint8), with what else their file said."""

    x: np.ndarray
    """(n, *X)"""
    names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    """(n,), never given to the model"""
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """row numbers of the parts that the data set itself fixes"""
    name: str = "array"

    def __post_init__(self):
        x = check_rows(np.asarray(self.x), self.names)
        object.__setattr__(self, "x", np.require(x, x.dtype.newbyteorder("="), ["C", "W"]))
        if self.labels is not None and np.shape(self.labels) != (len(self.x),):
            raise VaekitError(
                f"{self.name}: labels of shape {np.shape(self.labels)} for {len(self.x)} rows: give one a row."
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def digest(self) -> str:
        """SHA-256 of type, shape and content."""
        sha = hashlib.sha256(f"{self.x.dtype.newbyteorder('<').str}{self.x.shape}".encode())
        for start in range(0, len(self.x), 4096):
            block = self.x[start : start + 4096]
            sha.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).tobytes())
        return sha.hexdigest()

    def split(self, seed: int, validation: float | str, test: float) -> dict[str, np.ndarray]:
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
        if other.x.shape[1:] != self.x.shape[1:] or other.names != self.names:
            mine, others = (", ".join(s.names) if s.names else f"shape {s.x.shape[1:]}" for s in (self, other))
            raise VaekitError(
                f"{other.name} has rows of {others} and {self.name} of {mine}: "
                f"a {part} file needs the same columns in the same order."
            )
        rows = np.arange(len(self), len(self) + len(other))
        free = {"train": np.arange(len(self)), **self.parts} if part != "train" else dict(self.parts)
        labels = None if self.labels is None or other.labels is None else np.concatenate([self.labels, other.labels])
        return Source(np.concatenate([self.x, other.x]), self.names, labels, {**free, part: rows}, self.name)


def load(data: str | Path, *, exclude: tuple[str, ...] = (), label: str | None = None, strict: bool = True) -> Source:
    """Rows from the name of a known data set or from a path to .npy, .npz, .csv or IDX (.gz).

    `exclude` columns are left out, the `label` column is kept aside; unless `strict` they may be absent. Raises
    VaekitError for anything unreadable.
    """
    text, path = str(data), Path(data)
    if text in datasets.NAMES:
        rows = Source(name=text, **datasets.load(text))
        if strict and (exclude or label):
            raise VaekitError(f"--exclude and --label are for tables; '{text}' is a known data set of images.")
        return rows
    if not path.exists():
        missing = f"'{text}' is neither a file nor a known data set"
        near = difflib.get_close_matches(text.lower(), datasets.NAMES, 1)
        raise VaekitError(
            f"{missing}; did you mean '{near[0]}'?" if near else f"{missing} ({', '.join(datasets.NAMES)})."
        )
    return Source(name=path.name, **readers.read(path, tuple(exclude), label, strict))
