"""What cells say as HTML: prose, code, and terminal output; what nbconvert does, without the second that importing it takes."""

from __future__ import annotations

import re
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any

import mistune
from markupsafe import Markup
from mistune.plugins.table import render_table_cell
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_PLUGINS = ("strikethrough", "table", "url", "task_lists", "def_list")  # nbconvert's, so that a notebook reads the same
_TAG = re.compile(r"<[^>]+>")
_ANSI = re.compile(r"\x1b\[([\d;]*)m")
_OTHER_COMMAND = re.compile(r"\x1b\[[\d;?]*[@-ln-~]")
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_NEVER_OPEN = frozenset(
    "area base br col embed hr img input link meta source track wbr p li dt dd tr td th thead tbody tfoot option".split()  # noqa: SIM905  # reads as a sentence
)
"""What has no end tag, or closes by itself."""


class _Renderer(mistune.HTMLRenderer):
    """Headings can be linked to, as JupyterLab does it; blocks of code in a known language are coloured."""

    def heading(self, text: str, level: int, **attrs: Any) -> str:  # noqa: ARG002  # the base's
        anchor = unescape(_TAG.sub("", text)).strip().replace(" ", "-")
        return f'<h{level} id="{escape(anchor)}">{text}</h{level}>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:  # as mistune calls it
        # A bar in a table is written ``\|``, in code too (GFM, example 200); mistune leaves that in code as it is.
        return render_table_cell(self, text.replace(r"\|", "|"), align, head)

    def block_code(self, code: str, info: str | None = None) -> str:
        try:
            return colour(code, (info or "").split()[0])
        except (IndexError, ClassNotFound):
            return super().block_code(code, info)


class _Balance(HTMLParser):
    """Whether each element is closed, and nothing is that was not opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.whole = True
        self.feed(text)
        self.whole = self.whole and not self.open and not self.rawdata

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002  # the base's
        self.open += [] if tag in _NEVER_OPEN else [tag]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """Nothing stays open in SVG, and ``<br/>`` is none that could."""

    def handle_endtag(self, tag: str) -> None:
        self.whole = self.whole and (tag in _NEVER_OPEN or (bool(self.open) and self.open.pop() == tag))


@cache
def _markdown() -> mistune.Markdown:
    return mistune.create_markdown(renderer=_Renderer(escape=False), plugins=list(_PLUGINS))


def markdown(text: str) -> Markup:
    """Prose as HTML. HTML in it stays as it is: the page's content security policy runs nothing of it."""
    return Markup(_markdown()(text))  # noqa: S704  # see above


def rich(text: str) -> Markup:
    """HTML that a cell has shown, where it is whole; else as text, since what it leaves open would swallow what follows."""
    return Markup(text) if _Balance(text).whole else Markup("<pre>") + text + Markup("</pre>")  # noqa: S704  # see markdown


def colour(code: str, language: str = "python") -> Markup:
    """*code* in the classes of pygments; ClassNotFound for a language that it does not know."""
    return Markup(highlight(code, get_lexer_by_name(language), HtmlFormatter()))  # noqa: S704  # escaped by pygments


def ansi(text: str) -> Markup:
    """Terminal output: bold and the sixteen colours are classes, other commands are gone."""
    first, *parts = _ANSI.split(_OTHER_COMMAND.sub("", escape(text, quote=False)))
    html, bold, shade = [first], "", ""
    for codes, said in zip(parts[::2], parts[1::2], strict=True):
        for code in map(int, filter(None, (codes or "0").split(";"))):
            if code in (38, 48):  # one of 256 colours, which the next numbers name
                break
            if code in (0, 1, 22):
                bold = "ansi-bold" if code == 1 else ""
            if code in (0, 39):
                shade = ""
            elif code // 10 in (3, 9) and code % 10 < len(_COLOURS):
                shade = f"ansi-{_COLOURS[code % 10]}{'-intense' if code // 10 == 9 else ''}-fg"  # noqa: PLR2004  # 90 to 97
        classes = f"{bold} {shade}".strip()
        html.append(f'<span class="{classes}">{said}</span>' if classes and said else said)
    return Markup("".join(html))  # noqa: S704  # escaped above
