"""The maximum mean discrepancy: how far all z together are from the prior, by a kernel.

    MMD²(q, p) = E k(z, z′) + E k(y, y′) − 2 E k(z, y),    z, z′ ~ q(z),  y, y′ ~ p(z)

It is 0 where q(z) = E_x q(z|x) is the prior, and only there. (Gretton et al. 2012, JMLR 13)
"""

from typing import Annotated, Literal, get_args

import torch
from torch import Tensor

from vaekit.core import Draw, LatentModel, Penalty, Range
from vaekit.errors import unknown

Kernel = Literal["imq", "rbf"]
WIDTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""of the seven inverse multiquadrics, in units of E‖y − y′‖² under the prior (github.com/tolstikhin/wae)"""


class MMD(Penalty):
    """The maximum mean discrepancy MMD²(q(z), p(z)), by its unbiased estimate, which may be negative.

        1/(n(n−1)) Σ_{i≠j} [ k(z_i, z_j) + k(y_i, y_j) ] − 2/n² Σ_ij k(z_i, y_j)

    z_i is a draw of q(z|x_i) for each of the n rows of the batch, y_i are as many draws of the prior. Several draws per
    row give the mean of as many estimates, for two z of one row are not independent.

    weight    of it in the loss
    kernel    "imq", Σ_c C/(C + d²) with C = 2D · scale · c, c = 0.1, 0.2, 0.5, 1, 2, 5, 10; or "rbf",
              exp(−d²/2h²) with h² = D · scale; d² = ‖z − y‖², D latents
    scale     σ² of a latent under the prior, 1 of the standard normal

    InfoVAE (Zhao et al. 2019, arXiv:1706.02262), −E ln p(x|z) + (1 − α) E KL + (α + λ − 1) MMD², is
    `elbo:beta=B` with `mmd:weight=W`, B = 1 − α and W = α + λ − 1: with α = 0 and λ = 1 the ELBO. The autoencoder of
    Tolstikhin et al. (2018, arXiv:1711.01558), WAE-MMD, is `ae` with `mmd`, or where z is to be drawn `elbo:beta=0`.
    Their code has 0.05 Σ (x − x̂)² + λ MMD², a tenth of what `gaussian:sigma=unit` pays: its λ is a weight of 10 λ.

    >>> from vaekit.objectives import ELBO, Penalised
    >>> Penalised(ELBO(beta=0.0), [MMD(weight=10.0, kernel="rbf")]).bounded
    True
    """

    name = "mmd"
    generative = True

    def __init__(
        self,
        weight: Annotated[float, Range(0)] = 1.0,
        kernel: Kernel = "imq",
        scale: Annotated[float, Range(above=0)] = 1.0,
    ) -> None:
        super().__init__(weight)
        if kernel not in get_args(Kernel):
            raise unknown("kernel of mmd", kernel, get_args(Kernel))
        self.kernel = kernel
        self.scale = scale

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """One draw of the prior per row."""
        return ((1, rows, model.prior.noise),)

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The estimate of one batch, a scalar."""
        (epsilon,) = noise
        y, _ = draw.p.draw(epsilon)
        return mmd(draw.z, y, self.kernel, self.scale)


def mmd(z: Tensor, y: Tensor, kernel: Kernel = "imq", scale: float = 1.0) -> Tensor:
    """The unbiased estimate of MMD² between z (K, n, D) and y (1, m, D), the mean over K, a scalar: see `MMD`.

    >>> mmd(torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[0.0], [1.0]]]), "rbf").item() < 0
    True
    """
    within = _of_others(_kernel(z, z, kernel, scale)) + _of_others(_kernel(y, y, kernel, scale))
    return (within - 2 * _kernel(z, y, kernel, scale).mean((-2, -1))).mean()


def _kernel(a: Tensor, b: Tensor, kernel: Kernel, scale: float) -> Tensor:
    """The kernel of each pair, (K, n, m)."""
    distance = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
    dim = a.shape[-1]
    if kernel == "rbf":
        return torch.exp(-distance / (2 * dim * scale))
    widths = [2 * dim * scale * width for width in WIDTHS]
    return torch.stack([width / (width + distance) for width in widths]).sum(0)


def _of_others(k: Tensor) -> Tensor:
    """The mean of k (K, n, n) over the pairs of different ones, (K,)."""
    n = k.shape[-1]
    return (k.sum((-2, -1)) - k.diagonal(dim1=-2, dim2=-1).sum(-1)) / max(1, n * (n - 1))
