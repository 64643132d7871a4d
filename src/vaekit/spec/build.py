"""Specification + schema → model, objective, recipe."""

import torch

from vaekit.data import Schema
from vaekit.errors import VaekitError, unknown
from vaekit.maths import derive_seed
from vaekit.models import FlatModel
from vaekit.spec.settings import AUTO, Specification
from vaekit.spec.tables import DEVICES, LIKELIHOODS, NETWORKS, OBJECTIVES, POSTERIORS, PRIORS
from vaekit.training import Recipe


def build_model(spec: Specification, schema: Schema) -> FlatModel:
    """The model of a resolved specification, weights drawn from its seed; global random state is left as it was."""
    settings = spec.model
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(spec.training.seed, "weights"))
        likelihood = LIKELIHOODS[settings.likelihood](schema)
        posterior = POSTERIORS[settings.posterior](settings.latent_dim)
        prior = PRIORS[settings.prior](settings.latent_dim)
        network = NETWORKS[settings.network]
        encoder, decoder = network(schema, settings.hidden, settings.activation, posterior, likelihood)
    return FlatModel(encoder, posterior, prior, decoder, likelihood)


def build_objective(spec: Specification):
    """The objective by its name."""
    return OBJECTIVES[spec.objective.objective](samples=spec.objective.samples, beta=spec.objective.beta)


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
