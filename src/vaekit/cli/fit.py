"""vaekit fit: data → a trained run folder."""

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.options import with_settings
from vaekit.cli.trust import Trust
from vaekit.settings.declared import from_text, options

if TYPE_CHECKING:
    from vaekit.data import Source
    from vaekit.settings import Prepared, Settings

OF_THE_DATA = ("exclude", "label", "keep", "condition", "columns", "missing", "resize", "kind", "validation", "test")
"""what makes other rows of the same files"""


@with_settings
def fit(
    *data: str,
    out: Path | None = None,
    config: Path | None = None,
    trust: Trust = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    **typed: str | list[str] | None,
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
    overwrite
        replace the run that is in --out
    json
        one JSON record per line instead of a progress bar
    trust
        see `cli.trust`
    typed
        every setting that was given, as text

    """
    from vaekit.cli.common import training_source
    from vaekit.cli.train import train
    from vaekit.errors import VaekitError
    from vaekit.runs import Lock, Run, check_free
    from vaekit.settings import conditions_known, prepare

    given = {field.name: from_text(field, typed.get(field.name)) for field in options()}
    settings = _settings(config, trust or ())
    other = data or any(given[name] for name in OF_THE_DATA)
    places = tuple(map(source_name, data))
    settings = settings.changed(**given, source=places or None)
    if other:
        settings = settings.changed(digest="")
    if not settings.data.source:
        raise VaekitError(
            "nothing to fit: name a file or a data set (see `vaekit datasets`), or give --config run.toml."
        )
    if out is not None:
        check_free(out, overwrite)
    source = training_source(settings)
    prepared = prepare(settings, source)
    counts = {part: len(index) for part, index in prepared.split.items()}
    if not json:
        _describe(prepared, source, counts, _asked(settings, given))
    about = {"name": source.name, "digest": source.digest, **counts}
    if source.conditions is not None:
        about["conditions"] = conditions_known(source, prepared.split["train"])
    resolved = prepared.settings.changed(digest=source.digest)
    folder = out or claimed(_named(settings.data.source))
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder):
        run = Run.create(folder, resolved, prepared.schema, about, overwrite=overwrite)
        return train(run, prepared, as_json=json)


def _settings(config: Path | None, trust: Collection[str]) -> "Settings":
    """The settings of a configuration, or those by default; VaekitError for a file that is none."""
    import tomllib

    from vaekit.errors import VaekitError, reason
    from vaekit.settings import Settings

    if config is None:
        return Settings()
    try:
        values = tomllib.loads(config.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise VaekitError(f"{config} cannot be read as a run.toml: {reason(error)}.") from error
    return Settings.from_dict(values, trust)


def source_name(data: str) -> str:
    """Files by their whole path, so that the run finds them from anywhere; data sets by name."""
    if not Path(data).exists():
        return data
    from vaekit.data.datasets import NAMES

    if data in NAMES:
        return data
    return str(Path(data).resolve())


def _named(source: str | tuple[str, ...]) -> Path:
    """The folder that a run has by its data's name."""
    first = source if isinstance(source, str) else source[0]
    return Path("runs") / (Path(first).name.split(".")[0] or "run")


def claimed(wanted: Path) -> Path:
    """A folder of that name, or of the first free number behind it, made: of two processes that ask at once each has
    its own."""
    for number in itertools.count(1):
        name = wanted.name if number == 1 else f"{wanted.name}-{number}"
        folder = wanted.parent / name
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")


def _asked(settings: "Settings", given: dict[str, Any]) -> dict[str, Any]:
    """The settings that someone chose: all that were given as options, and what a configuration has otherwise than it
    is by default."""
    from vaekit.settings import Settings

    usual = Settings().to_dict()
    chosen = {}
    for section, values in settings.to_dict().items():
        for name, value in values.items():
            of_the_rows = name in ("source", "digest")
            differs = value not in ("auto", usual[section][name])
            typed = given.get(name) not in (None, "auto")
            if typed or (differs and not of_the_rows):
                chosen[name] = value
    return chosen


FEW = 20
"""rows from which nothing that holds of others can be learned"""


def _describe(prepared: "Prepared", source: "Source", counts: dict[str, int], asked: dict[str, Any]) -> None:
    """Say what is to be trained, on what, and why: the page above the progress bar."""
    from vaekit.cli.summary import column_lines, condition_lines
    from vaekit.errors import counted

    split = ", ".join(f"{count:,} {part}" for part, count in counts.items())
    schema = prepared.schema
    kind = _kind(prepared, source)
    holds = f"{schema.kind}, {schema.low_high}"
    if schema.kinds is not None:
        holds = "of several kinds" if len(set(schema.kinds)) > 1 else schema.kinds[0]
    print(f"{source.name}: {split} rows; {kind}, {holds}")
    if counts["train"] < FEW:
        print(f"  note: {counted(counts['train'], 'training row')}: what is learned from so few holds of little else")
    for line in column_lines(schema, source):
        print(f"    {line}")
    for line in condition_lines(schema):
        print(f"    {line}")
    for name, value in asked.items():
        print(f"  {name} = {_shown(value)}  (asked for)")
    for name, reason in prepared.reasons.items():
        of_the_model = getattr(prepared.settings.model, name, None)
        value = of_the_model or getattr(prepared.settings.training, name, None)
        print(f"  {name} = {value}  ({reason})")
    _say_notes(prepared, source, compiled=asked.get("compile") == "on")
    state = prepared.state
    parameters = counted(sum(p.numel() for p in state.parameters), "parameter")
    latents = counted(state.model.latent_dim, "latent")
    if prepared.settings.model.members > 1:
        latents += f" of each of {prepared.settings.model.members} members"
    steps = counted(state.recipe.steps, "step")
    print(f"  {parameters}, {latents}, {steps}")
    objective = state.objective
    if not objective.bounded:
        print(f"  descends {objective.surrogate or objective.name}; the loss reported is that")
    elif objective.surrogate:
        print(f"  descends {objective.surrogate}; the {objective.name} reported is the true bound")
    if schema.binarized == "expected":
        print("  binarize = expected: the numbers are a bound on the mean log-likelihood of the binarised image")


def _kind(prepared: "Prepared", source: "Source") -> str:
    """What the rows are, and how that is known: "table of 5 columns", "images of 28×28 (two axes of pixels)"."""
    shape = prepared.schema.shape
    layout = source.axes
    plural = "s" * (layout.kind != "table")
    kind = f"{layout.kind}{plural} of {'×'.join(map(str, shape))}"
    if len(shape) > 1:
        return f"{kind} ({layout.reason})"
    return f"{kind} {'column' if shape == (1,) else 'columns'}"


def _shown(value: object) -> object:
    """A setting's value, a list by its items."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return value


def _say_notes(prepared: "Prepared", source: "Source", *, compiled: bool) -> None:
    """Say what the data and the settings have that their owner may not have meant."""
    from vaekit.settings import hints, worth_compiling

    found = hints(source.x, prepared.schema, prepared.settings.model.likelihood)
    for note in (*source.notes, *found, *prepared.notes):
        print(f"  note: {note}")
    if compiled and not worth_compiling(prepared):
        print("  note: compiling takes longer than it saves in so short a training: --compile auto leaves it out")
