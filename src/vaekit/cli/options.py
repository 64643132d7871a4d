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
    command.__signature__ = own.replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": own.return_annotation}
    return command


def _option(field: dataclasses.Field) -> inspect.Parameter:
    names = [f"--{name.replace('_', '-')}" for name in (field.name, *field.metadata["also"])]
    default = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = default if default not in ("", ()) else "none"
    several = isinstance(field.default, tuple)
    text = f"{field.metadata['help']} [default: {shown}]"
    kind = list[str] if several else str
    annotation = Annotated[kind | None, Parameter(name=names, help=text, negative=(), show_default=False)]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
