"""vaekit evaluate: the numbers of a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate(
    run: Path,
    data: str | None = None,
    *,
    samples: int = 500,
    device: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """ELBO, rate, distortion, importance-weighted log p(x) with its standard error, bits/dim and active units.

    Parameters
    ----------
    run
        the run folder
    data
        a file, an image, a folder of images or a known data set; without it the run's own test rows
    samples
        draws a row for log p(x): more are tighter (the literature reports 5000)
    device
        auto, cpu or cuda; by default the run's
    json
        the numbers as JSON
    """
    import json as json_module
    import sys

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from vaekit.cli.common import open_model, rows_of
    from vaekit.errors import VaekitError
    from vaekit.evaluation import evaluate as evaluate_rows

    if samples < 1:
        raise VaekitError(f"--samples is {samples}: give 1 or more.")
    opened, model, place = open_model(run, device)
    rows, source = rows_of(opened, model, data, place)
    columns = (TextColumn("log p(x)"), BarColumn(30), TimeRemainingColumn())
    from rich.console import Console

    with Progress(
        *columns, transient=True, console=Console(stderr=True), disable=json or not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("", total=len(rows))
        result = evaluate_rows(model, rows, samples, opened.spec.training.seed, lambda n: bar.advance(task, n))
    if json:
        print(json_module.dumps(result.to_dict()))
    else:
        at_floor = getattr(model.likelihood, "at_floor", int)()
        if at_floor:
            print(f"σ is at its floor, the data's resolution, in {at_floor} of {model.likelihood.raw.numel()} columns.")
        _table(result, source.name if data else f"{source.name}, test rows", opened.schema.binarized)


def _table(result, name: str, binarized: str) -> None:
    of = "log p(x)" if binarized != "expected" else "the mean log p of the binarised image"
    spread = "" if result.log_likelihood_se is None else f" ± {result.log_likelihood_se:.3f}"
    lines = [
        ("ELBO", f"{result.elbo:.3f} nats", f"a lower bound on {of}"),
        ("rate", f"{result.rate:.3f} nats", "KL(q(z|x) ‖ p(z))"),
        ("distortion", f"{result.distortion:.3f} nats", "−E log p(x|z)"),
        ("log p(x)" if binarized != "expected" else "tighter", f"{result.log_likelihood:.3f}{spread} nats",
         f"importance-weighted, {result.samples} draws a row; ± standard error over rows"),
        ("active units", f"{result.active_units} of {result.latent_dim}", "latents that carry something about x"),
    ]  # fmt: skip
    if result.bits_per_dim is not None:
        lines.insert(4, ("bits/dim", f"{result.bits_per_dim:.4f}", "−log₂ p(x) / dimensions"))
    print(f"{name}: {result.n:,} rows, means per row" + ("" if binarized == "none" else f"; binarised ({binarized})"))
    for label, value, meaning in lines:
        print(f"  {label:<13}{value:<26}{meaning}")
