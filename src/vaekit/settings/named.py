"""A part by its name, with arguments of its own: one spelling for the command line, run.toml and Python.

    NAME[:ARGUMENT=VALUE,…]              elbo:beta=0.5,warmup=0.1       a name of a closed table
    MODULE:NAME[:ARGUMENT=VALUE,…]       my_module:MyPrior:components=30   code of whoever names it

The arguments are those of the part's constructor (or of its classmethod `of`), which declares them once: names, types,
ranges (`Annotated[float, Range(0)]`) and defaults. What vaekit knows by itself (the number of latents, the schema) a
part gets by asking for it, as a parameter of that name.

A module that is not vaekit's is imported only where whoever runs it named it: in an option, in Python, or as trusted.
"""

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from vaekit.core import Range
from vaekit.errors import VaekitError, unknown

Value = str | int | float | bool
"""of an argument"""
ROOMS = ("vaekit.nets", "vaekit.objectives", "vaekit.parts")
"""where vaekit's own parts are: of these classes alone nobody has to say that they are trusted"""
KNOWN = ("latent_dim", "schema", "shape", "hidden", "activation", "posterior", "likelihood", "conditions", "rows")
"""what a part may ask for; `conditions` is the number C of what batches have in c; `rows`, the number N of
training rows, is told to objectives and penalties alone"""


@dataclass(frozen=True)
class Named:
    """A part's name and its arguments as text.

    >>> Named.parse("elbo:beta=0.5,warmup=0.1")
    Named(name='elbo', arguments={'beta': '0.5', 'warmup': '0.1'})
    >>> str(Named.parse("my_module:MyPrior:components=30"))
    'my_module:MyPrior:components=30'
    """

    name: str
    """in a table, or module:attribute"""
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> "Named":
        """The inverse of `str`; VaekitError for what is no name."""
        *names, last = text.split(":")
        if names and "=" not in last:
            names = [*names, last]
            last = ""
        name = ":".join(names) if names else last
        if not names or not last:
            return Named(name)
        arguments = {}
        for part in last.split(","):
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise VaekitError(f"'{text}' cannot be read: write NAME:ARGUMENT=VALUE,ARGUMENT=VALUE.")
            arguments[key.strip().replace("-", "_")] = value.strip()
        return Named(name, arguments)

    def __str__(self) -> str:
        given = ",".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.name}:{given}" if given else self.name

    @property
    def module(self) -> str | None:
        """The module that the part is in, where it is not of a table."""
        module, colon, _ = self.name.partition(":")
        return module if colon else None


def text_of(part: object) -> str:
    """The name of a part that was given as an object: a text as it is; a class or a function by the module it is in; a
    `functools.partial` of one with its arguments; an instance by its class, and by attributes of the names of its
    constructor's parameters, as scikit-learn's estimators have them.

    >>> from vaekit.objectives import ELBO
    >>> text_of(ELBO(beta=0.5))
    'vaekit.objectives.bounds:ELBO:beta=0.5'
    """
    if isinstance(part, str):
        return part
    if isinstance(part, functools.partial):
        if part.args:
            raise VaekitError("arguments of a part are given by name: functools.partial(MyPart, argument=value).")
        return str(Named(text_of(part.func), {key: _written(key, value) for key, value in part.keywords.items()}))
    if inspect.isclass(part) or inspect.isfunction(part):
        if "<" in part.__qualname__:
            raise VaekitError(f"{part.__qualname__} is made inside a function: a part is named by its module.")
        return f"{part.__module__}:{part.__qualname__}"
    if not isinstance(part, nn.Module):
        raise VaekitError(f"{part!r} names no part: give NAME:ARGUMENT=VALUE, or a class.")
    arguments = {}
    kind = type(part).__name__
    for name, parameter in inspect.signature(type(part)).parameters.items():
        if name in KNOWN or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not isinstance(parameter.default, str | int | float | bool | type(parameter.empty)):
            kept = getattr(part, name, parameter.default)
            none = isinstance(kept, Sized) and len(kept) == 0
            if kept is not parameter.default and not none:
                raise VaekitError(
                    f"{kind} was given {name}, which cannot be written as text, so that it could not be made again: "
                    f"give a function of a module, whose arguments are numbers and words, that returns the {kind}."
                )
            continue
        if not hasattr(part, name):
            raise VaekitError(
                f"{kind} does not keep its argument {name}, so that it could not be made again: set self.{name}, or "
                f"give functools.partial({kind}, {name}=…)."
            )
        value = getattr(part, name)
        if value is not parameter.default and value != parameter.default:
            arguments[name] = _written(name, value)
    return str(Named(text_of(type(part)), arguments))


def _written(name: str, value: object) -> str:
    """An argument as text that is read as the same."""
    text = str(value)
    if not isinstance(value, str | int | float | bool) or any(sign in text for sign in ",:="):
        raise VaekitError(f"argument {name} of a part is {value!r}: give a number, true or false, or a word.")
    return text


def made(kind: str, table: Mapping[str, Callable], text: str, trust: Collection[str] = (), **known: object) -> Any:  # noqa: ANN401  what a part is, its kind says
    """The part of a name, made with its arguments and with those of `known` that it asks for.

    kind     "prior", say: for messages
    trust    modules that may be imported
    """
    named = Named.parse(text)
    make = found(kind, table, named, trust)
    arguments = checked(kind, make, named)
    asked = inspect.signature(make).parameters
    given = {name: known[name] for name in KNOWN if name in asked and name in known}
    return make(**given, **arguments)


def factory(kind: str, table: Mapping[str, Callable], named: Named, trust: Collection[str] = ()) -> Callable:
    """What a name stands for: of a table, or of a trusted module."""
    if named.module is not None:
        return _imported(kind, named, trust)
    if named.name not in table:
        raise unknown(kind, named.name, table)
    return table[named.name]


def found(kind: str, table: Mapping[str, Callable], named: Named, trust: Collection[str] = ()) -> Callable:
    """What makes the part of a name: the class or function itself, or its `of` where it has one."""
    one = factory(kind, table, named, trust)
    return getattr(one, "of", one)


def _imported(kind: str, named: Named, trust: Collection[str]) -> Callable:
    module, _, path = named.name.partition(":")
    if module not in trust and not _holds_parts(module):
        raise VaekitError(
            f"its {kind} is {named.name}, code that is not vaekit's: if you know what it does, name the module as "
            f"trusted: --trust {module}."
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as Python does for a script that lies there
    try:
        home: object = importlib.import_module(module)
    except ImportError as error:
        raise VaekitError(f"{kind} {named.name}: there is no module {module} here, nor where Python looks.") from error
    finally:
        sys.path.remove(here)
    for step in path.split("."):
        home = getattr(home, step, None)
    of_vaekit = inspect.isclass(home) and issubclass(home, nn.Module) and _holds_parts(home.__module__)
    if not callable(home) or not (module in trust or of_vaekit):  # what a module has imported is not of it
        raise VaekitError(f"{kind} {named.name}: module {module} has no {path} that makes a part.")
    return home


def _holds_parts(module: str) -> bool:
    """Whether a module is one of vaekit's own in which parts are."""
    return any(module == room or module.startswith(f"{room}.") for room in ROOMS)


def checked(kind: str, make: Callable, named: Named) -> dict[str, Value]:
    """The arguments of a name as what makes it declares them, in its types and within its ranges."""
    hints = get_type_hints(_function(make), include_extras=True)
    parameters = {
        name: parameter for name, parameter in inspect.signature(make).parameters.items()
        if name not in KNOWN and isinstance(parameter.default, str | int | float | bool)
    }  # fmt: skip
    arguments = {}
    for name, text in named.arguments.items():
        if name not in parameters:
            if not parameters:
                raise VaekitError(f"{kind} {named.name} takes no arguments, and got {name}.")
            raise unknown(f"argument of {kind} {named.name}", name, parameters)
        default = parameters[name].default
        arguments[name] = _read(f"{name} of {kind} {named.name}", text, hints.get(name, type(default)))
    return arguments


def _function(make: Callable) -> Callable:
    if isinstance(make, functools.partial):
        return _function(make.func)
    return make.__init__ if inspect.isclass(make) else make


def _read(name: str, text: str, hint: object) -> Value:
    """A text as a value of an annotated type."""
    kind = hint
    rules: list[Range] = []
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        rules = [note for note in notes if isinstance(note, Range)]
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise unknown(name, text, get_args(kind))
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise VaekitError(f"{name} is {text!r}: give true or false.")
        return text.lower() == "true"
    if kind is not int and kind is not float:
        return text
    number: int | float
    try:
        number = int(text) if kind is int else float(text)
        right = abs(number) < float("inf") and all(number in rule for rule in rules)
    except ValueError:
        right = False
    if not right:
        wanted = "a whole number" if kind is int else "a number"
        limits = "".join(f", {rule}" for rule in rules)
        raise VaekitError(f"{name} is {text!r}: give {wanted}{limits}.")
    return number
