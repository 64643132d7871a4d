"""vaekit evaluate: the numbers of a run."""

import textwrap
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

CLOSE = 0.9
"""part of its ceiling log n beyond which an estimate of the information says little"""


def evaluate(
    run: Path,
    /,
    *data: str,
    method: str = "iwae",
    samples: int | None = None,
    rows: int | None = None,
    exclude: Annotated[list[str] | None, Parameter(negative=())] = None,
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """log p(x) with its errors, ELBO, rate and its parts, distortion, bits/dim, active units, the gap to the training
    rows, and simple models of the same rows beside them.

    Parameters
    ----------
    run
        the run folder
    data
        files, images, folders of images or a known data set; without them the run's own test rows
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

    from vaekit.cli.common import announce, counted, open_model, rows_of, scoring_bar, training_rows
    from vaekit.errors import VaekitError
    from vaekit.evaluation import build_method
    from vaekit.evaluation import evaluate as evaluate_rows
    from vaekit.runs import versions

    if rows is not None and rows < 1:
        raise VaekitError(f"--rows is {rows}: give 1 or more.")
    way = build_method(method, samples)
    opened, model, place = open_model(run, device, trust)
    chosen, source, _ = rows_of(opened, model, data or None, place, exclude)
    chosen = chosen if rows is None else chosen.some(rows)
    train = training_rows(opened, place, None if data else source)
    seed = opened.settings.training.seed
    name = source.name if data else f"{source.name}, test rows"
    if not json:
        announce(model, chosen, way, seed)
    with scoring_bar(len(chosen), quiet=json) as advance:
        result = evaluate_rows(model, chosen, way, seed, train=train, advance=advance)
    if json:
        about = {
            "run": str(run),
            "data": name,
            "seed": seed,
            "draws": getattr(way, "samples", getattr(way, "chains", None)),
            "versions": versions(place),
        }
        print(json_module.dumps({**about, **result.to_dict()}))
        return
    at_floor = getattr(model.likelihood, "at_floor", int)()
    if at_floor:
        columns = counted(model.likelihood.sigmas, "column")
        print(f"σ is at its floor, the data's resolution, in {at_floor} of {columns}.")
    if len(chosen) < FEW:
        say = f"{counted(len(chosen))} say{'s' * (len(chosen) == 1)}"
        print(f"Note: {say} little of others; errors of so few are themselves uncertain.")
    say_page(_table(result, name, opened.schema.binarized, way))
    if train is None:
        where = f" `vaekit resume {run} --data PATH` says where they are." if opened.settings.data.source else ""
        print(f"The rows this run was trained on are not at hand: no baselines, and no gap to them.{where}")


WIDTH, LABEL, VALUE = 80, 14, 24
"""columns of a page, of a number's name, and of the number"""
FEW = 20
"""rows below which errors over rows are guesses"""


def say_page(lines: list[str]) -> None:
    """Print a page; on a terminal its second line, the number that matters, in bold, unless NO_COLOR is set."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for number, line in enumerate(lines):
        console.print(Text(line, style="bold" if number == 1 and not console.no_color else ""))


def _line(label: str, value: str, meaning: str) -> list[str]:
    """A number, its name and what it is, in lines of 80 columns that break between words."""
    indent = " " * (2 + LABEL + VALUE)
    room = textwrap.wrap(meaning, WIDTH - len(indent)) or [""]
    if len(value) >= VALUE:
        return [f"  {label:<{LABEL}}{value}", *(indent + part for part in room if part)]
    return [f"  {label:<{LABEL}}{value:<{VALUE}}{room[0]}".rstrip(), *(indent + part for part in room[1:])]


def _table(result, name: str, binarized: str, method) -> list[str]:
    """The page for people: a number a line, what it is, then what stands beside it and what follows."""
    from vaekit.cli.common import counted

    head = f"{name}: {counted(result.n)}, means per row" + ("" if binarized == "none" else f"; binarised ({binarized})")
    lines = [head]
    for label, value, meaning in _numbers(result, binarized, method):
        lines += _line(label, value, meaning)
    if result.baselines:
        lines.append("beside simple models of the training rows, on the same rows, it is")
    for one in result.baselines:
        lines += _beside(one, result.log_likelihood.value)
    said = dict.fromkeys(line for line in (result.comparison, *result.verdicts) if line)
    return [*lines, *(part for line in said for part in textwrap.wrap(line, WIDTH))]


def _beside(one, log_p) -> list[str]:
    """A simple model: its nats, by how much the run's are better, and below what it is."""
    bits = "" if one.bits_per_dim is None else f"{one.bits_per_dim:.4f} bits/dim; "
    note = textwrap.wrap(bits + one.note, WIDTH, initial_indent="    ", subsequent_indent="    ")
    if one.nats is None:
        return [f"  {one.name}", *note]
    nats = f"{one.nats:,.3f}" + ("" if one.nats_se is None else f" ± {one.nats_se:,.3f}") + " nats"
    gain, error = one.gain(log_p)
    beside = f"{'better' if gain > 0 else 'worse'} by {abs(gain):,.2f}" + ("" if error is None else f" ± {error:,.2f}")
    line = f"  {one.name:<26}{nats:<27} {beside}"
    return [line, *note] if len(line) <= WIDTH else [f"  {one.name:<26}{nats}", f"{'':<28}{beside}", *note]


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
        ("rate", f"{result.rate:.3f} nats", "KL(q(z|x) ‖ p(z))" + ("" if parts is None else ", of which")),
    ]  # fmt: skip
    if parts is not None:
        ceiling = f"I_q(x; z), at most log n = {parts.ceiling:.2f}"
        lines.append(("  information", f"{parts.information:.3f} nats", ceiling))
        lines.append(("  marginal", f"{parts.marginal_kl:.3f} nats", _marginal(parts)))
    lines += [
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
    from vaekit.evaluation.importance import most_shape

    if estimate.error is None:
        return "of one draw a row: how far it may be off is not known"
    below = f", and low by about {estimate.bias:.4f}" if estimate.bias else ""
    doubt = ""
    if estimate.untrusted:
        most = most_shape(max(estimate.sizes))
        doubt = f"; k̂ > {most:.2g} in {estimate.untrusted:.0%} of the rows: more draws may raise them"
    return f"the estimate itself ± {estimate.error:.4f}{below}{doubt}"
