"""The prior made of posteriors."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Latent, LatentModel, Likelihood, Posterior, Range
from vaekit.distributions import Mixture


class VampPrior(nn.Module):
    """The prior p(z) = Σ_k w_k q(z|u_k), a mixture of the posteriors of K pseudo-inputs u_k, which are learned.

    components    K

    u lies where the encoder sees data, in standardised numbers and one code per level, so that it goes with tables and
    images alike; it begins at training rows. Where some cells may be missing, none of a pseudo-input's is. Where rows
    have conditions, a pseudo-input has its own, and p(z|c) = p(z). (Tomczak & Welling 2018, arXiv:1705.07120)

    Its rate has no closed form, and is log q(z|x) − log p(z) at the draws.
    """

    def __init__(
        self,
        posterior: Posterior,
        likelihood: Likelihood,
        conditions: int = 0,
        components: Annotated[int, Range(1, below=10_001)] = 50,
    ) -> None:
        super().__init__()
        self.components = components
        self.noise = 1 + posterior.noise
        self.width = components * posterior.latent_dim
        codes = getattr(likelihood, "codes", likelihood.inputs)
        self.codes = codes
        self.indicated = likelihood.inputs > codes
        """whether the encoder is told, beside the codes, which of them are observed"""
        seen = likelihood.encode(torch.zeros(1, *likelihood.shape))
        shape = (codes,) if self.indicated else seen.shape[1:]
        self.learned = nn.Parameter(0.01 * torch.randn(components, *shape))
        self.given = nn.Parameter(0.01 * torch.randn(components, conditions))
        self.log_weights = nn.Parameter(torch.zeros(components))

    def forward(self, c: Tensor | None = None, *, posterior: Callable[..., Latent]) -> Mixture:
        """The prior by the posterior as it is; the conditions of rows change nothing."""
        u: Tensor = self.learned
        if self.indicated:
            u = torch.cat([u, torch.ones_like(u)], -1)
        given = (self.given,) if self.given.shape[1] else ()
        return Mixture(self.log_weights.log_softmax(0), posterior(u, *given))

    def start(self, model: LatentModel, batch: Batch) -> None:
        """Begin at training rows, hidden cells of which are at their column's mean, each a little moved: where there
        are fewer rows than components, several begin near one."""
        u = model.likelihood.encode(batch.x, batch.mask)
        rows = torch.arange(self.components, device=u.device) % len(u)
        self.learned.add_(u[rows, : self.codes] if self.indicated else u[rows])
        if batch.c is not None:
            self.given.add_(batch.c[rows])
