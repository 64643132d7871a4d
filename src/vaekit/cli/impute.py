"""vaekit impute: missing cells → their estimates, or draws of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    import numpy as np

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
        a table (.csv, .tsv, .parquet) or an array (.npy) whose missing cells are NaN
    more
        further files, whose rows follow
    output
        a table (.csv, .parquet): every column of the given one, in its order, with all that was there as it was, behind
        the rows' numbers, counted from 0; or an .npy of the numbers
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
    import sys

    import numpy as np

    from vaekit import inference
    from vaekit.cli.common import (
        check_apart,
        check_output,
        counted,
        feature_names,
        open_model,
        rows_of,
        write_filled,
        write_rows,
    )
    from vaekit.cli.reconstruct import of_each
    from vaekit.data.written import significant
    from vaekit.errors import VaekitError
    from vaekit.noise import generator
    from vaekit.runs import versions

    check_output(output, ".npy", ".csv", ".parquet")
    if spread and (draws or output.suffix.lower() == ".npy"):
        raise VaekitError("--spread goes with one estimate of each cell, in a table: leave out --draws, or it.")
    opened, model, place = open_model(run, device, trust)
    check_apart(output, opened, (data, *more))
    rows, source, known = rows_of(opened, model, (data, *more), place, exclude, keep, unseen, whole=True)
    x = np.asarray(source.x)
    missing = source.missing
    noise = generator(seed, "impute", device=place)
    found = inference.impute(model, rows, noise, samples=samples, draws=draws, seed=opened.settings.training.seed)
    filled = _filled(opened.schema.from_stored(found.values.cpu().numpy()), missing, x)
    names = feature_names(opened)
    if draws:
        drawn = opened.schema.from_stored(found.draws.cpu().numpy())
        filled = np.stack([_filled(one, missing, x) for one in drawn])
        if output.suffix.lower() != ".npy":
            filled = filled.swapaxes(0, 1).reshape(-1, *missing.shape[1:])
    after: dict[str, np.ndarray] = {}
    if spread:
        deviation = significant(found.spread.cpu().double().numpy(), SPREAD_DIGITS)
        holey = np.flatnonzero(missing.any(0))
        after = {f"spread of {names[j]}": deviation[:, j] for j in holey}
    if output.suffix.lower() == ".npy":
        write_rows(output, filled, names)
    elif source.whole is None:
        known = of_each(known, len(rows), draws) if draws else known
        write_rows(output, filled, names, known, opened.schema, after=after)
    else:
        numbered = {name: column for name, column in known.items() if name not in source.whole}
        repeated = np.repeat(np.arange(len(rows)), max(1, draws))
        if draws:
            numbered = of_each(numbered, len(rows), draws)
        write_filled(output, filled, source, repeated, opened.schema, numbered, after)
    count = int(missing.sum())
    rows_filled = missing.reshape(len(missing), -1).any(1)
    ess = found.ess.cpu().numpy()[rows_filled]
    few = int((ess < FEW).sum())
    if few:
        said = f"in {few:,} of {counted(len(ess))} with missing cells fewer than {FEW} of {samples:,} draws count"
        print(f"vaekit: {said}: more --samples make these estimates better.", file=sys.stderr)
    if json:
        about = {"run": str(run), "data": source.name, "output": str(output), "seed": seed}
        numbers = {"n": len(rows), "filled": count, "draws": draws, "few": few}
        print(json_module.dumps({**about, "versions": versions(place), **numbers}))
        return
    what = f", {draws} draws each," if draws else ""
    print(f"{counted(count, 'missing cell')} of {counted(len(rows))} filled{what} in {output}")


def _filled(values: "np.ndarray", missing: "np.ndarray", x: "np.ndarray") -> "np.ndarray":
    """Rows x with the values where they miss a cell."""
    import numpy as np

    return np.where(missing, values, x)
