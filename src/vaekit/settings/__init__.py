"""A run as plain data, and what is built from it."""

from vaekit.settings.automatic import check_fits, resolve
from vaekit.settings.build import (
    build_model,
    build_objective,
    build_recipe,
    build_state,
    can_be_sampled,
    choose_device,
)
from vaekit.settings.declared import Settings
from vaekit.settings.hints import coarse, codes_of_missing, extremes, hints, impossible, shortfall
from vaekit.settings.prepare import (
    Prepared,
    check_rows_fit,
    conditions_known,
    dataset,
    prepare,
    worth_compiling,
)
from vaekit.settings.refit import Refit, refit, refitted_state

__all__ = [
    "Prepared", "Refit", "Settings", "build_model", "build_objective", "build_recipe", "build_state", "can_be_sampled",
    "check_fits", "check_rows_fit", "choose_device", "coarse", "codes_of_missing", "conditions_known", "dataset",
    "extremes", "hints", "impossible", "prepare", "refit", "refitted_state", "resolve", "shortfall", "worth_compiling",
]  # fmt: skip
