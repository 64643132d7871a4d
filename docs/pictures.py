"""Draws the two pictures of docs/mathematics.md into docs/pictures/, the same bytes on every run.

python docs/pictures.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).parent / "pictures"

INK, PALE = "#1f2933", "#f1f4f8"
FORWARD, RATE, DISTORTION = "#52606d", "#0b7a75", "#c8501e"
ENCODER, DECODER, VALUE, FIXED = "#dbe7f6", "#e6e0f5", "#ffffff", "#eceff3"

STYLE = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "stix",
    "svg.fonttype": "path",
    "svg.hashsalt": "vaekit",
}


def canvas(width: float, height: float) -> Axes:
    """Axes whose unit is an inch, without frame."""
    figure = plt.figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return axes


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, edge: str = INK, style: str = "-"):
    """A rounded box centred at (x, y)."""
    corner = (x - width / 2, y - height / 2)
    shape = "round,pad=0,rounding_size=0.12"
    patch = FancyBboxPatch(corner, width, height, boxstyle=shape, fc=color, ec=edge, lw=1.5, ls=style, zorder=2)
    axes.add_patch(patch)


def circle(axes: Axes, x: float, y: float, text: str, *, radius: float = 0.38, color: str = VALUE, style: str = "-"):
    axes.add_patch(Circle((x, y), radius, fc=color, ec=INK, lw=1.5, ls=style, zorder=3))
    write(axes, x, y, text, size=24)


def title(axes: Axes, x: float, y: float, text: str, formula: str):
    """Two lines in a box: words over a formula."""
    write(axes, x, y + 0.2, text)
    write(axes, x, y - 0.2, formula, size=17.5)


def write(axes: Axes, x: float, y: float, text: str, *, size: float = 15.5, color: str = INK, **how):
    axes.text(x, y, text, fontsize=size, color=color, zorder=5, **{"ha": "center", "va": "center", **how})


def arrow(axes: Axes, *points: tuple[float, float], color: str = FORWARD):
    """Straight through the points, a head at the last."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=color, lw=2.2, zorder=1, solid_capstyle="round", solid_joinstyle="round")
    head = {"arrowstyle": "-|>,head_length=6,head_width=3.2", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 1}
    axes.add_patch(FancyArrowPatch(points[-2], points[-1], color=color, lw=2.2, joinstyle="miter", zorder=1, **head))


def save(axes: Axes, name: str):
    FOLDER.mkdir(exist_ok=True)
    axes.figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})
    axes.figure.savefig(FOLDER / f"{name}.png", dpi=160, metadata={"Software": None})
    plt.close(axes.figure)


def graph():
    """From x to the two terms of the loss, and their gradients' way back."""
    axes = canvas(13.0, 7.0)
    row, top, parameters, bottom = 3.7, 5.75, 2.0, 0.75
    graph_nodes(axes, row, top, parameters, bottom)
    graph_forward(axes, row, top, parameters, bottom)
    graph_gradients(axes, row, top, parameters, bottom)
    legend(axes, 6.65)
    save(axes, "graph")


def graph_nodes(axes: Axes, row: float, top: float, parameters: float, bottom: float):
    circle(axes, 0.75, row, "$x$")
    box(axes, 2.7, row, 1.5, 1.3, ENCODER)
    write(axes, 2.7, row, "encoder")
    circle(axes, 2.7, parameters, r"$\phi$", color=ENCODER)
    box(axes, 5.15, row, 1.5, 2.0, PALE)
    circle(axes, 4.85, row + 0.5, r"$\mu$", radius=0.33)
    circle(axes, 5.45, row - 0.5, r"$\Sigma$", radius=0.33)
    write(axes, 5.15, row - 1.25, r"$q(z\,|\,x)=\mathcal{N}(\mu,\Sigma),\ \ \Sigma=LL^{\mathrm{T}}$", size=19)
    circle(axes, 7.6, row, "$z$")
    circle(axes, 7.6, top, r"$\varepsilon$", color=FIXED, style="--")
    write(axes, 8.2, top + 0.2, r"$\varepsilon\sim\mathcal{N}(0,I)$", size=17.5, ha="left")
    write(axes, 8.2, top - 0.2, "an input: no gradient", size=14, ha="left")
    box(axes, 9.75, row, 1.5, 1.3, DECODER)
    write(axes, 9.75, row, "decoder")
    circle(axes, 9.75, parameters, r"$\theta$", color=DECODER)
    circle(axes, 12.0, row, r"$\hat{x}$")
    box(axes, 5.15, top, 2.3, 0.95, "#e0f2f0", RATE)
    title(axes, 5.15, top, "rate", r"$\mathrm{KL}(q(z\,|\,x)\,\|\,p(z))$")
    box(axes, 1.75, top, 1.9, 0.95, FIXED, INK, "--")
    title(axes, 1.75, top, "prior, fixed", r"$p(z)=\mathcal{N}(0,I)$")
    box(axes, 12.0, bottom, 1.7, 0.95, "#fbe9e0", DISTORTION)
    title(axes, 12.0, bottom, "distortion", r"$-\log p(x\,|\,z)$")


def graph_forward(axes: Axes, row: float, top: float, parameters: float, bottom: float):
    lift = row + 0.2
    arrow(axes, (1.15, row), (1.93, row))
    arrow(axes, (3.47, lift), (4.38, lift))
    arrow(axes, (5.92, lift), (7.25, lift))
    write(axes, 6.6, lift + 0.28, r"$z=\mu+L\varepsilon$", size=19)
    arrow(axes, (7.96, lift), (8.98, lift))
    arrow(axes, (10.52, lift), (11.65, lift))
    arrow(axes, (7.6, top - 0.4), (7.6, row + 0.41))
    arrow(axes, (2.72, top), (3.98, top))
    arrow(axes, (5.0, row + 1.02), (5.0, top - 0.5))
    arrow(axes, (2.55, parameters + 0.37), (2.55, row - 0.67))
    arrow(axes, (9.6, parameters + 0.37), (9.6, row - 0.67))
    arrow(axes, (11.85, row - 0.38), (11.85, bottom + 0.5))
    arrow(axes, (0.75, row - 0.39), (0.75, bottom), (11.13, bottom))
    write(axes, 6.0, bottom - 0.25, "the target", size=14, color=FORWARD)


def graph_gradients(axes: Axes, row: float, top: float, parameters: float, bottom: float):
    low, lower = row, row - 0.2
    arrow(axes, (12.15, bottom + 0.49), (12.15, row - 0.4), color=DISTORTION)
    arrow(axes, (11.63, lower), (10.54, lower), color=DISTORTION)
    arrow(axes, (9.9, row - 0.66), (9.9, parameters + 0.38), color=DISTORTION)
    arrow(axes, (8.98, lower), (7.98, lower), color=DISTORTION)
    arrow(axes, (7.23, lower), (5.94, lower), color=DISTORTION)
    arrow(axes, (4.39, lower), (3.49, lower), color=DISTORTION)
    arrow(axes, (2.85, row - 0.66), (2.85, parameters + 0.38), color=DISTORTION)
    arrow(axes, (5.3, top - 0.49), (5.3, row + 1.04), color=RATE)
    arrow(axes, (4.39, low), (3.49, low), color=RATE)
    arrow(axes, (2.7, row - 0.66), (2.7, parameters + 0.41), color=RATE)


def legend(axes: Axes, y: float):
    entries = [
        (0.35, FORWARD, "computation"),
        (2.7, RATE, r"gradient of the rate: to $\phi$ only"),
        (7.2, DISTORTION, r"of the distortion: to $\theta$, and to $\phi$ through $z$"),
    ]
    for x, color, text in entries:
        arrow(axes, (x, y), (x + 0.55, y), color=color)
        write(axes, x + 0.7, y, text, ha="left")


def generation():
    """From the prior to a new x."""
    axes = canvas(13.0, 2.6)
    row, below = 1.65, 0.62
    box(axes, 1.3, row, 1.9, 0.95, FIXED, INK, "--")
    title(axes, 1.3, row, "prior", r"$p(z)=\mathcal{N}(0,I)$")
    circle(axes, 3.95, row, "$z$")
    box(axes, 6.1, row, 1.5, 1.2, DECODER)
    write(axes, 6.1, row + 0.12, "decoder")
    write(axes, 6.1, row - 0.25, r"$\theta$", size=20)
    circle(axes, 8.35, row, r"$\hat{x}$")
    circle(axes, 11.6, row, "$x$")
    for start, end in ((2.27, 3.55), (4.35, 5.33), (6.87, 7.95), (8.75, 11.2)):
        arrow(axes, (start, row), (end, row))
    write(axes, 2.9, row + 0.3, "draw", size=14, color=FORWARD)
    write(axes, 9.97, row + 0.3, r"draw from $p(x\,|\,z)$", size=14, color=FORWARD)
    for x, text in ((3.95, r"$z\sim p(z)$"), (8.35, r"$\hat{x}=\mathrm{E}[x\,|\,z]$"), (11.6, r"$x\sim p(x\,|\,z)$")):
        write(axes, x, below + 0.2, text, size=19)
    for x, text in ((3.95, "a latent"), (8.35, "the mean: smooth"), (11.6, "a sample: with noise")):
        write(axes, x, below - 0.2, text, size=14, color=FORWARD)
    save(axes, "generation")


if __name__ == "__main__":
    with matplotlib.rc_context(STYLE):
        graph()
        generation()
