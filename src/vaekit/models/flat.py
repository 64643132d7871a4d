"""The variational autoencoder with one layer of latents."""

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Draw
from vaekit.maths import NoiseSource


class FlatModel(nn.Module):
    """p(x, z) = p(z) p(x|z) and q(z|x), from five parts.

        x ─ encoder → h ─ posterior → q(z|x) ─ g(ε) → z ─ decoder → y ─ likelihood → p(x|z)

    encoder     Tensor (B, *X) ↦ (B, posterior.features)
    decoder     Tensor (K·B, D) ↦ anything that flattens to (K·B, likelihood.features)

    Both are any `nn.Module`. (Kingma & Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082)

    >>> from vaekit import nets, parts
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8, 8))
    >>> model = FlatModel(nets.MLP(64, (32,), posterior.features), posterior, parts.priors.StandardNormal(2),
    ...                   nets.MLP(2, (32,), likelihood.features), likelihood)
    >>> model.decode(torch.zeros(5, 3, 2)).mean.shape
    torch.Size([5, 3, 8, 8])
    """

    precision: torch.dtype | None = None
    """the type of the networks' matrix products, where it is not that of their inputs; all else keeps the inputs'"""

    def __init__(
        self, encoder: nn.Module, posterior: nn.Module, prior: nn.Module, decoder: nn.Module, likelihood: nn.Module
    ):
        super().__init__()
        self.encoder, self.posterior, self.prior = encoder, posterior, prior
        self.decoder, self.likelihood = decoder, likelihood

    @property
    def latent_dim(self) -> int:
        return self.posterior.latent_dim

    @property
    def width(self) -> int:
        """Numbers in the widest layer that a row goes through, as far as the networks say (an attribute `width`)."""
        networks = (getattr(network, "width", 0) for network in (self.encoder, self.decoder))
        return max(self.likelihood.features, self.latent_dim, *networks)

    def encode(self, x: Tensor, mask: Tensor | None = None):
        """q(z|x) of x (B, *X): batch (B,), event (D,). Hidden cells enter the encoder as 0, in standardised units."""
        standardised = self.likelihood.standardise(x)
        if mask is not None:
            standardised = torch.where(mask, standardised, torch.zeros_like(standardised))
        return self.posterior(self._run(self.encoder, standardised))

    def decode(self, z: Tensor):
        """p(x|z) of z (K, B, D): batch (K, B), event X."""
        y = self._run(self.decoder, z.flatten(0, 1))
        return self.likelihood(y.flatten(1).unflatten(0, z.shape[:2]))

    def pz(self):
        """p(z): event (D,)."""
        return self.prior(posterior=self.encode)

    def log_joint(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z), (K, B) of z (K, B, D): the posterior up to a constant."""
        return self.decode(z).log_prob(batch.x, batch.mask) + self.pz().log_prob(z)

    def noise(self, samples: int, rows: int, source: NoiseSource) -> Tensor:
        """ε (K, B, D) from a source of standard normals."""
        return source(samples, rows, self.latent_dim)

    def draw(self, batch: Batch, noise: Tensor) -> Draw:
        """z = g(ε) ~ q(z|x), with q, p(z) and p(x|z): all that a bound is made of."""
        q = self.encode(batch.x, batch.mask)
        z = q.g(noise)
        return Draw(batch, q, self.pz(), self.decode(z), z)

    def generate(self, n: int, generator: torch.Generator):
        """p(x|z) for n draws z ~ p(z): its `mean` is x̂, its `sample(generator)` an x. Batch (1, n), event X."""
        return self.decode(self.pz().sample(generator, (1, n)))

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        """A network, its products in `precision`, its result in the type of its input."""
        with torch.autocast(x.device.type, self.precision, enabled=self.precision is not None):
            return network(x).to(x.dtype)
