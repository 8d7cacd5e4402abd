import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.display import displayed, rendered

# Pieces that meet in Markdown and in typography, so that generated texts get into corners.
WORDS = [
    "one",
    "two",
    "\u00dcber",
    "cafe\u0301",
    "it\u2019s",
    "5\u20136",
    "a\u2014b",
    "c--d",
    "e\u00adf",
    "\U0001f642",
    "<b>",
]
SIGNS = [
    "#",
    "*",
    "-",
    "+",
    ">",
    "1.",
    "2)",
    "\u2022",
    "--",
    "---",
    "\u2013",
    "\u2014",
    "\u2026",
    ". . .",
    "\u00a0",
    "**",
]
LINES = st.lists(st.sampled_from([*WORDS, *SIGNS, "_", "`", "[x](y)", "\n", "\n\n", "\t"]), max_size=30)
TEXTS = LINES.map("".join) | LINES.map(" ".join)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It\u2019s \u201chard\u201d\u2026", 'It\'s "hard"...'),
        ("Take your time\u2014there is no rush", "Take your time -- there is no rush"),
        ("Take your time \u2013 there is no rush", "Take your time - there is no rush"),
        ("5\u20136 days, mind\u2013body, non\u2011urgent", "5-6 days, mind-body, non-urgent"),
        ("a\u00a0b  c\u200b\u00ad d", "a b c d"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("wait. . . what....", "wait... what\u2026"),
        ("## Breathe **slowly**", "**Breathe slowly**"),
        ("# Breathe", "###### Breathe #"),
        ("* one\n* two", "- one\n\n- two"),
        ("\u2022 one\n\u2022two", "+ one\n+  two"),
        ("1) one\n2) two", "1.  one\n\n2. two"),
        ("__so__ _very_ much", "**so** *very* much"),
        ("one  \ntwo", "one\\\ntwo"),
        ("one\r\n\r\n\r\n\r\ntwo\n\n", " \none\n\n***\n\ntwo"),
        ("    indented\n\tlines", "indented\nlines"),
        ("```python\nx = 1\n```", "~~~\nx = 1\n~~~"),
    ],
)
def test_habits_of_writing_are_shown_alike(one, other):
    assert rendered(one) == rendered(other)


def test_markdown_becomes_the_few_elements_of_a_letter():
    html = rendered("## Rest\nIt is *hard*.\nI know.\n- one\n  - two\n\n> you said\n\nTry `sleep`.")
    assert html.replace("\n", "") == (
        "<p><strong>Rest</strong></p><p>It is <em>hard</em>.<br>I know.</p>"
        "<ul><li><p>one</p><ul><li><p>two</p></li></ul></li></ul>"
        "<blockquote><p>you said</p></blockquote><p>Try <code>sleep</code>.</p>"
    )


def test_a_list_goes_on_where_its_numbers_do():
    assert '<ol start="3">' in rendered("3) three\n4) four")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[press](javascript:alert(1))",
        "![seen](https://example.org/pixel.png)",
        "<https://example.org>",
        "[a]: https://example.org\n\n[a]",
        '```"><b onload=alert(1)>\nx\n```',
    ],
)
def test_links_images_and_html_are_shown_as_text(text):
    assert re.findall(r"<(?!/?(?:p|pre|code|br)>)", rendered(text)) == []


@pytest.mark.parametrize("sign", ["> ", "- ", "1. "])
def test_what_is_nested_too_deeply_is_shown_plainly_and_whole(sign):
    html = rendered(sign * 50 + "at the bottom")
    assert "at the bottom" in html
    assert "<blockquote>" not in html
    assert "<li>" not in html


@given(TEXTS)
def test_only_harmless_elements_without_attributes_come_out(text):
    assert re.findall(r'<(?!/?(?:p|br|em|strong|ul|ol|ol start="\d+"|li|blockquote|pre|code)>)', rendered(text)) == []


@given(LINES.map(" ".join))
def test_plain_text_is_the_same_once_and_twice(text):
    assert displayed(displayed(text)) == displayed(text)


@given(LINES.map(" ".join))
def test_no_word_is_lost(text):
    words = re.compile("one|two|\u00dcber")
    assert words.findall(re.sub(r"<[^>]*>", "", rendered(text))) == words.findall(text)


def test_emoji_and_joined_scripts_stay_whole():
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert displayed(f"{family} {persian} \u2764\ufe0f") == f"{family} {persian} \u2764\ufe0f"


def test_white_space_of_plain_text_tells_nothing():
    assert displayed(" \nOne  \r\n\r\n\r\n\n  two\n\n") == "One\n\ntwo"


@pytest.mark.parametrize(
    "text", ["*a " * 30_000, "`" * 99_999, "a" + " " * 99_998 + "b", "**_" * 30_000, ">" * 99_999, "- " * 50_000 + "x"]
)
def test_a_hundred_thousand_characters_meant_to_hurt_are_rendered(text):
    assert len(rendered(text)) < 10 * len(text)
