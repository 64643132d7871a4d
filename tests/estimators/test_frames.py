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
        (REAL, "real", "gaussian-diagonal"),
        (WHOLE, "integer", "discretized-logistic"),
        (TRUTHS, "binary", "bernoulli"),
        (WHOLE | TRUTHS, "integer", "discretized-logistic"),
        (REAL | WHOLE | TRUTHS, "real", "gaussian-diagonal"),
    ],
    ids=["real", "whole", "true or false", "whole and true or false", "all"],
)
def test_a_frame_is_its_array_with_names(frame, columns, kind, likelihood):
    vae, other = VAE(**TINY).fit(frame(columns)), VAE(**TINY).fit(array(columns))
    assert list(vae.feature_names_in_) == list(vae.schema_.names) == list(columns)
    assert (vae.schema_.kind, vae.spec_.model.likelihood) == (kind, likelihood)
    assert (vae.schema_.low, vae.schema_.high) == (other.schema_.low, other.schema_.high)
    assert np.array_equal(vae.score_samples(frame(columns)), other.score_samples(array(columns)))


@pytest.mark.parametrize("method", ["transform", "score_samples"])
def test_columns_in_another_order_are_refused(frame, method):
    vae = VAE(**TINY).fit(frame(REAL))
    with pytest.raises(ValueError, match="same order"):
        getattr(vae, method)(frame(dict(reversed(REAL.items()))))


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
    with pytest.raises(ValueError, match="same order"):
        vae.transform(frame(dict(reversed(REAL.items()))))


@pytest.mark.parametrize("values", [DATES, ["wet", "dry"] * (ROWS // 2)], ids=["dates", "text"])
def test_a_column_of_no_numbers_is_named(frame, values):
    with pytest.raises(ValueError, match=r"column 'weather' of X is of type .*, no number"):
        VAE(**TINY).fit(frame(REAL | {"weather": values}))
    vae = VAE(**TINY).fit(frame(REAL | {"weather": WHOLE["count"]}))
    with pytest.raises(ValueError, match=r"column 'weather' of X is of type .*, no number"):
        vae.transform(frame(REAL | {"weather": values}))


def test_categories_are_not_taken_for_quantities():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="column 'kind' of X is of type Categorical"):
        VAE(**TINY).fit(_pandas(REAL | {"kind": pandas.Categorical(WHOLE["grade"])}))


def test_an_empty_cell_is_named(frame):
    with pytest.raises(ValueError, match="row 1, column 'gap' is nan"):
        VAE(**TINY).fit(frame(REAL | {"gap": [1.0, None] + [2.0] * (ROWS - 2)}))


def test_a_lazy_frame_must_be_collected():
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match="lazy frame: collect it"):
        VAE(**TINY).fit(polars.LazyFrame(REAL))
