"""Objectives: (model, batch, ε) ↦ a bound on log p(x) and a loss to descend."""

from vaekit.objectives.bounds import ELBO, GRADIENTS, ImportanceWeighted
from vaekit.objectives.members import EachMember

__all__ = ["ELBO", "GRADIENTS", "EachMember", "ImportanceWeighted"]
