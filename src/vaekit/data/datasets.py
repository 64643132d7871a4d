"""Data sets known by name."""

import gzip
import hashlib
import logging
import os
import sys
from pathlib import Path

import numpy as np

from vaekit.data import readers
from vaekit.data.fields import Fields
from vaekit.errors import VaekitError, reason

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

SHA256 = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""Of the unpacked files, in the order of IDX_FILES."""

MIRRORS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
"""Where the packed files (.gz) are published; what comes from there is checked against SHA256."""

STATIC_MNIST = "static-mnist.npz"

NAMES = {
    "digits": "1,797 handwritten digits, 8×8, whole numbers 0–16; comes with scikit-learn",
    "mnist": "70,000 handwritten digits, 28×28, 0–255; its own 10,000 test rows",
    "fashion-mnist": "70,000 pieces of clothing, 28×28, 0–255; its own 10,000 test rows",
    "static-mnist": "70,000 handwritten digits, 28×28, binarised once; its own validation and test rows",
}


def folders() -> list[Path]:
    """Where data sets are looked for: $VAEKIT_DATA, then the user's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    places = [Path(caches) / "vaekit"]
    given = os.environ.get("VAEKIT_DATA")
    if given:
        places.insert(0, Path(given))
    return places


def find(name: str) -> Path | None:
    """The folder (or file) that holds a data set, or None."""
    wanted = STATIC_MNIST if name == "static-mnist" else name
    for folder in folders():
        for place in (folder / "images" / wanted, folder / wanted):
            if place.exists():
                return place
    return None


def load(name: str) -> Fields:
    """The fields of a Source: x (n, *X) uint8, labels, and the parts that the data set fixes.

    mnist and fashion-mnist are downloaded into the user's cache where they are not found.

    Raises VaekitError for a data set that is not there, or whose files are not those that were published.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return {"x": digits.images.astype(np.uint8), "labels": digits.target}
    place = find(name)
    if place is None and name in MIRRORS:
        place = _download(name)
    if place is None:
        raise _missing(name)
    if name == "static-mnist":
        return _static_mnist(place)
    return _idx(name, place)


def _missing(name: str, why: str = "") -> VaekitError:
    looked = " and ".join(str(folder) for folder in folders())
    wanted = f"a folder '{name}' with its four IDX files (.gz)"
    if name == "static-mnist":
        wanted = STATIC_MNIST
    return VaekitError(
        f"'{name}' was not found in {looked}{why}: put {wanted} there, or set VAEKIT_DATA to where it is."
    )


def _download(name: str) -> Path:
    """The four files into the cache; the folder has its name only once all of them are whole."""
    import pooch

    folder = folders()[-1] / name
    unfinished = folder.with_name(f"{name}.part")
    print(f"Downloading {name} from {MIRRORS[name]} to {folder}", file=sys.stderr)
    log = pooch.get_logger()
    level = log.level
    log.setLevel(logging.WARNING)  # it would recommend hashes to write down
    try:
        for file, sha in zip(IDX_FILES, SHA256[name], strict=True):
            _retrieve(f"{MIRRORS[name]}{file}.gz", unfinished, file, sha)
    except (OSError, ValueError) as error:
        why = reason(error).splitlines()[0][:300]
        raise _missing(name, f", and downloading it from {MIRRORS[name]} failed ({why})") from error
    finally:
        log.setLevel(level)
    if not folder.exists():
        unfinished.rename(folder)
    return folder


def _retrieve(url: str, folder: Path, file: str, sha256: str) -> None:
    """One file; what is there from an earlier attempt is kept if it is whole."""
    import pooch

    packed = folder / f"{file}.gz"
    for last in (False, True):
        pooch.retrieve(url, known_hash=None, fname=packed.name, path=folder)
        try:
            _checked(folder, file, sha256)
            return
        except VaekitError:
            packed.unlink()
            if last:
                raise


def _idx(name: str, folder: Path) -> Fields:
    train, train_labels, test, test_labels = (
        _checked(folder, file, sha) for file, sha in zip(IDX_FILES, SHA256[name], strict=True)
    )
    n = len(train)
    return {
        "x": np.concatenate([train, test]),
        "labels": np.concatenate([train_labels, test_labels]),
        "parts": {"train": np.arange(n), "test": np.arange(n, n + len(test))},
    }


def _checked(folder: Path, file: str, sha256: str) -> np.ndarray:
    plain = folder / file
    packed = folder / f"{file}.gz"
    try:
        content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, *readers.DAMAGE) as error:
        raise VaekitError(f"{packed} cannot be read: {reason(error)}.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise VaekitError(f"{plain} is not the published file (its SHA-256 differs): fetch it again.")
    return readers.parse_idx(content, file)


def _static_mnist(path: Path) -> Fields:
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed = {name: archive[name] for name in ("train", "valid", "test")}
        unpacked = [np.unpackbits(part, axis=1) for part in packed.values()]
        x = np.concatenate(unpacked).reshape(-1, 28, 28)
    except (OSError, *readers.DAMAGE) as error:
        raise VaekitError(f"{path} cannot be read: {reason(error)}.") from error
    counts = [len(part) for part in packed.values()]
    ends = np.cumsum(counts)
    starts = ends - counts
    rows = [np.arange(a, b) for a, b in zip(starts, ends, strict=True)]
    return {"x": x, "parts": dict(zip(("train", "validation", "test"), rows, strict=True))}
