"""Text with separators (.csv, .tsv, gzipped too) → a table of text cells. A file's habits are found out."""

import codecs
import csv
import gzip
import io
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.data.unpacked import check_unpacked, most_unpacked
from vaekit.errors import VaekitError, listed

if TYPE_CHECKING:
    import polars

SEPARATORS = (",", ";", "\t", "|")
NAMES_OF_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LOOK_BYTES = 2**20
"""how much of a file is looked at to find its separator"""
LOOK_ROWS = 50
"""how many of its rows"""
LOOK_SHORT = 200_000
"""rows of a table in which lines that end too soon are looked for"""
BLANKS = r"^\s*[-+.\d][-+.\deE]*(\s+[-+.\d][-+.\deE]*)+\s*$"
"""numbers with blanks between them"""
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Delimited:
    """A file's cells as they are written, and what was made of the lines that hold none."""

    table: "polars.DataFrame"
    """every column of text; the names without the blanks around them"""
    separator: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    """names of columns that the file has and the table has not"""
    spelled: Mapping[str, str]
    """the names that have blanks around them in the file, as they stand there"""


def read_delimited(path: Path) -> Delimited:
    """The cells of a file in UTF-8 with a line of names; commas, semicolons, tabs or bars between them.

    Lines that start with # are comments, the last one above the first row its header where there is no other. Blank
    last lines and unnamed columns without a cell are left out. Each of these leaves a note.

    Raises VaekitError for a file without names, with two equal ones, or that is no table.
    """
    content = _content(path)
    above, start = _comments_above(content)
    head = _text(content[start : start + LOOK_BYTES], path.name)
    whole = start + LOOK_BYTES >= len(content)
    usual = "\t" if ".tsv" in path.suffixes else ","
    separator = _separator(head, whole, usual)
    header, length, below = _header(head, above, separator)
    if header is None:
        raise VaekitError(f"{path.name} is no readable CSV table: it is empty.")
    spelled = {}
    if length:  # the names are none of a comment's
        spelled = {name.strip(): name for name in header if _bare(name) == name.strip() != name}
    header = [_bare(name) for name in header]
    notes = _check_header(header, below, separator, path)
    first = content.count(b"\n", 0, start + length) + 1
    table, inside = _cells(header, memoryview(content)[start + length :], separator, path.name, first)
    short = _short_lines(table, memoryview(content)[start + length :], separator, first)
    del content
    comments = len(above) + inside
    if comments:
        lines = "1 line that starts" if comments == 1 else f"{comments} lines that start"
        notes.append(f"{lines} with # left out.")
    if short:
        notes.append(_said_of(short))
    table = _without_blank_ends(table, notes)
    table = _named(table, header, path.name, notes)
    _check_blanks(table, path)
    left_out = tuple(set(header) - set(table.columns))
    return Delimited(table, separator, tuple(notes), left_out, spelled)


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked where that does not fill the memory, with the line ends of today."""
    if path.suffix.lower() == ".gz":
        packed = path.stat().st_size
        with gzip.open(path) as file:
            size = 0
            while size <= most_unpacked(packed) and (read := len(file.read(2**20))):
                size += read
        check_unpacked(path.name, packed, size)
        content = gzip.decompress(path.read_bytes())
    else:
        content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise VaekitError(f"{path.name} is no readable CSV table: it is in UTF-16. Save it as UTF-8.")
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\n" in content:
        return content
    return content.replace(b"\r", b"\n")


def _text(content: bytes, file: str) -> str:
    """The beginning of a file as text; VaekitError where it is not in UTF-8."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content)  # the last character may be cut
    except UnicodeDecodeError as error:
        raise VaekitError(f"{file} is no readable CSV table: it is not in UTF-8. Save it as UTF-8.") from error


def _comments_above(content: bytes) -> tuple[list[bytes], int]:
    """The lines that start with # before all others, and where those begin; blank lines between them pass."""
    above = []
    start = 0
    for line in io.BytesIO(content):
        blank = not line.strip()
        if not blank and not line.startswith(b"#"):
            break
        start += len(line)
        if not blank:
            above.append(line)
    return above, start


def _records(text: str, separator: str, count: int) -> list[list[str]]:
    """The first records of a text, blank ones left out; none of a text that is no table."""
    try:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        return list(itertools.islice((r for r in records if r), count))
    except csv.Error:
        return []


def _separator(head: str, whole: bool, usual: str) -> str:
    """The separator that cuts the first lines into equally many cells, and into most; `usual` where none does."""
    best = usual
    best_score = (False, 1)
    for separator in (usual, *(s for s in SEPARATORS if s != usual)):
        widths = [len(record) for record in _records(head, separator, LOOK_ROWS)]
        if not whole and 1 < len(widths) < LOOK_ROWS:
            widths.pop()  # it is cut
        if not widths:
            continue
        first, *others = widths
        steady = len(set(others)) <= 1 and all(width - first in (0, 1) for width in others)
        score = (steady, first)
        if first > 1 and score > best_score:
            best = separator
            best_score = score
    return best


def _header(head: str, above: list[bytes], separator: str) -> tuple[list[str] | None, int, list[list[str]]]:
    """The names; how many bytes of the text they take, none where they are in a comment; the first rows below."""
    records = csv.reader(io.StringIO(head, newline=""), delimiter=separator)
    try:
        first = next((record for record in records if record), None)
    except csv.Error:
        first = None
    if first is None:
        return None, 0, []
    lines = io.StringIO(head, newline="\n")
    length = sum(len(line.encode()) for line in itertools.islice(lines, records.line_num))
    below = _records(head, separator, LOOK_ROWS)
    if above and any(map(_is_number, first)):
        comment = above[-1].decode("utf-8", "replace").lstrip("#").strip()
        named = next(iter(_records(comment, separator, 1)), [])
        if len(named) == len(first) and not any(map(_is_number, named)):
            above.pop()
            return named, 0, below
    return _as_wide(first, below[1:]), length, below[1:]


def _as_wide(header: list[str], below: list[list[str]]) -> list[str]:
    """A name for each cell of rows that all have one more: R leaves out the first, of the rows' own names; a
    separator at the end of every row leaves out the last."""
    if not below or any(len(row) != len(header) + 1 for row in below):
        return header
    if all(not row[-1].strip() for row in below):
        return [*header, ""]
    return ["", *header]


def _is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell.strip()) is not None


def _bare(name: str) -> str:
    """A name without the blanks around it, and the quotes that follow a blank."""
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name[1:-1].strip()
    return name


def _check_header(header: list[str], below: list[list[str]], separator: str, path: Path) -> list[str]:
    """Refuse a first line of numbers, unless they count the columns: then it names them, which is noted."""
    named = [name for name in header if name]
    start = ", ".join(named[:3]) + " …" * (len(named) > 3)
    next_row = next(iter(below), [])
    if not named or not all(map(_is_number, named)):
        numbers = [_is_number(name) for name in header]
        if any(numbers) and numbers == [_is_number(cell) for cell in next_row]:
            return [f"the first line, {start}, is taken for the columns' names: if it is a row, put names above it."]
        return []
    if _counts(named, next_row, unnamed_first=not header[0]):
        return [f"the first line, {start}, is taken for the columns' names."]
    show = "zcat" if path.suffix.lower() == ".gz" else "cat"
    between = "$'\\t'" if separator == "\t" else shlex.quote(separator)
    raise VaekitError(
        f"{path.name} starts with numbers, {start}: give it a first line of column names, such as by "
        f"(seq -f x%g -s{between} {len(header)}; {show} {shlex.quote(str(path))}) > named.csv"
    )


def _counts(named: list[str], next_row: list[str], unnamed_first: bool) -> bool:
    """Whether names count 0, 1, 2 …, or 1, 2, 3 …, or go up in equal steps as no row below does (years, say)."""
    steps = _steps([float(name) for name in named])
    whole = all(name.isdecimal() for name in named)
    if whole and int(named[0]) in (0, 1) and steps in ({1.0}, set()):
        return len(named) > 1 or unnamed_first
    if len(named) < 3 or len(steps) != 1 or min(steps) <= 0:
        return False
    numbers = [float(cell) for cell in next_row if _is_number(cell)]
    return len(_steps(numbers)) != 1


def _steps(numbers: list[float]) -> set[float]:
    """The different steps from each number to the next."""
    return {round(later - earlier, 9) for earlier, later in itertools.pairwise(numbers)}


def _cells(header: list[str], body: memoryview, separator: str, file: str, line: int) -> tuple["polars.DataFrame", int]:
    """The rows below the header as text, under names of no meaning, and the number of comments among them.

    line    of the file, counted from 1, with which they begin
    """
    import polars

    width = len(header)
    names = separator.join(f"c{j}" for j in range(width))
    lines = names.encode() + b"\n" + body
    comments = []
    if b"#" in lines:
        comments = re.findall(rb"^#.*$", lines, re.MULTILINE)
    if width > 1 and any(line.count(separator.encode()) == width - 1 for line in comments):
        comments = []  # they are rows, whose first cell starts so
    try:
        table = polars.read_csv(
            lines,
            separator=separator,
            infer_schema=False,
            encoding="utf8",
            comment_prefix="#" if comments else None,
            truncate_ragged_lines=False,
        )
    except polars.exceptions.PolarsError as error:
        _check_widths(header, body, separator, file, line)
        _check_quotes(body, separator, file, line)
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        remedy = " Save it as UTF-8." if "utf-8" in reason.lower() else ""
        raise VaekitError(f"{file} is no readable CSV table: {reason}.{remedy}") from error
    return table, len(comments)


def _check_widths(header: list[str], body: memoryview, separator: str, file: str, line: int) -> None:
    """Refuse a row of more cells than there are names, naming its line."""
    for number, record in _numbered(body, separator, line):
        if len(record) > len(header):
            between = NAMES_OF_SEPARATORS[separator]
            raise VaekitError(
                f"{file}, line {number} has {len(record)} cells, and the header has {len(header)}, with "
                f"{between} between them: put a cell that has {between} itself into quotes, or mend the line."
            )


def _check_quotes(body: memoryview, separator: str, file: str, line: int) -> None:
    """Refuse a cell that opens with a quotation mark and does not close with one, naming its line."""
    records = csv.reader(_decoded(body), delimiter=separator, strict=True)
    before = 0
    try:
        for _ in records:
            before = records.line_num
    except csv.Error as error:
        raise VaekitError(
            f"{file}, line {line + before}: a cell opens with a quotation mark that does not close it. Put one behind "
            f"the cell too, or take it away; one inside a cell in quotes is written twice."
        ) from error


def _short_lines(table: "polars.DataFrame", body: memoryview, separator: str, line: int) -> list[int]:
    """The lines of rows that end before the last column, blank ones aside: of rows whose last cell is there, none."""
    if table.width < 2 or table.height > LOOK_SHORT or not table.to_series(-1).null_count():
        return []
    return [number for number, record in _numbered(body, separator, line) if record and len(record) < table.width]


def _said_of(short: list[int]) -> str:
    """A note of lines that end before the last column."""
    lines = ", ".join(f"{number:,}" for number in short[:3])
    if len(short) > 3:
        lines += f" and {len(short) - 3:,} more"
    which, they = ("line", "has") if len(short) == 1 else ("lines", "have")
    return f"{which} {lines} {they} fewer cells than the header: those that are not there are missing."


def _decoded(body: memoryview) -> io.TextIOWrapper:
    """The text of a file's content, its lines as they end there."""
    return io.TextIOWrapper(io.BytesIO(body), "utf-8", errors="replace", newline="")


def _numbered(body: memoryview, separator: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, comments left out, each with the number of the line in which it begins."""
    records = csv.reader(_decoded(body), delimiter=separator)
    before = 0
    try:
        for record in records:
            if not record or not record[0].startswith("#"):
                yield line + before, record
            before = records.line_num
    except csv.Error:
        return


def _without_blank_ends(table: "polars.DataFrame", notes: list[str]) -> "polars.DataFrame":
    """The table without the rows at its end that have no cell."""
    import polars

    if not table.height or any(cell is not None and cell.strip() for cell in table.row(-1)):
        return table
    has_cell = (polars.all().str.strip_chars() != "").fill_null(False)
    filled = table.select(polars.any_horizontal(has_cell))
    rows = filled.to_series().arg_true()
    kept = int(rows[-1]) + 1 if len(rows) else 0
    blank = table.height - kept
    notes.append(f"{blank} blank last line{'s' * (blank > 1)} left out.")
    return table.head(kept)


def _named(table: "polars.DataFrame", header: list[str], file: str, notes: list[str]) -> "polars.DataFrame":
    """The table under its own names, without unnamed columns that have no cell."""
    columns = list(zip(header, table, strict=True))
    twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
    if twice:
        raise VaekitError(f"{file} has two columns named {listed(twice)}: rename one of each.")
    kept = [(name, column) for name, column in columns if name or _has_cells(column)]
    if len(kept) < len(columns) and kept:
        count = len(columns) - len(kept)
        notes.append(f"{count} unnamed column{'s' * (count > 1)} without any cell left out.")
    kept = kept or columns[:1]
    unnamed = sum(not name for name, _ in kept)
    if unnamed > 1:
        raise VaekitError(f"{file} has {unnamed} columns without a name: name them in its first line.")
    return type(table)(dict(kept))  # a list of columns would give the one without a name another


def _check_blanks(table: "polars.DataFrame", path: Path) -> None:
    """Refuse a table of one column whose cells are several numbers: it has blanks for separators."""
    if table.width > 1 or not table.height:
        return
    column = table.to_series()
    if not column.str.contains(BLANKS).fill_null(False).all():
        return
    show = "zcat" if path.suffix.lower() == ".gz" else "cat"
    command = f"{show} {shlex.quote(str(path))} | sed 's/^ *//; s/ *$//; s/[ \t][ \t]*/,/g' > commas.csv"
    raise VaekitError(
        f"{path.name} has one column, '{column.name}', with several numbers in a cell, such as '{column[0]}': put "
        f"commas between them, such as by {command}"
    )


def _has_cells(column: "polars.Series") -> bool:
    """Whether a column of text has more than blanks."""
    return (column.str.strip_chars() != "").any()
