"""The stylesheet's colours, computed: body text at 7:1, other text at 4.5:1, borders of controls at 3:1."""

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).parent.parent / "static" / "attune.css").read_text(encoding="utf-8")
GROUNDS = ["ground", "raised", "sunken"]

BODY = [("ink", ground) for ground in [*GROUNDS, "accent-soft", "crisis-soft"]]
TEXT = [
    *[(ink, ground) for ink in ("ink-soft", "accent", "accent-strong") for ground in GROUNDS],
    ("accent", "accent-soft"),
    ("accent-strong", "accent-soft"),
    ("ink-soft", "accent-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("caution", "ground"),
    ("caution", "raised"),
    ("caution", "caution-soft"),
    ("crisis", "crisis-soft"),
    ("on-crisis", "crisis"),
]
BORDERS = [
    *[("line-strong", ground) for ground in GROUNDS],
    ("caution-line", "ground"),
    ("caution-line", "raised"),
    ("accent", "ground"),
    ("accent", "line"),
]


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def schemes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\n *\}", CSS, flags=re.DOTALL)[:2]
    return {"light": tokens(light), "dark": {**tokens(light), **tokens(dark)}}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_the_formula_gives_the_published_extremes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(BODY, 7), (TEXT, 4.5), (BORDERS, 3)], ids=["body", "text", "borders"])
def test_every_pair_of_colours_is_easy_to_tell_apart(scheme, pairs, least):
    colours = schemes()[scheme]
    ratios = {f"{a} on {b}": round(contrast(colours[a], colours[b]), 2) for a, b in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < least} == {}


def test_both_schemes_set_every_colour():
    light, dark = re.findall(r":root \{(.*?)\n *\}", CSS, flags=re.DOTALL)[:2]
    assert tokens(light).keys() == tokens(dark).keys()


def test_colours_come_from_tokens_alone():
    rules = CSS[CSS.index("/* Base */") : CSS.index("@media print")]
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{}]*\{)", rules)


def test_nothing_is_fetched_from_elsewhere():
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "@font-face" not in CSS
