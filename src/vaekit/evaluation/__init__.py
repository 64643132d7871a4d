"""Evaluation: log p(x) and its error, rate and distortion, latents. Works on a model and rows, knows no training."""

from vaekit.evaluation.encoding import decode, encode, reconstruct, sample
from vaekit.evaluation.likelihood import log_likelihood
from vaekit.evaluation.scores import Method, Scores
from vaekit.evaluation.summary import Evaluation, evaluate

__all__ = [
    "Evaluation", "Method", "Scores", "decode", "encode", "evaluate", "log_likelihood", "reconstruct", "sample",
]  # fmt: skip
