"""Turns the layout of vaekit's docstrings into Markdown.

- names set off from what they mean by two or more spaces, or by " : ", become a list;
- a heading with a rule of dashes below it becomes bold;
- examples that begin with >>> become code.
"""

import re

import griffe

NAMED = re.compile(r"(?P<name>\S+|\w+(?:, \w+)+)(?: {2,}| : )(?P<meaning>\S.*)")


class Layout(griffe.Extension):
    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = "\n\n".join(map(markdown, paragraphs(obj.docstring.value)))


def paragraphs(text: str) -> list[str]:
    return [paragraph.strip("\n") for paragraph in re.split(r"\n[ ]*\n", text)]


def markdown(paragraph: str) -> str:
    """One paragraph of a docstring, as Markdown."""
    heading, *rest = paragraph.split("\n")
    if rest and re.fullmatch("-+", rest[0]):
        return f"**{heading}**\n\n" + markdown("\n".join(rest[1:]))
    if heading.startswith(">>>"):
        return f"```pycon\n{paragraph}\n```"
    if NAMED.fullmatch(heading):
        return "\n".join(map(_item, paragraph.split("\n")))
    return paragraph


def _item(line: str) -> str:
    """A named thing, or one more line about the last one."""
    named = NAMED.fullmatch(line)
    return f"- `{named['name']}`: {named['meaning']}" if named else f"    {line.strip()}"
