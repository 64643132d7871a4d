"""A mixture of distributions of latents."""

import torch
from torch import Tensor

from vaekit.core import Latent


class Mixture(Latent):
    """The mixture p(z) = Σ_c π_c p_c(z) of C distributions of latents, which are the batch of one.

        log p(z) = log Σ_c exp( log π_c + log p_c(z) )

    log_weights    log π (C,), which sum to 1 as probabilities
    each           a `core.Latent` with batch (C,), event (D,)

    A draw takes D + 1 standard normals, of which the first chooses the component: the first with π_1 + … + π_c ≥ Φ(ε).

    >>> from vaekit.distributions import Normal
    >>> p = Mixture(torch.tensor([0.5, 0.5]).log(), Normal(torch.tensor([[0.0], [9.0]]), torch.zeros(2, 1)))
    >>> z, log_p = p.draw(torch.tensor([[[-1.0, 0.0]], [[1.0, 0.0]]]))
    >>> z.flatten().tolist(), [round(nats, 4) for nats in log_p.flatten().tolist()]    # −log 2 − ½ log 2π
    ([0.0, 9.0], [-1.6121, -1.6121])
    """

    def __init__(self, log_weights: Tensor, each: Latent) -> None:
        self.log_weights = log_weights
        self.each = each
        self.space = each.space

    def _of_each(self, z: Tensor) -> Tensor:
        """The terms log π_c + log p_c(z), (…, C), of z (…, D)."""
        log_p = self.each.log_prob(self._to_each(z))
        return self.log_weights + log_p.reshape(*z.shape[:-1], -1)

    def _to_each(self, numbers: Tensor) -> Tensor:
        """The same (…, E) to every component, (N, C, E): as draws, to which a component is what a row is."""
        return numbers.unsqueeze(0).flatten(0, -2).unsqueeze(1).expand(-1, len(self.log_weights), -1)

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any z (…, D), (…) nats."""
        return self._of_each(z).logsumexp(-1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """The probability p(c|z) = π_c p_c(z) / p(z) of each component, (…, C)."""
        return self._of_each(z).softmax(-1)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws z (K, B, D) of ε (K, B, D + 1), and their log-density (K, B)."""
        u = torch.special.ndtr(noise[..., :1])
        component = (u > self.log_weights.exp().cumsum(0)[:-1]).sum(-1)
        of_each, _ = self.each.draw(self._to_each(noise[..., 1:]))
        z = of_each.take_along_dim(component.flatten()[:, None, None], 1).squeeze(1).unflatten(0, component.shape)
        return z, self.log_prob(z)

    @property
    def mean(self) -> Tensor:
        """The mean Σ_c π_c μ_c, (D,)."""
        return self.log_weights.exp() @ self.each.mean

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each latent, (D,): √(Σ_c π_c (σ_c² + μ_c²) − μ²)."""
        second = self.log_weights.exp() @ (self.each.stddev.square() + self.each.mean.square())
        return (second - self.mean.square()).clamp_min(0).sqrt()

    def detach(self) -> "Mixture":
        """The same distribution with its parameters held constant."""
        return Mixture(self.log_weights.detach(), self.each.detach())
