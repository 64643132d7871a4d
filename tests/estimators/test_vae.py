"""The scikit-learn face: its conventions, its shapes, and a model whose answer is known exactly."""

import inspect
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars
import pytest
import torch
from lanes import but_few_slow
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vaekit
from vaekit import VAE
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.inference import over_rows
from vaekit.objectives import ELBO
from vaekit.runs import DamagedError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(90, 2)) @ RNG.normal(size=(2, 5)) + 0.1 * RNG.normal(size=(90, 5)) + 3
IMAGES = load_digits().images[:120].astype(np.uint8)
TINY = {
    "hidden": (8,),
    "max_epochs": 5,
    "validation_fraction": 0.0,
    "batch_size": 32,
    "importance_samples": 10,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def table() -> VAE:
    return VAE(latent_dim=2, **TINY).fit(TABLE)


@pytest.fixture(scope="module")
def images() -> VAE:
    return VAE(latent_dim=3, **TINY).fit(IMAGES)


# Conventions


def test_the_constructor_only_stores():
    names = [name for name in inspect.signature(VAE.__init__).parameters if name != "self"]
    values = {name: object() for name in names}
    vae = VAE(**values)
    assert vars(vae) == values
    assert vae.get_params() == values


def test_a_clone_has_the_parameters_and_nothing_learned(table):
    copy = clone(table)
    assert copy.get_params() == table.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]
    learned = {name for name in vars(table) if name.endswith("_")}
    assert {"model_", "schema_", "history_", "lower_bound_", "n_iter_", "n_features_in_"} <= learned


def test_parameters_are_not_changed_by_fitting(table):
    assert table.get_params() == VAE(latent_dim=2, **TINY).get_params()


def test_parameters_can_be_set_by_name():
    assert VAE().set_params(latent_dim=4, objective="elbo:beta=2").get_params()["latent_dim"] == 4
    with pytest.raises(ValueError, match="latent_dims"):
        VAE().set_params(latent_dims=4)


def test_fit_returns_itself_and_starts_afresh(table):
    vae = VAE(latent_dim=2, **TINY)
    assert vae.fit(TABLE[:50]) is vae
    assert np.array_equal(vae.fit(TABLE).transform(TABLE), table.transform(TABLE))


def test_in_a_pipeline():
    pipe = make_pipeline(StandardScaler(), VAE(latent_dim=2, **TINY))
    z = pipe.fit_transform(TABLE)
    assert z.shape == (90, 2)
    assert np.array_equal(pipe.transform(TABLE), z)
    assert pipe.score_samples(TABLE).shape == (90,)
    assert np.isfinite(pipe.score(TABLE))
    assert pipe.inverse_transform(z).shape == (90, 5)
    assert pipe.set_params(vae__latent_dim=3).fit(TABLE).transform(TABLE).shape == (90, 3)


def test_labels_are_ignored(table):
    vae = VAE(latent_dim=2, **TINY).fit(TABLE, np.arange(90))
    assert np.array_equal(vae.transform(TABLE), table.transform(TABLE))
    assert vae.score(TABLE, np.arange(90)) == table.score(TABLE)


# Shapes and meanings


def test_shapes_of_a_table(table):
    z = table.transform(TABLE)
    assert z.shape == (90, 2)
    assert table.inverse_transform(z).shape == (90, 5)
    assert table.sample(7).shape == (7, 5)
    assert table.sample().shape == (1, 5)
    assert table.score_samples(TABLE).shape == (90,)
    for array in (z, table.inverse_transform(z), table.sample(3), table.score_samples(TABLE)):
        assert array.dtype == np.float64
        assert np.isfinite(array).all()
    assert table.n_features_in_ == 5
    assert table.schema_.shape == (5,)


def test_shapes_of_images(images):
    z = images.transform(IMAGES)
    assert z.shape == (120, 3)
    assert images.inverse_transform(z).shape == (120, 8, 8)
    x = images.sample(300)
    assert x.shape == (300, 8, 8)
    assert np.array_equal(x, x.round())  # whole numbers, as the data
    mean = images.sample(300, mean=True)
    assert mean.shape == (300, 8, 8)
    assert mean.min() >= 0
    assert mean.max() <= 16
    assert not np.array_equal(mean, mean.round())


def test_the_score_is_the_mean_of_the_rows(table):
    assert table.score(TABLE) == pytest.approx(table.score_samples(TABLE).mean(), rel=1e-12)


def test_the_numbers_are_in_the_data_s_units(table):
    """x → ax + b shifts log p(x) by −log|a| a column and nothing else."""
    scaled = VAE(latent_dim=2, **TINY).fit(TABLE * 1000 - 7)
    shift = table.score_samples(TABLE) - scaled.score_samples(TABLE * 1000 - 7)
    assert np.median(shift) == pytest.approx(5 * np.log(1000), abs=0.2)
    x = scaled.inverse_transform(scaled.transform(TABLE * 1000 - 7))
    assert abs(x.mean() - (TABLE * 1000 - 7).mean()) < 200


def test_more_importance_samples_are_tighter(table):
    loose = clone(table).set_params(importance_samples=1).fit(TABLE).score(TABLE)
    tight = clone(table).set_params(importance_samples=500).fit(TABLE).score(TABLE)
    assert tight > loose
    assert tight > table.lower_bound_


def test_the_history_and_the_bound():
    vae = VAE(latent_dim=2, **(TINY | {"max_epochs": 120, "patience": 0}), objective="elbo:beta=0.5").fit(TABLE)
    steps = [record["step"] for record in vae.history_]
    assert steps[-1] == 120 * (90 // 32)
    assert vae.n_iter_ == 120
    for record in vae.history_:
        assert record["elbo"] == pytest.approx(-record["rate"] - record["distortion"], rel=1e-6)  # β = 1, whatever β is
        assert "validation_elbo" not in record
    schema, x = vae.schema_, TABLE
    value = over_rows(ELBO(200), vae.model_, Dataset(x, schema, seed=0).blocks(90), 1).value.numpy()
    assert vae.lower_bound_ == pytest.approx(value.mean(), abs=5 * 3 / np.sqrt(90))
    assert vae.lower_bound_ > VAE(latent_dim=2, **TINY).fit(TABLE).lower_bound_


def test_rows_can_be_held_out():
    vae = VAE(latent_dim=2, **(TINY | {"max_epochs": 150, "validation_fraction": 0.4})).fit(TABLE)
    assert all({"elbo", "validation_elbo"} <= set(record) for record in vae.history_)
    assert vae.data_["train"] == 54
    assert vae.data_["validation"] == 36
    assert vae.state_.best_value == max(record["validation_elbo"] for record in vae.history_)


def test_verbose_prints_and_silence_does_not(capsys):
    VAE(latent_dim=1, **TINY).fit(TABLE)
    assert capsys.readouterr() == ("", "")
    VAE(latent_dim=1, **TINY, verbose=1).fit(TABLE)
    assert "ELBO" in capsys.readouterr().out


# A row's score is its own


@pytest.mark.parametrize("which", ["table", "images"])
def test_a_row_s_score_does_not_depend_on_its_neighbours(which, request):
    vae = request.getfixturevalue(which)
    x = TABLE if which == "table" else IMAGES
    order = np.random.default_rng(1).permutation(len(x))
    rounding = 1e-6  # of latents, which come in blocks
    for method, off in ((vae.score_samples, 1e-7), (vae.transform, rounding)):
        whole = method(x)
        assert np.array_equal(method(x), whole)
        np.testing.assert_allclose(method(x[order]), whole[order], rtol=off, atol=off)
        np.testing.assert_allclose(method(x[7:8]), whole[7:8], rtol=off, atol=off)
        np.testing.assert_allclose(method(np.repeat(x, 4, axis=0))[::4], whole, rtol=off, atol=off)
        np.testing.assert_allclose(method(x[:33]), whole[:33], rtol=off, atol=off)


def test_the_first_score_of_a_process_is_like_all_others():
    """The first product in a thread of its own was once shared out between threads, and rounded in another way."""
    code = """if True:
        import numpy as np, torch
        from vaekit import VAE
        torch.set_num_threads(1)
        x = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3), dtype=np.uint8)
        vae = VAE(latent_dim=2, hidden=(8,), network="mlp", max_epochs=1, importance_samples=5, device="cpu").fit(x)
        print(np.array_equal(vae.score_samples(x[:5]), vae.score_samples(x[:5])))
    """
    several = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, env=several)
    assert found.stdout.split() == [b"True"], found.stderr


def test_a_latent_s_picture_does_not_depend_on_its_neighbours(images):
    z = images.transform(IMAGES)
    whole = images.inverse_transform(np.repeat(z, 3, axis=0))[::3]
    for rows in (slice(5, 6), slice(0, 40), slice(0, 120)):
        assert np.array_equal(images.inverse_transform(z[rows]), whole[rows])


def test_equal_rows_have_equal_scores_and_other_rows_other_noise(table):
    x = np.repeat(TABLE[:1], 3, axis=0)
    assert len(set(table.score_samples(x))) == 1
    assert len(set(table.score_samples(TABLE))) == 90


def test_scores_of_dynamically_binarised_rows_repeat():
    vae = VAE(latent_dim=2, **TINY, binarize="dynamic").fit(IMAGES)
    scores = vae.score_samples(IMAGES)
    np.testing.assert_allclose(vae.score_samples(IMAGES[::-1])[::-1], scores, rtol=1e-7)


# Randomness


def test_the_random_state_repeats_the_fit(table):
    torch.manual_seed(5)
    same = VAE(latent_dim=2, **TINY, random_state=0).fit(TABLE)
    assert np.array_equal(same.transform(TABLE), table.transform(TABLE))
    assert np.array_equal(same.sample(9, random_state=0), table.sample(9, random_state=0))
    assert same.history_ == table.history_
    assert same.lower_bound_ == table.lower_bound_
    other = VAE(latent_dim=2, **TINY, random_state=1).fit(TABLE)
    assert not np.array_equal(other.transform(TABLE), table.transform(TABLE))


def test_a_sample_repeats_for_a_number_and_else_is_another():
    vae = VAE(latent_dim=2, **TINY).fit(TABLE)
    draws = [vae.sample(4, random_state=seed) for seed in (0, 0, 1, None, None)]
    assert np.array_equal(draws[0], draws[1])
    assert all(not np.array_equal(a, b) for i, a in enumerate(draws[1:]) for b in draws[i + 2 :])
    np.random.seed(3)  # None is NumPy's global state, as in all of scikit-learn
    one = vae.sample(4)
    np.random.seed(3)
    assert np.array_equal(vae.sample(4), one)


def test_a_generator_is_a_random_state_too():
    a, b = (VAE(latent_dim=2, **TINY, random_state=np.random.RandomState(3)).fit(TABLE) for _ in range(2))
    assert np.array_equal(a.transform(TABLE), b.transform(TABLE))


def test_global_random_states_are_left_alone(table):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    vae = VAE(latent_dim=2, **TINY).fit(TABLE)
    vae.score_samples(TABLE)
    vae.sample(3, random_state=0)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


# Kinds of input


@pytest.mark.parametrize(
    "convert",
    [torch.from_numpy, lambda x: torch.from_numpy(x).requires_grad_(), np.asfortranarray, lambda x: x.tolist()],
    ids=["tensor", "tensor with a gradient", "Fortran", "lists"],
)
def test_other_arrays_of_the_same_numbers(table, convert):
    vae = VAE(latent_dim=2, **TINY).fit(convert(TABLE))
    assert np.array_equal(vae.transform(convert(TABLE)), table.transform(TABLE))
    assert np.array_equal(vae.score_samples(convert(TABLE)), table.score_samples(TABLE))


def test_tensors_of_images(images):
    vae = VAE(latent_dim=3, **TINY).fit(torch.from_numpy(IMAGES))
    assert np.array_equal(vae.transform(torch.from_numpy(IMAGES)), images.transform(IMAGES))


def test_a_frame_has_column_names(table):
    frame = polars.DataFrame(TABLE, schema=["a", "b", "c", "d", "e"])
    vae = VAE(latent_dim=2, **TINY).fit(frame)
    assert vae.feature_names_in_.tolist() == ["a", "b", "c", "d", "e"]
    assert vae.schema_.names == ("a", "b", "c", "d", "e")
    assert np.array_equal(vae.transform(frame), table.transform(TABLE))
    assert np.array_equal(vae.transform(frame.select("b", "a", "c", "d", "e")), vae.transform(frame))
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(frame.select("a", "b", "c", "d"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_numbers_of_any_type(dtype):
    x = (RNG.integers(0, 2, (40, 3))).astype(dtype)
    vae = VAE(latent_dim=1, **TINY).fit(x)
    assert vae.settings_.model.likelihood == "bernoulli"
    assert np.isfinite(vae.score_samples(x)).all()


def test_one_column_and_few_rows():
    x = np.array([[0.0], [1.5], [2.0]])
    vae = VAE(latent_dim=1, hidden=(), max_epochs=2, device="cpu").fit(x)
    assert vae.sample(2).shape == (2, 1)
    assert np.isfinite(vae.score_samples(x)).all()


COUNTS = RNG.integers(0, 6, (60, 4))
GREY = RNG.uniform(0, 1, (60, 4, 4))


@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({"likelihood": "gaussian:sigma=shared"}, TABLE),
        ({"likelihood": "gaussian:sigma=unit"}, TABLE),
        ({"likelihood": "gaussian"}, TABLE),
        ({"likelihood": "auto"}, TABLE),
        ({"likelihood": "gaussian:sigma=shared", "posterior": "full"}, TABLE),
        ({"likelihood": "gaussian:sigma=shared", "objective": "elbo:samples=3"}, TABLE),
        ({"likelihood": "gaussian:sigma=shared", "activation": "tanh", "network": "mlp"}, TABLE),
        ({"likelihood": "gaussian:sigma=shared", "hidden": ()}, TABLE),
        ({"likelihood": "gaussian"}, COUNTS),
        ({"likelihood": "discretized-logistic"}, COUNTS),
        ({"likelihood": "discretized-logistic"}, IMAGES),
        ({"likelihood": "bernoulli"}, (COUNTS > 2).astype(int)),
        ({"likelihood": "bernoulli", "binarize": "dynamic"}, GREY),
        ({"binarize": "threshold"}, GREY),
        ({"binarize": "expected"}, IMAGES),
    ],
    ids=str,
)
def test_every_choice_fits_and_scores(options, x):
    vae = VAE(**{"latent_dim": 2, **TINY, "max_epochs": 2, **options}).fit(x)
    scores = vae.score_samples(x)
    assert np.isfinite(scores).all()
    assert scores.std() > 0
    assert np.isfinite(vae.lower_bound_)
    assert vae.sample(3).shape == (3, *x.shape[1:])
    if vae.model_.likelihood.integers:
        assert (scores <= 0).all()  # a probability


# Saved and loaded


@pytest.mark.parametrize("which", ["table", "images"])
def test_what_is_loaded_is_what_was_saved(which, request, tmp_path):
    vae = request.getfixturevalue(which)
    x = TABLE if which == "table" else IMAGES
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run")
    assert isinstance(again, VAE)
    assert np.array_equal(again.transform(x), vae.transform(x))
    assert np.array_equal(again.score_samples(x), vae.score_samples(x))
    assert np.array_equal(again.sample(5, random_state=0), vae.sample(5, random_state=0))
    assert np.array_equal(again.inverse_transform(vae.transform(x)), vae.inverse_transform(vae.transform(x)))
    assert again.history_ == vae.history_
    assert again.schema_ == vae.schema_
    assert (again.n_iter_, again.n_features_in_) == (vae.n_iter_, vae.n_features_in_)
    assert again.lower_bound_ == vae.lower_bound_
    for name in ("latent_dim", "hidden", "objective", "importance_samples", "random_state"):
        assert again.get_params()[name] == vae.get_params()[name], name
    again.save(tmp_path / "again")
    assert np.array_equal(vaekit.load(tmp_path / "again").score_samples(x), vae.score_samples(x))
    assert np.array_equal(clone(again).fit(x).transform(x), vae.transform(x))  # with every "auto" as it was resolved


def test_names_and_held_out_rows_are_loaded_too(tmp_path):
    frame = polars.DataFrame(TABLE, schema=["a", "b", "größe", "d", "e"])
    vae = VAE(latent_dim=1, **(TINY | {"validation_fraction": 0.25})).fit(frame)
    vae.save(tmp_path / "run")
    again = vaekit.load(tmp_path / "run")
    assert again.feature_names_in_.tolist() == frame.columns
    assert again.validation_fraction == 0.25
    assert np.array_equal(again.transform(frame), vae.transform(frame))


def test_saving_over_a_run_must_be_asked_for(table, images, tmp_path):
    table.save(tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run"):
        images.save(tmp_path / "run")
    assert np.array_equal(vaekit.load(tmp_path / "run").transform(TABLE), table.transform(TABLE))
    images.save(tmp_path / "run", overwrite=True)
    assert vaekit.load(tmp_path / "run").latent_dim == 3


def test_a_damaged_run_is_not_loaded(table, tmp_path):
    table.save(tmp_path / "run")
    (path,) = (tmp_path / "run").glob("checkpoint-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=path.name):
        vaekit.load(tmp_path / "run")
    with pytest.raises(ValueError, match="no run folder"):
        vaekit.load(tmp_path / "nothing")


# Bad input


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("method", ["fit", "transform", "score_samples"])
def test_a_cell_that_is_not_finite_is_named_by_row_and_column(table, method, bad):
    x = TABLE.copy()
    x[17, 3] = bad
    vae = clone(table) if method == "fit" else table
    with pytest.raises(ValueError, match=r"row 17.*column 3") as error:
        getattr(vae, method)(x)
    assert str(bad) in str(error.value)


def test_a_cell_of_a_frame_is_named_by_its_column():
    frame = polars.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, float("inf"), 2.0]})
    with pytest.raises(ValueError, match=r"row 1.*'b'"):
        VAE(latent_dim=1, **TINY).fit(frame)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (TABLE[:, 0], "1D|shape"),
        (np.zeros((0, 3)), "0 sample|no rows"),
        (np.array([["a", "b"]] * 4), "no columns of text: give a frame"),
        (np.array([[1 + 1j, 2]] * 4), "[Cc]omplex"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(x, words):
    with pytest.raises(ValueError, match=words):
        VAE(latent_dim=1, **TINY).fit(x)


def test_another_shape_is_refused(table, images):
    with pytest.raises(ValueError, match=r"4.*5"):
        table.transform(TABLE[:, :4])
    with pytest.raises(ValueError, match=r"\(8, 7\).*\(8, 8\)"):
        images.score_samples(IMAGES[:, :, :7])
    with pytest.raises(ValueError, match=r"shape|features"):
        images.score_samples(IMAGES.reshape(120, 64))


def test_a_value_outside_the_support_is_named(images):
    x = IMAGES.astype(np.float32)
    x[5, 2, 1] = 16.5
    with pytest.raises(ValueError, match=r"row 5.*pixel \(2, 1\) is 16\.5"):
        images.score_samples(x)


@pytest.mark.parametrize("shape", [(4, 3), (4,), (0, 2), (2, 2, 2)])
def test_latents_of_another_shape_are_refused(table, shape):
    with pytest.raises(ValueError, match="Z"):
        table.inverse_transform(np.zeros(shape))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": 2.5}, "latent_dim"),
        ({"likelihood": "gausian"}, "'gaussian'"),
        ({"likelihood": "bernoulli"}, "0 and 1"),
        ({"likelihood": "discretized-logistic"}, "whole numbers"),
        ({"posterior": "ful"}, "'full'"),
        ({"prior": "standrad"}, "standard"),
        ({"objective": "elb"}, "'elbo'"),
        ({"activation": "tahn"}, "'tanh'"),
        ({"network": "conv"}, "mlp"),
        ({"binarize": "dynamic"}, "binarise"),
        ({"hidden": 8}, "hidden"),
        ({"hidden": (0,)}, "hidden"),
        ({"objective": "elbo:samples=0"}, "samples"),
        ({"objective": "elbo:beta=-1"}, "beta"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"hidden": "wide"}, "hidden is 'wide': give the widths"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"validation_fraction": 1.0}, "validation"),
        ({"importance_samples": 0}, "importance_samples"),
        ({"random_state": -1}, "seed|random_state"),
        ({"device": "gpu"}, "gpu"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_named_when_fitting(options, word):
    with pytest.raises(ValueError, match=word):
        VAE(**{"latent_dim": 1, **TINY, **options}).fit(TABLE)


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score_samples", "score", "sample", "save"])
def test_nothing_works_before_fitting(method, tmp_path):
    argument = {"sample": 3, "save": tmp_path / "run"}.get(method, TABLE)
    with pytest.raises(NotFittedError):
        getattr(VAE(), method)(argument)


def test_no_samples_are_refused(table):
    with pytest.raises(ValueError, match="n_samples"):
        table.sample(0)


# The truth


@pytest.mark.slow
def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca():
    """With linear networks and one learned σ the best bound *is* log p(x) of probabilistic PCA (Lucas et al. 2019,
    arXiv:1911.02469): −½ [d log 2π + Σ_{i≤k} log λ_i + (d − k) log σ² + d] a row, λ the covariance's eigenvalues."""
    x = load_breast_cancer().data
    x = (x - x.mean(0)) / x.std(0)
    d, k = 30, 5
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, ddof=0)))[::-1]
    noise = eigenvalues[k:].mean()
    truth = -0.5 * (d * np.log(2 * np.pi) + np.log(eigenvalues[:k]).sum() + (d - k) * np.log(noise) + d)
    assert truth == pytest.approx(-24.625057, abs=1e-6)
    vae = VAE(
        latent_dim=k, hidden=(), likelihood="gaussian:sigma=shared", max_epochs=1500, batch_size=284,
        learning_rate=3e-2, validation_fraction=0.0, patience=0, device="cpu",
    ).fit(x)  # fmt: skip
    rows = Dataset(x, vae.schema_, seed=0)
    draws = torch.stack([over_rows(ELBO(1), vae.model_, rows.blocks(569), draw).value for draw in range(64)])
    bound, error = draws.mean().item(), draws.std(0).square().sum().sqrt().item() / 569 / 8
    assert truth - 0.05 < bound < truth + 4 * error
    assert abs(vae.lower_bound_ - bound) < 4 * 8 * error + 4 * error
    assert vae.model_.likelihood.log_sigma().exp().mean().item() == pytest.approx(np.sqrt(noise), rel=0.01)
    assert bound <= vae.score(x) + 4 * error
    assert vae.score(x) < truth + 4 * error


# images in colour


# Numbers as they come

SMALL = {
    "latent_dim": 1,
    "hidden": (16,),
    "max_epochs": 20,
    "batch_size": 64,
    "importance_samples": 10,
    "device": "cpu",
}


@pytest.mark.slow
@pytest.mark.parametrize(("value", "cells"), [(1e6, 1), (1e20, 4), (-3e4, 1)])
def test_extreme_cells_cost_the_other_rows_next_to_nothing(value, cells):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(900, 3)) @ rng.normal(size=(3, 3)) + [0, 50, -5]
    clean = x[cells:].copy()
    x[:cells, 1] = value
    with pytest.warns(UserWarning, match=rf"{cells} of 900 cells of column 1 lies? outside"):
        vae = VAE(**SMALL).fit(x)
    wanted = VAE(**SMALL).fit(clean).score_samples(clean)
    found = vae.score_samples(x)
    assert np.abs(found[cells:].mean() - wanted.mean()) < 0.1
    assert np.isfinite(found).all()  # every cell counts, and is as surprising as it is
    assert (found[:cells] < -100).all()
    assert np.isfinite(vae.transform(x)).all()
    assert np.abs(vae.sample(200)).max() < 300


def test_a_fit_that_ends_below_simple_models_says_so():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    with pytest.warns(UserWarning, match="on the rows held out, the model is worse than simple ones: .*Gaussian is"):
        VAE(start="random", max_epochs=1, device="cpu").fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VAE(4, "gaussian", max_epochs=1, device="cpu").fit(x)  # starts at factor analysis, the truth
        VAE(start="random", max_epochs=1, validation_fraction=0.0, device="cpu").fit(x)  # not known


@pytest.mark.parametrize("likelihood", but_few_slow(["auto", "gaussian:sigma=shared"]))
def test_constants_are_given_back_and_cost_nothing(likelihood, tmp_path):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(400, 2)).round(1), np.full(400, 250.0), np.full(400, 0.1)])
    vae = VAE(**SMALL, likelihood=likelihood).fit(x)
    for again in (vae.sample(50), vae.sample(50, mean=True), vae.inverse_transform(vae.transform(x))):
        assert (again[:, 2:] == [250, 0.1]).all()
    alone = VAE(**SMALL, likelihood=likelihood).fit(x[:, :2])
    assert vae.score(x) == pytest.approx(alone.score(x[:, :2]), abs=0.1)
    changed = x[:5].copy()
    changed[:, 2] = 251
    assert (vae.score_samples(changed) < vae.score_samples(x[:5]) - 20).all()
    vae.save(tmp_path / "run")
    assert np.array_equal(
        vaekit.load(tmp_path / "run", device="cpu").score_samples(changed), vae.score_samples(changed)
    )


def test_a_constant_pixel_is_given_back():
    x = np.full((200, 6, 6), -1000.0)
    x[:, 2:5, 2:5] = np.random.default_rng(0).normal(40, 12, (200, 3, 3))
    vae = VAE(**SMALL, likelihood="gaussian").fit(x)
    drawn = vae.sample(30)
    constant = np.ones((6, 6), bool)
    constant[2:5, 2:5] = False
    assert (drawn[:, constant] == -1000).all()
    assert drawn[:, ~constant].mean() == pytest.approx(40, abs=3)
    assert vae.model_.likelihood.sigmas == 9


@pytest.mark.parametrize("offset", but_few_slow([2.0**30, 101_325.0, 0]))
def test_the_density_does_not_know_where_0_is(offset):
    x = np.random.default_rng(0).normal(size=(300, 3)).round(2)
    vae, shifted = VAE(**SMALL).fit(x), VAE(**SMALL).fit(x + offset)
    assert shifted.score(x + offset) == pytest.approx(vae.score(x), abs=0.02)
    assert shifted.sample(100).mean() == pytest.approx(offset, abs=1)


def test_whole_numbers_far_from_0_are_whole_numbers_in_their_range():
    x = np.random.default_rng(0).integers(0, 40, (300, 2)) + np.array([1_700_000_000, 5])
    vae = VAE(**SMALL).fit(x)
    drawn = vae.sample(300)
    assert (drawn == drawn.round()).all()
    assert (drawn >= x.min(0)).all()
    assert (drawn <= x.max(0)).all()
    assert vae.settings_.model.likelihood == "discretized-logistic"
    assert np.array_equal(vae.score_samples(x[:9]), vae.score_samples(x)[:9])


def test_the_range_of_whole_numbers_can_be_opened(tmp_path):
    x = np.random.default_rng(0).integers(1, 13, (300, 2))
    vae = VAE(**SMALL).fit(x)
    known, next_to_it, beyond, far = vae.score_samples([[3, 12], [3, 13], [3, 14], [3, 1000]])
    assert known - next_to_it > 5  # surprising, and not impossible: new rows can hold what none had
    assert next_to_it > beyond > far > -50
    assert vae.sample(5000, random_state=0).max() <= 12
    opened = VAE(**SMALL, likelihood="discretized-logistic:range=open").fit(x)
    assert np.isfinite(opened.score_samples([[0, 14]])).all()
    opened.save(tmp_path / "run")
    loaded = vaekit.load(tmp_path / "run", device="cpu")
    assert loaded.likelihood == "discretized-logistic:range=open"
    assert loaded.score_samples([[0, 14]]) == opened.score_samples([[0, 14]])


@pytest.mark.slow
def test_one_large_count_leaves_counts_counts():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.5, 3, (500, 8)))
    x[0, 0] = 2000
    with pytest.warns(UserWarning, match="1 of 500 cells of column 0"):
        vae = VAE(**SMALL).fit(x)
    assert vae.settings_.model.likelihood == "discretized-logistic"
    drawn = vae.sample(300)
    assert drawn.min() == 0
    assert (drawn == drawn.round()).all()
    with pytest.warns(UserWarning, match="is never negative"):
        gaussian = VAE(**SMALL, likelihood="gaussian").fit(x[1:])
    assert vae.score(x[1:]) > gaussian.score(x[1:]) + 1


def test_mass_where_no_value_can_be_is_said():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.where(rng.random(400) < 0.9, 0.0, rng.lognormal(5, 1, 400)), rng.normal(size=400)])
    options = {"latent_dim": 1, "hidden": (), "max_epochs": 3, "device": "cpu", "likelihood": "gaussian"}
    with pytest.warns(UserWarning, match=r"column 0 is never negative in the data, and \d\d% of what"):
        VAE(**options).fit(x)
    VAE(**options).fit(x + np.array([2000, 0]))  # as far from 0, a Gaussian is right about that


@pytest.mark.slow
def test_log_p_does_not_depend_on_the_shape_of_the_rows():
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(12) / 3 + rng.uniform(0, 6, (150, 1)))
    x = np.stack([900 + 40 * wave, 1e-3 * wave, wave, wave], -1) + rng.normal(size=(150, 12, 4)) * [4, 1e-4, 1, 1]
    fitted = lambda x: VAE(latent_dim=2, hidden=(8,), max_epochs=3, device="cpu").fit(x)  # noqa: E731
    flat = fitted(x.reshape(150, -1)).score_samples(x.reshape(150, -1))
    for shape in ((12, 4), (4, 12), (48, 1), (1, 48), (3, 4, 4), (12, 1, 4)):
        vae = fitted(x.reshape(150, *shape))
        assert np.array_equal(vae.score_samples(x.reshape(150, *shape)), flat), shape
        assert vae.sample(2).shape == (2, *shape)


def test_the_kind_of_rows_can_be_stated(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 20, 3)) * [1, 5, 30]
    for kind in ("image", "sequence", "table"):
        options = {"hidden": (8,), "network": "mlp", "max_epochs": 1, "importance_samples": 5, "device": "cpu"}
        vae = VAE(latent_dim=2, kind=kind, **options).fit(x)
        assert vae.schema_.layout == kind
        again = reopened(vae, tmp_path / kind)
        assert again.kind == kind
        assert np.array_equal(again.score_samples(x[:1]), vae.score_samples(x[:1]))
    with pytest.raises(VaekitError, match="height"):
        VAE(kind="image").fit(x[:, 0])


@pytest.mark.slow
def test_an_image_may_have_any_number_of_latents():
    """More than there are Sobol dimensions: 16 at each of 38 × 37 places."""
    x = np.random.default_rng(0).integers(0, 256, (6, 300, 290)).astype(np.uint8)
    vae = VAE(latent_dim="auto", network="local", hidden=(2, 2, 2), max_epochs=1, validation_fraction=0.3,
              importance_samples=3, device="cpu").fit(x)  # fmt: skip
    assert vae.model_.latent_dim > torch.quasirandom.SobolEngine.MAXDIM
    assert np.isfinite(vae.history_[-1]["validation_elbo"])
    assert np.isfinite(vae.score_samples(x[:2])).all()


@pytest.mark.parametrize(
    "shape", but_few_slow([(3, 6, 8), (6, 8, 1), (6, 8, 3), (1, 6, 8), (8, 8, 4), (8, 9, 2), (6, 7, 8)], quick=2)
)
def test_images_keep_the_layout_of_their_channels(tmp_path, shape):
    x = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    vae = VAE(latent_dim=2, hidden=(8,), network="mlp", max_epochs=1, importance_samples=5, device="cpu").fit(x)
    assert vae.schema_.is_image
    for model in (vae, reopened(vae, tmp_path)):
        assert model.sample(3).shape == (3, *shape)
        assert model.inverse_transform(model.transform(x)).shape == x.shape
    one, other = vae.score_samples(x[:5]), reopened(vae, tmp_path).score_samples(x[:5])
    assert np.array_equal(one, other)


def reopened(vae, folder):
    vae.save(folder / "run", overwrite=True)
    return vaekit.load(folder / "run", device="cpu")


def test_images_are_taken_in_either_layout_and_scored_alike():
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3), dtype=np.uint8)
    vae = VAE(latent_dim=2, hidden=(8,), network="mlp", max_epochs=1, importance_samples=5, device="cpu").fit(x)
    assert np.array_equal(vae.score_samples(x[:5]), vae.score_samples(np.moveaxis(x[:5], -1, 1)))
    with pytest.raises(ValueError, match="shape"):
        vae.score_samples(x[:5, :, :, :1])


def test_a_mapped_array_gives_what_one_in_memory_does(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, other = (VAE(latent_dim=2, **TINY).fit(x) for x in (TABLE, mapped))
    assert np.array_equal(one.score_samples(TABLE), other.score_samples(mapped))


@pytest.mark.slow
def test_fits_in_threads_are_those_of_one_alone():
    x = np.random.default_rng(0).normal(size=(60, 4))
    fit = lambda seed: VAE(latent_dim=2, max_epochs=1, random_state=seed).fit(x).transform(x)  # noqa: E731
    alone = [fit(seed) for seed in range(8)]
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        beside = list(pool.map(fit, range(8)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, beside, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_cells_may_be_missing_in_new_rows_alone():
    """A model of complete rows whose posterior is one for holes knows them exactly where it is linear; another's
    scores are too low, and it says so."""
    rng = np.random.default_rng(0)
    loading = rng.normal(size=(2, 12))
    draw = lambda n: rng.normal(size=(n, 2)) @ loading + 0.5 * rng.normal(size=(n, 12))  # noqa: E731
    train, rows = draw(400), draw(100)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    options = {"latent_dim": 2, "hidden": (), "likelihood": "gaussian", "max_epochs": 1, "device": "cpu"}
    vae = VAE(posterior="experts", **options).fit(train)
    covariance = loading.T @ loading + 0.25 * np.eye(12)
    exact = []
    for row in rows:
        o = ~np.isnan(row)
        exact.append(stats.multivariate_normal(np.zeros(o.sum()), covariance[np.ix_(o, o)]).logpdf(row[o]))
    assert vae.score(rows) == pytest.approx(np.mean(exact), abs=0.2)
    assert not np.isnan(vae.score_samples(train)).any()
    filled, spread = vae.impute(rows, spread=True, samples=200)
    hidden = np.isnan(rows)
    assert filled.shape == spread.shape == rows.shape
    assert (spread[~hidden] == 0).all()
    assert (spread[hidden] > 0.4).all()
    with pytest.raises(VaekitError, match="leave out draws"):
        vae.impute(rows, spread=True, draws=2)
    other = VAE(**options).fit(train)
    with pytest.warns(UserWarning, match="knows nothing of them.*posterior='experts' knows"):
        assert other.score(rows) < np.mean(exact) - 0.5


def test_latents_have_names_for_frames():
    vae = VAE(latent_dim=2, **TINY).set_output(transform="polars").fit(TABLE)
    assert vae.get_feature_names_out().tolist() == ["vae0", "vae1"]
    assert vae.transform(TABLE[:3]).columns == ["vae0", "vae1"]


def test_columns_may_be_a_dict():
    kinds = {"a, b": "count", "c": "category"}
    frame = polars.DataFrame({"a, b": [0, 1, 2, 3] * 9, "c": [1, 2, 1, 3] * 9})
    vae = VAE(columns=kinds, latent_dim=1, hidden=(), max_epochs=1, device="cpu").fit(frame)
    assert vae.schema_.kinds == ("count", "category")
    assert vae.get_params()["columns"] == kinds
