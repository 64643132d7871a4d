"""vaekit evaluate: the numbers of a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

CLOSE = 0.9
"""part of its ceiling log n beyond which an estimate of the information says little"""


def evaluate(
    run: Path,
    data: str | None = None,
    *,
    method: str = "iwae",
    samples: int | None = None,
    rows: int | None = None,
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    device: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """log p(x) with its errors, ELBO, rate and its parts, distortion, bits/dim, active units, the gap to the training
    rows, and simple models of the same rows beside them.

    Parameters
    ----------
    run
        the run folder
    data
        a file, an image, a folder of images or a known data set; without it the run's own test rows
    method
        of estimating log p(x): iwae (importance-weighted), quadrature (exact, for one or two latents) or ais
        (annealed, slow and tight)
    samples
        iwae: draws a row, by default 100 (the literature reports 5000); ais: chains a row
    rows
        evaluate so many rows only, drawn by the run's seed
    exclude
        a column of a table to leave out, beside those of the run; may be given several times
    device
        auto, cpu or cuda; by default the run's
    json
        the numbers as JSON
    """
    import json as json_module

    from vaekit.cli.common import announce, open_model, rows_of, scoring_bar, training_rows
    from vaekit.errors import VaekitError
    from vaekit.evaluation import build_method
    from vaekit.evaluation import evaluate as evaluate_rows

    if rows is not None and rows < 1:
        raise VaekitError(f"--rows is {rows}: give 1 or more.")
    way = build_method(method, samples)
    opened, model, place = open_model(run, device)
    chosen, source, _ = rows_of(opened, model, data, place, exclude)
    chosen = chosen if rows is None else chosen.some(rows)
    train = training_rows(opened, place, source if data is None else None)
    seed = opened.spec.training.seed
    if not json:
        announce(model, chosen, way, seed)
    with scoring_bar(len(chosen), quiet=json) as advance:
        result = evaluate_rows(model, chosen, way, seed, train=train, advance=advance)
    if json:
        print(json_module.dumps(result.to_dict()))
        return
    at_floor = getattr(model.likelihood, "at_floor", int)()
    if at_floor:
        print(f"σ is at its floor, the data's resolution, in {at_floor} of {model.likelihood.raw.numel()} columns.")
    print("\n".join(_table(result, source.name if data else f"{source.name}, test rows", opened.schema.binarized, way)))
    if train is None:
        print("The rows this run was trained on are not at hand: no baselines, and no gap to them.")


def _table(result, name: str, binarized: str, method) -> list[str]:
    """The page for people: a number a line, what it is, then what stands beside it and what follows."""
    from vaekit.cli.common import counted

    head = f"{name}: {counted(result.n)}, means per row" + ("" if binarized == "none" else f"; binarised ({binarized})")
    lines = [f"  {label:<14}{value:<26}{meaning}" for label, value, meaning in _numbers(result, binarized, method)]
    if result.baselines:
        lines.append("beside it, on the same rows")
    for one in result.baselines:
        nats = "–" if one.nats is None else f"{one.nats:.3f}" + ("" if one.nats_se is None else f" ± {one.nats_se:.3f}")
        bits = "" if one.bits_per_dim is None else f"{one.bits_per_dim:.4f} bits/dim; "
        lines.append(f"  {one.name:<26}{nats + ' nats':<25}{bits}{one.note}")
    return [head, *lines, *result.verdicts]


def _numbers(result, binarized: str, method) -> list[tuple[str, str, str]]:
    estimate, parts = result.log_likelihood, result.parts
    of = "log p(x)" if binarized != "expected" else "the mean log p of the binarised image"
    spread = "" if estimate.spread is None else f" ± {estimate.spread:.3f}"
    lines = [
        ("log p(x)" if binarized != "expected" else "tighter", f"{estimate.mean:.3f}{spread} nats",
         f"{_way(method)}; ± over rows"),
        ("", "", _error(estimate)),
    ]  # fmt: skip
    if result.bits_per_dim is not None:
        lines.append(("bits/dim", f"{result.bits_per_dim:.4f}", "−log₂ p(x) / dimensions"))
    if len(estimate.curve) > 1:
        by_draws = "  ".join(f"{k}: {value:.2f}" for k, value in estimate.curve.items())
        lines.append(("by draws", by_draws, ""))
    lines += [
        ("ELBO", f"{result.elbo:.3f} nats", f"a lower bound on {of}"),
        ("rate", f"{result.rate:.3f} nats", "KL(q(z|x) ‖ p(z)), of which"),
        ("  information", f"{parts.information:.3f} nats", f"I_q(x; z), at most log n = {parts.ceiling:.2f}"),
        ("  marginal", f"{parts.marginal_kl:.3f} nats", _marginal(parts)),
        ("distortion", f"{result.distortion:.3f} nats", "−E log p(x|z)"),
        ("active units", f"{result.active_units} of {result.latent_dim}", "latents that carry something about x"),
    ]  # fmt: skip
    if result.two_sided is not None:
        sides = result.two_sided.to_dict()
        gap = f"{sides['gap']:.3f} ± {sides['gap_se']:.3f} nats"
        lines.append(
            ("two-sided gap", gap, f"upper − lower estimate of log p(x), on {sides['n']} rows of the model's own")
        )
    if result.generalisation is not None:
        gap = result.generalisation
        error = "" if gap.gap_se is None else f" ± {gap.gap_se:.3f}"
        lines.append(("train–test", f"{gap.gap:.3f}{error} nats", "by which the ELBO of training rows is higher"))
    return lines


def _marginal(parts) -> str:
    """What KL(q(z) ‖ p(z)) means: where the rows told apart are as many as there are, the split is a matter of n."""
    if parts.information > CLOSE * parts.ceiling:
        return "the rest: more rows would show more information and less of this"
    return "KL(q(z) ‖ p(z)): what a better prior could save"


def _way(method) -> str:
    sizes = {"iwae": "importance-weighted, {samples:,} draws a row", "quadrature": "by quadrature",
             "ais": "annealed, {chains:,} chains a row"}  # fmt: skip
    return sizes[method.name].format(**vars(method))


def _error(estimate) -> str:
    if estimate.error is None:
        return "of one draw a row: how far it may be off is not known"
    below = f", and low by about {estimate.bias:.4f}" if estimate.bias else ""
    doubt = (
        f"; k̂ > 0.7 in {estimate.untrusted:.0%} of the rows: more draws may raise them" if estimate.untrusted else ""
    )
    return f"the estimate itself ± {estimate.error:.4f}{below}{doubt}"
