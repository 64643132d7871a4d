"""What follows, for any model with one layer of latents, from its three distributions."""

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Distribution, Draw, Joint, Latent
from vaekit.noise import normal_noise


class Model(nn.Module):
    """A model that gives q(z|x), p(z) and p(x|z): a subclass has `encode`, `pz` and `decode`, and says how many
    standard normals a draw from the prior takes, `prior_noise`."""

    @property
    def prior_noise(self) -> int:
        """How many standard normals a draw from the prior takes."""
        raise NotImplementedError

    def encode(self, batch: Batch) -> Latent:
        """The posterior q(z|x): batch (B,), event (D,). What is hidden in a row changes nothing."""
        raise NotImplementedError

    def pz(self, c: Tensor | None = None) -> Latent:
        """The prior p(z), or p(z|c) of c (B, C): event (D,)."""
        raise NotImplementedError

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z) of z (K, B, D), c (B, C): batch (K, B), event X."""
        raise NotImplementedError

    def joint(self, batch: Batch) -> Joint:
        """The function z (K, B, D) ↦ log p(x, z) = log p(x|z) + log p(z), (K, B) nats.

        It is the posterior's log-density up to a constant. The prior is made once.
        """
        p = self.pz(batch.c)

        def log_joint(z: Tensor) -> Tensor:
            px = self.decode(z, batch.c)
            return px.log_prob(batch.x, batch.mask) + p.log_prob(z)

        return log_joint

    def draw(self, batch: Batch, noise: Tensor) -> Draw:
        """The draws z ~ q(z|x) of ε (K, B, E), with q, p(z) and p(x|z): all that a bound is made of."""
        q = self.encode(batch)
        z, log_q = q.draw(noise)
        p = self.pz(batch.c)
        px = self.decode(z, batch.c)
        return Draw(batch, q, p, px, z, log_q)

    def generate(self, n: int, generator: torch.Generator, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z) of n draws z ~ p(z), or given c (n, C): its `mean` is x̂, its `sample(generator)` an x.

        Batch (1, n), event X.
        """
        normal = normal_noise(generator, next(self.parameters()).dtype)
        z, _ = self.pz(c).draw(normal(1, n, self.prior_noise))
        return self.decode(z, c)
