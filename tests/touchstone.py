"""The touchstone: a linear-Gaussian model, where log p(x) and the posterior are known in closed form.

z ~ N(0, I),  x = W z + μ + Ψ^½ ε
p(x) = N(μ, W Wᵀ + Ψ),   p(z|x) = N(Σ Wᵀ Ψ⁻¹ (x − μ), Σ),   Σ = (I + Wᵀ Ψ⁻¹ W)⁻¹
"""

import itertools

import torch
from scipy import stats
from torch import Tensor

from vaekit.core import Batch
from vaekit.maths import soft_unclamp
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.parts import likelihoods, posteriors, priors

D, X, B = 2, 4, 6
SIGMAS = ("unit", "shared", "column")


class Touchstone:
    """A linear-Gaussian `VAE` whose encoder is the exact posterior, rows of x, and log p(x) by scipy."""

    def __init__(self, sigma: str = "column", seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        mean, scale = [1.0, -2.0, 0.5, 30.0], [2.0, 0.5, 1.0, 4.0]
        family = likelihoods.Gaussian((X,), sigma=sigma, mean=mean, scale=scale, floor=1e-3)
        posterior, prior = posteriors.FullCovariance(D), priors.StandardNormal(D)
        encoder, decoder = MLP(X, (), posterior.features), MLP(D, (), X)
        self.model = VAE(encoder, posterior, prior, decoder, family).double()
        scale, centre = family.scale, family.centre
        with torch.no_grad():
            if sigma != "unit":
                family.raw.copy_(0.3 * draw(*family.raw.shape) - 1)
            linear = decoder.layers[-1]
            linear.weight.copy_(draw(X, D))
            linear.bias.copy_(0.3 * draw(X))
            noise = family.log_sigma().exp().expand(X) ** 2
            self.w, self.mean = scale[:, None] * linear.weight, centre + scale * linear.bias
            precision = torch.eye(D) + self.w.T @ (self.w / noise[:, None])
            self.covariance = torch.linalg.inv(precision)
            gain = self.covariance @ (self.w / noise[:, None]).T
            self._set_encoder(gain * scale, -(gain * scale) @ linear.bias)
            self.marginal = stats.multivariate_normal(self.mean, self.w @ self.w.T + noise.diag())
            self.x = self.mean + draw(B, D) @ self.w.T + noise.sqrt() * draw(B, X)
        self.posterior_mean = (self.x - self.mean) @ gain.T
        self.log_p = torch.from_numpy(self.marginal.logpdf(self.x))
        self.batch = Batch(self.x)

    def _set_encoder(self, weight: Tensor, bias: Tensor):
        factor = torch.linalg.cholesky(self.covariance)
        last = self.model.encoder.layers[-1]
        last.weight.zero_()
        last.weight[:D] = weight
        log_diagonal = soft_unclamp(factor.diagonal().log(), *posteriors.LOG_SCALE_RANGE)
        last.bias.copy_(torch.cat([bias, log_diagonal, factor[1:, 0]]))

    def blur(self, shift: float = 0.4, log_scale: float = 0.5) -> "Touchstone":
        """Make q inexact: displaced and too wide."""
        with torch.no_grad():
            self.model.encoder.layers[-1].bias[: 2 * D] += torch.tensor([shift] * D + [log_scale] * D)
        return self

    def noise(self, samples: int, rows: int = B, seed: int = 1) -> Tensor:
        return torch.randn(samples, rows, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corners(rows: int = B) -> Tensor:
    """ε with every combination of signs, (2^D, rows, D): for quadratic f the mean over them is E[f(ε)], exactly."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=D)), dtype=torch.float64)
    return signs[:, None].expand(-1, rows, -1)
