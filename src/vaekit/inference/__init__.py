"""Inference: what a model makes of rows and of latents, and averages over rows. Knows no training and no method of
estimating log p(x)."""

from vaekit.inference.averages import Averages, active_units, over_rows, posterior_means
from vaekit.inference.clusters import clusters
from vaekit.inference.encoding import codes, decode, encode, keyed_draw, reconstruct, sample
from vaekit.inference.imputation import Imputed, impute
from vaekit.inference.joint import joint_in_pieces

__all__ = [
    "Averages", "Imputed", "active_units", "clusters", "codes", "decode", "encode", "impute", "joint_in_pieces",
    "keyed_draw", "over_rows", "posterior_means", "reconstruct", "sample",
]  # fmt: skip
