"""Latents of several models: which model, and its latent."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vaekit.core import Latent


class OneOf(Latent):
    """The distribution of (z, m): one of M distributions, each as probable as the others, and z drawn from it.

        p(z, m) = p_m(z) / M,    m = ⌊M Φ(ε)⌋ of a standard normal ε

    m is the last number of an event, (D + 1,), and its ε the last of the noise. `mean` and `stddev` are those of all
    z side by side, (B, M·D), for there is no mean of names.

    >>> from vaekit.distributions import Normal
    >>> near, far = (Normal(torch.full((1,), mean), torch.zeros(1)) for mean in (0.0, 9.0))
    >>> z, log_p = OneOf([near, far]).draw(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
    >>> z.tolist(), [round(nats, 4) for nats in log_p.tolist()]    # −½ log 2π − log 2
    ([[0.0, 0.0], [9.0, 1.0]], [-1.6121, -1.6121])
    """

    def __init__(self, each: Sequence[Latent]) -> None:
        self.each = each

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The draws (z, m), (K, B, D + 1), of ε (K, B, E + 1), and their log-density (K, B)."""
        of_z, of_m = noise[..., :-1], noise[..., -1]
        member = (torch.special.ndtr(of_m) * len(self.each)).long().clamp_max(len(self.each) - 1)
        z, log_p = zip(*(one.draw(of_z) for one in self.each), strict=True)
        index = member.expand(1, *member.shape)
        chosen = torch.stack(z).take_along_dim(index.unsqueeze(-1), 0)[0]
        log_chosen = torch.stack(log_p).take_along_dim(index, 0)[0]
        return torch.cat([chosen, member.unsqueeze(-1).to(chosen)], -1), log_chosen - math.log(len(self.each))

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """The log-density of any (z, m) (…, D + 1), (…) nats."""
        log_p = torch.stack([one.log_prob(z[..., :-1]) for one in self.each])
        member = z[..., -1].long().expand(1, *log_p.shape[1:])
        return log_p.take_along_dim(member, 0)[0] - math.log(len(self.each))

    @property
    def mean(self) -> Tensor:
        """The means of all z, (B, M·D)."""
        return torch.cat([one.mean for one in self.each], -1)

    @property
    def stddev(self) -> Tensor:
        """The standard deviations of all z, (B, M·D)."""
        return torch.cat([one.stddev for one in self.each], -1)

    def detach(self) -> "OneOf":
        """The same distribution with its parameters held constant."""
        return OneOf([one.detach() for one in self.each])
