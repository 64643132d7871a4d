"""Normal priors with parameters, and mixtures of them."""

import warnings
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.core import Latent, Range
from vaekit.distributions import Mixture as MixtureDistribution
from vaekit.distributions import MultivariateNormal, Normal
from vaekit.errors import VaekitError
from vaekit.maths import soft_clamp, soft_unclamp

LOG_SCALE_RANGE = (-8.0, 4.0)
"""log s of a component stays inside: one that shrinks onto a row's code would have a density without limit"""
LEAST_VARIANCE = 1e-5
"""added to each variance that is fitted to draws"""
Covariance = Literal["diagonal", "full"]


class Mixture(nn.Module):
    """The prior p(z) = Σ_c π_c N(z; m_c, S_c), weights, means and covariances learned; given conditions it is the same.

    components    C
    covariance    "diagonal", S_c = diag s_c², or "full", S_c = L_c L_cᵀ

    The rate KL(q(z|x) ‖ p(z)) has no closed form against it, and is log q − log p at the draws. Trained with the model
    it is that of Dilokthanakul et al. (2016, arXiv:1611.02648); the objective of VaDE (Jiang et al. 2017,
    arXiv:1611.05148) with q(c|x) = p(c|z) is the same bound. `fit` finds it by expectation–maximisation.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> Mixture(2, components=5)().log_prob(torch.zeros(3, 4, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        latent_dim: int,
        components: Annotated[int, Range(1, below=10_001)] = 30,
        covariance: Covariance = "diagonal",
    ) -> None:
        super().__init__()
        self.components = components
        self.covariance = covariance
        self.noise = 1 + latent_dim
        self.width = components * latent_dim
        self.log_weights = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(components, latent_dim))
        if covariance == "full":
            self.width *= latent_dim
            self.below = nn.Parameter(torch.zeros(components, latent_dim, latent_dim))

    def forward(
        self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None
    ) -> MixtureDistribution:
        """The prior, whatever the conditions and the posterior are."""
        log_scale = soft_clamp(self.log_scale, *LOG_SCALE_RANGE)
        each: Latent = Normal(self.loc, log_scale)
        if self.covariance == "full":
            each = MultivariateNormal(self.loc, log_scale, self.below)
        return MixtureDistribution(self.log_weights.log_softmax(0), each)

    @torch.no_grad()
    def fit(self, z: Tensor, seed: int = 0) -> None:
        """Set all of it by expectation–maximisation to what makes draws z (n, D) as likely as it can be found to be.

        Raises VaekitError for fewer draws than components.
        """
        from sklearn.exceptions import ConvergenceWarning  # here, for every command would wait for it
        from sklearn.mixture import GaussianMixture

        if len(z) < self.components:
            raise VaekitError(
                f"a mixture of {self.components} components was to be fitted to {len(z)} draws: give fewer."
            )
        kind = "full" if self.covariance == "full" else "diag"
        found = GaussianMixture(
            self.components, covariance_type=kind, reg_covar=LEAST_VARIANCE, random_state=seed % 2**32, max_iter=100
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what it is then is as likely as it was found to be
            found.fit(z.cpu().double().numpy())
        self.log_weights.copy_(torch.from_numpy(np.log(found.weights_)))
        self.loc.copy_(torch.from_numpy(found.means_))
        covariance = torch.from_numpy(found.covariances_)
        if self.covariance == "full":
            _set_covariance(self, covariance)
        else:
            self.log_scale.copy_(_unbounded(covariance.log() / 2))


class Gaussian(nn.Module):
    """The prior p(z) = N(m, LLᵀ) with a mean and a covariance of its own, learned; given conditions it is the same.

    >>> Gaussian(2)().log_prob(torch.zeros(3, 4, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise = latent_dim
        self.loc = nn.Parameter(torch.zeros(latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))
        self.below = nn.Parameter(torch.zeros(latent_dim, latent_dim))

    def forward(self, c: Tensor | None = None, *, posterior: Callable[..., Latent] | None = None) -> MultivariateNormal:
        """The prior, whatever the conditions and the posterior are."""
        return MultivariateNormal(self.loc, soft_clamp(self.log_scale, *LOG_SCALE_RANGE), self.below)

    @torch.no_grad()
    def fit(self, z: Tensor, seed: int = 0) -> None:
        """Set mean and covariance to those of draws z (n, D), which makes these most likely."""
        z = z.double()
        covariance = torch.cov(z.T, correction=0).reshape(z.shape[1], z.shape[1])
        least = LEAST_VARIANCE * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        self.loc.copy_(z.mean(0))
        _set_covariance(self, covariance + least)


def _set_covariance(prior: Mixture | Gaussian, covariance: Tensor) -> None:
    """Give a prior the Cholesky factors of covariances (…, D, D)."""
    lower = torch.linalg.cholesky(covariance)
    prior.log_scale.copy_(_unbounded(lower.diagonal(dim1=-2, dim2=-1).log()))
    prior.below.copy_(lower.tril(-1))


def _unbounded(log_scale: Tensor) -> Tensor:
    """The parameter whose bounded value is a log-scale, or as near to it as the bounds let it be."""
    low, high = LOG_SCALE_RANGE
    return soft_unclamp(log_scale.clamp(low + 0.01, high - 0.01), low, high)
