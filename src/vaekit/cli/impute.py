"""vaekit impute: missing cells → their estimates, or draws of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    import numpy as np

    from vaekit.data import Source
    from vaekit.data.fields import Column
    from vaekit.runs import Run

SPREAD_DIGITS = 4
FEW = 10
"""effective draws below which an estimate is not to be trusted"""


def impute(
    run: Path,
    data: str,
    /,
    *more: str,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    draws: int = 0,
    spread: Annotated[bool, Parameter(negative=())] = False,
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    unseen: str = "error",
    samples: int = 1000,
    seed: int = 0,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Fill the missing cells of a table by p(x_missing | x_observed); what was observed stays as it was.

    Parameters
    ----------
    run
        the run folder
    data
        a table (.csv, .tsv, .parquet) or an array (.npy, .npz) whose missing cells are NaN
    more
        further files, whose rows follow
    output
        a table (.csv, .parquet): every column of the given one, in its order, with all that was there as it was, behind
        the rows' numbers, counted from 0; or an .npy of the numbers; or of an .npz another one (.npz), whose other
        arrays stay as they were
    draws
        M: instead of one estimate of each cell (the mean of numbers, the most probable level of categories) M draws of
        it, for multiple imputation: the M versions of a row in turn, numbered in the column draw; in an .npy (M, n, …)
    spread
        behind all columns, for each with missing cells, how uncertain these are: the standard deviation of numbers, of
        categories the probability of another level, to four digits; 0 where a cell was observed
    exclude
        a column of a table that is not to be read, beside those of the run; may be given several times
    keep
        the same
    unseen
        what becomes of a level that the model was not fitted to: an error, or missing, and it is filled
    samples
        K, draws of z a row, which are weighted by how well they explain what is observed
    seed
        of the draws
    device
        auto, cpu or cuda; by default the run's
    trust
        see `cli.trust`
    json
        what was written as one JSON object: run, data, output, seed, versions, the numbers of rows, of cells filled and
        of draws

    """
    import json as json_module

    import numpy as np

    from vaekit import inference
    from vaekit.cli.common import check_apart, check_density, check_output, counted, feature_names, open_model, rows_of
    from vaekit.data.readers import with_other_rows
    from vaekit.errors import VaekitError
    from vaekit.noise import generator
    from vaekit.runs import versions
    from vaekit.runs.storage import write

    check_output(output, ".npy", ".npz", ".csv", ".parquet")
    archive = output.suffix.lower() == ".npz"
    if archive:
        _check_archive(output, (data, *more), draws)
    if spread and draws:
        raise VaekitError("--spread goes with one estimate of each cell: leave out --draws, or it.")
    if spread and output.suffix.lower() in (".npy", ".npz"):
        raise VaekitError("--spread stands in columns beside the rows: give -o a name that ends in .csv or .parquet.")
    opened, model, place = open_model(run, device, trust)
    check_density(opened)
    check_apart(output, opened, (data, *more))
    rows, source, known = rows_of(opened, model, (data, *more), place, exclude, keep, unseen, whole=True)
    noise = generator(seed, "impute", device=place)
    found = inference.impute(model, rows, noise, samples=samples, draws=draws, seed=opened.settings.training.seed)
    values = opened.schema.uncentred((found.draws if draws else found.values).cpu().numpy())
    filled = source.axes.given(np.where(source.missing, values, np.asarray(source.x)), opened.schema.shape)
    after = _spreads(found.spread.cpu().double().numpy(), source.missing, feature_names(opened)) if spread else {}
    if archive:
        write(output, with_other_rows(Path(data), filled, source.places))
    else:
        _write(output, filled, opened, source, known, draws, after)
    count = int(source.missing.sum())
    few = _say_few(found.ess.cpu().numpy(), source.missing, samples)
    if json:
        about = {"run": str(run), "data": source.name, "output": str(output), "seed": seed}
        numbers = {"n": len(rows), "filled": count, "draws": draws, "few": few}
        print(json_module.dumps({**about, "versions": versions(place), **numbers}))
        return
    what = f", {draws} draws each," if draws else ""
    print(f"{counted(count, 'missing cell')} of {counted(len(rows))} filled{what} in {output}")


def _check_archive(output: Path, data: tuple[str, ...], draws: int) -> None:
    """Refuse an archive as output for anything but one estimate of each cell of another archive."""
    from vaekit.errors import VaekitError, listed

    if len(data) > 1 or Path(data[0]).suffix.lower() != ".npz":
        raise VaekitError(
            f"-o {output} is the archive that was read with its rows filled, and {listed(data)} is no single .npz: "
            f"give a name that ends in .npy, .csv or .parquet."
        )
    if draws:
        raise VaekitError(f"-o {output} holds one version of each row, and --draws asks for {draws}: end it in .npy.")


def _spreads(deviation: "np.ndarray", missing: "np.ndarray", names: list[str]) -> "dict[str, np.ndarray]":
    """How uncertain filled cells are, (n,) for each column with missing ones, under its name."""
    import numpy as np

    from vaekit.data.written import significant

    rounded = significant(deviation, SPREAD_DIGITS).reshape(len(deviation), -1)
    with_missing = np.flatnonzero(missing.reshape(len(missing), -1).any(0))
    return {f"spread of {names[j]}": rounded[:, j] for j in with_missing}


def _write(
    output: Path,
    filled: "np.ndarray",
    opened: "Run",
    source: "Source",
    known: "dict[str, Column]",
    draws: int,
    after: "dict[str, np.ndarray]",
) -> None:
    """The rows (n, columns), or draws of them (draws, n, columns), as an array, or as the table that they came as."""
    import numpy as np

    from vaekit.cli.common import OURS, feature_names, write_filled, write_rows
    from vaekit.cli.reconstruct import of_each

    names = feature_names(opened)
    if output.suffix.lower() == ".npy":
        write_rows(output, filled, names)
        return
    if source.whole is not None:
        beside = set(known).difference(source.whole.columns)
        beside |= set(OURS).intersection(known, source.spelled)  # " row" is another name than "row"
        known = {name: column for name, column in known.items() if name in beside}
    index = np.arange(len(source))
    if draws:
        filled = filled.swapaxes(0, 1).reshape(-1, *filled.shape[2:])
        known = of_each(known, len(index), draws)
        index = np.repeat(index, draws)
    if source.whole is None:
        write_rows(output, filled, names, known, opened.schema, after=after, spelled=source.spelled)
    else:
        write_filled(output, filled, source, index, opened.schema, known, after)


def _say_few(ess: "np.ndarray", missing: "np.ndarray", samples: int) -> int:
    """In how many rows with missing cells few draws count; said where there are any."""
    import sys

    from vaekit.errors import counted

    ess = ess[missing.reshape(len(missing), -1).any(1)]
    few = int((ess < FEW).sum())
    if few:
        said = f"in {few:,} of {counted(len(ess))} with missing cells fewer than {FEW} of {samples:,} draws count"
        print(f"vaekit: {said}: more --samples make these estimates better.", file=sys.stderr)
    return few
