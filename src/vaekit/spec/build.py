"""Specification + schema → likelihood, model, objective, recipe: the closed tables of names."""

from collections.abc import Callable

import torch

from vaekit import nets, objectives, parts
from vaekit.data import Schema
from vaekit.errors import VaekitError
from vaekit.maths import derive_seed
from vaekit.models import FlatModel
from vaekit.spec.settings import AUTO, Specification
from vaekit.training import Recipe


def _gaussian(sigma: str) -> Callable[[Schema], parts.likelihoods.Likelihood]:
    def build(schema: Schema) -> parts.likelihoods.Likelihood:
        # A difference of one resolution is the finest there is: rounding alone has this standard deviation.
        floor = schema.array("resolution") / 12**0.5
        mean, scale = schema.array("mean"), schema.array("scale")
        return parts.likelihoods.Gaussian(schema.shape, sigma=sigma, mean=mean, scale=scale, floor=floor)

    return build


def _bernoulli(schema: Schema) -> parts.likelihoods.Likelihood:
    return parts.likelihoods.Bernoulli(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")


def _discretized_logistic(schema: Schema) -> parts.likelihoods.Likelihood:
    low, high, mean, scale = (schema.array(name) for name in ("low", "high", "mean", "scale"))
    return parts.likelihoods.DiscretizedLogistic(schema.shape, low=low, high=high, mean=mean, scale=scale)


LIKELIHOODS: dict[str, Callable[[Schema], parts.likelihoods.Likelihood]] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian("shared"),
    "gaussian-unit": _gaussian("unit"),
    "gaussian-diagonal": _gaussian("column"),
    "discretized-logistic": _discretized_logistic,
}
POSTERIORS = {"diagonal": parts.posteriors.Diagonal, "full": parts.posteriors.FullCovariance}
PRIORS = {"standard": parts.priors.StandardNormal}
OBJECTIVES = {"elbo": objectives.ELBO}


def build_model(spec: Specification, schema: Schema) -> FlatModel:
    """The model of a resolved specification, weights drawn from its seed; global random state is left as it was."""
    settings = spec.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.training.seed, "weights"))
        likelihood = LIKELIHOODS[settings.likelihood](schema)
        posterior = POSTERIORS[settings.posterior](settings.latent_dim)
        prior = PRIORS[settings.prior](settings.latent_dim)
        encoder = nets.MLP(schema.features, settings.hidden, posterior.features, settings.activation)
        widths = settings.hidden[::-1]
        decoder = nets.MLP(
            settings.latent_dim, widths, likelihood.features, settings.activation, start=likelihood.start()
        )
    return FlatModel(encoder, posterior, prior, decoder, likelihood)


def build_objective(spec: Specification):
    """The objective by its name."""
    return OBJECTIVES[spec.objective.name](samples=spec.objective.samples, beta=spec.objective.beta)


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
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise VaekitError("device cuda was asked for and this machine offers none: use --device cpu.")
    return torch.device(name)
