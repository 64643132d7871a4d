"""What the axes of an array mean, and that nothing of it is lost."""

import numpy as np
import pytest

from vaekit.data import Source, describe, load
from vaekit.data.layout import layout_of
from vaekit.errors import VaekitError

RNG = np.random.default_rng(0)


def pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    return RNG.integers(0, 256, (6, *shape)).astype(dtype)


def sensors(*shape: int) -> np.ndarray:
    """Real numbers whose last axis has other units at each place."""
    return RNG.normal(size=(6, *shape)) * 10.0 ** np.arange(shape[-1]) + 100


CASES = {
    # rows: kind, channels, shape as stored
    "columns": (pixels(64), "table", "none", (64,)),
    "grey": (pixels(8, 30), "image", "none", (8, 30)),
    "16 bits": (pixels(40, 9, dtype=np.uint16), "image", "none", (40, 9)),
    "mask": (pixels(12, 12).astype(bool), "image", "none", (12, 12)),
    "too narrow": (pixels(7, 30), "sequence", "none", (7, 30)),
    "real grey": (RNG.random((6, 16, 40)), "image", "none", (16, 40)),
    "black borders": (np.pad(RNG.random((6, 9, 9)), ((0, 0), (3, 3), (3, 3))).round(2), "image", "none", (15, 15)),
    "windows": (sensors(24, 12), "sequence", "none", (24, 12)),
    "few sensors": (RNG.random((6, 24, 2)), "sequence", "none", (24, 2)),
    "long": (RNG.random((6, 100, 9)), "sequence", "none", (100, 9)),
    "colour last": (pixels(5, 9, 3), "image", "last", (3, 5, 9)),
    "colour first": (pixels(3, 5, 9), "image", "first", (3, 5, 9)),
    "opacity": (pixels(5, 9, 4), "image", "last", (4, 5, 9)),
    "two": (pixels(9, 7, 2), "image", "last", (2, 9, 7)),
    "five": (pixels(5, 6, 7), "image", "first", (5, 6, 7)),
    "twelve, real": (RNG.normal(size=(6, 20, 20, 12)), "image", "last", (12, 20, 20)),
    "bands of other units": (sensors(20, 20, 5), "table", "none", (20, 20, 5)),
    "one, first": (pixels(1, 9, 8), "image", "first", (9, 8)),
    "one, last": (pixels(9, 8, 1), "image", "last", (9, 8)),
    "a curve": (RNG.random((6, 30, 1)), "sequence", "none", (30, 1)),
    "a line": (pixels(1, 30), "sequence", "none", (1, 30)),
    "three small axes": (RNG.random((6, 3, 7, 7)), "table", "none", (3, 7, 7)),
    "a ribbon": (RNG.random((6, 50, 9, 2)), "table", "none", (50, 9, 2)),
    "cube": (pixels(6, 6, 6), "table", "none", (6, 6, 6)),
    "channels between": (pixels(9, 3, 9), "table", "none", (9, 3, 9)),
    "films": (pixels(4, 8, 8, 3), "table", "none", (4, 8, 8, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_are_known_and_given_back_as_they_came(name, tmp_path):
    x, kind, channels, stored = CASES[name]
    np.save(tmp_path / "x.npy", x)
    source = load(tmp_path / "x.npy")
    assert source.layout[:2] == (kind, channels)
    assert source.layout.reason
    assert source.x.shape == (6, *stored)
    assert source.x.flags.c_contiguous
    schema = describe(source.x, layout=source.layout)
    assert (schema.layout, schema.is_image, schema.shape) == (kind, kind == "image", stored)
    assert schema.channels == (stored[0] if len(stored) == 3 and kind == "image" else 1)
    rows = schema.centred(source.x)
    assert schema.from_stored(rows).shape == x.shape
    assert np.allclose(schema.from_stored(rows), x, rtol=1e-6)
    assert np.allclose(schema.from_stored(rows[None]), x[None], rtol=1e-6)
    again = source.joined(source, "test")
    assert again.layout == source.layout
    assert np.array_equal(again.x, np.concatenate([source.x, source.x]))


@pytest.mark.parametrize("name", [name for name, (_, kind, _, _) in CASES.items() if kind != "image"])
def test_the_same_numbers_are_described_alike_whatever_their_shape(name):
    x = CASES[name][0].astype(np.float64)
    one, other = (describe(Source(rows).x, layout=Source(rows).layout) for rows in (x, x.reshape(6, -1)))
    for field in ("low", "high", "resolution", "mean", "scale", "kind"):
        assert getattr(one, field) == getattr(other, field)


def test_pixels_share_one_range_and_one_resolution():
    x = np.round(RNG.random((50, 9, 11)) * np.linspace(1, 3, 11), 2)
    schema = describe(x)
    assert schema.is_image
    assert (schema.low, schema.high) == (x.min(), x.max())
    assert schema.resolution == pytest.approx(0.01)
    x[:, 0, 0] = 1e-5  # a constant has no finest step
    assert describe(x).resolution == pytest.approx(0.01)


@pytest.mark.parametrize("kind", ["table", "sequence"])
def test_what_is_stated_wins(kind):
    x = pixels(3, 12, 12)
    source = Source(x, layout=kind)
    assert source.layout == (kind, "none", "as stated")
    assert source.x.shape == x.shape
    assert not describe(source.x, layout=source.layout).is_image


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((3, 4), "none"), ((24, 2), "none"), ((4, 4, 4), "first"), ((3, 9, 3), "first"), ((9, 4, 4), "last"),
     ((4, 4, 9), "first"), ((20, 20, 5), "last")],
)  # fmt: skip
def test_images_can_be_stated_where_they_are_possible(shape, channels):
    x = sensors(*shape)
    source = Source(x, layout="image")
    assert source.layout[:2] == ("image", channels)
    assert np.array_equal(describe(source.x, layout=source.layout).from_stored(source.x), x)


@pytest.mark.parametrize("shape", [(64,), (9, 3, 9), (2, 9, 9, 3)])
def test_images_are_refused_where_they_are_not(shape):
    with pytest.raises(VaekitError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        Source(pixels(*shape), layout="image")


def test_other_kinds_are_refused():
    with pytest.raises(VaekitError, match="'picture'"):
        layout_of(pixels(8, 8), "picture")


def test_cells_have_names_that_a_person_can_find():
    colour = Source(pixels(3, 4, 5))
    assert describe(colour.x, layout=colour.layout).column(27) == "pixel (1, 2), channel 1"
    assert describe(pixels(8, 9)).column(11) == "pixel (1, 2)"
    assert describe(sensors(24, 12)).column(27) == "cell (2, 3)"
