"""A study's plain text as paragraphs and headings, and its posts and responses as raters see them."""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from annotation.display import displayed, rendered

register = template.Library()
register.filter(displayed)
register.filter(rendered)

LONGEST_HEADING = 60


@register.filter
def prose(text: str) -> SafeString:
    """HTML of text whose blocks are parted by blank lines.

    A block of one short line without a full stop, colon or question mark at its end is a heading, else a paragraph.
    """
    blocks = [block.strip() for block in text.replace("\r\n", "\n").split("\n\n")]
    return format_html_join("\n", "{}", ((_block(block),) for block in blocks if block))


def _block(block: str) -> SafeString:
    if len(block) <= LONGEST_HEADING and "\n" not in block and block[-1] not in ".:?!":
        return format_html("<h2>{}</h2>", block)
    return format_html("<p>{}</p>", block)
