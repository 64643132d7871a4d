"""Pictures of a trained model: what it generates, what it reconstructs, how it learned, what its latents mean."""

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaekit import inference
from vaekit.core import Latent, LatentModel, at_once
from vaekit.data import Dataset
from vaekit.data.dates import DAY
from vaekit.data.schema import Schema
from vaekit.errors import counted
from vaekit.noise import generator, normal_noise
from vaekit.runs import Run, selected, storage
from vaekit.settings import can_be_sampled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = 10
"""pictures a side, or fewer where the page would have more than `PAGE` pixels a side"""
PAGE = 4000
CELL_PIXELS = 56
GAP = 2
LEVELS = 12
"""levels of a column that have a bar each, the most frequent ones"""
PANELS = 16
"""histograms on a page"""
MARGINAL_ROWS = 100_000
"""rows shown in a histogram"""
PARTS = {"test": "test", "validation": "validation", "train": "training", "": "other"}
"""parts of the data as they are called, in the order in which pictures are of them"""


def write_all(run: Run, model: LatentModel, rows: Dataset, labels: np.ndarray | None = None) -> list[Path]:
    """Every picture that fits the run, into its folder `pictures/`; `rows` are shown beside it, with their `labels`.

    Images: samples.png, draws.png, reconstructions.png, and manifold.png for two latents that are real numbers. Tables
    and sequences: samples.png, the columns' distributions beside the data's. Always: training.png. Of a run whose prior
    is not that of its codes there is nothing that shows draws of it.
    """
    folder = run.folder / "pictures"
    folder.mkdir(exist_ok=True)
    written = [training_curve(run.metrics, folder / "training.png")]
    schema = run.schema
    seed = run.settings.training.seed
    drawn = can_be_sampled(run.settings, run.objective)
    if schema.is_image:
        written += _images(schema, model, rows, folder, seed, drawn)
        plane = model.latent_dim == 2 and run.settings.model.members == 1
        if drawn and plane and _of_real_numbers(model, rows):
            c = _conditions(rows, 1)
            written.append(grid(manifold(model, c), schema, folder / "manifold.png", columns=MANIFOLD))
            written.append(latent_plane(schema, model, rows, folder / "plane.png", labels))
    elif drawn and len(rows):
        part = next((part for part in PARTS if run.data.get(part) == len(rows)), "")
        written.append(marginals(schema, model, rows, folder / "samples.png", seed, part))
    return written


def _of_real_numbers(model: LatentModel, rows: Dataset) -> bool:
    """Whether the latents are real numbers, a plane of which can be shown."""
    with torch.no_grad():
        return all(model.encode(batch).space == Latent.space for _, batch in rows.first(1).blocks())


def grid(images: np.ndarray, schema: Schema, path: Path, *, columns: int | None = None, deep: bool = False) -> Path:
    """Images (n, *X) as a model gives them as one PNG, near square unless `columns` is given: see `shades`.

    deep    16 bits a pixel where the images are grey
    """
    from PIL import Image

    found = shades(schema.uncentred(images), schema)
    n, height, width, *channels = found.shape
    columns = columns or min(n, round(n**0.5))
    rows = -(-n // columns)
    bits = 16 if deep and not channels else 8
    dtype = np.dtype(f"uint{bits}")
    white = 2**bits - 1
    zoom = max(1, CELL_PIXELS // max(height, width))
    height *= zoom
    width *= zoom
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, *channels)
    page = np.full(shape, 0.375 * white, dtype)
    if channels:
        page[..., 3:] = white
    for i, image in enumerate(found):
        row, column = divmod(i, columns)
        top = GAP + row * (height + GAP)
        left = GAP + column * (width + GAP)
        cell = (image * white).round().astype(dtype)
        page[top : top + height, left : left + width] = cell.repeat(zoom, 0).repeat(zoom, 1)
    return _written(path, lambda buffer: Image.fromarray(page).save(buffer, "png"))


def shades(images: np.ndarray, schema: Schema) -> np.ndarray:
    """Images (n, *X) in the data's units as numbers from 0, the lowest value that the data has, to 1, the highest.

    Grey ones give (n, height, width), those of three channels (n, height, width, 3), a fourth is opacity. Of two, five
    or more channels the first three are shown as red, green and blue, each by its own range: three standard deviations
    on either side of the means of its pixels.
    """
    low = float(np.min(schema.low))
    high = float(np.max(schema.high))
    if images.ndim == 3:
        return _stretched(images, low, high)
    if schema.channels in (3, 4):
        return np.moveaxis(_stretched(images, low, high), 1, -1)
    mean = schema.array("mean")[:3]
    reach = 3 * schema.array("scale")[:3]
    least = np.clip((mean - reach).min((1, 2)), low, high)[:, None, None]
    most = np.clip((mean + reach).max((1, 2)), low, high)[:, None, None]
    scaled = np.moveaxis(_stretched(images[:, :3], least, most), 1, -1)
    return np.pad(scaled, ((0, 0), (0, 0), (0, 0), (0, 3 - scaled.shape[-1])))


def shown_as(schema: Schema) -> str:
    """How channels that are no colours are shown; nothing for all other images.

    >>> shown_as(Schema((5, 9, 9), "real", None, 0.0, 1.0, 0.1, 0.5, 0.1, layout="image"))
    'channels 0, 1 and 2 shown as red, green and blue, each by its own range'
    """
    if schema.channels in (1, 3, 4):
        return ""
    which = "0, 1 and 2 shown as red, green and blue"
    if schema.channels == 2:
        which = "0 and 1 shown as red and green"
    return f"channels {which}, each by its own range"


def _stretched(images: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """The images with the range from low to high as 0 to 1, and what lies outside at its ends."""
    return np.clip((images - low) / np.maximum(high - low, 1e-12), 0, 1)


def with_reconstructions(rows: Dataset, reconstructions: torch.Tensor, count: int) -> np.ndarray:
    """Each of the first `count` rows, followed by its m reconstructions (m, n, *X): ((1 + m) · count, *X)."""
    _, batch = next(rows.blocks(count))
    pairs = torch.cat([batch.x[None].cpu(), reconstructions[:, :count].cpu()])
    return pairs.transpose(0, 1).flatten(0, 1).numpy()


MANIFOLD = 20
"""images a side of the plane of two latents"""
PLANE = 3.6
"""how far out the plane is drawn, in standard deviations of the prior"""
PLANE_ROWS = 10_000
"""points drawn on it"""


def manifold(model: LatentModel, c: torch.Tensor | None = None) -> np.ndarray:
    """The means x̂ over a grid of two latents, at the quantiles of p(z), or p(z|c) of c (1, C): (20 · 20, *X)."""
    u = (torch.arange(MANIFOLD) + 0.5) / MANIFOLD
    noise = torch.special.ndtri(u)
    return inference.decode(model, _of_prior(model, _pairs(noise, -noise), c)).cpu().numpy()


@torch.no_grad()
def _of_prior(model: LatentModel, noise: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
    """What the prior makes of ε (n, 2): z (n, 2). One that takes other numbers of normals is taken for N(0, I)."""
    noise = noise.to(next(model.parameters()))
    if model.prior.noise != noise.shape[1]:
        return noise
    z, _ = model.pz(c).draw(noise[:, None])
    return z[:, 0]


def _pairs(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two latents of these values each, (m,), in all pairs, (m · m, 2): row by row, the second the same in a row."""
    down, across = torch.meshgrid(second, first, indexing="ij")
    return torch.stack([across, down], -1).flatten(0, 1)


def latent_plane(
    schema: Schema, model: LatentModel, rows: Dataset, path: Path, labels: np.ndarray | None = None
) -> Path:
    """Two latents: x̂ over the plane, and beside it draws of the aggregate posterior q(z) = mean over x of q(z|x), one
    point per row, with the circles of one, two and three standard deviations of ε, as the prior z(ε) draws them. Both
    to the same scale.

    labels    (n,) of the rows, where they are known: the points' colours
    """
    shuffled = np.random.default_rng(0).permutation(len(rows))  # in no order: no class lies above another
    order = shuffled[:PLANE_ROWS]
    z = _drawn(model, rows.subset(order))
    figure, (decoded, posterior) = _figure(1, (11, 5.6), columns=2)
    page = _decoded_plane(schema, model, rows.device)
    decoded.imshow(page, cmap="gray", vmin=0, vmax=1, extent=(-PLANE, PLANE, -PLANE, PLANE))
    decoded.set_title("x̂ over the plane of z")
    if labels is not None:
        labels = np.asarray(labels)[order]
    _scatter(posterior, z, labels)
    turn = torch.linspace(0, 2 * torch.pi, 200)
    circle = torch.stack([turn.cos(), turn.sin()], 1)
    for radius in (1, 2, 3):
        ring = _of_prior(model, radius * circle, _conditions(rows, 1)).cpu()
        posterior.plot(*ring.T, lw=0.8, ls="--", color="black")
    posterior.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE), aspect="equal")
    posterior.set_title(f"z ~ q(z): {len(z):,} rows; circles of the prior at 1, 2, 3 σ")
    return _save(figure, path)


def _decoded_plane(schema: Schema, model: LatentModel, device: torch.device) -> np.ndarray:
    """The decoder's means over the plane as one picture, (height, width) or (height, width, channels)."""
    edge = PLANE * (1 - 1 / MANIFOLD)
    values = torch.linspace(-edge, edge, MANIFOLD)
    points = _pairs(values, values.flip(0))
    images = schema.uncentred(inference.decode(model, points.to(device)).cpu().numpy())
    height, width = schema.shape[-2:]
    cells = shades(images, schema).reshape(MANIFOLD, MANIFOLD, height, width, -1)
    page = cells.transpose(0, 2, 1, 3, 4).reshape(MANIFOLD * height, MANIFOLD * width, -1)
    if page.shape[-1] == 1:
        return page[..., 0]
    return page


CLASSES = 20
"""labels that have a colour each; more numbers have a scale of colours"""


def _scatter(axes: "Axes", z: np.ndarray, labels: np.ndarray | None) -> None:
    """A dot per row, coloured by its label, with a legend."""
    x, y = z.T
    size = float(np.clip(20_000 / len(z), 4, 24))
    dots = partial(axes.scatter, x, y, s=size, alpha=0.7, lw=0)
    if labels is None:
        dots()
        return
    names, codes = np.unique(labels, return_inverse=True)
    if 1 < len(names) <= CLASSES:
        colours, most = ("tab10", 9) if len(names) <= 10 else ("tab20", 19)
        drawn = dots(c=codes, cmap=colours, vmin=0, vmax=most)
        handles, _ = drawn.legend_elements(num=None, alpha=1)  # type: ignore[arg-type]  # None, for all: documented
        axes.legend(handles, map(str, names), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    elif names.dtype.kind in "iuf" and len(names) > CLASSES:
        axes.figure.colorbar(dots(c=labels, cmap="viridis"), ax=axes, shrink=0.7)
    else:
        dots()


@torch.no_grad()
def _drawn(model: LatentModel, rows: Dataset) -> np.ndarray:
    """Draws z ~ q(z|x), one of each row, (n, D)."""
    normal = normal_noise(generator(rows.seed, "plane", device=rows.device))
    drawn = []
    for count, batch in rows.blocks(at_once(model.width)):
        z, _ = model.encode(batch).draw(normal(1, len(batch.x), model.noise))
        drawn.append(z[0, :count])
    return torch.cat(drawn).cpu().numpy()


def training_curve(metrics: list[dict[str, float]], path: Path) -> Path:
    """Train and validation ELBO against steps, with rate and distortion below."""
    figure, (above, below) = _figure(2, (8, 6.5), sharex=True)
    bounds: list[str] = []
    if metrics:
        bounds = list(dict.fromkeys([selected(metrics[-1]), "elbo"]))
    for name in bounds:
        _plot(above, metrics, name)
    for name in ("rate", "distortion"):
        _plot(below, metrics, name)
    drawn = [*bounds, *(f"validation_{name}" for name in bounds)]
    later = metrics[len(metrics) // 10 :]  # the first tenth would flatten all that follows
    values = [record[name] for record in later for name in drawn if name in record]
    if len(values) > 1 and min(values) < max(values):
        margin = 0.1 * (max(values) - min(values))
        above.set_ylim(min(values) - margin, max(values) + margin)
    below.set_xlabel("step")
    return _save(figure, path)


def _plot(axes: "Axes", metrics: list[dict[str, float]], name: str) -> None:
    """A term of the records against steps, and beside it that of the validation rows, as far as the last has them."""
    if not metrics or name not in metrics[-1]:
        return
    steps = [record["step"] for record in metrics]
    axes.plot(steps, [record[name] for record in metrics], label=f"{name}, training rows")
    held_out = f"validation_{name}"
    if held_out in metrics[-1]:
        axes.plot(steps, [record[held_out] for record in metrics], "--", label=f"{name}, validation rows")
    axes.legend(frameon=False, fontsize=8)
    axes.set_ylabel("loss" if name == "loss" else "nats per row")


def marginals(schema: Schema, model: LatentModel, rows: Dataset, path: Path, seed: int, part: str = "") -> Path:
    """Histograms of up to 16 columns: held-out rows beside as many draws from the model.

    part    of the data that the rows are, for the legend: test, validation or train
    """
    source = generator(seed, "picture", device=rows.device)
    many = max(1000, len(rows))
    drawn = inference.sample(model, many, source, c=_conditions(rows, many)).cpu().numpy()
    drawn = schema.uncentred(drawn).reshape(len(drawn), -1)
    data = schema.uncentred(rows.first(MARGINAL_ROWS).stored.cpu().numpy())
    data = data.reshape(len(data), -1).astype(np.float64)
    shown = f"data: {counted(len(data), f'{PARTS[part]} row')}"
    if len(data) < len(rows):
        shown = f"data: the first {len(data):,} of {counted(len(rows), f'{PARTS[part]} row')}"
    count = min(PANELS, schema.features)
    across = min(4, count)
    down = -(-count // across)
    figure, axes = _figure(down, (3 * across, 2.4 * down + 0.4), columns=across)
    for j, axis in enumerate(axes):
        axis.set_visible(j < count)
        if j < count:
            observed = data[:, j][~np.isnan(data[:, j])]
            _panel(axis, schema, j, observed, drawn[:, j], (shown, f"model: {len(drawn):,} draws"))
            title = schema.names[j] if schema.names else schema.column(j)
            axis.set_title(title, fontsize=9)
            axis.set_yticks([])
            axis.tick_params(labelsize=8)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=min(2, across),
        frameon=False,
        fontsize=9,
        title="" if count == schema.features else f"the first {count} of {schema.features:,} columns",
        title_fontsize=9,
    )
    return _save(figure, path)


def _panel(axis: "Axes", schema: Schema, j: int, data: np.ndarray, drawn: np.ndarray, labels: tuple[str, str]) -> None:
    """One column: its observed cells beside the model's draws, levels as bars."""
    own = schema.type_of(j)
    levels = own.levels
    if levels:
        counts = [np.bincount(values.astype(np.int64), minlength=len(levels)) for values in (data, drawn)]
        order = np.argsort(-counts[0], kind="stable")[:LEVELS]
        if own.kind == "ordinal":
            order = np.arange(len(levels))[:LEVELS]
        places = np.arange(len(order))
        axis.bar(places, counts[0][order] / max(1, len(data)), alpha=0.5, label=labels[0])
        axis.bar(places, counts[1][order] / max(1, len(drawn)), fill=False, ec="C1", lw=1.5, label=labels[1])
        axis.set_xticks(places, [_short(levels[k]) for k in order], rotation=30, ha="right")
        return
    if own.written == "datetime":
        data = data / DAY
        drawn = drawn / DAY
    if _is_long_tailed(data) and own.written == "number":
        _panel_of_logarithms(axis, data, drawn, labels)
        return
    ends = np.percentile(drawn, [1, 99], method="nearest")
    bins = _bins(np.concatenate([data, ends]))
    axis.hist(data, bins, density=True, alpha=0.5, label=labels[0])
    axis.hist(drawn, bins, density=True, histtype="step", lw=1.5, label=labels[1])
    if own.written in ("date", "datetime"):
        from matplotlib.dates import DateFormatter

        axis.locator_params(axis="x", nbins=4)
        axis.xaxis.set_major_formatter(DateFormatter("%Y-%m-%d"))  # of days since 1970, as these are
        axis.tick_params(axis="x", rotation=20)
        return
    axis.xaxis.get_offset_text().set_fontsize(8)
    axis.locator_params(axis="x", nbins=4)  # more labels of long numbers would run together


LONG_TAIL = 10.0
"""times the median, beyond which the 99th percentile of positive cells makes a long tail"""


def _is_long_tailed(data: np.ndarray) -> bool:
    """Whether no cell is negative, and most of those that are not 0 would share the first few bins."""
    positive = data[data > 0]
    if len(positive) < 2 or (data < 0).any():
        return False
    return bool(np.percentile(positive, 99) > LONG_TAIL * np.median(positive))


def _panel_of_logarithms(axis: "Axes", data: np.ndarray, drawn: np.ndarray, labels: tuple[str, str]) -> None:
    """A column with a long tail: its positive cells on an axis of logarithms, and in words how many are not so."""
    from matplotlib.ticker import LogLocator

    positive = data[data > 0]
    positive_drawn = drawn[drawn > 0]
    ends = np.percentile(positive_drawn, [1, 99]) if len(positive_drawn) else positive[:0]
    bins = (10 ** np.array(_bins(np.log10(np.concatenate([positive, ends]))))).tolist()
    # of all cells, so that both histograms tell how many are positive
    axis.hist(positive, bins, weights=np.full(len(positive), 1 / len(data)), alpha=0.5, label=labels[0])
    weights = np.full(len(positive_drawn), 1 / len(drawn))
    axis.hist(positive_drawn, bins, weights=weights, histtype="step", lw=1.5, label=labels[1])
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(numticks=5))
    others = [float((values <= 0).mean()) for values in (data, drawn)]
    if any(others):
        which = "0" if (drawn >= 0).all() else "0 or less"
        axis.set_xlabel(f"{which}: data {others[0]:.0%}, model {others[1]:.0%}", fontsize=8)


def _short(level: str) -> str:
    """A level's name as far as there is room for it."""
    return level if len(level) <= 12 else f"{level[:11]}…"


BINS = 30
MOST_COUNTED = 1000
"""whole numbers from the least to the greatest up to which bins hold as many of them each"""


def _bins(values: np.ndarray) -> list[float]:
    """Edges of 30 bins over the values, or around the one number that all of them are. Of whole numbers there may be
    fewer bins, so that each holds as many of them.

    >>> _bins(np.array([18.0, 30.0, 80.0]))[:3], len(_bins(np.array([1.0, 2.0, 4.0])))
    ([17.5, 20.5, 23.5], 5)
    """
    low = float(values.min())
    high = float(values.max())
    if low < high < low + MOST_COUNTED and (values == values.round()).all():
        width = math.ceil((high - low + 1) / BINS)
        return np.arange(low - 0.5, high + width, width).tolist()
    size = max(abs(low), abs(high))
    if high - low < 1e-9 * size:
        low -= 1e-3 * size
        high += 1e-3 * size
    return np.histogram_bin_edges(values, BINS, (low, high)).tolist()


def _images(schema: Schema, model: LatentModel, rows: Dataset, folder: Path, seed: int, drawn: bool) -> list[Path]:
    """Where it can be drawn from means x̂ and draws x of latents of the prior, and rows beside their reconstructions."""
    written = []
    side = max(2, min(GRID, PAGE // max(schema.shape[-2:])))
    for name, mean in (("samples", True), ("draws", False)) if drawn else ():
        source = generator(seed, "picture", device=rows.device)
        images = inference.sample(model, side * side, source, mean=mean, c=_conditions(rows, side * side))
        written.append(grid(images.cpu().numpy(), schema, folder / f"{name}.png", columns=side))
    if len(rows):
        side -= side % 2  # each image stands beside its reconstruction
        count = min(side * side // 2, len(rows))
        few = rows.some(count)
        again = inference.reconstruct(model, few, 1, generator(seed, "picture", device=rows.device))
        pairs = with_reconstructions(few, again, count)
        written.append(grid(pairs, schema, folder / "reconstructions.png", columns=side))
    return written


def _conditions(rows: Dataset, count: int) -> torch.Tensor | None:
    """So many conditions to sample by, of rows drawn by their seed, (count, C); None where the rows have none."""
    if not len(rows):
        return None
    chosen = np.random.default_rng(rows.seed).integers(len(rows), size=count)
    return rows.conditions(torch.from_numpy(chosen))


def _figure(
    rows: int, size: tuple[float, float], columns: int = 1, sharex: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A figure of so many inches, and its axes row by row; it needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=sharex, squeeze=False)
    return figure, list(axes.flat)


def _save(figure: "Figure", path: Path) -> Path:
    """The figure as a PNG, in the file at once or not at all."""
    return _written(path, lambda buffer: figure.savefig(buffer, dpi=120, metadata={"Software": None}))


def _written(path: Path, draw: Callable[[io.BytesIO], None]) -> Path:
    """What `draw` puts into a buffer, in the file at once or not at all."""
    buffer = io.BytesIO()
    draw(buffer)
    storage.write(path, buffer.getvalue())
    return path
