"""Objectives: (model, batch, ε) ↦ a bound on log p(x) and a loss to descend; and penalties, which go into the loss."""

from vaekit.objectives.autoencoder import Autoencoder, CodeNorm, Jacobian, WeightDecay
from vaekit.objectives.bounds import ELBO, GRADIENTS, ImportanceWeighted
from vaekit.objectives.correlation import DIPI, DIPII, DimensionWise, Information, TotalCorrelation
from vaekit.objectives.divergences import MMD
from vaekit.objectives.members import EachMember
from vaekit.objectives.penalised import Penalised

__all__ = [
    "DIPI", "DIPII", "ELBO", "GRADIENTS", "MMD", "Autoencoder", "CodeNorm", "DimensionWise", "EachMember",
    "ImportanceWeighted", "Information", "Jacobian", "Penalised", "TotalCorrelation", "WeightDecay",
]  # fmt: skip
