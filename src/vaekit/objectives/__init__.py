"""Objectives: (model, batch, ε) ↦ a bound on log p(x) and a loss to descend."""

from vaekit.objectives.average import Averages, active_units, over_rows, posterior_means
from vaekit.objectives.bounds import ELBO, GRADIENTS, ImportanceWeighted

__all__ = ["ELBO", "GRADIENTS", "Averages", "ImportanceWeighted", "active_units", "over_rows", "posterior_means"]
