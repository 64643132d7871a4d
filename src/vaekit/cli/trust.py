"""The option of every command that opens a run: which modules of one's own its parts may be imported from."""

from typing import Annotated

from cyclopts import Parameter

Trust = Annotated[list[str] | None, Parameter(name="--trust", negative=())]
