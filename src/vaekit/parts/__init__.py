"""Parts of a model: each, called with features, returns a distribution."""

from vaekit.parts import flows, likelihoods, posteriors, priors
from vaekit.parts.conditions import Conditions

__all__ = ["Conditions", "flows", "likelihoods", "posteriors", "priors"]
