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
from vaekit.errors import VaekitError
from vaekit.maths import RowNoise, log_mean_exp

CHUNK = 1024
"""most draws that go through the decoder at once on a CPU"""


def log_likelihood(model: LatentModel, rows: Rows, samples: int, seed: int = 0) -> Iterator[Tensor]:
    """log p̂_K(x) of the rows in order, (block,) nats at a time, from K = `samples` draws a row.

    On a CPU rows are scored one by one: the arithmetic of a row's number, to the last bit, then depends on the model,
    the seed and the row's content alone, not on its neighbours, position or number.

        per_row = torch.cat(list(log_likelihood(model, rows, 5000)))
    """
    if samples < 1:
        raise VaekitError(f"{samples} draws a row were asked for: give 1 or more.")
    rows.require(model.likelihood)
    draws = CHUNK if rows.device.type == "cpu" else 64 * CHUNK
    block = 1 if rows.device.type == "cpu" else max(1, draws // samples)
    for count, batch in rows.blocks(block):
        yield _block(model, batch, samples, seed, draws)[:count]


@torch.no_grad()
def _block(model: LatentModel, batch: Batch, samples: int, seed: int, draws: int) -> Tensor:
    """log p̂_K of one block, (B,), the K draws in equal chunks where they do not fit at once."""
    n = len(batch.x)
    chunk = -(-samples // -(-samples * n // draws))
    log_w = []
    for start in range(0, samples, chunk):
        k = min(chunk, samples - start)
        source = RowNoise(batch.key, seed, samples, start=start, dtype=batch.x.dtype, device=batch.x.device)
        log_w.append(model.draw(batch, model.noise(k, n, source)).log_w)
    return log_mean_exp(torch.cat(log_w).double())
