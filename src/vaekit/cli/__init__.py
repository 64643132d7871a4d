"""The command line: `vaekit COMMAND …`. One thin file a command, loaded when it is called."""

import sys
from typing import NoReturn

from cyclopts import App, CycloptsError, MissingArgumentError, UnusedCliTokensError

import vaekit

COMMANDS = {
    "fit": "Train a VAE on a file or a known data set, and keep it in a run folder.",
    "resume": "Go on training a run that was stopped, or train a finished one longer.",
    "refit": "Give a trained model a prior that fits it better.",
    "verify": "Check that every file of a run folder is what was written.",
    "evaluate": "ELBO, rate, distortion and log p(x) of a run on its test rows or on other data, beside baselines.",
    "score": "log p(x) of each row, with its error.",
    "sample": "Generate new rows: images, arrays or tables.",
    "reconstruct": "Pass rows through the model and back.",
    "impute": "Fill the missing cells of a table.",
    "encode": "Turn rows into latents.",
    "datasets": "List the data sets known by name.",
}

app = App(
    name="vaekit",
    help="Variational autoencoders for images, tables and counts of your own.",
    version=vaekit.__version__,
    help_format="markdown",
)
for _name, _help in COMMANDS.items():
    app.command(f"vaekit.cli.{_name}:{_name}", name=_name, help=_help)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Errors meant for people go to stderr in a line or three, with exit code 2 and no traceback."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _fail(_plain(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        from vaekit.errors import VaekitError, reason

        if _needs_memory(error):
            _fail("this needs more memory than there is: try less (--hidden, --latent-dim, --batch-size, samples).")
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}{reason(error)}.")
        if not isinstance(error, VaekitError):
            raise
        _fail(error.at_command_line)
    sys.exit(result if isinstance(result, int) else 0)


def _needs_memory(error: Exception) -> bool:
    """Whether there was not enough of it, in Python's words or in torch's."""
    if isinstance(error, MemoryError):
        return True
    words = ("allocate memory", "out of memory", "size calculation overflowed")
    return isinstance(error, RuntimeError) and any(part in str(error) for part in words)


def _plain(error: CycloptsError) -> str:
    """The message alone, with the command's help named."""
    command = " ".join(("vaekit", *(error.command_chain or ()), "--help"))
    if isinstance(error, UnusedCliTokensError):
        unused = " ".join(error.unused_tokens or ())
        return f"'{unused}' is more than the command takes. See `{command}`."
    if isinstance(error, MissingArgumentError):
        return f"{_absent(error)} See `{command}`."
    return f"{error} See `{command}`."


def _absent(error: MissingArgumentError) -> str:
    """What is not there: the value behind an option, an option, or one of the words behind the command."""
    if error.keyword is not None:
        return f"{error.keyword} needs a value behind it."
    assert error.argument is not None  # it is what is missing
    name = error.argument.name
    if error.argument.index is not None:
        name = name.removeprefix("--").replace("-", "_").upper()
    return f"{name} is missing."


def _fail(message: str) -> NoReturn:
    """End with a message of three lines at most, and exit code 2."""
    first, *others = message.splitlines() or [""]
    lines = [f"vaekit: {first}", *others[:1], " ".join(others[1:])]
    print("\n".join(filter(None, lines)), file=sys.stderr)
    sys.exit(2)
