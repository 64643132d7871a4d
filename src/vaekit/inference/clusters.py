"""Which component of a prior rows belong to."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.core import LatentModel, UnknownError, at_once
from vaekit.data import Dataset
from vaekit.distributions import Mixture
from vaekit.inference.encoding import keyed_draw
from vaekit.maths import joined
from vaekit.threads import suited

DRAWS = 32
"""of z per row"""


@torch.no_grad()
def clusters(model: LatentModel, rows: Dataset, seed: int = 0) -> Tensor:
    """The probability r_c(x) = E_q(z|x)[p(c|z)] that a row's z is of each component of the prior, (n, C).

    p(c|z) = π_c p_c(z) / p(z), averaged over draws whose noise is keyed by the row: a row's probabilities are its own.
    (Jiang et al. 2017, arXiv:1611.05148, take it for the posterior of c.)

    Raises UnknownError where the prior is no mixture.
    """
    size = at_once(model.width, DRAWS)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(size):
            p = model.pz(batch.c)
            if not isinstance(p, Mixture):
                raise UnknownError(
                    "the prior has no components: fit with prior mixture, or `vaekit refit RUN --prior mixture`."
                )
            z, _ = keyed_draw(model, batch, DRAWS, seed)
            yield {"each": p.responsibilities(z).mean(0)[:count]}

    with suited(model, size):
        return joined(blocks(), len(rows))["each"]
