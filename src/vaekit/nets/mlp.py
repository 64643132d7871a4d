"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "softplus": nn.Softplus, "tanh": nn.Tanh,
}  # fmt: skip


class MLP(nn.Module):
    """Layers in_features → hidden[0] → … → out_features, an activation after each hidden one; `hidden=()` is linear.

    x (…, *X) with Π X = in_features and one leading axis, ↦ (…, out_features). `start`, (out_features,), sets the last
    layer's bias: what the network says before it has learned anything.

    >>> MLP(4, (8,), 2)(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 2])
    """

    layers: nn.Sequential

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        *,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        self.width = max(*widths, out_features)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))
        if start is not None:
            with torch.no_grad():
                self.last.bias.copy_(start)

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def linear(self) -> nn.Linear:
        """The only layer, where there are no hidden ones."""
        (_,) = self.layers
        return self.last

    def forward(self, x: Tensor) -> Tensor:
        """The network's numbers (B, out_features) of x (B, *X)."""
        return self.layers(x.flatten(1))


class SkipMLP(nn.Module):
    """The sum y = W x + b + MLP(x) of a linear map and a multilayer perceptron whose last layer starts at zero.

    A network that is linear before it has learned anything, so that a linear model's solution can be written into
    `linear`. Shapes as in `MLP`; `start`, (out_features,), is b.

    >>> network = SkipMLP(4, (8,), 2)
    >>> x = torch.randn(3, 4)
    >>> torch.equal(network(x), network.linear(x))
    True
    """

    linear: nn.Linear
    correction: MLP

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        *,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.correction = MLP(in_features, hidden, out_features, activation, start=torch.zeros(out_features))
        self.width = self.correction.width
        with torch.no_grad():
            self.correction.last.weight.zero_()
            if start is not None:
                self.linear.bias.copy_(start)

    def forward(self, x: Tensor) -> Tensor:
        """The network's numbers (B, out_features) of x (B, *X)."""
        x = x.flatten(1)
        return self.linear(x) + self.correction(x)
