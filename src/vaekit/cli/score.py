"""vaekit score: log p(x) of each row."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust


def score(
    run: Path,
    /,
    *data: str,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    unseen: str = "error",
    method: str = "iwae",
    samples: int | None = None,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """The log-likelihood log p(x) of each row in nats, with the error of each; of a run that was fitted with conditions
    log p(x | c), given each row's own.

    Parameters
    ----------
    run
        the run folder
    data
        files, images, folders of images or a known data set; by default the run's own test rows
    output
        a table (.csv, .parquet) with the rows' numbers, counted from 0, the files of images, the labels where they are
        known, the columns kept, and for the run's own data the part that each row is in: train, validation or test;
        then log_p and error, and those of the method (for iwae ess, the effective number of draws, and pareto_k: beyond
        0.5 of 100 draws, or 0.7 of 2,000 and more, neither number can be trusted); or an .npy of shape (n, 2): log p(x)
        and its error
    exclude
        a column of a table to leave out, beside those of the run; may be given several times
    keep
        a column of a table to write beside the results; may be given several times
    unseen
        what becomes of a level that the model was not fitted to: an error, or missing
    method
        iwae (importance-weighted), quadrature (one or two latents) or ais (annealed, slow and tight)
    samples
        iwae: draws a row, by default 100; ais: chains a row
    device
        auto, cpu or cuda; by default the run's
    json
        what was written as one JSON object: run, data, output, seed, versions, the mean log p(x) with its errors
    trust
        see `cli.trust`

    """
    import json as json_module
    import sys

    import numpy as np

    from vaekit.cli.common import (
        announce,
        check_apart,
        check_density,
        check_output,
        counted,
        of_what,
        open_model,
        rows_of,
        scoring_bar,
        with_parts,
        write_rows,
    )
    from vaekit.evaluation import build_method, log_likelihood
    from vaekit.runs import versions

    check_output(output, ".npy", ".csv", ".parquet")
    way = build_method(method, samples)
    opened, model, place = open_model(run, device, trust)
    check_density(opened)
    check_apart(output, opened, data)
    rows, source, known = rows_of(opened, model, data, place, exclude, keep, unseen)
    seed = opened.settings.training.seed
    announce(model, rows, way, seed)
    with scoring_bar(len(rows)) as advance:
        result = log_likelihood(model, rows, way, seed, advance)
    said = result.doubt
    if said is not None:
        print(f"vaekit: {of_what(opened)}: {said}.", file=sys.stderr)
    columns = {"log_p": result.value, "error": result.scores.error}
    if output.suffix.lower() != ".npy":
        known = with_parts(known, opened, source, data)
        columns |= {name: term for name, term in result.scores.terms.items() if term.ndim == 1}
    table = np.stack([column.cpu().double().numpy() for column in columns.values()], 1)
    write_rows(output, table, list(columns), known, spelled=source.spelled)
    if json:
        about = {"run": str(run), "data": source.name, "output": str(output), "seed": seed}
        if opened.schema.given:
            about["given"] = opened.schema.given
        print(json_module.dumps({**about, "versions": versions(place), **result.to_dict()}))
        return
    print(f"{counted(result.n)} in {output}: mean {of_what(opened)} {result.mean:.3f} nats")
