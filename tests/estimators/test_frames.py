"""Frames of polars, pandas and pyarrow: names kept, order checked, every kind of number read for what it is."""

import datetime
import decimal
import warnings

import numpy as np
import pytest
from lanes import but_few_slow

import vaekit
from vaekit import VAE
from vaekit.data.columns import ColumnType
from vaekit.data.tables import Columns
from vaekit.errors import VaekitError
from vaekit.estimators.frames import as_given, library_of, plain_rows, read_frame

RNG = np.random.default_rng(0)
ROWS = 60
REAL = {"width": RNG.normal(size=ROWS), "length": 3 + RNG.normal(size=ROWS), "age": RNG.normal(size=ROWS)}
WHOLE = {"count": RNG.integers(0, 20, ROWS), "grade": RNG.integers(1, 6, ROWS)}
TRUTHS = {"smokes": RNG.random(ROWS) < 0.5, "drinks": RNG.random(ROWS) < 0.3}
DATES = np.datetime64("2020-01-01") + np.arange(ROWS)
TINY = {"latent_dim": 1, "hidden": (4,), "max_epochs": 2, "importance_samples": 5, "device": "cpu"}


def _pandas(columns: dict):
    return pytest.importorskip("pandas").DataFrame(columns)


MAKERS = {
    "polars": lambda columns: pytest.importorskip("polars").DataFrame(columns),
    "pandas": _pandas,
    "pandas, nullable": lambda columns: _pandas(columns).convert_dtypes(),
    "pyarrow": lambda columns: pytest.importorskip("pyarrow").table(columns),
}


@pytest.fixture(params=MAKERS)
def frame(request):
    """A function from columns {name: values} to a frame of one of the libraries, called as it is."""

    def made(columns: dict) -> object:
        return MAKERS[request.param](columns)

    made.__name__ = request.param.replace(",", "")
    return made


def array(columns: dict) -> np.ndarray:
    return np.stack(list(columns.values()), 1)


@pytest.mark.parametrize(
    ("columns", "kind", "likelihood"),
    [
        (REAL, "real", "student-t"),
        (WHOLE, "integer", "discretized-logistic"),
        (TRUTHS, "binary", "bernoulli"),
        (WHOLE | TRUTHS, "integer", "columns"),
        (REAL | WHOLE | TRUTHS, "real", "columns"),
    ],
    ids=["real", "whole", "true or false", "whole and true or false", "all"],
)
def test_a_frame_is_its_array_with_names(frame, columns, kind, likelihood):
    vae, other = VAE(**TINY).fit(frame(columns)), VAE(**TINY).fit(array(columns))
    assert list(vae.feature_names_in_) == list(vae.schema_.names) == list(columns)
    assert (vae.schema_.kind, vae.settings_.model.likelihood) == (kind, likelihood)
    assert (vae.schema_.low, vae.schema_.high) == (other.schema_.low, other.schema_.high)
    assert np.array_equal(vae.score_samples(frame(columns)), other.score_samples(array(columns)))


@pytest.mark.parametrize("method", but_few_slow(["transform", "score_samples"]))
def test_columns_in_another_order_are_put_right(frame, method):
    vae = VAE(**TINY).fit(frame(REAL))
    turned = getattr(vae, method)(frame(dict(reversed(REAL.items()))))
    assert np.array_equal(turned, getattr(vae, method)(frame(REAL)))


def test_columns_too_few_are_named_and_those_too_many_left_out(frame):
    name = {"name": [f"N{i}" for i in range(ROWS)]}
    with pytest.warns(UserWarning, match="'name' left out"):
        vae = VAE(**TINY).fit(frame(REAL | name))
    with pytest.raises(ValueError, match=r"missing:\n- age\n$") as error:
        vae.transform(frame({name: REAL[name] for name in ("width", "length")}))
    assert "name" not in str(error.value).split("fit", 1)[1].replace("names", "")
    expected = vae.transform(frame(REAL))
    with pytest.warns(UserWarning, match="'count' of X left out: the model was fitted without"):
        found = vae.transform(frame({"count": ["some text"] * ROWS} | REAL))
    assert np.array_equal(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(vae.transform(frame(REAL | name)), expected)


def test_a_loaded_model_knows_the_order_too(frame, tmp_path):
    VAE(**TINY).fit(frame(REAL)).save(tmp_path / "run")
    vae = vaekit.load(tmp_path / "run")
    assert vae.transform(frame(REAL)).shape == (ROWS, 1)
    assert np.array_equal(vae.transform(frame(dict(reversed(REAL.items())))), vae.transform(frame(REAL)))


def types(fields) -> list[tuple]:
    return [(each.kind, each.levels, each.written, each.decimals) for each in fields["types"]]


def test_columns_are_what_their_cells_and_types_say(frame):
    gap = [1.0, None] + [2.0] * (ROWS - 2)
    columns = REAL | {
        "weather": ["wet", "dry", None] * (ROWS // 3),
        "day": DATES.astype("datetime64[ns]"),
        "gap": gap,
        "rooms": WHOLE["count"],
        "smokes": TRUTHS["smokes"],
        "drinks": ["Yes", "No", "?"] * (ROWS // 3),
        "price": ["1.50", "2", ""] * (ROWS // 3),
        "wait": np.arange(0, 1000 * ROWS, 1000).astype("timedelta64[ms]"),
        "nothing": [None] * ROWS,
        "name": [f"N{i}" for i in range(ROWS)],
    }
    fields = read_frame(frame(columns), Columns())
    assert fields["names"] == tuple(columns)[:-2]
    assert types(fields)[3:] == [
        ("binary", ("dry", "wet"), "text", None),
        ("auto", (), "datetime", 0),
        ("auto", (), *(("integer", None) if "nullable" in frame.__name__ else ("number", 1))),
        ("auto", (), "integer", None),
        ("binary", (), "boolean", None),
        ("binary", ("No", "Yes"), "text", None),
        ("auto", (), "number", 2),
        ("auto", (), "duration", 0),
    ]
    found = fields["x"]
    assert np.array_equal(found[:, :3], array(REAL))
    assert np.array_equal(found[:3, 3], [1, 0, np.nan], equal_nan=True)
    assert np.array_equal(found[:, 4], 86400.0 * DATES.astype(int))
    assert np.array_equal(found[:3, 5], [1, np.nan, 2], equal_nan=True)
    assert np.array_equal(found[:, 6], WHOLE["count"])
    assert np.array_equal(found[:, 7], TRUTHS["smokes"])
    assert np.array_equal(found[:3, 8], [1, 0, np.nan], equal_nan=True)
    assert np.array_equal(found[:3, 9], [1.5, 2, np.nan], equal_nan=True)
    assert np.array_equal(found[:, 10], np.arange(ROWS))
    notes = " ".join(fields["notes"])
    assert "'name' left out: its text names the rows" in notes
    assert "'nothing' left out" in notes


def test_all_faults_are_in_one_message(frame):
    odd = ["1.5", "few"] + [str(i) for i in range(2, ROWS)]
    columns = REAL | {"gap": odd, "day": ["03/04/2020"] * ROWS, "hole": odd[::-1]}
    with pytest.raises(ValueError, match=r"in 'gap' \(row 1: 'few'\), 'hole' \(row 58: 'few'\); unclear d") as error:
        VAE(**TINY).fit(frame(columns))
    remedy = str(error.value).splitlines()[-1].removeprefix("To do without: ")
    whole = eval(remedy, {"X": frame(columns)})  # the remedy works as printed
    VAE(**TINY).fit(whole)


def test_nobody_is_told_to_do_without_every_column(frame):
    with pytest.raises(ValueError, match=r"'b' \(row 0: '1/2/2020'\); decimal commas in 'a' \(row 0: '0,5'\)") as error:
        VAE(**TINY).fit(frame({"a": ["0,5"] * ROWS, "b": ["1/2/2020"] * ROWS}))
    assert "do without" not in str(error.value)


def test_nobody_is_told_to_do_without_what_was_learned(frame):
    fitted = Columns(needed=tuple(REAL), types=(ColumnType(),) * 3)
    with pytest.raises(VaekitError, match=r"text .* in 'age' .*\n.*was fitted to these columns"):
        read_frame(frame(REAL | {"age": ["old"] * ROWS}), fitted)
    fields = read_frame(frame(REAL | {"extra": ["1/2/2020"] * ROWS}), fitted)
    assert fields["names"] == tuple(REAL)


def test_columns_are_read_as_a_model_was_fitted_to_them(frame):
    columns = {"a": ["x", "y", "y"] * 20, "b": [1.5, None, 2.0] * 20}
    fields = read_frame(frame(columns), Columns())
    fitted = Columns(needed=fields["names"], types=fields["types"])
    again = read_frame(frame({"b": [2.0], "a": ["y"]}), fitted)
    assert again["names"] == ("a", "b")
    assert again["x"].tolist() == [[1, 2]]
    with pytest.raises(VaekitError, match=r"levels that fitting never saw in 'a' \(row 0: 'z' \(1\)\)"):
        read_frame(frame({"b": [2.0], "a": ["z"]}), fitted)
    unseen = Columns(needed=fields["names"], types=fields["types"], unseen="missing")
    assert np.array_equal(read_frame(frame({"b": [2.0], "a": ["z"]}), unseen)["x"], [[np.nan, 2]], equal_nan=True)


def test_a_column_is_what_its_owner_says(frame):
    stated = Columns(declared={"count": "category"}, missing=("3",))
    fields = read_frame(frame(WHOLE), stated)
    levels = [str(each) for each in np.unique(WHOLE["count"]) if each != 3]
    assert types(fields) == [("category", tuple(levels), "integer", None), ("auto", (), "integer", None)]
    assert np.isnan(fields["x"]).sum() == (array(WHOLE) == 3).sum()
    with pytest.raises(VaekitError, match="unknown column of X 'cuont'; did you mean 'count'"):
        read_frame(frame(WHOLE), Columns(declared={"cuont": "real"}))


def test_whole_numbers_that_had_to_be_real_are_warned_of(frame):
    columns = {"id": np.arange(ROWS) * 7 * 10**8, "rooms": np.arange(ROWS) % 5}
    with pytest.warns(UserWarning, match="'id' has whole numbers from 0 to 41300000000"):
        VAE(**TINY).fit(frame(columns))


def test_categories_keep_their_levels_and_their_order():
    pandas = pytest.importorskip("pandas")
    sizes = ["small", "medium", "large"]
    frame = pandas.DataFrame({
        "kind": pandas.Categorical(WHOLE["grade"]),
        "size": pandas.Categorical.from_codes(WHOLE["grade"] % 4 - 1, sizes, ordered=True),
    })  # fmt: skip
    fields = read_frame(frame, Columns())
    assert types(fields) == [
        ("category", ("1", "2", "3", "4", "5"), "categorical", None),
        ("ordinal", ("small", "medium", "large"), "enum", None),
    ]
    size = np.where(WHOLE["grade"] % 4 == 0, np.nan, WHOLE["grade"] % 4 - 1.0)
    assert np.array_equal(fields["x"], np.stack([WHOLE["grade"] - 1, size], 1), equal_nan=True)


@pytest.mark.parametrize("name", but_few_slow(["Unnamed: 0", "__index_level_0__", "index"]))
def test_an_index_among_the_columns_is_warned_of(frame, name):
    with pytest.warns(UserWarning, match=f"'{name}' of X numbers the rows"):
        VAE(**TINY).fit(frame({name: np.arange(ROWS)} | REAL))
    VAE(**TINY).fit(frame({name: REAL["age"]} | REAL))


OBJECTS = {
    "numbers": ([1.0, 2, None], ("auto", (), "number", None), [1, 2, np.nan]),
    "numbers, some of them text": ([1.5, "2", None], ("auto", (), "number", 1), [1.5, 2, np.nan]),
    "truths": ([True, None, False], ("binary", (), "boolean", None), [1, np.nan, 0]),
    "money": ([decimal.Decimal("1.50"), None, decimal.Decimal("2.00")], ("auto", (), "number", 2), [1.5, np.nan, 2]),
    "days": ([datetime.date(1970, 1, 2), None, datetime.date(1970, 1, 1)], ("auto", (), "date", None), [1, np.nan, 0]),
    "text": (["b", float("nan"), "a"], ("binary", ("a", "b"), "text", None), [1, np.nan, 0]),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_are_what_all_of_them_are(case):
    pandas = pytest.importorskip("pandas")
    cells, kind, values = OBJECTS[case]
    fields = read_frame(pandas.DataFrame({"a": pandas.Series(cells, dtype=object)}), Columns())
    assert types(fields) == [kind]
    assert np.array_equal(fields["x"][:, 0], values, equal_nan=True)


def test_other_objects_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": pandas.Series([object(), {}], dtype=object)})
    with pytest.raises(VaekitError, match=r"no numbers in 'b' \(row 0: of type Object\)"):
        read_frame(frame, Columns())


def test_a_frame_of_a_zone_is_read_by_its_clock():
    pandas = pytest.importorskip("pandas")
    clock = pandas.Series(pandas.to_datetime(["1970-01-02", None])).dt.tz_localize("Asia/Tokyo")
    fields = read_frame(pandas.DataFrame({"a": clock}), Columns())
    assert np.array_equal(fields["x"], [[86400], [np.nan]], equal_nan=True)


def test_columns_that_are_counted_have_no_names():
    pandas = pytest.importorskip("pandas")
    fields = read_frame(pandas.DataFrame(array(REAL)), Columns())
    assert fields["names"] is None
    assert np.array_equal(fields["x"], array(REAL))
    assert not hasattr(VAE(**TINY).fit(pandas.DataFrame(array(REAL))), "feature_names_in_")


def test_a_table_is_given_back_as_what_came_in(frame):
    table = pytest.importorskip("polars").DataFrame({"n": [1, None], "x": [1.5, None], "s": ["a", None]})
    library = library_of(frame(REAL))
    assert library == frame.__name__.split()[0]
    given = as_given(table, library)
    assert library_of(given) == library
    assert read_frame(given, Columns())["names"] == ("n", "x", "s")
    assert library_of(array(REAL)) == ""


def test_masked_cells_are_missing():
    rows = array(REAL)
    hidden = np.zeros((ROWS, 3), bool)
    whole = np.ma.array(rows, mask=hidden.copy())
    assert np.array_equal(VAE(**TINY).fit(whole).transform(whole), VAE(**TINY).fit(rows).transform(rows))
    hidden[7, 2] = hidden[3, 0] = True
    masked = np.ma.array(rows, mask=hidden)
    holes = np.where(hidden, np.nan, rows)
    vae = VAE(**TINY).fit(masked)
    assert np.array_equal(vae.transform(masked), VAE(**TINY).fit(holes).transform(holes))
    assert np.array_equal(vae.score_samples(masked), vae.score_samples(holes))
    numbers = np.ma.array(array(WHOLE).astype(int), mask=hidden[:, :2])
    assert np.isnan(plain_rows(numbers).rows).sum() == 1


def test_missing_pixels_are_refused_with_what_works():
    images = np.ma.array(np.random.default_rng(0).random((ROWS, 8, 9)), mask=False)
    images[7, 2, 1] = np.ma.masked
    with pytest.raises(ValueError, match=r"image 7, cell \(2, 1\) is missing") as refused:
        VAE(**TINY).fit(images)
    assert "kind='sequence'" in str(refused.value)
    assert np.isfinite(VAE(**TINY, kind="sequence").fit(images).score_samples(images)).all()


def test_missing_cells_of_sequences_are_those_of_the_columns_they_are():
    """The same numbers in another shape have the same density, and the same estimates of what is missing."""
    rng = np.random.default_rng(1)
    full = np.sin(rng.uniform(0, 6, (ROWS, 1, 1)) + np.arange(10)[:, None] / 3) + rng.normal(0, 0.1, (ROWS, 10, 2))
    windows = np.where(rng.random(full.shape) < 0.3, np.nan, full)
    flat = windows.reshape(ROWS, -1)
    vae = VAE(**TINY).fit(windows)
    other = VAE(**TINY).fit(flat)
    assert vae.schema_.layout == "sequence"
    assert np.array_equal(vae.score_samples(windows), other.score_samples(flat))
    filled = vae.impute(windows)
    assert filled.shape == windows.shape
    assert np.array_equal(filled.reshape(ROWS, -1), other.impute(flat))
    seen = ~np.isnan(windows)
    assert np.array_equal(filled[seen], windows[seen])
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("kind", but_few_slow(["csr_array", "csc_matrix", "coo_array"]))
def test_a_sparse_matrix_is_its_array(kind):
    x = array(WHOLE) * (array(WHOLE) > 3)
    sparse = getattr(pytest.importorskip("scipy.sparse"), kind)(x)
    one, other = VAE(**TINY).fit(sparse), VAE(**TINY).fit(x)
    assert np.array_equal(one.score_samples(sparse), other.score_samples(x))


def test_a_lazy_frame_must_be_collected():
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match="lazy frame: collect it"):
        VAE(**TINY).fit(polars.LazyFrame(REAL))


def test_a_frame_comes_back_with_its_types_and_its_digits():
    polars = pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    frame = polars.DataFrame({
        "size": rng.normal(9, 2, 80).round(1),
        "count": rng.integers(0, 9, 80),
        "kind": rng.choice(["a", "b", "c"], 80),
        "score": np.where(rng.random(80) < 0.2, -999, rng.integers(100, 200, 80)),
    })  # fmt: skip
    vae = VAE(**TINY, missing=[-999]).fit(frame)
    drawn = vae.sample(50, random_state=0)
    assert drawn.schema == frame.schema
    assert drawn["size"].round(1).equals(drawn["size"])
    assert drawn["score"].min() >= 100
    filled = vae.impute(frame, samples=20)
    known = (frame["score"] != -999).to_numpy()
    assert np.array_equal(filled["score"].to_numpy()[known], frame["score"].to_numpy()[known])
    assert filled["score"].min() >= 100


def holed(rows: int = 80) -> dict:
    """Columns by names, cells of which are missing."""
    rng = np.random.default_rng(4)
    width = rng.normal(9, 2, rows)
    columns = {
        "name": [f"N{i}" for i in range(rows)],
        "width": width.round(1).tolist(),
        "nothing": [None] * rows,
        "size": np.array(["small", "medium", "large"])[np.digitize(width, [8, 10])].tolist(),
        "colour": rng.choice(["red", "green", "blue"], rows).tolist(),
        "rooms": rng.integers(1, 9, rows).tolist(),
    }
    for j, name in enumerate(("width", "size", "colour", "rooms")):
        for row in range(j, rows, 11):
            columns[name][row] = None
    return columns


@pytest.mark.filterwarnings("ignore:.name. left out")
def test_a_frame_of_polars_is_filled_and_sampled_in_its_own_types():
    polars = pytest.importorskip("polars")
    types = {
        "width": polars.Float32,
        "size": polars.Enum(["small", "medium", "large"]),
        "colour": polars.Categorical,
        "rooms": polars.Int16,
    }
    frame = polars.DataFrame(holed(), schema_overrides=types)
    vae = VAE(**TINY).fit(frame)
    filled = vae.impute(frame, samples=20)
    assert filled.schema == frame.schema
    for column in frame:
        there = column.is_not_null()
        assert filled[column.name].filter(there).equals(column.filter(there))
        assert filled[column.name].null_count() == (len(frame) if column.name == "nothing" else 0)
    drawn = vae.sample(9, random_state=0)
    assert drawn.select("size", "colour").schema == frame.select("size", "colour").schema


@pytest.mark.filterwarnings("ignore:.name. left out")
def test_a_frame_of_pandas_is_filled_and_sampled_in_its_own_types():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(holed(), index=np.arange(80) * 2 + 7)
    frame["size"] = pandas.Categorical(frame["size"], ["small", "medium", "large"], ordered=True)
    frame["colour"] = frame["colour"].astype("category")
    frame["rooms"] = frame["rooms"].astype("Int16")
    frame["code"] = pandas.Categorical([None if i % 9 == 0 else 10 * (i % 3) for i in range(80)])
    vae = VAE(**TINY).fit(frame)
    (filled,) = vae.impute(frame, samples=20, draws=1)
    assert (filled.dtypes == frame.dtypes).all()
    assert filled.index.equals(frame.index)
    for name in frame.columns:
        there = frame[name].notna()
        assert filled[name][there].equals(frame[name][there])
        assert filled[name].isna().sum() == (len(frame) if name == "nothing" else 0)
    drawn = vae.sample(9, random_state=0)
    assert drawn["size"].dtype == frame["size"].dtype
    assert set(drawn["colour"].cat.categories) == {"red", "green", "blue"}


@pytest.mark.parametrize("rows", [np.array([[1.5, "oak"], [2.5, "elm"]] * 9, dtype=object), [["1.5", "oak"]] * 9])
def test_text_in_an_array_is_refused_with_a_remedy(rows):
    with pytest.raises(VaekitError, match=r"row 0, column 1 of X is .*'oak'.*give a frame, such as polars.DataFrame"):
        VAE(**TINY).fit(rows)
    numbers = np.array([["1.5", "3"], ["2.5", "4"]] * 20, dtype=object)
    assert VAE(**TINY).fit(numbers).transform(numbers).shape == (40, 1)


@pytest.mark.filterwarnings("ignore:.name. left out")
def test_an_array_for_a_frame_with_levels_is_told_so_in_one_sentence():
    polars = pytest.importorskip("polars")
    vae = VAE(**TINY).fit(polars.DataFrame(holed()))
    with (
        pytest.warns(UserWarning, match="feature names"),
        pytest.raises(VaekitError, match=r"fitted to a frame of columns 'width', .*give such a frame\.$"),
    ):
        vae.score_samples(np.full((3, 4), 99.5))
