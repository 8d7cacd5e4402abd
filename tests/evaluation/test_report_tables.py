import csv
import io

from evaluation.report_tables import PValue, Table, csv_of, latex_of, shown
from evaluation.statistics import Statistic, undefined

TABLE = Table(
    "rates",
    "50 % of A & B_1",
    ("System", "Rate", "p"),
    (
        ("A_1 {x}", Statistic(2 / 3, 0.1, 0.9, 3), PValue(0.00001)),
        ("[B]", undefined("nothing to count"), None),
        ('C, "quoted"\nover lines', None, PValue(0.25)),
    ),
)


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_a_statistic_is_read_with_its_interval_and_n():
    assert (shown(TABLE.rows[0][1]).text, shown(TABLE.rows[0][1]).small) == ("0.67 [0.10, 0.90]", "n 3")
    assert (shown(TABLE.rows[1][1]).text, shown(TABLE.rows[1][1]).small) == ("undefined", "nothing to count")
    assert [shown(row[2]).text for row in TABLE.rows] == ["< 0.001", "–", "0.250"]


def test_csv_keeps_full_precision_and_says_where_a_row_comes_from():
    header, first, second, third = rows_of(csv_of(TABLE, {"study": "pilot"}))
    assert header == ["System", "Rate", "Rate, low", "Rate, high", "Rate, n", "Rate, reason", "p", "study"]
    assert first == ["A_1 {x}", str(2 / 3), "0.1", "0.9", "3", "", "1e-05", "pilot"]
    assert second == ["[B]", "", "", "", "0", "nothing to count", "", "pilot"]
    assert third == ['C, "quoted"\nover lines', "", "", "", "", "", "0.25", "pilot"]


def test_latex_escapes_what_it_would_take_for_commands():
    text = latex_of(TABLE, {"study": "pilot", "caution": ""})
    assert text.startswith("% study: pilot\n% needs")
    assert r"\caption{50 \% of A \& B\_1}" in text
    assert r"A\_1 \{x\} & 0.67 [0.10, 0.90] {\scriptsize (n 3)} & \textless{} 0.001 \\" in text
    # A bracket after a line break would be read as its option.
    assert r"{}[B] & undefined {\scriptsize (nothing to count)} & – \\" in text
    assert 'C, "quoted" over lines & – & 0.250' in text


def test_a_table_without_rows_is_still_a_table():
    empty = Table("none", "Nothing", ("System", "Rate"), ())
    assert rows_of(csv_of(empty, {})) == [["System", "Rate"]]
    assert r"\midrule" in latex_of(empty, {})
