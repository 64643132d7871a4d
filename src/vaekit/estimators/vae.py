"""The scikit-learn face: arrays in, arrays out."""

import copy
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted, check_random_state, validate_data

from vaekit import evaluation, inference
from vaekit.core import LatentModel
from vaekit.data import Dataset, Schema, Source
from vaekit.data.columns import ColumnType, parse_types
from vaekit.data.conditions import beyond_range, given_cells, to_sample
from vaekit.data.tables import Columns
from vaekit.data.written import as_those
from vaekit.errors import VaekitError, as_arguments, listed
from vaekit.estimators.frames import Plain, as_given, library_of, plain_rows, refilled
from vaekit.evaluation.verdicts import unforeseen_holes
from vaekit.noise import generator
from vaekit.parts import Conditions
from vaekit.runs import Run, save_state, selected
from vaekit.settings import (
    Prepared,
    Settings,
    can_be_sampled,
    check_rows_fit,
    choose_device,
    codes_of_missing,
    conditions_known,
    dataset,
    impossible,
    prepare,
    refit,
    refitted_state,
)
from vaekit.settings.named import text_of
from vaekit.training import State, fit

if TYPE_CHECKING:
    from sklearn.utils import Tags

Part = str | Callable[..., object]
"""a name, or a class, a `functools.partial` of one, or a function that makes a part"""
RandomState = int | np.random.RandomState | None

UNTRUSTED = 0.1
"""the part of the rows whose scores rest on few draws that makes a warning"""
IMPOSSIBLE = 0.25
"""the part of a column's draws below 0, where no value of the data is, that makes a warning"""


RENAMED = {"max_epochs": "epochs", "validation_fraction": "validation", "random_state": "seed"}
"""scikit-learn's words for settings"""
NO_SETTINGS = ("importance_samples", "unseen", "verbose")


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder on the rows of an array, a frame or a sparse matrix (n, columns), or of an array of
    images (n, height, width) or with any number of channels, first or last, or of sequences (n, steps, features). They
    are given back in the shape in which they came.

    It climbs log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) (Kingma & Welling 2014, arXiv:1312.6114). All densities
    are in nats per row and in the data's own units.

    Parameters
    ----------
    latent_dim : number of latents, or "auto": by the columns, at most 20; of images by their size.
    likelihood : "auto"; "columns", of each kind of column its own ("columns:real=gaussian,count=poisson"); of reals
        "student-t", "gaussian" (a learned σ per column; "gaussian:sigma=shared", one learned σ; "gaussian:sigma=unit",
        σ = 1), "laplace", "logistic-mixture", "log-normal", "zero-inflated-log-normal"; of whole ones
        "discretized-logistic" (drawn within the range seen in a column, or with ":range=open" beyond it too),
        "discretized-mixture", "poisson", "negative-binomial", "zero-inflated-negative-binomial"; "bernoulli",
        "categorical", "ordinal"; "colour-logistic" (images in colour).
    posterior : "diagonal", "full" (covariance), "experts" (for missing cells, in these rows or
        in rows to come); a normal pushed through a flow: "coupling" ("coupling:steps=4,width=64"), "iaf" (inverse
        autoregressive, "iaf:steps=2,width=64"), "planar" ("planar:steps=10"); "ladder" (several layers of latents,
        "ladder:rungs=2,width=128" or "ladder:sizes=50-100"); "vmf" (von Mises-Fisher, on a sphere); of codes "fsq"
        (each latent is one of some values: "fsq:levels=8", or "fsq:levels=8x5x5x5" in turn), "lfq" (−1 or 1), "vq"
        (vectors of a codebook: "vq:codes=64,size=2", with "depth=2" several, each of what is left, with "grouped=true"
        of a codebook for each place), "concrete" (categories: "concrete:levels=8", of "temperature=0.5"); "point" (no
        chance: of objective "ae"); or "auto".
    prior : "standard" (normal), "gaussian" (its mean and covariance learned), "mixture" (of normals:
        "mixture:components=30,covariance=full"), "vamp" (a mixture of posteriors of learned inputs:
        "vamp:components=50"), "flow" (learned, of coupling steps: "flow:steps=6,width=64"), "ladder" and
        "uniform-sphere" (for the posteriors "ladder" and "vmf"), "codes" (of a posterior of codes:
        "codes:kind=uniform", "independent" or "autoregressive"), or "auto": the one that belongs to the posterior.
    objective : "elbo", "iwae" (the importance-weighted bound), or "ae" (an autoencoder, which has no bound and no
        density of rows: for `transform` and `inverse_transform`), with arguments: "elbo:samples=5" (draws of z per row
        and step), "beta=0.5" (weight of the rate in the loss; bounds are reported with 1 whatever it is), "warmup=0.1"
        (the part of training over which that weight grows from 0), "cycles=4" (times that it does), "free_bits=0.1"
        (elbo: nats per latent below which its rate has no gradient), "capacity=20" (elbo: nats that the rate is drawn
        to), "gradient=sticking-the-landing" (elbo), "gradient=doubly-reparameterised" or "gradient=partially-weighted"
        (iwae), "repeats=2" (iwae: bounds that share the samples and are averaged), "share=0.05" (iwae: the elbo's part
        of the loss).
        Likelihood, posterior, prior, network, objective and penalty may be of your own: a class, a `functools.partial`
        of one, or "my_module:MyPart:argument=value".
    penalty : what is paid in the loss beside the bound, with its weight: "mmd:weight=10" (all z together against the
        prior), "tc:weight=5" (total correlation), "information", "dimension-wise" (the other parts of the rate),
        "dip-i", "dip-ii" (the covariance of all z against the identity), "code-norm", "weight-decay", "jacobian" (of
        regularised autoencoders); or a list of several. Bounds are reported without it.
    hidden : widths of the hidden layers, or "auto": by rows and columns; () makes encoder and decoder linear.
    network, activation : by name, or "auto": for tables and small images "skip", a linear map plus a perceptron.
    start : "factor-analysis" (network "skip", or hidden (): training begins at the best linear model with its exact
        posterior, and is stopped before it is worse), "random", or "auto".
    members : models with weights of their own that are trained side by side and are one (`models.Ensemble`): p(x) is
        the mean of their densities, missing cells are drawn from all of them. It takes as many times longer.
    kind : "table", "image", "sequence", or "auto": what the axes of X mean. Only the pixels of images share one range
        and one resolution, so that log p(x) of other rows does not depend on the shape in which they came.
    columns : what columns of a frame are, where that is not to be found out:
        "age=count,grade=ordinal:low<mid<high,zip=category", or a dict of these. Text is taken for categories, whole
        numbers for whole numbers; an empty cell is missing, and so is NaN in an array that is no image.
    condition : names of columns that rows are given instead of learned, p(x|c): "sex,site" or ["sex", "site"]; of an
        array their numbers. All that is said of x is then said of the other columns, given these.
    missing : what else stands in a missing cell of a frame: "-999", say.
    unseen : "error" or "missing": what becomes of a level that fitting never saw.
    binarize : "none", "dynamic", "threshold" or "expected": how grey values become 0 and 1.
    max_epochs : passes over the rows; "auto": until the bound stops rising, within a budget of steps.
    validation_fraction : rows held out to select the weights on and to stop by; 0 trains on every row, and stops by
        the bound of those.
    patience : records (of 100 steps or more) without a better bound before training stops; 0: never; or "auto".
    batch_size, learning_rate : numbers, or "auto".
    schedule : "cosine" (over `max_epochs`), "plateau" (the rate falls once the bound has stopped rising), or "auto".
    importance_samples : draws a row in `score_samples`.
    random_state : seed of everything random; None: another at each fit.
    device : "auto", "cpu" or "cuda".
    precision : "float32", "bfloat16" or "auto": of the networks' products while training.
    compile : "on", "off" or "auto": compile a step into one function (long trainings of fully connected networks).
    verbose : 1 prints a line a record.

    Attributes
    ----------
    model_ : the trained `models.VAE`, a `torch.nn.Module`.
    schema_ : what the columns were.
    history_ : list of records: step, elbo (and iwae where that is climbed), rate, distortion, and validation_… where
        rows were held out.
    lower_bound_ : the trained model's mean ELBO over the rows it was trained on, nats, where a bound was climbed;
        without cells so extreme that they were left out of training.
    n_iter_ : epochs trained.
    converged_ : whether the bound had stopped rising when the budget of max_epochs="auto" was spent.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> vae = VAE(latent_dim=1, hidden=(8,), max_epochs=2).fit(X)
    >>> vae.transform(X).shape, vae.sample(5).shape
    ((200, 1), (5, 3))

    """

    def __init__(
        self,
        latent_dim: int | str = "auto",
        likelihood: Part = "auto",
        posterior: Part = "auto",
        prior: Part = "auto",
        objective: Part = "elbo",
        penalty: Part | Sequence[Part] = (),
        hidden: Sequence[int] | str = "auto",
        network: Part = "auto",
        activation: str = "auto",
        start: str = "auto",
        members: int = 1,
        kind: str = "auto",
        columns: str | Sequence[str] = (),
        condition: str | Sequence[str | int] = (),
        missing: Sequence[str] = (),
        unseen: str = "error",
        binarize: str = "none",
        max_epochs: int | str = "auto",
        validation_fraction: float = 0.1,
        patience: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        schedule: str = "auto",
        importance_samples: int = 100,
        random_state: RandomState = 0,
        device: str = "auto",
        precision: str = "auto",
        compile: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.objective = objective
        self.penalty = penalty
        self.hidden = hidden
        self.network = network
        self.activation = activation
        self.start = start
        self.members = members
        self.kind = kind
        self.columns = columns
        self.condition = condition
        self.missing = missing
        self.unseen = unseen
        self.binarize = binarize
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.importance_samples = importance_samples
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.compile = compile
        self.verbose = verbose

    def fit(self, X: object, y: object = None) -> "VAE":
        """Train on the rows of X; y is ignored. Raises ValueError for rows that are not finite numbers.

        Warns where simple models of the same rows give those held out more, and where the budget of max_epochs="auto"
        was spent while the bound still rose (ConvergenceWarning).
        """
        if not isinstance(self.importance_samples, int | np.integer) or self.importance_samples < 1:
            raise VaekitError(f"importance_samples is {self.importance_samples!r}: give a whole number, 1 or more.")
        settings = self._settings()
        columns = Columns(missing=settings.data.missing, declared=parse_types(settings.data.columns))
        x, plain = self._validated(X, columns, reset=True)
        names = tuple(getattr(self, "feature_names_in_", ()))
        source = Source(x, names or None, name="X", layout=self.kind, types=plain.types)
        source = source.conditioned(settings.data.condition)
        prepared = prepare(settings, source)
        _warn(prepared.notes)
        _warn(codes_of_missing(source.x, prepared.schema))
        state = prepared.state
        seed = state.recipe.seed
        history = self._train(prepared)
        if state.still_rising:
            rose = "bound still rose" if state.objective.bounded else "loss still fell"
            warnings.warn(
                f"the {rose} after the {state.recipe.steps:,} steps of the budget: give max_epochs above "
                f"{prepared.settings.training.epochs:,} to train longer.",
                ConvergenceWarning,
                stacklevel=2,
            )
        about: dict[str, Any] = {
            "name": "X",
            "digest": source.digest,
            "library": library_of(X),
            "left_out": list(plain.left_out),
        }
        if source.conditions is not None:
            about["conditions"] = conditions_known(source, prepared.split["train"])
        sizes = {part: len(rows) for part, rows in prepared.split.items()}
        self._keep(prepared.settings, prepared.schema, state, history, {**about, **sizes})
        train = prepared.rows["train"]
        if can_be_sampled(prepared.settings, state.objective):
            _warn(impossible(self.model_, train, seed, IMPOSSIBLE))
        if state.objective.bounded:
            beaten = evaluation.beaten(self.model_, train, prepared.rows["validation"], seed)
            if beaten:
                _warn([f"on the rows held out, {beaten}"])
            self.lower_bound_ = evaluation.elbo(self.model_, train, seed).selected
            self.data_["lower_bound"] = self.lower_bound_
        self.data_["importance_samples"] = self.importance_samples
        return self

    def refit(self, X: object, *, prior: Part = "auto") -> "VAE":
        """A copy with another prior, which is fitted to what the trained model makes of X, the rows of `fit`.

        Encoder and decoder stay as they are, and so do latents and reconstructions. Scores and samples change: the
        bound on log p(x) rises by as much as the new prior expects draws of q(z|x) better (`training.refit`).

        prior    "auto", the best mixture of normals on the validation rows, and of codes the better of independent and
                 autoregressive ones; or as in `fit`; "standard" takes N(0, I) again

        `refit_gains_` of the copy says by how much the bound of the rows of each part changes, in nats per row.

        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> vae = VAE(latent_dim=1, hidden=(), max_epochs=20).fit(X)
        >>> again = vae.refit(X, prior="gaussian")
        >>> sorted(again.refit_gains_), bool((again.transform(X) == vae.transform(X)).all())
        (['train', 'validation'], True)
        """
        check_is_fitted(self)
        source, _ = self._source(X)
        settings = self.settings_
        schema = self.schema_
        seed = settings.training.seed
        held_out = [settings.data.validation, settings.data.test]
        fractions = [part if isinstance(part, float | int) else 0.0 for part in held_out]  # a file is not in X
        split = source.split(seed, *fractions)
        rows = {
            part: dataset(source, schema, seed, self._device(), index, hide_extremes=True)
            for part, index in split.items()
        }
        found = refit(settings, self.model_, schema, rows, text_of(prior))
        state = refitted_state(self.state_, found, schema, self.data_["train"])
        gains = {part: gain._asdict() for part, gain in found.gains.items()}
        again = copy.copy(self)
        again.prior = found.prior
        again._keep(found.settings, schema, state, self.history_, {**self.data_, "refitted": {"gains": gains}})
        again.refit_gains_ = {part: gain.mean for part, gain in found.gains.items()}
        if state.objective.bounded:
            again.lower_bound_ = evaluation.elbo(again.model_, rows["train"], seed).selected
            again.data_["lower_bound"] = again.lower_bound_
        return again

    def _train(self, prepared: Prepared) -> list[dict[str, float]]:
        """Train to the end; the records."""
        began = time.monotonic()
        steps = prepared.state.recipe.steps
        history = []
        for record in fit(prepared.state, prepared.rows["train"], prepared.rows["validation"]):
            metrics = record.metrics
            if not metrics:
                continue
            history.append(metrics)
            if self.verbose:
                name = selected(metrics)
                seconds = time.monotonic() - began
                print(f"step {record.step}/{steps}  {name.upper()} {metrics[name]:.3f}  {seconds:.0f} s")
        return history

    @property
    def _n_features_out(self) -> int:
        """The number of latents, which scikit-learn names vae0, vae1 and so on."""
        return self.model_.latent_dim * self.settings_.model.members

    def __sklearn_tags__(self) -> "Tags":
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

    def transform(self, X: object) -> np.ndarray:
        """The posterior mean E[z|x] of each row, (n, latent_dim); of an ensemble those of its members side by side."""
        rows = self._rows(X)
        mean, _ = inference.encode(self.model_, rows)
        return self._array(mean)

    def clusters(self, X: object) -> np.ndarray:
        """The probability that each row is of each component of a mixture prior, (n, components); see
        `inference.clusters`.

        Raises ValueError where the prior is no mixture.
        """
        rows = self._rows(X)
        return self._array(inference.clusters(self.model_, rows, self.settings_.training.seed))

    def codes(self, X: object) -> np.ndarray:
        """The codes of each row, (n, codes) integers from 0, of a posterior of codes; of an ensemble those of its
        members side by side. Raises ValueError where the latents are no codes."""
        index, _, _ = inference.codes(self.model_, self._rows(X))
        return index.cpu().numpy()

    def inverse_transform(self, Z: object, *, given: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401  an array, or somebody's frame
        """The decoder's mean x̂ at each z (n, latent_dim), in the data's own units: (n, *X).

        given    conditions of all rows, as in `sample`

        Raises ValueError for anything but finite latents of that shape.
        """
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(Z, np.float32))
        latents = self.model_.latent_dim
        if self.settings_.model.members > 1:
            raise VaekitError("Z: each member of an ensemble has latents and a decoder of its own: fit with members=1.")
        if z.ndim != 2 or z.shape[1] != latents or not len(z) or not z.isfinite().all():
            raise VaekitError(f"Z has shape {tuple(z.shape)}: give (n, {latents}) finite latents.")
        cells, c = self._conditions(given, len(z), self.settings_.training.seed)
        x = inference.decode(self.model_, z.to(self._device()), c)
        return self._given(self.schema_.from_stored(self._array(x)), cells, means=True)

    def score_samples(self, X: object) -> np.ndarray:
        """The log-likelihood log p(x) of each row in nats, (n,): importance-weighted over `importance_samples` draws, a
        lower bound in expectation. A row's score depends on the row alone.

        Warns where more than a tenth of the rows have few draws that count, so that their scores may be far too low.
        """
        rows = self._rows(X)
        self._check_density()
        method = evaluation.ImportanceSampling(self.importance_samples)
        found = evaluation.log_likelihood(self.model_, rows, method, self.settings_.training.seed)
        if found.untrusted is not None and found.untrusted > UNTRUSTED:
            _warn([f"log p(x): {found.doubt} (importance_samples)"])
        return self._array(found.value)

    def score(self, X: object, y: object = None) -> float:
        """The mean of `score_samples`, nats; y is ignored."""
        return float(self.score_samples(X).mean())

    def sample(
        self,
        n_samples: int = 1,
        mean: bool = False,
        random_state: RandomState = None,
        *,
        given: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401  an array, or somebody's frame
        """New rows x ~ p(x|z), z ~ p(z), or with `mean` the decoder's x̂ of each z: (n, *X).

        random_state    an int: the same rows at every call; None: others at each; or a `numpy.random.RandomState`
        given           conditions of the rows by their names, {"sex": "f"}, None for an unknown one. Those not given
                        are drawn from the training rows that have the levels given. They stand among the columns of
                        the rows, where they stood in those fitted. Warns of a number beyond those of the rows fitted
        """
        check_is_fitted(self)
        if not can_be_sampled(self.settings_, self.state_.objective):
            raise VaekitError(
                f"objective {self.state_.objective.name} has codes that follow no prior: `vae.save(RUN)`, and `vaekit "
                f"refit RUN --prior mixture` fits one to them, to be sampled."
            )
        if n_samples < 1:
            raise VaekitError(f"n_samples is {n_samples}: give 1 or more.")
        seed = _seed(random_state)
        cells, c = self._conditions(given, n_samples, seed)
        source = generator(seed, "sample", device=self._device())
        x = inference.sample(self.model_, n_samples, source, mean=mean, c=c)
        return self._given(self.schema_.from_stored(self._array(x)), cells, means=mean)

    def _conditions(
        self, given: Mapping[str, object] | None, n: int, seed: int
    ) -> tuple[np.ndarray, torch.Tensor | None]:
        """Conditions of n rows: the cells (n, columns), as given and the others as among the training rows, and c."""
        schema = self.schema_
        if schema.conditions is None and not given:
            return np.empty((n, 0)), None
        try:
            chosen = given_cells(given or {}, schema)
        except VaekitError as error:
            raise VaekitError(as_arguments(str(error))) from error
        _warn(beyond_range(chosen, schema), level=4)
        cells = to_sample(self.data_["conditions"], schema, chosen, n, seed)
        c = Conditions(schema.conditions).codes(cells)
        return cells, None if c is None else c.to(self._device())

    def impute(
        self,
        X: object,
        *,
        draws: int = 0,
        samples: int = 1000,
        spread: bool = False,
        random_state: RandomState = 0,
    ) -> Any:  # noqa: ANN401  an array, or somebody's frame
        """The rows of X, as X came, with missing cells filled by p(x_missing | x_observed); see `inference.impute`. All
        columns of a frame are given back, also those that are not learned, in their own types.

        draws      0: the mean of numbers and the most probable level of categories; M: a list of M versions of X, each
                   with a draw of every missing cell, for multiple imputation
        samples    draws of z per row, weighted by how well they explain what is observed
        spread     give (the rows, how uncertain each filled cell is): an array of the learned cells, of numbers the
                   standard deviation, of categories the probability of another level; 0 where a cell was observed
        """
        if spread and draws:
            raise VaekitError("the spread is that of one estimate of each cell: leave out draws, or it.")
        source, rows = self._source(X)
        self._check_density()
        noise = generator(_seed(random_state), "impute", device=self._device())
        seed = self.settings_.training.seed
        found = inference.impute(self.model_, rows, noise, samples=samples, draws=draws, seed=seed)
        filled = [found.values] if not draws else list(found.draws)
        x = np.asarray(source.x)
        missing = source.missing
        versions = [np.where(missing, self.schema_.from_stored(self._array(one)), x) for one in filled]
        schema = self.schema_
        if schema.names is not None and library_of(X):
            digits = schema.decimals or (None,) * schema.features
            tables = [as_those(one, schema.names, schema) for one in versions]
            given = [refilled(X, table, missing, digits) for table in tables]
        else:
            beside = np.empty((len(x), 0)) if source.conditions is None else np.asarray(source.conditions.x)
            given = [self._given(one, beside) for one in versions]
        if spread:
            return given[0], self._array(found.spread)
        return given if draws else given[0]

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a run folder that `vaekit.load`, and the command line, can open.

        Raises ValueError where there is a run already, unless it is to be overwritten.
        """
        check_is_fitted(self)
        save_state(folder, self.settings_, self.schema_, self.data_, self.state_, self.history_, overwrite=overwrite)

    def _check_density(self) -> None:
        """Refuse what needs a density of x, which an autoencoder has not."""
        objective = self.state_.objective
        if not objective.bounded:
            raise VaekitError(
                f"objective {objective.name} gives rows no density to be measured by: it is for transform and its "
                f"inverse, and after `vae.save(RUN)` and `vaekit refit RUN --prior mixture` it can be sampled."
            )

    def _settings(self) -> Settings:
        given = {**self.get_params(deep=False), "random_state": _seed(self.random_state)}
        if isinstance(given["columns"], Mapping):
            given["columns"] = tuple(f"'{name}'={kind}" for name, kind in given["columns"].items())
        for several in ("columns", "condition", "missing"):
            if isinstance(given[several], str):
                given[several] = (given[several],)
        given["condition"] = tuple(str(name) for name in given["condition"])
        given["missing"] = tuple(
            f"{value:g}" if isinstance(value, int | float) else value for value in given["missing"]
        )
        changes = {RENAMED.get(name, name): value for name, value in given.items() if name not in NO_SETTINGS}
        try:
            return Settings().changed(**changes, test=0.0)
        except VaekitError as error:
            name, _, more = str(error).partition(" ")
            own = {setting: argument for argument, setting in RENAMED.items()}
            raise VaekitError(f"{own.get(name, name)} {more}") from error

    def _keep(
        self,
        settings: Settings,
        schema: Schema,
        state: State,
        history: list[dict[str, float]],
        data: dict[str, Any],
    ) -> None:
        """Take over what was trained, and what is known of its rows, as attributes."""
        self.settings_ = settings
        self.schema_ = schema
        self.state_ = state
        self.history_ = history
        self.data_ = data
        self.model_: LatentModel = state.trained()
        self.converged_ = not state.still_rising
        steps_per_epoch = max(1, data["train"] // state.recipe.batch_size)
        self.n_iter_ = max(1, state.step // steps_per_epoch)

    def _validated(self, X: object, columns: Columns, *, reset: bool) -> tuple[np.ndarray, Plain]:
        """The rows as an array that scikit-learn has checked, and what else X said; what is on disk stays there."""
        plain = plain_rows(X, columns)
        rows = plain.rows
        options = {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": False}
        if _axes(rows) > 2 and not reset:  # scikit-learn would compare an axis of images; `check_rows_fit` knows more
            checked = check_array(rows, **options)
        else:
            checked = validate_data(self, rows, reset=reset, **options)
        if isinstance(rows, np.memmap):
            return rows, plain
        return checked, plain

    def _rows(self, X: object) -> Dataset:
        """The rows as the model takes them; ValueError where it was fitted to others."""
        _, rows = self._source(X)
        return rows

    def _source(self, X: object) -> tuple[Source, Dataset]:
        """The rows as they are, and as the model takes them; ValueError where it was fitted to others."""
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        columns = Columns()
        if names is not None:
            section = self.settings_.data
            aside = (*section.exclude, *section.keep, *filter(None, [section.label]))
            aside = tuple(name for name in aside if name not in names)  # a label may be a condition
            columns = Columns(
                exclude=(*self.data_.get("left_out", ()), *aside),
                needed=tuple(names),
                missing=self.settings_.data.missing,
                types=_all_types(self.schema_),
                unseen=self.unseen,
            )
        x, _ = self._validated(X, columns, reset=False)
        schema = self.schema_
        source = Source(x, name="X", layout=schema.layout)
        if schema.conditions is not None:
            named = None if names is None else tuple(names)
            source = replace(source, names=named, types=columns.types).conditioned(schema.given)
            source = replace(source, names=None, types=None)
        try:
            check_rows_fit(self.model_.likelihood, self.schema_, source)
        except VaekitError as error:
            if names is None or library_of(X):
                raise
            raise VaekitError(
                f"X is an array, and this VAE was fitted to a frame of columns {listed(names)}: give such a frame."
            ) from error
        seed = self.settings_.training.seed
        rows = dataset(source, self.schema_, seed, self._device())
        unforeseen = unforeseen_holes(self.model_, rows)
        if unforeseen:
            _warn([as_arguments(f"X: {unforeseen}")])
        return source, rows

    def _given(self, x: np.ndarray, cells: np.ndarray, *, means: bool = False) -> Any:  # noqa: ANN401  an array, or somebody's frame
        """Rows in the data's own units as what the data came in: an array, or a frame whose cells are written alike;
        with the cells (n, columns) of their conditions where these stood."""
        library = self.data_.get("library", "")
        schema = self.schema_
        conditions = schema.conditions
        if not library or schema.names is None:
            if conditions is None or not _in_rows(schema):
                return x
            return np.stack(schema.together(list(x.T), list(cells.T)), 1)
        levels = dict(zip(schema.names, schema.levels or (), strict=False))
        table = as_those(x, schema.names, schema, means=means)
        if conditions is not None:
            beside = as_those(cells, schema.given, conditions)
            levels |= dict(zip(schema.given, conditions.levels or (), strict=False))
            table = type(table)(schema.together(table.get_columns(), beside.get_columns()))
        return as_given(table, library, levels)

    def _device(self) -> torch.device:
        return next(self.model_.parameters()).device

    def _array(self, tensor: torch.Tensor) -> np.ndarray:
        return tensor.cpu().numpy().astype(np.float64)


def _in_rows(schema: Schema) -> bool:
    """Whether conditions are columns of the rows as they are given, by name or by number; else they are labels."""
    return schema.names is not None or all(name.isdigit() for name in schema.given)


def _all_types(schema: Schema) -> tuple[ColumnType, ...] | None:
    """What all columns of the rows are, conditions among them."""
    conditions = schema.conditions
    if conditions is None or schema.types is None:
        return schema.types
    return tuple(schema.together(schema.types, conditions.types or ()))


def _axes(X: object) -> int:
    """How many axes rows have, lists of lists too."""
    axes = getattr(X, "ndim", None)
    if axes is None:
        return np.asarray(X).ndim
    return axes


def _seed(random_state: RandomState) -> int:
    """A seed from what scikit-learn's users give: a number as it is, else one drawn from their generator."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _warn(lines: list[str], level: int = 3) -> None:
    """Warn whoever called the method from which this is called, or at a higher `level` that which called it."""
    if lines:
        warnings.warn(as_arguments("\n".join(lines)), UserWarning, stacklevel=level)


def load(folder: str | Path, *, device: str = "auto", trust: Collection[str] = ()) -> VAE:
    """The fitted estimator of a run folder, whether Python or the command line wrote it.

    device    "auto", "cpu" or "cuda": where it is to compute, whatever it was trained on
    trust     modules of your own that the run's parts may be imported from: see `settings.named`

    Raises VaekitError for a folder that is none, is damaged, is newer than this version, or names a module that is not
    trusted.
    """
    run = Run.reopen(folder, trust=trust)
    settings = run.settings
    values = {**vars(settings.data), **vars(settings.model), **vars(settings.training), "device": device}
    names = {name: RENAMED.get(name, name) for name in VAE().get_params() if name not in NO_SETTINGS}
    vae = VAE(**{name: values[setting] for name, setting in names.items()})
    vae.importance_samples = run.data.get("importance_samples", vae.importance_samples)
    if not isinstance(vae.validation_fraction, float):  # a file of its own
        vae.validation_fraction = VAE().validation_fraction
    state = run.state(choose_device(device))
    vae._keep(settings, run.schema, state, run.metrics, run.data)
    schema = run.schema
    given = schema.given if _in_rows(schema) else ()
    vae.n_features_in_ = schema.shape[0] + len(given)
    if schema.names:
        vae.feature_names_in_ = np.array(schema.together(schema.names, given), dtype=object)
    if "lower_bound" in run.data:  # the command line does not score the training rows
        vae.lower_bound_ = run.data["lower_bound"]
    return vae
