"""Models: how parts are joined into p(x, z) and q(z|x)."""

from vaekit.models.flat import FlatModel

__all__ = ["FlatModel"]
