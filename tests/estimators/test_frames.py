"""Frames of polars, pandas and pyarrow: names kept, order checked, every kind of number read for what it is."""

import numpy as np
import pytest

import vaekit
from vaekit import VAE

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
    """A function from columns {name: values} to a frame of one of the libraries."""
    return MAKERS[request.param]


def array(columns: dict) -> np.ndarray:
    return np.stack(list(columns.values()), 1)


@pytest.mark.parametrize(
    ("columns", "kind", "likelihood"),
    [
        (REAL, "real", "gaussian"),
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


@pytest.mark.parametrize("method", ["transform", "score_samples"])
def test_columns_in_another_order_are_put_right(frame, method):
    vae = VAE(**TINY).fit(frame(REAL))
    turned = getattr(vae, method)(frame(dict(reversed(REAL.items()))))
    assert np.array_equal(turned, getattr(vae, method)(frame(REAL)))


def test_columns_too_few_and_too_many_are_named(frame):
    vae = VAE(**TINY).fit(frame(REAL))
    with pytest.raises(ValueError, match="missing:\n- age"):
        vae.transform(frame({name: REAL[name] for name in ("width", "length")}))
    with pytest.raises(ValueError, match="unseen at fit time:\n- count"):
        vae.transform(frame(REAL | {"count": WHOLE["count"]}))


def test_a_loaded_model_knows_the_order_too(frame, tmp_path):
    VAE(**TINY).fit(frame(REAL)).save(tmp_path / "run")
    vae = vaekit.load(tmp_path / "run")
    assert vae.transform(frame(REAL)).shape == (ROWS, 1)
    assert np.array_equal(vae.transform(frame(dict(reversed(REAL.items())))), vae.transform(frame(REAL)))


@pytest.mark.parametrize("values", [DATES, ["wet", "dry"] * (ROWS // 2)], ids=["dates", "text"])
def test_a_column_of_no_numbers_is_named(frame, values):
    with pytest.raises(ValueError, match=r"X .* in 'weather' \(row 0: "):
        VAE(**TINY).fit(frame(REAL | {"weather": values}))
    vae = VAE(**TINY).fit(frame(REAL | {"weather": WHOLE["count"]}))
    with pytest.raises(ValueError, match=r"X .* in 'weather' \(row 0: "):
        vae.transform(frame(REAL | {"weather": values}))


def test_all_faults_are_in_one_message(frame):
    gap = [1.0, None] + [2.0] * (ROWS - 2)
    columns = REAL | {"gap": gap, "day": DATES, "hole": gap[::-1]}
    with pytest.raises(ValueError, match=r"empty cells in 'gap' \(row 1\), 'hole' \(row 58\); dates in 'day'") as error:
        VAE(**TINY).fit(frame(columns))
    remedy = str(error.value).splitlines()[-1].removeprefix("To do without: ")
    whole = eval(remedy, {"X": frame(columns)})  # the remedy works as printed
    VAE(**TINY).fit(whole)


def test_nobody_is_told_to_do_without_every_column(frame):
    with pytest.raises(ValueError, match=r"text in 'a' \(row 0: '0,5'\), 'b' \(row 0: 'x'\)") as error:
        VAE(**TINY).fit(frame({"a": ["0,5"] * ROWS, "b": ["x"] * ROWS}))
    assert "do without" not in str(error.value)


def test_nobody_is_told_to_do_without_what_was_learned(frame):
    vae = VAE(**TINY).fit(frame(REAL))
    with pytest.raises(ValueError, match=r"text in 'age' .*\n.*was fitted to these columns"):
        vae.score_samples(frame(REAL | {"age": ["old"] * ROWS}))
    with pytest.raises(ValueError, match=r"To do without: .*\['extra'\]"):
        vae.score_samples(frame(REAL | {"extra": ["old"] * ROWS}))


def test_whole_numbers_that_had_to_be_real_are_warned_of(frame):
    columns = {"id": np.arange(ROWS) * 7 * 10**8, "rooms": np.arange(ROWS) % 5}
    with pytest.warns(UserWarning, match="'id' has whole numbers from 0 to 41300000000"):
        VAE(**TINY).fit(frame(columns))


def test_categories_are_not_taken_for_quantities():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"'kind' \(row 0: of type Categorical"):
        VAE(**TINY).fit(_pandas(REAL | {"kind": pandas.Categorical(WHOLE["grade"])}))


def test_an_empty_cell_is_named(frame):
    for whole in ([1.0], [1], [True]):
        with pytest.raises(ValueError, match=r"empty cells in 'gap' \(row 1\)"):
            VAE(**TINY).fit(frame(REAL | {"gap": [*whole, None] + whole * (ROWS - 2)}))


@pytest.mark.parametrize("name", ["Unnamed: 0", "__index_level_0__", "index"])
def test_an_index_among_the_columns_is_warned_of(frame, name):
    with pytest.warns(UserWarning, match=f"'{name}' of X numbers the rows"):
        VAE(**TINY).fit(frame({name: np.arange(ROWS)} | REAL))
    VAE(**TINY).fit(frame({name: REAL["age"]} | REAL))


def test_text_among_objects_is_named():
    pandas = pytest.importorskip("pandas")
    for cell in ("2", "two"):
        objects = pandas.Series([1.0, cell] + [2.0] * (ROWS - 2), dtype=object)
        with pytest.raises(ValueError, match=rf"text in 'mixed' \(row 1: '{cell}'\)"):
            VAE(**TINY).fit(_pandas(REAL | {"mixed": objects}))


def test_masked_cells_are_not_learned():
    hidden = np.zeros((ROWS, 3), bool)
    whole, masked = (np.ma.array(array(REAL), mask=mask) for mask in (hidden.copy(), hidden))
    masked[7, 2] = np.ma.masked
    with pytest.raises(ValueError, match=r"row 7, column 2 of X is masked.*np.ma.compress_rows\(X\)"):
        VAE(**TINY).fit(masked)
    vae = VAE(**TINY).fit(whole)
    assert np.array_equal(vae.transform(whole), VAE(**TINY).fit(array(REAL)).transform(array(REAL)))
    with pytest.raises(ValueError, match="masked"):
        vae.score_samples(masked)
    assert len(vae.fit(np.ma.compress_rows(masked)).transform(array(REAL))) == ROWS


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_a_sparse_matrix_is_its_array(kind):
    x = array(WHOLE) * (array(WHOLE) > 3)
    sparse = getattr(pytest.importorskip("scipy.sparse"), kind)(x)
    one, other = VAE(**TINY).fit(sparse), VAE(**TINY).fit(x)
    assert np.array_equal(one.score_samples(sparse), other.score_samples(x))


def test_a_lazy_frame_must_be_collected():
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match="lazy frame: collect it"):
        VAE(**TINY).fit(polars.LazyFrame(REAL))
