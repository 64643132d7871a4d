"""Posterior families: the encoder's features ↦ q(z|x)."""

from vaekit.parts.posteriors.experts import Experts
from vaekit.parts.posteriors.normal import LOG_SCALE_RANGE, Diagonal, FullCovariance

__all__ = ["LOG_SCALE_RANGE", "Diagonal", "Experts", "FullCovariance"]
