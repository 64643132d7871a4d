"""Lower bounds on log p(x).

log p(x) = log E_q[ p(x, z) / q(z|x) ]  ≥  E_q[ log p(x, z) − log q(z|x) ]                     (Jensen)
         = E_q[ log p(x|z) ] − KL(q(z|x) ‖ p(z))  =  −distortion − rate  =  ELBO(x)
"""

from dataclasses import dataclass

from torch import Tensor

from vaekit.core import Batch, Bound, LatentModel


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound, the KL in closed form where there is one (Kingma & Welling 2014, arXiv:1312.6114).

        value = (1/m) Σ_j log p(x|z_j) − KL(q(z|x) ‖ p(z)),    z_j = g(ε_j),  j = 1 … m
        loss  = distortion + β · rate, averaged over the rows   (β = 1: the negative ELBO; Higgins et al. 2017)

    samples     m, draws a row, each through the decoder
    beta        weight of the rate in the loss; the value is the ELBO whatever β
    """

    samples: int = 1
    beta: float = 1.0

    def __call__(self, model: LatentModel, batch: Batch, noise: Tensor, *, step: int = 0) -> Bound:
        draw = model.draw(batch, noise)
        distortion = -draw.log_px.mean(0)
        rate = draw.kl
        loss = (distortion + self.beta * rate).mean()
        return Bound(-(distortion + rate).detach(), loss, {"rate": rate.detach(), "distortion": distortion.detach()})
