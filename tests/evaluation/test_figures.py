import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from evaluation.charts import Bars, Chart, Dots
from evaluation.figures import draw as drawing
from evaluation.figures import figure_of
from evaluation.statistics import Statistic, undefined, wilson

SHARES = (wilson(52, 100), wilson(8, 100), wilson(40, 100))
BARS = Bars("Base", "MODPO", (("Empathy", *SHARES), ("Safety", *SHARES)), "n = 100 verdicts")
DOTS = Dots(
    "Share of agreeing labels",
    ("Clinician with clinician", "gpt (toy judge) with clinician"),
    (("Empathy", (wilson(6, 10), undefined("it did not judge this criterion"))),),
    "n = 10 items",
)


def texts(data):
    (axes,) = figure_of(data).axes
    return [text.get_text() for text in axes.texts] + [axes.get_xlabel(), axes.figure.get_supxlabel()]


@pytest.mark.parametrize("data", [BARS, DOTS])
def test_the_same_data_give_the_same_bytes_of_svg(data):
    assert drawing(data) == drawing(data)
    root = ET.fromstring(drawing(data))  # noqa: S314
    assert root.tag.endswith("svg")


def test_a_figure_for_a_paper_is_a_pdf():
    assert drawing(BARS, kind="pdf").startswith(b"%PDF")


def test_bars_add_up_to_the_whole_and_name_both_systems():
    (axes,) = figure_of(BARS).axes
    widths = [bar.get_width() for bar in axes.patches]
    assert sum(widths[:3]) == pytest.approx(1)
    assert widths[0] == 0.52
    assert {"Base better", "MODPO better", "52%", "40%", "n = 100 verdicts"} <= set(texts(BARS))


def test_bars_draw_the_interval_of_each_side():
    (axes,) = figure_of(BARS).axes
    ends = {tuple(round(float(x), 6) for x in line.get_xdata()) for line in axes.lines}
    wins, losses = SHARES[0], SHARES[2]
    assert (round(wins.low, 6), round(wins.high, 6)) in ends
    assert (round(1 - losses.high, 6), round(1 - losses.low, 6)) in ends


def test_a_share_too_small_for_its_bar_has_no_number_in_it():
    assert "8%" not in texts(BARS)


def test_dots_name_their_series_and_say_what_is_undefined():
    found = texts(DOTS)
    assert {"Clinician with clinician", "gpt (toy judge) with clinician", "undefined"} <= set(found)
    assert "n = 10 items" in found[-1]


def test_statistics_without_an_interval_can_be_drawn():
    bare = Statistic(0.5, None, None, 4)
    assert drawing(Dots("Share", ("One",), (("Safety", (bare,)),), "n = 4"))
    assert drawing(Bars("x", "y", (("Safety", bare, bare, bare),), "n = 4"))


def test_the_digest_follows_the_data_and_nothing_else():
    assert Chart("a", "one", "alt", BARS).digest == Chart("b", "two", "other", BARS).digest
    assert Chart("a", "one", "alt", BARS).digest != Chart("a", "one", "alt", DOTS).digest


def test_no_global_state_of_pyplot_is_touched():
    code = "import sys, evaluation.figures; print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
