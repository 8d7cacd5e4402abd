import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotation.models import Assignment, Choice, Comparison, FlagKind, Side, StudyStatus
from annotation.protection import lifted
from tests.factories import make_assignment, make_clinician, make_comparison, make_prompt, make_study, make_system

pytestmark = pytest.mark.django_db
CLINIC = reverse("annotation:clinic")
NEXT = reverse("annotation:next-comparison", args=["care"])
SUMMARY = reverse("annotation:clinic-summary", args=["care"])


def make_pairs(rater, number, *, seconds=()):
    """Pairs of which the first ones were submitted after so many seconds."""
    systems = make_system(rater.study), make_system(rater.study)
    pairs = [make_assignment(make_comparison(make_prompt(rater.study), *systems), rater) for _ in range(number)]
    for pair, duration in zip(pairs, seconds, strict=False):
        pair.opened_at = timezone.now()
        pair.submitted_at = pair.opened_at + timedelta(seconds=duration)
        pair.save()
    return pairs


def lock(study):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)


def test_one_study_leads_straight_to_its_next_pair(signed_in, rater):
    make_pairs(rater, 3, seconds=[10])
    assert signed_in.get(CLINIC).url == NEXT
    assert signed_in.get(NEXT).url == reverse("annotation:judge", args=["care", 2])


def test_several_studies_are_listed_with_progress_at_a_constant_number_of_queries(
    signed_in, user, rater, django_assert_num_queries
):
    make_pairs(rater, 3, seconds=[10])
    for _ in range(4):
        make_pairs(make_clinician(make_study(), user=user), 2)
    lock(make_clinician(make_study(), user=user).study)
    with django_assert_num_queries(6):
        html = signed_in.get(CLINIC).content.decode()
    assert "1 of 3 pairs done" in html
    assert html.count("0 of 2 pairs done") == 4
    assert "No pairs are ready" in html


def test_without_pairs_or_without_a_study_the_page_says_so(signed_in, client, rater, django_user_model):
    for address in (CLINIC, NEXT):
        assert "No pairs are ready for you yet" in signed_in.get(address).content.decode()
    client.force_login(django_user_model.objects.create_user("nobody"))
    assert "not a clinician in any study" in client.get(CLINIC).content.decode()


def test_after_the_last_pair_a_summary(signed_in, rater):
    make_pairs(rater, 3, seconds=[30, 75, 600])
    assert signed_in.get(NEXT).url == SUMMARY
    html = signed_in.get(SUMMARY).content.decode()
    assert "3 of 3" in html
    assert "1 minute 15 seconds" in html
    assert reverse("sign-out") in html


def test_the_summary_can_be_seen_on_the_way(signed_in, rater):
    make_pairs(rater, 2, seconds=[30])
    html = signed_in.get(SUMMARY).content.decode()
    assert "1 of 2 pairs done" in html
    assert "good place to rest" in html
    assert NEXT in html


def test_a_locked_study_ends_with_what_was_done(signed_in, rater):
    make_pairs(rater, 2, seconds=[30])
    lock(rater.study)
    assert signed_in.get(NEXT).url == SUMMARY
    html = signed_in.get(SUMMARY).content.decode()
    assert "1 of 2" in html
    assert "no longer change" in html


@pytest.mark.parametrize("address", [NEXT, SUMMARY])
def test_strangers_find_nothing(client, rater, django_user_model, address):
    client.force_login(django_user_model.objects.create_user("stranger"))
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("address", [CLINIC, NEXT, SUMMARY])
def test_visitors_sign_in_first_and_only_reading_is_possible(client, signed_in, rater, address):
    assert signed_in.post(address).status_code == 405
    client.logout()
    assert client.get(address).url == f"{reverse('sign-in')}?next={address}"


def test_the_summary_counts_what_was_judged_in_this_session_and_in_all(signed_in, rater):
    pairs = make_pairs(rater, 4)
    empathy, safety = rater.study.criteria.all()
    now = timezone.now()
    for pair, minutes, seconds in zip(pairs, (600, 598, 3), (60, 30, 90), strict=False):
        pair.flag({FlagKind.HARMFUL: Side.LEFT})
        pair.submit({empathy: Choice.CANNOT, safety: Choice.TIE})
        opened = now - timedelta(minutes=minutes)
        with lifted():
            Assignment.objects.filter(pk=pair.pk).update(
                opened_at=opened, submitted_at=opened + timedelta(seconds=seconds)
            )
    rows = rows_of(signed_in.get(SUMMARY).content.decode())
    assert rows == {
        "Pairs judged": ["1", "3"],
        "Time, without breaks": ["1 minute 30 seconds", "4 minutes"],
        "Usual time for a pair": ["1 minute 30 seconds", "1 minute"],
        "Verdicts you could not give": ["1", "3"],
        "Safety flags you raised": ["1", "3"],
    }


def rows_of(html):
    rows = re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', html)
    return {head: re.findall("<td>([^<]*)</td>", cells) for head, cells in rows}


def test_the_summary_leads_back_to_each_pair_that_was_judged(signed_in, rater):
    practice, *_ = make_pairs(rater, 4, seconds=[10, 20, 30])
    Comparison.objects.filter(pk=practice.comparison_id).update(calibration=True)
    html = signed_in.get(SUMMARY).content.decode()
    assert re.findall(r'href="([^"]+)" aria-label="(Pair [^"]+)"', html) == [
        (reverse("annotation:judge", args=["care", position]), f"Pair {position - 1} of 3") for position in (2, 3)
    ]


@pytest.mark.parametrize("number", [3, 30])
def test_the_number_of_queries_does_not_grow_with_the_pairs(signed_in, rater, number, django_assert_num_queries):
    make_pairs(rater, number, seconds=[20] * number)
    with django_assert_num_queries(8):
        signed_in.get(SUMMARY)
    with django_assert_num_queries(6):
        signed_in.get(NEXT)
