"""Images in files and folders: every mode, every way up, and what is wrong with them named."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from vaekit.data import load, tiff
from vaekit.data.images import parse_size
from vaekit.errors import VaekitError

SHADES = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path, pixels=SHADES, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def colours(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def refused(path, *words: str, **options) -> None:
    with pytest.raises(VaekitError) as error:
        load(path, **options)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("ending", [".png", ".webp", ".bmp", ".tif", ".TIFF"])
def test_lossless_kinds_come_back_as_they_were(tmp_path, ending):
    options = {"lossless": True} if ending == ".webp" else {}
    save(tmp_path / "colour" / f"a{ending}", colours(), **options)
    source = load(tmp_path / "colour")
    assert np.array_equal(source.x, np.moveaxis(colours(), -1, 0)[None])
    assert source.x.dtype == np.uint8
    if ending != ".webp":  # which is always in colour
        save(tmp_path / "grey" / f"a{ending}", **options)
        assert np.array_equal(load(tmp_path / "grey").x, SHADES[None])


@pytest.mark.parametrize("ending", [".jpg", ".JPEG"])
def test_jpeg(tmp_path, ending):
    save(tmp_path / "grey" / f"a{ending}", quality=100)
    assert np.abs(load(tmp_path / "grey").x[0].astype(int) - SHADES).max() < 5
    save(tmp_path / "colour" / f"a{ending}", np.full((6, 8, 3), (200, 30, 90), np.uint8), quality=100)
    x = load(tmp_path / "colour").x
    assert x.shape == (1, 3, 6, 8)
    assert np.abs(x[0, :, 0, 0].astype(int) - (200, 30, 90)).max() < 5


def test_black_and_white_is_grey(tmp_path):
    save(tmp_path / "a.png", np.where(SHADES > 100, 255, 0).astype(np.uint8), "1")
    assert load(tmp_path).x.tolist() == [np.where(SHADES > 100, 255, 0).tolist()]


def test_one_image_in_colour_makes_all_of_them_rgb(tmp_path):
    save(tmp_path / "b.png")
    assert load(tmp_path).x.shape == (1, 6, 8)
    assert load(tmp_path, colour=True).x.shape == (1, 3, 6, 8)
    save(tmp_path / "a.png", colours())
    x = load(tmp_path).x
    assert x.shape == (2, 3, 6, 8)
    assert (x[1] == SHADES).all()  # the same grey in each of the channels


def test_palettes_and_cmyk_become_rgb(tmp_path):
    red = np.full((6, 8, 3), (255, 0, 0), np.uint8)
    save(tmp_path / "palette.png", red, "P")
    save(tmp_path / "print.tif", red, "CMYK")
    assert (load(tmp_path).x == np.array([255, 0, 0])[:, None, None]).all()


def test_what_is_transparent_lies_on_white(tmp_path):
    red = np.full((6, 8, 4), (255, 0, 0, 0), np.uint8)
    red[0, 0, 3], red[0, 1, 3] = 255, 51  # opaque, a fifth
    save(tmp_path / "a.png", red)
    x = load(tmp_path).x[0]
    assert x[:, 0, 0].tolist() == [255, 0, 0]
    assert x[:, 0, 1].tolist() == [255, 204, 204]
    assert (x[:, 1:] == 255).all()
    shades = np.stack([SHADES, np.zeros_like(SHADES)], -1)
    save(tmp_path / "grey" / "a.png", shades)  # grey and opacity
    assert (load(tmp_path / "grey").x == 255).all()
    assert load(tmp_path / "grey").x.shape == (1, 6, 8)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, SHADES), (3, SHADES[::-1, ::-1]), (6, np.rot90(SHADES, -1)), (8, np.rot90(SHADES)), (2, SHADES[:, ::-1])],
)
def test_images_are_turned_as_the_camera_says(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load(tmp_path / "a.png").x[0], upright)


def test_a_folder_is_walked_in_order_and_its_subfolders_are_labels(tmp_path):
    for i, name in enumerate(["b/2.png", "b/10.png", "a/deep/x.png", "a/x.png", "top.png"]):
        save(tmp_path / name, np.full((2, 3), i, np.uint8))
    (tmp_path / "README.txt").write_text("about these")
    (tmp_path / ".hidden.png").write_text("of the system")
    source = load(tmp_path)
    assert source.x[:, 0, 0].tolist() == [2, 3, 1, 0, 4]
    assert source.labels.tolist() == ["a/deep", "a", "b", "b", ""]
    assert source.name == tmp_path.name
    assert load(tmp_path / "b").labels is None


def test_one_image_is_one_row(tmp_path):
    source = load(save(tmp_path / "a.png"))
    assert source.x.shape == (1, 6, 8)
    assert source.name == "a.png"


def test_several_folders_and_images_are_read_as_one(tmp_path):
    save(tmp_path / "one" / "a.png")
    save(tmp_path / "two" / "b.png", colours())
    source = load([tmp_path / "one", tmp_path / "two", save(tmp_path / "c.png")])
    assert source.x.shape == (3, 3, 6, 8)
    assert (source.x[0] == source.x[2]).all()
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    refused([tmp_path / "one", tmp_path / "x.npy"], "one", "x.npy")


def test_images_of_two_sizes_are_refused_and_a_way_is_offered(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", SHADES[:5, :7])
    refused(tmp_path, "a.png is 6x8", "b.png 5x7", "resize")
    assert load(tmp_path, resize="4x5").x.shape == (2, 4, 5)
    assert load(tmp_path, resize="16").x.shape == (2, 16, 16)
    save(tmp_path / "c.png", colours())
    assert load(tmp_path, resize="4x5").x.shape == (3, 3, 4, 5)


def test_resizing_averages(tmp_path):
    board = np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 255
    save(tmp_path / "a.png", board)
    assert np.abs(load(tmp_path, resize="16").x.astype(float) - 127.5).max() < 30


@pytest.mark.parametrize("text", ["0", "4x0", "x4", "4x", "4,5", "big", "-3", "4x5x3", "4.5", "99999", "٣"])
def test_sizes_that_are_none(text):
    with pytest.raises(VaekitError, match="HEIGHTxWIDTH"):
        parse_size(text)


def test_resizing_is_for_images(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4)))
    refused(tmp_path / "x.npy", "x.npy", "resize", resize="3")
    refused("digits", "resize", resize="3")
    assert load(tmp_path / "x.npy", resize="3", strict=False).x.shape == (3, 4, 4)


def test_columns_are_not_for_images(tmp_path):
    save(tmp_path / "a.png")
    refused(tmp_path, "exclude", exclude=("a",))


# Damage


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize(
    "content", [b"", b"not a picture\n", b"\x89PNG\r\n\x1a\n", b"BM\0\0", b"II*\0", b"\xff\xd8\xff"]
)
def test_a_file_that_is_no_image_is_named(tmp_path, ending, content):
    save(tmp_path / "a.png")
    (tmp_path / f"bad{ending}").write_bytes(content)
    refused(tmp_path, f"bad{ending}")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_truncated_image_is_named(tmp_path, ending):
    path = save(tmp_path / f"bad{ending}", np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = path.read_bytes()
    for length in (len(content) // 4, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:length])
        refused(tmp_path, f"bad{ending}")


def test_other_formats_are_not_decoded_under_these_names(tmp_path):
    save(tmp_path / "a.gif").rename(tmp_path / "a.png")
    refused(tmp_path, "a.png")


DEEP = {
    "uint16": (SHADES.astype(np.uint16) * 200 + 7, (".png", ".tif")),
    "float32": (SHADES.astype(np.float32) / 7 - 3, (".tif",)),
    "int32": (SHADES.astype(np.int32) * 90_000 - 70_000, (".tif",)),
}


@pytest.mark.parametrize("dtype", DEEP)
def test_images_of_more_bits_are_read_as_what_they_are(tmp_path, dtype):
    pixels, endings = DEEP[dtype]
    for ending in endings:
        save(tmp_path / f"a{ending}", pixels)
    x = load(tmp_path).x
    assert x.dtype == dtype
    assert all(np.array_equal(image, pixels) for image in x)
    smooth = np.linspace(pixels.min(), pixels.max(), 64).astype(dtype).reshape(8, 8)
    scaled = load(save(tmp_path / "smooth.tif", smooth), resize="4").x[0]
    assert scaled.dtype == dtype
    wanted = smooth.reshape(4, 2, 4, 2).astype(float).mean((1, 3))
    assert np.abs(scaled - wanted).max() < 0.05 * np.ptp(smooth.astype(float))
    assert pixels.min() <= scaled.min() <= scaled.max() <= pixels.max()


def test_images_of_more_bits_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = DEEP["uint16"][0]
    assert np.array_equal(load(save(tmp_path / "a.png", pixels, exif=exif)).x[0], np.rot90(pixels, -1))


def test_images_of_two_types_are_named(tmp_path):
    save(tmp_path / "a.png", SHADES.astype(np.uint16))
    save(tmp_path / "b.png")
    refused(tmp_path, "a.png holds uint16", "b.png uint8")
    refused(tmp_path / "a.png", "a.png is grey", "uint16", colour=True)


def test_colours_of_more_bits_are_cut_and_this_is_said(tmp_path):
    shades = np.random.default_rng(0).integers(0, 65536, (6, 8, 3))
    (tmp_path / "a.png").write_bytes(deep_colour(shades))
    source = load(tmp_path)
    assert (np.abs(np.moveaxis(source.x[0], 0, -1) - shades / 257) <= 1).all()
    assert source.notes == ("a.png is of 16 bits a colour: 8 of them are read. An .npy array keeps them all.",)


def deep_colour(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a colour."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_page_of_a_stack_is_an_image(tmp_path, dtype):
    pages = [SHADES.astype(dtype) + i for i in range(5)]
    stack(tmp_path / "films" / "b.tif", pages[1:])
    save(tmp_path / "films" / "a.tif", pages[0])
    source = load(tmp_path)
    assert source.x.dtype == dtype
    assert np.array_equal(source.x, pages)
    assert source.labels.tolist() == ["films"] * 5
    assert source.beside["file"].tolist() == ["films/a.tif", *(f"films/b.tif#{i}" for i in range(1, 5))]
    both = source.joined(load(tmp_path / "films" / "a.tif"), "test")
    assert both.beside["file"].tolist() == [*source.beside["file"], "a.tif"]
    stack(tmp_path / "films" / "c.tif", [pages[0], pages[1][:5]])
    refused(tmp_path, "c.tif#2", "5x8", "resize")


def stack(path, pages, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("shape", [(16, 21), (21, 16), (16, 16), (160, 8)])
def test_a_side_of_16_pixels_is_not_16_bits(tmp_path, ending, shape):
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    save(tmp_path / f"a{ending}", pixels)
    save(tmp_path / f"b{ending}", np.dstack([pixels] * 3))
    assert load(tmp_path).notes == ()


def test_colours_of_5_and_6_bits_are_not_16(tmp_path):
    header = struct.pack("<2sIHHI", b"BM", 54 + 64, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 4, 8, 1, 16, *[0] * 6)
    (tmp_path / "a.bmp").write_bytes(header + bytes(64))
    assert load(tmp_path).notes == ()


# What the tags of a TIFF say


def write_tiff(path, *pages, planar=False, description="", photometric=1, order="<", tags=None):
    """A TIFF of pages (height, width) or (height, width, channels) of any numbers, as microscopes write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 0)
    link = 4  # where the offset of the next page stands
    for page in pages:
        height, width, channels = np.atleast_3d(page).shape
        rows = np.moveaxis(np.atleast_3d(page), -1, 0) if planar else page
        pixels = np.ascontiguousarray(rows, page.dtype.newbyteorder(order)).tobytes()
        parts = channels if planar else 1
        size = len(pixels) // parts
        colours = 3 if photometric == 2 else 1
        entries = {
            256: width, 257: height, 258: [8 * page.itemsize] * channels, 259: 1, 262: photometric,
            270: description.encode(), 273: [len(content) + i * size for i in range(parts)], 277: channels,
            278: height, 279: [size] * parts, 284: 1 + planar, 338: [0] * (channels - colours),
            339: ["", "u", "i", "f"].index(page.dtype.kind), **(tags or {}),
        }  # fmt: skip
        content += pixels
        start = len(content)
        entries = {tag: value for tag, value in sorted(entries.items()) if value not in ([], b"")}
        directory = struct.pack(f"{order}H", len(entries))
        beside = b""
        for tag, value in entries.items():
            if isinstance(value, bytes):
                kind, count, packed = 2, len(value) + 1, value + b"\0"
            else:
                numbers = value if isinstance(value, list) else [value]
                kind, count = 4, len(numbers)
                packed = struct.pack(f"{order}{count}I", *numbers)
            if len(packed) > 4:
                offset = start + 2 + 12 * len(entries) + 4 + len(beside)
                beside += packed
                packed = struct.pack(f"{order}I", offset)
            directory += struct.pack(f"{order}HHI", tag, kind, count) + packed.ljust(4, b"\0")
        content = content[:link] + struct.pack(f"{order}I", start) + content[link + 4 :]
        link = start + len(directory)
        content += directory + bytes(4) + beside
    path.write_bytes(content)
    return path


@pytest.fixture
def without_tifffile(monkeypatch):
    monkeypatch.setattr(tiff, "readable", lambda: False)


def numbers(dtype, *shape) -> np.ndarray:
    """Numbers over the whole range of a type."""
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1e3, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "uint32", "int32", "float32"])
def test_numbers_keep_their_sign(tmp_path, dtype, without_tifffile):
    pixels = numbers(dtype, 9, 11)
    for name, page in {"a": pixels, "b": pixels[::-1]}.items():
        write_tiff(tmp_path / f"{name}.tif", page)
    x = load(tmp_path).x
    assert x.dtype == dtype
    assert np.array_equal(x, [pixels, pixels[::-1]])


def test_signed_16_bits(tmp_path, without_tifffile):
    pixels = numbers("int16", 9, 11)
    assert np.array_equal(load(write_tiff(tmp_path / "a.tif", pixels)).x[0], pixels)


def test_large_unsigned_numbers_are_scaled_within_their_range(tmp_path):
    pixels = np.full((8, 8), 2**32 - 2, np.uint32)
    pixels[:, 4:] = 2**31 + 1000
    x = load(write_tiff(tmp_path / "a.tif", pixels), resize="4").x[0]
    assert x.dtype == np.uint32
    assert pixels.min() <= x.min() < x.max() <= pixels.max()


OTHERS = {
    "two": (numbers("uint16", 9, 11, 2), {}, "2 channels of 16 bits", "(n, 2, height, width) of uint16"),
    "five": (numbers("uint16", 9, 11, 5), {}, "5 channels of 16 bits", "(n, 5, height, width) of uint16"),
    "apart": (numbers("uint16", 9, 11, 4), {"planar": True}, "4 channels of 16 bits", "(n, 4, "),
    "bytes": (numbers("uint8", 9, 11, 2), {}, "2 channels of 8 bits", "(n, 2, height, width) of uint8"),
    "bytes apart": (numbers("uint8", 9, 11, 3), {"planar": True}, "3 channels of 8 bits", "(n, 3, "),
    "infrared": (numbers("uint8", 9, 11, 4), {"photometric": 2}, "4 channels of 8 bits", "(n, 4, "),
    "deep apart": (numbers("uint16", 9, 11, 3), {"photometric": 2, "planar": True}, "3 channels of 16 bits", "(n, 3,"),
    "double": (
        numbers("float64", 9, 11),
        {},
        "1 channel of 64 bits, in floating point",
        "(n, height, width) of float64",
    ),
    "half": (numbers("float16", 9, 11), {}, "1 channel of 16 bits, in floating point", "(n, height, width) of float16"),
    "other end": (numbers("uint32", 9, 11), {"order": ">"}, "1 channel of 32 bits", "(n, height, width) of uint32"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_whole_tiff_of_another_kind_is_told_from_a_damaged_one(tmp_path, name, without_tifffile):
    pixels, options, kind, array = OTHERS[name]
    path = write_tiff(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(VaekitError) as error:
        load(path)
    assert f"a.tif is a TIFF of {kind}" in str(error.value)
    assert array in str(error.value)
    assert "vaekit[tiff]" in str(error.value)
    assert "damaged" not in str(error.value)
    stored = np.atleast_3d(pixels).transpose(2, 0, 1)
    np.save(tmp_path / "x.npy", [np.squeeze(stored)] * 3)  # the remedy
    assert load(tmp_path / "x.npy", kind="image").x.shape[1:] == np.squeeze(stored).shape


@pytest.mark.parametrize("name", OTHERS)
def test_tifffile_reads_the_other_kinds(tmp_path, name):
    pytest.importorskip("tifffile")
    pixels, options, *_ = OTHERS[name]
    write_tiff(tmp_path / "a.tif", pixels, **options)
    write_tiff(tmp_path / "b.tif", pixels[::-1], pixels[:, ::-1], **options)
    source = load(tmp_path)
    wanted = [np.squeeze(np.moveaxis(np.atleast_3d(page), -1, 0)) for page in (pixels, pixels[::-1], pixels[:, ::-1])]
    assert source.x.dtype == pixels.dtype
    assert np.array_equal(source.x, wanted)
    assert source.beside["file"].tolist() == ["a.tif", "b.tif#1", "b.tif#2"]
    assert source.axes.kind == "image"
    assert load(tmp_path, resize="6x7").x.shape == (*source.x.shape[:-2], 6, 7)


def test_tifffile_keeps_16_bits_a_colour(tmp_path, monkeypatch):
    pixels = numbers("uint16", 9, 11, 3)
    path = write_tiff(tmp_path / "a.tif", pixels, photometric=2)
    with monkeypatch.context() as patch:
        patch.setattr(tiff, "readable", lambda: False)
        source = load(path)
    assert source.x.dtype == np.uint8
    assert "8 of them are read" in source.notes[0]
    assert "vaekit[tiff]" in source.notes[0]
    pytest.importorskip("tifffile")
    source = load(path)
    assert np.array_equal(source.x[0], np.moveaxis(pixels, -1, 0))
    assert source.notes == ()
    assert np.array_equal(load(path, colour=True).x, source.x)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tifffile_turns_images_as_pillow_does(tmp_path, orientation):
    pixels = numbers("float32", 9, 11)
    save(tmp_path / "a.tif", pixels, tiffinfo={274: orientation})
    assert np.array_equal(tiff._upright(pixels, orientation), load(tmp_path / "a.tif").x[0])


@pytest.mark.parametrize("tifffile", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_a_truncated_tiff_of_another_kind_is_damaged(tmp_path, name, tifffile, monkeypatch):
    monkeypatch.setattr(tiff, "readable", lambda: tifffile)
    pixels, options, *_ = OTHERS[name]
    path = write_tiff(tmp_path / "a.tif", pixels, **options)
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack(options.get("order", "<") + "HH", 273, 4)) + 8
    if not options.get("planar"):
        content[place : place + 4] = struct.pack(options.get("order", "<") + "I", len(content) - 20)
        path.write_bytes(content)
        refused(path, "a.tif is damaged", "not all of its pixels")
    path.write_bytes(content[: len(content) // 2])
    refused(path, "a.tif is damaged")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "description",
    [
        "ImageJ=1.54f\nimages=12\nchannels=3\nslices=2\nframes=2\nhyperstack=true\n",
        '{"shape": [4, 3, 9, 11], "axes": "TCYX"}',
        '<OME><Image><Pixels DimensionOrder="XYCZT" SizeC="3" SizeZ="4" SizeT="1" SizeX="11" SizeY="9"/></Image></OME>',
        '<OME><Image><Pixels DimensionOrder="XYZCT" SizeZ="1" SizeC="3" SizeT="4"><TiffData IFD="0" PlaneCount="12"/>',
        '<OME><Image><Pixels DimensionOrder="XYZTC" SizeC="3" SizeZ="1" SizeT="4">'
        + "".join(f'<TiffData FirstC="{i % 3}" FirstT="{i // 3}" IFD="{i}" PlaneCount="1"/>' for i in range(12)),
    ],
)
def test_pages_that_are_channels_are_put_together(tmp_path, description, dtype, without_tifffile):
    pages = numbers(dtype, 12, 9, 11)
    stack(tmp_path / "a.tif", list(pages), description=description)
    source = load(tmp_path)
    assert np.array_equal(source.x, pages.reshape(4, 3, 9, 11))
    assert source.beside["file"].tolist() == ["a.tif#1-3", "a.tif#4-6", "a.tif#7-9", "a.tif#10-12"]
    assert source.notes == (
        "4 images are put together from 3 pages: the channels that the TIFF's description speaks of.",
    )
    assert source.axes.kind == "image"
    assert load(tmp_path, resize="6x7").x.shape == (4, 3, 6, 7)


@pytest.mark.parametrize(
    "description",
    [
        "ImageJ=1.54f\nimages=14\nchannels=3\nhyperstack=true\n",  # pages were taken away
        '{"shape": [3, 4, 9, 11], "axes": "CTYX"}',
        '<OME><Image><Pixels DimensionOrder="XYZCT" SizeC="3" SizeZ="4" SizeT="1"/></Image></OME>',
        '<OME><Image><Pixels DimensionOrder="XYCZT" SizeC="3" SizeZ="1" SizeT="4">'
        + "".join(f'<TiffData FirstC="{i // 4}" FirstT="{i % 4}" IFD="{i}" PlaneCount="1"/>' for i in range(12)),
    ],
)
def test_pages_that_cannot_be_put_together_are_told(tmp_path, description):
    pages = numbers("uint16", 11 if "ImageJ" in description else 12, 9, 11)
    stack(tmp_path / "a.tif", list(pages), description=description)
    source = load(tmp_path)
    assert np.array_equal(source.x, pages)
    assert len(source.notes) == 1
    for word in ("a.tif speaks of 3 channels", "(n, 3, height, width)"):
        assert word in source.notes[0]


@pytest.mark.parametrize(
    "description", ["ImageJ=1.54f\nimages=4\nslices=4\n", '{"shape": [4, 9, 11]}', "{", "{}", "[]"]
)
def test_pages_of_one_channel_are_images(tmp_path, description):
    pages = numbers("uint16", 4, 9, 11)
    stack(tmp_path / "a.tif", list(pages), description=description)
    source = load(tmp_path)
    assert np.array_equal(source.x, pages)
    assert source.notes == ()


def test_layers_of_a_volume_are_not_left_out(tmp_path):
    path = write_tiff(tmp_path / "a.tif", numbers("uint16", 36, 11), tags={257: 9, 278: 9, 32997: 4})
    refused(path, "a.tif is a TIFF of 1 channel of 16 bits and 4 layers", "not read")


def test_opacity_of_16_bits_is_cut_whatever_is_installed(tmp_path, without_tifffile):
    path = write_tiff(tmp_path / "a.tif", numbers("uint16", 9, 11, 4), photometric=2, tags={338: 2})
    assert load(path).notes[1] == "a.tif is of 16 bits a colour: 8 of them are read. An .npy array keeps them all."


def test_channels_of_different_numbers_are_named(tmp_path):
    stack(tmp_path / "a.tif", list(numbers("uint16", 4, 9, 11)), description="ImageJ=1\nimages=4\nchannels=2\n")
    write_tiff(tmp_path / "b.tif", numbers("uint16", 9, 11))
    refused(tmp_path, "a.tif#1-2 holds 2 channels of uint16", "b.tif uint16")


def test_images_without_pages_of_their_own_are_not_missed(tmp_path):
    pages = numbers("uint16", 5, 9, 11)
    path = write_tiff(tmp_path / "a.tif", pages[0], description="ImageJ=1.54f\nimages=5\nslices=5\n")
    assert np.array_equal(load(path).x, pages[:1])  # a page that was cut out
    path.write_bytes(path.read_bytes() + pages[1:].tobytes())
    refused(path, "a.tif", "4 images", "4 GB")


def test_a_pixel_that_is_no_number_is_named(tmp_path):
    pages = numbers("float32", 6, 9, 11)
    stack(tmp_path / "a.tif", list(pages[:2]))
    pages[4, 7, 3] = np.nan
    stack(tmp_path / "plate" / "b.tif", list(pages[2:]))
    words = ("b.tif#3: row 7, column 3", "is nan")
    refused(tmp_path, *words)
    refused(tmp_path, *words, resize="4")
    pages[4, 8, 10] = np.inf
    stack(tmp_path / "plate" / "b.tif", list(pages[2:]))
    refused(tmp_path, *words, "1 more")
    stack(tmp_path / "plate" / "b.tif", list(pages[2:]), description="ImageJ=1\nimages=4\nchannels=2\n")
    refused(tmp_path / "plate", "b.tif#3-4: channel 0, row 7, column 3", "is nan")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_time_for_a_stack_grows_with_its_pages(tmp_path, monkeypatch, dtype):
    loads = []
    load_tags = TiffImagePlugin.ImageFileDirectory_v2.load
    counted = lambda self, file: (loads.append(1), load_tags(self, file))  # noqa: E731
    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counted)
    stack(tmp_path / "a.tif", list(numbers(dtype, 60, 9, 11)))
    loads.clear()
    assert load(tmp_path).x.shape == (60, 9, 11)
    assert len(loads) < 10 * 60


def test_moving_pictures_are_named(tmp_path):
    first, *others = (Image.fromarray(page) for page in (SHADES, SHADES[::-1]))
    first.save(tmp_path / "a.png", save_all=True, append_images=others)
    refused(tmp_path, "a.png", "2 pictures", "TIFF")


def test_what_is_laid_on_white_is_said(tmp_path):
    opaque = np.dstack([colours(), np.full((6, 8), 255, np.uint8)])
    save(tmp_path / "a.png", opaque)
    assert load(tmp_path).notes == ()
    assert np.array_equal(load(tmp_path).x[0], np.moveaxis(colours(), -1, 0))
    opaque[2, 3, 3] = 254
    save(tmp_path / "b.png", opaque)
    assert load(tmp_path).notes == ("b.png is see-through in places: laid on white.",)
    save(tmp_path / "c" / "b.png", opaque)
    assert load(tmp_path).notes == ("2 images are see-through in places: laid on white.",)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "png")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    assert len(buffer.getvalue()) < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *arguments: pytest.fail("unpacked"))
    refused(tmp_path, "bomb.png", "pixels")
    refused(tmp_path / "bomb.png", "pixels", resize="32")


def test_a_pipe_is_not_waited_for(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    refused(tmp_path, "b.png", "no regular file")
    refused(tmp_path / "b.png", "no regular file")
    (tmp_path / "b.png").rename(tmp_path / "pipe")
    refused(tmp_path, "pipe", "no regular file")


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "y.png").symlink_to(tmp_path / "a" / "x.png")
    assert load(tmp_path).labels.tolist() == ["a", ""]
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    refused(tmp_path, "broken.png")
    (tmp_path / "broken.png").unlink()
    (tmp_path / "self").symlink_to(tmp_path / "self")
    refused(tmp_path, "self")


def test_a_folder_without_images_says_what_it_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("1")
    refused(tmp_path, tmp_path.name, ".png", ".tif")


@pytest.mark.parametrize("ending", [".gif", ".HEIC", ".svg"])
def test_images_of_a_kind_that_is_not_read_are_not_left_out_silently(tmp_path, ending):
    save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / f"b{ending}").write_bytes(b"anything")
    refused(tmp_path / "images", f"b{ending}", "not read", "PNG")


def test_several_folders_label_what_lies_in_them(tmp_path):
    for name in ("cats/1", "cats/big/2", "dogs/1"):
        save(tmp_path / f"{name}.png")
    assert load([tmp_path / "cats", tmp_path / "dogs"]).labels.tolist() == ["cats", "big", "dogs"]
    assert load(tmp_path / "dogs").labels is None
    assert load([tmp_path / "cats" / "1.png", tmp_path / "dogs" / "1.png"]).labels is None


def test_a_path_that_is_not_there_is_told_what_lies_near_it(tmp_path):
    save(tmp_path / "images" / "a.png")
    refused(tmp_path / "image", f"did you mean '{tmp_path / 'images'}'")
