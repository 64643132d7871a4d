"""A run as plain data, and what is built from it."""

from vaekit.spec.automatic import check_fits, resolve
from vaekit.spec.build import build_model, build_objective, build_recipe, build_state, choose_device
from vaekit.spec.hints import coarse, extremes, hints, impossible, shortfall
from vaekit.spec.prepare import Prepared, check_rows_fit, prepare, worth_compiling
from vaekit.spec.settings import Specification

__all__ = [
    "Prepared", "Specification", "build_model", "build_objective", "build_recipe", "build_state", "check_fits",
    "check_rows_fit", "choose_device", "coarse", "extremes", "hints", "impossible", "prepare", "resolve", "shortfall",
    "worth_compiling",
]  # fmt: skip
