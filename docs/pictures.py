"""Draws the pictures of the documentation into docs/pictures/.

    python docs/pictures.py [NAME …]

graph, generation        the two of docs/mathematics.md
results, performance     the charts at the head of those pages, from the tables in them: no number is typed in here
digits                   what a model of MNIST makes up: trained by the commands in MNIST below (8 minutes of one core)
tutorial, images         what the commands of docs/tutorial.md and docs/how-to/my-images.md write

Without a name, the first four, which take seconds; the same bytes on every run.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

DOCS = Path(__file__).parent
FOLDER = DOCS / "pictures"

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


Row = dict[str, str]
VAEKIT, OTHERS, GREY = "#0072b2", ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"), "#7b8794"
"""colours that are told apart by most eyes (Okabe & Ito)"""


def table(page: str, beginning: str) -> list[Row]:
    """The rows of the table in a page whose header begins so: column → cell, without Markdown's marks."""
    lines = (DOCS / page).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(beginning))
    header, rows = cells(lines[start]), []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(header, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.sub(r"[`*]", "", line).strip("| ").split(" | ")]


def number(cell: str) -> float | None:
    """The first number of a cell; None where there is none.

    >>> number("1,481 (750 … 1,500)"), number("–")
    (1481.0, None)
    """
    found = re.search(r"-?\d[\d,]*\.?\d*", cell)
    return float(found[0].replace(",", "")) if found else None


def plain(axes: Axes, title: str):
    """A chart's axes without a frame, its title on the left."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.set_axisbelow(True)


def performance():
    """How many times as fast as the careful loop a training step is, a panel for each work."""
    names = {
        "pythae, float32": ("pythae", OTHERS[0]),
        "JAX, float32": ("JAX", OTHERS[1]),
        "vaekit, float32": ("vaekit, float32", VAEKIT),
        "vaekit, float32, compiled": ("vaekit, float32, compiled", VAEKIT),
        "vaekit, bfloat16": ("vaekit, bfloat16", VAEKIT),
        "vaekit, bfloat16, compiled": ("vaekit, bfloat16, compiled", VAEKIT),
    }
    works = ("table", "mlp-128", "mlp-512", "conv-28", "conv-64")
    found = table("performance.md", "| command | contender | ms a step | times as fast as the first (rounds) |")
    figure, panels = plt.subplots(1, len(works), figsize=(11, 2.9), sharex=True, sharey=True, layout="constrained")
    for axes, work in zip(panels, works, strict=True):
        plain(axes, work)
        rows = [row for row in found if row["command"] == f"benchmarks/speed.py {work}" and row["contender"] in names]
        for row in rows:
            _, color = names[row["contender"]]
            cell = row["times as fast as the first (rounds)"]
            ratio, least, most = (float(text) for text in re.findall(r"[\d.]+", cell))
            y = -list(names).index(row["contender"])
            axes.plot([max(least, 0.2), most], [y, y], color=color, alpha=0.35, lw=4, solid_capstyle="round")
            axes.plot(ratio, y, "o", color=color, ms=6)
            axes.annotate(f"{ratio:.2f}", (ratio, y), (0, 5), textcoords="offset points", ha="center", fontsize=8)
        axes.axvline(1, color=GREY, lw=1, ls="--", zorder=0)
        axes.set(xscale="log", xlim=(0.2, 12), ylim=(-len(names) + 0.4, 0.8))
        axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
        axes.minorticks_off()
        axes.grid(axis="x", color="#e4e7eb", lw=0.8)
    panels[0].set_yticks([-i for i in range(len(names))], [label for label, _ in names.values()])
    what = "times as fast as a careful loop in eager PyTorch, on two cores (bars: smallest to largest round)"
    figure.supxlabel(what, fontsize=10)
    save(panels[0], "performance")


def results():
    """Test NLL against steps beside the published figures, and code lengths beside codecs."""
    _, (left, right) = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
    nll(left, table("results.md", "| command | batch | steps | training, s |"))
    bits(right, table("results.md", "| command | rows | what auto chose |"))
    save(left, "results")


def nll(axes: Axes, rows: list[Row]):
    plain(axes, "MNIST, test NLL in nats (below: better)")
    objectives = ("vae-1", "vae-5", "vae-50", "iwae-5", "iwae-50", "dreg-50")
    colors = (VAEKIT, *OTHERS)
    for name, color in zip(objectives, colors, strict=True):
        runs = [row for row in rows if row["command"].split()[1] == name]
        steps, found = [number(row["steps"]) for row in runs], [number(row["test NLL"]) for row in runs]
        axes.plot(steps, found, "o", color=color, ms=6, label=name)
        axes.axhline(number(runs[0]["published"]), color=color, lw=1, ls="--", zorder=0)
    axes.set(xscale="log", xlabel="training steps; dashed: the published figure of the same colour")
    axes.set_xticks([10_000, 30_000, 100_000, 300_000], ["10,000", "30,000", "100,000", "300,000"])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e4e7eb", lw=0.8)
    axes.legend(frameon=False, fontsize=9, ncols=2)


def bits(axes: Axes, rows: list[Row]):
    plain(axes, "test rows, bits per dimension (shorter: better)")
    rows = [row for row in rows if number(row["bits/dim"]) is not None]
    columns = ("bits/dim", "best image codec", "lzma", "bz2", "gzip")
    shades = (VAEKIT, OTHERS[0], "#7b8794", "#9aa5b1", "#cbd2d9")
    for i, column in enumerate(columns):
        label = "vaekit" if column == "bits/dim" else column
        y = [-j - (i - 2) * 0.16 for j in range(len(rows))]
        lengths = [number(row[column]) for row in rows]
        axes.barh(y, lengths, 0.15, color=shades[i], label=label)
        for at, length in zip(y, lengths, strict=True):
            axes.annotate(f"{length:.2f}", (length, at), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks([-j for j in range(len(rows))], [row["command"].split()[1] for row in rows])
    axes.set_xlabel("everything automatic; of the codecs, the same bytes")
    axes.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.635))


MNIST = (
    "fit mnist --binarize dynamic --hidden 400,400 --latent-dim 24 --batch-size 256 --epochs 120 --patience 0 --seed 0 "
    "--out runs/pictures-mnist",
    "sample runs/pictures-mnist -n 64 --mean --seed 0 -o runs/pictures-mnist.npy",
)
"""commands of vaekit"""


def digits():
    """Decoder means of 64 draws from the prior, none left out, in four lines."""
    fit, sample = MNIST
    if not Path("runs/pictures-mnist/model.safetensors").exists():
        command(fit)
    command(sample)
    sheet(np.load("runs/pictures-mnist.npy"), FOLDER / "digits.png", columns=16, zoom=2)


def sheet(images: np.ndarray, path: Path, *, columns: int, zoom: int):
    """Images (n, height, width) of 0 … 1 in lines, white on black."""
    from PIL import Image

    n, height, width = images.shape
    page = images.reshape(n // columns, columns, height, width).transpose(0, 2, 1, 3)
    page = Image.fromarray((page.reshape(-1, columns * width) * 255).round().astype(np.uint8))
    page.resize((page.width * zoom, page.height * zoom), Image.Resampling.BICUBIC).save(path, optimize=True)


def command(line: str):
    from vaekit.cli import main

    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            raise


def tutorial():
    """The training curve of docs/tutorial.md, and the two latents of its smaller model, coloured by cultivar."""
    of_page("tutorial.md", {"runs/wine/pictures/training.png": "wine-training.png", "plane.csv": "plane.csv"})
    made = FOLDER / "plane.csv"
    z0, z1, cultivar = np.genfromtxt(made, delimiter=",", skip_header=1, unpack=True, usecols=(0, 1, 2))
    made.unlink()
    _, axes = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
    for name, color in zip(np.unique(cultivar), (VAEKIT, *OTHERS), strict=False):
        mine = cultivar == name
        axes.plot(z0[mine], z1[mine], "o", ms=5, alpha=0.8, mew=0, color=color, label=f"cultivar {name:g}")
    axes.set(xlabel="z0", ylabel="z1", aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(axes, "wine-plane")


def images():
    """The pictures that the commands of docs/how-to/my-images.md make, after more epochs than the page has time for."""
    made = {"new.png": "tiles-new.png", "again.png": "tiles-again.png"}
    of_page("how-to/my-images.md", made, {"--resize 16 --epochs 10": "--resize 16 --epochs 200"})


def of_page(page: str, files: dict[str, str], instead: dict[str, str] | None = None):
    """Run a page's blocks as tests/test_documents.py does, and keep these of the files that they leave.

    files      path → name in docs/pictures/
    instead    words of the page → what is run in their place
    """
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from test_documents import blocks, run

    here, names = Path.cwd(), {"__name__": page}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for kind, content in blocks(DOCS / page):
                for words, others in (instead or {}).items():
                    content = content.replace(words, others)
                if kind != "text":
                    run(kind, content, names)
            for file, name in files.items():
                shutil.copyfile(file, FOLDER / name)
        finally:
            os.chdir(here)


QUICK: tuple[Callable[[], None], ...] = (graph, generation, results, performance)
SLOW: tuple[Callable[[], None], ...] = (digits, tutorial, images)


def main(names: list[str]):
    known = {draw.__name__: draw for draw in (*QUICK, *SLOW)}
    with matplotlib.rc_context(STYLE):
        for name in names or [draw.__name__ for draw in QUICK]:
            known[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
