"""Posterior families: the encoder's features ↦ q(z|x)."""

from vaekit.parts.posteriors.experts import Experts
from vaekit.parts.posteriors.flows import Coupling, InverseAutoregressive, Planar
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, Diagonal, FullCovariance
from vaekit.parts.posteriors.sphere import Spherical

__all__ = [
    "LOG_SCALE_RANGE", "Coupling", "Diagonal", "Experts", "FullCovariance", "InverseAutoregressive", "Planar",
    "Spherical",
]  # fmt: skip
