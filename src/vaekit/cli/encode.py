"""vaekit encode: rows → latents."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def encode(
    run: Path,
    data: str,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    spread: Annotated[bool, Parameter(negative=())] = False,
    device: str | None = None,
) -> None:
    """The posterior's mean of each row, E[z|x], and on request its standard deviation.

    Parameters
    ----------
    run
        the run folder
    data
        a file, an image, a folder of images or a known data set
    output
        .npy, or a table (.csv, .parquet) that also has the rows' labels where they are known
    spread
        the standard deviations too: columns sd0 … beside z0 …; in an .npy, shape (n, 2, latents)
    device
        auto, cpu or cuda; by default the run's
    """
    import numpy as np

    from vaekit import evaluation
    from vaekit.cli.common import check_output, counted, open_model, rows_of, write_rows

    check_output(output, ".npy", ".csv", ".parquet")
    opened, model, place = open_model(run, device)
    rows, _, labels = rows_of(opened, model, data, place)
    mean, deviation = (t.cpu().numpy() for t in evaluation.encode(model, rows))
    columns = range(model.latent_dim)
    names = [f"z{j}" for j in columns] + [f"sd{j}" for j in columns if spread]
    write_rows(output, np.stack([mean, deviation], 1) if spread else mean, names, labels)
    print(f"{counted(len(mean))}, {counted(model.latent_dim, 'latent')}, in {output}")
