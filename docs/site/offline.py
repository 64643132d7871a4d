"""Refuses a page that would fetch anything from elsewhere: the site opens from disk, without a network."""

import re

from mkdocs.exceptions import PluginError

FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>", re.IGNORECASE)
LINKED = re.compile(r"<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>", re.IGNORECASE)
NOT_FETCHED = re.compile(r"\brel=[\"']?(?:canonical|alternate|next|prev)\b", re.IGNORECASE)


def on_post_page(output: str, page, config) -> str:
    """The page, unchanged, if all that it loads lies beside it."""
    links = (tag for tag in LINKED.findall(output) if not NOT_FETCHED.search(tag))
    for tag in (*FETCHED.findall(output), *links):
        raise PluginError(f"{page.file.src_uri} would fetch from elsewhere: {tag}")
    return output
