"""What the pages of a TIFF hold, from their tags; and the pixels of those that Pillow does not give as they are."""

import importlib.util
import io
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import tifffile
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
RGB = 2
"""the photometric interpretation of red, green and blue"""
PALETTE = 3
COLOURS = {RGB: 3, 5: 4, 6: 3, 8: 3}
"""the colours of each photometric interpretation (RGB, CMYK, YCbCr, CIELAB); all others have one"""
OPACITY = (1, 2, 999)
"""the extra samples that are an opacity: multiplied in, apart, and as a drawing program writes it"""
APART = 2
"""the planar configuration with each channel by itself"""
TYPES = {1: "uint", 2: "int", 3: "float"}
"""kinds of numbers by their sample format"""
COMPRESSIONS = {1: "", 5: "LZW", 7: "JPEG", 8: "Deflate", 32773: "PackBits", 32946: "Deflate", 34712: "JPEG 2000"}
IMAGEJ = "ImageJ="


class Directory(NamedTuple):
    """The tags of a page that say what its numbers are."""

    width: int
    height: int
    samples: int
    """how many numbers a pixel has"""
    bits: tuple[int, ...]
    """of each of them"""
    form: int
    """the sample format: 1 unsigned, 2 signed, 3 floating point"""
    photometric: int
    extra: tuple[int, ...]
    """what the samples beyond the colours are"""
    planar: int
    depth: int
    """the layers of a volume, 1 of an image"""
    compression: int
    orientation: int
    description: str
    start: int
    """the first byte of its pixels"""
    complete: bool
    """whether all of its pixels are in the file"""

    @property
    def dtype(self) -> str:
        """NumPy's type of its numbers; nothing for others, for the indices of a palette, and for volumes."""
        bits = max(self.bits)
        if self.photometric == PALETTE or bits > 64 or self.depth > 1:
            return ""
        if self.form == 1 and 8 < bits < 16:
            return "uint16"
        name = f"{TYPES.get(self.form)}{bits}"
        if len(set(self.bits)) > 1 or name not in np.sctypeDict:
            return ""
        return name

    @property
    def kind(self) -> str:
        """What it is, in words: "a TIFF of 5 channels of 16 bits"."""
        channels = "1 channel" if self.samples == 1 else f"{self.samples} channels"
        bits = " and ".join(map(str, sorted(set(self.bits))))
        numbers = {1: "", 2: ", signed", 3: ", in floating point"}.get(self.form, ", of no plain numbers")
        packing = COMPRESSIONS.get(self.compression, f"method {self.compression}")
        layers = f" and {self.depth} layers" if self.depth > 1 else ""
        compressed = f", compressed ({packing})" if packing else ""
        return f"a TIFF of {channels} of {bits} bits{layers}{numbers}{compressed}"

    @property
    def deep_colour(self) -> bool:
        """Whether it is RGB of 16 bits a colour, of which Pillow gives 8."""
        return self.photometric == RGB and self.samples == 3 and self.dtype == "uint16"

    @property
    def kept_by_pillow(self) -> bool:
        """Whether Pillow, if it opens this page, gives all of its channels: it leaves out extra samples that are no
        opacity, and layers but the first, and mixes up channels of 16 bits that lie apart."""
        if self.depth > 1:
            return False
        if self.samples == 1:
            return True
        if self.planar == APART and max(self.bits) > 8:
            return False
        colours = COLOURS.get(self.photometric, 1)
        if self.samples == colours:
            return True
        missing = (self.photometric, self.samples, self.extra) == (RGB, 4, ())  # RGBA written without saying so
        return missing or (self.samples == colours + 1 and self.extra[:1] in [(kind,) for kind in OPACITY])

    @property
    def size(self) -> int:
        """The bytes of its pixels, unpacked."""
        return self.height * math.ceil(self.width * self.samples * max(self.bits) / 8)


def directories(file: Path) -> list[Directory]:
    """The pages of a TIFF; none of any other file.

    Raises whatever Pillow does on a damaged one.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    length = file.stat().st_size
    found = []
    with file.open("rb") as opened:
        header = opened.read(8)
        if header[:4] not in SIGNATURES:
            return []
        if b"+" in header[2:4]:  # a BigTIFF
            header += opened.read(8)
        tags = ImageFileDirectory_v2(header)
        seen = set()
        while tags.next and tags.next not in seen:
            seen.add(tags.next)
            opened.seek(tags.next)
            tags.load(opened)
            found.append(_directory(tags, length))
    return found


def _directory(tags: "ImageFileDirectory_v2", length: int) -> Directory:
    """What the tags of one page say, in a file of so many bytes."""
    samples = _number(tags, 277, len(_numbers(tags, 258)) or 1)
    bits = _numbers(tags, 258) or (1,)
    starts = _numbers(tags, 273) or _numbers(tags, 324)
    lengths = _numbers(tags, 279) or _numbers(tags, 325)
    ends = [start + size for start, size in zip(starts, lengths or [1] * len(starts), strict=False)]
    page = Directory(
        width=_number(tags, 256, 0),
        height=_number(tags, 257, 0),
        samples=samples,
        bits=bits,
        form=_number(tags, 339, 1),
        photometric=_number(tags, 262, 0),
        extra=_numbers(tags, 338),
        planar=_number(tags, 284, 1),
        depth=_number(tags, 32997, 1),
        compression=_number(tags, 259, 1),
        orientation=_number(tags, 274, 1),
        description=str(tags.get(270, "")),
        start=min(starts, default=0),
        complete=bool(ends) and max(ends) <= length,
    )
    too_short = page.compression == 1 and bool(lengths) and sum(lengths) < page.size
    return page._replace(complete=page.complete and page.size > 0 and not too_short)


def _numbers(tags: "ImageFileDirectory_v2", tag: int) -> tuple[int, ...]:
    """All numbers of a tag; none where it is missing."""
    value = tags.get(tag, ())
    if isinstance(value, tuple):
        return value
    return (value,)


def _number(tags: "ImageFileDirectory_v2", tag: int, default: int) -> int:
    """The first number of a tag."""
    return next(iter(_numbers(tags, tag)), default)


def described_channels(pages: list[Directory]) -> tuple[int, bool]:
    """How many channels the file's description says that its pages are, 1 where it says nothing; and whether those of
    one image follow each other, so that they can be put together.

    Descriptions are those of ImageJ, OME and tifffile.
    """
    if len(pages) < 2 or any(page.samples != 1 for page in pages):
        return 1, False
    count, innermost = _described(pages[0].description, len(pages))
    like = len({page[:6] for page in pages}) == 1
    return count, innermost and like and len(pages) % count == 0


def _described(description: str, pages: int) -> tuple[int, bool]:
    """The number of channels in the words of a description, and whether they are the innermost axis of the pages."""
    if description.startswith(IMAGEJ):  # whose order is always channels, slices, frames
        return _imagej(description).get("channels", 1), True
    if "<OME" in description:
        return _ome(description, pages)
    if description.startswith("{"):
        return _shaped(description)
    return 1, False


def _imagej(description: str) -> dict[str, int]:
    """The counts among the lines of ImageJ's description."""
    return {name: int(count) for name, count in re.findall(r"^(\w+)=([1-9]\d{0,8})\s*$", description, re.M)}


def _ome(description: str, pages: int) -> tuple[int, bool]:
    """The same of OME's description: by the order of its axes, or by the channel that it gives for each page."""
    sizes = {axis: int(size) for axis, size in re.findall(r'\bSize([CZT])="(\d{1,9})"', description)}
    channels = max(1, sizes.get("C", 1))
    images = len(re.findall(r"<Pixels\b", description))
    if images != 1 or math.prod(sizes.values()) != pages:
        return channels, False
    planes = [
        {name: int(value) for name, value in re.findall(r'\b(IFD|FirstC)="(\d{1,9})"', block)}
        for block in re.findall(r"<TiffData\b[^>]*>", description)
    ]
    if len(planes) == pages:
        planes.sort(key=lambda plane: plane.get("IFD", 0))
        return channels, all(plane.get("FirstC", 0) == i % channels for i, plane in enumerate(planes))
    order = re.search(r'DimensionOrder="XY([CZT]{3})"', description)
    if len(planes) > 1 or order is None:
        return channels, False
    varied = [axis for axis in order[1] if sizes.get(axis, 1) > 1]
    return channels, varied[:1] == ["C"]


def _shaped(description: str) -> tuple[int, bool]:
    """The same of tifffile's description, {"shape": [10, 2, 24, 24], "axes": "TCYX"}."""
    try:
        found = json.loads(description)
        shape, axes = found["shape"], found["axes"]
        place = axes.index("C")
        return int(shape[place]), axes.endswith("CYX")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return 1, False


def without_pages(file: Path, pages: list[Directory]) -> int:
    """How many images ImageJ has put behind the first, without a page of their own, as it does beyond 4 GB."""
    first = pages[0]
    if len(pages) > 1 or not first.description.startswith(IMAGEJ):
        return 0
    images = _imagej(first.description).get("images", 1)
    if file.stat().st_size - first.start < images * first.size:  # a page cut out of a stack, with its description
        return 0
    return images - 1


def readable() -> bool:
    """Whether tifffile is there."""
    return importlib.util.find_spec("tifffile") is not None


def opened(file: Path) -> "tifffile.TiffFile":
    """The file, open."""
    import tifffile

    return tifffile.TiffFile(file)


def pixels(stack: "tifffile.TiffFile", number: int) -> np.ndarray:
    """The pixels of a page, counted from 0, upright: (channels, height, width), with one (height, width).

    Raises whatever tifffile does on a damaged one.
    """
    page = stack.pages[number].aspage()
    found = page.asarray()
    axes = page.axes
    tag = page.tags.get(274)
    if "S" in axes:
        found = np.moveaxis(found, axes.index("S"), 0)
    if found.ndim > 3 or (found.ndim == 3 and "S" not in axes):
        raise ValueError(f"a page has the axes {axes}")
    return _upright(found, 1 if tag is None else int(tag.value))


def of_channels(images: np.ndarray) -> bytes:
    """A TIFF of images (n, channels, height, width), a page each with its channels apart; tifffile has to be there."""
    import tifffile

    colours = images.shape[1] == 3 and images.dtype.kind == "u"
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for image in images:
            file.write(
                image,
                photometric="rgb" if colours else "minisblack",
                planarconfig="separate",
                metadata=None,
                contiguous=False,
            )
    return buffer.getvalue()


def _upright(x: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (…, height, width) turned as the tag says: its rows and columns begin at another corner, or are
    exchanged."""
    if orientation in (5, 6, 7, 8):
        x = x.swapaxes(-2, -1)
    if orientation in (3, 4, 7, 8):
        x = np.flip(x, -2)
    if orientation in (2, 3, 6, 7):
        x = np.flip(x, -1)
    return x
