"""log p(x) by importance sampling.

    log p̂_K(x) = log (1/K) Σ_k w_k,    w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

E p̂_K = p(x), so by Jensen's inequality E log p̂_K ≤ log p(x), with equality as K → ∞ (Burda et al. 2016,
arXiv:1509.00519).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.core import Batch, LatentModel
from vaekit.data import Rows
from vaekit.maths import RowNoise, log_mean_exp

DECODER_ROWS = 1024
"""decoder rows (draws × data rows) in one block on a CPU; blocks of one size make a row's score its own"""


def log_likelihood(model: LatentModel, rows: Rows, samples: int, seed: int = 0) -> Iterator[Tensor]:
    """log p̂_K(x) of the rows in order, (block,) nats at a time, from K = `samples` draws a row.

    A row's number depends on the model, the seed and the row's content: not on its neighbours, order or block.

        per_row = torch.cat(list(log_likelihood(model, rows, 5000)))
    """
    block = max(1, DECODER_ROWS // samples)
    for count, batch in rows.blocks(block):
        yield _block(model, batch, samples, seed)[:count]


@torch.no_grad()
def _block(model: LatentModel, batch: Batch, samples: int, seed: int) -> Tensor:
    """log p̂_K of one block, (B,), the K draws in equal chunks where they do not fit at once."""
    n = len(batch.x)
    chunk = -(-samples // -(-samples * n // DECODER_ROWS))
    log_w = []
    for start in range(0, samples, chunk):
        k = min(chunk, samples - start)
        source = RowNoise(batch.key, seed, samples, start=start, dtype=batch.x.dtype, device=batch.x.device)
        log_w.append(model.draw(batch, model.noise(k, n, source)).log_w)
    return log_mean_exp(torch.cat(log_w).double())
