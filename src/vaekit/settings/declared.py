"""A run as plain data: what `run.toml` says and what the options set. Names come from closed tables."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from vaekit.core import Range
from vaekit.data.layout import LAYOUTS
from vaekit.errors import VaekitError, unknown
from vaekit.settings import tables
from vaekit.settings.named import Named, checked, found, made, text_of

T = TypeVar("T")
Value = str | int | float | tuple
"""of a setting"""

AUTO = "auto"
WIDEST = 2**20
MOST_MEMBERS = 100
"""numbers of a layer or a code, and models of an ensemble, at most: more are a slip of the pen, or meant to fill the
memory"""


def chosen(value: T | str) -> T:
    """The value of a setting that may be "auto", once `automatic.resolve` has replaced that."""
    assert not isinstance(value, str)
    return value


def setting(
    default: T, kind: type, help: str = "", *, choices: Collection[str] = (), within: Range | None = None,
    also: tuple[str, ...] = (),
) -> T:  # fmt: skip
    """A field with its rule: type, closed list of names, and range.

    help    what it is, for the command line; without it, it is no option
    also    other names of the option
    """
    rule = {"kind": kind, "choices": tuple(choices), "within": within, "auto": default == AUTO}
    return dataclasses.field(default=default, metadata={**rule, "help": help, "also": also})


def part(default: str, table: Mapping[str, Callable], help: str) -> str:
    """A field that names a part of a table, with arguments of its own, or one of a module: see `settings.named`."""
    rule = {"kind": Named, "table": table, "auto": default == AUTO}
    return dataclasses.field(default=default, metadata={**rule, "help": help, "also": ()})


def parts(table: Mapping[str, Callable], help: str) -> tuple[str, ...]:
    """A field that names any number of parts of a table, or of modules; none of them by default."""
    rule = {"kind": Named, "table": table, "auto": False}
    return dataclasses.field(default=(), metadata={**rule, "help": help, "also": ()})


@dataclass(frozen=True)
class Section:
    """Checks every field against its rule when made."""

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))


@dataclass(frozen=True)
class DataSettings(Section):
    """Where the rows come from and which of them are held out."""

    source: str | tuple[str, ...] = setting("", str)
    """a data set's name, a path, or several paths"""
    digest: str = setting("", str)
    exclude: tuple[str, ...] = setting(
        (), str, "a column to leave out, or several with commas between them; may be given several times"
    )
    label: str = setting(
        "", str,
        "the column that tells the rows' classes: not learned, and written beside what is made of the rows",
    )  # fmt: skip
    keep: tuple[str, ...] = setting(
        (), str, "a column to do the same with, an identifier say; may be given several times"
    )
    condition: tuple[str, ...] = setting(
        (), str,
        "a column that rows are given instead of learned, p(x|c), or several with commas between them; may be given "
        "several times. `vaekit sample --given NAME=VALUE` makes rows of it. Of images and arrays: label, their labels",
    )  # fmt: skip
    columns: tuple[str, ...] = setting(
        (), str,
        "what columns are, where that is not to be found out: age=count,grade=ordinal:low<mid<high,zip=category; kinds "
        "are binary, count, integer, amount (zeros and positive numbers), positive, real, category, ordinal; date and "
        "datetime, with the order where their cells leave it open, when=date:day-first or date:month-first",
    )  # fmt: skip
    missing: tuple[str, ...] = setting(
        (), str, "what stands in a missing cell beside nothing, NA, NaN and null: -999, say; may be given several times"
    )
    resize: str = setting("", str, "HEIGHTxWIDTH, or one number for both, to which images in files are scaled")
    kind: str = setting(
        AUTO, str,
        "what the axes of an array mean: table, image, sequence or auto. Only the pixels of images share one range",
        choices=LAYOUTS,
    )  # fmt: skip
    binarize: str = setting(
        "none", str,
        "none, dynamic (afresh at each step, P(1) = grey), threshold, or expected (the textbook's form on grey values)",
        choices=tables.BINARIZE,
    )  # fmt: skip
    validation: float | str = setting(
        0.1, float, "a fraction of the rows, or a file or folder of rows, to select on", within=Range(0, below=1)
    )
    test: float | str = setting(
        0.1, float, "a fraction of the rows, or a file or folder of rows, kept for `vaekit evaluate`",
        within=Range(0, below=1),
    )  # fmt: skip


@dataclass(frozen=True)
class ModelSettings(Section):
    """The three distributions and the networks between them."""

    latent_dim: int | str = setting(AUTO, int, "number of latents, or auto", within=Range(1, below=WIDEST + 1))
    likelihood: str = part(
        AUTO, tables.LIKELIHOODS,
        "columns (of each kind its own: columns:real=gaussian,count=poisson); of real numbers student-t, gaussian "
        "(sigma=column, a σ per column; shared, one learned σ; or unit, σ = 1), laplace, logistic-mixture, log-normal, "
        "zero-inflated-log-normal; of whole ones discretized-logistic (range=open: also beyond the range seen), "
        "discretized-mixture, negative-binomial, zero-inflated-negative-binomial, poisson; bernoulli, categorical, "
        "ordinal; colour-logistic (images in colour); or auto",
    )  # fmt: skip
    posterior: str = part(
        AUTO, tables.POSTERIORS,
        "diagonal, full (covariance), experts (for rows with missing cells); a normal pushed through a flow: coupling "
        "(steps=4, width=64), iaf (inverse autoregressive; steps=2, width=64), planar (steps=10); ladder (of "
        "several layers: rungs=2, width=128, or sizes=50-100); vmf (von Mises-Fisher, on a sphere); "
        "of codes fsq (each latent is one of levels=8 values, or of levels=8x5x5x5 in turn), lfq (−1 or 1), vq "
        "(vectors of a codebook: codes=64, size=2; depth=2: several, each of what is left; grouped=true: a codebook "
        "for each place), concrete (categories: levels=8, temperature=0.5); point (no chance: of objective ae); or "
        "auto",
    )  # fmt: skip
    prior: str = part(
        AUTO, tables.PRIORS,
        "standard (normal), gaussian (its mean and covariance learned), mixture (of normals: components=30, "
        "covariance=diagonal or full), vamp (a mixture of posteriors of learned inputs: components=50), flow (learned, "
        "of coupling steps: steps=6, width=64), ladder (for ladder), uniform-sphere (for vmf), codes "
        "(of a posterior of codes: kind=uniform, independent or autoregressive), or auto: the one that belongs to the "
        "posterior",
    )  # fmt: skip
    refitted: str = setting("", str)
    """the prior that the model was trained with, where another was fitted to it afterwards"""
    network: str = part(
        AUTO, tables.NETWORKS,
        "mlp, skip (a linear map plus an mlp, for tables), conv, resnet, local (convolutions with a map of latents, "
        "for large images) or auto",
    )  # fmt: skip
    hidden: tuple[int, ...] | str = setting(
        AUTO, int,
        "widths of the hidden layers, such as 200,200; none for a linear model; for the others the channels of the "
        "stages, each half the size of the one before; or auto",
        within=Range(1, below=WIDEST + 1),
    )  # fmt: skip
    activation: str = setting(
        AUTO, str, "relu, leaky-relu, elu, gelu, silu, softplus, tanh or auto", choices=tables.ACTIVATIONS
    )
    start: str = setting(
        AUTO, str,
        "factor-analysis (network skip, or hidden none: training begins at the best linear model with its exact "
        "posterior), random or auto",
        choices=tables.STARTS,
    )  # fmt: skip
    members: int = setting(
        1, int,
        "models with weights of their own that are trained side by side and are one: p(x) is the mean of theirs",
        within=Range(1, below=MOST_MEMBERS + 1),
    )  # fmt: skip


@dataclass(frozen=True)
class TrainingSettings(Section):
    """What is climbed, how long and how fast."""

    objective: str = part(
        "elbo", tables.OBJECTIVES,
        "elbo, iwae (the importance-weighted bound), or ae (an autoencoder: no bound), with arguments: samples=5 "
        "(draws of z per row and step), beta=0.5 (weight of the rate in the loss; the reported bound is with 1 "
        "whatever it is), warmup=0.1 (the part of training over which that weight grows from 0), cycles=4 (times "
        "that it does), gradient=sticking-the-landing (elbo), doubly-reparameterised or partially-weighted (iwae), "
        "free_bits=0.1 (elbo: nats per latent below which its rate has no gradient), capacity=20 (elbo: nats that "
        "the rate is drawn to), repeats=2 (iwae: bounds that share the samples), share=0.05 (iwae: the elbo's part "
        "of the loss)",
    )  # fmt: skip
    penalty: tuple[str, ...] = parts(
        tables.PENALTIES,
        "what is paid in the loss beside the bound, with its weight, mmd:weight=10; may be given several times: mmd "
        "(all z together against the prior; kernel=imq or rbf), tc (total correlation), information, dimension-wise "
        "(the other parts of the rate), dip-i and dip-ii (the covariance of all z against the identity), "
        "code-norm, weight-decay and jacobian (of regularised autoencoders)",
    )
    epochs: int | str = setting(
        AUTO, int,
        "passes over the training rows, or auto: until the bound stops rising, within a budget of steps",
        within=Range(1),
    )  # fmt: skip
    batch_size: int | str = setting(AUTO, int, "rows per step, or auto", within=Range(1))
    learning_rate: float | str = setting(
        AUTO, float, "peak of the schedule, or auto", within=Range(above=0), also=("lr",)
    )
    schedule: str = setting(
        AUTO, str,
        "cosine (the rate falls to 0 over the epochs), plateau (it falls once the bound has stopped rising) or auto",
        choices=tables.SCHEDULES,
    )  # fmt: skip
    patience: int | str = setting(
        AUTO, int,
        "records without a better bound (of the validation rows, where there are any) before stopping (0: never), or "
        "auto",
        within=Range(0),
    )  # fmt: skip
    seed: int = setting(0, int, "of the split, the weights, the order and the noise", within=Range(0))
    device: str = setting(AUTO, str, "cpu, cuda or auto", choices=tables.DEVICES)
    precision: str = setting(
        AUTO, str,
        "of the networks' products while training: float32, bfloat16 or auto; weights and bounds stay float32",
        choices=tables.PRECISIONS,
    )  # fmt: skip
    compile: str = setting(
        AUTO, str,
        "on, off or auto: one compiled function per step in the place of many operations, from step 100 on, where it "
        "is compiled for some seconds; auto does it for long trainings of fully connected networks where there is a "
        "C++ compiler. On an accelerator a step is replayed as one graph, compiled or not",
        choices=tables.COMPILE,
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The three sections of `run.toml`.

    >>> Settings.from_dict({"model": {"latent_dim": 2}}).model.latent_dim
    2
    """

    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)
    trust: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    """modules whose parts may be imported. It stands in no file: whoever runs it says it"""

    @classmethod
    def from_dict(cls, values: dict, trust: Collection[str] = ()) -> "Settings":
        """The inverse of `to_dict`; VaekitError for a key or a value outside the tables."""
        for name, section in values.items():
            if name not in SECTIONS:
                raise unknown("section", name, SECTIONS)
            known = [f.name for f in fields(SECTIONS[name])]
            if not isinstance(section, dict):
                raise VaekitError(f"'{name}' must be a section: [{name}] with a key a line.")
            for key in section:
                if key not in known:
                    raise unknown(f"key in [{name}]", key, known)
        sections: dict[str, Any] = {name: SECTIONS[name](**keys) for name, keys in values.items()}  # a class for each
        return cls(**sections, trust=tuple(trust))

    def to_dict(self) -> dict:
        """The settings as plain values, in sections: {"data": {…}, "model": {…}, …}."""
        return {section: _plain(getattr(self, section)) for section in SECTIONS}

    def changed(self, **values: object) -> "Settings":
        """A copy with some settings changed, each given by its own name whatever its section; None changes nothing.

        The modules of parts that are given here are trusted: whoever calls this names them.
        """
        changes: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
        for name, value in values.items():
            home = next(s for s, kind in SECTIONS.items() if name in {f.name for f in fields(kind)})
            if value is not None:
                changes[home][name] = value
        changed = {s: dataclasses.replace(getattr(self, s), **new) for s, new in changes.items()}
        trust = set(self.trust)
        for section, field in _part_fields():
            if field.name not in changes[section]:
                continue
            modules = (Named.parse(name).module for name in _names(changed[section], field))
            trust.update(module for module in modules if module is not None)
        return Settings(**changed, trust=tuple(sorted(trust)))

    def made(self, kind: str, **known: object) -> Any:  # noqa: ANN401  what a part is, its kind says
        """The part that a setting names, made of its arguments and of those of `known` that it asks for; of a setting
        that names several all of them, in a list."""
        section, field = next((s, f) for s, f in _part_fields() if f.name == kind)
        names = _names(getattr(self, section), field)
        made_parts = [made(kind, field.metadata["table"], name, self.trust, **known) for name in names]
        return made_parts if isinstance(field.default, tuple) else made_parts[0]


SECTIONS: dict[str, type[Section]] = {"data": DataSettings, "model": ModelSettings, "training": TrainingSettings}


def _plain(section: Section) -> dict[str, object]:
    """The values of a section by name, lists in the place of tuples."""
    values = dataclasses.asdict(section)
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = list(value)
    return values


def _part_fields() -> Iterator[tuple[str, dataclasses.Field]]:
    """The settings that name parts, each as (section, field)."""
    for section, kind in SECTIONS.items():
        for field in fields(kind):
            if field.metadata["kind"] is Named:
                yield section, field


def _names(section: Section, field: dataclasses.Field) -> tuple[str, ...]:
    """The names of the parts that a setting has: one, or any number."""
    value = getattr(section, field.name)
    return value if isinstance(value, tuple) else (value,)


def _checked(field: dataclasses.Field, value: object) -> Value:
    """The value of a field; VaekitError where it breaks the field's rule."""
    rule = field.metadata
    many = isinstance(field.default, tuple) or field.name == "hidden"
    if rule["auto"] and isinstance(value, str) and value == AUTO:
        return value
    if rule["kind"] is Named:
        if not many:
            return _named(field, value)
        each = value if isinstance(value, list | tuple) else [value]
        return tuple(_named(field, one) for one in each)
    if field.name in ("validation", "test") and isinstance(value, str):
        return value
    if field.name == "source" and isinstance(value, list | tuple):
        paths = tuple(_one(field, path) for path in value)
        return paths[0] if len(paths) == 1 else paths
    if many:
        if field.name == "hidden" and isinstance(value, str):
            raise VaekitError(f"hidden is '{value}': give the widths of the layers, as 200,200, none at all, or auto.")
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise VaekitError(f"{field.name} is {value!r}: give a list.")
        return tuple(_one(field, each) for each in value)
    return _one(field, value)


def _named(field: dataclasses.Field, value: object) -> str:
    """The name of a part that was given by it, or as an object."""
    rule = field.metadata
    try:
        text = text_of(value)
    except VaekitError as error:
        raise VaekitError(f"{field.name}: {error.at_command_line}") from error
    besides = (AUTO,) if rule["auto"] else ()
    return _part(field.name, rule["table"], text, besides)


def _part(kind: str, table: Mapping[str, Callable], text: str, besides: tuple[str, ...]) -> str:
    """A part's name with arguments that it takes; a stranger's module is not looked at."""
    named = Named.parse(text)
    if named.module in table:
        raise VaekitError(f"{kind} '{text}' cannot be read: write NAME:ARGUMENT=VALUE,ARGUMENT=VALUE.")
    if named.module is None:
        if named.name not in table:
            raise unknown(kind, named.name, (*besides, *table))
        checked(kind, found(kind, table, named), named)
    return text


def _one(field: dataclasses.Field, value: object) -> str | int | float:
    """A value that is no list."""
    name = field.name
    rule = field.metadata
    kind = rule["kind"]
    if kind is str:
        if rule["choices"] and value not in rule["choices"]:
            also = (AUTO,) if rule["auto"] else ()
            raise unknown(name, value, (*also, *rule["choices"]))
        if not isinstance(value, str):
            raise VaekitError(f"{name} is {value!r}: give text.")
        return value
    try:
        number = kind(value)
        whole = number == value and not isinstance(value, bool | str)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or number not in rule["within"]:
        wanted = "a whole number" if kind is int else "a number"
        auto = ", or auto" if rule["auto"] else ""
        raise VaekitError(f"{name} is {value!r}: give {wanted}, {rule['within']}{auto}.")
    return number


def options() -> Iterator[dataclasses.Field]:
    """The settings that are options of `vaekit fit`."""
    for kind in SECTIONS.values():
        yield from (field for field in fields(kind) if field.metadata["help"])


def from_text(field: dataclasses.Field, given: str | list[str] | None) -> Value | list[str] | None:
    """What was typed for a setting, as the value that is meant; what is none is left for the settings to refuse."""
    if given is None or given == AUTO or isinstance(given, list):
        return given
    if field.name == "hidden":
        if given in ("none", ""):
            return ()
        widths = tuple(_number(width.strip(), int) for width in given.split(","))
        return given if any(isinstance(width, str) for width in widths) else widths
    kind = field.metadata["kind"]
    value: str | int | float = given
    if kind in (int, float):
        value = _number(given, kind)
    if isinstance(field.default, float) and isinstance(value, str):  # a fraction or a path
        return str(Path(value).resolve())
    return value


def _number(text: str, kind: Callable[[str], int | float]) -> str | int | float:
    """The number that a text is, or the text where it is none."""
    try:
        return kind(text)
    except ValueError:
        return text
