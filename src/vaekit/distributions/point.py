"""A point: latents without chance."""

import torch
from torch import Tensor

from vaekit.core import Latent, UnknownError


class Point(Latent):
    """All of the probability in one z: what an encoder without noise says of its rows.

    It has no density, so there is no bound with it (`Latent.dense`): log q(z|x) of a draw is NaN.

    loc (B, D)

    >>> z, log_q = Point(torch.ones(3, 2)).draw(torch.zeros(5, 3, 0))
    >>> z.shape, bool(log_q.isnan().all())
    (torch.Size([5, 3, 2]), True)
    """

    dense = False

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc

    @property
    def mean(self) -> Tensor:
        """The point itself, (B, D)."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """0 of each latent, (B, D)."""
        return torch.zeros_like(self.loc)

    @property
    def covariance(self) -> Tensor:
        """0 of each two latents, (B, D, D)."""
        return torch.diag_embed(self.stddev)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The point as often as there are draws, (K, B, D), and no number for its log-density, (K, B)."""
        z = self.loc.expand(len(noise), *self.loc.shape)
        return z, torch.full_like(z[..., 0], torch.nan)

    def log_prob(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Refuses: a point has no density."""
        raise UnknownError("a point has no density: of z by an encoder without noise there is no log q(z|x).")

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Refuses, too."""
        return self.log_prob(z)

    def rate(self, p: Latent, z: Tensor, log_q: Tensor) -> Tensor:
        """Refuses, too."""
        return self.log_prob(z)

    def detach(self) -> "Point":
        """The same point, held constant."""
        return Point(self.loc.detach())
