"""The families by their names: all that a column, or all columns at once, may have."""

from vaekit.parts.likelihoods.base import Likelihood
from vaekit.parts.likelihoods.bernoulli import Bernoulli
from vaekit.parts.likelihoods.gaussian import Gaussian
from vaekit.parts.likelihoods.logistic import ColourLogistic, DiscretizedLogistic

FAMILIES: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "colour-logistic": ColourLogistic,
    "discretized-logistic": DiscretizedLogistic,
    "gaussian": Gaussian,
}
"""in the order in which they are asked whether they suit the data"""
