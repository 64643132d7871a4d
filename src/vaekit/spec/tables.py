"""The closed tables of names: all that a specification can ask for."""

from collections.abc import Callable

import numpy as np
from torch import nn

from vaekit import nets, objectives, parts
from vaekit.data import BINARIZE, Schema
from vaekit.errors import VaekitError
from vaekit.training import recipe

FACTOR_ANALYSIS = "factor-analysis"


def _gaussian(sigma: str) -> Callable[[Schema], parts.likelihoods.Likelihood]:
    def build(schema: Schema) -> parts.likelihoods.Likelihood:
        # A difference of one resolution is the finest there is: rounding alone has this standard deviation.
        floor = schema.array("resolution") / 12**0.5
        mean, scale = schema.array("mean"), schema.array("scale")
        if sigma != "column":  # one scale for all: that of the columns that vary
            varies = schema.array("low") < schema.array("high")
            scale = np.sqrt(np.square(scale[varies]).mean()) if varies.any() else scale.mean()
        return parts.likelihoods.Gaussian(schema.shape, sigma=sigma, mean=mean, scale=scale, floor=floor)

    return build


def _bernoulli(schema: Schema) -> parts.likelihoods.Likelihood:
    return parts.likelihoods.Bernoulli(schema.shape, mean=schema.array("mean"), expected=schema.binarized == "expected")


def _on_a_grid(family) -> Callable[[Schema], parts.likelihoods.Likelihood]:
    def build(schema: Schema) -> parts.likelihoods.Likelihood:
        low, high, mean, scale = (schema.array(name) for name in ("low", "high", "mean", "scale"))
        return family(schema.shape, low=low, high=high, mean=mean, scale=scale, bounded=schema.is_image)

    return build


def _perceptron(kind: type[nets.MLP] | type[nets.SkipMLP]) -> Callable:
    def build(schema: Schema, hidden, activation: str, posterior, likelihood) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder; the decoder's widths are the encoder's backwards."""
        encoder = kind(schema.features, hidden, posterior.features, activation)
        start = likelihood.start()
        return encoder, kind(posterior.latent_dim, hidden[::-1], likelihood.features, activation, start=start)

    return build


def _convolutional(blocks: int, local: bool = False) -> Callable:
    def build(schema: Schema, hidden, activation: str, posterior, likelihood) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder with the channels `hidden`, a stage each."""
        if local:
            _check_map(schema, hidden, posterior)
        kind = {"blocks": blocks, "local": local}
        encoder = nets.ConvEncoder(schema.shape, hidden, posterior.features, activation, **kind)
        decoder = nets.ConvDecoder(
            posterior.latent_dim, schema.shape, hidden, activation,
            per_feature=likelihood.per_feature, start=likelihood.start(), **kind,
        )  # fmt: skip
        return encoder, decoder

    return build


def _check_map(schema: Schema, hidden, posterior) -> None:
    height, width = nets.stage_sizes(schema.shape, len(hidden))[-1]
    if not isinstance(posterior, parts.posteriors.Diagonal):
        raise VaekitError("the local network has one latent a place in the image: it goes with the diagonal posterior.")
    if posterior.latent_dim % (height * width):
        raise VaekitError(
            f"latent_dim is {posterior.latent_dim}, and with {len(hidden)} stages the latents of the local network are "
            f"a map of {height}×{width}: give a multiple of {height * width}, or auto."
        )


def _elbo(settings, warmup: int) -> objectives.ELBO:
    if settings.repeats != 1:
        raise VaekitError("repeats go with --objective iwae; the elbo averages over its samples.")
    return objectives.ELBO(settings.samples, settings.beta, warmup, settings.free_bits, settings.gradient)


def _iwae(settings, warmup: int) -> objectives.ImportanceWeighted:
    if settings.free_bits:
        raise VaekitError("free bits go with --objective elbo: the importance-weighted bound has no rate of its own.")
    return objectives.ImportanceWeighted(settings.samples, settings.repeats, settings.beta, warmup, settings.gradient)


LIKELIHOODS: dict[str, Callable[[Schema], parts.likelihoods.Likelihood]] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian("shared"),
    "gaussian-unit": _gaussian("unit"),
    "gaussian-diagonal": _gaussian("column"),
    "discretized-logistic": _on_a_grid(parts.likelihoods.DiscretizedLogistic),
    "colour-logistic": _on_a_grid(parts.likelihoods.ColourLogistic),
}
POSTERIORS = {"diagonal": parts.posteriors.Diagonal, "full": parts.posteriors.FullCovariance}
PRIORS = {"standard": parts.priors.StandardNormal}
OBJECTIVES = {"elbo": _elbo, "iwae": _iwae}
GRADIENTS = objectives.GRADIENTS
NETWORKS: dict[str, Callable] = {
    "mlp": _perceptron(nets.MLP),
    "skip": _perceptron(nets.SkipMLP),
    "conv": _convolutional(0),
    "resnet": _convolutional(1),
    "local": _convolutional(0, local=True),
}
ACTIVATIONS = tuple(nets.ACTIVATIONS)
DEVICES = ("cpu", "cuda")
COMPILE = ("on", "off")
STARTS = ("random", FACTOR_ANALYSIS)
SCHEDULES = (recipe.COSINE, recipe.PLATEAU)
PRECISIONS = tuple(recipe.PRECISIONS)

__all__ = [
    "ACTIVATIONS", "BINARIZE", "COMPILE", "DEVICES", "GRADIENTS", "LIKELIHOODS", "NETWORKS", "OBJECTIVES", "POSTERIORS",
    "PRECISIONS", "PRIORS", "SCHEDULES", "STARTS",
]  # fmt: skip
