"""Objectives: (model, batch, ε) ↦ a bound on log p(x) and a loss to descend."""

from vaekit.objectives.bounds import ELBO, GRADIENTS, ImportanceWeighted

__all__ = ["ELBO", "GRADIENTS", "ImportanceWeighted"]
