"""The variational autoencoder with one layer of latents."""

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Distribution, Latent, Likelihood, Posterior, Prior
from vaekit.models.base import Model


class VAE(Model):
    """The model p(x, z) = p(z) p(x|z) with its posterior q(z|x), from five parts.

        x ─ encoder → h ─ posterior → q(z|x) ─ ε → z ─ decoder → y ─ likelihood → p(x|z)

    encoder     Tensor (B, *X) ↦ (B, posterior.features)
    decoder     Tensor (K·B, D) ↦ anything that flattens to (K·B, likelihood.features)

    Where batches have conditions c, all of it is given c: both networks have c (B, C) or (K·B, C) as a second
    argument, and the prior has it as its first: p(x, z|c) = p(z|c) p(x|z, c) with q(z|x, c).

    posterior, prior and likelihood are as `core` has their contracts; those with weights are each an `nn.Module`, as
    the networks are. (Kingma & Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082)

    >>> from vaekit import nets, parts
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8, 8))
    >>> model = VAE(nets.MLP(64, (32,), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (32,), likelihood.features), likelihood)
    >>> model.decode(torch.zeros(5, 3, 2)).mean.shape
    torch.Size([5, 3, 8, 8])
    """

    precision: torch.dtype | None = None
    """the type of the networks' matrix products, where it is not that of their inputs; all else keeps the inputs'"""

    encoder: nn.Module
    posterior: Posterior
    prior: Prior
    decoder: nn.Module
    likelihood: Likelihood

    def __init__(
        self, encoder: nn.Module, posterior: Posterior, prior: Prior, decoder: nn.Module, likelihood: Likelihood
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood

    @property
    def latent_dim(self) -> int:
        """D, the number of latents."""
        return self.posterior.latent_dim

    @property
    def noise(self) -> int:
        """E, the standard normals that a draw of z takes."""
        return self.posterior.noise

    @property
    def prior_noise(self) -> int:
        """How many standard normals a draw from the prior takes."""
        return self.prior.noise

    @property
    def width(self) -> int:
        """Numbers in the widest layer that a row goes through, as far as the networks say (an attribute `width`)."""
        encoder: int = getattr(self.encoder, "width", 0)
        decoder: int = getattr(self.decoder, "width", 0)
        prior: int = getattr(self.prior, "width", 0)
        return max(self.likelihood.features, self.latent_dim, encoder, decoder, prior)

    def encode(self, batch: Batch) -> Latent:
        """The posterior q(z|x): batch (B,), event (D,). What is hidden in a row changes nothing."""
        u = self.likelihood.encode(batch.x, batch.mask)
        return self._q(u, batch.c)

    def _q(self, u: Tensor, c: Tensor | None = None) -> Latent:
        """The posterior q(z|x) by what the encoder sees of x, u (B, inputs)."""
        h = self._run(self.encoder, u, c)
        return self.posterior(h)

    def pz(self, c: Tensor | None = None) -> Latent:
        """The prior p(z), or p(z|c) of c (B, C): event (D,)."""
        return self.prior(c, posterior=self._q)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z) of z (K, B, D), c (B, C): batch (K, B), event X."""
        draws, rows = z.shape[:2]
        if c is not None:
            c = c.expand(draws, *c.shape).flatten(0, 1)
        y = self._run(self.decoder, z.flatten(0, 1), c)
        return self.likelihood(y.flatten(1).unflatten(0, (draws, rows)))

    def _run(self, network: nn.Module, x: Tensor, c: Tensor | None) -> Tensor:
        """A network, its products in `precision`, its result in the type of its input."""
        given = (x,) if c is None else (x, c)
        with torch.autocast(x.device.type, self.precision, enabled=self.precision is not None):
            return network(*given).to(x.dtype)
