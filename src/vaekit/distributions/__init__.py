"""Distributions as plain objects: log-densities in nats, per feature before the sum, drawn from a given generator."""

from vaekit.distributions.assembled import Assembled
from vaekit.distributions.atoms import WithAtoms, log_atom
from vaekit.distributions.bernoulli import Bernoulli
from vaekit.distributions.categorical import Categorical
from vaekit.distributions.codes import CODES, Book, Categories, Codes, EvenCodes, OneCode, one_hot
from vaekit.distributions.colour_logistic import ColourLogistic
from vaekit.distributions.columns import Columns
from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from vaekit.distributions.factorised import Factorised
from vaekit.distributions.ladder import Ladder, Rung
from vaekit.distributions.laplace import Laplace
from vaekit.distributions.log_normal import LogNormal
from vaekit.distributions.logistic_mixture import LogisticMixture
from vaekit.distributions.mixture import Mixture
from vaekit.distributions.multivariate_normal import MultivariateNormal
from vaekit.distributions.negative_binomial import NegativeBinomial
from vaekit.distributions.normal import Normal
from vaekit.distributions.one_of import OneOf
from vaekit.distributions.ordinal import Ordinal
from vaekit.distributions.point import Point
from vaekit.distributions.poisson import Poisson
from vaekit.distributions.precision_normal import PrecisionNormal
from vaekit.distributions.pushed import Pushed
from vaekit.distributions.sphere import UniformSphere, VonMisesFisher
from vaekit.distributions.student_t import StudentT
from vaekit.distributions.truncated_logistic import TruncatedLogistic
from vaekit.distributions.unforeseen import Unforeseen
from vaekit.distributions.zero_inflated import ZeroInflated
from vaekit.distributions.zero_inflated_log_normal import ZeroInflatedLogNormal

__all__ = [
    "CODES", "Assembled", "Bernoulli", "Book", "Categorical", "Categories", "Codes", "ColourLogistic", "Columns",
    "DiscretizedLogistic", "DiscretizedLogisticMixture", "EvenCodes", "Factorised", "Ladder", "Laplace", "LogNormal",
    "LogisticMixture", "Mixture", "MultivariateNormal", "NegativeBinomial", "Normal", "OneCode", "OneOf", "Ordinal",
    "Point", "Poisson", "PrecisionNormal", "Pushed", "Rung", "StudentT", "TruncatedLogistic", "Unforeseen",
    "UniformSphere", "VonMisesFisher", "WithAtoms", "ZeroInflated", "ZeroInflatedLogNormal", "log_atom", "one_hot",
]  # fmt: skip
