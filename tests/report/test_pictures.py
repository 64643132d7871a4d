"""Pictures show images by their own range, whatever their type and their channels."""

import itertools

import numpy as np
import pytest
import torch
from lanes import but_few_slow
from PIL import Image
from scipy.stats import norm

from vaekit import VAE
from vaekit.cli import main
from vaekit.cli.images import write_images
from vaekit.core import Batch
from vaekit.data import Source, describe, load
from vaekit.report.pictures import MANIFOLD, _drawn, _figure, _scatter, grid, manifold, shades, shown_as

RNG = np.random.default_rng(0)
SHAPE = (16, 14)


def described(x: np.ndarray):
    """Images as stored, and their schema."""
    source = Source(x, layout="image")
    return source.x, describe(source.x, layout=source.layout)


def page(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


GREY = {
    "bytes": RNG.integers(0, 256, (5, *SHAPE)).astype(np.uint8),
    "few shades": RNG.integers(0, 17, (5, *SHAPE)).astype(np.uint8),
    "16 bits": RNG.integers(300, 9000, (5, *SHAPE)).astype(np.uint16),
    "hounsfield": RNG.integers(-1000, 2000, (5, *SHAPE)).astype(np.int16),
    "reals": RNG.normal(size=(5, *SHAPE)).astype(np.float32) * 1e-3,
}


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("deep", [False, True])
def test_a_page_goes_from_the_lowest_value_to_the_highest(name, deep, tmp_path):
    x, schema = described(GREY[name])
    seen = page(grid(x, schema, tmp_path / "a.png", columns=5, deep=deep))
    white, zoom = (65535 if deep else 255), 56 // 16
    first = seen[2 : 2 + 16 * zoom : zoom, 2 : 2 + 14 * zoom : zoom]
    low, high = np.min(schema.low), np.max(schema.high)
    assert np.abs(first - (x[0] - low) / (high - low) * white).max() <= 0.51
    assert seen.dtype == (np.uint16 if deep else np.uint8)
    cells = seen[seen != int(0.375 * white)]
    assert (cells.min(), cells.max()) == (0, white)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_channels_that_are_no_colours_are_shown_by_their_own_ranges(count):
    means = 100.0 * np.arange(count)[:, None, None]
    x, schema = described(means + RNG.normal(size=(60, count, *SHAPE)) * (1 + np.arange(count))[:, None, None])
    found = shades(x, schema)
    assert found.shape == (60, *SHAPE, 3)
    for channel in range(min(3, count)):
        assert found[..., channel].mean() == pytest.approx(0.5, abs=0.05)
        assert 0.1 < found[..., channel].std() < 0.2
        order = np.argsort(x[0, channel], axis=None)
        assert (np.diff(found[0, ..., channel].ravel()[order]) >= 0).all()
    assert found[..., count:].max(initial=0) == 0
    assert "own range" in shown_as(schema)
    assert shown_as(described(GREY["reals"])[1]) == ""


STACKS = {"bytes": np.uint8, "few shades": np.uint8, "16 bits": np.uint16, "hounsfield": np.int32, "reals": np.float32}


@pytest.mark.parametrize("ending", [".tif", ".TIFF"])
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_comes_back_as_the_type_it_was(name, ending, tmp_path):
    x, schema = described(GREY[name])
    write_images(tmp_path / f"a{ending}", x.astype(np.float64), schema)
    again = load(tmp_path / f"a{ending}").x
    assert again.dtype == STACKS[name]
    assert np.array_equal(again, x)


def test_a_stack_in_colour_comes_back(tmp_path):
    x, schema = described(RNG.integers(0, 256, (5, *SHAPE, 3)).astype(np.uint8))
    write_images(tmp_path / "a.tif", x + 0.4, schema)
    assert np.array_equal(load(tmp_path / "a.tif").x, x)


def test_what_was_made_black_and_white_is_written_in_its_own_shades(tmp_path):
    x, schema = described(GREY["bytes"])
    write_images(tmp_path / "a.tif", x / 255, schema.as_binary("dynamic"))
    assert np.array_equal(load(tmp_path / "a.tif").x, x)


def test_the_plane_shows_the_correlation_of_the_latents():
    """q(z|x) with a full covariance: the draws have it, and not that of independent latents."""
    x = RNG.normal(size=(40, 3)).astype(np.float32)
    vae = VAE(latent_dim=2, posterior="full", hidden=(), max_epochs=1, device="cpu").fit(x)
    with torch.no_grad():
        last = vae.model_.encoder.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 2.0]))
        q = vae.model_.encode(Batch(torch.zeros(1, 3)))
        drawn, _ = q.draw(torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(0)))
        wanted = drawn[:, 0].T.corrcoef()[0, 1].item()
    assert abs(wanted) > 0.5
    z = _drawn(vae.model_, vae._rows(np.repeat(x, 50, 0)))
    assert z.shape == (2000, 2)
    assert np.corrcoef(z.T)[0, 1] == pytest.approx(wanted, abs=0.1)


def test_the_plane_goes_through_the_quantiles_of_the_prior_that_there_is():
    """Of a flow, where its draws of the quantiles of the noise are; of N(0, I) these quantiles themselves."""
    x = RNG.normal(size=(40, 3)).astype(np.float32)
    u = (np.arange(MANIFOLD) + 0.5) / MANIFOLD
    for prior in ("standard", "flow"):
        vae = VAE(latent_dim=2, prior=prior, hidden=(), max_epochs=1, device="cpu").fit(x)
        model = vae.model_
        with torch.no_grad():
            for parameter in model.prior.parameters():
                parameter += 0.1 * torch.ones_like(parameter)
            first = torch.tensor([[[norm.ppf(u[0]), -norm.ppf(u[0])]]]).float()
            z, _ = model.pz().draw(first)
            expected = model.decode(z).mean[0, 0]
        assert (prior == "flow") == (not torch.allclose(z, first))
        assert np.allclose(manifold(model)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("parts", "drawn"), [({"prior": "flow"}, True), ({"posterior": "vmf"}, False)])
def test_only_real_latents_have_a_plane(tmp_path, parts, drawn):
    images = RNG.integers(0, 2, (60, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    given = [argument for name, value in parts.items() for argument in (f"--{name}", value)]
    tiny = ["--kind", "image", "--latent-dim", "2", "--network", "mlp", "--hidden", "8", "--epochs", "1"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", str(tmp_path / "images.npy"), *tiny, *given, "--out", str(tmp_path / "run")])
    assert stop.value.code == 0
    pictures = {path.name for path in (tmp_path / "run" / "pictures").iterdir()}
    assert "samples.png" in pictures
    assert ({"manifold.png", "plane.png"} <= pictures) == drawn


LABELS = {
    "digits": (np.arange(300) % 10, 10),
    "words": (np.array(["cat", "dog", "owl"])[np.arange(300) % 3], 3),
    "reals, a scale": (np.linspace(0, 1, 300), None),
    "words, too many": (np.array([f"name {i}" for i in range(300)]), None),
    "one class": (np.zeros(300), None),
    "none": (None, None),
}


@pytest.mark.parametrize("labels", LABELS)
def test_the_plane_s_dots_have_the_colours_of_their_labels(labels):
    values, classes = LABELS[labels]
    figure, (axes,) = _figure(1, (4, 4))
    _scatter(axes, RNG.normal(size=(300, 2)), values)
    figure.canvas.draw()
    dots = axes.collections[0]
    colours = np.unique(dots.get_facecolors(), axis=0)
    if classes:
        assert len(colours) == classes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(v) for v in np.unique(values)]
    else:
        assert axes.get_legend() is None
        assert (len(colours) > 100) == (labels == "reals, a scale")
    assert dots.get_sizes().min() >= 4


def test_a_run_s_plane_is_drawn_with_the_labels_of_its_rows(tmp_path, monkeypatch):
    from vaekit.report import pictures
    from vaekit.runs import Run

    seen = []
    monkeypatch.setattr(pictures, "_scatter", lambda axes, z, labels: seen.append(labels))
    tiny = ["--latent-dim", "2", "--hidden", "8", "--epochs", "1", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "digits", *tiny])
    assert stop.value.code == 0
    source = load("digits")
    settings = Run.open(tmp_path / "run").settings
    test = source.split(settings.training.seed, settings.data.validation, settings.data.test)["test"]
    (labels,) = seen
    assert np.array_equal(np.sort(labels), np.sort(source.labels[test]))


@pytest.mark.parametrize("columns", but_few_slow([3, 1, 16, 30], quick=2))
def test_nothing_covers_anything_in_the_histograms(columns, tmp_path, monkeypatch):
    """Large numbers, whose tick labels are long, in a full grid, where the legend has no empty cell to stand in."""
    from vaekit.report import pictures

    figures = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: figures.append(figure))
    x = 101325 + 400 * RNG.normal(size=(70, columns))
    vae = VAE(latent_dim=1, hidden=(), max_epochs=1, device="cpu").fit(x)
    pictures.marginals(vae.schema_, vae.model_, vae._rows(x[:25]), tmp_path / "a.png", 0, "validation")
    (figure,) = figures
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["data: 25 validation rows", "model: 1,000 draws"]
    title = "the first 16 of 30 columns" if columns == 30 else ""
    assert legend.get_title().get_text() == title
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == min(columns, 16)
    room = legend.get_window_extent()
    assert room.x0 >= 0
    assert room.x1 <= figure.bbox.x1
    for axis in shown:
        assert not room.overlaps(axis.get_tightbbox())
        low, high = axis.get_xlim()
        ticks = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        boxes = [label.get_window_extent() for place, label in ticks if low <= place <= high]
        assert len(boxes) >= 2
        assert all(one.x1 + 2 < other.x0 for one, other in itertools.pairwise(boxes))


def test_columns_with_a_long_tail_have_an_axis_of_logarithms(tmp_path, monkeypatch):
    from vaekit.report import pictures

    figures = []
    random = np.random.default_rng(3)
    monkeypatch.setattr(pictures, "_save", lambda figure, path: figures.append(figure))
    tail = np.exp(random.normal(5, 1.8, 90))
    x = np.stack([tail, np.where(random.random(90) < 0.3, 0, tail), random.normal(5, 1, 90)], 1)
    vae = VAE(latent_dim=1, hidden=(), max_epochs=1, device="cpu").fit(x)
    pictures.marginals(vae.schema_, vae.model_, vae._rows(x), tmp_path / "a.png", 0, "train")
    (figure,) = figures
    assert [axis.get_xscale() for axis in figure.axes[:3]] == ["log", "log", "linear"]
    assert figure.axes[1].get_xlabel().startswith("0: data ")
