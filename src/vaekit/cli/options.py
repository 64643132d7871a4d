"""Options that are settings: their names, help and defaults are the declaration's own (`settings.declared`)."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter

from vaekit.settings.declared import options


def with_settings(command: Callable) -> Callable:
    """Give a command an option for each setting; it gets those that were given, as text, by their names."""
    own = inspect.signature(command)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [_option(field) for field in options()]
    vars(command)["__signature__"] = own.replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__annotations__["return"] = own.return_annotation
    return command


def _option(field: dataclasses.Field) -> inspect.Parameter:
    """The option of a setting; of one with several values it may be given several times."""
    names = [f"--{name.replace('_', '-')}" for name in (field.name, *field.metadata["also"])]
    default = field.default
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    text = f"{field.metadata['help']} [default: {shown or 'none'}]"
    option = Parameter(name=names, help=text, negative=(), show_default=False)
    several = isinstance(default, tuple)
    annotation = Annotated[list[str] | None, option] if several else Annotated[str | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
