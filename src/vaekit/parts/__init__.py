"""Parts of a model: each, called with features, returns a distribution."""

from vaekit.parts import likelihoods, posteriors, priors
from vaekit.parts.conditions import Conditions

__all__ = ["Conditions", "likelihoods", "posteriors", "priors"]
