"""Evaluation: log p(x) and its error, rate and distortion, baselines. Works on a model and rows, knows no
training."""

from vaekit.evaluation.annealing import AnnealedImportance, two_sided
from vaekit.evaluation.baselines import Baseline, SimpleModels
from vaekit.evaluation.clusters import Clusters, cluster_use
from vaekit.evaluation.codes import CodeUse, code_use
from vaekit.evaluation.importance import ImportanceSampling, OneDraw, as_for, pareto_shape
from vaekit.evaluation.likelihood import LogLikelihood, log_likelihood
from vaekit.evaluation.methods import METHODS, build_method
from vaekit.evaluation.quadrature import Quadrature
from vaekit.evaluation.rate import RateParts, rate_parts
from vaekit.evaluation.rungs import rung_rates
from vaekit.evaluation.scores import Method, Scores
from vaekit.evaluation.summary import Evaluation, beaten, elbo, evaluate
from vaekit.evaluation.verdicts import Gap

__all__ = [
    "METHODS", "AnnealedImportance", "Baseline", "Clusters", "CodeUse", "Evaluation", "Gap", "ImportanceSampling",
    "LogLikelihood", "Method", "OneDraw", "Quadrature", "RateParts", "Scores", "SimpleModels", "as_for", "beaten",
    "build_method", "cluster_use", "code_use", "elbo", "evaluate", "log_likelihood", "pareto_shape", "rate_parts",
    "rung_rates", "two_sided",
]  # fmt: skip
