"""Parts of a model: each, called with features, returns a distribution."""

from vaekit.parts import likelihoods, posteriors, priors

__all__ = ["likelihoods", "posteriors", "priors"]
