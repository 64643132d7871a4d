"""Distributions as plain objects: log-densities in nats, per feature before the sum, drawn from a given generator."""

from vaekit.distributions.atoms import WithAtoms, log_atom
from vaekit.distributions.bernoulli import Bernoulli
from vaekit.distributions.colour_logistic import ColourLogistic
from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from vaekit.distributions.factorised import Factorised
from vaekit.distributions.laplace import Laplace
from vaekit.distributions.log_normal import LogNormal
from vaekit.distributions.logistic_mixture import LogisticMixture
from vaekit.distributions.multivariate_normal import MultivariateNormal
from vaekit.distributions.normal import Normal
from vaekit.distributions.student_t import StudentT

__all__ = [
    "Bernoulli", "ColourLogistic", "DiscretizedLogistic", "DiscretizedLogisticMixture", "Factorised", "Laplace",
    "LogNormal", "LogisticMixture", "MultivariateNormal", "Normal", "StudentT", "WithAtoms", "log_atom",
]  # fmt: skip
