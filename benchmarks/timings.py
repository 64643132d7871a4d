"""The tables of `speed.py`: what is timed against what."""

import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable

import contenders
import numpy as np
import torch
from contenders import Work
from results import DOCS, machine, write

from vaekit import evaluation, inference, nets, parts
from vaekit.data import Dataset, Source, load
from vaekit.models import VAE
from vaekit.settings import Settings, prepare

PAGE = DOCS / "performance.md"
HEADER = "| command | contender | ms a step | times"
CARD_HEADER = "| command | contender | ms a step | busy |"
USE_HEADER = "| command | contender | µs a row |"
"""how the tables in docs/performance.md begin"""
FASTEST = {
    "vaekit, float32": contenders.ours("float32", "off"),
    "vaekit, float32, compiled": contenders.ours("float32", "on"),
    "vaekit, bfloat16": contenders.ours("bfloat16", "off"),
    "vaekit, bfloat16, compiled": contenders.ours("bfloat16", "on"),
}
CAREFUL, PYTHAE = {"careful loop, float32": contenders.careful}, {"pythae, float32": contenders.pythae}
JAX = {"JAX, float32": contenders.jax}
FLOORS = {
    "products alone, float32": contenders.products(torch.float32),
    "products alone, bfloat16": contenders.products(torch.bfloat16),
    "Adam's bytes alone": contenders.moved,
}
MLP = {**CAREFUL, **PYTHAE, **JAX, **FASTEST, **FLOORS}
PLAIN = {name: build for name, build in FASTEST.items() if "compiled" not in name}
TRAININGS = {
    "mlp-128": (Work((784,), (400,), 20, 128), MLP, 60),
    "mlp-512": (Work((784,), (400,), 20, 512), MLP, 20),
    "mlp-4096": (Work((784,), (400,), 20, 4096, rows=100_000), MLP, 4),
    "conv-28": (Work((28, 28), (32, 64), 16, 128, convolutional=True), {**CAREFUL, **PYTHAE, **PLAIN}, 8),
    "conv-64": (Work((3, 64, 64), (32, 64, 128), 32, 128, convolutional=True, rows=2000),
                {**CAREFUL, **PYTHAE, **PLAIN}, 2),
    "table": (Work((30,), (64,), 8, 128, images=False), {**CAREFUL, **PYTHAE, **JAX, **FASTEST}, 300),
}  # fmt: skip


def in_turn(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, the contenders one after another in each round, after one call each that is not counted."""
    for contender in contenders.values():
        contender()
    _wait()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            _wait()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def _wait() -> None:
    """Until an accelerator has done what it was given."""
    if _on_a_card():
        torch.cuda.synchronize()


def _on_a_card() -> bool:
    return contenders.DEVICE.type == "cuda"


def ratios(seconds: dict[str, list[float]], name: str) -> str:
    """How many times as fast as the first contender: median, and the smallest and largest round."""
    first = next(iter(seconds.values()))
    each = [one / other for one, other in zip(first, seconds[name], strict=True)]
    return f"**{statistics.median(first) / statistics.median(seconds[name]):.2f}** ({min(each):.2f} … {max(each):.2f})"


def training(name: str, rounds: int) -> None:
    """Milliseconds a step."""
    work, builders, stretch = TRAININGS[name]
    if _on_a_card():
        builders, stretch = _there(builders), min(max(20, 3 * stretch), work.rows // work.batch)
    x, sizes, calls = work.data(), {}, {}
    for label, build in builders.items():
        steps, sizes[label] = build(work, x)
        calls[label] = lambda steps=steps: steps(stretch)
    models = {label: size for label, size in sizes.items() if "alone" not in label}
    if len(set(models.values())) > 1:
        sys.exit(f"the contenders of {name} do not train the same model: {models}")
    seconds = in_turn(calls, rounds)
    for label, each in seconds.items():
        milliseconds = statistics.median(each) / stretch * 1e3
        if _on_a_card():
            busy = f"{_kernels(calls[label]) / stretch * 1e3 / milliseconds:.0%}"
            cells = f"`benchmarks/speed.py {name} --device cuda` | {label} | {milliseconds:.3g} | {busy}"
            write(CARD_HEADER, f"| {cells} | {ratios(seconds, label)} | {rounds} | {machine()} |", key=2, page=PAGE)
            continue
        cells = f"`{_threads()}benchmarks/speed.py {name}` | {label} | {milliseconds:.3g} | {ratios(seconds, label)}"
        write(HEADER, f"| {cells} | {rounds} | {machine()} |", key=2, page=PAGE)


def _there(builders: dict) -> dict:
    """The contenders on an accelerator, of those that are installed."""
    wanted = {"pythae, float32": "pythae", "JAX, float32": "optax"}
    missing = [name for name, module in wanted.items() if not importlib.util.find_spec(module)]
    others = {name: build for name, build in builders.items() if name not in missing}
    return {**CAREFUL, "careful loop, float32, as a graph": contenders.careful_graph, **others}


def _kernels(call: Callable[[], None]) -> float:
    """Seconds that the accelerator is busy in a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        _wait()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6


def _threads() -> str:
    """The part of a command that says how many threads it has, where that is not all there are."""
    return "" if torch.get_num_threads() == os.cpu_count() else f"OMP_NUM_THREADS={torch.get_num_threads()} "


def nll(name: str, rounds: int) -> None:
    """log p(x) of MNIST rows with K = 5000: microseconds a row."""
    from pythae.models import VAE, VAEConfig

    rows, draws = 4, 5000
    x = load("mnist").x[-rows:]
    settings = Settings().changed(
        binarize="dynamic", hidden=(200, 200), latent_dim=50, activation="tanh", network="mlp", device="cpu"
    )
    prepared = prepare(settings, Source(np.concatenate([x] * 30)))
    model, some = prepared.state.trained(), Dataset(x, prepared.schema, seed=0)
    theirs = VAE(VAEConfig(input_dim=(784,), latent_dim=50, reconstruction_loss="bce"))
    theirs.encoder, theirs.decoder = _adapted(model)
    images = torch.from_numpy(x.reshape(rows, -1)).float().div(255).round()
    weights = [layer.weight for layer in model.decoder.modules() if isinstance(layer, torch.nn.Linear)]

    @torch.no_grad()
    def products() -> None:
        for _ in range(rows * draws // 500):
            y = torch.randn(500, 50)
            for weight in weights:
                y = y @ weight.T

    method = evaluation.ImportanceSampling(draws)
    calls = {
        "pythae, get_nll": torch.no_grad()(lambda: theirs.get_nll(images, n_samples=draws, batch_size=100)),
        "vaekit": lambda: evaluation.log_likelihood(model, some, method),
        "decoder's products alone": products,
    }
    _write_use(name, in_turn(calls, rounds), rows)


def _adapted(model: VAE) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The same networks as pythae wants them."""
    from pythae.models.base.base_utils import ModelOutput

    class Encoder(torch.nn.Module):
        def forward(self, x):
            mean, log_sigma = model.encoder(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=2 * log_sigma)

    class Decoder(torch.nn.Module):
        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(model.decoder(z)))

    return Encoder(), Decoder()


def use(name: str, rounds: int) -> None:
    """Encoding and generating 10,000 rows, beside the bare networks that give the same rows in the same blocks."""
    rows, block = 10_000, 256
    x = np.random.default_rng(0).integers(0, 256, (rows, 28, 28)).astype(np.uint8)
    posterior, likelihood = parts.posteriors.Diagonal(20), parts.likelihoods.Bernoulli((28, 28))
    encoder, decoder = nets.MLP(784, (400,), posterior.features), nets.MLP(20, (400,), likelihood.features)
    model = VAE(encoder, posterior, parts.priors.StandardNormal(20), decoder, likelihood).eval()
    schema = prepare(Settings().changed(binarize="expected", latent_dim=2), Source(x[:100])).schema
    data, stored, z = Dataset(x, schema, seed=0), torch.from_numpy(x), torch.randn(rows, 20)
    data.keys  # noqa: B018  (made once a data set)

    @torch.no_grad()
    def bare(network, values, finish=lambda y: y) -> torch.Tensor:
        blocks = (values[start : start + block] for start in range(0, rows, block))
        return torch.cat([finish(network(b.float().div_(255) if values is stored else b)) for b in blocks])

    source = torch.Generator().manual_seed(0)
    _write_use(f"{name}", in_turn({
        "bare encoder": lambda: bare(encoder, stored), "vaekit, encode": lambda: inference.encode(model, data),
    }, rounds), rows)  # fmt: skip
    _write_use(f"{name}", in_turn({
        "bare decoder": lambda: bare(decoder, z, torch.sigmoid), "vaekit, decode": lambda: inference.decode(model, z),
        "vaekit, sample (means)": lambda: inference.sample(model, rows, source, mean=True),
        "vaekit, sample (draws)": lambda: inference.sample(model, rows, source),
    }, rounds), rows)  # fmt: skip


def _write_use(name: str, seconds: dict[str, list[float]], rows: int) -> None:
    for label, each in seconds.items():
        micros = statistics.median(each) / rows * 1e6
        cells = f"`{_threads()}benchmarks/speed.py {name}` | {label} | {micros:,.3g} | {ratios(seconds, label)}"
        write(USE_HEADER, f"| {cells} | {len(each)} | {machine()} |", key=2, page=PAGE)


TABLES = {**dict.fromkeys(TRAININGS, training), "nll": nll, "use": use}
