"""Files → arrays. Each reader gives the fields of a Source: x, and names and labels where the file has them."""

import gzip
import io
import math
import shutil
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from vaekit.data.fields import Fields
from vaekit.data.tables import Columns, read_csv, read_parquet
from vaekit.data.unpacked import check_unpacked
from vaekit.errors import VaekitError, listed

MAPPED = 2**30
"""bytes above which an .npy stays on disk, mapped into memory"""
DAMAGE = (
    ValueError, EOFError, KeyError, SyntaxError, OverflowError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
    NotImplementedError, RuntimeError,
)  # fmt: skip
"""what NumPy and the decompressors raise on files that are not what they should be"""
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
SPARSE = {"data", "shape", "format"}
"""members of an archive that holds a sparse matrix"""
COORDINATES = {"row", "col", "data", "shape"}
"""those of one in the format of coordinates"""
X_NAMES = ("x", "X", "data", "train", "arr_0")
LABEL_NAMES = ("y", "labels", "label", "target")


def read(path: Path, columns: Columns | None = None) -> Fields:
    """The rows of one file, by its ending, of a table its `columns`; VaekitError says what is wrong with it."""
    columns = columns or Columns()
    name = path.name.lower()
    reader = next((function for ending, function in READERS.items() if name.endswith(ending)), None)
    if not path.is_file():
        raise VaekitError(f"{path} is not a file.")
    if reader is None:
        raise VaekitError(
            f"{path.name}: unknown kind of file; vaekit reads {', '.join(READERS)}, images and folders of images "
            f"(PNG, JPEG, WebP, BMP, TIFF: save others as PNG), and the names of data sets."
        )
    table = reader in (read_csv, read_parquet)
    if columns.refused_without_names and not table:
        raise VaekitError(
            f"{path.name} has no column names: --exclude, --label, --keep, --missing and --columns are for "
            f"{', '.join(TABLES)}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NumPy's, of headers that Python 2 wrote
            if table:
                return reader(path, columns)
            return reader(path)
    except VaekitError:
        raise
    except OSError as error:
        raise VaekitError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise VaekitError(f"{path.name} needs more memory than there is: split it, or save it as .npy.") from error
    except DAMAGE as error:
        said = str(error) or type(error).__name__
        reason = said.splitlines()[0].rstrip(".")[:200]
        if "pickle" in reason.lower():  # NumPy's own advice is to load it all the same
            reason = "it holds Python objects, which are never unpickled. Save numbers"
        raise VaekitError(f"{path.name} is damaged or not what its name says: {reason}.") from error


def read_npy(path: Path) -> Fields:
    """The fields of a Source from an .npy: in memory, or mapped where it is larger than a GiB.

    Raises VaekitError for an archive, for anything but numbers, and for a file that is not all there.
    """
    with path.open("rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            file.seek(0)
            _check_array(file, path.stat().st_size, path.name)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise VaekitError(f"{path.name} is an archive of arrays: name it .npz.")
    if array.nbytes > MAPPED:
        return {"x": _numeric(array)}
    return {"x": _native(array)}


def read_npz(path: Path) -> Fields:
    """The fields of a Source from an archive of arrays, or from a sparse matrix as SciPy saves it.

    The rows are the array of a usual name or the only one, the labels one of a usual name; what else there is is left
    out, with a note.

    Raises VaekitError where it is not clear which array is meant, and for masks that take cells out.
    """
    if not zipfile.is_zipfile(path):
        raise VaekitError(f"{path.name} is no .npz archive.")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if set(names) >= SPARSE or set(names) >= COORDINATES:
            return {"x": _sparse(path, archive)}
        chosen = _name_of_rows(names, path.name)
        label = next((n for n in LABEL_NAMES if n in names and n != chosen), None)
        masks = [n for n in names if "mask" in n.lower() and n not in (chosen, label)]
        for member in filter(None, (chosen, label, *masks)):
            _check_member(archive, member, path.name)
        for mask in masks:
            _check_mask(archive[mask], f"{path.name}: '{mask}'")
        others = [n for n in names if n not in (chosen, label, *masks)]
        fields: Fields = {"x": _native(archive[chosen])}
        if label is not None:
            fields |= {"labels": archive[label], "label_name": label}
        if others:
            fields["notes"] = (f"{listed(others)} left out: only '{chosen}' is learned.",)
        return fields


def _name_of_rows(names: list[str], file: str) -> str:
    """Which of an archive's arrays is that of the rows; VaekitError where it is not clear."""
    usual = [name for name in X_NAMES if name in names]
    if not usual and len(names) != 1:
        raise VaekitError(f"{file} holds {', '.join(names)}: name the array of rows 'x' (and labels 'y').")
    return usual[0] if usual else names[0]


def with_other_rows(path: Path, rows: np.ndarray, aside: Sequence[int] = ()) -> bytes:
    """The bytes of an .npz that is the one at a path with other rows (n, *X), in the type that its own have; all else
    that is in it stays as it is.

    aside    columns of its own rows (n, columns) that stay as they are, and are not among the others

    Raises VaekitError for a sparse matrix, and for rows of another shape.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if set(names) >= SPARSE or set(names) >= COORDINATES:
            raise VaekitError(
                f"{path.name} is a sparse matrix, which is not written: give -o a name that ends in .npy."
            )
        chosen = _name_of_rows(names, path.name)
        own = archive[chosen]
    where: tuple[slice | list[int], ...] = (slice(None),)
    if own.ndim == 2:
        where = (slice(None), [j for j in range(own.shape[1]) if j not in aside])
    if own[where].shape != rows.shape:
        raise VaekitError(
            f"{path.name}: '{chosen}' has {own[where].shape} to be filled, and the rows found are {rows.shape}: give "
            f"-o a name that ends in .npy."
        )
    own[where] = rows
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            copy = zipfile.ZipInfo(info.filename, info.date_time)
            copy.compress_type = info.compress_type
            with new.open(copy, "w", force_zip64=True) as target:
                if info.filename == f"{chosen}.npy":
                    np.lib.format.write_array(target, own, allow_pickle=False)
                    continue
                with old.open(info) as source:
                    shutil.copyfileobj(source, target)
    return buffer.getvalue()


def _check_mask(mask: np.ndarray, where: str) -> None:
    """Refuse rows some of whose cells a mask takes out, whichever way it is meant."""
    if mask.size and (mask != mask.reshape(-1)[0]).any():
        raise VaekitError(
            f"{where} marks some cells and not others: cells that are not to be learned cannot be told yet. Save only "
            f"the rows or columns that are whole, without a mask."
        )


def _sparse(path: Path, archive: np.lib.npyio.NpzFile) -> np.ndarray:
    """The array of a sparse matrix as `scipy.sparse.save_npz` writes it: what it leaves out is 0."""
    from scipy import sparse

    for member in archive.files:
        _check_member(archive, member, path.name)
    shape = [int(side) for side in archive["shape"]]
    unpacked = math.prod(shape) * archive["data"].dtype.itemsize
    check_unpacked(path.name, path.stat().st_size, unpacked)
    return _native(sparse.load_npz(path).toarray())


def read_idx(path: Path) -> Fields:
    """The fields of a Source from a file in the IDX format, gzipped or not: see `parse_idx`."""
    if not path.name.endswith(".gz"):
        return {"x": parse_idx(path.read_bytes(), path.name)}
    with gzip.open(path, "rb") as file:
        start = file.read(4 + 4 * 255)  # the longest header
        expected = _idx_size(start, path.name)
        check_unpacked(path.name, path.stat().st_size, expected)
        content = start + file.read(max(0, expected + 1 - len(start)))  # a byte too many is noticed
    return {"x": parse_idx(content, path.name)}


def _check_member(archive: np.lib.npyio.NpzFile, member: str, name: str) -> None:
    """Refuse an array that promises more than its archive holds."""
    files = archive.zip
    assert files is not None  # the archive is open
    stored = f"{member}.npy"
    if stored not in files.namelist():
        raise VaekitError(f"{name}: '{member}' is no array.")
    info = files.getinfo(stored)
    check_unpacked(name, info.compress_size, info.file_size)
    with files.open(stored) as file:
        _check_array(file, info.file_size, f"{name}: '{stored}'")


def _check_array(file: IO[bytes], size: int, where: str) -> None:
    """Refuse an .npy of which not all is there, from its header alone, and one of Python objects."""
    version = np.lib.format.read_magic(file)
    if version not in NPY_HEADERS:
        raise VaekitError(f"{where} is of a version of the format that vaekit does not read: {version}.")
    try:
        shape, _, dtype = NPY_HEADERS[version](file)
    except TypeError as error:  # NumPy's, of keys that are not text
        raise VaekitError(f"{where} is damaged: its header is none of an array.") from error
    if dtype.hasobject:
        raise VaekitError(f"{where} holds Python objects, which are never unpickled: save numbers.")
    if math.prod(shape) * dtype.itemsize > size:
        raise VaekitError(f"{where} is truncated or damaged: an array of shape {shape} is not all there.")


def _idx_shape(content: bytes) -> tuple[int, ...]:
    """The lengths of the axes, from the header of an IDX file."""
    axes = content[3]
    return tuple(np.frombuffer(content[4 : 4 + 4 * axes], ">u4").tolist())


def _idx_size(content: bytes, name: str) -> int:
    """The bytes that a whole IDX file has, from its beginning."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise VaekitError(f"{name} is not an IDX file: it does not start with the format's four bytes.")
    header = 4 + 4 * content[3]
    itemsize = np.dtype(IDX_TYPES[content[2]]).itemsize
    return header + math.prod(_idx_shape(content)) * itemsize


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """An array from the IDX format: two zero bytes, type, number of axes, their lengths, the values.

    Raises VaekitError, which says `name`, for other bytes, and where some are missing or too many.
    """
    expected = _idx_size(content, name)
    axes = content[3]
    dtype = np.dtype(IDX_TYPES[content[2]])
    shape = _idx_shape(content)
    start = 4 + 4 * axes
    if len(shape) != axes or len(content) != expected:
        raise VaekitError(
            f"{name} is truncated or damaged: its header {shape} needs {expected} bytes, it has {len(content)}."
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _numeric(array: np.ndarray) -> np.ndarray:
    """The array itself; VaekitError where it is not of numbers."""
    if array.dtype.kind not in "uifb":
        raise VaekitError(f"expected numbers, found an array of {array.dtype}.")
    return array


def _native(array: np.ndarray) -> np.ndarray:
    """An ordinary array in memory, in this machine's byte order."""
    return np.array(_numeric(array), dtype=array.dtype.newbyteorder("="), order="C")


TABLES: dict[str, Callable[[Path, Columns], Fields]] = {
    ".csv": read_csv, ".tsv": read_csv, ".csv.gz": read_csv, ".tsv.gz": read_csv, ".parquet": read_parquet,
}  # fmt: skip
READERS: dict[str, Callable[..., Fields]] = {
    ".npy": read_npy, ".npz": read_npz, **TABLES,
    ".idx": read_idx, ".idx.gz": read_idx, "-ubyte": read_idx, "-ubyte.gz": read_idx,
}  # fmt: skip
