"""Everything automatic: `vaekit fit` and `vaekit evaluate` with no settings, beside ordinary codecs.

Six data sets: digits, mnist, the same binarised, fashion-mnist, photos and, as the one table, wine. The only flags
besides --out, --overwrite and --json are what the owner of the data knows: wine's column of text is left out
(--exclude colour), digits may be meant as black and white (--binarize dynamic), and the photographs' test patches have
a folder of their own (--test). A run's row in docs/results.md takes the place of the row of the same command.

    python benchmarks/images.py [digits | wine | mnist | binarised-mnist | fashion-mnist | photos] [--evaluate]

Without a name: all, in turn. --evaluate: leave the run of an earlier call as it is, evaluate it again, write its row.

photos: patches of 64×64 pixels in colour, as PNG files, cut from every colour photograph in the wheels of scikit-learn
(china, flower) and scikit-image (astronaut, chelsea, coffee, the Hubble deep field, an immunohistochemical section, a
retina, a rocket, and of the motorcycle's stereo pair the left one: the right one shows the same scene). Nothing is
downloaded, nothing scaled. Each photograph is laid out in squares of 128×128 from its upper left corner. By row +
2 · column, counted from 0, modulo 5, the squares of 0 are for testing and every other one of 1 for validation: a fifth
and a tenth of the picture in a knight's move. Their patches are the quarters of the squares; those to train on are cut
from the other squares every 16 pixels. No two of the three parts share a pixel. What is left at the right and lower
edge is not used.

Measured: processor seconds of each command from start to end; the largest resident memory of the fit process, as the
kernel counts it (ru_maxrss of the child); log p(x) with the default number of draws. Baselines on the run's own test
rows: gzip, bz2 and lzma at their strongest on the bytes of all rows as stored; the smallest of PNG, WebP and (with
pillow-jxl-plugin) JPEG-XL, lossless, at their strongest and checked by decoding, on one mosaic of the images. For wine,
the normal distribution with a full covariance, by maximum likelihood on the training rows: it and the model are both
densities of the same twelve columns in their own units. Neither is a probability, also where a column (quality) has
whole numbers only, so codecs are not compared with them; nor with images that are binarised afresh at each step, of
which no bytes are stored.
"""

import argparse
import bz2
import gzip
import importlib.util
import io
import itertools
import json
import lzma
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

from results import Finished, machine, vaekit, write

RUNS, COSTS = Path("runs"), "benchmark.json"
HEADER = "| command | rows | what auto chose |"
"""how the table in docs/results.md begins"""

PATCH, SQUARE, EVERY, STRIDE = 64, 128, 5, 16
PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": (
        "data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/hubble_deep_field.jpg", "data/ihc.png",
        "data/motorcycle_left.png", "data/retina.jpg", "data/rocket.jpg",
    ),
}  # fmt: skip
CODECS = {
    "PNG": ("PNG", {"optimize": True}),
    "WebP": ("WebP", {"lossless": True, "quality": 100, "method": 6}),
    "JPEG-XL": ("JXL", {"lossless": True, "effort": 9}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", choices=[*DATA, "all"], default="all")
    parser.add_argument("--evaluate", action="store_true", help="do not fit again")
    given = parser.parse_args()
    if given.data == "all":  # a process each: what one leaves in memory is not counted in the next
        for name in DATA:
            subprocess.run([sys.executable, __file__, name, *(["--evaluate"] if given.evaluate else [])], check=True)
        return
    folder = RUNS / f"benchmark-{given.data}"
    fitted = again(folder) if given.evaluate else fit(given.data, folder)
    evaluated = vaekit("evaluate", str(folder), "--json")
    row = f"| `benchmarks/images.py {given.data}` | {' | '.join(cells(folder, fitted, evaluated))} |"
    write(HEADER, row)


def fit(name: str, folder: Path) -> Finished:
    """A new run; what it took is kept with it."""
    finished = vaekit("fit", *DATA[name](), "--out", str(folder), "--overwrite", "--json")
    (folder / COSTS).write_text(json.dumps(finished._asdict()) + "\n")
    return finished


def again(folder: Path) -> Finished:
    """What an earlier run took."""
    if not (folder / COSTS).is_file():
        sys.exit(f"{folder / COSTS} is not there: fit first, without --evaluate")
    return Finished(**json.loads((folder / COSTS).read_text()))


def photos() -> list[str]:
    """Cut the photographs; the arguments of `fit`."""
    folder = RUNS / "benchmark-photos-data"
    shutil.rmtree(folder, ignore_errors=True)
    for package, files in PHOTOGRAPHS.items():
        settings = importlib.util.find_spec(package)
        if settings is None:
            sys.exit(f"{package} is not installed: pip install '.[benchmarks]' --constraint constraints.txt")
        for file in files:
            cut(Path(settings.origin).parent / file, folder)
    return [str(folder / "train"), "--validation", str(folder / "validation"), "--test", str(folder / "test")]


def cut(photograph: Path, folder: Path) -> None:
    """The patches of a photograph as folder/PART/NAME/TOP-LEFT.png."""
    from PIL import Image

    with Image.open(photograph) as image:
        image = image.convert("RGB")
    for row, column in itertools.product(range(-(-image.height // SQUARE)), range(-(-image.width // SQUARE))):
        part = part_of(row, column)
        place = folder / part / photograph.stem
        place.mkdir(parents=True, exist_ok=True)
        stride = STRIDE if part == "train" else PATCH
        for top, left in itertools.product(within(row, image.height, stride), within(column, image.width, stride)):
            patch = image.crop((left, top, left + PATCH, top + PATCH))
            patch.save(place / f"{top:04}-{left:04}.png")


def part_of(row: int, column: int) -> str:
    """What a square of a photograph is for."""
    move = (row + 2 * column) % EVERY
    return "test" if move == 0 else "validation" if move == 1 and (row + column) % 2 else "train"


def within(square: int, size: int, stride: int) -> range:
    """Where whole patches of the `square`-th square begin along a side of `size` pixels."""
    start = square * SQUARE
    return range(start, min(start + SQUARE, size) - PATCH + 1, stride)


def wine() -> list[str]:
    """The arguments of `fit`."""
    table = Path(os.environ.get("VAEKIT_DATA", ".")) / "tables" / "wine.csv"
    if not table.is_file():
        sys.exit(f"{table} is not there: set VAEKIT_DATA to the folder that holds tables/wine.csv (UCI Wine quality)")
    return [str(table), "--exclude", "colour"]


DATA = {
    "digits": lambda: ["digits"],
    "wine": wine,
    "mnist": lambda: ["mnist"],
    "binarised-mnist": lambda: ["mnist", "--binarize", "dynamic"],
    "fashion-mnist": lambda: ["fashion-mnist"],
    "photos": photos,
}


def cells(folder: Path, fitted: Finished, evaluated: Finished) -> list[str]:
    """A row of the table after its command."""
    import torch

    from vaekit.cli.common import training_source
    from vaekit.runs import Run

    run, result = Run.open(folder), evaluated.last
    coded = run.schema.is_image and run.schema.binarized == "none"
    estimate, bits = result["log_likelihood"], result["bits_per_dim"]
    settings, model = run.settings.data, run.settings.model
    source = training_source(run.settings)
    split = source.split(run.settings.training.seed, settings.validation, settings.test)
    x = {part: source.x[index] for part, index in split.items()}
    size = sum(p.numel() for p in run.state(torch.device("cpu")).parameters)
    return [
        f"{' + '.join(f'{len(rows):,}' for rows in x.values())}, {'×'.join(map(str, run.schema.shape))}",
        f"{model.network} {', '.join(map(str, model.hidden))}; {model.latent_dim} latents; {model.likelihood}",
        f"{size:,}",
        f"{fitted.last['best_step'] or fitted.last['step']:,} of {fitted.last['step']:,}",
        f"{fitted.seconds:.0f}", f"{evaluated.seconds:.0f}", f"{fitted.memory:,.0f}",
        f"**{estimate['mean']:.2f}** ± {estimate['spread']:.2f}", f"{max(map(int, estimate['curve']))}",
        f"**{bits:.3f}**" if coded else "–",
        *(baselines(x["test"]) if coded else ["–"] * 4),
        "–" if run.schema.is_image else "{:.2f} ± {:.2f}".format(*normal(x["train"], x["test"])),
        machine(),
    ]  # fmt: skip


def baselines(x) -> list[str]:
    """Bits per dimension of gzip, bz2, lzma and the best image codec, with its name."""
    raw, unit = x.tobytes(), 8 / x.size
    general = (
        gzip.compress(raw, 9), bz2.compress(raw, 9), lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
    )  # fmt: skip
    pictured = {name: encoded(mosaic(x), *codec) for name, codec in CODECS.items() if available(name)}
    best = min(pictured, key=lambda name: len(pictured[name]))
    without = "" if "JPEG-XL" in pictured else "; JPEG-XL not tried"
    return [*(f"{len(code) * unit:.3f}" for code in general), f"{len(pictured[best]) * unit:.3f} ({best}{without})"]


def available(codec: str) -> bool:
    if codec != "JPEG-XL":
        return True
    if importlib.util.find_spec("pillow_jxl") is None:
        print("JPEG-XL is left out: pip install pillow-jxl-plugin to have it too", file=sys.stderr)
        return False
    import pillow_jxl  # noqa: F401  (Pillow then knows the format)

    return True


def mosaic(x):
    """Images (n, height, width) or (n, 3, height, width) side by side in one, as square as may be; the rest black."""
    import numpy as np

    x = np.moveaxis(x, 1, -1) if x.ndim == 4 else x[..., None]
    n, height, width, channels = x.shape
    across = math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    page = np.zeros((down * across, height, width, channels), np.uint8)
    page[:n] = x
    page = page.reshape(down, across, height, width, channels).swapaxes(1, 2)
    return page.reshape(down * height, across * width, channels).squeeze(-1 if channels == 1 else ())


def encoded(page, form: str, options: dict) -> bytes:
    """A mosaic in a format of Pillow's, from which it can be had again."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, form, **options)
    with Image.open(buffer) as again:
        if not np.array_equal(np.asarray(again.convert("L" if page.ndim == 2 else "RGB")), page):
            sys.exit(f"{form} is not lossless here")
    return buffer.getvalue()


def normal(train, test) -> tuple[float, float]:
    """log N(x; m, S) of the test rows, its mean and standard error; m and S (divided by n) of the training rows."""
    import numpy as np

    root = np.linalg.cholesky(np.cov(train.T, ddof=0))
    z = np.linalg.solve(root, (test - train.mean(0)).T)
    log_p = -0.5 * (z**2).sum(0) - np.log(np.diag(root)).sum() - 0.5 * len(root) * math.log(2 * math.pi)
    return log_p.mean(), log_p.std(ddof=1) / math.sqrt(len(log_p))


if __name__ == "__main__":
    main()
