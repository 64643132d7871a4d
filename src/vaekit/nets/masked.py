"""A linear layer that does not see everything."""

from torch import Tensor, nn
from torch.nn import functional as F


class Masked(nn.Linear):
    """A linear layer some of whose weights are held at 0: those where `mask`, (out, in) bool, is False."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's numbers (…, out) of x (…, in)."""
        return F.linear(x, self.weight * self.mask, self.bias)
