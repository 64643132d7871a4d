"""vaekit evaluate: the numbers of a run."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vaekit.cli.trust import Trust

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.core import LatentModel
    from vaekit.data import Source
    from vaekit.data.fields import Column
    from vaekit.evaluation import Baseline, Clusters, CodeUse, Evaluation, LogLikelihood, Method, RateParts
    from vaekit.runs import Run

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
    unseen: str = "error",
    device: str | None = None,
    trust: Trust = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """The mean log p(x), or of a run with conditions log p(x | c), with its errors, ELBO, rate and its parts,
    distortion, bits/dim, active units, the gap to the training rows, and simple models of the same rows beside them.

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
        iwae: draws a row, by default 100 (the literature reports 5000); ais: chains a row, by default 16
    rows
        evaluate so many rows only, drawn by the run's seed
    exclude
        a column of a table to leave out, beside those of the run; may be given several times
    unseen
        what becomes of a level that the model was not fitted to: an error, or missing
    device
        auto, cpu or cuda; by default the run's
    json
        the numbers as JSON
    trust
        see `cli.trust`

    """
    import json as json_module

    import numpy as np

    from vaekit.cli.common import announce, check_density, open_model, rows_of, scoring_bar, training_rows
    from vaekit.errors import VaekitError
    from vaekit.evaluation import as_for, build_method
    from vaekit.evaluation import evaluate as evaluate_rows
    from vaekit.runs import versions

    if rows is not None and rows < 1:
        raise VaekitError(f"--rows is {rows}: give 1 or more.")
    way = build_method(method, samples)
    opened, model, place = open_model(run, device, trust)
    check_density(opened)
    way = as_for(way, model)
    chosen, source, known = rows_of(opened, model, data or None, place, exclude, unseen=unseen)
    if rows is not None:
        numbers = chosen.drawn(rows)
        chosen = chosen.subset(numbers)
        known = {name: column[numbers] for name, column in known.items()}
    train = training_rows(opened, place, None if data else source)
    seed = opened.settings.training.seed
    name = source.name if data else f"{source.name}, test rows"
    if not json:
        announce(model, chosen, way, seed, rows_option=rows is None)
    with scoring_bar(len(chosen), quiet=json) as advance:
        result = evaluate_rows(
            model,
            chosen,
            way,
            seed,
            train=train,
            advance=advance,
            numbers=np.asarray(known["row"]),
            files=known.get("file"),
            labels=known.get(source.label_name),
        )
    if json:
        draws = getattr(way, way.size) if way.size else None
        about = {"run": str(run), "data": name, "seed": seed, "draws": draws, "versions": versions(place)}
        if not opened.finished:
            about["unfinished_at_step"] = opened.step
        if opened.schema.given:
            about["given"] = opened.schema.given
        print(json_module.dumps({**about, **result.to_dict()}))
        return
    _say_doubts(model, len(chosen))
    lines = _table(result, name, opened.schema.binarized, way, opened.finished)
    if not opened.finished:
        lines.append(f"The training has not ended, at step {opened.step:,}, and all of this may change:")
        lines.append(f"`vaekit resume {run}` goes on.")
    trained = _trained_on(opened, source, known, data)
    if trained:
        lines += textwrap.wrap(trained, WIDTH)
    if opened.schema.given:
        lines = _conditional(lines, opened.schema.given)
    say_page(lines)
    if train is None:
        line = "The rows this run was trained on are not at hand: no baselines, and no gap to them."
        if opened.settings.data.source:
            line += f" `vaekit resume {run} --data PATH` says where they are."
        print(line)


def _say_doubts(model: "LatentModel", rows: int) -> None:
    """Say what makes the numbers below it doubtful: densities as sharp as the data allows, or few rows."""
    from vaekit.errors import counted

    at_floor = getattr(model.likelihood, "at_floor", int)()  # of a likelihood that has σ at all
    if at_floor:
        columns = counted(getattr(model.likelihood, "sigmas", at_floor), "column")
        print(f"σ is at its floor, the data's resolution, in {at_floor} of {columns}.")
    if rows < FEW:
        say = "says" if rows == 1 else "say"
        print(f"Note: {counted(rows)} {say} little of others; errors of so few are themselves uncertain.")


WIDTH = 80
"""columns of a page"""
LABEL = 14
"""columns of a number's name"""
VALUE = 24
"""columns of the number"""
FEW = 20
"""rows below which errors over rows are guesses"""


def say_page(lines: list[str]) -> None:
    """Print a page; on a terminal its second line, the number that matters, in bold, unless NO_COLOR is set."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for number, line in enumerate(lines):
        text = Text(line)
        if number == 1 and not console.no_color:
            text.stylize("bold")
        console.print(text)


def _line(label: str, value: str, meaning: str) -> list[str]:
    """A number, its name and what it is, in lines of 80 columns that break between words."""
    indent = " " * (2 + LABEL + VALUE)
    room = textwrap.wrap(meaning, WIDTH - len(indent)) or [""]
    start = f"  {label:<{LABEL}}"
    if len(value) >= VALUE:
        return [start + value, *(indent + part for part in room if part)]
    first = f"{start}{value:<{VALUE}}{room[0]}"
    return [first.rstrip(), *(indent + part for part in room[1:])]


def _give_or_take(error: float | None, form: str) -> str:
    """An error behind its number; nothing where it is not known."""
    if error is None:
        return ""
    return f" ± {error:{form}}"


def _trained_on(run: "Run", source: "Source", known: "dict[str, Column]", data: Sequence[str]) -> str:
    """That the model has learned from some of the rows, as far as these are whole files of its own; "" where not."""
    from vaekit.cli.common import with_parts

    if not data:
        return ""
    parts = with_parts(known, run, source, data).get("part")
    if parts is None or not len(parts):
        return ""
    share = sum(part == "train" for part in parts) / len(parts)
    if not share:
        return ""
    return f"{share:.0%} of the rows are among those the model was trained on: of others log p(x) may be far lower."


def _table(result: "Evaluation", name: str, binarized: str, method: "Method", finished: bool) -> list[str]:
    """The page for people: a number a line, what it is, then what stands beside it and what follows.

    finished    whether the training had come to its end
    """
    from vaekit.errors import counted

    head = f"{name}: {counted(result.n)}, means per row"
    if binarized != "none":
        head += f"; binarised ({binarized})"
    lines = [head]
    for label, value, meaning in _numbers(result, binarized, method, finished):
        lines += _line(label, value, meaning)
    if result.baselines:
        lines.append("beside simple models of the training rows, on the same rows, it is")
    width = max([26, *(len(one.name) + 2 for one in result.baselines)])
    for one in result.baselines:
        lines += _beside(one, result.log_likelihood.value, width)
    said = dict.fromkeys(line for line in (result.comparison, *result.verdicts) if line)
    for line in said:
        lines += textwrap.wrap(line, WIDTH)
    return lines


def _conditional(lines: list[str], given: Sequence[str]) -> list[str]:
    """The page of a model of p(x|c): what c is, on which side of the bar the simple models are, and names that fit."""
    from vaekit.errors import listed

    said = f"All of it is given {listed(given, 6)}: c. The simple models are of x alone, without c."
    names = {"log p(x)  ": "log p(x|c)", "log p(x)": "log p(x | c)", "q(z|x)": "q(z|x, c)", "p(x|z)": "p(x|z, c)"}
    for plain, conditional in names.items():
        lines = [line.replace(plain, conditional) for line in lines]
    return [*lines, *textwrap.wrap(said, WIDTH)]


def _beside(one: "Baseline", log_p: "Tensor", width: int = 26) -> list[str]:
    """A simple model: its nats, by how much the run's are better, and below what it is; its name in so many columns."""
    about = one.note
    if one.bits_per_dim is not None:
        about = f"{one.bits_per_dim:.4f} bits/dim; {about}"
    note = textwrap.wrap(about, WIDTH, initial_indent="    ", subsequent_indent="    ")
    if one.nats is None:
        return [f"  {one.name}", *note]
    nats = f"{one.nats:,.3f}{_give_or_take(one.nats_se, ',.3f')} nats"
    gain, error = one.gain(log_p)
    side = "better" if gain > 0 else "worse"
    beside = f"{side} by {abs(gain):,.2f}{_give_or_take(error, ',.2f')}"
    line = f"  {one.name:<{width}}{nats:<27} {beside}"
    if len(line) <= WIDTH:
        return [line, *note]
    return [f"  {one.name:<{width}}{nats}", f"{'':<{width + 2}}{beside}", *note]


Line = tuple[str, str, str]
"""a number's name, the number, and what it is"""


def _numbers(result: "Evaluation", binarized: str, method: "Method", finished: bool) -> list[Line]:
    """The numbers of an evaluation, in the order in which they are read."""
    return [
        *_of_log_p(result, binarized, method),
        *_of_bound(result, binarized, finished),
        *_of_gaps(result),
    ]


def _of_log_p(result: "Evaluation", binarized: str, method: "Method") -> list[Line]:
    estimate = result.log_likelihood
    name = "tighter" if binarized == "expected" else "log p(x)"
    value = f"{estimate.mean:.3f}{_give_or_take(estimate.spread, '.3f')} nats"
    lines = [(name, value, f"{method}; ± over rows"), ("", "", _error(estimate))]
    if result.decisive is not None:
        lines.append(("  median", f"{result.decisive.median:.3f} nats", "few rows decide the mean: see below"))
    if result.observed < 1:
        each = estimate.mean / (result.observed * result.features)
        lines.append(("per cell", f"{each:.4f} nats", f"of the {result.observed:.1%} of cells that are observed"))
    if result.bits_per_dim is not None:
        lines.append(("bits/dim", f"{result.bits_per_dim:.4f}", "−log₂ p(x) / dimensions"))
    if len(estimate.curve) > 1:
        by_draws = "  ".join(f"{k}: {value:.2f}" for k, value in estimate.curve.items())
        lines.append(("by draws", by_draws, ""))
    return lines


def _of_bound(result: "Evaluation", binarized: str, finished: bool) -> list[Line]:
    of = "the mean log p of the binarised image" if binarized == "expected" else "log p(x)"
    lines = [("ELBO", f"{result.elbo:.3f} nats", f"a lower bound on {of}")]
    rate = f"{result.rate:.3f} nats"
    parts = result.parts
    if parts is None:
        lines.append(("rate", rate, "KL(q(z|x) ‖ p(z))"))
    else:
        ceiling = f"I_q(x; z), at most log n = {parts.ceiling:.2f}"
        lines.append(("rate", rate, "KL(q(z|x) ‖ p(z)), of which"))
        lines.append(("  information", f"{parts.information:.3f} nats", ceiling))
        lines.append(("  marginal", f"{parts.marginal_kl:.3f} nats", _marginal(parts, finished)))
    if result.rungs is not None:
        value = " + ".join(f"{rate:.2f}" for rate in result.rungs) + " nats"
        lines.append(("  by rungs", value, "of each given those above it, the top one first"))
    lines.append(("distortion", f"{result.distortion:.3f} nats", "−E log p(x|z)"))
    if result.codes is not None:
        return [*lines, *_of_codes(result.codes)]
    active = f"{result.active_units} of {result.latent_dim}"
    lines.append(("active units", active, "latents that carry something about x"))
    if result.clusters is not None:
        lines += _of_clusters(result.clusters)
    return lines


def _of_clusters(found: "Clusters") -> list[Line]:
    """The rows by the prior's components, and beside the labels where these are known."""
    used = f"{found.used:,} of {found.components:,}"
    lines = [("components", used, f"of the prior that rows are of, by {found.certainty:.0%} on average")]
    if found.nmi is not None:
        agreement = f"{found.nmi:.3f}, {found.ari:.3f}"
        lines.append(("  as labels", agreement, "normalised mutual information and adjusted Rand index"))
    return lines


def _of_codes(use: "CodeUse") -> list[Line]:
    """How the codebooks are used, from the one that is used least to the one that is used most."""
    from vaekit.errors import counted

    def between(numbers: Sequence[float], form: str) -> str:
        ends = [format(number, form) for number in (min(numbers), max(numbers))]
        return " to ".join(dict.fromkeys(ends))

    books = f"of {counted(len(use.sizes), 'codebook')}" if len(use.sizes) > 1 else "of the codebook"
    lines = [
        ("codes used", between(use.used, ".0%"), f"{books} of {between(use.sizes, ',')} codes, by these rows"),
        ("perplexity", between(use.perplexity, ".1f"), "e^H: as many codes, used evenly, would say as much"),
        ("distinct", f"{use.distinct:,} of {use.n:,}", "different z of the rows"),
    ]
    if use.entropy is not None:
        meaning = "Σ H, the rate under the best prior of independent codes for these rows"
        lines.append(("independent", f"{use.entropy:.3f} nats", meaning))
    return lines


def _of_gaps(result: "Evaluation") -> list[Line]:
    lines = []
    if result.two_sided is not None:
        sides = result.two_sided.to_dict()
        value = f"{sides['gap']:.3f} ± {sides['gap_se']:.3f} nats"
        meaning = f"upper − lower estimate of log p(x), on {sides['n']} rows of the model's own"
        lines.append(("two-sided gap", value, meaning))
    if result.generalisation is not None:
        gap = result.generalisation
        value = f"{gap.gap:.3f}{_give_or_take(gap.gap_se, '.3f')} nats"
        lines.append(("train–test", value, "by which the ELBO of training rows is higher"))
    return lines


def _marginal(parts: "RateParts", finished: bool) -> str:
    """What KL(q(z) ‖ p(z)) means: where the rows told apart are as many as there are, the split is a matter of n; in
    the middle of a training more steps may lower it as well as another prior."""
    if parts.information > CLOSE * parts.ceiling:
        return "the rest: more rows would show more information and less of this"
    if not finished:
        return "KL(q(z) ‖ p(z)): what more steps, or a better prior, could save"
    return "KL(q(z) ‖ p(z)): what a better prior could save (vaekit refit)"


def _error(estimate: "LogLikelihood") -> str:
    """What an estimate itself may be off by, in words."""
    said = estimate.doubt
    if estimate.error is None:
        return str(said)
    line = f"the estimate itself ± {estimate.error:.4f}"
    if estimate.bias:
        least = "at least" if said else "about"  # of heavy tails the draws show a part
        line += f", and low by {least} {estimate.bias:.4f}"
    if said:
        line += f"; {said}"
    return line
