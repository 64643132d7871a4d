"""Likelihood families: the decoder's features ↦ p(x|z), in the data's own units.

A likelihood owns the data's scaling. The encoder sees `encode(x, mask)`; log-densities are of x itself, so a change of
units by a factor a shifts log p(x) by −log|a| and nothing else. `initial()` is the decoder's output bias at which the
model says "the data's mean" before it has learned anything.

U is the number of codes: the numbers that the encoder sees of an example, one per feature, or one per level of a
category.
"""

from vaekit.parts.likelihoods.amounts import ZeroInflatedLogNormal
from vaekit.parts.likelihoods.base import Likelihood
from vaekit.parts.likelihoods.bernoulli import Bernoulli
from vaekit.parts.likelihoods.categorical import Categorical
from vaekit.parts.likelihoods.columns import Columns
from vaekit.parts.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from vaekit.parts.likelihoods.families import FAMILIES
from vaekit.parts.likelihoods.gaussian import Gaussian
from vaekit.parts.likelihoods.location_scale import Laplace, LocationScale, StudentT
from vaekit.parts.likelihoods.log_normal import LogNormal
from vaekit.parts.likelihoods.logistic import ColourLogistic, DiscretizedLogistic
from vaekit.parts.likelihoods.mixtures import DiscretizedLogisticMixture, LogisticMixture
from vaekit.parts.likelihoods.ordinal import Ordinal

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Categorical",
    "ColourLogistic",
    "Columns",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LocationScale",
    "LogNormal",
    "LogisticMixture",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
    "ZeroInflatedLogNormal",
    "ZeroInflatedNegativeBinomial",
]  # fmt: skip
