"""Pictures of a trained model: what it generates, what it reconstructs, how it learned, what its latents mean."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vaekit import evaluation
from vaekit.data import Rows
from vaekit.data.schema import Schema
from vaekit.maths import generator
from vaekit.runs import Run, storage

GRID = 10
"""pictures a side"""
CELL_PIXELS = 56
GAP = 2
MARGINAL_ROWS = 100_000
"""rows shown in a histogram"""


def write_all(run: Run, model: torch.nn.Module, rows: Rows) -> list[Path]:
    """Every picture that fits the run, into its folder `pictures/`; `rows` are shown beside it.

    Images: samples.png, draws.png, reconstructions.png, and manifold.png for two latents. Tables: samples.png, the
    columns' distributions beside the data's. Always: training.png.
    """
    folder = run.folder / "pictures"
    folder.mkdir(exist_ok=True)
    written = [training_curve(run.metrics, folder / "training.png")]
    if run.schema.is_image:
        written += _images(run.schema, model, rows, folder, run.spec.training.seed)
        if model.latent_dim == 2:
            written.append(grid(manifold(model), run.schema, folder / "manifold.png", columns=MANIFOLD))
            written.append(latent_plane(run.schema, model, rows, folder / "plane.png"))
    elif len(rows) and len(run.schema.shape) == 1:
        written.append(marginals(run.schema, model, rows, folder / "samples.png", run.spec.training.seed))
    return written


def grid(images: np.ndarray, schema: Schema, path: Path, *, columns: int = GRID) -> Path:
    """Images (n, height, width) or (n, 3, height, width) in the data's units as one PNG, grey or in colour, the
    schema's range from black to white. A fourth channel is opacity."""
    from PIL import Image

    images = np.moveaxis(images, 1, -1) if images.ndim == 4 else images
    n, height, width, *channels = images.shape
    low, high = float(np.min(schema.low)), float(np.max(schema.high))
    grey = np.clip((images - low) / max(high - low, 1e-12), 0, 1) * 255
    zoom = max(1, CELL_PIXELS // max(height, width))
    cells = grey.round().astype(np.uint8).repeat(zoom, 1).repeat(zoom, 2)
    rows = -(-n // columns)
    page = np.full((rows * (height * zoom + GAP) + GAP, columns * (width * zoom + GAP) + GAP, *channels), 96, np.uint8)
    if channels:
        page[..., 3:] = 255
    for i, cell in enumerate(cells):
        top, left = GAP + i // columns * (height * zoom + GAP), GAP + i % columns * (width * zoom + GAP)
        page[top : top + height * zoom, left : left + width * zoom] = cell
    return _written(path, lambda buffer: Image.fromarray(page).save(buffer, "png"))


def with_reconstructions(rows: Rows, reconstructions: torch.Tensor, count: int) -> np.ndarray:
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
    return evaluation.decode(model, points.to(device)).cpu().numpy()


def latent_plane(schema: Schema, model: torch.nn.Module, rows: Rows, path: Path) -> Path:
    """Two latents: x̂ over the plane, and beside it draws of the aggregate posterior q(z) = mean over x of q(z|x), a
    point a row, with the prior's circles of one, two and three standard deviations. Both to the same scale."""
    from matplotlib.patches import Circle

    mean, spread = (t.cpu().numpy() for t in evaluation.encode(model, rows.some(PLANE_ROWS)))
    z = mean + spread * np.random.default_rng(0).standard_normal(mean.shape)
    figure, (decoded, posterior) = _figure(1, (11, 5.6), columns=2)
    edge = PLANE * (1 - 1 / MANIFOLD)
    points = torch.linspace(-edge, edge, MANIFOLD)
    grid_z = torch.stack(torch.meshgrid(points.flip(0), points, indexing="ij")[::-1], -1).flatten(0, 1)
    images = evaluation.decode(model, grid_z.to(rows.device)).cpu().numpy()
    height, width = schema.shape[-2:]
    page = images.reshape(MANIFOLD, MANIFOLD, -1, height, width).transpose(0, 3, 1, 4, 2)
    page = page.reshape(MANIFOLD * height, MANIFOLD * width, -1).squeeze()
    low, high = float(np.min(schema.low)), float(np.max(schema.high))
    decoded.imshow((page - low) / max(high - low, 1e-12), cmap="gray", extent=(-PLANE, PLANE, -PLANE, PLANE))
    decoded.set_title("x̂ over the plane of z")
    posterior.scatter(*z.T, s=2, alpha=0.4, lw=0)
    for radius in (1, 2, 3):
        posterior.add_patch(Circle((0, 0), radius, fill=False, lw=0.8, ls="--", color="black"))
    posterior.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE), aspect="equal")
    posterior.set_title(f"z ~ q(z): {len(z):,} rows; circles of the prior at 1, 2, 3 σ")
    return _save(figure, path)


def training_curve(metrics: list[dict], path: Path) -> Path:
    """Train and validation ELBO against steps, with rate and distortion below."""
    figure, (above, below) = _figure(2, (8, 6.5), sharex=True)
    steps = [m["step"] for m in metrics]
    bounds = [name for name in ("iwae", "elbo") if metrics and name in metrics[-1]]
    for axis, name in (*((above, name) for name in bounds), (below, "rate"), (below, "distortion")):
        axis.plot(steps, [m[name] for m in metrics], label=f"{name}, training rows")
        if metrics and f"validation_{name}" in metrics[-1]:
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


def marginals(schema: Schema, model: torch.nn.Module, rows: Rows, path: Path, seed: int) -> Path:
    """Histograms of up to 16 columns: held-out rows beside as many draws from the model."""
    drawn = evaluation.sample(model, max(1000, len(rows)), generator(seed, "picture", device=rows.device)).cpu().numpy()
    data = rows.first(MARGINAL_ROWS).stored.cpu().numpy().astype(np.float64)
    count = min(16, schema.features)
    across = min(4, count)
    figure, axes = _figure(-(-count // across), (3 * across, 2.4 * -(-count // across)), columns=across)
    for j, axis in enumerate(np.atleast_1d(axes).flat):
        axis.set_visible(j < count)
        if j < count:
            bins = np.histogram_bin_edges(np.concatenate([data[:, j], np.percentile(drawn[:, j], [1, 99])]), 30)
            axis.hist(data[:, j], bins, density=True, alpha=0.5, label="data")
            axis.hist(drawn[:, j], bins, density=True, histtype="step", lw=1.5, label="model")
            axis.set_title(schema.names[j] if schema.names else f"column {j}", fontsize=9)
            axis.set_yticks([])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", ncols=2, frameon=False)
    return _save(figure, path)


def _images(schema: Schema, model: torch.nn.Module, rows: Rows, folder: Path, seed: int) -> list[Path]:
    written = []
    for name, mean in (("samples", True), ("draws", False)):
        source = generator(seed, "picture", device=rows.device)
        images = evaluation.sample(model, GRID * GRID, source, mean=mean)
        written.append(grid(images.cpu().numpy(), schema, folder / f"{name}.png"))
    if len(rows):
        count = min(GRID * GRID // 2, len(rows))
        few = rows.some(count)
        again = evaluation.reconstruct(model, few, 1, generator(seed, "picture", device=rows.device))
        written.append(grid(with_reconstructions(few, again, count), schema, folder / "reconstructions.png"))
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
