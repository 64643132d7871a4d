"""Pictures of a trained model: what it generates, what it reconstructs, how it learned, what its latents mean."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vaekit import inference
from vaekit.core import at_once
from vaekit.data import Dataset
from vaekit.data.schema import Schema
from vaekit.noise import generator, normal_noise
from vaekit.runs import Run, selected, storage

GRID, PAGE = 10, 4000
"""pictures a side, or fewer where the page would have more pixels a side"""
CELL_PIXELS = 56
GAP = 2
MARGINAL_ROWS = 100_000
"""rows shown in a histogram"""


def write_all(run: Run, model: torch.nn.Module, rows: Dataset, labels: np.ndarray | None = None) -> list[Path]:
    """Every picture that fits the run, into its folder `pictures/`; `rows` are shown beside it, with their `labels`.

    Images: samples.png, draws.png, reconstructions.png, and manifold.png for two latents. Tables and sequences:
    samples.png, the columns' distributions beside the data's. Always: training.png.
    """
    folder = run.folder / "pictures"
    folder.mkdir(exist_ok=True)
    written = [training_curve(run.metrics, folder / "training.png")]
    if run.schema.is_image:
        written += _images(run.schema, model, rows, folder, run.settings.training.seed)
        if model.latent_dim == 2:
            written.append(grid(manifold(model), run.schema, folder / "manifold.png", columns=MANIFOLD))
            written.append(latent_plane(run.schema, model, rows, folder / "plane.png", labels))
    elif len(rows):
        written.append(marginals(run.schema, model, rows, folder / "samples.png", run.settings.training.seed))
    return written


def grid(images: np.ndarray, schema: Schema, path: Path, *, columns: int | None = None, deep: bool = False) -> Path:
    """Images (n, *X) as a model gives them as one PNG, near square unless `columns` is given: see `shades`.

    deep    16 bits a pixel where the images are grey
    """
    from PIL import Image

    found = shades(schema.uncentred(images), schema)
    n, height, width, *channels = found.shape
    columns = columns or min(n, round(n**0.5))
    white, dtype = (65535, np.uint16) if deep and not channels else (255, np.uint8)
    zoom = max(1, CELL_PIXELS // max(height, width))
    rows = -(-n // columns)
    page = np.full(
        (rows * (height * zoom + GAP) + GAP, columns * (width * zoom + GAP) + GAP, *channels), 0.375 * white, dtype
    )
    if channels:
        page[..., 3:] = white
    for i, image in enumerate(found):
        top, left = GAP + i // columns * (height * zoom + GAP), GAP + i % columns * (width * zoom + GAP)
        cell = (image * white).round().astype(dtype).repeat(zoom, 0).repeat(zoom, 1)
        page[top : top + height * zoom, left : left + width * zoom] = cell
    return _written(path, lambda buffer: Image.fromarray(page).save(buffer, "png"))


def shades(images: np.ndarray, schema: Schema) -> np.ndarray:
    """Images (n, *X) in the data's units as numbers from 0, the lowest value that the data has, to 1, the highest.

    Grey ones give (n, height, width), those of three channels (n, height, width, 3), a fourth is opacity. Of two, five
    or more channels the first three are shown as red, green and blue, each by its own range: three standard deviations
    on either side of the means of its pixels.
    """
    low, high = float(np.min(schema.low)), float(np.max(schema.high))
    if images.ndim == 3 or schema.channels in (3, 4):
        scaled = _stretched(images, low, high)
        return scaled if images.ndim == 3 else np.moveaxis(scaled, 1, -1)
    mean, reach = schema.array("mean")[:3], 3 * schema.array("scale")[:3]
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
    which = "0 and 1 shown as red and green" if schema.channels == 2 else "0, 1 and 2 shown as red, green and blue"
    return f"channels {which}, each by its own range"


def _stretched(images: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    return np.clip((images - low) / np.maximum(high - low, 1e-12), 0, 1)


def with_reconstructions(rows: Dataset, reconstructions: torch.Tensor, count: int) -> np.ndarray:
    """Each of the first `count` rows, followed by its m reconstructions (m, n, *X): ((1 + m) · count, *X)."""
    _, batch = next(rows.blocks(count))
    pairs = torch.cat([batch.x[None].cpu(), reconstructions[:, :count].cpu()])
    return pairs.transpose(0, 1).flatten(0, 1).numpy()


MANIFOLD, PLANE, PLANE_ROWS = 20, 3.6, 10_000
"""images a side, how far out the plane is drawn, points drawn on it"""


def manifold(model: torch.nn.Module) -> np.ndarray:
    """x̂ over a grid of two latents, at the quantiles of p(z): (20 · 20, *X)"""
    u = (torch.arange(MANIFOLD) + 0.5) / MANIFOLD
    z = torch.special.ndtri(u)
    points = torch.stack(torch.meshgrid(-z, z, indexing="ij")[::-1], -1).flatten(0, 1)
    device = next(model.buffers()).device
    return inference.decode(model, points.to(device)).cpu().numpy()


def latent_plane(
    schema: Schema, model: torch.nn.Module, rows: Dataset, path: Path, labels: np.ndarray | None = None
) -> Path:
    """Two latents: x̂ over the plane, and beside it draws of the aggregate posterior q(z) = mean over x of q(z|x), one
    point per row, with the prior's circles of one, two and three standard deviations. Both to the same scale.

    labels    (n,) of the rows, where they are known: the points' colours
    """
    from matplotlib.patches import Circle

    order = np.random.default_rng(0).permutation(len(rows))[:PLANE_ROWS]  # in no order: no class lies above another
    z = _drawn(model, rows.subset(order))
    figure, (decoded, posterior) = _figure(1, (11, 5.6), columns=2)
    edge = PLANE * (1 - 1 / MANIFOLD)
    points = torch.linspace(-edge, edge, MANIFOLD)
    grid_z = torch.stack(torch.meshgrid(points.flip(0), points, indexing="ij")[::-1], -1).flatten(0, 1)
    images = schema.uncentred(inference.decode(model, grid_z.to(rows.device)).cpu().numpy())
    height, width = schema.shape[-2:]
    page = shades(images, schema).reshape(MANIFOLD, MANIFOLD, height, width, -1).transpose(0, 2, 1, 3, 4)
    page = page.reshape(MANIFOLD * height, MANIFOLD * width, -1)
    page = page[..., 0] if page.shape[-1] == 1 else page
    decoded.imshow(page, cmap="gray", vmin=0, vmax=1, extent=(-PLANE, PLANE, -PLANE, PLANE))
    decoded.set_title("x̂ over the plane of z")
    _scatter(posterior, z, None if labels is None else np.asarray(labels)[order])
    for radius in (1, 2, 3):
        posterior.add_patch(Circle((0, 0), radius, fill=False, lw=0.8, ls="--", color="black"))
    posterior.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE), aspect="equal")
    posterior.set_title(f"z ~ q(z): {len(z):,} rows; circles of the prior at 1, 2, 3 σ")
    return _save(figure, path)


CLASSES = 20
"""labels that have a colour each; more numbers have a scale of colours"""


def _scatter(axes, z: np.ndarray, labels: np.ndarray | None) -> None:
    """A dot per row, coloured by its label, with a legend."""
    look = {"s": np.clip(20_000 / len(z), 4, 24), "alpha": 0.7, "lw": 0}
    names, codes = (None, None) if labels is None else np.unique(labels, return_inverse=True)
    if names is not None and 1 < len(names) <= CLASSES:
        colours = "tab10" if len(names) <= 10 else "tab20"
        limits = {"vmin": 0, "vmax": 9 if len(names) <= 10 else 19}
        dots = axes.scatter(*z.T, c=codes, cmap=colours, **limits, **look)
        handles, _ = dots.legend_elements(num=None, alpha=1)
        axes.legend(handles, map(str, names), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    elif names is not None and names.dtype.kind in "iuf" and len(names) > CLASSES:
        axes.figure.colorbar(axes.scatter(*z.T, c=labels, cmap="viridis", **look), ax=axes, shrink=0.7)
    else:
        axes.scatter(*z.T, **look)


@torch.no_grad()
def _drawn(model: torch.nn.Module, rows: Dataset) -> np.ndarray:
    """z ~ q(z|x), one of each row, (n, D)"""
    normal = normal_noise(generator(rows.seed, "plane", device=rows.device))
    drawn = []
    for count, batch in rows.blocks(at_once(model.width)):
        z, _ = model.encode(batch).draw(normal(1, len(batch.x), model.noise))
        drawn.append(z[0, :count])
    return torch.cat(drawn).cpu().numpy()


def training_curve(metrics: list[dict], path: Path) -> Path:
    """Train and validation ELBO against steps, with rate and distortion below."""
    figure, (above, below) = _figure(2, (8, 6.5), sharex=True)
    steps = [m["step"] for m in metrics]
    known = metrics[-1] if metrics else {}
    bounds = [*dict.fromkeys([selected(known), "elbo"])] if known else []
    for axis, name in (*((above, name) for name in bounds), (below, "rate"), (below, "distortion")):
        if name not in known:
            continue
        axis.plot(steps, [m[name] for m in metrics], label=f"{name}, training rows")
        if f"validation_{name}" in known:
            axis.plot(steps, [m[f"validation_{name}"] for m in metrics], "--", label=f"{name}, validation rows")
        axis.legend(frameon=False, fontsize=8)
        axis.set_ylabel("nats per row")
    drawn = [*bounds, *(f"validation_{name}" for name in bounds)]
    values = [m[name] for m in metrics[len(metrics) // 10 :] for name in drawn if name in m]
    if len(values) > 1 and min(values) < max(values):  # the first tenth would flatten all that follows
        margin = 0.1 * (max(values) - min(values))
        above.set_ylim(min(values) - margin, max(values) + margin)
    below.set_xlabel("step")
    return _save(figure, path)


def marginals(schema: Schema, model: torch.nn.Module, rows: Dataset, path: Path, seed: int) -> Path:
    """Histograms of up to 16 columns: held-out rows beside as many draws from the model."""
    drawn = inference.sample(model, max(1000, len(rows)), generator(seed, "picture", device=rows.device)).cpu().numpy()
    drawn = schema.uncentred(drawn).reshape(len(drawn), -1)
    data = schema.uncentred(rows.first(MARGINAL_ROWS).stored.cpu().numpy())
    data = data.reshape(len(data), -1).astype(np.float64)
    count = min(16, schema.features)
    across = min(4, count)
    figure, axes = _figure(-(-count // across), (3 * across, 2.4 * -(-count // across)), columns=across)
    for j, axis in enumerate(np.atleast_1d(axes).flat):
        axis.set_visible(j < count)
        if j < count:
            bins = _bins(np.concatenate([data[:, j], np.percentile(drawn[:, j], [1, 99])]))
            axis.hist(data[:, j], bins, density=True, alpha=0.5, label="data")
            axis.hist(drawn[:, j], bins, density=True, histtype="step", lw=1.5, label="model")
            axis.set_title(schema.names[j] if schema.names else schema.column(j), fontsize=9)
            axis.set_yticks([])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", ncols=2, frameon=False)
    return _save(figure, path)


def _bins(values: np.ndarray) -> np.ndarray:
    """Edges of 30 bins over the values; where these are all but one number, around it."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(abs(low), abs(high)):
        margin = 1e-3 * max(abs(low), abs(high))
        low, high = low - margin, high + margin
    return np.histogram_bin_edges(values, 30, (low, high))


def _images(schema: Schema, model: torch.nn.Module, rows: Dataset, folder: Path, seed: int) -> list[Path]:
    written, side = [], max(2, min(GRID, PAGE // max(schema.shape[-2:])))
    for name, mean in (("samples", True), ("draws", False)):
        source = generator(seed, "picture", device=rows.device)
        images = inference.sample(model, side * side, source, mean=mean)
        written.append(grid(images.cpu().numpy(), schema, folder / f"{name}.png", columns=side))
    if len(rows):
        side -= side % 2  # each image stands beside its reconstruction
        count = min(side * side // 2, len(rows))
        few = rows.some(count)
        again = inference.reconstruct(model, few, 1, generator(seed, "picture", device=rows.device))
        written.append(
            grid(with_reconstructions(few, again, count), schema, folder / "reconstructions.png", columns=side)
        )
    return written


def _figure(rows: int, size: tuple[float, float], columns: int = 1, **options):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def _save(figure, path: Path) -> Path:
    return _written(path, lambda buffer: figure.savefig(buffer, dpi=120, metadata={"Software": None}))


def _written(path: Path, draw: Callable[[io.BytesIO], None]) -> Path:
    """What `draw` puts into a buffer, in the file at once or not at all."""
    buffer = io.BytesIO()
    draw(buffer)
    storage.write(path, buffer.getvalue())
    return path
