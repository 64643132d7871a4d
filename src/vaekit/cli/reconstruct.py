"""vaekit reconstruct: rows through the model and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    from vaekit.data.fields import Column

SHOWN = 10
"""rows in a picture, where no other number is asked for"""


def reconstruct(
    run: Path,
    /,
    *data: str,
    output: Annotated[Path, Parameter(name=["-o", "--output"])],
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    unseen: str = "error",
    n: Annotated[int | None, Parameter(name=["-n", "--number"])] = None,
    samples: int = 1,
    seed: int = 0,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Decode z ~ q(z|x): the m different x̂ of one x.

    Parameters
    ----------
    run
        the run folder
    data
        files, images, folders of images or a known data set; without them the run's own test rows
    output
        .png (each image followed by its reconstructions), .tif (the reconstructions, a page each), .npy, or a table
        (.csv, .parquet) that also has the rows' numbers, counted from 0, the files of images, the labels where they are
        known, and the columns kept
    exclude
        a column of a table to leave out, beside those of the run; may be given several times
    keep
        a column of a table to write beside the results; may be given several times
    unseen
        what becomes of a level that the model was not fitted to: an error, or missing
    n
        only the first n rows; for a .png n rows of all classes, or where there are none from beginning to end. By
        default all, or for a .png 10
    samples
        m, draws of z a row. An .npy of m > 1 has shape (m, n, …); a table has the m reconstructions of a row in turn,
        numbered in the column draw
    seed
        of the draws
    device
        auto, cpu or cuda; by default the run's
    trust
        see `cli.trust`
    json
        what was written as one JSON object: run, data, output, seed, versions, the number of rows and of
        reconstructions of each

    """
    import json as json_module

    from vaekit import inference
    from vaekit.cli.common import check_apart, check_output, counted, feature_names, open_model, rows_of, write_rows
    from vaekit.cli.images import PICTURES, write_images
    from vaekit.errors import VaekitError
    from vaekit.noise import generator
    from vaekit.report import with_reconstructions
    from vaekit.runs import versions

    if samples < 1 or (n is not None and n < 1):
        raise VaekitError("--samples and -n must be 1 or more.")
    check_output(output, *PICTURES, ".npy", ".csv", ".parquet")
    picture = output.suffix.lower() == ".png"
    opened, model, place = open_model(run, device, trust)
    check_apart(output, opened, data)
    rows, source, known = rows_of(opened, model, data, place, exclude, keep, unseen)
    count = len(rows)
    if n is not None or picture:
        count = min(count, n or SHOWN)
    if picture and count < len(rows):
        classes = None if source.labels is None else known[source.label_name]
        rows = rows.subset(of_all_classes(classes, len(rows), count))
    rows = rows.first(count)
    noise = generator(seed, "reconstruct", device=place)
    again = inference.reconstruct(model, rows, samples, noise)
    ending = output.suffix.lower()
    shown = ""
    if picture:
        pairs = with_reconstructions(rows, again, count)
        shown = write_images(output, pairs, opened.schema, columns=1 + samples)
    elif ending == ".npy":
        drawn = again[0] if samples == 1 else again
        write_rows(output, opened.schema.from_stored(drawn.cpu().numpy()), [])
    else:
        in_turn = again.transpose(0, 1).flatten(0, 1).cpu().numpy()
        if ending in PICTURES:
            write_images(output, in_turn, opened.schema)
        else:
            table = opened.schema.from_stored(in_turn)
            beside = of_each(known, count, samples)
            names = feature_names(opened)
            write_rows(output, table, names, beside, opened.schema, means=True, spelled=source.spelled)
    if json:
        about = {"run": str(run), "data": source.name, "output": str(output), "seed": seed}
        print(json_module.dumps({**about, "versions": versions(place), "n": count, "samples": samples}))
        return
    plural = "s" if samples > 1 else ""
    print(f"{counted(count)}, {samples} reconstruction{plural} each, in {output}{shown}")


def of_each(known: "dict[str, Column]", count: int, samples: int) -> "dict[str, Column]":
    """What tells rows apart, for a table with each of `samples` reconstructions of a row in turn."""
    repeated = np.repeat(np.arange(count), samples)
    columns: dict[str, Column] = {name: column[repeated] for name, column in known.items()}
    if samples > 1:
        columns["draw"] = np.tile(np.arange(samples), count)
    return columns


def of_all_classes(classes: "Column | None", rows: int, count: int) -> np.ndarray:
    """`count` row numbers, in order: as many of each class as there can be, those of a class, or of all where there are
    none, evenly from its first to its last.

    >>> of_all_classes(None, 100, 3).tolist(), of_all_classes(np.array(list("aaaaaabb")), 8, 4).tolist()
    ([0, 50, 99], [0, 5, 6, 7])
    """
    if classes is None:
        return np.linspace(0, rows - 1, count).round().astype(np.int64)
    _, of = np.unique(np.asarray(classes).astype(str), return_inverse=True)
    shares = np.zeros(of.max() + 1, np.int64)
    available = np.bincount(of)
    while shares.sum() < count:
        open_ones = np.flatnonzero(shares < available)
        shares[open_ones[: count - shares.sum()]] += 1
    chosen = []
    for j, share in enumerate(shares):
        members = np.flatnonzero(of == j)
        chosen.append(members[of_all_classes(None, available[j], share)])
    return np.sort(np.concatenate(chosen))
