"""What people bring: folders of images, arrays in colour, parquet, several files, test files of their own."""

from pathlib import Path

import numpy as np
import polars
import pytest
from lanes import but_few_slow
from PIL import Image

from vaekit.cli.common import training_source
from vaekit.cli.images import write_images
from vaekit.data import load, readers, tiff
from vaekit.errors import VaekitError
from vaekit.runs import Run

from .test_bad_input import assert_refused
from .test_commands import assert_picture, same, strict, tensors

SMALL = ("--latent-dim", 2, "--hidden", "8", "--network", "mlp", "--epochs", 2, "--device", "cpu")


def paint(folder: Path, n: int, size: tuple[int, int] = (6, 8), colour: bool = True, seed: int = 0) -> Path:
    """n smooth images of one or another colour, in two subfolders."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        ramp = np.linspace(0, 255, size[0] * size[1]).reshape(size)[..., None] * rng.random(3 if colour else 1)
        pixels = ramp.round().astype(np.uint8)
        path = folder / ("warm" if i % 2 else "cold") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if colour else pixels[..., 0]).save(path)
    return folder


def write_parts(folder: Path, n: int, files: int) -> tuple[list[Path], np.ndarray]:
    """The rows of one table, and the same in several files."""
    x = np.random.default_rng(0).normal(size=(n, 2)).round(4)
    paths = []
    for i, part in enumerate(np.array_split(x, files)):
        paths.append(folder / f"part{i}.csv")
        polars.DataFrame(part, schema=["a", "b"], orient="row").write_csv(paths[-1])
    return paths, x


@pytest.fixture(scope="module")
def pictures_run(vaekit, tmp_path_factory) -> Path:
    """A finished run on a folder of colour images scaled to 4×6; the folder beside it. Only to be read."""
    home = tmp_path_factory.mktemp("pictures")
    paint(home / "images", 60)
    result = vaekit("fit", home / "images", "--out", home / "run", *SMALL, "--resize", "4x6")
    assert result.code == 0, result.err
    return home / "run"


# Folders of images


def test_a_folder_of_images_is_fitted(vaekit, pictures_run):
    run = Run.open(pictures_run)
    assert run.schema.shape == (3, 4, 6)
    assert (run.schema.channels, run.schema.kind, run.schema.low, run.schema.high) == (3, "integer", 0.0, 255.0)
    assert run.settings.model.likelihood == "colour-logistic"
    assert run.settings.data.resize == "4x6"
    assert strict(vaekit("evaluate", pictures_run, "--samples", 2, "--json").out)["bits_per_dim"] > 0
    for name in ("samples", "reconstructions"):
        assert_picture(pictures_run / "pictures" / f"{name}.png")
        with Image.open(pictures_run / "pictures" / f"{name}.png") as picture:
            assert picture.mode == "RGB"


@pytest.mark.slow
def test_the_run_s_size_is_applied_to_other_images(vaekit, pictures_run, tmp_path):
    other = paint(tmp_path / "other", 6, (10, 9), seed=1)
    one = other / "warm" / "001.png"
    assert strict(vaekit("evaluate", pictures_run, other, "--samples", 2, "--json").out)["n"] == 6
    assert strict(vaekit("evaluate", pictures_run, one, "--samples", 2, "--json").out)["n"] == 1
    assert vaekit("encode", pictures_run, other, "-o", tmp_path / "z.csv").code == 0
    assert polars.read_csv(tmp_path / "z.csv")["label"].to_list() == ["cold"] * 3 + ["warm"] * 3
    assert vaekit("reconstruct", pictures_run, one, "-o", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (1, 4, 6, 3)  # as pictures lie in arrays elsewhere
    assert vaekit("reconstruct", pictures_run, other, "-o", tmp_path / "x.png").code == 0
    assert_picture(tmp_path / "x.png")


def test_grey_images_are_given_to_a_model_of_colour_as_colour(vaekit, pictures_run, tmp_path):
    grey = paint(tmp_path / "grey", 2, colour=False)
    assert vaekit("evaluate", pictures_run, grey, "--samples", 2).code == 0


def test_grey_images_are_one_channel(vaekit, tmp_path):
    folder = paint(tmp_path / "grey", 30, colour=False)
    assert vaekit("fit", folder, "--out", tmp_path / "run", *SMALL).code == 0
    assert Run.open(tmp_path / "run").schema.shape == (6, 8)
    colour = paint(tmp_path / "colour", 2)
    assert_refused(vaekit("evaluate", tmp_path / "run", colour), "colour", "(3, 6, 8)", "(6, 8)")
    assert vaekit("sample", tmp_path / "run", "-n", 3, "-o", tmp_path / "x.npy").code == 0
    assert np.load(tmp_path / "x.npy").shape == (3, 6, 8)


def test_the_picture_shows_the_colours(vaekit, pictures_run, tmp_path):
    assert (
        vaekit("reconstruct", pictures_run, pictures_run.parent / "images", "-n", 2, "-o", tmp_path / "x.png").code == 0
    )
    original = load(pictures_run.parent / "images", resize="4x6").x[[0, 30]]  # one of each folder
    with Image.open(tmp_path / "x.png") as picture:
        page = np.asarray(picture)
    zoom = 56 // 6
    for i in range(2):
        top = 2 + i * (4 * zoom + 2)
        assert np.array_equal(
            page[top : top + 4 * zoom : zoom, 2 : 2 + 6 * zoom : zoom], np.moveaxis(original[i], 0, -1)
        )


def test_images_of_two_sizes_are_refused_before_anything_is_written(vaekit, tmp_path):
    paint(tmp_path / "x", 3)
    paint(tmp_path / "x" / "more", 2, (9, 9))
    assert_refused(vaekit("fit", tmp_path / "x", "--out", tmp_path / "run"), "6x8", "9x9", "--resize")
    assert_refused(vaekit("fit", tmp_path / "x", "--out", tmp_path / "run", "--resize", "big"), "big", "HEIGHTxWIDTH")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_folders_of_ones_own_to_validate_and_to_test(vaekit, tmp_path):
    paint(tmp_path / "train", 30)
    paint(tmp_path / "validation", 4, (12, 16), seed=1)
    paint(tmp_path / "test", 5, colour=False, seed=2)  # becomes RGB, as the others are
    own = ("--validation", tmp_path / "validation", "--test", tmp_path / "test")
    result = vaekit("fit", tmp_path / "train", "--out", tmp_path / "run", *SMALL, "--resize", "4", *own)
    assert result.code == 0, result.err
    run = Run.open(tmp_path / "run")
    assert [run.data[part] for part in ("train", "validation", "test")] == [30, 4, 5]
    assert strict(vaekit("evaluate", run.folder, "--samples", 2, "--json").out)["n"] == 5
    assert vaekit("resume", run.folder, "--epochs", 3).code == 0


# Arrays of images


@pytest.mark.parametrize(
    "shape", but_few_slow([(3, 6, 8), (6, 8, 1), (6, 8, 3), (1, 6, 8), (6, 8, 4), (2, 6, 8), (8, 9, 6)], quick=2)
)
def test_arrays_are_given_back_in_the_layout_in_which_they_came(vaekit, tmp_path, shape):
    x = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    run = tmp_path / "run"
    assert vaekit("fit", tmp_path / "x.npy", "--out", run, *SMALL).code == 0
    assert vaekit("sample", run, "-n", 3, "-o", tmp_path / "s.npy").code == 0
    assert np.load(tmp_path / "s.npy").shape == (3, *shape)
    for m, many in ((1, ()), (2, (2,))):
        command = ("reconstruct", run, tmp_path / "x.npy", "-n", 5, "--samples", m, "-o", tmp_path / "r.npy")
        assert vaekit(*command).code == 0
        assert np.load(tmp_path / "r.npy").shape == (*many, 5, *shape)
    assert vaekit("sample", run, "-n", 3, "-o", tmp_path / "s.png").code == 0
    assert_picture(tmp_path / "s.png")
    assert vaekit("sample", run, "-n", 3, "-o", tmp_path / "s.csv").code == 0
    assert polars.read_csv(tmp_path / "s.csv").shape == (3, np.prod(shape))


@pytest.mark.slow
def test_the_kind_is_shown_and_can_be_stated(vaekit, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 20, 3)) * [1, 1e-3, 1e3]
    np.save(tmp_path / "x.npy", x)
    for kind, word in (
        (None, "sequences of 20×3 (no images: a side of fewer than 8"),
        ("image", "images of 20×3 (as stated"),
    ):
        run = tmp_path / str(kind)
        result = vaekit("fit", tmp_path / "x.npy", "--out", run, *SMALL, *(("--kind", kind) if kind else ()))
        assert result.code == 0, result.err
        assert word in result.out.splitlines()[0]
        assert Run.open(run).schema.layout == Run.open(run).settings.data.kind == (kind or "sequence")
        assert vaekit("resume", run, "--epochs", 3).code == 0
        assert vaekit("evaluate", run, tmp_path / "x.npy", "--samples", 2).code == 0
        assert vaekit("sample", run, "-n", 3, "-o", tmp_path / "s.npy").code == 0
        assert np.load(tmp_path / "s.npy").shape == (3, 20, 3)
    assert_refused(vaekit("sample", tmp_path / "None", "-n", 3, "-o", tmp_path / "s.png"), "no images", ".npy")
    np.save(tmp_path / "flat.npy", x.reshape(60, -1))
    assert_refused(vaekit("fit", tmp_path / "flat.npy", "--kind", "image", "--out", tmp_path / "n"), "(60,)", "height")
    assert_refused(vaekit("fit", tmp_path / "x.npy", "--kind", "picture", "--out", tmp_path / "n"), "'picture'")
    refused = vaekit("fit", tmp_path / "x.npy", *SMALL[:4], "--network", "conv", "--out", tmp_path / "n")
    assert_refused(refused, "sequence", "kind image")


@pytest.mark.slow
def test_the_science_s_images_go_through_and_come_back_as_they_were(vaekit, tmp_path):
    """16 bits, many pages a file."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        first, *others = (Image.fromarray(page) for page in rng.integers(200, 4000, (20, 9, 8)).astype(np.uint16))
        (tmp_path / "x" / name).mkdir(parents=True)
        first.save(tmp_path / "x" / name / "film.tif", save_all=True, append_images=others)
    run = tmp_path / "run"
    result = vaekit("fit", tmp_path / "x", "--out", run, *SMALL)
    assert result.code == 0, result.err
    assert Run.open(run).schema.dtype == "uint16"
    assert_picture(run / "pictures" / "samples.png")
    assert vaekit("sample", run, "-n", 7, "-o", tmp_path / "s.tif").code == 0
    assert vaekit("reconstruct", run, tmp_path / "x", "-n", 5, "--samples", 2, "-o", tmp_path / "r.tif").code == 0
    for name, count in (("s", 7), ("r", 10)):
        again = load(tmp_path / f"{name}.tif").x
        assert (again.shape, again.dtype) == ((count, 9, 8), np.uint16)
    assert vaekit("sample", run, "-n", 7, "-o", tmp_path / "s.png").code == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.mode == "I;16"
    assert vaekit("evaluate", run, tmp_path / "s.tif", "--samples", 2).code == 0


@pytest.mark.slow
def test_what_was_done_to_the_images_is_said(vaekit, tmp_path):
    for i in range(30):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 4)).astype(np.uint8)
        (tmp_path / "x").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "x" / f"{i}.png")
    result = vaekit("fit", tmp_path / "x", "--out", tmp_path / "run", *SMALL)
    assert "note: 30 images are see-through in places: laid on white." in result.out


@pytest.mark.slow
def test_channels_that_are_no_colours_are_shown(vaekit, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 9, 8, 5)))
    run = tmp_path / "run"
    assert vaekit("fit", tmp_path / "x.npy", "--out", run, *SMALL).code == 0
    assert_picture(run / "pictures" / "reconstructions.png")
    said = vaekit("sample", run, "-n", 4, "-o", tmp_path / "s.png").out
    assert "channels 0, 1 and 2 shown as red, green and blue" in said
    assert_picture(tmp_path / "s.png")
    assert vaekit("reconstruct", run, tmp_path / "x.npy", "-n", 4, "-o", tmp_path / "s.tif").code == 0
    scored = vaekit("score", run, tmp_path / "s.tif", "--samples", 2, "-o", tmp_path / "s.csv")
    assert scored.code == 0, scored.err


@pytest.mark.parametrize(("channels", "kind"), [(2, "uint8"), (3, "uint16"), (4, "uint8"), (5, "float32")])
def test_a_tiff_of_any_channels_comes_back_as_it_was_written(tmp_path, channels, kind):
    x = (200 * np.random.default_rng(1).random((6, 9, 8, channels))).astype(kind)
    np.save(tmp_path / "x.npy", x)
    schema = load(tmp_path / "x.npy", kind="image").describe(np.arange(6))
    write_images(tmp_path / "x.tif", np.moveaxis(x, -1, 1).astype(np.float32), schema)
    again = np.asarray(load(tmp_path / "x.tif").x)
    assert again.dtype == kind
    assert np.array_equal(again, np.moveaxis(x, -1, 1))


def test_without_tifffile_channels_are_refused_with_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "readable", lambda: False)
    x = np.random.default_rng(1).random((6, 9, 8, 5))
    np.save(tmp_path / "x.npy", x)
    schema = load(tmp_path / "x.npy", kind="image").describe(np.arange(6))
    with pytest.raises(VaekitError, match=r"5 channels of float32 takes tifffile: pip install tifffile .*write \.npy"):
        write_images(tmp_path / "x.tif", np.moveaxis(x, -1, 1), schema)


# Tables


@pytest.mark.slow
def test_parquet_in_and_out(vaekit, table, tmp_path):
    polars.read_csv(table).write_parquet(tmp_path / "table.parquet")
    options = ("--exclude", "id", "--label", "kind", *SMALL)
    for name in ("table.parquet", "table.csv"):
        assert vaekit("fit", tmp_path / name, "--out", tmp_path / f"{name}.run", *options).code == 0
    one, other = (Run.open(tmp_path / f"table.{ending}.run") for ending in ("parquet", "csv"))
    assert one.data["digest"] == other.data["digest"]
    assert same(tensors(one.folder), tensors(other.folder))
    assert vaekit("encode", other.folder, tmp_path / "table.parquet", "-o", tmp_path / "z.parquet").code == 0
    assert polars.read_parquet(tmp_path / "z.parquet").columns == ["row", "kind", "z0", "z1"]


def write_strange(path: Path, rows: int = 40, seed: int = 0) -> Path:
    """A table with a name for each row, a class, text, and columns whose names hold blanks and commas."""
    x = np.random.default_rng(seed).normal(size=(rows, 2)).round(4)
    lines = [f'00{i},{a},{"even" if i % 2 == 0 else "odd"},"{b}",note,{a}' for i, (a, b) in enumerate(x.tolist())]
    path.write_text("\n".join(['code,first length,class,"width, mm",remark,-x', *lines]) + "\n")
    return path


STRANGE = ("--keep", "code", "--label", "class", "--exclude", "remark", "--exclude=-x", *SMALL)


@pytest.fixture(scope="module")
def strange_run(vaekit, tmp_path_factory) -> Path:
    """A finished run on such a table; strange.csv beside it. Only to be read."""
    path = write_strange(tmp_path_factory.mktemp("strange") / "strange.csv")
    result = vaekit("fit", path, "--out", path.parent / "run", *STRANGE, "--test", 0.25)
    assert result.code == 0, result.err
    return path.parent / "run"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("command", ["encode", "score", "reconstruct"])
def test_results_can_be_joined_back(vaekit, strange_run, tmp_path, command, ending):
    table = polars.read_csv(strange_run.parent / "strange.csv", infer_schema=False).with_row_index("row")
    read = polars.read_csv if ending == "csv" else polars.read_parquet
    options = {"infer_schema": False} if ending == "csv" else {}
    for data, keep in (("strange.csv", ()), ("strange.csv", ("--keep", "remark")), (None, ())):
        places = [strange_run.parent / data] if data else []
        result = vaekit(command, strange_run, *places, "-o", tmp_path / f"x.{ending}", *keep)
        if command == "encode" and data is None:
            assert result.code == 2
            continue
        assert result.code == 0, result.err
        found = read(tmp_path / f"x.{ending}", **options)
        kept = ["code", *keep[1:], "class"]
        assert found.columns[: len(kept) + 1] == ["row", *kept]
        assert len(found) == (40 if data else 10)
        rows = found["row"].cast(polars.Int64)
        assert found.select(kept).rows() == table[rows].select(kept).rows()


def test_a_test_file_s_rows_are_numbered_in_that_file(vaekit, tmp_path):
    table, held = write_strange(tmp_path / "x.csv"), write_strange(tmp_path / "held.csv", 7, 1)
    assert vaekit("fit", table, "--out", tmp_path / "run", *STRANGE, "--test", held).code == 0
    assert vaekit("score", tmp_path / "run", "-o", tmp_path / "s.csv").code == 0
    found = polars.read_csv(tmp_path / "s.csv", infer_schema=False)
    assert found["row"].to_list() == list("0123456")
    assert found["code"].to_list() == [f"00{i}" for i in range(7)]


def test_images_are_named_by_their_files(vaekit, pictures_run, tmp_path):
    other = paint(tmp_path / "other", 4, seed=1)
    assert vaekit("encode", pictures_run, other, "-o", tmp_path / "z.csv").code == 0
    frame = polars.read_csv(tmp_path / "z.csv")
    assert frame.columns[:3] == ["row", "file", "label"]
    assert frame["file"].to_list() == ["cold/000.png", "cold/002.png", "warm/001.png", "warm/003.png"]
    files = [other / name for name in frame["file"]]
    assert vaekit("encode", pictures_run, *files, "-o", tmp_path / "each.csv").code == 0
    each = polars.read_csv(tmp_path / "each.csv")
    assert each["file"].to_list() == [str(file) for file in files]
    assert np.allclose(each.select("z0", "z1").to_numpy(), frame.select("z0", "z1").to_numpy(), atol=1e-5)


def test_a_picture_shows_rows_of_all_classes(vaekit, tmp_path):
    for i, kind in enumerate(("black", "grey", "white")):
        for j in range(12):
            (tmp_path / "x" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 100 * i + j).save(tmp_path / "x" / kind / f"{j:02d}.png")
    assert vaekit("fit", tmp_path / "x", "--out", tmp_path / "run", *SMALL).code == 0
    for labelled in (True, False):
        path = tmp_path / ("x" if labelled else "x.npy")
        if not labelled:
            np.save(path, load(tmp_path / "x").x)
        assert vaekit("reconstruct", tmp_path / "run", path, "-n", 3, "-o", tmp_path / "x.png").code == 0
        with Image.open(tmp_path / "x.png") as picture:
            shown = np.asarray(picture)[10::58, 10]
        assert [int(level) // 81 for level in shown] == [0, 1, 2]


COMMANDS = {
    "evaluate": (),
    "encode": ("-o", "out.csv"),
    "score": ("-o", "out.csv"),
    "reconstruct": ("-o", "out.csv"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_columns_are_left_out_wherever_an_error_says_so(vaekit, tmp_path, monkeypatch, command):
    """A run on an array, and a table with a column of text too many."""
    monkeypatch.chdir(tmp_path)
    table = write_strange(tmp_path / "x.csv")
    x = load(table, exclude=("code", "class", "remark", "-x")).x
    np.save("x.npy", x)
    assert vaekit("fit", "x.npy", "--out", "run", *SMALL).code == 0
    refused = vaekit(command, "run", table, *COMMANDS[command])
    assert_refused(refused, "(6,)", "'class'", "--exclude")
    options = ("--exclude", "code", "--exclude", "class,remark", "--exclude=-x")
    assert vaekit(command, "run", table, *COMMANDS[command], *options).code == 0


def test_notes_are_printed_by_fit_and_on_stderr_by_others(vaekit, tmp_path):
    rows = "".join(f"{i},{i % 7}.5,{i % 5}\n" for i in range(30))
    (tmp_path / "x.csv").write_text(",a,b\n" + rows)
    (tmp_path / "y.csv").write_text("c,a,b\n" + rows)
    assert "note: '' left out" in vaekit("fit", tmp_path / "x.csv", "--out", tmp_path / "run", *SMALL).out
    scored = vaekit("score", tmp_path / "run", tmp_path / "y.csv", "-o", tmp_path / "s.csv")
    assert scored.code == 0
    assert scored.err.splitlines()[0] == "note: y.csv: 'c' left out: the model was fitted without."


# Several files


@pytest.mark.slow
def test_several_files_are_one_data_set(vaekit, tmp_path):
    paths, x = write_parts(tmp_path, 60, 3)
    polars.DataFrame(x, schema=["a", "b"], orient="row").write_csv(tmp_path / "whole.csv")
    for name, files in (("parts", paths), ("whole", [tmp_path / "whole.csv"])):
        assert vaekit("fit", *files, "--out", tmp_path / name, *SMALL).code == 0
    parts, whole = Run.open(tmp_path / "parts"), Run.open(tmp_path / "whole")
    assert parts.data["digest"] == whole.data["digest"]
    assert same(tensors(parts.folder), tensors(whole.folder))
    assert list(parts.settings.data.source) == [str(path) for path in paths]
    assert whole.settings.data.source == str(tmp_path / "whole.csv")
    assert np.array_equal(training_source(parts.settings).x, x)
    assert vaekit("evaluate", parts.folder, "--samples", 2).code == 0
    assert vaekit("resume", parts.folder, "--epochs", 3).code == 0
    again = vaekit("fit", "--config", parts.folder / "run.toml", "--out", tmp_path / "again")
    assert again.code == 0, again.err


def test_several_files_without_out_are_named_after_the_first(vaekit, tmp_path, monkeypatch):
    paths, _ = write_parts(tmp_path, 40, 2)
    monkeypatch.chdir(tmp_path)
    assert vaekit("fit", *(path.name for path in paths), *SMALL).code == 0
    assert Run.open(tmp_path / "runs" / "part0").data["name"] == "part0.csv and 1 more"


def test_files_that_do_not_go_together_are_named(vaekit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("a,b\n1,2\n")
    Path("b.csv").write_text("a,c\n1,2\n")
    np.save("bytes.npy", np.zeros((3, 2), np.uint8))
    np.save("reals.npy", np.zeros((3, 2)))
    paint(Path("images"), 2)
    assert_refused(vaekit("fit", "a.csv", "b.csv"), "a.csv", "b.csv", "same columns")
    assert_refused(vaekit("fit", "bytes.npy", "reals.npy"), "bytes.npy", "reals.npy", "uint8", "float64")
    assert_refused(vaekit("fit", "a.csv", "reals.npy"), "a.csv", "reals.npy")
    assert_refused(vaekit("fit", "images", "reals.npy"), "images", "reals.npy")
    assert_refused(vaekit("fit", "digits", "a.csv"), "'digits'")
    assert_refused(vaekit("fit", "a.csv", "nofile.csv"), "nofile.csv")
    assert not Path("runs").exists()


# A test file of one's own


def test_a_test_file_of_ones_own(vaekit, table, tmp_path):
    lines = table.read_text().splitlines()
    (tmp_path / "held.csv").write_text("\n".join([lines[0], *lines[1:13]]) + "\n")
    options = ("--exclude", "id,kind", *SMALL, "--validation", 0, "--test", tmp_path / "held.csv")
    assert vaekit("fit", table, "--out", tmp_path / "run", *options).code == 0
    run = Run.open(tmp_path / "run")
    assert [run.data[part] for part in ("train", "validation", "test")] == [80, 0, 12]
    mine = strict(vaekit("evaluate", run.folder, "--samples", 3, "--json").out)
    again = strict(vaekit("evaluate", run.folder, tmp_path / "held.csv", "--samples", 3, "--json").out)
    assert mine["n"] == 12
    assert mine == again | {"data": mine["data"]}
    result = vaekit("fit", "--config", run.folder / "run.toml", "--out", tmp_path / "other", "--test", 0.25)
    assert result.code == 0, result.err
    assert Run.open(tmp_path / "other").data["test"] == 20
    refused = vaekit("fit", tmp_path / "held.csv", "--exclude", "id,kind", "--test", tmp_path / "nofile.csv")
    assert_refused(refused, "nofile.csv")


# Mapped files


@pytest.mark.slow
def test_a_file_larger_than_memory_is_a_file_like_any_other(vaekit, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (80, 5, 6, 3), dtype=np.uint8))
    for name, limit in (("memory", 2**30), ("mapped", 100)):
        monkeypatch.setattr(readers, "MAPPED", limit)
        assert isinstance(load(tmp_path / "x.npy").x, np.memmap) is (name == "mapped")
        assert vaekit("fit", tmp_path / "x.npy", "--out", tmp_path / name, *SMALL).code == 0
        assert vaekit("reconstruct", tmp_path / name, "-n", 3, "-o", tmp_path / f"{name}.npy").code == 0
    assert same(tensors(tmp_path / "memory"), tensors(tmp_path / "mapped"))
    assert np.array_equal(np.load(tmp_path / "memory.npy"), np.load(tmp_path / "mapped.npy"))
    memory, mapped = (
        strict(vaekit("evaluate", tmp_path / name, "--samples", 2, "--json").out) for name in ("memory", "mapped")
    )
    assert memory == mapped | {"run": memory["run"]}
