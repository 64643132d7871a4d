"""Several models of the same rows that are one: the mean of their densities."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Distribution, Latent, Likelihood, Prior
from vaekit.distributions import Assembled, OneOf
from vaekit.models.base import Model
from vaekit.models.vae import VAE


class Ensemble(Model):
    """M models with weights of their own, each as probable as the others before x is seen.

        p(x) = (1/M) Σ_m p_m(x) = (1/M) Σ_m ∫ p_m(x|z) p_m(z) dz,    q(z, m|x) = q_m(z|x) / M

    It is one model, whose latent is (z, m): z as the member m has it, and behind it, as one number more, which member
    that is (`distributions.OneOf`). A draw takes one standard normal more, which chooses m. So an ensemble can be used
    for whatever a model is: draws of missing cells weigh the members by how well they explain what is observed.
    log p(x) itself is estimated for each member (`evaluation.log_likelihood`).

    The mean of the members' bounds is a bound too: they are trained side by side, each by its own
    (`objectives.EachMember`). (Lakshminarayanan et al. 2017, arXiv:1612.01474, average predictions in the same way.)

    >>> from vaekit import nets, parts
    >>> def member():
    ...     posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((5,))
    ...     return VAE(nets.MLP(5, (), 4), posterior, parts.priors.StandardNormal(2), nets.MLP(2, (), 5), likelihood)
    >>> model = Ensemble([member(), member()])
    >>> batch = Batch(torch.zeros(3, 5))
    >>> z, log_q = model.encode(batch).draw(torch.randn(7, 3, model.noise))
    >>> z.shape, model.decode(z).log_prob(batch.x).shape
    (torch.Size([7, 3, 3]), torch.Size([7, 3]))
    """

    members: nn.ModuleList

    def __init__(self, members: Sequence[VAE]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def __iter__(self) -> Iterator[VAE]:
        return iter(self.members)  # type: ignore[arg-type]  # all of them are

    @property
    def _first(self) -> VAE:
        return next(iter(self))

    @property
    def precision(self) -> torch.dtype | None:
        """The type of the networks' matrix products, where it is not that of their inputs."""
        return self._first.precision

    @precision.setter
    def precision(self, precision: torch.dtype | None) -> None:
        for member in self:
            member.precision = precision

    @property
    def latent_dim(self) -> int:
        """D, the latents of each member."""
        return self._first.latent_dim

    @property
    def noise(self) -> int:
        """E, the standard normals that a draw of (z, m) takes."""
        return self._first.noise + 1

    @property
    def prior_noise(self) -> int:
        """How many of them a draw from the prior takes."""
        return self._first.prior_noise + 1

    @property
    def width(self) -> int:
        """Numbers in the widest layer of a member."""
        return self._first.width

    @property
    def prior(self) -> Prior:
        """The first member's: they are of one kind."""
        return self._first.prior

    @property
    def likelihood(self) -> Likelihood:
        """The first member's: they are of one kind, for data of the same columns."""
        return self._first.likelihood

    def encode(self, batch: Batch) -> Latent:
        """The posterior q(z, m|x): batch (B,), event (D + 1,)."""
        return OneOf([member.encode(batch) for member in self])

    def pz(self, c: Tensor | None = None) -> Latent:
        """The prior p(z, m), or p(z, m|c) of c (B, C): event (D + 1,)."""
        return OneOf([member.pz(c) for member in self])

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """The likelihood p(x|z, m) of (z, m) (K, B, D + 1), c (B, C): batch (K, B), event X; each z by its member."""
        draws, rows = z.shape[:2]
        member = z[..., -1].flatten().long()
        z = z[..., :-1].flatten(0, 1)
        parts = []
        places = []
        for number, model in enumerate(self):
            at = torch.nonzero(member == number).flatten()
            if len(at):
                parts.append(model.decode(z[at].unsqueeze(0), None if c is None else c[at % rows]))
                places.append(at)
        return Assembled(parts, places, (draws, rows))
