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
        self.width = max(*widths, out_features)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))
        if start is not None:
            with torch.no_grad():
                self.layers[-1].bias.copy_(start)

    @property
    def linear(self) -> nn.Linear:
        """The only layer, where there are no hidden ones."""
        (layer,) = self.layers
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


class SkipMLP(nn.Module):
    """y = W x + b + MLP(x): a linear map, and a multilayer perceptron whose last layer starts at zero.

    A network that is linear before it has learned anything, so that a linear model's solution can be written into
    `linear`. Shapes as in `MLP`; `start`, (out_features,), is b.

    >>> network = SkipMLP(4, (8,), 2)
    >>> x = torch.randn(3, 4)
    >>> torch.equal(network(x), network.linear(x))
    True
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], out_features: int, activation: str = "relu", *, start=None
    ):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.correction = MLP(in_features, hidden, out_features, activation, start=torch.zeros(out_features))
        self.width = self.correction.width
        with torch.no_grad():
            self.correction.layers[-1].weight.zero_()
            if start is not None:
                self.linear.bias.copy_(start)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.linear(x) + self.correction(x)
