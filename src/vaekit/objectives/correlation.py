"""Penalties on what latents have in common: the parts of the rate, and the covariance of all z together.

    E KL(q(z|x) ‖ p(z)) = I_q(x; z)  +  KL(q(z) ‖ Π_d q(z_d))  +  KL(Π_d q(z_d) ‖ p(z)),    q(z) = E_x q(z|x)
                          information   total correlation         dimension by dimension

(Chen et al. 2018, arXiv:1802.04942; the last is Σ_d KL(q(z_d) ‖ p(z_d)) where the prior's latents are independent.)
"""

import math
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from vaekit.core import Draw, LatentModel, Penalty, Range

Weight = Annotated[float, Range(0)]


class Aggregate(NamedTuple):
    """The log-densities of all z together at the draws of a batch, nats."""

    log_q: Tensor
    """log q(z), (K, B)"""
    log_q_each: Tensor
    """log q(z_d), (K, B, D)"""


def aggregate(draw: Draw, rows: int) -> Aggregate:
    """The log-densities log q(z) and log q(z_d) of the draws z (K, B, D), by the batch's own rows.

        q(z_i) ≈ Σ_j w_ij q(z_i|x_j),    w_ii = 1/N,    w_ij = (N − 1) / (N (B − 1)) for j ≠ i

    rows    N, of which the B rows are a part

    A draw's own row, which is likelier than any other, has the weight that it has among all rows: so the density is
    without bias (Chen et al. 2018, appendix C.2), and with B = N it is exact.
    """
    size = draw.z.shape[1]
    z = draw.z.unsqueeze(-2).expand(-1, -1, size, -1)
    log_own = -math.log(rows)
    log_other = math.log((rows - 1) / (rows * max(1, size - 1))) if rows > 1 else -math.inf
    same = torch.eye(size, dtype=torch.bool, device=z.device)
    log_w = z.new_full((size, size), log_other).masked_fill(same, log_own)
    log_q = (draw.q.log_prob(z) + log_w).logsumexp(-1)
    log_q_each = (draw.q.log_prob_each(z) + log_w.unsqueeze(-1)).logsumexp(-2)
    return Aggregate(log_q, log_q_each)


class PartOfTheRate(Penalty):
    """What the three parts of the rate share.

    rows      N, the training rows
    weight    of it in the loss, beside the whole rate in the ELBO
    """

    def __init__(self, rows: int, weight: Weight = 1.0) -> None:
        super().__init__(weight)
        self.rows = rows

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The part of the draws of one batch, a scalar in nats."""
        return self.part(draw, aggregate(draw, self.rows)).mean()

    def part(self, draw: Draw, all_z: Aggregate) -> Tensor:
        """The part of each draw, (K, B) nats."""
        raise NotImplementedError


class Information(PartOfTheRate):
    """The information I_q(x; z) = E[log q(z|x) − log q(z)] that a latent code has about its row.

    It is one part of the rate (`objectives.correlation`): `elbo` with `information:weight=W` pays for it 1 + W times. A
    weight of −1 leaves it free of charge, α = 0 of β-TCVAE (Chen et al. 2018, arXiv:1802.04942).

    rows      N, the training rows: known to whoever is asked by name
    weight    of it in the loss, −1 or more

    >>> Information(rows=1000, weight=-1.0).weight
    -1.0
    """

    name = "information"

    def __init__(self, rows: int, weight: Annotated[float, Range(-1)] = 1.0) -> None:
        super().__init__(rows, weight)

    def part(self, draw: Draw, all_z: Aggregate) -> Tensor:
        """The log-ratio log q(z|x) − log q(z)."""
        return draw.log_q - all_z.log_q


class TotalCorrelation(PartOfTheRate):
    """The total correlation TC = KL(q(z) ‖ Π_d q(z_d)), which is 0 where the latents of all rows are independent.

    β-TCVAE (Chen et al. 2018, arXiv:1802.04942), whose loss is −E ln p(x|z) + α I + β TC + γ Σ_d KL_d, is `elbo` with
    `tc:weight=β − 1`, and where α or γ is not 1 with `information:weight=α − 1` or `dimension-wise:weight=γ − 1` too.
    The paper has β = 6: `tc:weight=5`. It takes (batch size)² · D numbers per draw.

    rows      N, the training rows: known to whoever is asked by name
    weight    β − 1

    >>> TotalCorrelation(rows=1000, weight=5.0).weight
    5.0
    """

    name = "tc"

    def part(self, draw: Draw, all_z: Aggregate) -> Tensor:
        """The log-ratio log q(z) − Σ_d log q(z_d)."""
        return all_z.log_q - all_z.log_q_each.sum(-1)


class DimensionWise(PartOfTheRate):
    """The divergence KL(Π_d q(z_d) ‖ p(z)) of the latents, each by itself, from the prior.

    It is Σ_d KL(q(z_d) ‖ p(z_d)) where the prior's latents are independent.

    The third part of the rate (`objectives.correlation`; Chen et al. 2018, arXiv:1802.04942).

    rows      N, the training rows: known to whoever is asked by name
    weight    of it in the loss, −1 or more

    >>> DimensionWise(rows=1000).weight
    1.0
    """

    name = "dimension-wise"

    def __init__(self, rows: int, weight: Annotated[float, Range(-1)] = 1.0) -> None:
        super().__init__(rows, weight)

    def part(self, draw: Draw, all_z: Aggregate) -> Tensor:
        """The log-ratio Σ_d log q(z_d) − log p(z)."""
        return all_z.log_q_each.sum(-1) - draw.log_pz


class DIP(Penalty):
    """What the two inferred priors share: Σ_{i≠j} C_ij² + diagonal · Σ_i (C_ii − 1)² of a covariance C of latents.

    weight      λ_od
    diagonal    λ_d / λ_od
    """

    def __init__(self, weight: Weight = 1.0, diagonal: Weight = 1.0) -> None:
        super().__init__(weight)
        self.diagonal = diagonal

    def covariance(self, draw: Draw) -> Tensor:
        """C, (D, D)."""
        raise NotImplementedError

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The penalty of one batch, a scalar."""
        covariance = self.covariance(draw)
        variances = covariance.diagonal()
        off_diagonal = covariance.square().sum() - variances.square().sum()
        return off_diagonal + self.diagonal * (variances - 1).square().sum()


class DIPI(DIP):
    """DIP-VAE-I: the covariance of the posterior means is drawn to the identity (Kumar et al. 2018, arXiv:1711.00848).

        weight · [ Σ_{i≠j} C_ij² + diagonal · Σ_i (C_ii − 1)² ],    C = Cov_x(E[z|x]) over the batch's B rows, by 1/B

    weight      λ_od
    diagonal    λ_d / λ_od, 10 in the paper

    >>> DIPI(weight=10.0).diagonal
    10.0
    """

    name = "dip-i"

    def __init__(self, weight: Weight = 1.0, diagonal: Weight = 10.0) -> None:
        super().__init__(weight, diagonal)

    def covariance(self, draw: Draw) -> Tensor:
        """Cov_x(E[z|x])."""
        return of_means(draw)


class DIPII(DIP):
    """DIP-VAE-II: the covariance of z itself is drawn to the identity (Kumar et al. 2018, arXiv:1711.00848).

        weight · [ Σ_{i≠j} C_ij² + diagonal · Σ_i (C_ii − 1)² ],    C = Cov_x(E[z|x]) + E_x Cov(z|x),  by 1/B

    weight      λ_od
    diagonal    λ_d / λ_od, 1 in the paper

    >>> DIPII(weight=10.0).diagonal
    1.0
    """

    name = "dip-ii"

    def covariance(self, draw: Draw) -> Tensor:
        """Cov(z), by the law of total covariance."""
        return of_means(draw) + draw.q.covariance.mean(0)


def of_means(draw: Draw) -> Tensor:
    """The covariance of the posterior means over the rows of a batch, (D, D), by 1/B."""
    mean = draw.q.mean
    centred = mean - mean.mean(0)
    return centred.mT @ centred / len(mean)
