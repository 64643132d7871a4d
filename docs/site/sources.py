"""Makes pages of the sources that documents link to: a link that works in the repository works on the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^):#]+)(#[^)]*)?\)")


def on_files(files, config):
    """Add a page a source file."""
    for path in sorted([*ROOT.glob("src/vaekit/**/*.py"), *ROOT.glob("examples/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        text = f"---\nsearch: {{exclude: true}}\n---\n\n# {name}\n\n~~~python\n{path.read_text(encoding='utf8')}~~~\n"
        files.append(File.generated(config, f"source/{name}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links that leave docs/ towards those pages; a folder of sources towards its page of the reference."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(match):
        target = posixpath.normpath(posixpath.join("docs", here, match[1]))
        if target.startswith("docs/"):
            return match[0]
        page_of = f"source/{target}.md" if target.endswith(".py") else f"reference/{posixpath.basename(target)}.md"
        return f"]({posixpath.relpath(page_of, here or '.')}{match[2] or ''})"

    return LINK.sub(turned, markdown)
