"""vaekit sample: new rows from the model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust


def sample(
    run: Path,
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"])] = 64,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    mean: Annotated[bool, Parameter(negative=())] = False,
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
        .png (a grid, for images), .tif (a page for each image, of the data's own numbers), .npy, .csv or .parquet
    mean
        the decoder's mean x̂ instead of a draw x ~ p(x|z)
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
    from vaekit.cli.common import check_apart, check_output, feature_names, open_model, whole_numbers, write_rows
    from vaekit.cli.images import PICTURES, write_images
    from vaekit.errors import VaekitError
    from vaekit.noise import generator
    from vaekit.runs import versions

    if n < 1:
        raise VaekitError(f"-n is {n}: give 1 or more.")
    check_output(output, *PICTURES, ".npy", ".csv", ".parquet")
    opened, model, place = open_model(run, device, trust)
    check_apart(output, opened, ())
    source = generator(seed, "sample", device=place)
    rows = inference.sample(model, n, source, mean=mean).cpu().numpy()
    shown = ""
    if output.suffix.lower() in PICTURES:
        shown = write_images(output, rows, opened.schema)
    else:
        given = opened.schema.from_stored(rows)
        drawn_whole = model.likelihood.integers and opened.schema.kind != "real" and not mean
        if drawn_whole:
            given = whole_numbers(given, opened.schema, output)
        write_rows(output, given, feature_names(opened), schema=opened.schema, means=mean)
    what = "means" if mean else "draws"
    if json:
        about = {"run": str(run), "output": str(output), "seed": seed, "versions": versions(place)}
        print(json_module.dumps({**about, "n": n, "what": what}))
        return
    print(f"{n} {what} in {output}{shown}")
