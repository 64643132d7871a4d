"""Specification + schema → model, objective, recipe."""

from threading import Lock

import torch

from vaekit.data import Schema
from vaekit.errors import VaekitError, unknown
from vaekit.maths import derive_seed
from vaekit.models import FlatModel
from vaekit.spec.settings import AUTO, Specification
from vaekit.spec.tables import DEVICES, LIKELIHOODS, NETWORKS, OBJECTIVES, POSTERIORS, PRIORS
from vaekit.training import Recipe, State

SEEDING = Lock()
"""PyTorch's layers draw their weights from the process's generator: one model at a time"""


def build_model(spec: Specification, schema: Schema) -> FlatModel:
    """The model of a resolved specification, weights drawn from its seed; global random state is left as it was."""
    settings = spec.model
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(spec.training.seed, "weights"))
        likelihood = LIKELIHOODS[settings.likelihood](schema)
        posterior = POSTERIORS[settings.posterior](settings.latent_dim)
        prior = PRIORS[settings.prior](settings.latent_dim)
        network = NETWORKS[settings.network]
        encoder, decoder = network(schema, settings.hidden, settings.activation, posterior, likelihood)
    return FlatModel(encoder, posterior, prior, decoder, likelihood)


def build_objective(spec: Specification, steps: int):
    """The objective by its name, for a training of so many steps: a warm-up ends before they do."""
    return OBJECTIVES[spec.objective.objective](spec.objective, int(spec.objective.warmup * steps))


def build_state(spec: Specification, schema: Schema, rows: int, device: torch.device) -> State:
    """A resolved specification's training state before its first step, for a number of training rows."""
    recipe = build_recipe(spec, rows)
    return State(build_model(spec, schema).to(device), build_objective(spec, recipe.steps), recipe)


def build_recipe(spec: Specification, rows: int) -> Recipe:
    """The recipe of a resolved specification for a number of training rows."""
    training = spec.training
    size = min(training.batch_size, rows)
    steps = training.epochs * max(1, rows // size)
    return Recipe(
        steps=steps,
        batch_size=size,
        learning_rate=training.learning_rate,
        patience=training.patience,
        seed=training.seed,
        precision="float32" if training.precision == AUTO else training.precision,  # of runs older than the choice
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
