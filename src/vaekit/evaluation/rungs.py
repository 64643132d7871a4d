"""The rate of each layer of latents, where there are several."""

import torch
from torch import Tensor

from vaekit.core import Batch, Bound, LatentModel, Objective, UnknownError, members
from vaekit.data import Dataset
from vaekit.inference import over_rows
from vaekit.objectives import EachMember


class RungRates(Objective):
    """No bound, but its part that is of latents, told apart by layers.

        E_q KL(q(z_l | z_>l, x) ‖ p(z_l | z_>l))    of each layer l

    By the same noise as an ELBO of as many draws their sum is its rate.
    """

    name = "rate"

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The rate of each layer, (B,) each under its number, the top one's first."""
        (epsilon,) = noise
        q = model.encode(batch)
        z, log_q = q.draw(epsilon)
        each = q.rate(model.pz(batch.c), z, log_q)
        if len(q.rungs) < 2 or each.shape[-1] != sum(q.rungs):
            raise UnknownError("the rate of this model does not fall apart by layers of latents.")
        rates = [part.sum(-1).mean(0) for part in each.split(q.rungs, -1)]
        terms = {str(number): rate for number, rate in enumerate(rates)}
        return Bound(None, each.sum(-1).mean(), terms)


@torch.no_grad()
def rung_rates(model: LatentModel, rows: Dataset, draws: int, seed: int) -> tuple[float, ...]:
    """The mean rate of each layer of latents, the top one first, in nats per row; their sum is the mean rate.

    draws    of z per row

    Of an ensemble it is the mean over its members. UnknownError where there is one layer, or a prior whose density does
    not fall apart by layers.
    """
    objective: Objective = RungRates(draws)
    count = len(members(model))
    if count > 1:
        objective = EachMember(objective, count)
    terms = over_rows(objective, model, rows.blocks(), seed).terms
    return tuple(term.double().mean().item() for term in terms.values())
