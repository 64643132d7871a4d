"""vaekit refit: another prior for a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    from vaekit.settings import Refit


PARTS = {"train": "training", "validation": "validation", "test": "test"}
"""what their rows are called"""


def refit(
    run: Path,
    *,
    prior: str = "auto",
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Fit a prior to what a trained model makes of its rows, and keep the model with it as a run of its own.

    Encoder and decoder stay as they are, and so do latents and reconstructions. Scores and samples change: the bound on
    log p(x) rises by as much as the new prior expects draws of q(z|x) better.

    Parameters
    ----------
    run
        the run folder, which stays as it is
    prior
        auto (a mixture of normals, the best on the validation rows of several; of codes the better of independent and
        autoregressive ones), or a name as in vaekit fit: gaussian, mixture:components=30,covariance=full, vamp,
        codes:kind=autoregressive; standard takes N(0, I) again
    out
        the folder of the new run; by default RUN-refitted, numbered where that is taken
    overwrite
        replace the run that is in --out
    json
        the numbers as JSON
    trust
        see `cli.trust`

    """
    import json as json_module

    from vaekit.cli.common import training_source
    from vaekit.cli.fit import claimed
    from vaekit.errors import VaekitError
    from vaekit.runs import Run, check_free, check_run, save_state
    from vaekit.settings import prepare, refitted_state
    from vaekit.settings import refit as refit_prior

    if out is not None:
        if out.resolve() == run.resolve():
            raise VaekitError(f"{run} stays as it is: choose another --out.")
        check_free(out, overwrite)
    opened = Run.reopen(check_run(run), trust=trust or ())
    source = training_source(opened.settings, run)
    prepared = prepare(opened.settings, source, opened.schema)
    opened.restore(prepared.state)
    found = refit_prior(opened.settings, prepared.state.trained(), opened.schema, prepared.rows, prior)
    folder = out or claimed(run.parent / f"{run.name}-refitted")
    state = refitted_state(prepared.state, found, opened.schema, len(prepared.rows["train"]))
    gains = {part: gain._asdict() for part, gain in found.gains.items()}
    about = {**opened.data, "refitted": {"from": str(run), "gains": gains}}
    save_state(folder, found.settings, opened.schema, about, state, opened.metrics, overwrite=overwrite)
    if json:
        print(json_module.dumps({"run": str(folder), "prior": found.prior, "gains": gains, "tried": found.tried}))
        return
    bounded = opened.objective.bounded
    for line in _page(found, run, bounded):
        print(line)
    command = f"evaluate {folder}" if bounded else f"sample {folder} -o new.npy"
    print(f"Run: {folder}.  Next: vaekit {command}")


def _page(found: "Refit", run: Path, bounded: bool) -> list[str]:
    """What was fitted, what it is worth, and what has changed.

    bounded    whether the model has a bound, which is what changes; else it is the density of its codes
    """
    how = ""
    if len(found.tried) > 1:
        how = f"  (of {len(found.tried)} that were tried, the best on rows held out)"
    what = "the bound on log p(x)" if bounded else "log p(z) of the codes"
    lines = [f"{run}: prior {found.prior}{how}", f"  {what} changes by, nats per row"]
    for part, gain in found.gains.items():
        error = f" ± {gain.error:.3f}" if gain.error is not None else ""
        rows = f"{gain.rows:,} {PARTS[part]} rows"
        lines.append(f"    {rows:<26}{gain.mean:+.3f}{error}")
    changed = "scores and samples are" if bounded else "samples are"
    lines.append(f"Encodings and reconstructions stay as they were; {changed} of the new prior.")
    if found.held_out <= 0:
        lines.append(f"Note: rows held out gain nothing by it: {run} is as good.")
    return lines
