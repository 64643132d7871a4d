"""Which component of a prior rows belong to."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.core import LatentModel, at_once
from vaekit.data import Dataset
from vaekit.distributions import Mixture
from vaekit.errors import VaekitError
from vaekit.maths import joined
from vaekit.noise import RowNoise
from vaekit.threads import suited

DRAWS = 32
"""of z per row"""


@torch.no_grad()
def has_clusters(model: LatentModel, rows: Dataset) -> bool:
    """Whether the prior, of rows like these, has components to which they may belong."""
    _, batch = next(rows.first(1).blocks(1))
    return isinstance(model.pz(batch.c), Mixture)


@torch.no_grad()
def clusters(model: LatentModel, rows: Dataset, seed: int = 0) -> Tensor:
    """The probability r_c(x) = E_q(z|x)[p(c|z)] that a row's z is of each component of the prior, (n, C).

    p(c|z) = π_c p_c(z) / p(z), averaged over draws whose noise is keyed by the row: a row's probabilities are its own.
    (Jiang et al. 2017, arXiv:1611.05148, take it for the posterior of c.)

    Raises VaekitError where the prior is no mixture.
    """
    if not has_clusters(model, rows):
        raise VaekitError("the prior has no components: fit with prior mixture, or `vaekit refit RUN --prior mixture`.")
    size = at_once(model.width, DRAWS)

    def blocks() -> Iterator[dict[str, Tensor]]:
        for count, batch in rows.blocks(size):
            source = RowNoise(batch.key, seed, DRAWS, dtype=batch.x.dtype, device=batch.x.device)
            z, _ = model.encode(batch).draw(source(DRAWS, len(batch.x), model.noise))
            p = model.pz(batch.c)
            assert isinstance(p, Mixture)
            yield {"each": p.responsibilities(z).mean(0)[:count]}

    with suited(model, size):
        return joined(blocks(), len(rows))["each"]
