"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "softplus": nn.Softplus, "tanh": nn.Tanh,
}  # fmt: skip


class MLP(nn.Module):
    """in_features → hidden[0] → … → out_features, an activation after each hidden layer; `hidden=()` is linear.

    x (…, *X) with Π X = in_features and one leading axis, ↦ (…, out_features). `start`, (out_features,), sets the last
    layer's bias: what the network says before it has learned anything.

    >>> MLP(4, (8,), 2)(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], out_features: int, activation: str = "relu", *, start=None
    ):
        super().__init__()
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))
        if start is not None:
            with torch.no_grad():
                self.layers[-1].bias.copy_(start)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
