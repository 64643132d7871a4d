"""Packed files that would fill the memory."""

from vaekit.errors import VaekitError

BOMB = 2**28
"""bytes from which on a file is not unpacked to more than `RATIO` times its size"""
RATIO = 200


def most_unpacked(packed: int) -> int:
    """Bytes that so many may unpack to.

    >>> most_unpacked(10), most_unpacked(10**9)
    (268435456, 200000000000)
    """
    return max(BOMB, RATIO * packed)


def check_unpacked(name: str, packed: int, unpacked: int) -> None:
    """Refuse a small file, of so many bytes, that would take much memory, before it does; VaekitError says `name`."""
    if unpacked > most_unpacked(packed):
        raise VaekitError(
            f"{name} would take {unpacked:,} bytes, {unpacked // max(1, packed):,} times what it has: if that is "
            f"meant, unpack it and save it as .npy."
        )
