"""Images as files, and folders of them → one array of bytes."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vaekit.errors import VaekitError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
UNREAD = (".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng")
"""endings of images that are not read: left out silently, they would be missed"""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits a channel"""


def holds_images(path: Path) -> bool:
    """Whether a path is one for `read`: a folder, or a file with an image's ending."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def read(roots: list[Path], resize: str = "", colour: bool = False) -> dict:
    """The images in these folders and files, in the order of their sorted paths: the fields of a Source.

    resize    HEIGHTxWIDTH (or one number for both) to which every image is scaled, whatever its proportions
    colour    give RGB even where every image is grey

    x is uint8: (n, height, width) where every image is grey (black and white counts as grey), else (n, 3, height,
    width), all of them RGB. Images are turned as their EXIF orientation says; transparent ones are laid on white;
    palettes and CMYK become RGB. The name of the subfolder is the label, that of the folder where several are given.
    Files that are no images and hidden ones (.name) are left out; links to folders are followed, each folder once.

    Raises VaekitError naming the file for anything that is no whole image of 8 bits a channel, for images of a kind
    that is not read, and for images of different sizes.
    """
    size = parse_size(resize)
    try:
        found = [(file, label or _folder(root, roots), root) for root in roots for file, label in _files(root)]
    except OSError as error:
        raise VaekitError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    files, labels = [file for file, _, _ in found], np.array([label for _, label, _ in found])
    colour = colour or any(_in_colour(file) for file in files)
    x = _stack(files, size, colour)
    beside = {"file": np.array([_shown(file, root, roots) for file, _, root in found])}
    return {"x": x, "labels": labels if any(labels) else None, "channels_last": colour, "beside": beside}


def parse_size(text: str) -> tuple[int, int] | None:
    """(height, width) from "HEIGHTxWIDTH" or one number for both; None from no text.

    >>> parse_size("48x64"), parse_size("32"), parse_size("")
    ((48, 64), (32, 32), None)
    """
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})(?:[x×]([1-9]\d{0,3}))?", text.strip().lower(), re.ASCII)
    if match is None:
        raise VaekitError(f"resize is '{text}': give HEIGHTxWIDTH in pixels, such as 48x64, or one number for both.")
    return int(match[1]), int(match[2] or match[1])


def _folder(root: Path, roots: list[Path]) -> str:
    """The label of what lies directly in one of several folders."""
    return root.resolve().name if len(roots) > 1 and root.is_dir() else ""


def _shown(file: Path, root: Path, roots: list[Path]) -> str:
    """A file's name as its owner knows it: below the folder that was given, which is named where there are several."""
    if not root.is_dir():
        return str(file)
    below = file.relative_to(root)
    return str(root.name / below if len(roots) > 1 else below)


def _files(root: Path) -> list[tuple[Path, str]]:
    """(file, label) of the images of one folder, or of one file."""
    if not root.is_dir():
        return [(root, "")]
    files = [(file, folder) for file, folder in _walk(root, "", set())]
    if not files:
        raise VaekitError(
            f"{root.name or root} is a folder, not a file, and holds no images ({', '.join(ENDINGS)}): "
            f"name one that does, or a file."
        )
    return files


def _walk(folder: Path, label: str, seen: set[str]) -> Iterator[tuple[Path, str]]:
    real = os.path.realpath(folder)
    if real in seen:  # a link back up, or a second link to the same images
        return
    seen.add(real)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, f"{label}/{path.name}" if label else path.name, seen)
        elif path.suffix.lower() in UNREAD:
            raise VaekitError(f"{path} is an image of a kind that is not read: save it as PNG, or move it elsewhere.")
        elif path.suffix.lower() in ENDINGS or not path.is_file():
            yield path, label  # what is no regular file is refused when it is opened


def _stack(files: list[Path], size: tuple[int, int] | None, colour: bool) -> np.ndarray:
    first = _pixels(files[0], size, colour)
    try:
        x = np.empty((len(files), *first.shape), np.uint8)
    except MemoryError as error:
        raise VaekitError(f"{len(files)} images of {_size(first)} need more memory than there is: resize.") from error
    x[0] = first
    for i, file in enumerate(files[1:], 1):
        pixels = _pixels(file, size, colour)
        if pixels.shape != first.shape:
            raise VaekitError(
                f"images of different sizes: {files[0]} is {_size(first)} and {file} {_size(pixels)} (height x width). "
                f"Give --resize HEIGHTxWIDTH, such as --resize {_size(first)}: all are scaled to it, whatever their "
                f"proportions."
            )
        x[i] = pixels
    return x


def _size(pixels: np.ndarray) -> str:
    return "x".join(map(str, pixels.shape[-2:]))


def _in_colour(file: Path) -> bool:
    with _opened(file) as image:
        return image.mode not in GREY


def _pixels(file: Path, size: tuple[int, int] | None, colour: bool) -> np.ndarray:
    """One image upright and opaque: (3, height, width) or (height, width) uint8."""
    from PIL import Image, ImageOps

    with _opened(file) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        upright = upright.convert("RGB" if colour else "L")
        if size is not None:
            upright = upright.resize(size[::-1], Image.Resampling.LANCZOS)
        pixels = np.asarray(upright)
    return np.moveaxis(pixels, -1, 0) if colour else pixels


@contextmanager
def _opened(file: Path):
    """A Pillow image of a kind that is read here; whatever goes wrong with it becomes a VaekitError."""
    from PIL import Image

    if not file.is_file():  # opening a pipe would wait forever
        raise VaekitError(f"{file} is no regular file: remove it, or mend the link.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                _check(image, file)
                yield image
    except VaekitError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VaekitError(f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller first.") from error
    except Exception as error:  # decoders raise whatever they stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise VaekitError(f"{file} is damaged or no image: {reason}. Replace it, or take it away.") from error


def _check(image, file: Path) -> None:
    if image.mode not in GREY + COLOUR:
        raise VaekitError(
            f"{file} has pixels of more than 8 bits (mode {image.mode}): convert it to 8 bits, or give the values as "
            f"an .npy array."
        )
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO is a camera's photograph with a preview
        raise VaekitError(f"{file} holds {image.n_frames} pictures: give each a file of its own.")
