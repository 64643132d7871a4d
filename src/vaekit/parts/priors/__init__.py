"""Priors: what z looks like before anything is seen."""

from vaekit.parts.priors.codes import AutoregressiveCodes, CodesPrior, IndependentCodes, UniformCodes, codes_prior
from vaekit.parts.priors.flow import Flow
from vaekit.parts.priors.ladder import Ladder
from vaekit.parts.priors.mixture import Gaussian, Mixture
from vaekit.parts.priors.sphere import UniformSphere
from vaekit.parts.priors.standard import StandardNormal
from vaekit.parts.priors.vamp import VampPrior

__all__ = [
    "AutoregressiveCodes", "CodesPrior", "Flow", "Gaussian", "IndependentCodes", "Ladder", "Mixture",
    "StandardNormal",
    "UniformCodes", "UniformSphere", "VampPrior", "codes_prior",
]  # fmt: skip
