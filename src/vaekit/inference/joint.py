"""log p(x, z) of many latents, a number at a time that stays in the processor's caches."""

import torch
from torch import Tensor

from vaekit.core import Batch, Joint, LatentModel

MOST_DRAWS, CELLS = 512, 2**19
"""latents that go through the decoder at once on a CPU: at most so many, and so many numbers of its output"""


def joint_in_pieces(model: LatentModel, batch: Batch) -> Joint:
    """z ↦ log p(x, z) as `model.joint(batch)`, of any number of draws."""
    log_joint = model.joint(batch)
    together = max(1, min(MOST_DRAWS, CELLS // model.likelihood.features))
    if batch.x.device.type != "cpu":
        together *= 64
    draws = max(1, together // len(batch.x))

    def in_pieces(z: Tensor) -> Tensor:
        return torch.cat([log_joint(piece) for piece in z.split(draws)])

    return in_pieces
