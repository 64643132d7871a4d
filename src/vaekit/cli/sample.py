"""vaekit sample: new rows from the model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    import numpy as np

    from vaekit.data.fields import Column
    from vaekit.runs import Run


def sample(
    run: Path,
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"])] = 64,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    mean: Annotated[bool, Parameter(negative=())] = False,
    given: Annotated[list[str] | None, Parameter(negative=())] = None,
    seed: int = 0,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Generate rows: z ~ p(z), then x ~ p(x|z), or its mean x̂.

    Parameters
    ----------
    run
        the run folder
    n
        how many
    output
        .png (a grid, for images), .tif (a page for each image, of the data's own numbers and channels), .npy, .csv or
        .parquet
    mean
        the decoder's mean x̂ instead of a draw x ~ p(x|z)
    given
        conditions of the rows, NAME=VALUE,… (sex=f,site=2), for a run that was fitted with --condition; an empty value
        is an unknown one; may be given several times. Those not given are drawn from the training rows that have the
        levels given. They are written beside the rows
    seed
        another seed, another sample
    device
        auto, cpu or cuda; by default the run's
    trust
        see `cli.trust`
    json
        what was written as one JSON object: run, output, seed, versions, the number of rows, draws or means

    """
    import json as json_module

    from vaekit import inference
    from vaekit.cli.common import (
        as_columns,
        check_apart,
        check_output,
        check_prior,
        feature_names,
        open_model,
        whole_numbers,
        write_rows,
    )
    from vaekit.cli.images import PICTURES, write_images
    from vaekit.errors import VaekitError
    from vaekit.noise import generator
    from vaekit.parts import Conditions
    from vaekit.runs import versions

    if n < 1:
        raise VaekitError(f"-n is {n}: give 1 or more.")
    check_output(output, *PICTURES, ".npy", ".csv", ".parquet")
    opened, model, place = open_model(run, device, trust)
    check_prior(opened)
    check_apart(output, opened, ())
    conditions = opened.schema.conditions
    cells = _conditions(opened, given or [], n, seed)
    c = Conditions(conditions).codes(cells)
    known: dict[str, Column] = {}
    if conditions is not None:
        known = as_columns(cells, opened.schema.given, conditions.types)
    source = generator(seed, "sample", device=place)
    rows = inference.sample(model, n, source, mean=mean, c=None if c is None else c.to(place)).cpu().numpy()
    shown = ""
    if output.suffix.lower() in PICTURES:
        shown = write_images(output, rows, opened.schema)
    else:
        written = opened.schema.from_stored(rows)
        drawn_whole = model.likelihood.integers and opened.schema.kind != "real" and not mean
        if drawn_whole:
            written = whole_numbers(written, opened.schema, output)
        spelled = dict(opened.schema.spelled)
        write_rows(output, written, feature_names(opened), known, opened.schema, means=mean, spelled=spelled)
    what = "means" if mean else "draws"
    if json:
        about = {"run": str(run), "output": str(output), "seed": seed, "versions": versions(place)}
        print(json_module.dumps({**about, "n": n, "what": what}))
        return
    print(f"{n} {what} in {output}{shown}")


def _conditions(run: "Run", given: list[str], n: int, seed: int) -> "np.ndarray":
    """The conditions of n rows, (n, columns): as given, and the others as among the training rows."""
    import numpy as np

    from vaekit.data.conditions import beyond_range, given_cells, parsed, to_sample

    if run.schema.conditions is None and not given:
        return np.empty((n, 0))
    chosen = given_cells(parsed(given, run.schema), run.schema)
    for note in beyond_range(chosen, run.schema):
        print(f"vaekit: {note}", file=sys.stderr)
    return to_sample(run.data["conditions"], run.schema, chosen, n, seed)
