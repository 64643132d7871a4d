"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaekit.nets.shift import Shift

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "softplus": nn.Softplus, "tanh": nn.Tanh,
}  # fmt: skip


class MLP(nn.Module):
    """Layers in_features → hidden[0] → … → out_features, an activation after each hidden one; `hidden=()` is linear.

    x (…, *X) with Π X = in_features and one leading axis, ↦ (…, out_features). `start`, (out_features,), sets the last
    layer's bias: what the network says before it has learned anything. Of `conditions` C, c (…, C) shifts the first
    layer.

    >>> MLP(4, (8,), 2)(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 2])
    """

    layers: nn.Sequential
    shift: Shift

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        *,
        start: Tensor | None = None,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        self.width = max(*widths, out_features)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_features))
        self.shift = Shift(conditions, [*hidden, out_features][0])
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

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The network's numbers (B, out_features) of x (B, *X), given c (B, C)."""
        return self.shift.through(self.layers, x.flatten(1), c)


class SkipMLP(nn.Module):
    """The sum y = W x + b + MLP(x) of a linear map and a multilayer perceptron whose last layer starts at zero.

    A network that is linear before it has learned anything, so that a linear model's solution can be written into
    `linear`. Shapes as in `MLP`; `start`, (out_features,), is b. Of `conditions` it is y = W x + V c + b + MLP(x, c),
    and V is `shift`.

    >>> network = SkipMLP(4, (8,), 2)
    >>> x = torch.randn(3, 4)
    >>> torch.equal(network(x), network.linear(x))
    True
    """

    linear: nn.Linear
    shift: Shift
    correction: MLP

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        *,
        start: Tensor | None = None,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.shift = Shift(conditions, out_features)
        nothing = torch.zeros(out_features)
        self.correction = MLP(in_features, hidden, out_features, activation, start=nothing, conditions=conditions)
        self.width = self.correction.width
        with torch.no_grad():
            self.correction.last.weight.zero_()
            if start is not None:
                self.linear.bias.copy_(start)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The network's numbers (B, out_features) of x (B, *X), given c (B, C)."""
        x = x.flatten(1)
        return self.shift(self.linear(x), c) + self.correction(x, c)
