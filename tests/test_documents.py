"""What the documents show is run."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_readme_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["scores"].shape == (50,)
    assert names["again"].shape == (50, 30)
    assert names["new"].shape == (100, 30)
    assert (tmp_path / "runs/breast/checkpoint.json").exists()


def test_the_research_example_learns(capsys):
    example = runpy.run_path(str(ROOT / "examples/research.py"))
    untrained = -64 * 0.6931  # a fair coin a pixel
    assert untrained < example["main"](steps=200) < 0


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_between_documents_hold(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing
