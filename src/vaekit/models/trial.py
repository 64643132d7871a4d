"""A few rows through parts before anything is trained: whether they have the right shapes, and go together."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vaekit.core import Batch, LatentModel, Likelihood, Objective, Posterior, members
from vaekit.errors import VaekitError, reason
from vaekit.noise import generator, normal_noise

ROWS = 2
"""one might be mistaken for an axis that is none"""


def check_networks(
    encoder: nn.Module,
    posterior: Posterior,
    decoder: nn.Module,
    likelihood: Likelihood,
    shape: tuple[int, ...],
    conditions: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Refuse networks that do not take what rows of a shape X and the latents are, or give something of another width
    than posterior and likelihood want. Weights, buffers and modes stay as they are.

    conditions    C, the number of what batches have in c
    device        where the networks are

    Raises VaekitError, with what the network raised as its cause.

    >>> from vaekit import nets, parts
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((8, 8))
    >>> try:
    ...     check_networks(nets.MLP(64, (5,), 3), posterior, nets.MLP(2, (5,), 64), likelihood, (8, 8))
    ... except VaekitError as error:
    ...     print(error)
    the encoder makes (2, 3) of 2 rows, (2, 8, 8), and has to make (2, 4) of them: posterior.features is 4.
    """
    c = [torch.zeros(ROWS, conditions, device=device)] if conditions else []
    u = likelihood.encode(torch.zeros(ROWS, *shape, device=device), None)
    h = _tried("encoder", encoder, [u, *c])
    if h.shape != (ROWS, posterior.features):
        raise _wrong("encoder", u, h, "posterior", posterior.features)
    z = torch.zeros(ROWS, posterior.latent_dim, device=device)
    y = _tried("decoder", decoder, [z, *c]).flatten(1)
    if y.shape != (ROWS, likelihood.features):
        raise _wrong("decoder", z, y, "likelihood", likelihood.features)


@torch.no_grad()
def check_parts(model: LatentModel, objective: Objective, batch: Batch) -> None:
    """Refuse parts that do not go together, by what they make of a few rows; weights and buffers stay as they are.

    batch    no larger than those of training

    Raises VaekitError: of a posterior and a prior of other spaces (real numbers, codes), of a bound and a posterior
    that has no density, of a penalty that compares rows where each is a batch, or what a part says of itself that
    another wants of it.

    >>> from vaekit import nets, objectives, parts
    >>> from vaekit.models import VAE
    >>> posterior, likelihood = parts.posteriors.Diagonal(2), parts.likelihoods.Bernoulli((5,))
    >>> networks = nets.MLP(5, (), 4), nets.MLP(2, (), 5)
    >>> model = VAE(networks[0], posterior, parts.priors.StandardNormal(2), networks[1], likelihood)
    >>> check_parts(model, objectives.ELBO(), Batch(torch.zeros(3, 5)))
    """
    trained = objective.generative or not any(True for one in members(model) for _ in _weights(one.prior))
    if not trained:
        raise VaekitError(
            f"objective {objective.name} trains no prior, and this one has weights: choose prior auto, and fit one to "
            f"the codes afterwards (vaekit refit)."
        )
    if objective.whole and len(batch.x) == 1:
        raise VaekitError(
            "a penalty compares the rows of a batch, and each batch has one: choose batch_size 2 or more."
        )
    normal = normal_noise(generator(0, "trial"), batch.x.dtype)
    noise = [normal(*shape).to(batch.x.device) for shape in objective.noise(model, len(batch.x))]
    with _evaluating(model), _evaluating(objective):
        for one in members(model):
            check_spaces(one, batch)
            q = one.encode(batch)
            if objective.bounded and not q.dense:
                raise VaekitError(
                    f"a {type(q).__name__.lower()} has no density q(z|x), and {objective.name} is a bound that is made "
                    f"of it: choose objective ae, or posterior auto."
                )
        bound = objective(model, batch, *noise, step=0)
    if objective.bounded == (bound.value is None):
        gives = "a value that is said to be none" if bound.value is not None else "no value"
        raise VaekitError(
            f"objective {objective.name} gives {gives}: set its attribute `bounded` to {not objective.bounded}."
        )


@torch.no_grad()
def check_spaces(model: LatentModel, batch: Batch) -> None:
    """Refuse a posterior and a prior whose latents are not of one kind: their densities cannot be compared."""
    q = model.encode(batch)
    p = model.pz(batch.c)
    if q.space != p.space:
        raise VaekitError(f"the posterior's latents are {q.space}, and the prior's {p.space}: choose prior auto.")


def _tried(name: str, network: nn.Module, given: list[Tensor]) -> Tensor:
    """What a network makes of its inputs; VaekitError where that is no tensor of rows."""
    shapes = " and ".join(str(tuple(one.shape)) for one in given)
    try:
        with torch.no_grad(), _evaluating(network):
            found = network(*given)
    except Exception as error:  # whatever a stranger's code raises
        words = reason(error).splitlines()[0]
        raise VaekitError(f"the {name} fails on {ROWS} rows, {shapes}: {type(error).__name__}, {words}.") from error
    if not isinstance(found, Tensor) or not found.ndim or len(found) != ROWS:
        what = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise VaekitError(f"the {name} makes {what} of {ROWS} rows, {shapes}: it has to give one tensor, row by row.")
    return found


def _wrong(name: str, given: Tensor, found: Tensor, part: str, features: int) -> VaekitError:
    """The error for a width that a part does not take."""
    return VaekitError(
        f"the {name} makes {tuple(found.shape)} of {ROWS} rows, {tuple(given.shape)}, and has to make "
        f"{(ROWS, features)} of them: {part}.features is {features}."
    )


def _weights(part: object) -> Iterator[nn.Parameter]:
    """The weights of a part, if it has any."""
    return part.parameters() if isinstance(part, nn.Module) else iter(())


@contextmanager
def _evaluating(network: object) -> Iterator[None]:
    """A network in evaluation mode, whose averages over batches stay as they are; then each module as it was."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []  # a plain function has none
    modes = [(module, module.training) for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
