"""The normal distribution with a diagonal covariance."""

import torch
from torch import Tensor

from vaekit.core import Latent
from vaekit.distributions.factorised import Factorised
from vaekit.maths import LOG_2PI, common_shape


class Normal(Factorised, Latent):
    """The normal distribution N(x; μ, diag σ²) with σ given by its logarithm.

        log N(x; μ, σ²) = −½ [ ((x − μ)/σ)² + log σ² + log 2π ]

    `loc` and `log_scale` broadcast against each other; the last `event_dims` axes are the event.

    >>> q = Normal(torch.zeros(2), torch.zeros(2))
    >>> round(q.log_prob(torch.zeros(2)).item(), 6)   # −log 2π
    -1.837877
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> None:
        self.loc = loc
        self.log_scale = log_scale
        self.event_dims = event_dims

    @property
    def shape(self) -> torch.Size:
        """Batch and event axes together."""
        return common_shape(self.loc, self.log_scale)

    @property
    def mean(self) -> Tensor:
        """The mean μ, (…, *X)."""
        return self.loc.expand(self.shape)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation σ, (…, *X)."""
        return self.log_scale.exp().expand(self.shape)

    @property
    def covariance(self) -> Tensor:
        """The covariance diag σ², (…, D, D)."""
        return torch.diag_embed(self.stddev.square())

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reparameterisation z = μ + σ ⊙ ε (K, B, D) of ε (K, B, D), and log q(z) by ε, (K, B).

        log q(z) = −½ Σ (ε² + log 2π) − Σ log σ (Kingma & Welling 2014, arXiv:1312.6114).
        """
        z = self.loc + self.log_scale.exp() * noise
        log_q = -0.5 * (noise.square() + LOG_2PI) - self.log_scale
        return z, log_q.sum(-1)

    def sample(self, generator: torch.Generator, shape: tuple[int, ...] = ()) -> Tensor:
        """Draws (*shape, …) from a given generator."""
        like = self.loc
        noise = torch.randn(*shape, *self.shape, generator=generator, dtype=like.dtype, device=like.device)
        return self.loc + self.log_scale.exp() * noise

    def log_prob_each(self, x: Tensor) -> Tensor:
        """The log-density of each feature, (…, *X)."""
        standardised = (x - self.loc) * (-self.log_scale).exp()
        return -0.5 * (standardised.square() + LOG_2PI) - self.log_scale

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """The divergence KL(self ‖ p) per latent, in nats, in closed form against another diagonal normal.

            ½ [ (σ/s)² + ((μ − m)/s)² − 1 ] − log(σ/s),    for p = N(0, 1)   ½ [ σ² + μ² − 1 − log σ² ]

        It is (1, B, D), or (K, B, D) where the parameters are of each draw (a lower rung of a ladder). (Kingma &
        Welling 2014, appendix B.) For any other p it is as `Latent.rate` has it.
        """
        if not isinstance(p, Normal):
            return super().rate(p, z, log_q)
        each = self.divergence(p)
        if each.dim() > 2:
            return each
        return each.unsqueeze(0)

    def divergence(self, p: "Normal") -> Tensor:
        """The divergence KL(self ‖ p) of each feature, (…, *X) nats."""
        log_ratio = self.log_scale - p.log_scale
        distance = (self.loc - p.loc) * (-p.log_scale).exp()
        return 0.5 * (torch.expm1(2 * log_ratio) + distance.square()) - log_ratio

    def detach(self) -> "Normal":
        """The same distribution with its parameters held constant."""
        return Normal(self.loc.detach(), self.log_scale.detach(), self.event_dims)
