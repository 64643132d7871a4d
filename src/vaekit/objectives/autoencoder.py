"""What bounds nothing: the loss of an autoencoder, and what keeps its decoder smooth."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vaekit.core import Batch, Bound, Draw, LatentModel, Objective, Penalty
from vaekit.errors import VaekitError


class Autoencoder(Objective):
    """The loss of an autoencoder: how unlikely a row is by its own code. It is no bound on log p(x).

        value = None
        loss  = −log p(x|z) of the code z of x, averaged over the rows

    z is the draw at ε = 0: of posterior "point", which belongs to it, what the encoder says; of a normal one the mean.
    With the penalties of this module it is a regularised autoencoder, with `MMD` a Wasserstein autoencoder. By itself
    it leaves the prior as it was: what is drawn of that means nothing before a prior is fitted to the codes.

    The squared error of others is the likelihood `gaussian:sigma=unit`: −log p(x|z) = ½ Σ (x − x̂)² + constant, in the
    data's own units.

    >>> from vaekit.objectives import CodeNorm, Penalised, WeightDecay
    >>> Penalised(Autoencoder(), [CodeNorm(weight=1e-4), WeightDecay(weight=1e-6)]).surrogate
    'distortion + 0.0001 · code-norm + 1e-06 · weight-decay'
    """

    name = "ae"
    bounded = False
    generative = False
    posterior = "point"
    surrogate = "distortion"

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """None at all."""
        return ()

    def forward(self, model: LatentModel, batch: Batch, *noise: Tensor, step: int = 0) -> Bound:
        """The loss of a batch, at whatever step of training."""
        x = batch.x
        draw = model.draw(batch, torch.zeros(1, len(x), model.noise, dtype=x.dtype, device=x.device))
        loss = draw.distortion.mean()
        if isinstance(draw.q.owed, Tensor):
            loss = loss + draw.q.owed.mean()
        return Bound(None, loss, {"distortion": draw.distortion.detach()}, draw)


class CodeNorm(Penalty):
    """The size of the codes, ½ ‖z‖², a mean over draws and rows: −log N(z; 0, I) but for a constant.

    β of a regularised autoencoder, whose loss is Σ (x − x̂)² + β ½ ‖z‖² + λ R (Ghosh et al. 2020, arXiv:1903.12436).
    The first of these is twice that of `gaussian:sigma=unit`, so that their β and λ are twice these weights.

    weight    of it in the loss

    >>> CodeNorm(weight=0.5).whole
    False
    """

    name = "code-norm"
    whole = False

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The mean of one batch, a scalar."""
        return 0.5 * draw.z.square().sum(-1).mean()


class WeightDecay(Penalty):
    """The squares of the decoder's weights and biases, ‖θ‖²: R of the autoencoder that Ghosh et al. call RAE-L2.

    (Ghosh et al. 2020, arXiv:1903.12436)

    weight    of it in the loss

    >>> WeightDecay(weight=1e-6).whole
    False
    """

    name = "weight-decay"
    whole = False

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The sum over all of them, a scalar."""
        return torch.stack([weight.square().sum() for weight in _decoder(model)]).sum()


class Jacobian(Penalty):
    """How fast x̂ changes with z, ‖∂x̂/∂z‖²_F, a mean over draws and rows: R of what Ghosh et al. call RAE-GP.

        ‖J‖²_F = E ‖Jᵀ u‖²,    u ~ N(0, I),    by one u per row

    x̂ is the decoder's mean as the encoder would see it, numbers in standard deviations. This is the penalty that the
    paper has (Ghosh et al. 2020, arXiv:1903.12436); its code has the gradient of Σ x̂² for z, and pythae that of Σ x̂,
    which are other things: a decoder whose pixels rise and fall in turn is smooth by those.

    weight    of it in the loss

    >>> Jacobian(weight=0.1).whole
    False
    """

    name = "jacobian"
    whole = False

    def noise(self, model: LatentModel, rows: int) -> tuple[tuple[int, int, int], ...]:
        """One direction per row."""
        return ((1, rows, model.likelihood.inputs),)

    def forward(self, model: LatentModel, draw: Draw, *noise: Tensor) -> Tensor:
        """The estimate of one batch, a scalar."""
        (direction,) = noise

        def seen(z: Tensor) -> Tensor:
            mean = model.decode(z, draw.batch.c).mean
            return model.likelihood.encode(mean.flatten(0, 1)).flatten(1)

        _, backwards = torch.func.vjp(seen, draw.z)  # type: ignore[misc]  # two, as nothing else is asked for
        (change,) = backwards(direction.expand(len(draw.z), -1, -1).flatten(0, 1))
        return change.square().sum(-1).mean()


def _decoder(model: LatentModel) -> Iterator[Tensor]:
    """The weights of a model's decoder."""
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, nn.Module) or not any(True for _ in decoder.parameters()):
        raise VaekitError("penalty weight-decay is of a decoder's weights, and this model has none: leave it out.")
    return decoder.parameters()
