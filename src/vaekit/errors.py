"""The one error that is meant for people: what was found, where, what to do."""

import difflib
import re
from collections.abc import Iterable

LONGEST = 40
"""characters of a name in a message"""
ITEM = re.compile(r"""\s*(?:'([^']*)'\s*(?=,|$)|"([^"]*)"\s*(?=,|$)|([^,]*))(?:,|$)""")
"""one of a list with commas between them"""
MOST = 30
"""names in one message"""
ALSO_CALLED = {
    "bce": "bernoulli", "lognormal": "log-normal", "mse": "gaussian", "nb": "negative-binomial", "normal": "gaussian",
    "t": "student-t", "zinb": "zero-inflated-negative-binomial",
}  # fmt: skip
"""what others call the parts that messages name"""
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
VALUE = re.compile(r"(?<![\w-])--([a-z][a-z-]*)(?:=(-?\w+(?:\.\w+)*)| ('[^']*'))")
"""an option with its value"""
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class VaekitError(ValueError):
    """Something given to vaekit cannot be used; the message says what, where and what to do about it.

    Where a remedy is an option, the message is written as the command line has it. In Python, where options are
    arguments, it reads so:

    >>> print(VaekitError("no column 'size': use --batch-size 5, or `vaekit fit --config FILE`."))
    no column 'size': use batch_size 5, or `vaekit fit --config FILE`.
    """

    def __str__(self) -> str:
        return as_arguments(self.at_command_line)

    @property
    def at_command_line(self) -> str:
        """The message with its options as they are typed."""
        return super().__str__()


def as_arguments(text: str) -> str:
    """A text with its options named as Python's arguments are; commands in backticks stay as they are typed.

    >>> as_arguments("see --resize, or run `vaekit fit x.csv --lr 0.1`")
    'see resize, or run `vaekit fit x.csv --lr 0.1`'
    >>> print(as_arguments("--unseen=missing, --missing=-999, or --columns 'zip=category'"))
    unseen='missing', missing=-999, or columns='zip=category'
    >>> print(as_arguments("give --kind=sequence."))
    give kind='sequence'.
    """
    plain_and_quoted = text.split("`")
    for i in range(0, len(plain_and_quoted), 2):
        plain_and_quoted[i] = VALUE.sub(_argument, plain_and_quoted[i])
        plain_and_quoted[i] = OPTION.sub(lambda option: option[1].replace("-", "_"), plain_and_quoted[i])
    return "`".join(plain_and_quoted)


def _argument(option: re.Match) -> str:
    """An option with its value as an argument of Python."""
    name, value, quoted = option.groups()
    if quoted is None:
        quoted = value if NUMBER.fullmatch(value) else f"'{value}'"
    return f"{name.replace('-', '_')}={quoted}"


def reason(error: BaseException) -> str:
    """What went wrong, in the system's words where they are its own, without a number or a full stop.

    >>> reason(FileNotFoundError(2, "No such file or directory", "x.csv"))
    'No such file or directory'
    """
    words = str(error)
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    return (words or type(error).__name__).rstrip(".")


def counted(count: int, noun: str = "row") -> str:
    """A number with its noun, in the plural unless it is 1.

    >>> counted(1), counted(1200), counted(1, "latent")
    ('1 row', '1,200 rows', '1 latent')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def unknown(kind: str, given: object, choices: Iterable[str]) -> VaekitError:
    """The error for a name outside a closed table, with the nearest right one.

    >>> print(unknown("likelihood", "gausian", ["gaussian", "bernoulli"]))
    unknown likelihood 'gausian'; did you mean 'gaussian'? Choose from: gaussian, bernoulli.
    >>> print(unknown("likelihood", "normal", ["gaussian", "log-normal"]))
    unknown likelihood 'normal'; did you mean 'gaussian'? Choose from: gaussian, log-normal.
    """
    names = [str(choice) for choice in choices]
    meant = ALSO_CALLED.get(str(given).lower())
    near = [meant] if meant in names else difflib.get_close_matches(str(given), names, 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    shown = ", ".join(map(_apart, names[:MOST]))
    if len(names) > MOST:
        shown += f" and {len(names) - MOST:,} more"
    return VaekitError(f"unknown {kind} '{given}'{hint} Choose from: {shown}.")


def _apart(name: str) -> str:
    """A name as an item of a list, in quotes where it has commas or blanks at its ends itself.

    >>> print(_apart("age"), _apart("income, gross"))
    age 'income, gross'
    """
    if name and "," not in name and name == name.strip():
        return name
    return f"'{name}'"


def separated(given: str) -> list[str]:
    """The items of a list with commas between them; those in quotes may have commas themselves.

    >>> separated("age, 'income, gross'"), separated('"a,b",c')
    (['age', 'income, gross'], ['a,b', 'c'])
    """
    found = []
    for single, double, bare in ITEM.findall(given):
        item = single or double or bare.strip()
        if item:
            found.append(item)
    return found


def listed(names: Iterable[str], most: int = 3, last_word: str = "and") -> str:
    """The first few names in quotes, and how many more there are: a line, however many columns a table has.

    last_word    what stands before the last: "or" where one is to be chosen

    >>> listed(["a", "b c"]), listed(map(str, range(6000)), 2)
    ("'a' and 'b c'", "'0', '1' and 5,998 more")
    """
    shown = [f"'{_shortened(name)}'" for name in names]
    if not shown:
        return "none"
    if len(shown) > most:
        shown = [*shown[:most], f"{len(shown) - most:,} more"]
    *first, last = shown
    return f"{', '.join(first)} {last_word} {last}" if first else last


def _shortened(name: str) -> str:
    """A name that fits a message."""
    if len(name) > LONGEST:
        return f"{name[:LONGEST]}…"
    return name
