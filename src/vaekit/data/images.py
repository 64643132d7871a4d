"""Images as files, and folders of them → one array, of the numbers that they hold."""

import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Union

import numpy as np

from vaekit.data import tiff
from vaekit.data.fields import ImageFields
from vaekit.data.layout import Layout
from vaekit.data.schema import LARGEST
from vaekit.data.unpacked import check_unpacked
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Planes = Callable[[int], Union["Image", np.ndarray]]
"""the pages of an open file, by their numbers from 0, upright: Pillow's images, or arrays where tifffile reads it"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
UNREAD = (".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng")
"""endings of images that are not read: left out silently, they would be missed"""
TIFFS = (".tif", ".tiff")
INSTALL = "pip install tifffile (the extra vaekit[tiff])"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits a channel"""
DEEP = {"I;16": "uint16", "I;16L": "uint16", "I;16B": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
"""its modes of more, all of one channel, and the type of their numbers"""


class Page(NamedTuple):
    """One image: a file, a page of a TIFF, or several pages that are its channels."""

    file: Path
    numbers: tuple[int, ...]
    """of its pages, counted from 1, where the file has several"""
    name: str
    """of the file, from the folder that was named"""
    label: str
    mode: str
    """Pillow's; nothing where tifffile reads it"""
    dtype: str
    """the type of its numbers"""
    channels: int = 1
    """those that are read as such; 1 of all that Pillow gives, which can be grey and RGB"""
    cut: bool = False
    """whether the file has 16 bits a colour, of which Pillow gives 8"""
    apart: int = 1
    """the channels that the file's description speaks of, where its pages are not put together"""

    def __str__(self) -> str:
        return self._numbered(str(self.file))

    @property
    def title(self) -> str:
        """The file's name, with the numbers of its pages where the file has several."""
        return self._numbered(self.name)

    def _numbered(self, name: str) -> str:
        if not self.numbers:
            return name
        if len(self.numbers) == 1:
            return f"{name}#{self.numbers[0]}"
        return f"{name}#{self.numbers[0]}-{self.numbers[-1]}"

    @property
    def coloured(self) -> bool:
        """Whether it is read as RGB, and all others with it."""
        return self.mode in COLOUR and self.channels == 1

    @property
    def kind(self) -> str:
        """Its channels, where they are read as such, and the type of its numbers."""
        if self.channels == 1:
            return self.dtype
        return f"{self.channels} channels of {self.dtype}"


def holds_images(path: Path) -> bool:
    """Whether a path is one for `read`: a folder, or a file with an image's ending."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def read(roots: list[Path], resize: str = "", colour: bool = False) -> ImageFields:
    """The images in these folders and files, in the order of their sorted paths: the fields of a Source.

    resize    HEIGHTxWIDTH (or one number for both) to which every image is scaled, whatever its proportions
    colour    give RGB even where every image is grey

    x has the type of the files' numbers, uint8, uint16, uint32, int32 or float32, which must be one: (n, height, width)
    where every image is grey (black and white counts as grey), else (n, 3, height, width), all of them RGB, in 8 bits.
    Where tifffile is installed, a TIFF may be of any other type, of any number of channels, and of 16 bits a colour:
    (n, channels, height, width). Images are turned as their EXIF orientation says; palettes and CMYK become RGB;
    transparent ones are laid on white, and a note says so. Each page of a TIFF is an image, unless its description says
    that pages which follow each other are the channels of one. The name of the subfolder is the label, that of the
    folder where several are given, and `beside` has the files' names, "stack.tif#2" for a page and "stack.tif#3-4" for
    two. Files that are no images and hidden ones (.name) are left out; links to folders are followed, each folder once.

    Raises VaekitError naming the file for anything that is no whole image, for images of a kind that is not read, for
    pixels that are no finite numbers, and for images of different sizes or types.
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
    channels = pages[0].channels
    colour = channels == 1 and (colour or any(page.coloured for page in pages))
    x, transparent = _stack(pages, size, colour)
    labels = np.array([page.label for page in pages])
    layout = Layout("image", "none", "grey")
    if colour:
        layout = Layout("image", "last", "in colour")
    if channels > 1:
        layout = Layout("image", "first", f"{channels} channels")
    return {
        "x": x,
        "labels": labels if any(labels) else None,
        "layout": layout,
        "beside": {"file": np.array([page.title for page in pages])},
        "notes": _notes(pages, transparent),
    }


def _check_types(pages: list[Page], colour: bool) -> None:
    """Refuse images of different types of numbers, or of different channels, naming one of each."""
    first = pages[0]
    other = next((page for page in pages if page.kind != first.kind), None)
    if other is not None:
        raise VaekitError(
            f"images of different types: {first} holds {first.kind} and {other} {other.kind} numbers. Fit them "
            f"apart, or convert them to one type."
        )
    if colour and first.channels == 1 and first.dtype != "uint8":
        raise VaekitError(f"{first} is grey, of {first.dtype} numbers, and images in 8-bit colour are wanted.")


def _notes(pages: list[Page], transparent: list[Page]) -> tuple[str, ...]:
    """What was changed about the images, a line each."""
    found = []
    if transparent:
        found.append(f"{_counted(transparent)} see-through in places: laid on white.")
    cut = [page for page in pages if page.cut]
    if cut:
        found.append(
            f"{_counted(cut)} of 16 bits a colour: 8 of them are read. An .npy array keeps them all"
            f"{_whole_with_tifffile(cut)}."
        )
    together = [page for page in pages if len(page.numbers) > 1]
    if together:
        count = len(together[0].numbers)
        found.append(
            f"{_counted(together)} put together from {count} pages: the channels that the TIFF's description speaks of."
        )
    apart = [page for page in pages if page.apart > 1]
    if apart:
        count = apart[0].apart
        found.append(
            f"{apart[0].file.name} speaks of {count} channels in its description, and each of its pages is read as an "
            f"image of its own: an .npy array (n, {count}, height, width) has the channels of an image together."
        )
    return tuple(found)


def _whole_with_tifffile(cut: list[Page]) -> str:
    """How colours of 16 bits in TIFFs are read whole."""
    possible = all(page.file.suffix.lower() in TIFFS and page.mode == "RGB" for page in cut)
    if not possible or tiff.readable():
        return ""
    return f", or {INSTALL}"


def _counted(pages: list[Page]) -> str:
    """The file of one image, or how many images there are, with their verb.

    >>> _counted([Page(Path("a.png"), (), "a.png", "", "RGB", "uint8")])
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
    with _refusing(file):
        directories = tiff.directories(file)
    whole = all(page.kept_by_pillow for page in directories)
    deep = any(page.deep_colour for page in directories) and tiff.readable()
    if directories and (deep or not whole or not _opens(file)):
        pages = [_tiff_page(file, i, directories, name, label) for i in range(len(directories))]
    else:
        pages = _pillow_pages(file, name, label)
    if not directories:
        return pages
    missing = tiff.without_pages(file, directories)
    if missing:
        raise VaekitError(
            f"{file} holds {missing:,} images without pages of their own, as ImageJ writes stacks of more than 4 GB, "
            f"and they would be missed: save them as stacks of less than 4 GB."
        )
    channels, innermost = tiff.described_channels(directories)
    if channels == 1:
        return pages
    if not innermost or any(page.channels > 1 or page.coloured for page in pages):
        return [page._replace(apart=channels) for page in pages]
    numbers = [tuple(range(i + 1, i + channels + 1)) for i in range(0, len(pages), channels)]
    return [pages[0]._replace(numbers=several, channels=channels) for several in numbers]


def _pillow_pages(file: Path, name: str, label: str) -> list[Page]:
    """The images in a file that Pillow reads."""
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
            cut = image.mode not in DEEP and _bits(image) == 16
            numbers = (i + 1,) if count > 1 else ()
            pages.append(Page(file, numbers, name, label, image.mode, _dtype(image), cut=cut))
        return pages


def _tiff_page(file: Path, i: int, directories: list[tiff.Directory], name: str, label: str) -> Page:
    """A page of a TIFF that Pillow does not give as it is; VaekitError where nothing does."""
    directory = directories[i]
    numbers = (i + 1,) if len(directories) > 1 else ()
    page = Page(file, numbers, name, label, "", directory.dtype, directory.samples)
    if not directory.complete:
        raise VaekitError(f"{page} is damaged: not all of its pixels are there. Replace it, or take it away.")
    channels = f"{page.channels}, " if page.channels > 1 else ""
    array = f"an .npy array (n, {channels}height, width)"
    if not page.dtype:
        raise VaekitError(f"{page} is {directory.kind}, which is not read: save the images as {array} of float32.")
    if not tiff.readable():
        raise VaekitError(
            f"{page} is {directory.kind}, which Pillow does not read: {INSTALL}, or save the images as {array} of "
            f"{page.dtype}."
        )
    _check_pixels(directory.width * directory.height, file)
    check_unpacked(str(page), file.stat().st_size, directory.size)
    return page


def _opens(file: Path) -> bool:
    """Whether Pillow knows the kind of each page."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=("TIFF",)) as image:
                return getattr(image, "n_frames", 1) > 0
    except Image.DecompressionBombError:  # which is said once the page is opened
        return True
    except Exception:  # decoders raise whatever they stumble over
        return False


def _bits(image: "ImageFile") -> int:
    """How many bits a number of the file has where they are 16 and Pillow may give fewer; 8 stands for all others."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]  # a TiffImageFile
    if image.format == "PNG" and str(image.tile[0].args).endswith(";16B"):
        return 16
    return 8


def _dtype(image: "ImageFile") -> str:
    """The type of an image's numbers. Pillow has no mode for unsigned numbers of 32 bits and for signed ones of 8: it
    gives their bits."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]  # a TiffImageFile
        signed = tags.get(339, (1,))[0] == 2
        if image.mode == "I" and tags[258] == (32,) and not signed:
            return "uint32"
        if image.mode == "L" and signed:
            return "int8"
    return DEEP.get(image.mode, "uint8")


def _stack(pages: list[Page], size: tuple[int, int] | None, colour: bool) -> tuple[np.ndarray, list[Page]]:
    """All images, and those that are transparent in places."""
    x = np.empty(0)
    transparent = []
    with closing(_each(pages, size, colour)) as images:
        for i, (page, pixels, opaque) in enumerate(images):
            if i == 0:
                x = _room(len(pages), pixels)
            if pixels.shape != x.shape[1:]:
                first = _size(x[0])
                raise VaekitError(
                    f"images of different sizes: {pages[0]} is {first} and {page} {_size(pixels)} (height x width). "
                    f"Give --resize HEIGHTxWIDTH, such as --resize {first}: all are scaled to it, whatever their "
                    f"proportions."
                )
            x[i] = pixels
            if not opaque:
                transparent.append(page)
    return x, transparent


def _each(pages: list[Page], size: tuple[int, int] | None, colour: bool) -> Generator[tuple[Page, np.ndarray, bool]]:
    """Each image with its pixels and whether it was opaque. A file is opened once for all its pages: finding one from
    the beginning passes all before it."""
    for _, of_file in groupby(pages, lambda page: page.file):
        several = list(of_file)
        with _planes(several[0]) as planes:
            for page in several:
                yield page, *_pixels(page, planes, size, colour)


@contextmanager
def _planes(page: Page) -> Iterator[Planes]:
    """The pages of an image's file, which is open for so long."""
    from PIL import ImageOps

    if not page.mode:
        with _refusing(page.file), tiff.opened(page.file) as stack:
            yield lambda number: tiff.pixels(stack, number)
        return
    with _opened(page.file) as image:

        def upright(number: int) -> "Image":
            image.seek(number)
            return ImageOps.exif_transpose(image)

        yield upright


def _room(count: int, pixels: np.ndarray) -> np.ndarray:
    """An array for so many images like this one; VaekitError where the memory has no room for it."""
    try:
        return np.empty((count, *pixels.shape), pixels.dtype)
    except MemoryError as error:
        raise VaekitError(f"{count} images of {_size(pixels)} need more memory than there is: resize.") from error


def _size(pixels: np.ndarray) -> str:
    """HEIGHTxWIDTH of an image."""
    return "x".join(map(str, pixels.shape[-2:]))


def _pixels(page: Page, planes: Planes, size: tuple[int, int] | None, colour: bool) -> tuple[np.ndarray, bool]:
    """One image upright and on white, (channels, height, width) or (height, width), and whether it was opaque."""
    if page.mode and page.channels == 1 and page.dtype == "uint8":
        return _shades(page, planes, size, colour)
    pixels = _resized(_numbers(page, planes), size)
    if colour and pixels.ndim == 2:
        pixels = np.stack([pixels] * 3)
    return pixels, True


def _numbers(page: Page, planes: Planes) -> np.ndarray:
    """The numbers of an image as they are in the file, but upright."""
    found = [np.asarray(planes(number - 1)) for number in page.numbers or (1,)]
    pixels = found[0] if len(found) == 1 else np.stack(found)
    if page.mode and page.dtype in ("uint32", "int8"):  # whose bits Pillow gives in a type of the other sign
        pixels = pixels.view(page.dtype)
    pixels = pixels.astype(page.dtype)
    _check_finite(pixels, page)
    return pixels


def _check_finite(pixels: np.ndarray, page: Page) -> None:
    """Refuse pixels that are NaN, infinite or too large, naming the first and where it is."""
    if pixels.dtype.kind != "f":
        return
    bad = ~(np.abs(pixels.astype(np.float64)) < LARGEST)
    if not bad.any():
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    *channel, row, column = first
    place = f"row {row}, column {column}"
    if channel:
        place = f"channel {channel[0]}, {place}"
    others = f" and {bad.sum() - 1:,} more of its pixels are no finite numbers" if bad.sum() > 1 else ""
    raise VaekitError(
        f"{page}: {place} (counted from 0) is {pixels[first]}{others}: fill or crop pixels that are NaN, infinite or "
        f"beyond ±{LARGEST:g}, or take the image away."
    )


def _shades(page: Page, planes: Planes, size: tuple[int, int] | None, colour: bool) -> tuple[np.ndarray, bool]:
    """An image of 8 bits, RGB or grey, on white, and whether it was opaque."""
    from PIL import Image

    number = page.numbers[0] if page.numbers else 1
    upright = planes(number - 1)
    assert isinstance(upright, Image.Image)  # those of tifffile are read as numbers
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
    if pixels.ndim == 3:
        return np.stack([_resized(channel, size) for channel in pixels])
    height, width = size
    image = Image.fromarray(pixels.astype(np.float32))
    scaled = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    scaled = np.clip(scaled, pixels.min(), pixels.max())
    if pixels.dtype.kind != "f":
        scaled = scaled.round()
    return scaled.astype(pixels.dtype)


def _check_pixels(count: int, file: Path) -> None:
    """Refuse an image of more pixels than Pillow would open."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and count > Image.MAX_IMAGE_PIXELS:
        raise VaekitError(f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller first.")


@contextmanager
def _opened(file: Path) -> "Iterator[ImageFile]":
    """A Pillow image of a kind that is read here; whatever goes wrong with it becomes a VaekitError."""
    from PIL import Image

    with _refusing(file), Image.open(file, formats=FORMATS) as image:
        yield image


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a VaekitError."""
    from PIL import Image

    if not file.is_file():  # opening a pipe would wait forever
        raise VaekitError(f"{file} is no regular file: remove it, or mend the link.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except VaekitError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VaekitError(f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller first.") from error
    except Exception as error:  # decoders raise whatever they stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        if "imagecodecs" in reason:  # tifffile's, of most compressions
            raise VaekitError(f"{file} is compressed: pip install imagecodecs, or save it uncompressed.") from error
        raise VaekitError(f"{file} is damaged or no image: {reason}. Replace it, or take it away.") from error
