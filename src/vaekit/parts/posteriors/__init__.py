"""Posterior families: the encoder's features ↦ q(z|x)."""

from vaekit.parts.posteriors.codes import FSQ, LFQ, VQ, CodesPosterior, Concrete
from vaekit.parts.posteriors.experts import Experts
from vaekit.parts.posteriors.flows import Coupling, InverseAutoregressive, Planar
from vaekit.parts.posteriors.ladder import Ladder
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, Diagonal, FullCovariance
from vaekit.parts.posteriors.point import Point
from vaekit.parts.posteriors.sphere import Spherical

__all__ = [
    "FSQ", "LFQ", "LOG_SCALE_RANGE", "VQ", "CodesPosterior", "Concrete", "Coupling", "Diagonal", "Experts",
    "FullCovariance", "InverseAutoregressive", "Ladder", "Planar", "Point", "Spherical",
]  # fmt: skip
