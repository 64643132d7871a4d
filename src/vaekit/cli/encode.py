"""vaekit encode: rows → latents."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust


def encode(
    run: Path,
    data: str,
    /,
    *more: str,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    unseen: str = "error",
    spread: Annotated[bool, Parameter(negative=())] = False,
    codes: Annotated[bool, Parameter(negative=())] = False,
    clusters: Annotated[bool, Parameter(negative=())] = False,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """The posterior's mean of each row, E[z|x], and on request its standard deviation.

    Parameters
    ----------
    run
        the run folder
    data
        a file, an image, a folder of images or a known data set
    more
        further files, whose rows follow
    output
        .npy, or a table (.csv, .parquet) that also has the rows' numbers, counted from 0, the files of images, the
        labels where they are known, and the columns kept
    exclude
        a column of a table to leave out, beside those of the run; may be given several times
    keep
        a column of a table to write beside the results; may be given several times
    unseen
        what becomes of a level that the model was not fitted to: an error, or missing
    spread
        the standard deviations too: columns sd0 … beside z0 …; in an .npy, shape (n, 2, latents)
    codes
        of a run whose latents are codes: these, integers from 0, in columns code0 …
    clusters
        of a run whose prior is a mixture: how probably each row is of each of its components, in columns cluster0 …
    device
        auto, cpu or cuda; by default the run's
    trust
        see `cli.trust`
    json
        what was written as one JSON object: run, data, output, seed, versions, the number of rows and of latents

    """
    import json as json_module

    import numpy as np

    from vaekit import inference
    from vaekit.cli.common import check_apart, check_output, counted, open_model, rows_of, write_rows
    from vaekit.errors import VaekitError
    from vaekit.runs import versions

    check_output(output, ".npy", ".csv", ".parquet")
    if codes + clusters + spread > 1:
        raise VaekitError("--codes, --clusters and --spread are apart: give one of them.")
    opened, model, place = open_model(run, device, trust)
    check_apart(output, opened, (data, *more))
    rows, source, known = rows_of(opened, model, (data, *more), place, exclude, keep, unseen)
    seed = opened.settings.training.seed
    kind, column = "latent", "z"
    if codes:
        kind = column = "code"
        found, _, _ = inference.codes(model, rows)
    elif clusters:
        kind = column = "cluster"
        found = inference.clusters(model, rows, seed)
    else:
        found, deviation = inference.encode(model, rows)
    table = found.cpu().numpy()
    latents = table.shape[1]
    names = [f"{column}{j}" for j in range(latents)]
    if spread:
        names += [f"sd{j}" for j in range(latents)]
        table = np.stack([table, deviation.cpu().numpy()], 1)
    write_rows(output, table, names, known, spelled=source.spelled)
    if json:
        about = {"run": str(run), "data": source.name, "output": str(output), "seed": seed}
        print(json_module.dumps({**about, "versions": versions(place), "n": len(table), "latent_dim": latents}))
        return
    print(f"{counted(len(table))}, {counted(latents, kind)}, in {output}")
