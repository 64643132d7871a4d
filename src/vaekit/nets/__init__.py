"""Networks: Tensor ↦ Tensor, no probability. Any `nn.Module` with the right widths serves in their place.

Each takes conditions c beside its input, in one way (`Shift`), if it was made for some.
"""

from vaekit.nets.conv import ConvDecoder, ConvEncoder, ResidualBlock, stage_sizes
from vaekit.nets.experts import Experts
from vaekit.nets.masked import Masked
from vaekit.nets.mlp import ACTIVATIONS, MLP, SkipMLP
from vaekit.nets.shift import Shift

__all__ = [
    "ACTIVATIONS", "MLP", "ConvDecoder", "ConvEncoder", "Experts", "Masked", "ResidualBlock", "Shift", "SkipMLP",
    "stage_sizes",
]  # fmt: skip
