"""vaekit fit: data → a trained run folder."""

import itertools
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def fit(
    *data: str,
    out: Path | None = None,
    config: Path | None = None,
    latent_dim: str | None = None,
    likelihood: str | None = None,
    range: str | None = None,
    posterior: str | None = None,
    prior: str | None = None,
    objective: str | None = None,
    network: str | None = None,
    hidden: str | None = None,
    activation: str | None = None,
    start: str | None = None,
    binarize: str | None = None,
    samples: int | None = None,
    repeats: int | None = None,
    beta: float | None = None,
    warmup: float | None = None,
    free_bits: float | None = None,
    gradient: str | None = None,
    epochs: str | None = None,
    batch_size: str | None = None,
    learning_rate: Annotated[str | None, Parameter(name=["--learning-rate", "--lr"])] = None,
    schedule: str | None = None,
    patience: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: str | None = None,
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    label: str | None = None,
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    resize: str | None = None,
    kind: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a VAE on a file or a known data set, and keep it in a run folder.

    Parameters
    ----------
    data
        a known data set (see `vaekit datasets`), or one or more files or folders: .npy, .npz, .csv, .parquet, IDX
        (.gz), images, folders of images
    out
        the run folder; by default runs/NAME, numbered where that is taken
    config
        the run.toml of an earlier run to repeat; options given beside it win
    latent_dim
        number of latents, or auto [default: auto]
    likelihood
        bernoulli, gaussian (one learned σ), gaussian-unit (σ = 1), gaussian-diagonal (a σ a column),
        discretized-logistic (whole numbers), colour-logistic (images in colour) or auto [default: auto]
    range
        of whole numbers: seen (draws keep between the least and the greatest of each column; in a table a value beyond
        has a small probability) or open (larger ones too, and smaller ones where some are negative) [default: seen]
    posterior
        diagonal or full (covariance) [default: diagonal]
    prior
        standard [default: standard]
    objective
        elbo, or iwae (the importance-weighted bound, of samples draws) [default: elbo]
    network
        mlp, skip (a linear map plus an mlp, for tables), conv, resnet, local (convolutions with a map of latents, for
        large images) or auto [default: auto]
    hidden
        widths of the hidden layers, such as 200,200; none for a linear model; for the others the channels of the
        stages, each half the size of the one before; or auto [default: auto]
    activation
        relu, leaky-relu, elu, gelu, silu, softplus, tanh or auto [default: auto]
    start
        factor-analysis (network skip, or hidden none: training begins at the best linear model with its exact
        posterior), random or auto [default: auto]
    binarize
        none, dynamic (afresh at each step, P(1) = grey), threshold, or expected (the textbook's form on grey values)
        [default: none]
    samples
        draws of z a row and step [default: 1]
    repeats
        iwae: bounds that share the samples and are averaged [default: 1]
    beta
        weight of the rate in the loss; the reported bound is with 1 whatever it is [default: 1.0]
    warmup
        the part of training over which that weight grows from 0, such as 0.1 [default: 0.0]
    free_bits
        elbo: nats per latent below which its rate has no gradient [default: 0.0]
    gradient
        standard, sticking-the-landing (elbo) or doubly-reparameterised (iwae) [default: standard]
    epochs
        passes over the training rows, or auto: until the bound stops rising, within a budget of steps [default: auto]
    batch_size
        rows a step, or auto [default: auto]
    learning_rate
        peak of the schedule, or auto [default: auto]
    schedule
        cosine (the rate falls to 0 over the epochs), plateau (it falls once the bound has stopped rising) or auto
        [default: auto]
    patience
        records without a better bound (of the validation rows, where there are any) before stopping (0: never), or auto
        [default: auto]
    seed
        of the split, the weights, the order and the noise [default: 0]
    device
        cpu, cuda or auto [default: auto]
    precision
        of the networks' products while training: float32, bfloat16 or auto; weights and bounds stay float32
        [default: auto]
    compile
        on, off or auto: one compiled function a step in the place of many operations, from step 100 on, where it is
        compiled for some seconds; auto does it for long trainings of fully connected networks where there is a C++
        compiler. On an accelerator a step is replayed as one graph, compiled or not [default: auto]
    exclude
        a column to leave out, or several with commas between them; may be given several times [default: none]
    label
        the column that tells the rows' classes: not learned, and written beside what is made of the rows
        [default: none]
    keep
        a column to do the same with, an identifier say; may be given several times [default: none]
    resize
        HEIGHTxWIDTH, or one number for both, to which images in files are scaled [default: as they are]
    kind
        what the axes of an array mean: table, image, sequence or auto. Only the pixels of images share one range
        [default: auto]
    validation
        a fraction of the rows, or a file or folder of rows, to select on [default: 0.1]
    test
        a fraction of the rows, or a file or folder of rows, kept for `vaekit evaluate` [default: 0.1]
    overwrite
        replace the run that is in --out
    json
        one JSON record a line instead of a progress bar
    """
    from vaekit.cli.common import training_source
    from vaekit.cli.train import train
    from vaekit.errors import VaekitError
    from vaekit.runs import Lock, Run, check_free
    from vaekit.spec import prepare

    spec = _specification(config)
    given = {
        "latent_dim": _number(latent_dim, int),
        "likelihood": likelihood, "range": range, "posterior": posterior, "prior": prior, "objective": objective,
        "network": network,
        "hidden": _widths(hidden), "activation": activation, "start": start, "binarize": binarize,
        "samples": samples, "repeats": repeats, "beta": beta, "warmup": warmup,
        "free_bits": free_bits, "gradient": gradient,
        "epochs": _number(epochs, int), "batch_size": _number(batch_size, int),
        "learning_rate": _number(learning_rate, float), "schedule": schedule,
        "patience": _number(patience, int), "seed": seed,
        "device": device, "precision": precision, "compile": compile,
        "exclude": exclude, "label": label, "keep": keep, "resize": resize, "kind": kind,
        "validation": _fraction_or_path(validation), "test": _fraction_or_path(test),
    }  # fmt: skip
    spec = spec.changed(
        **given,
        source=tuple(map(source_name, data)) or None,
        digest="" if data or exclude or label or keep or resize or kind or validation or test else None,
    )
    if not spec.data.source:
        raise VaekitError(
            "nothing to fit: name a file or a data set (see `vaekit datasets`), or give --config run.toml."
        )
    if out is not None:
        check_free(out, overwrite)
    source = training_source(spec)
    spec = spec.changed(digest=source.digest)
    prepared = prepare(spec, source)
    counts = {part: len(index) for part, index in prepared.split.items()}
    if not json:
        _describe(prepared, source, counts, _asked(spec, given))
    about = {"name": source.name, "digest": spec.data.digest, **counts}
    folder = out or claimed(spec.data.source)
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder):
        run = Run.create(folder, prepared.spec, prepared.schema, about, overwrite=overwrite)
        return train(run, prepared, as_json=json)


def _specification(config: Path | None):
    import tomllib

    from vaekit.errors import VaekitError, reason
    from vaekit.spec import Specification

    if config is None:
        return Specification()
    try:
        values = tomllib.loads(config.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise VaekitError(f"{config} cannot be read as a run.toml: {reason(error)}.") from error
    return Specification.from_dict(values)


def source_name(data: str) -> str:
    """Files by their whole path, so that the run finds them from anywhere; data sets by name."""
    if not Path(data).exists():
        return data
    from vaekit.data.datasets import NAMES

    return data if data in NAMES else str(Path(data).resolve())


def claimed(source: str | tuple[str, ...]) -> Path:
    """The first free folder of the data's name, made: of two processes that ask at once each has its own."""
    first = source if isinstance(source, str) else source[0]
    stem = Path(first).name.split(".")[0] or "run"
    for number in itertools.count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str | None, kind: type):
    """A number where the text is one; else the text itself, for the specification to judge."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return text


def _widths(text: str | None):
    if text is None or text == "auto":
        return text
    return () if text in ("none", "") else tuple(_number(part, int) for part in _list(text))


def _fraction_or_path(text: str | None):
    value = _number(text, float)
    return str(Path(value).resolve()) if isinstance(value, str) else value


def _asked(spec, given: dict) -> dict:
    """The settings that someone chose: all that were given as options, and what a configuration has otherwise than it
    is by default."""
    from vaekit.spec import Specification

    usual = Specification().to_dict()
    chosen = {}
    for section, settings in spec.to_dict().items():
        for name, value in settings.items():
            differs = value not in ("auto", usual[section][name]) and name not in ("source", "digest")
            if differs or given.get(name) not in (None, "auto"):
                chosen[name] = value
    return chosen


FEW = 20
"""rows from which nothing that holds of others can be learned"""


def _describe(prepared, source, counts: dict[str, int], asked: dict) -> None:
    from vaekit.errors import counted
    from vaekit.spec import hints, worth_compiling

    model = prepared.state.model
    size = sum(p.numel() for p in prepared.state.parameters)
    schema, layout = prepared.schema, source.layout
    kind = f"{layout.kind}{'s' * (layout.kind != 'table')} of {'×'.join(map(str, schema.shape))}"
    kind += f" ({layout.reason})" if len(schema.shape) > 1 else " columns"
    split = ", ".join(f"{count:,} {part}" for part, count in counts.items())
    print(f"{source.name}: {split} rows; {kind}, {schema.kind}, {schema.low_high}")
    if counts["train"] < FEW:
        print(f"  note: {counted(counts['train'], 'training row')}: what is learned from so few holds of little else")
    for name, value in asked.items():
        shown = (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else value
        print(f"  {name} = {shown}  (asked for)")
    for name, reason in prepared.reasons.items():
        value = getattr(prepared.spec.model, name, None) or getattr(prepared.spec.training, name, None)
        print(f"  {name} = {value}  ({reason})")
    notes = (*source.notes, *hints(source.x, prepared.schema, prepared.spec.model.likelihood), *prepared.notes)
    for hint in notes:
        print(f"  note: {hint}")
    if asked.get("compile") == "on" and not worth_compiling(prepared):
        print("  note: compiling takes longer than it saves in so short a training: --compile auto leaves it out")
    sizes = ((size, "parameter"), (model.latent_dim, "latent"), (prepared.state.recipe.steps, "step"))
    print(f"  {', '.join(counted(*one) for one in sizes)}")
    objective = prepared.state.objective
    if objective.surrogate:
        print(f"  descends {objective.surrogate}; the {objective.name} reported is the true bound")
    if prepared.schema.binarized == "expected":
        print("  binarize = expected: the numbers are a bound on the mean log-likelihood of the binarised image")
