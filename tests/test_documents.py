"""What the documents show is run."""

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaekit.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r'^```(\w*)(?: title="(\w+\.py)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
"""language, file name or "", content"""
NUMBER = re.compile(r"[-−]?\d[\d,.]*")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(kind, content) of a page's code blocks: "python", "vaekit", "text" (output of the block before), the name of the
    file that it is where it has a title, or ""."""
    for language, title, content in BLOCK.findall(page.read_text()):
        if title:
            yield title, content
        elif language in ("bash", "console") and content.startswith("vaekit "):
            yield "vaekit", content
        else:
            yield language if language in ("python", "text") else "", content


def run(kind: str, content: str, names: dict) -> None:
    """Run a block as a reader would, who goes down the page."""
    if kind == "python":
        exec(compile(content, names["__name__"], "exec"), names)
    elif kind == "vaekit":
        for command in content.replace("\\\n", " ").splitlines():
            with pytest.raises(SystemExit) as stop:
                main(shlex.split(command, comments=True)[1:])
            assert stop.value.code == 0, command
    elif kind.endswith(".py"):
        Path(kind).write_text(content)
        importlib.invalidate_caches()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A page's folder: the modules that it writes can be imported, and are forgotten with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and tmp_path in Path(file).parents:
            del sys.modules[name]


def shape(output: str) -> set[str]:
    """The lines of an output, whatever the numbers in them; "…" stands for lines left out."""
    lines = (re.sub(r"\s+", " ", NUMBER.sub("#", line)).strip() for line in output.splitlines())
    return {line for line in lines if line not in ("", "…")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(kind for kind, _ in blocks(page))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_the_blocks_of_a_page_run(page, folder, capsys):
    names, printed = {"__name__": page.stem}, ""
    for kind, content in blocks(page):
        if kind == "text":
            assert shape(content) <= shape(printed)
        elif kind:
            run(kind, content, names)
            printed = capsys.readouterr().out


@pytest.mark.parametrize("number", [1, 2])
def test_a_titled_block_is_a_module_of_its_page_alone(number, folder):
    assert "my_part" not in sys.modules
    page = folder / "page.md"
    page.write_text(f"""```python title="my_part.py"
number = {number}
```

```python
from my_part import number
```
""")
    names = {"__name__": "page"}
    for kind, content in blocks(page):
        run(kind, content, names)
    assert names["number"] == number


def test_the_readme_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["scores"].shape == (50,)
    assert names["again"].shape == (50, 30)
    assert names["new"].shape == (100, 30)
    assert (tmp_path / "runs/breast/model.safetensors").exists()


@pytest.mark.slow
def test_the_research_example_learns(capsys):
    example = runpy.run_path(str(ROOT / "examples/research.py"))
    untrained = -64 * 0.6931  # a fair coin a pixel
    assert untrained < example["main"](steps=200) < 0


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_documents_hold(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", BLOCK.sub("", page.read_text()))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_every_page_is_in_the_site_s_contents():
    contents = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(contents) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in PAGES)


WIDEST = 88
"""characters that stand in the column of a page"""


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_stays_in_its_column(page):
    code = [content for language, _, content in BLOCK.findall(page.read_text()) if language != "text"]
    assert [line for content in code for line in content.splitlines() if len(line) > WIDEST] == []


def test_the_site_fetches_nothing_from_elsewhere():
    fetched = re.compile(r"(?:src|href|url|import)\W{1,3}(?:https?:)?//|katex@", re.IGNORECASE)
    files = [*(ROOT / "docs/site").rglob("*.css"), *(ROOT / "docs/site").rglob("*.js"), ROOT / "mkdocs.yml"]
    assert [file.name for file in files if fetched.search(file.read_text())] == []
    fonts = re.findall(r"url\((fonts/[^)]*\.woff2)\)", (ROOT / "docs/site/katex/katex.min.css").read_text())
    assert fonts
    assert [font for font in fonts if not (ROOT / "docs/site/katex" / font).exists()] == []


@pytest.mark.parametrize("chart", ["performance", "results"])
def test_charts_are_drawn_from_the_tables_as_they_stand(chart, tmp_path, monkeypatch):
    """A table that changed wants its chart drawn again: python docs/pictures.py"""
    pictures = runpy.run_path(str(ROOT / "docs/pictures.py"), run_name="pictures")
    monkeypatch.setitem(pictures["save"].__globals__, "FOLDER", tmp_path)
    pictures["main"]([chart])
    drawn, kept = (folder / f"{chart}.svg" for folder in (tmp_path, ROOT / "docs/pictures"))
    assert drawn.read_text() == kept.read_text()
