"""Priors: what z looks like before anything is seen."""

from vaekit.parts.priors.flow import Flow
from vaekit.parts.priors.sphere import UniformSphere
from vaekit.parts.priors.standard import StandardNormal

__all__ = ["Flow", "StandardNormal", "UniformSphere"]
