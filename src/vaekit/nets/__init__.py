"""Networks: Tensor ↦ Tensor, no probability. Any `nn.Module` with the right widths serves in their place."""

from vaekit.nets.conv import ConvDecoder, ConvEncoder, ResidualBlock, stage_sizes
from vaekit.nets.experts import Experts
from vaekit.nets.mlp import ACTIVATIONS, MLP, SkipMLP

__all__ = ["ACTIVATIONS", "MLP", "ConvDecoder", "ConvEncoder", "Experts", "ResidualBlock", "SkipMLP", "stage_sizes"]
