"""Specification + schema → model, objective, recipe."""

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
import torch

from vaekit.core import Objective
from vaekit.data import Rows, Schema
from vaekit.errors import VaekitError, unknown
from vaekit.maths import derive_seed
from vaekit.models import VAE
from vaekit.models.start import Factors, factor_analysis
from vaekit.models.start import start as start_at
from vaekit.spec.settings import AUTO, Specification
from vaekit.spec.tables import DEVICES, FACTOR_ANALYSIS
from vaekit.training import Recipe, State

TOLERANCE, TOLERANCE_EACH = 0.01, 1e-4
"""nats per row, and per feature, by which a bound has to rise to count as risen"""
SEEDING = Lock()
"""PyTorch's layers draw their weights from the process's generator: one model at a time"""


def build_model(spec: Specification, schema: Schema) -> VAE:
    """The model of a resolved specification, weights drawn from its seed; global random state is left as it was."""
    known: dict[str, Any] = {**vars(spec.model), "schema": schema, "shape": schema.shape}
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(spec.training.seed, "weights"))
        known["likelihood"] = spec.made("likelihood", **known)
        known["posterior"] = spec.made("posterior", **known)
        prior = spec.made("prior", **known)
        encoder, decoder = spec.made("network", **known)
    return VAE(encoder, known["posterior"], prior, decoder, known["likelihood"])


def build_objective(spec: Specification) -> Objective:
    """The objective by its name."""
    return spec.made("objective")


def build_state(
    spec: Specification, schema: Schema, rows: int, device: torch.device, train: Rows | None = None
) -> State:
    """A resolved specification's training state before its first step, for a number of training rows.

    train    the training rows, for a model that starts at what a linear model makes of them; without them its weights
             are random: to be overwritten by a checkpoint
    """
    recipe = build_recipe(spec, schema, rows)
    model = build_model(spec, schema).to(device)
    if spec.model.start == FACTOR_ANALYSIS and train is not None:
        start_at(model, _factors(schema, train, spec.model.latent_dim))
    return State(model, build_objective(spec), recipe)


def _factors(schema: Schema, train: Rows, latents: int) -> Factors:
    mean, scale = schema.shifted("mean").flatten(), schema.array("scale").flatten()

    def blocks() -> Iterator[np.ndarray]:
        for count, batch in train.blocks():
            x = batch.x[:count].flatten(1).cpu().double().numpy()
            hidden = None if batch.mask is None else ~batch.mask[:count].flatten(1).cpu().numpy()
            yield x if hidden is None else np.where(hidden, mean, x)

    return factor_analysis(blocks(), mean, scale, latents)


def build_recipe(spec: Specification, schema: Schema, rows: int) -> Recipe:
    """The recipe of a resolved specification for a number of training rows."""
    training = spec.training
    size = min(training.batch_size, rows)
    steps = training.epochs * max(1, rows // size)
    return Recipe(
        steps=steps,
        batch_size=size,
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        tolerance=TOLERANCE + TOLERANCE_EACH * schema.features,
        patience=training.patience,
        seed=training.seed,
        precision=training.precision,
        compiled=training.compile == "on",
    )


def choose_device(name: str) -> torch.device:
    """cpu or cuda; "auto" takes the accelerator where there is one."""
    if name not in (AUTO, *DEVICES):
        raise unknown("device", name, (AUTO, *DEVICES))
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise VaekitError("device cuda was asked for and this machine offers none: use --device cpu.")
    return torch.device(name)
