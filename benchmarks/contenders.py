"""What is timed: each a function that makes a number of training steps of the same model on the same data.

The model is encoder d-h-(2 · D), decoder D-h-d (or the same convolutions), ReLU, standard normal prior, Adam at 1e-3,
batches in random order, rows as bytes in memory. x is grey in [0, 1] under the expected Bernoulli log-likelihood, or
standard normal columns under N(x; x̂, 1). On an accelerator the rows lie there, and all numbers are drawn there.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from vaekit import nets
from vaekit.data import Source
from vaekit.settings import Settings, prepare
from vaekit.training import fit
from vaekit.training.compiled import EAGERLY

Steps = Callable[[int], None]
RATE = 1e-3
DEVICE = torch.device("cpu")
"""where all of them run; JAX chooses for itself"""


@dataclass(frozen=True)
class Work:
    """One training to be timed."""

    shape: tuple[int, ...]
    hidden: tuple[int, ...]
    """widths, or channels of the stages"""
    latents: int
    batch: int
    convolutional: bool = False
    images: bool = True
    rows: int = 20_000

    @property
    def features(self) -> int:
        return int(np.prod(self.shape))

    def data(self) -> np.ndarray:
        """(rows, *shape): bytes with a good deal of black in them, or normal columns"""
        rng, shape = np.random.default_rng(0), (self.rows, *self.shape)
        if self.images:
            return (rng.integers(0, 256, shape) * (rng.random(shape) < 0.2)).astype(np.uint8)
        return rng.normal(size=shape).astype(np.float32)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder."""
        if self.convolutional:
            return (
                nets.ConvEncoder(self.shape, self.hidden, 2 * self.latents, "relu"),
                nets.ConvDecoder(self.latents, self.shape, self.hidden, "relu"),
            )
        return (
            nets.MLP(self.features, self.hidden, 2 * self.latents, "relu"),
            nets.MLP(self.latents, self.hidden[::-1], self.features, "relu"),
        )


def careful(work: Work, x: np.ndarray) -> tuple[Steps, int]:
    """A careful loop in eager float32: rows gathered by `index_select`, logits, fused Adam."""
    step, parameters = _careful_step(work, x)

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    return steps, sum(p.numel() for p in parameters)


def _careful_step(work: Work, x: np.ndarray) -> tuple[Callable[[], None], list[nn.Parameter]]:
    encoder, decoder = (network.to(DEVICE) for network in work.networks())
    parameters = [*encoder.parameters(), *decoder.parameters()]
    on_card = DEVICE.type == "cuda"
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True, capturable=on_card)
    rows = torch.from_numpy(x).to(DEVICE)
    generator = None if on_card else torch.Generator().manual_seed(0)  # a graph knows the card's own alone

    def step() -> None:
        index = torch.randint(len(rows), (work.batch,), generator=generator, device=DEVICE)
        batch = rows.index_select(0, index).float()
        batch = batch.div_(255) if work.images else batch
        mean, log_variance = encoder(batch).chunk(2, -1)
        z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator, device=DEVICE)
        loss = _distortion(decoder(z), batch.flatten(1), work.images) + _rate(mean, log_variance)
        optimizer.zero_grad()
        (loss / work.batch).backward()
        optimizer.step()

    return step, parameters


def careful_graph(work: Work, x: np.ndarray) -> tuple[Steps, int]:
    """The careful loop's step as a CUDA graph: nothing but replays."""
    step, parameters = _careful_step(work, x)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()

    def steps(count: int) -> None:
        assert step  # kept: the graph works on its tensors
        for _ in range(count):
            graph.replay()

    return steps, sum(p.numel() for p in parameters)


def _distortion(y: torch.Tensor, x: torch.Tensor, images: bool) -> torch.Tensor:
    if images:
        return F.binary_cross_entropy_with_logits(y, x, reduction="sum")
    return 0.5 * (y - x).square().sum()


def _rate(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()


def ours(precision: str, compiled: str) -> Callable[[Work, np.ndarray], tuple[Steps, int]]:
    """vaekit's training step, with everything that a run does at each step."""

    def build(work: Work, x: np.ndarray) -> tuple[Steps, int]:
        settings = Settings().changed(
            validation=0.0, test=0.0, hidden=work.hidden, latent_dim=work.latents, batch_size=work.batch,
            learning_rate=RATE, activation="relu", network="conv" if work.convolutional else "mlp", epochs=10_000,
            binarize="expected" if work.images else "none", likelihood="auto" if work.images else "gaussian:sigma=unit",
            precision=precision, compile=compiled, device=DEVICE.type, schedule="cosine", start="random",
        )  # fmt: skip
        prepared = prepare(settings, Source(x))
        records = fit(prepared.state, prepared.rows["train"])

        def steps(count: int) -> None:
            for _ in range(count):
                next(records)

        steps(EAGERLY + 1)
        return steps, sum(p.numel() for p in prepared.state.parameters)

    return build


def pythae(work: Work, x: np.ndarray) -> tuple[Steps, int]:
    """pythae 0.1.2: its VAE with these networks, its own trainer, an epoch of `count` batches at a time."""
    import tempfile

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    encoder, decoder = work.networks()

    class Encoder(BaseEncoder):
        def __init__(self):
            BaseEncoder.__init__(self)
            self.network = encoder

        def forward(self, x):
            mean, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            BaseDecoder.__init__(self)
            self.network = decoder

        def forward(self, z):
            y = self.network(z)
            return ModelOutput(reconstruction=torch.sigmoid(y) if work.images else y)

    loss = "bce" if work.images else "mse"
    config = VAEConfig(input_dim=(work.features,), latent_dim=work.latents, reconstruction_loss=loss)
    model = VAE(config, encoder=Encoder(), decoder=Decoder())
    rows = torch.from_numpy(x).float().div(255 if work.images else 1)

    def steps(count: int) -> None:
        settings = BaseTrainerConfig(
            output_dir=tempfile.gettempdir(),
            per_device_train_batch_size=work.batch,
            learning_rate=RATE,
            no_cuda=DEVICE.type == "cpu",
        )
        few = rows[: count * work.batch]
        trainer = BaseTrainer(model, BaseDataset(few, torch.zeros(len(few))), training_config=settings)
        trainer.prepare_training()
        trainer.train_step(1)

    return steps, sum(p.numel() for p in model.parameters())


def jax(work: Work, x: np.ndarray) -> tuple[Steps, int]:
    """Hand-written JAX in float32: one jitted `lax.scan` over the steps, optax's Adam."""
    import jax
    import jax.numpy as jnp
    import optax

    rng = np.random.default_rng(0)
    widths = [work.features, *work.hidden, 2 * work.latents]
    back = [work.latents, *work.hidden[::-1], work.features]

    def layers(sizes):
        sizes = itertools.pairwise(sizes)
        return [(jnp.asarray(rng.normal(size=s) / s[0] ** 0.5, jnp.float32), jnp.zeros(s[1])) for s in sizes]

    def network(weights, y):
        for w, b in weights[:-1]:
            y = jax.nn.relu(y @ w + b)
        w, b = weights[-1]
        return y @ w + b

    def loss(parameters, x, noise):
        mean, log_variance = jnp.split(network(parameters[0], x), 2, -1)
        y = network(parameters[1], mean + jnp.exp(log_variance / 2) * noise)
        rate = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum()
        each = optax.sigmoid_binary_cross_entropy(y, x) if work.images else 0.5 * (y - x) ** 2
        return (each.sum() + rate) / work.batch

    optimizer = optax.adam(RATE)
    rows = jnp.asarray(x.reshape(len(x), -1))

    def step(carry, key):
        parameters, moments = carry
        pick, noise = jax.random.split(key)
        batch = rows[jax.random.randint(pick, (work.batch,), 0, len(rows))].astype(jnp.float32)
        batch = batch / 255 if work.images else batch
        gradient = jax.grad(loss)(parameters, batch, jax.random.normal(noise, (work.batch, work.latents)))
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments), None

    parameters = (layers(widths), layers(back))
    carry, key = (parameters, optimizer.init(parameters)), jax.random.PRNGKey(0)
    epoch = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0])

    def steps(count: int) -> None:
        nonlocal carry, key
        key, fresh = jax.random.split(key)
        carry = jax.block_until_ready(epoch(carry, jax.random.split(fresh, count)))

    return steps, sum(p.size for p in jax.tree.leaves(parameters))


def products(precision: torch.dtype) -> Callable[[Work, np.ndarray], tuple[Steps, int]]:
    """The floor: the networks' matrix products alone, forwards and backwards."""

    def build(work: Work, x: np.ndarray) -> tuple[Steps, int]:
        encoder, decoder = (copy.deepcopy(network).to(DEVICE, precision) for network in work.networks())
        linear = [
            layer for network in (encoder, decoder) for layer in network.modules() if isinstance(layer, nn.Linear)
        ]
        inputs = [torch.randn(work.batch, layer.in_features, dtype=precision, device=DEVICE) for layer in linear]
        outputs = [torch.randn(work.batch, layer.out_features, dtype=precision, device=DEVICE) for layer in linear]

        @torch.no_grad()
        def steps(count: int) -> None:
            for _ in range(count):
                for i, (layer, before, after) in enumerate(zip(linear, inputs, outputs, strict=True)):
                    before @ layer.weight.T
                    after.T @ before
                    if i:  # nothing needs the gradient of the data
                        after @ layer.weight

        return steps, sum(p.numel() for layer in linear for p in layer.parameters())

    return build


def moved(work: Work, x: np.ndarray) -> tuple[Steps, int]:
    """The other floor: the bytes that Adam must move, and no arithmetic. It reads weights, gradient and two moments,
    and writes all but the gradient."""
    size = sum(p.numel() for network in work.networks() for p in network.parameters())
    weights, gradient, means, squares = (torch.zeros(size, device=DEVICE) for _ in range(4))

    def steps(count: int) -> None:
        for _ in range(count):
            means.copy_(gradient)
            squares.copy_(means)
            weights.copy_(squares)
            weights.sum()

    return steps, size
