"""Priors: what z looks like before anything is seen."""

from vaekit.parts.priors.flow import Flow
from vaekit.parts.priors.mixture import Gaussian, Mixture
from vaekit.parts.priors.sphere import UniformSphere
from vaekit.parts.priors.standard import StandardNormal
from vaekit.parts.priors.vamp import VampPrior

__all__ = ["Flow", "Gaussian", "Mixture", "StandardNormal", "UniformSphere", "VampPrior"]
