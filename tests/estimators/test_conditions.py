"""Frames and arrays of which some columns are given, p(x|c)."""

import datetime

import numpy as np
import polars
import pytest
from sklearn.base import clone

import vaekit
from vaekit import VAE
from vaekit.errors import VaekitError

TINY = {"latent_dim": 1, "hidden": (4,), "max_epochs": 3, "importance_samples": 5, "device": "cpu"}
RNG = np.random.default_rng(11)
ROWS = 120
SITE = RNG.integers(0, 3, ROWS)
SEX = RNG.choice(["f", "m"], ROWS)
FRAME = polars.DataFrame(
    {
        "a": np.where(SEX == "f", 0.0, 9.0) + RNG.normal(size=ROWS),
        "sex": SEX,
        "b": 2.0 * SITE + RNG.normal(size=ROWS),
        "site": np.array(["p", "q", "r"])[SITE],
    }
)
NUMBERS = np.column_stack([FRAME["a"], SITE, FRAME["b"], SEX == "f"])


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return VAE(condition=["sex", "site"], **TINY).fit(FRAME)


def test_it_is_a_parameter_like_others():
    vae = VAE(condition=["sex", "site"])
    assert vae.get_params()["condition"] == ["sex", "site"]
    assert clone(vae).get_params() == vae.get_params()
    together = VAE(condition="sex,site", **TINY).fit(FRAME)
    apart = VAE(condition=["sex", "site"], **TINY).fit(FRAME)
    assert np.array_equal(together.score_samples(FRAME), apart.score_samples(FRAME))


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_samples_are_frames_of_all_columns(library):
    frame = FRAME
    if library == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(FRAME.to_dict(as_series=False))
    vae = VAE(condition=["sex", "site"], **TINY).fit(frame)
    drawn = vae.sample(30, random_state=0, given={"sex": "m"})
    assert isinstance(drawn, type(frame))
    assert list(drawn.columns) == list(frame.columns)
    assert set(drawn["sex"]) == {"m"}
    assert set(drawn["site"]) == {"p", "q", "r"}
    assert drawn["a"].mean() > vae.sample(30, random_state=0, given={"sex": "f"})["a"].mean() + 5
    assert np.isfinite(vae.score_samples(drawn)).all()
    again = vae.inverse_transform(vae.transform(frame), given={"sex": "f", "site": "q"})
    assert set(again["site"]) == {"q"}


def test_arrays_name_them_by_number():
    vae = VAE(condition=[1, 3], **TINY).fit(NUMBERS)
    drawn = vae.sample(20, random_state=0, given={"3": 1})
    assert drawn.shape == (20, 4)
    assert set(drawn[:, 3]) == {1.0}
    assert set(drawn[:, 1]) <= {0.0, 1.0, 2.0}
    holes = NUMBERS.copy()
    holes[::4, 0] = np.nan
    with pytest.warns(UserWarning, match="knows nothing of them"):
        filled = vae.impute(holes, samples=10)
    seen = ~np.isnan(holes)
    assert np.array_equal(filled[seen], holes[seen])
    assert np.isfinite(filled).all()


def test_a_number_beyond_those_fitted_warns():
    days = [datetime.date(2020, 1, 1 + row % 28) for row in range(ROWS)]
    frame = FRAME.select("a", "b").with_columns(c=np.arange(ROWS) % 7, day=polars.Series(days))
    vae = VAE(condition=["c", "day"], **TINY).fit(frame)
    vae.sample(2, given={"c": 6, "day": datetime.date(2020, 1, 28)})
    with pytest.warns(UserWarning, match=r"c is -4, and the rows trained on have 0 … 6") as warned:
        vae.sample(2, given={"c": -4})
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=r"day is 2021-05-06, and the rows trained on have 2020-01-01 … 2020-01-28"):
        vae.inverse_transform(np.zeros((2, 1)), given={"day": datetime.date(2021, 5, 6)})


def test_scores_are_of_the_rest(fitted, tmp_path):
    """They go by a condition, and its name finds it."""
    moved = FRAME.with_columns(
        sex=polars.when(polars.col("sex") == "f").then(polars.lit("m")).otherwise(polars.lit("f"))
    )
    assert (fitted.score_samples(moved) < fitted.score_samples(FRAME)).mean() > 0.9
    fitted.save(tmp_path / "run")
    opened = vaekit.load(tmp_path / "run", device="cpu")
    assert tuple(opened.condition) == ("sex", "site")
    assert np.array_equal(opened.score_samples(FRAME), fitted.score_samples(FRAME))
    assert opened.sample(5, random_state=1).equals(fitted.sample(5, random_state=1))


def test_imputed_frames_keep_what_they_are_given(fitted):
    holes = FRAME.with_columns(b=polars.when(polars.int_range(ROWS) % 3 == 0).then(None).otherwise("b"))
    with pytest.warns(UserWarning, match="knows nothing of them"):
        filled = fitted.impute(holes, samples=10)
    assert filled.drop("b").equals(FRAME.drop("b"))
    assert not filled["b"].null_count()


def test_what_cannot_be_given_is_refused(fitted):
    with pytest.raises(VaekitError, match="sex is 'x', which fitting never saw: give 'f' or 'm'"):
        fitted.sample(given={"sex": "x"})
    with pytest.raises(VaekitError, match="unknown condition 'sexx'; did you mean 'sex'"):
        fitted.sample(given={"sexx": "f"})
    with pytest.raises(VaekitError, match="fit with condition"):
        VAE(**TINY).fit(FRAME).sample(given={"sex": "f"})
    with pytest.raises(VaekitError, match="never saw in 'site'"):
        fitted.score_samples(FRAME.with_columns(site=polars.lit("s")))
    with pytest.raises(VaekitError, match="unknown condition of X 'height'"):
        VAE(condition="height", **TINY).fit(FRAME)
