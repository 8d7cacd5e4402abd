from datetime import UTC, datetime, timedelta

import pytest

from annotation.working_time import BREAK, REST_PAIRS, Work, current_session, in_words, rest_is_due, sessions, work

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def spans(*minutes):
    """Of pairs seen and submitted at these minutes."""
    return [(START + timedelta(minutes=first), START + timedelta(minutes=last)) for first, last in minutes]


def test_a_break_parts_sessions_whatever_the_order_of_the_spans():
    morning, noon = spans((0, 2), (2, 5)), spans((20, 22), (36, 40))
    assert sessions([noon[1], morning[1], noon[0], morning[0]]) == [morning, noon]
    assert sessions([]) == []


def test_a_long_pair_is_no_break():
    assert len(sessions(spans((0, 2), (3, 60), (61, 62)))) == 1


def test_work_leaves_breaks_out_and_takes_the_median_pair():
    assert work(spans((0, 2), (3, 4), (60, 66))) == Work(pairs=3, seconds=4 * 60 + 6 * 60, median=120)
    assert work([]) == Work(pairs=0, seconds=0, median=None)


def test_a_session_ends_with_a_break():
    given = spans((0, 2), (30, 32))
    end = given[-1][1]
    assert current_session(given, now=end + BREAK - timedelta(seconds=1)) == given[1:]
    assert current_session(given, now=end + BREAK) == []
    assert current_session([], now=end) == []


def test_a_rest_is_due_after_so_many_pairs_and_again_after_as_many():
    quick = spans(*((i / 10, i / 10 + 0.05) for i in range(3 * REST_PAIRS)))
    due = [n for n in range(len(quick) + 1) if rest_is_due(quick[:n])]
    assert due == [REST_PAIRS, 2 * REST_PAIRS, 3 * REST_PAIRS]


def test_a_rest_is_due_after_so_long_and_again_after_as_long():
    slow = spans(*((10 * i, 10 * i + 9) for i in range(10)))
    assert [n for n in range(len(slow) + 1) if rest_is_due(slow[:n])] == [5, 9]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.6, "1 minute"),
        (61, "1 minute 1 second"),
        (120, "2 minutes"),
        (3600, "1 hour"),
        (7384, "2 hours 3 minutes"),
    ],
)
def test_times_are_told_in_words(seconds, words):
    assert in_words(seconds) == words
