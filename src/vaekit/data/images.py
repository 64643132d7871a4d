"""Images as files, and folders of them → one array, of the numbers that they hold."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vaekit.data.fields import ImageFields
from vaekit.data.layout import Layout
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
UNREAD = (".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng")
"""endings of images that are not read: left out silently, they would be missed"""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits a channel"""
DEEP = {"I;16": "uint16", "I;16L": "uint16", "I;16B": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
"""its modes of more, all of one channel, and the type of their numbers"""


class Page(NamedTuple):
    """One image: a file, or one of the pages of a TIFF."""

    file: Path
    number: int | None
    """of the page, counted from 1, where there are several"""
    name: str
    """of the file, from the folder that was named"""
    label: str
    mode: str
    """Pillow's"""
    cut: bool
    """whether the file has 16 bits a colour, of which Pillow gives 8"""

    def __str__(self) -> str:
        return self._numbered(str(self.file))

    @property
    def title(self) -> str:
        """The file's name, with the page's number where it has several."""
        return self._numbered(self.name)

    def _numbered(self, name: str) -> str:
        if self.number is None:
            return name
        return f"{name}#{self.number}"

    @property
    def dtype(self) -> str:
        """The type of its numbers."""
        return DEEP.get(self.mode, "uint8")


def holds_images(path: Path) -> bool:
    """Whether a path is one for `read`: a folder, or a file with an image's ending."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def read(roots: list[Path], resize: str = "", colour: bool = False) -> ImageFields:
    """The images in these folders and files, in the order of their sorted paths: the fields of a Source.

    resize    HEIGHTxWIDTH (or one number for both) to which every image is scaled, whatever its proportions
    colour    give RGB even where every image is grey

    x has the type of the files' numbers, uint8, uint16, int32 or float32, which must be one: (n, height, width) where
    every image is grey (black and white counts as grey), else (n, 3, height, width), all of them RGB, in 8 bits. Images
    are turned as their EXIF orientation says; palettes and CMYK become RGB; transparent ones are laid on white, and a
    note says so. Each page of a TIFF is an image. The name of the subfolder is the label, that of the folder where
    several are given, and `beside` has the files' names, "stack.tif#2" for a page. Files that are no images and hidden
    ones (.name) are left out; links to folders are followed, each folder once.

    Raises VaekitError naming the file for anything that is no whole image, for images of a kind that is not read, and
    for images of different sizes or types.
    """
    size = parse_size(resize)
    try:
        found = [
            (file, _shown(file, root, len(roots) > 1), label or _folder(root, roots))
            for root in roots
            for file, label in _files(root)
        ]
    except OSError as error:
        raise VaekitError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    pages = [page for file, name, label in found for page in _pages(file, name, label)]
    _check_types(pages, colour)
    colour = colour or any(page.dtype == "uint8" and page.mode not in GREY for page in pages)
    x, transparent = _stack(pages, size, colour)
    labels = np.array([page.label for page in pages])
    layout = Layout("image", "last", "in colour") if colour else Layout("image", "none", "grey")
    return {
        "x": x,
        "labels": labels if any(labels) else None,
        "layout": layout,
        "beside": {"file": np.array([page.title for page in pages])},
        "notes": _notes(transparent, [page for page in pages if page.cut]),
    }


def _check_types(pages: list[Page], colour: bool) -> None:
    """Refuse images of different types of numbers, naming one of each."""
    first = pages[0]
    other = next((page for page in pages if page.dtype != first.dtype), None)
    if other is not None:
        raise VaekitError(
            f"images of different types: {first} holds {first.dtype} and {other} {other.dtype} numbers. Fit them "
            f"apart, or convert them to one type."
        )
    if colour and first.dtype != "uint8":
        raise VaekitError(f"{first} is grey, of {first.dtype} numbers, and images in 8-bit colour are wanted.")


def _notes(transparent: list[Page], cut: list[Page]) -> tuple[str, ...]:
    """What was changed about the images, a line each."""
    found = []
    if transparent:
        found.append(f"{_counted(transparent)} see-through in places: laid on white.")
    if cut:
        found.append(f"{_counted(cut)} of 16 bits a colour: 8 of them are read. An .npy array keeps them all.")
    return tuple(found)


def _counted(pages: list[Page]) -> str:
    """The file of one image, or how many images there are, with their verb.

    >>> _counted([Page(Path("a.png"), None, "a.png", "", "RGB", False)])
    'a.png is'
    """
    if len(pages) == 1:
        return f"{pages[0].file.name} is"
    return f"{len(pages):,} images are"


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
    height, width = match.groups()
    return int(height), int(width or height)


def _folder(root: Path, roots: list[Path]) -> str:
    """The label of what lies directly in one of several folders."""
    if len(roots) > 1 and root.is_dir():
        return root.resolve().name
    return ""


def _shown(file: Path, root: Path, several: bool) -> str:
    """A file's name as its owner knows it: from the folder that was named, and from where that is if several were."""
    if not root.is_dir():
        return str(file) if several else file.name
    below = file.relative_to(root)
    if several:
        below = root.resolve().name / below
    return str(below)


def _files(root: Path) -> list[tuple[Path, str]]:
    """(file, label) of the images of one folder, or of one file."""
    if not root.is_dir():
        return [(root, "")]
    files = list(_walk(root, "", set()))
    if not files:
        raise VaekitError(
            f"{root.name or root} is a folder, not a file, and holds no images ({', '.join(ENDINGS)}): "
            f"name one that does, or a file."
        )
    return files


def _walk(folder: Path, label: str, seen: set[str]) -> Iterator[tuple[Path, str]]:
    """(file, label) of the images in a folder and in those below it, which are `seen` once each."""
    real = os.path.realpath(folder)
    if real in seen:  # a link back up, or a second link to the same images
        return
    seen.add(real)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            below = f"{label}/{path.name}" if label else path.name
            yield from _walk(path, below, seen)
        elif path.suffix.lower() in UNREAD:
            raise VaekitError(f"{path} is an image of a kind that is not read: save it as PNG, or move it elsewhere.")
        elif path.suffix.lower() in ENDINGS or not path.is_file():
            yield path, label  # what is no regular file is refused when it is opened


def _pages(file: Path, name: str, label: str) -> list[Page]:
    """The images in a file."""
    with _opened(file) as image:
        count = getattr(image, "n_frames", 1)
        if image.format == "MPO":  # a photograph with a preview
            count = 1
        if count > 1 and image.format != "TIFF":
            raise VaekitError(f"{file} holds {count} pictures: give each a file of its own, or make it a TIFF.")
        pages = []
        for i in range(count):
            if count > 1:
                image.seek(i)
            if image.mode not in (*GREY, *COLOUR, *DEEP):
                raise VaekitError(f"{file} has pixels of mode {image.mode}, which are not read: convert it.")
            cut = image.mode not in DEEP and "16" in str(getattr(image, "tile", ""))
            number = i + 1 if count > 1 else None
            pages.append(Page(file, number, name, label, image.mode, cut))
        return pages


def _stack(pages: list[Page], size: tuple[int, int] | None, colour: bool) -> tuple[np.ndarray, list[Page]]:
    """All images, and those that are transparent in places."""
    x = np.empty(0)
    transparent = []
    for i, page in enumerate(pages):
        pixels, opaque = _pixels(page, size, colour)
        if i == 0:
            x = _room(len(pages), pixels)
        if pixels.shape != x.shape[1:]:
            first = _size(x[0])
            raise VaekitError(
                f"images of different sizes: {pages[0]} is {first} and {page} {_size(pixels)} (height x width). Give "
                f"--resize HEIGHTxWIDTH, such as --resize {first}: all are scaled to it, whatever their proportions."
            )
        x[i] = pixels
        if not opaque:
            transparent.append(page)
    return x, transparent


def _room(count: int, pixels: np.ndarray) -> np.ndarray:
    """An array for so many images like this one; VaekitError where the memory has no room for it."""
    try:
        return np.empty((count, *pixels.shape), pixels.dtype)
    except MemoryError as error:
        raise VaekitError(f"{count} images of {_size(pixels)} need more memory than there is: resize.") from error


def _size(pixels: np.ndarray) -> str:
    """HEIGHTxWIDTH of an image."""
    return "x".join(map(str, pixels.shape[-2:]))


def _pixels(page: Page, size: tuple[int, int] | None, colour: bool) -> tuple[np.ndarray, bool]:
    """One image upright and on white, (3, height, width) or (height, width), and whether it was opaque."""
    from PIL import Image, ImageOps

    with _opened(page.file) as image:
        if page.number is not None:
            image.seek(page.number - 1)
        upright = ImageOps.exif_transpose(image)
        if page.mode in DEEP:
            return _resized(np.asarray(upright, page.dtype), size), True
        opaque = True
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            least, _ = upright.getchannel("A").getextrema()
            opaque = least == 255
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        mode = "RGB" if colour else "L"
        upright = upright.convert(mode)
        if size is not None:
            height, width = size
            upright = upright.resize((width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(upright)
    if colour:
        pixels = np.moveaxis(pixels, -1, 0)
    return pixels, opaque


def _resized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Numbers of any type scaled as an image, within their range."""
    from PIL import Image

    if size is None:
        return pixels
    height, width = size
    image = Image.fromarray(pixels.astype(np.float32))
    scaled = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    scaled = np.clip(scaled, pixels.min(), pixels.max())
    if pixels.dtype != np.float32:
        scaled = scaled.round()
    return scaled.astype(pixels.dtype)


@contextmanager
def _opened(file: Path) -> "Iterator[Image.Image]":
    """A Pillow image of a kind that is read here; whatever goes wrong with it becomes a VaekitError."""
    from PIL import Image

    if not file.is_file():  # opening a pipe would wait forever
        raise VaekitError(f"{file} is no regular file: remove it, or mend the link.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except VaekitError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VaekitError(f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller first.") from error
    except Exception as error:  # decoders raise whatever they stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise VaekitError(f"{file} is damaged or no image: {reason}. Replace it, or take it away.") from error
