"""Images in files and folders: every mode, every way up, and what is wrong with them named."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageFile

from vaekit.data import describe, load
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
    refused(tmp_path, "a.png is 6x8", "b.png 5x7", "--resize")
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
    refused(tmp_path / "x.npy", "x.npy", "--resize", resize="3")
    refused("digits", "--resize", resize="3")
    assert load(tmp_path / "x.npy", resize="3", strict=False).x.shape == (3, 4, 4)


def test_columns_are_not_for_images(tmp_path):
    save(tmp_path / "a.png")
    refused(tmp_path, "--exclude", exclude=("a",))


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


def test_images_of_more_bits_are_named(tmp_path):
    save(tmp_path / "a.png", SHADES.astype(np.uint16) * 200)
    refused(tmp_path, "a.png", "8 bits")
    save(tmp_path / "a.png")
    save(tmp_path / "b.tif", SHADES.astype(np.float32))
    refused(tmp_path, "b.tif", "8 bits")


def test_files_of_several_pictures_are_named(tmp_path):
    pages = [Image.fromarray(SHADES), Image.fromarray(SHADES[::-1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path, "a.tif", "2 pictures")


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


# Arrays of images


@pytest.mark.parametrize(
    ("shape", "stored", "last"),
    [
        ((5, 9, 3), (3, 5, 9), True),
        ((3, 5, 9), (3, 5, 9), False),
        ((5, 9, 4), (4, 5, 9), True),
        ((5, 9, 1), (5, 9), True),
        ((1, 5, 9), (5, 9), False),
        ((4, 4, 3), (3, 4, 4), True),  # the channels are those that leave a square
        ((3, 4, 4), (3, 4, 4), False),
        ((3, 9, 3), (3, 9, 3), False),
        ((5, 6, 7), (5, 6, 7), False),  # no image
        ((5, 9), (5, 9), False),
    ],
)
def test_channels_are_moved_to_the_front(tmp_path, shape, stored, last):
    x = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    source = load(tmp_path / "x.npy")
    assert source.x.shape[1:] == stored
    assert source.channels_last is last
    assert source.x.flags.c_contiguous
    schema = describe(source.x, channels_last=source.channels_last)
    assert schema.is_image is (shape != (5, 6, 7))
    assert schema.channels == (stored[0] if len(stored) == 3 and schema.is_image else 1)
    if last or shape[0] != 1:  # a single channel is not given back first
        assert np.array_equal(schema.from_stored(source.x), x)
        assert np.array_equal(schema.from_stored(source.x[None]), x[None])


def test_channels_stay_where_they_were_put(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 4, 3), dtype=np.uint8)  # could be moved again
    np.save(tmp_path / "x.npy", np.moveaxis(x, 1, -1)[:, :3, :3])
    source = load(tmp_path / "x.npy")
    joined = source.joined(source, "test")
    assert np.array_equal(joined.x, np.concatenate([source.x, source.x]))
    assert joined.channels_last == source.channels_last


def test_pixels_have_names_that_a_person_can_find():
    assert describe(np.zeros((1, 3, 4, 5), np.uint8)).column(27) == "pixel (1, 2), channel 1"


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
