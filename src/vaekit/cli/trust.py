"""The option of every command that opens a run: which modules of one's own its parts may be imported from."""

from typing import Annotated

from cyclopts import Parameter

HELP = "a module of your own that the run's parts are in; may be given several times"
Trust = Annotated[list[str] | None, Parameter(name="--trust", help=HELP, negative=())]
