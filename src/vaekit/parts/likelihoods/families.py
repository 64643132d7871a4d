"""The families by their names: all that a column, or all columns at once, may have."""

from vaekit.parts.likelihoods.amounts import ZeroInflatedLogNormal
from vaekit.parts.likelihoods.base import Likelihood
from vaekit.parts.likelihoods.bernoulli import Bernoulli
from vaekit.parts.likelihoods.categorical import Categorical
from vaekit.parts.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from vaekit.parts.likelihoods.gaussian import Gaussian
from vaekit.parts.likelihoods.location_scale import Laplace, StudentT
from vaekit.parts.likelihoods.log_normal import LogNormal
from vaekit.parts.likelihoods.logistic import ColourLogistic, DiscretizedLogistic
from vaekit.parts.likelihoods.mixtures import DiscretizedLogisticMixture, LogisticMixture
from vaekit.parts.likelihoods.ordinal import Ordinal

FAMILIES: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "negative-binomial": NegativeBinomial,
    "poisson": Poisson,
    "zero-inflated-negative-binomial": ZeroInflatedNegativeBinomial,
    "colour-logistic": ColourLogistic,
    "discretized-logistic": DiscretizedLogistic,
    "discretized-mixture": DiscretizedLogisticMixture,
    "log-normal": LogNormal,
    "zero-inflated-log-normal": ZeroInflatedLogNormal,
    "student-t": StudentT,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "logistic-mixture": LogisticMixture,
}
"""in the order in which they are asked whether they suit the data"""
