"""A run as plain data: every automatic choice written down, every wrong value named."""

import math
import tomllib

import numpy as np
import pytest
import tomli_w
import torch

from vaekit import inference
from vaekit.core import Batch, UnknownError
from vaekit.data import Dataset, Source, describe, load
from vaekit.data.layout import Layout
from vaekit.distributions.sphere import SPACE
from vaekit.errors import VaekitError
from vaekit.models import VAE
from vaekit.noise import generator
from vaekit.objectives import DIPI, ELBO, MMD, ImportanceWeighted, TotalCorrelation
from vaekit.parts import likelihoods
from vaekit.settings import (
    Settings,
    build_model,
    build_objective,
    build_recipe,
    check_rows_fit,
    choose_device,
    coarse,
    extremes,
    prepare,
    resolve,
    shortfall,
    tables,
)

RNG = np.random.default_rng(0)
REAL = Source(RNG.normal(size=(60, 4)), ("a", "b", "c", "d"), name="real.csv")
BINARY = Source(RNG.integers(0, 2, (60, 4)).astype(np.float64), name="binary.npy")
COUNTS = Source(RNG.integers(0, 9, (60, 4)), name="counts.npy")
WIDE = Source(RNG.integers(0, 1000, (60, 4)), name="wide.npy")
MIXED = Source(np.column_stack([WIDE.x, REAL.x]), name="mixed.npy")
IMAGES = Source(RNG.integers(0, 10, (60, 3, 3)), name="images.npy", layout="image")
COLOUR = Source(RNG.integers(0, 256, (60, 3, 4, 4)).astype(np.uint8), name="colour.npy")
GREY = Source(RNG.integers(0, 256, (60, 6, 6)).astype(np.uint8), name="grey.npy", layout="image")


def automatic(source: Source, **changes):
    split = source.split(0, 0.1, 0.1)
    settings = Settings().changed(**changes)
    schema = describe(source.x, source.names, split["train"], source.layout)
    if settings.data.binarize != "none":
        schema = schema.as_binary(settings.data.binarize)
    return resolve(settings, schema, len(split["train"]), len(split["validation"]) > 0)


# What "auto" becomes


@pytest.mark.parametrize("source", [REAL, BINARY, COUNTS, WIDE, GREY], ids=lambda source: source.name)
def test_nothing_stays_automatic_but_the_device_and_each_choice_has_a_reason(source):
    settings, reasons = automatic(source)
    left = {key for section in settings.to_dict().values() for key, value in section.items() if value == "auto"}
    assert left == {"device"}
    before = Settings().to_dict()
    asked = {key for section in before.values() for key, value in section.items() if value == "auto"} - {"device"}
    assert set(reasons) == asked - {"kind", "prior"}  # the source knows the one, and the other is the usual
    assert all(reasons.values())
    again, none = resolve(settings, describe(source.x, layout=source.layout), 48, True)
    assert (again, none) == (settings, {})


@pytest.mark.parametrize("source", [REAL, COUNTS, GREY], ids=lambda source: source.name)
def test_what_is_written_is_what_is_read(source):
    settings, _ = automatic(source, hidden=(), exclude=("größe", 'a "b"'), validation="/data/held out.csv")
    text = tomli_w.dumps(settings.to_dict())
    assert Settings.from_dict(tomllib.loads(text)) == settings
    assert Settings.from_dict(settings.to_dict()) == settings
    assert Settings.from_dict({}) == Settings()


@pytest.mark.parametrize(
    ("source", "changes", "likelihood"),
    [
        (REAL, {}, "student-t"),
        (BINARY, {}, "bernoulli"),
        (COUNTS, {}, "discretized-logistic"),
        (GREY, {}, "discretized-logistic"),
        (COLOUR, {}, "colour-logistic"),
        (WIDE, {}, "discretized-logistic"),
        (MIXED, {}, "columns"),
        (GREY, {"binarize": "dynamic"}, "bernoulli"),
        (GREY, {"binarize": "expected"}, "bernoulli"),
        (COUNTS, {"likelihood": "gaussian:sigma=shared"}, "gaussian:sigma=shared"),
    ],
)
def test_the_likelihood_follows_from_the_data(source, changes, likelihood):
    settings, reasons = automatic(source, **changes)
    assert settings.model.likelihood == likelihood
    assert ("likelihood" in reasons) == ("likelihood" not in changes)


def test_what_was_asked_for_is_kept():
    asked = {"latent_dim": 3, "hidden": (7, 5), "epochs": 9, "batch_size": 11, "learning_rate": 0.5, "patience": 2}
    settings, reasons = automatic(
        REAL,
        **asked,
        activation="tanh",
        network="mlp",
        posterior="full",
        start="random",
        schedule="plateau",
        likelihood="gaussian:sigma=shared",
        precision="float32",
        compile="off",
    )
    flat = {key: value for section in settings.to_dict().values() for key, value in section.items()}
    assert {key: flat[key] for key in asked} == {**asked, "hidden": [7, 5]}
    assert reasons == {}


@pytest.mark.parametrize("rows", [1, 2, 17, 100, 1437, 60_000, 2_000_000])
def test_few_rows_get_few_steps_and_many_rows_more_until_the_bound_stops_rising(rows):
    schema = describe(REAL.x)
    settings, reasons = resolve(Settings(), schema, rows, True)
    training = settings.training
    assert 16 <= training.batch_size <= 256
    steps = build_recipe(settings, schema, rows).steps
    most = 6_000 if rows < 2_000 else 80_000
    assert 0.9 * most <= steps <= most
    assert f"{steps:,} steps" in reasons["epochs"]
    assert training.schedule == "plateau"
    assert training.patience > 0
    assert resolve(Settings(), schema, rows, False)[0].training.patience == training.patience
    assert resolve(Settings().changed(epochs=7), schema, rows, True)[0].training.schedule == "cosine"


@pytest.mark.parametrize("network", tables.NETWORKS)
@pytest.mark.parametrize("instructions", [True, False])
def test_the_precision_is_halved_where_products_take_the_time_and_the_processor_can(monkeypatch, network, instructions):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": instructions} if instructions else {})
    settings, reasons = automatic(GREY, network=network, device="cpu")
    wide = network not in ("mlp", "skip")
    assert settings.training.precision == ("bfloat16" if wide and instructions else "float32")
    assert reasons["precision"]
    assert build_recipe(settings, describe(REAL.x), 48).precision == settings.training.precision
    for precision in ("float32", "bfloat16"):
        assert automatic(GREY, network=network, precision=precision)[0].training.precision == precision


@pytest.mark.parametrize(
    ("shape", "network", "latents"),
    [
        ((8, 8), "skip", 16), ((28, 28), "conv", 32), ((3, 32, 32), "conv", 32), ((47, 200), "conv", 32),
        ((64, 48), "local", 16 * 8 * 6), ((3, 256, 256), "local", 16 * 32 * 32),
    ],
)  # fmt: skip
def test_large_images_get_a_map_of_latents_and_small_ones_a_code(shape, network, latents):
    schema = describe(np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8))
    settings, reasons = resolve(Settings(), schema, 1000, False)
    assert (settings.model.network, settings.model.latent_dim) == (network, latents)
    assert ("a latent map" in reasons["network"]) == (network == "local")


def test_large_images_are_learned_in_small_batches_and_small_steps():
    rates = {}
    for side in (28, 64, 256):
        schema = describe(np.random.default_rng(0).integers(0, 256, (2, 3, side, side)).astype(np.uint8))
        training = resolve(Settings(), schema, 10_000, False)[0].training
        rates[side] = training.batch_size, training.learning_rate
    assert rates == {28: (64, 0.003), 64: (16, 0.001), 256: (16, 0.0004)}


@pytest.mark.parametrize(
    ("changes", "words"), [({"latent_dim": 5}, "multiple of 4"), ({"posterior": "full", "latent_dim": 8}, "diagonal")]
)
def test_a_map_of_latents_has_the_same_number_at_every_place(changes, words):
    with pytest.raises(VaekitError, match=words):
        prepare(Settings().changed(network="local", hidden=(4,), **changes), COLOUR)


def test_wide_layers_have_half_the_bits_and_narrow_ones_do_not(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    schema = describe(np.random.default_rng(0).integers(0, 256, (2, 28, 28)).astype(np.uint8))
    for hidden, precision in (((400,), "bfloat16"), ((64, 64), "float32"), ((), "float32")):
        settings = Settings().changed(network="mlp", hidden=hidden, device="cpu")
        assert resolve(settings, schema, 1000, False)[0].training.precision == precision


def test_a_recipe_counts_whole_batches():
    settings, _ = automatic(REAL, epochs=3, batch_size=20, learning_rate=0.1, patience=0, seed=4)
    recipe = build_recipe(settings, describe(REAL.x), 48)
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate, recipe.seed) == (6, 20, 0.1, 4)
    assert build_recipe(settings, describe(REAL.x), 5).batch_size == 5
    assert build_recipe(settings, describe(REAL.x), 5).steps == 3


# Wrong values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modle": {}}, ["'modle'", "'model'"]),
        ({"model": {"latent_dims": 3}}, ["'latent_dims'", "'latent_dim'", "[model]"]),
        ({"training": {"latent_dim": 3}}, ["'latent_dim'", "[training]"]),
        ({"model": 3}, ["[model]"]),
        ({"model": {"likelihood": "gausian"}}, ["'gausian'", "'gaussian'", "auto"]),
        ({"model": {"posterior": "diag"}}, ["'diag'", "diagonal"]),
        ({"model": {"prior": "standrad"}}, ["'standrad'", "standard"]),
        ({"model": {"network": "convnet"}}, ["'convnet'", "'conv'"]),
        ({"model": {"activation": "tan"}}, ["'tan'", "'tanh'"]),
        ({"training": {"objective": "elbow"}}, ["'elbow'", "'elbo'"]),
        ({"training": {"objective": "elbo:gradient=dreg"}}, ["'dreg'", "standard", "sticking-the-landing"]),
        ({"training": {"objective": "iwae:sample=3"}}, ["'sample'", "'samples'", "repeats"]),
        ({"training": {"objective": "iwae:samples"}}, ["'iwae:samples'"]),
        ({"training": {"objective": "elbo:beta,samples=2"}}, ["NAME:ARGUMENT=VALUE"]),
        ({"model": {"prior": "standard:width=3"}}, ["standard", "width"]),
        ({"model": {"likelihood": "gaussian:sigma=row"}}, ["'row'", "column", "shared"]),
        ({"data": {"binarize": "static"}}, ["'static'", "dynamic"]),
        ({"training": {"precision": "float16"}}, ["'float16'", "bfloat16", "float32", "auto"]),
        ({"training": {"device": "gpu"}}, ["'gpu'", "cuda"]),
        ({"model": {"likelihood": 3}}, ["3"]),
        ({"model": {"likelihood": []}}, ["likelihood"]),
        ({"data": {"source": 3}}, ["source", "3", "text"]),
        ({"data": {"exclude": "a"}}, ["exclude", "'a'", "list"]),
        ({"data": {"exclude": [3]}}, ["exclude", "3", "text"]),
    ],
)
def test_unknown_names_are_met_with_the_nearest_right_one(values, words):
    with pytest.raises(VaekitError) as error:
        Settings.from_dict(values)
    for word in words:
        assert word in str(error.value)


BAD = {
    "latent_dim": [0, -1, 1.5, "two", "3", True, None, float("nan"), []],
    "hidden": [(0,), (8, -1), (1.5,), ("x",), "8", 8, (True,)],
    "epochs": [0, 2.5, "many"],
    "batch_size": [0, "x", 0.5],
    "learning_rate": [0, 0.0, -1.0, 10**400, float("inf"), float("nan"), "fast"],
    "patience": [-1, 0.5],
    "seed": [-1, 0.5, "auto"],
    "validation": [-0.1, 1, 1.5, float("nan"), None],
    "test": [-0.1, 1.0, float("nan")],
}


BAD_ARGUMENTS = {
    "elbo:samples": ["0", "-2", "1.5", "auto", "inf", ""],
    "iwae:repeats": ["0", "-1", "1.5", "few"],
    "elbo:beta": ["-0.1", "nan", "inf", "half"],
    "iwae:warmup": ["-0.1", "1", "1.0", "500", "nan"],
    "elbo:free_bits": ["-0.1", "nan", "inf"],
}


@pytest.mark.parametrize(
    ("text", "value"), [(text, value) for text, values in BAD_ARGUMENTS.items() for value in values], ids=str
)
def test_arguments_out_of_range_are_named(text, value):
    name, _, argument = text.partition(":")
    with pytest.raises(VaekitError, match=f"{argument} of objective {name} is '{value}'"):
        Settings().changed(objective=f"{text}={value}")


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values], ids=str
)
def test_values_out_of_range_are_named(name, value):
    sections = Settings().to_dict()
    section = next(section for section, keys in sections.items() if name in keys)
    with pytest.raises(VaekitError, match=name) as error:
        Settings.from_dict({section: {name: value}})
    assert repr(value)[:10] in str(error.value) or isinstance(value, tuple)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", np.int64(3)),
        ("latent_dim", 3.0),
        ("learning_rate", 1),
        ("learning_rate", np.float32(0.5)),
        ("hidden", [np.int32(4)]),
    ],
)
def test_numbers_of_other_types_become_plain_ones(name, value):
    settings = Settings().changed(**{name: value})
    plain = {key: item for section in settings.to_dict().values() for key, item in section.items()}[name]
    assert type(plain) in (int, float, list)
    assert tomli_w.dumps(settings.to_dict())


@pytest.mark.parametrize(("name", "value", "words"), [
    ("learning_rate", 0, "learning_rate is 0: give a number, more than 0, or auto."),
    ("batch_size", 0, "batch_size is 0: give a whole number, 1 or more, or auto."),
    ("patience", -3, "patience is -3: give a whole number, 0 or more, or auto."),
    ("test", 1.5, "test is 1.5: give a number, 0 or more and below 1."),
])  # fmt: skip
def test_a_number_out_of_range_is_met_with_the_range(name, value, words):
    with pytest.raises(VaekitError) as error:
        Settings().changed(**{name: value})
    assert str(error.value) == words


def test_a_changed_specification_leaves_the_old_one():
    old = Settings()
    new = old.changed(epochs=3, objective="elbo:beta=2", latent_dim=None)
    assert old == Settings()
    assert (new.training.epochs, new.training.objective, new.model.latent_dim) == (3, "elbo:beta=2", "auto")


# The likelihood and the data


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        (GREY, {"likelihood": "bernoulli"}, "0 and 1.*binarize"),
        (REAL, {"likelihood": "bernoulli"}, "0 and 1"),
        (COUNTS, {"likelihood": "bernoulli"}, "0 and 1"),
        (REAL, {"likelihood": "discretized-logistic"}, "whole numbers"),
        (GREY, {"likelihood": "colour-logistic"}, "three colours"),
        (GREY, {"likelihood": "gaussian", "binarize": "dynamic"}, "bernoulli.*gaussian"),
        (COUNTS, {"likelihood": "discretized-logistic", "binarize": "dynamic"}, "bernoulli"),
        (REAL, {"binarize": "dynamic"}, "cannot binarise"),
    ],
)
def test_a_likelihood_that_gives_the_data_no_density_is_refused(source, changes, words):
    with pytest.raises(VaekitError, match=words):
        prepare(Settings().changed(**changes), source)


FITTED = {
    "bernoulli": (BINARY, {}, 0.5, 0.0),
    "binarised": (COUNTS, {"binarize": "dynamic"}, 9, 8),
    "expected": (GREY, {"binarize": "expected"}, None, 255),
    "discretized-logistic": (COUNTS, {}, 7.25, 8),
    "discretized-logistic, open": (COUNTS, {"likelihood": "discretized-logistic:range=open"}, -1, 30),
    "discretized-logistic, open, below 0": (
        Source(COUNTS.x - 4, name="signed.npy"),
        {"likelihood": "discretized-logistic:range=open"},
        0.5,
        -30,
    ),
    "discretized-logistic, large": (Source(COUNTS.x + 2**30, name="large.npy"), {}, 2**30 + 0.5, 2**30 + 8),
    "discretized-logistic, large, open": (
        Source(COUNTS.x + 2**30, name="large.npy"),
        {"likelihood": "discretized-logistic:range=open"},
        -1000,
        2**30 + 99,
    ),
    "discretized-logistic, halves": (COUNTS, {}, 0.5, 3.0),
    "discretized-logistic, images": (IMAGES, {}, 0.5, 10),
    "colour-logistic": (COLOUR, {}, 0.5, 9),
}


@pytest.mark.parametrize("name", FITTED)
def test_a_value_outside_the_support_is_named_by_row_and_column(name):
    source, changes, bad, good = FITTED[name]
    prepared = prepare(Settings().changed(**changes), source)
    likelihood = prepared.state.model.likelihood
    x = source.x.astype(np.float64)
    check_rows_fit(likelihood, prepared.schema, Source(x, source.names, name="other"))
    x.reshape(60, -1)[41, 2] = good
    check_rows_fit(likelihood, prepared.schema, Source(x, source.names, name="other"))
    x.reshape(60, -1)[41, 2] = 256 if bad is None else bad
    column = prepared.schema.column(2)
    with pytest.raises(VaekitError) as error:
        check_rows_fit(likelihood, prepared.schema, Source(x, source.names, name="other"))
    for word in ("other", "row 41", column, f"{x.reshape(60, -1)[41, 2]:g}"):
        assert word in str(error.value)


@pytest.mark.parametrize("source", [COUNTS, WIDE, IMAGES], ids=lambda source: source.name)
def test_a_value_outside_the_range_seen_is_surprising_and_not_refused(source):
    x = source.x.copy()
    x.reshape(60, -1)[5, 1] = 5000
    other = Source(x, name="other")
    prepared = prepare(Settings(), source)
    likelihood = prepared.state.model.likelihood
    check_rows_fit(likelihood, prepared.schema, other)
    y = likelihood.initial()[None, None]
    both = torch.from_numpy(np.stack([source.x[5], x[5]]).astype(np.float32))
    usual, surprising = likelihood(y).log_prob(both)[0].tolist()
    assert -60 < surprising < usual - 10
    opened = prepare(Settings().changed(likelihood="discretized-logistic:range=open"), source)
    check_rows_fit(opened.state.model.likelihood, opened.schema, other)


def test_a_count_of_none_is_drawn_without_a_sign():
    """As −0 it would be written "-0.0" into a table."""
    prepared = prepare(
        Settings().changed(likelihood="discretized-logistic:range=open"),
        Source(RNG.poisson(0.6, (80, 3)), name="rare"),
    )
    drawn = inference.sample(prepared.state.model, 200, generator(5, "rare")).numpy()
    assert (drawn == 0).any()
    assert not np.signbit(drawn).any()


def test_late_rows_are_checked_too():
    x = np.zeros((9000, 1))
    x[::2] = 1
    source = Source(x)
    prepared = prepare(Settings(), source)
    x = x.copy()
    x[8999] = 2
    with pytest.raises(VaekitError, match="row 8999"):
        check_rows_fit(prepared.state.model.likelihood, prepared.schema, Source(x))


def test_rows_of_another_shape_or_other_columns_are_refused():
    prepared = prepare(Settings(), REAL)
    likelihood, schema = prepared.state.model.likelihood, prepared.schema
    with pytest.raises(VaekitError, match=r"short.*\(3,\).*\(4,\)"):
        check_rows_fit(likelihood, schema, Source(REAL.x[:, :3], name="short"))
    with pytest.raises(VaekitError, match=r"'b', 'a', 'c' and 1 more.*'a', 'b', 'c' and 1 more"):
        check_rows_fit(likelihood, schema, Source(REAL.x, ("b", "a", "c", "d"), name="mixed"))
    check_rows_fit(likelihood, schema, Source(REAL.x, name="nameless"))


# Building


CHOICES = [
    (REAL, {"likelihood": "gaussian:sigma=shared"}, likelihoods.Gaussian),
    (REAL, {"likelihood": "gaussian:sigma=unit"}, likelihoods.Gaussian),
    (REAL, {"likelihood": "gaussian", "posterior": "full"}, likelihoods.Gaussian),
    (COUNTS, {"likelihood": "discretized-logistic", "hidden": ()}, likelihoods.DiscretizedLogistic),
    (GREY, {"binarize": "threshold", "activation": "tanh"}, likelihoods.Bernoulli),
    (COLOUR, {}, likelihoods.ColourLogistic),
]


@pytest.mark.parametrize(("source", "changes", "kind"), CHOICES)
def test_a_model_is_a_function_of_the_seed(source, changes, kind):
    settings = Settings().changed(**changes, latent_dim=2, start="random")
    prepared = prepare(settings, source)
    weights = prepared.state.model.state_dict()
    assert isinstance(prepared.state.model.likelihood, kind)
    torch.manual_seed(1234)
    again = build_model(prepared.settings, prepared.schema)
    assert weights.keys() == again.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in again.state_dict().items())
    other = build_model(prepared.settings.changed(seed=1), prepared.schema).state_dict()
    assert any(not torch.equal(weights[name], value) for name, value in other.items())


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(7)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    prepare(Settings(), REAL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_every_name_in_the_tables_can_be_built():
    schema = describe(np.resize(BINARY.x, (60, 3, 2, 2)), layout=Layout("image", "first"))
    for changes in (
        *({"likelihood": name} for name, family in tables.LIKELIHOODS.items() if family.misfit(schema) is None),
        *({"posterior": name} for name in tables.POSTERIORS if name != "experts"),
        *({"prior": name} for name in tables.PRIORS if name not in ("codes", "ladder")),
        *({"objective": f"{name}:samples=4"} for name in tables.OBJECTIVES if name != "ae"),
        {"objective": "ae"},
        *({"penalty": name} for name in tables.PENALTIES),
        *({"network": name} for name in tables.NETWORKS),
        *({"activation": name} for name in tables.ACTIVATIONS),
    ):
        settings, _ = resolve(Settings().changed(**changes, latent_dim=8, hidden=(3,)), schema, 50, False)
        model = build_model(settings, schema)
        draw = model.draw(Batch(torch.zeros(2, 3, 2, 2)), torch.ones(1, 2, model.noise))
        objective = build_objective(settings, schema, rows=50)
        assert objective.samples == (4 if ":samples" in changes.get("objective", "") else 1)
        assert draw.log_px.shape == (1, 2)


@pytest.mark.parametrize("missing", [False, True])
def test_columns_of_several_kinds_have_a_family_each(missing):
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(size=60), random.integers(0, 9, 60), random.integers(0, 2, 60)])
    if missing:
        x[random.random(x.shape) < 0.3] = np.nan
    schema = describe(x)
    assert schema.groups() == {"binary": (2,), "integer": (1,), "real": (0,)}
    settings, _ = resolve(Settings().changed(hidden=(3,)), schema, 60, False)
    assert settings.model.likelihood == "columns"
    assert settings.model.posterior == ("experts" if missing else "diagonal")
    model = build_model(settings, schema)
    rows = Dataset(x, schema, seed=0)
    _, batch = next(rows.blocks(8))
    draw = model.draw(batch, torch.zeros(1, 8, model.noise))
    assert draw.log_w.shape == (1, 8)
    assert draw.log_w.isfinite().all()


OF_THEIR_OWN = {"ladder": "ladder", "codes": "fsq"}
"""posteriors of priors that go with no other"""
MADE_OF_POSTERIORS = [("vamp:components=3", posterior) for posterior in tables.POSTERIORS]


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [
        *((prior, OF_THEIR_OWN.get(prior, "diagonal")) for prior in tables.PRIORS if prior != "vamp"),
        *MADE_OF_POSTERIORS,
    ],
)
def test_a_prior_draws_what_its_density_says(prior, posterior):
    """Its density is that of its draws, is normalised, and has their moments, whatever posterior it may be made of."""
    own = getattr(tables.POSTERIORS[posterior], "prior", "standard")
    if prior == "codes" or own not in ("standard", "ladder"):
        pytest.skip("no density of real numbers: tests/parts/test_codes.py")
    if prior == "ladder" and own != "ladder":
        pytest.skip("it is of its own posterior")
    schema = describe(np.where(REAL.x > REAL.x.max() - 0.1, np.nan, REAL.x))
    settings, _ = resolve(Settings().changed(prior=prior, posterior=posterior, latent_dim=2), schema, 50, False)
    model = build_model(settings, schema).double()
    p = model.pz()
    if posterior in ("iaf", "planar", "point"):
        with pytest.raises(UnknownError, match=r"its own draws only|no density"):
            p.log_prob(torch.zeros(1, 1, 2, dtype=torch.float64))
        return
    source = torch.Generator().manual_seed(0)
    z, log_q = p.draw(torch.randn(1, 20_000, model.prior.noise, dtype=torch.float64, generator=source))
    assert p.log_prob(z).expand_as(log_q).detach().numpy() == pytest.approx(log_q.detach().numpy(), abs=1e-9)
    wide = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), 3.0)
    elsewhere = 3 * torch.randn(1, 20_000, 2, dtype=torch.float64, generator=source)
    density = wide.log_prob(elsewhere).sum(-1)
    if p.space == SPACE:  # of two latents a circle
        elsewhere = torch.nn.functional.normalize(elsewhere, dim=-1)
        density = torch.full_like(density, -math.log(2 * math.pi))
    w = (p.log_prob(elsewhere) - density).exp().flatten().detach()
    assert w.mean().item() == pytest.approx(1, abs=5 * w.std().item() / len(w) ** 0.5)
    for moment in (lambda z: z[..., 0], lambda z: z[..., 1] ** 2, lambda z: z[..., 0] * z[..., 1]):
        drawn, weighed = moment(z).flatten().detach(), w * moment(elsewhere).flatten()
        error = (drawn.var() / len(drawn) + weighed.var() / len(w)).sqrt().item()
        assert drawn.mean().item() == pytest.approx(weighed.mean().item(), abs=5 * error)


def test_the_posterior_for_missing_cells_may_be_fitted_to_rows_without_any():
    """Rows to come may have some. The start is the exact posterior of the linear model for whatever cells there are."""
    settings, _ = resolve(Settings().changed(posterior="experts"), describe(REAL.x), 50, False)
    model = build_model(settings, describe(REAL.x))
    assert model.likelihood.inputs == 2 * model.likelihood.codes
    with pytest.raises(VaekitError, match="needs a likelihood that says which cells are observed"):
        settings.made("network", **_known(settings, model, indicates=False))


def _known(settings: Settings, model: VAE, indicates: bool) -> dict:
    model.likelihood.indicates = indicates
    known = {**vars(settings.model), "schema": describe(REAL.x), "shape": REAL.x.shape[1:], "conditions": 0}
    return {**known, "posterior": model.posterior, "likelihood": model.likelihood}


@pytest.mark.parametrize(("network", "hidden", "reason"), [
    ("auto", "auto", "some cells are missing"), ("auto", (), "some cells are missing"),
    ("mlp", (8,), "some cells are missing"), ("own_parts:my_network", (8,), "a network of your own"),
])  # fmt: skip
def test_the_posterior_is_one_for_missing_cells_where_there_are_any(network, hidden, reason):
    x = np.where(np.random.default_rng(0).random(REAL.x.shape) < 0.1, np.nan, REAL.x)
    settings, reasons = resolve(Settings().changed(network=network, hidden=hidden), describe(x), 50, False)
    assert reasons["posterior"] == reason
    assert settings.model.posterior == ("diagonal" if "own" in network else "experts")
    _, reasons = resolve(Settings().changed(network=network, hidden=hidden), describe(REAL.x), 50, False)
    assert reasons["posterior"] == "every cell is there"


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 999, 1000, 123_456, 2**24])
@pytest.mark.parametrize("objective", [name for name, make in tables.OBJECTIVES.items() if make.bounded])
def test_a_warm_up_ends_before_training_however_much_of_it_was_asked_for(steps, objective):
    settings = Settings().changed(objective=f"{objective}:samples=2")
    for part, expected in ((0.0, 0), (0.25, steps // 4), (0.5, steps // 2), (np.nextafter(1.0, 0.0), steps - 1)):
        found = build_objective(settings.changed(objective=f"{objective}:samples=2,warmup={part}"))
        found.begin(steps)
        assert found.settled == expected < max(steps, 1)


def settings_of(objective) -> dict:
    """All that an objective without parameters is made of"""
    own = {name: value for name, value in vars(objective).items() if not name.startswith("_")}
    return {"kind": type(objective), **own}


@pytest.mark.parametrize(("text", "wanted"), [
    ("elbo:samples=6,beta=0.5,warmup=0.1,free-bits=0.25", ELBO(6, 0.5, 0.1, 0.25)),
    ("elbo:gradient=sticking-the-landing", ELBO(gradient="sticking-the-landing")),
    ("iwae:samples=6,repeats=3,beta=0.5,gradient=doubly-reparameterised",
     ImportanceWeighted(6, 3, 0.5, gradient="doubly-reparameterised")),
    ("iwae", ImportanceWeighted()),
    (ELBO(beta=0.5), ELBO(beta=0.5)),
    (ImportanceWeighted, ImportanceWeighted()),
])  # fmt: skip
def test_an_objective_gets_every_argument(text, wanted):
    assert settings_of(build_objective(Settings().changed(objective=text))) == settings_of(wanted)


@pytest.mark.parametrize(("given", "kept"), [
    ((), ()), ("mmd:weight=10", ("mmd:weight=10",)), (["tc", "dip-i:weight=2"], ("tc", "dip-i:weight=2")),
    (MMD, ("vaekit.objectives.divergences:MMD",)),
    ([MMD(3.0, "rbf"), "tc"], ("vaekit.objectives.divergences:MMD:weight=3.0,kernel=rbf", "tc")),
    (TotalCorrelation(rows=9, weight=5), ("vaekit.objectives.correlation:TotalCorrelation:weight=5",)),
])  # fmt: skip
def test_penalties_are_given_by_name_or_as_objects_one_or_several(given, kept):
    settings = Settings().changed(penalty=given)
    assert settings.training.penalty == kept
    assert Settings.from_dict(settings.to_dict()) == settings
    objective = build_objective(settings, rows=77)
    if not kept:
        assert settings_of(objective) == settings_of(ELBO())
        return
    assert [type(penalty) for penalty in objective.penalties] == [
        TotalCorrelation if "tc" in name or "Total" in name else MMD if "MMD" in name or "mmd" in name else DIPI
        for name in kept
    ]  # fmt: skip
    for penalty in objective.penalties:
        assert getattr(penalty, "rows", 77) == 77  # the training rows, whatever it was told before


@pytest.mark.parametrize(("penalty", "words"), [
    ("mmd:weigth=3", ["'weigth'", "'weight'"]), ("mmd:weight=-1", ["weight of penalty mmd is '-1'", "0 or more"]),
    ("mdm", ["penalty", "'mmd'"]), ("mmd:kernel=gauss", ["'gauss'", "imq", "rbf"]), ("tc:rows=9", ["'rows'"]),
    ("mmd:scale=0", ["more than 0"]), ("dip-i:diagonal=few", ["'few'"]), ((3,), ["penalty", "3 names no part"]),
])  # fmt: skip
def test_a_penalty_that_is_none_is_refused_with_what_was_found(penalty, words):
    with pytest.raises(VaekitError) as error:
        Settings().changed(penalty=penalty)
    for word in words:
        assert word in str(error.value)


def test_a_penalty_that_compares_rows_wants_more_than_one_in_a_batch():
    with pytest.raises(VaekitError, match="choose batch_size 2 or more"):
        prepare(Settings().changed(penalty="mmd", batch_size=1, latent_dim=1), REAL)


def test_the_total_correlation_is_told_how_many_rows_are_trained_on():
    prepared = prepare(Settings().changed(penalty="tc", latent_dim=1), REAL)
    (penalty,) = prepared.state.objective.penalties
    assert penalty.rows == len(prepared.split["train"]) < len(REAL.x)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "iwae:samples=1"}, ["samples = 1", "samples = 5", "elbo"]),
        ({"objective": "iwae:samples=7,repeats=2"}, ["samples = 7", "repeats = 2"]),
        ({"objective": "iwae:samples=5,free_bits=0.1"}, ["free_bits", "repeats"]),
        ({"objective": "iwae:samples=5,gradient=sticking-the-landing"}, ["doubly-reparameterised"]),
        ({"objective": "elbo:samples=4,repeats=2"}, ["repeats", "free_bits"]),
        ({"objective": "elbo:gradient=doubly-reparameterised"}, ["elbo", "sticking-the-landing"]),
        ({"objective": "elbo:free_bits=0.1,gradient=sticking-the-landing"}, ["free bits", "sticking-the-landing"]),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(VaekitError) as error:
        prepare(Settings().changed(**settings), REAL)
    for word in words:
        assert word in str(error.value)


def test_networks_have_the_widths_asked_for_mirrored():
    prepared = prepare(
        Settings().changed(network="mlp", hidden=(9, 5), latent_dim=2, likelihood="gaussian:sigma=shared"), REAL
    )
    model = prepared.state.model
    shapes = lambda net: [tuple(p.shape) for name, p in net.named_parameters() if "weight" in name]  # noqa: E731
    assert shapes(model.encoder) == [(9, 4), (5, 9), (4, 5)]
    assert shapes(model.decoder) == [(5, 2), (9, 5), (4, 9)]


def test_the_decoder_starts_at_the_mean_of_the_training_rows():
    prepared = prepare(Settings().changed(hidden=()), load("digits"))
    model = prepared.state.model
    start = model.decode(torch.zeros(1, 1, model.latent_dim)).mean[0, 0].detach().numpy()
    train = load("digits").x[prepared.split["train"]].mean(0)
    assert np.abs(start - train).max() < 1  # a clipped logistic's mean


def test_the_floor_of_sigma_is_the_rounding_of_the_finest_column():
    x = np.round(RNG.normal(size=(60, 2)) * [100, 1], 2) / [1, 1]
    x[:, 0] = np.round(x[:, 0])
    x[0, 0] = x[1, 0] + 0.5
    prepared = prepare(Settings().changed(likelihood="gaussian", validation=0.0, test=0.0), Source(x))
    likelihood = prepared.state.model.likelihood
    with torch.no_grad():
        likelihood.raw.fill_(-100.0)
        sigma = likelihood.log_sigma().exp().numpy()
    assert sigma == pytest.approx(np.array([0.5, 0.01]) / np.sqrt(12), rel=1e-3)


def test_devices():
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(VaekitError, match="use device cpu"):
            choose_device("cuda")
    with pytest.raises(VaekitError, match=r"gpu.*cuda"):
        choose_device("gpu")


def test_a_prepared_run_holds_its_rows_apart():
    prepared = prepare(Settings().changed(validation=0.2, test=0.1), REAL)
    assert [len(rows) for rows in prepared.rows.values()] == [42, 12, 6]
    for part, rows in prepared.rows.items():
        assert np.allclose(rows.stored.numpy(), REAL.x[prepared.split[part]])
    assert prepared.schema.array("mean") == pytest.approx(REAL.x[prepared.split["train"]].mean(0))


# What is said


def test_fair_coins_are_not_told_to_train_longer():
    schema = describe(RNG.integers(0, 2, (60, 40)))
    uniform = -40 * np.log(2)
    assert shortfall(uniform - 0.9, schema) == []
    assert shortfall(uniform - 2.5, schema, error=1.0) == []
    assert len(shortfall(uniform - 2.5, schema, error=0.5)) == 1


def test_whole_numbers_that_had_to_be_real_are_pointed_out():
    x = np.stack([np.arange(40) * 10**9, np.arange(40)], 1)
    (line,) = coarse(x, describe(x, ("id", "n")))
    assert "column 'id' has whole numbers from 0 to 39000000000" in line
    assert line.endswith("better left out (--exclude 'id').")
    assert coarse(x, describe(x))[0].endswith("better left out.")  # there is no name to exclude
    assert coarse(x % 1000, describe(x % 1000)) == []
    assert coarse(x + 0.5, describe(x + 0.5)) == []


def test_what_is_left_out_of_training_is_counted_by_column():
    x = RNG.normal(size=(400, 6))
    x[0, :5] = 1e6
    x[1, 1] = -1e5
    lines = extremes(x, describe(x, tuple("abcdef")))
    assert [line.split(" lie")[0] for line in lines[:2]] == [
        "1 of 400 cells of column 'a'", "2 of 400 cells of column 'b'",
    ]  # fmt: skip
    assert lines[3:] == ["So it is with 2 more columns."]
    assert extremes(x[2:], describe(x)) == []


def test_the_test_rows_are_scored_whole():
    x = RNG.normal(size=(400, 3))
    x[:2, 1] = 1e6
    source = Source(x, parts={"test": np.array([0]), "validation": np.array([1]), "train": np.arange(2, 400)})
    prepared = prepare(Settings(), source)
    masks = {part: next(rows.blocks())[1].mask for part, rows in prepared.rows.items()}
    assert masks["test"] is None
    assert (~masks["validation"][:1]).sum() == 1
    assert prepared.notes[0].startswith("1 of 399 cells")


def test_a_start_at_factor_analysis_wants_a_linear_path():
    x = np.random.default_rng(0).normal(size=(60, 3))
    for model in ({"network": "skip"}, {"hidden": ()}):
        assert prepare(Settings().changed(**model), Source(x)).settings.model.start == "factor-analysis"
    assert prepare(Settings().changed(network="mlp"), Source(x)).settings.model.start == "random"
    with pytest.raises(VaekitError, match="choose network skip"):
        prepare(Settings().changed(network="mlp", start="factor-analysis"), Source(x))


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [(80, 3, 16), (300, 8, 32), (400, 8, 64), (400, 30, 32), (1000, 8, 64), (1400, 8, 128), (60_000, 8, 256)],
)
def test_wide_tables_of_few_rows_are_learned_in_smaller_batches(rows, columns, expected):
    schema = describe(np.random.default_rng(0).normal(size=(50, columns)))
    settings, _ = resolve(Settings(), schema, rows, True)
    assert settings.training.batch_size == expected
