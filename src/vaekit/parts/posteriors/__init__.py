"""Posterior families: the encoder's features ↦ q(z|x)."""

from vaekit.parts.posteriors.codes import FSQ, LFQ, VQ, CodesPosterior, Concrete
from vaekit.parts.posteriors.experts import Experts
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, Diagonal, FullCovariance

__all__ = ["FSQ", "LFQ", "LOG_SCALE_RANGE", "VQ", "CodesPosterior", "Concrete", "Diagonal", "Experts", "FullCovariance"]
