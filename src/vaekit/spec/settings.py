"""A run as plain data: what `run.toml` says and what the options set. Names come from closed tables."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from vaekit.data.layout import LAYOUTS
from vaekit.errors import VaekitError, unknown
from vaekit.spec import tables

AUTO = "auto"
WIDEST = 2**20
"""numbers of a layer or a code, or draws per row, at most: more are a slip of the pen, or meant to fill the memory"""


def setting(
    default: Any, kind: type, *, choices: Collection[str] = (), low: float | None = None, below: float | None = None
):
    """A field with its rule: type, closed list of names, smallest value, and first value that is too large."""
    automatic = default == AUTO
    return dataclasses.field(
        default=default,
        metadata={"kind": kind, "choices": tuple(choices), "low": low, "below": below, "auto": automatic},
    )


class Section:
    """Checks every field against its rule when made."""

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))


@dataclass(frozen=True)
class DataSettings(Section):
    """Where the rows come from and which of them are held out."""

    source: str | tuple[str, ...] = setting("", str)
    """a data set's name, a path, or several paths"""
    digest: str = setting("", str)
    exclude: tuple[str, ...] = setting((), str)
    label: str = setting("", str)
    keep: tuple[str, ...] = setting((), str)
    resize: str = setting("", str)
    """HEIGHTxWIDTH to which images from files are scaled"""
    kind: str = setting(AUTO, str, choices=LAYOUTS)
    """what the axes of an array mean: table, image or sequence"""
    binarize: str = setting("none", str, choices=tables.BINARIZE)
    validation: float | str = setting(0.1, float, low=0, below=1)
    test: float | str = setting(0.1, float, low=0, below=1)
    """both: a fraction, or the path of a file or folder"""


@dataclass(frozen=True)
class ModelSettings(Section):
    """The three distributions and the networks between them."""

    latent_dim: int | str = setting(AUTO, int, low=1, below=WIDEST + 1)
    likelihood: str = setting(AUTO, str, choices=tables.LIKELIHOODS)
    range: str = setting("seen", str, choices=tables.RANGES)
    """whether whole numbers are drawn within the range seen in the data, or beyond it too"""
    posterior: str = setting("diagonal", str, choices=tables.POSTERIORS)
    prior: str = setting("standard", str, choices=tables.PRIORS)
    network: str = setting(AUTO, str, choices=tables.NETWORKS)
    hidden: tuple[int, ...] | str = setting(AUTO, int, low=1, below=WIDEST + 1)
    activation: str = setting(AUTO, str, choices=tables.ACTIVATIONS)
    start: str = setting(AUTO, str, choices=tables.STARTS)
    """what the networks are before the first step: random, or where they are linear then, the factor analysis of the
    training rows"""


@dataclass(frozen=True)
class ObjectiveSettings(Section):
    """The bound that is climbed."""

    objective: str = setting("elbo", str, choices=tables.OBJECTIVES)
    samples: int = setting(1, int, low=1, below=WIDEST + 1)
    repeats: int = setting(1, int, low=1, below=WIDEST + 1)
    beta: float = setting(1.0, float, low=0)
    warmup: float = setting(0.0, float, low=0, below=1)
    """the part of all steps over which the rate's weight grows to beta"""
    free_bits: float = setting(0.0, float, low=0)
    gradient: str = setting("standard", str, choices=tables.GRADIENTS)


@dataclass(frozen=True)
class TrainingSettings(Section):
    """How long and how fast."""

    epochs: int | str = setting(AUTO, int, low=1)
    batch_size: int | str = setting(AUTO, int, low=1)
    learning_rate: float | str = setting(AUTO, float, low=0)
    schedule: str = setting(AUTO, str, choices=tables.SCHEDULES)
    """whether the learning rate falls from the first step on to the last, or once the bound has stopped rising"""
    patience: int | str = setting(AUTO, int, low=0)
    seed: int = setting(0, int, low=0)
    device: str = setting(AUTO, str, choices=tables.DEVICES)
    precision: str = setting(AUTO, str, choices=tables.PRECISIONS)
    compile: str = setting(AUTO, str, choices=tables.COMPILE)


@dataclass(frozen=True)
class Specification:
    """The four sections of `run.toml`.

    >>> Specification.from_dict({"model": {"latent_dim": 2}}).model.latent_dim
    2
    """

    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    objective: ObjectiveSettings = dataclasses.field(default_factory=ObjectiveSettings)
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)

    @classmethod
    def from_dict(cls, values: dict) -> "Specification":
        """The inverse of `to_dict`; VaekitError for a key or a value outside the tables."""
        sections = {f.name: f.type for f in fields(cls)}
        for name, section in values.items():
            if name not in sections:
                raise unknown("section", name, sections)
            known = [f.name for f in fields(sections[name])]
            if not isinstance(section, dict):
                raise VaekitError(f"'{name}' must be a section: [{name}] with a key a line.")
            for key in section:
                if key not in known:
                    raise unknown(f"key in [{name}]", key, known)
        return cls(**{name: sections[name](**section) for name, section in values.items()})

    def to_dict(self) -> dict:
        """Plain values, in sections: {"data": {…}, "model": {…}, …}"""
        plain = dataclasses.asdict(self)
        return {s: {k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()} for s, keys in plain.items()}

    def changed(self, **values: Any) -> "Specification":
        """A copy with some settings changed, each given by its own name whatever its section; None changes nothing."""
        sections = {f.name: {} for f in fields(self)}
        for name, value in values.items():
            home = next(s for s in sections if name in {f.name for f in fields(getattr(self, s))})
            if value is not None:
                sections[home][name] = value
        return Specification(**{s: dataclasses.replace(getattr(self, s), **new) for s, new in sections.items()})


def _checked(field: dataclasses.Field, value: Any) -> Any:
    rule, many = field.metadata, isinstance(field.default, tuple) or field.name == "hidden"
    if rule["auto"] and value == AUTO:
        return value
    if field.name in ("validation", "test") and isinstance(value, str):
        return value
    if field.name == "source" and isinstance(value, list | tuple):
        paths = tuple(_one("source", rule, v) for v in value)
        return paths[0] if len(paths) == 1 else paths
    if many:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            raise VaekitError(f"{field.name} is {value!r}: give a list.")
        return tuple(_one(field.name, rule, v) for v in value)
    return _one(field.name, rule, value)


def _one(name: str, rule: Any, value: Any) -> Any:
    kind = rule["kind"]
    if kind is str:
        if rule["choices"] and value not in rule["choices"]:
            raise unknown(name, value, (*([AUTO] if rule["auto"] else []), *rule["choices"]))
        if not isinstance(value, str):
            raise VaekitError(f"{name} is {value!r}: give text.")
        return value
    try:
        number = kind(value)
        whole = number == value and not isinstance(value, bool | str)
    except (TypeError, ValueError, OverflowError):
        whole = False
    low, below = rule["low"], rule["below"]
    if not whole or not abs(number) < float("inf") or (low is not None and number < low) or (below and number >= below):
        wanted = "a whole number" if kind is int else "a number"
        limits = "" if low is None else f", {low} or more" + (f" and below {below}" if below else "")
        raise VaekitError(f"{name} is {value!r}: give {wanted}{limits}{' or auto' if rule['auto'] else ''}.")
    return number
