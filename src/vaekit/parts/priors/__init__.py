"""Priors: what z looks like before anything is seen."""

from vaekit.parts.priors.standard import StandardNormal

__all__ = ["StandardNormal"]
