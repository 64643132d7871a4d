"""vaekit reconstruct: rows through the model and back."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def reconstruct(
    run: Path,
    data: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    n: Annotated[int | None, Parameter(name=["-n", "--number"])] = None,
    samples: int = 1,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Decode z ~ q(z|x): the m different x̂ of one x.

    Parameters
    ----------
    run
        the run folder
    data
        a file, an image, a folder of images or a known data set; without it the run's own test rows
    output
        .png (each image followed by its reconstructions), .tif (the reconstructions, a page each), .npy, .csv or
        .parquet
    n
        only the first n rows; by default all, or 10 for a .png
    samples
        m, draws of z a row. An .npy of m > 1 has shape (m, n, …); a table has the m reconstructions of a row in turn
    seed
        of the draws
    device
        auto, cpu or cuda; by default the run's
    """
    from vaekit import evaluation
    from vaekit.cli.common import check_output, counted, feature_names, open_model, rows_of, write_rows
    from vaekit.cli.images import PICTURES, write_images
    from vaekit.errors import VaekitError
    from vaekit.maths import generator
    from vaekit.report import with_reconstructions

    if samples < 1 or (n is not None and n < 1):
        raise VaekitError("--samples and -n must be 1 or more.")
    check_output(output, *PICTURES, ".npy", ".csv", ".parquet")
    picture = output.suffix.lower() == ".png"
    opened, model, place = open_model(run, device)
    rows, _, _ = rows_of(opened, model, data, place)
    count = min(len(rows), n or (10 if picture else len(rows)))
    rows = rows.first(count)
    again = evaluation.reconstruct(model, rows, samples, generator(seed, "reconstruct", device=place))
    shown = ""
    if picture:
        pairs = with_reconstructions(rows, again, count)
        shown = write_images(output, pairs, opened.schema, columns=1 + samples)
    elif output.suffix.lower() == ".npy":
        again = again[0] if samples == 1 else again
        write_rows(output, opened.schema.from_stored(again.cpu().numpy()), [])
    else:
        again = again.transpose(0, 1).flatten(0, 1)
        if output.suffix.lower() in PICTURES:
            write_images(output, again.cpu().numpy(), opened.schema)
        else:
            write_rows(output, opened.schema.from_stored(again.cpu().numpy()), feature_names(opened))
    print(f"{counted(count)}, {samples} reconstruction{'s' if samples > 1 else ''} each, in {output}{shown}")
