"""A table as people have it, from its file to what is made of it: levels, dates, amounts, counts, holes."""

import datetime
import json

import numpy as np
import polars
import pytest

from vaekit.data.readers import with_other_rows
from vaekit.errors import VaekitError

STATED = "grade=ordinal:low<mid<high,visits=count"
LEARNED = ["age", "sex", "region", "price", "visits", "grade", "day", "height", "country"]


def people(rows: int, seed: int = 0) -> polars.DataFrame:
    """Columns of every kind that go together by one factor; a tenth of the cells is missing."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=rows)
    near = lambda: factor + rng.normal(size=rows)  # noqa: E731
    start = datetime.date(2020, 1, 1)
    columns = {
        "age": np.clip(45 + 10 * near(), 18, 90).round().astype(int).tolist(),
        "sex": np.where(near() > 0, "f", "m").tolist(),
        "region": np.array(["east", "north", "west"])[np.digitize(near(), [-1, 1])].tolist(),
        "price": np.where(near() > 0, np.exp(3 + 0.3 * factor).round(2), 0.0).tolist(),
        "visits": rng.poisson(np.exp(0.5 * factor)).tolist(),
        "grade": np.array(["low", "mid", "high"])[np.digitize(near(), [-1, 1])].tolist(),
        "day": [start + datetime.timedelta(days=int(days)) for days in np.clip(500 + 200 * near(), 0, 1000)],
        "height": (170 + 8 * near()).round(1).tolist(),
    }
    for values in columns.values():
        for row in np.flatnonzero(rng.random(rows) < 0.1):
            values[row] = None
    names = [f"P-{row:04d}" for row in range(rows)]
    return polars.DataFrame({"id": names, **columns, "country": ["DE"] * rows, "nothing": [None] * rows})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """(the frame, its file)"""
    frame = people(300)
    path = tmp_path_factory.mktemp("people") / "people.csv"
    frame.write_csv(path)
    return frame, path


@pytest.fixture(scope="module")
def run(vaekit, table):
    """A finished run on the table, and what was said of it. Only to be read."""
    _, path = table
    options = ("--columns", STATED, "--epochs", 3, "--hidden", "8", "--latent-dim", 2)
    result = vaekit("fit", path, "--out", path.parent / "run", *options)
    assert result.code == 0, result.err
    return path.parent / "run", result.out


@pytest.mark.slow
def test_fit_says_what_each_column_is(run):
    _, said = run
    words = {words[0]: words[1] for line in said.splitlines() if len(words := line.split()) > 2}
    kinds = {name: words[name] for name in LEARNED}
    assert kinds == {
        "age": "integer", "sex": "binary", "region": "category", "price": "amount", "visits": "count",
        "grade": "ordinal", "day": "integer", "height": "real", "country": "category",
    }  # fmt: skip
    assert "'id' left out" in said
    assert "'nothing' left out" in said
    assert "missing" in said
    reasons = {words[0]: line.partition("(")[2] for line in said.splitlines() if (words := line.split())}
    assert reasons["grade"] == reasons["visits"] == "as stated)"
    assert reasons["price"] == "often 0, else positive)"
    assert reasons["day"] == "dates, year first)" or reasons["day"] == "dates)"
    assert reasons["region"] == "text of 3 levels)"


@pytest.mark.slow
def test_what_is_drawn_is_written_as_the_data_was(vaekit, run, tmp_path):
    assert vaekit("sample", run[0], "-n", 40, "-o", tmp_path / "new.csv").code == 0
    drawn = polars.read_csv(tmp_path / "new.csv", try_parse_dates=True)
    assert drawn.columns == LEARNED
    assert drawn["age"].dtype == drawn["visits"].dtype == polars.Int64
    assert drawn["day"].dtype == polars.Date
    assert set(drawn["region"]) <= {"east", "north", "west"}
    assert set(drawn["grade"]) <= {"low", "mid", "high"}
    assert set(drawn["country"]) == {"DE"}
    assert drawn["price"].min() >= 0
    assert (drawn["price"] == 0).any()
    assert not drawn.null_count().sum_horizontal().item()


@pytest.mark.slow
def test_holes_are_filled_and_nothing_else_is_changed(vaekit, run, table, tmp_path):
    frame, path = table
    done = vaekit("impute", run[0], path, "-o", tmp_path / "filled.csv", "--keep", "id", "--samples", 100, "--json")
    assert done.code == 0, done.err
    filled = polars.read_csv(tmp_path / "filled.csv", try_parse_dates=True)
    assert filled.columns == ["row", *frame.columns]
    assert filled["id"].to_list() == frame["id"].to_list()
    holes = 0
    for name in LEARNED:
        there = frame[name].is_not_null()
        holes += frame[name].null_count()
        assert filled[name].filter(there).to_list() == frame[name].filter(there).to_list(), name
        assert not filled[name].null_count()
    assert json.loads(done.out)["filled"] == holes


@pytest.mark.slow
@pytest.mark.parametrize("command", ["impute", "score", "encode", "reconstruct"])
def test_what_is_read_is_never_written_over(vaekit, run, table, command):
    _, path = table
    before = path.read_bytes()
    refused = vaekit(command, run[0], path, "-o", path)
    assert refused.code == 2
    assert "choose another -o" in refused.err
    assert vaekit("sample", run[0], "-o", path).code == 2
    assert path.read_bytes() == before


@pytest.mark.slow
def test_draws_of_holes_differ_where_there_are_holes(vaekit, run, table, tmp_path):
    frame, path = table
    options = ("--draws", 5, "--samples", 100)
    assert vaekit("impute", run[0], path, "-o", tmp_path / "drawn.csv", *options).code == 0
    drawn = polars.read_csv(tmp_path / "drawn.csv")
    assert len(drawn) == 5 * len(frame)
    values = drawn["height"].to_numpy().reshape(len(frame), 5)
    missing = frame["height"].is_null().to_numpy()
    assert (values.std(1) > 0).tolist() == missing.tolist()


@pytest.mark.slow
def test_levels_that_were_never_seen_are_refused_or_missing(vaekit, run, table, tmp_path):
    frame, _ = table
    frame[:30].with_columns(region=polars.lit("mars")).write_csv(tmp_path / "mars.csv")
    refused = vaekit("score", run[0], tmp_path / "mars.csv", "-o", tmp_path / "x.csv")
    assert refused.code == 2
    assert "'mars' (30)" in refused.err
    assert "--unseen=missing" in refused.err
    scored = vaekit("score", run[0], tmp_path / "mars.csv", "-o", tmp_path / "x.csv", "--unseen", "missing")
    assert scored.code == 0, scored.err
    frame[:30].with_columns(region=polars.lit(None)).write_csv(tmp_path / "hole.csv")
    assert vaekit("score", run[0], tmp_path / "hole.csv", "-o", tmp_path / "y.csv").code == 0
    assert polars.read_csv(tmp_path / "x.csv")["log_p"].equals(polars.read_csv(tmp_path / "y.csv")["log_p"])
    assert (
        "mising" in vaekit("score", run[0], tmp_path / "hole.csv", "-o", tmp_path / "y.csv", "--unseen", "mising").err
    )


@pytest.mark.slow
def test_columns_in_any_order_have_the_same_scores(vaekit, run, table, tmp_path):
    frame, _ = table
    frame[:20].write_csv(tmp_path / "a.csv")
    frame[:20].select(reversed(frame.columns)).write_csv(tmp_path / "b.csv")
    for name in "ab":
        scored = vaekit("score", run[0], tmp_path / f"{name}.csv", "-o", tmp_path / f"{name}-scores.csv")
        assert scored.code == 0, scored.err
    first, second = (polars.read_csv(tmp_path / f"{name}-scores.csv") for name in "ab")
    assert first.equals(second)


@pytest.mark.slow
def test_evaluation_says_what_part_is_observed(vaekit, run):
    result = json.loads(vaekit("evaluate", run[0], "--samples", 20, "--json").out)
    assert 0.8 < result["observed"] < 0.98
    names = [one["name"] for one in result["baselines"]]
    assert names == [
        "independent columns", "factor analysis", "full-covariance Gaussian", "mixture of independent columns"
    ]  # fmt: skip


@pytest.mark.slow
def test_text_in_a_column_of_numbers_is_never_a_code(vaekit, tmp_path):
    rng = np.random.default_rng(0)
    polars.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40)}).write_csv(tmp_path / "x.csv")
    fitted = vaekit("fit", tmp_path / "x.csv", "--out", tmp_path / "run", "--epochs", 1, "--hidden", "none")
    assert fitted.code == 0, fitted.err
    (tmp_path / "y.csv").write_text("a,b\n1,red\n2,blue\n")
    refused = vaekit("score", tmp_path / "run", tmp_path / "y.csv", "-o", tmp_path / "z.csv")
    assert refused.code == 2
    assert "'red'" in refused.err


GERMAN = "Kunde;Betrag, netto;Größe;Besuche;seit;um;leer;Art;Rest\n"


def german(rows: int) -> str:
    """A table as a German spreadsheet writes it: semicolons, decimal commas, the day first; an eighth is missing."""
    rng = np.random.default_rng(3)
    factor = rng.normal(size=rows)
    lines = []
    for row in range(rows):
        f = factor[row] + 0.3 * rng.normal(size=5)
        day = datetime.date(1990, 1, 1) + datetime.timedelta(days=int(4000 + 900 * f[3]))
        art = ["gut", "mäßig", "schlecht"][int(np.clip(f[4] + 1.5, 0, 2))]
        cells = [f"{np.exp(3 + f[0]):.2f}".replace(".", ","), f"{170 + 8 * f[1]:.1f}".replace(".", ",")]
        cells += [str(int(5 + 2 * abs(f[2]))), f"{day:%d.%m.%Y}", f"{row % 24:02}:{7 * row % 60:02}"]
        cells = [cell if rng.random() > 0.12 else "" for cell in cells]
        lines.append(";".join([f"K{row:04d}", *cells, "", art, f"{row % 7}"]))
    return GERMAN + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def german_run(vaekit, tmp_path_factory):
    """(run, its file). Only to be read."""
    path = tmp_path_factory.mktemp("german") / "kunden.csv"
    path.write_text(german(150))
    options = ("--exclude", "Rest", "--epochs", 2, "--hidden", "8", "--latent-dim", 2)
    done = vaekit("fit", path, "--out", path.parent / "run", *options)
    assert done.code == 0, done.err
    return path.parent / "run", path


def test_an_archive_comes_back_with_its_rows_filled_and_the_rest_as_it_was(vaekit, tmp_path):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    holes = rng.random(x.shape) < 0.2
    rest = {"y": rng.integers(0, 4, 60), "where": np.array(["a", "b"]), "weight": rng.random(7)}
    path = tmp_path / "holes.npz"
    np.savez_compressed(path, x=np.where(holes, np.nan, x), **rest)
    fit = ("--epochs", 1, "--hidden", "none", "--latent-dim", 1)
    assert vaekit("fit", path, "--out", tmp_path / "run", *fit).code == 0
    impute = ("impute", tmp_path / "run", path, "--samples", 20)
    done = vaekit(*impute, "-o", tmp_path / "filled.npz")
    assert done.code == 0, done.err
    with np.load(tmp_path / "filled.npz") as found:
        assert found.files == ["x", *rest]
        assert found["x"].dtype == np.float32
        assert np.array_equal(found["x"][~holes], x[~holes])
        assert np.isfinite(found["x"]).all()
        for name, array in rest.items():
            assert np.array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    refused = vaekit(*impute, "--draws", 3, "-o", tmp_path / "drawn.npz")
    assert (refused.code, "--draws asks for 3: end it in .npy" in refused.err) == (2, True)
    assert vaekit(*impute, "--draws", 3, "-o", tmp_path / "drawn.npy").code == 0
    np.save(tmp_path / "x.npy", x)
    refused = vaekit("impute", tmp_path / "run", tmp_path / "x.npy", "-o", tmp_path / "other.npz")
    assert (refused.code, "is no single .npz: give a name that ends in .npy" in refused.err) == (2, True)


@pytest.mark.parametrize("shape", [(12, 2), (3, 4), (2, 2, 3), (20, 3)])
def test_a_fit_of_sequences_says_what_their_columns_are(vaekit, tmp_path, shape):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(60, *shape))
    x[..., -1] = rng.random(x[..., -1].shape) < 0.5
    np.save(tmp_path / "x.npy", x)
    fit = ("--kind", "sequence", "--epochs", 1, "--hidden", "4", "--latent-dim", 1)
    done = vaekit("fit", tmp_path / "x.npy", "--out", tmp_path / "run", *fit)
    assert done.code == 0, done.err
    last = str(tuple(side - 1 for side in shape))
    if x[0].size <= 24:
        assert f"cell {last}" in done.out
        low, high = x[:, *(0,) * len(shape)].min(), x[:, *(0,) * len(shape)].max()
        assert f"{low:g} … {high:g}" in done.out
    else:
        assert f"{x[0].size // 3} binary" in done.out


@pytest.mark.parametrize("given", [("3",), ("0", "2"), ("label", "1")])
def test_an_archive_filled_by_a_run_with_conditions_keeps_all_its_columns(vaekit, tmp_path, given):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(80, 4))
    holes = rng.random(x.shape) < 0.2
    places = [int(name) for name in given if name != "label"]
    holes[:, places] = False
    path = tmp_path / "d.npz"
    np.savez(path, x=np.where(holes, np.nan, x), y=rng.integers(0, 2, 80))
    conditions = [word for name in given for word in ("--condition", name)]
    fit = ("--epochs", 1, "--hidden", "none", "--latent-dim", 1)
    done = vaekit("fit", path, *conditions, "--out", tmp_path / "run", *fit)
    assert done.code == 0, done.err
    done = vaekit("impute", tmp_path / "run", path, "--samples", 20, "-o", tmp_path / "filled.npz")
    assert done.code == 0, done.err
    with np.load(tmp_path / "filled.npz") as found:
        assert found["x"].shape == (80, 4)
        assert np.array_equal(found["x"][~holes], x[~holes])
        assert np.isfinite(found["x"]).all()
    with pytest.raises(VaekitError, match=r"has \(80, 4\) to be filled, and the rows found are \(80, 3\)"):
        with_other_rows(path, x[:, :3])


def test_only_the_data_s_own_columns_are_written_with_the_blanks_of_their_names(vaekit, tmp_path):
    rng = np.random.default_rng(4)
    cells = rng.normal(size=(60, 4)).round(2)
    lines = [",".join(map(str, row)) for row in cells.tolist()]
    (tmp_path / "x.csv").write_text("\n".join([" row, z0, log_p , part", *lines]))
    fit = ("--epochs", 1, "--hidden", "none", "--latent-dim", 1)
    assert vaekit("fit", tmp_path / "x.csv", "--out", tmp_path / "run", *fit).code == 0
    lines = [f"{line},{i}" for i, line in enumerate((tmp_path / "x.csv").read_text().splitlines())]
    (tmp_path / "kept.csv").write_text("\n".join([" row, z0, log_p , part, size", *lines[1:]]))
    for command, header in (
        ("encode", "row, size,z0"),
        ("score", "row, size,part,log_p,error"),
        ("reconstruct", "row, size, row, z0, log_p , part"),
        ("impute", "row, row, z0, log_p , part, size"),
    ):
        out = tmp_path / f"{command}.csv"
        done = vaekit(command, tmp_path / "run", tmp_path / "kept.csv", "--keep", "size", "-o", out)
        assert done.code == 0, done.err
        assert out.read_text().splitlines()[0].startswith(header)


def test_blanks_around_names_come_back_and_need_not_be_typed(vaekit, tmp_path):
    rng = np.random.default_rng(2)
    lines = [f"r{i},{rng.integers(20, 60)},{rng.normal():.2f},{'ab'[i % 2]}" for i in range(60)]
    lines[3] = "r3,,0.50,a"
    header = "id, age ,size  , site"
    spaced, clean = tmp_path / "spaced.csv", tmp_path / "clean.csv"
    spaced.write_text("\n".join([header, *lines]) + "\n")
    clean.write_text("\n".join(["id,age,size,site", *lines]) + "\n")
    options = ("--columns", "age=count", "--keep", "id", "--condition", "site", "--epochs", 1, "--hidden", "none")
    run = tmp_path / "run"
    done = vaekit("fit", spaced, *options, "--out", run)
    assert done.code == 0, done.err

    def written(*command, data=spaced, ending="csv") -> str:
        done = vaekit(command[0], run, *([data] if data else []), *command[1:], "-o", tmp_path / f"out.{ending}")
        assert done.code == 0, done.err
        if ending == "parquet":
            return ",".join(polars.read_parquet(tmp_path / "out.parquet").columns)
        return (tmp_path / "out.csv").read_text().splitlines()[0]

    assert written("impute", "--samples", 5) == f"row,{header}"
    assert written("impute", "--samples", 5, data=clean) == "row,id,age,size,site"
    assert written("sample", "--given", "site=a", "-n", 2, data=None) == " age ,size  , site"
    assert written("sample", "-n", 2, data=None, ending="parquet") == " age ,size  , site"
    assert written("reconstruct") == f"row,{header}"
    assert written("score", "--samples", 5).startswith("row,id, site,")
    assert written("score", "--samples", 5, data=clean).startswith("row,id,site,")
    assert written("encode", "--keep", "id").startswith("row,id, site,z0")


CELLS_OF = {
    "Betrag, netto": r"-?\d+,\d\d",
    "Größe": r"\d+,\d",
    "seit": r"\d\d\.\d\d\.\d{4}",
    "um": r"\d\d:\d\d",
}


def text_cells(path) -> polars.DataFrame:
    return polars.read_csv(path, separator=";", infer_schema=False)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_rows_are_written_in_the_dialect_of_the_data(vaekit, german_run, tmp_path, command):
    assert vaekit(command, german_run[0], "-n", 9, "-o", tmp_path / "new.csv").code == 0
    cells = text_cells(tmp_path / "new.csv")
    assert cells.height == 9
    for name, pattern in CELLS_OF.items():
        assert cells[name].str.contains(f"^{pattern}$").all(), cells[name]
    whole = r"^\d+$" if command == "sample" else r"^\d+,\d{1,4}$"
    assert cells["Besuche"].str.contains(whole).all(), cells["Besuche"]


@pytest.mark.slow
def test_a_filled_table_is_the_given_one_to_the_letter_where_it_had_cells(vaekit, german_run, tmp_path):
    run, path = german_run
    done = vaekit("impute", run, path, "--spread", "-o", tmp_path / "filled.csv", "--samples", 50)
    assert done.code == 0, done.err
    given = text_cells(path)
    filled = text_cells(tmp_path / "filled.csv")
    assert filled.columns[: given.width + 1] == ["row", *given.columns]
    spread = filled.columns[given.width + 1 :]
    assert spread == [f"spread of {name}" for name in given.columns if name in CELLS_OF or name == "Besuche"]
    for name in given.columns:
        there = given[name].is_not_null()
        assert filled[name].filter(there).equals(given[name].filter(there)), name
    for name, pattern in CELLS_OF.items():
        assert filled[name].str.contains(f"^{pattern}$").all(), filled[name]
    assert filled["leer"].null_count() == len(given)
    for name in spread:
        digits = filled[name].str.replace(",", "").str.strip_chars("0").str.len_chars()
        assert digits.max() <= 4
        assert (filled[name] == "0,0").any()


@pytest.mark.slow
def test_draws_and_tables_of_another_dialect_are_filled_too(vaekit, german_run, tmp_path):
    run, path = german_run
    rows = text_cells(path).head(30)
    points = rows.with_columns(
        polars.col("Betrag, netto", "Größe").str.replace(",", "."),
        polars.col("seit").str.to_date("%d.%m.%Y"),
    )
    points.write_csv(tmp_path / "points.csv")
    options = ("--draws", 3, "--samples", 50)
    assert vaekit("impute", run, tmp_path / "points.csv", "-o", tmp_path / "drawn.csv", *options).code == 0
    drawn = polars.read_csv(tmp_path / "drawn.csv", try_parse_dates=True)
    assert drawn.columns == ["row", "draw", *rows.columns]
    assert drawn.height == 90
    assert drawn["seit"].dtype == polars.Date
    assert drawn["Größe"].dtype == polars.Float64
    there = points["seit"].is_not_null()
    assert drawn["seit"].gather_every(3).filter(there).equals(points["seit"].filter(there))
    both = (path, tmp_path / "points.csv")
    refused = vaekit("impute", run, *both, "-o", tmp_path / "both.csv")
    assert refused.code == 2
    assert "written in different ways" in refused.err
    again = vaekit("impute", run, path, path, "-o", tmp_path / "twice.csv", *options)
    assert again.code == 0, again.err
    assert text_cells(tmp_path / "twice.csv").columns[:4] == ["row", "file", "draw", "Kunde"]


def test_spreads_of_cells_of_several_axes_stand_beside_the_rows(vaekit, tmp_path):
    """Of a sequence's cells under the names that they have in a table."""
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(60, 10, 3)) + rng.normal(size=(60, 1, 1))
    windows[rng.random(windows.shape) < 0.1] = np.nan
    windows[:, 4, 1] = rng.normal(size=60)
    np.save(tmp_path / "x.npy", windows)
    fit = ("--epochs", 1, "--hidden", "8", "--latent-dim", 2, "--out", tmp_path / "run")
    assert vaekit("fit", tmp_path / "x.npy", *fit).code == 0
    impute = ("impute", tmp_path / "run", tmp_path / "x.npy", "--samples", 20, "--spread", "-o")
    assert vaekit(*impute, tmp_path / "x.csv").code == 0
    filled = polars.read_csv(tmp_path / "x.csv")
    spreads = [name for name in filled.columns if name.startswith("spread of ")]
    hidden = np.isnan(windows.reshape(60, -1))
    assert spreads == [f"spread of x{j}" for j in np.flatnonzero(hidden.any(0))]
    assert "spread of x13" not in spreads
    found = filled.select(spreads).to_numpy()
    assert ((found > 0) == hidden[:, hidden.any(0)]).all()
    refused = vaekit(*impute, tmp_path / "x.npy")
    assert refused.code == 2
    assert "ends in .csv or .parquet" in refused.err


def test_rows_with_holes_that_a_model_did_not_foresee_are_pointed_out(vaekit, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 1)) + 0.3 * rng.normal(size=(80, 6))
    np.save(tmp_path / "x.npy", x)
    x[rng.random(x.shape) < 0.3] = np.nan
    np.save(tmp_path / "holes.npy", x)
    for posterior, warned in (("auto", True), ("experts", False)):
        run = tmp_path / posterior
        fit = ("--epochs", 1, "--hidden", "8", "--latent-dim", 2, "--posterior", posterior, "--out", run)
        assert vaekit("fit", tmp_path / "x.npy", *fit).code == 0
        found = vaekit("evaluate", run, tmp_path / "holes.npy")
        assert found.code == 0
        assert ("--posterior=experts knows" in found.err) == warned
        assert "train–test" not in found.out  # its rows have other cells
        whole = vaekit("evaluate", run, tmp_path / "x.npy")
        assert "knows nothing" not in whole.err
        assert "train–test" in whole.out
