"""What the axes of an array of rows mean: columns of a table, pixels of images, or steps of sequences.

Only pixels share one range and one resolution. The cells of tables and sequences have each their own, so that log p(x)
of the same numbers does not depend on how they are arranged.
"""

from typing import NamedTuple

import numpy as np

from vaekit.data.ondisk import Rows
from vaekit.errors import VaekitError, unknown

LAYOUTS = ("table", "image", "sequence")
SIDE = 8
"""the fewest pixels a side of rows with two axes that count as images"""
PROPORTION = 4
"""at most so many times one side of such an image of real numbers is the other"""
ALIKE = 10
"""at most so many times the range of one of its columns is another's"""
WHITES = (1.0, 255.0, 65535.0)
LOOK = 2**20
"""cells looked at, in rows evenly spaced"""


class Layout(NamedTuple):
    """What rows are, where an image's axis of channels is ("none", "first" or "last"), and how that is known."""

    kind: str
    channels: str = "none"
    reason: str = ""

    def stored(self, x: np.ndarray) -> np.ndarray:
        """Dataset (n, *X) as they are kept: images as (n, C, height, width), with one channel as (n, height, width).

        >>> Layout("image", "last").stored(np.zeros((5, 28, 30, 3))).shape
        (5, 3, 28, 30)
        """
        if self.channels == "none":
            return x
        if self.channels == "last":
            x = np.moveaxis(x, -1, 1)
        if x.shape[1] == 1:
            return x[:, 0]
        return x

    def given(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Dataset (…, *shape), as they are kept, with the axes that the user's array had.

        >>> Layout("image", "last").given(np.zeros((5, 28, 30)), (28, 30)).shape
        (5, 28, 30, 1)
        """
        if self.channels == "none":
            return rows
        place = -1 if self.channels == "last" else -3
        if len(shape) == 3:
            return np.moveaxis(rows, -3, place)
        return np.expand_dims(rows, place)


def layout_of(x: Rows, stated: str = "auto", name: str = "the array") -> Layout:
    """The layout of rows x (n, *X), found by their shape and values, or as stated.

    Unsigned numbers of 8 or 16 bits and booleans of (height, width) are images from 8 pixels a side on; other numbers
    where no side is more than four times the other and the columns have like ranges. Of three axes the first or last is
    the channels if it is smaller than both others; unsigned numbers may then be of any size.

    Raises VaekitError, which says `name`, where the shape cannot be what is stated.

    >>> rng = np.random.default_rng(0)
    >>> layout_of(rng.random((9, 28, 28))).kind, layout_of(rng.random((9, 24, 3))).kind
    ('image', 'sequence')
    >>> layout_of(np.zeros((9, 5, 64, 64)))
    Layout(kind='image', channels='first', reason='5 channels, first')
    """
    if stated not in ("auto", *LAYOUTS):
        raise unknown("kind", stated, ("auto", *LAYOUTS))
    if stated == "image":
        return _stated_image(x.shape[1:], name)
    if stated != "auto":
        return Layout(stated, "none", "as stated")
    if x.ndim <= 2:
        return Layout("table", "none", "rows of columns")
    against = _against_images(x)
    if against:
        kind = "sequence" if x.ndim == 3 else "table"
        return Layout(kind, "none", f"no images: {against}; --kind image if they are")
    shape = x.shape[1:]
    channels = _channels(shape)
    if channels == "none":
        return Layout("image", channels, "two axes of pixels")
    return Layout("image", channels, _said(shape, channels))


def _stated_image(shape: tuple[int, ...], name: str) -> Layout:
    """The layout of rows of this shape that someone says are images; VaekitError where they cannot be."""
    if len(shape) == 2:
        return Layout("image", "none", "as stated")
    if len(shape) != 3:
        raise VaekitError(
            f"{name} has rows of shape {shape}, which are no images: give an array (n, height, width), or (n, height, "
            f"width, channels)."
        )
    channels = _channels(shape)
    if channels == "none":
        first, second, last = shape
        if second < min(first, last):
            raise VaekitError(
                f"{name} has rows of shape {shape}, their channels between the sides: move them first or last."
            )
        channels = "last" if last < first else "first"
    return Layout("image", channels, f"as stated, {_said(shape, channels)}")


def _said(shape: tuple[int, ...], channels: str) -> str:
    """How many channels rows of this shape have, and where."""
    count = shape[-1] if channels == "last" else shape[0]
    return f"{count} channel{'s' * (count != 1)}, {channels}"


def _channels(shape: tuple[int, ...]) -> str:
    """Where the axis of channels is: the first or last of three, if it is smaller than both others."""
    if len(shape) != 3:
        return "none"
    if shape[0] < min(shape[1:]):
        return "first"
    if shape[-1] < min(shape[:-1]):
        return "last"
    return "none"


def _against_images(x: Rows) -> str:
    """Why rows of two or more axes are not taken for images; nothing where they are."""
    shape = x.shape[1:]
    if len(shape) > 3:
        return f"rows of {len(shape)} axes"
    channels = _channels(shape)
    if len(shape) == 3 and channels == "none":
        return "neither the first nor the last axis is small enough for channels"
    sides = {"none": shape, "first": shape[1:], "last": shape[:-1]}[channels]
    of_pixels = x.dtype in (np.uint8, np.uint16, bool)
    if min(sides) < SIDE and not (of_pixels and len(shape) == 3):
        return f"a side of fewer than {SIDE}"
    if of_pixels:
        return ""
    if max(sides) > PROPORTION * min(sides):
        return f"one side is more than {PROPORTION} times the other"
    axis = 1 if channels == "first" else -1
    if not _like_pixels(x, axis):
        return "the columns have different ranges"
    return ""


def _like_pixels(x: Rows, axis: int) -> bool:
    """Whether the columns, or the channels, share a range, or black and a usual white."""
    every = -(-x.size // LOOK)
    some = np.moveaxis(x[::every], axis, 0).reshape(x.shape[axis], -1)
    low = np.fmin.reduce(some, axis=1).astype(np.float64)  # some cells may be missing
    high = np.fmax.reduce(some, axis=1).astype(np.float64)
    ranges = (high - low)[high > low]
    if not len(ranges) or ranges.max() <= ALIKE * ranges.min():
        return True
    return bool((low == 0).all()) and high.max() in WHITES
