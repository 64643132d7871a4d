"""Plant twelve mistakes that others made, one at a time in a copy of the source, and show that the tests catch each.

    python tests/seeded_defects.py [NAME …]        all of them without a name; or `make defects`

Prints a line a mistake: the first test that went red, or NOT CAUGHT. Exits with the number that were not caught.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Defect(NamedTuple):
    file: str
    """below src/vaekit"""
    right: str
    """occurs once in it"""
    wrong: str
    tests: str
    """where it must be noticed, below tests/"""


DEFECTS = {
    "mean over features for their sum": Defect(
        "maths.py", "values.flatten(-dims).sum(-1)", "values.flatten(-dims).mean(-1)", "distributions objectives"
    ),
    "KL clamped to zero": Defect(
        "core.py", "mean(0) if closed is None else closed", "mean(0) if closed is None else closed.clamp(max=0)",
        "objectives",
    ),
    "weights over the wrong axis": Defect(
        "objectives/bounds.py", "log_mean_exp(self._grouped(draw.log_w), 1).mean(0)",
        "log_mean_exp(self._grouped(draw.log_w), 0).mean(0)", "objectives",
    ),
    "Σ w̃ log w reported as the bound": Defect(
        "objectives/bounds.py", "log_mean_exp(self._grouped(draw.log_w), 1).mean(0)",
        "(self._grouped(draw.log_w).softmax(1) * self._grouped(draw.log_w)).sum(1).mean(0)", "objectives",
    ),
    "constant dropped": Defect(
        "distributions/normal.py", "(standardised.square() + LOG_2PI)", "standardised.square()",
        "distributions objectives",
    ),
    "sign flipped": Defect(
        "evaluation/importance.py", "Scores(curve[:, -1], error, terms)", "Scores(-curve[:, -1], error, terms)",
        "evaluation/test_importance.py evaluation/test_likelihood.py",
    ),
    "fresh noise at scoring": Defect(
        "maths.py", "torch.from_numpy(keyed_uniform(self.keys, self.seed, purpose, dims))",
        "torch.rand(len(self.keys), dims, dtype=torch.float64)", "test_maths.py evaluation/test_likelihood.py",
    ),
    "β in the reported value": Defect(
        "objectives/bounds.py", "return _bound(-(distortion + draw.kl), ",
        "return _bound(-(distortion + self.beta * draw.kl), ", "objectives",
    ),
    "fewer samples than asked": Defect(
        "evaluation/importance.py", "in range(0, self.samples, most)",
        "in range(0, -(-self.samples // 2), most)", "evaluation/test_importance.py",
    ),
    "grey value over 256": Defect(
        "data/schema.py", "grey = float(high) if", "grey = float(high) + 1 if", "data",
    ),
    "Jacobian left out": Defect(
        "distributions/normal.py", "+ LOG_2PI) - self.log_scale", "+ LOG_2PI)", "distributions parts",
    ),
    "z = mean reported as an ELBO": Defect(
        "objectives/bounds.py", "draw = model.draw(batch, noise)\n        distortion",
        "draw = model.draw(batch, 0 * noise)\n        distortion", "objectives",
    ),
}  # fmt: skip


def planted(defect: Defect, source: Path) -> str:
    """The text of its file with the mistake in it."""
    text = (source / "vaekit" / defect.file).read_text()
    if text.count(defect.right) != 1:
        sys.exit(f"{defect.file} has {text.count(defect.right)} times what was to be changed: {defect.right}")
    return text.replace(defect.right, defect.wrong)


def caught_by(defect: Defect) -> str | None:
    """The first test that fails with the mistake in place; None where all pass."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(shutil.copytree(ROOT / "src", Path(folder) / "src"))
        (source / "vaekit" / defect.file).write_text(planted(defect, source))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-rfE", "-p", "no:cacheprovider"]
        tests = [str(ROOT / "tests" / place) for place in defect.tests.split()]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*command, *tests], env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != 1 or not failed:
        sys.exit(f"the tests could not be run:\n{done.stdout}\n{done.stderr}")
    return failed[0].removeprefix("FAILED ").split(" - ")[0]


def main(names: list[str]) -> int:
    missed = 0
    for name in names or DEFECTS:
        test = caught_by(DEFECTS[name])
        missed += test is None
        print(f"{name:<36}{test or 'NOT CAUGHT'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
