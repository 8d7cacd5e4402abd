"""How a response is shown: its Markdown as HTML, its typography like that of every other.

A writer who can be told by long dashes, curly quotes, big headings or white space is no longer blind to the reader.
"""

import re
import unicodedata
from itertools import zip_longest

from django.utils.html import linebreaks
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

# What nobody sees: control characters, soft hyphens, marks of width or direction, tags. Joiners stay where they bind
# emoji or letters of scripts that need them.
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]|(?:(?<=[\x00-\u024f\u2000-\u200b\u2010-\u206f])|^)[\u200c\u200d]+|[\u200c\u200d]+(?=[\x00-\u024f\u2000-\u200b\u2010-\u206f]|$)"
)
ALIKE = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2043\u2212", "-")
    | dict.fromkeys("\u2015\u2e3a\u2e3b", "\u2014")
    | dict.fromkeys(
        "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
    )
    | {"\u2026": "..."}
)
ELLIPSIS = re.compile(r"\.(?: ?\.){2,}")
# Signs of quotation and of lists, at the start of a line.
SIGNS = re.compile(r"(?: *(?:>|[-*+](?= )|[\u2022\u2023\u2219\u25a0-\u25cf\u25e6\u00b7] *(?=\S)|\d{1,9}[.)](?= )))* *")
BULLET = re.compile(r"[-*+\u2022\u2023\u2219\u25a0-\u25cf\u25e6\u00b7] *")
# A line across the page, or below the head of a table.
RULE = re.compile(r"[-*_|:>= ]*")
# A dash that parts: a long one, a short one or hyphens between spaces (single by then), hyphens between letters.
PARTING = re.compile(r"(?<=\S)(?: ?\u2014)+ ?| (?:\u2013|-{1,3}) (?=\S)|(?<=\w)-{2,3}(?=\w)")
JOINING = re.compile(r"(?<=\w)\u2013(?=\w)")

# Links, images and HTML stay text. So does what people do not mean as markup: indented or underlined lines.
MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True, "xhtmlOut": False, "maxNesting": 30}).disable(
    ["autolink", "code", "html_block", "html_inline", "image", "lheading", "link", "reference"]
)


def displayed(text: str) -> str:
    """Plain text, such as a post, without habits of white space and typography."""
    return "\n".join(line.strip() for line in _alike(text))


def rendered(text: str) -> SafeString:
    """HTML of a response in Markdown: paragraphs, emphasis, lists, quotations and code.

    Headings become strong paragraphs, rules vanish, and the space between the items of a list is always the same.
    """
    source = "\n".join(_alike(text))
    tokens = MARKDOWN.parse(source)
    # The parser drops what is nested deeper than its limit.
    if any(token.level >= MARKDOWN.options.maxNesting - 1 for token in tokens):
        return SafeString(linebreaks(source, autoescape=True))
    plain = [token for token in tokens if token.type != "hr"]
    for token, inside in zip_longest(plain, plain[1:]):
        _flatten(token, inside)
    return SafeString(MARKDOWN.renderer.render(plain, MARKDOWN.options, {}))


def _flatten(token: Token, inside: Token | None) -> None:
    """Take from a token what would make it stand out."""
    token.hidden = False
    token.info = ""
    if token.type == "heading_open" and inside and inside.children is not None:
        strong = Token("strong_open", "strong", 1), Token("strong_close", "strong", -1)
        inside.children = [strong[0], *(child for child in inside.children if child.tag != "strong"), strong[1]]
    if token.type in {"heading_open", "heading_close"}:
        token.tag = "p"


def _alike(text: str) -> list[str]:
    """The lines, alike in typography; at most one empty line in a row, none at the ends."""
    alike = unicodedata.normalize("NFC", text).translate(ALIKE)
    seen = unicodedata.normalize("NFC", UNSEEN.sub("", alike))
    lines = [_alike_line(line) for line in seen.strip().splitlines()]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]


def _alike_line(line: str) -> str:
    line = line.expandtabs(4).rstrip()
    if RULE.fullmatch(line):
        return line
    signs = SIGNS.match(line)
    end = signs.end() if signs else 0
    head = re.sub(r"(\d)[.)] *", r"\1. ", BULLET.sub("- ", line[:end]))
    words = JOINING.sub("-", ELLIPSIS.sub("...", re.sub(" {2,}", " ", line[end:])))
    return (head + re.sub("^\u2014 ?", "\u2013 ", PARTING.sub(" \u2013 ", words))).rstrip()
