from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotation.models import StudyStatus
from annotation.views.clinician import in_words
from tests.factories import make_assignment, make_clinician, make_comparison, make_prompt, make_study, make_system

pytestmark = pytest.mark.django_db
CLINIC = reverse("annotation:clinic")
NEXT = reverse("annotation:next-comparison", args=["care"])
DONE = reverse("annotation:clinic-done", args=["care"])


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
    with django_assert_num_queries(4):
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
    assert signed_in.get(NEXT).url == DONE
    html = signed_in.get(DONE).content.decode()
    assert "3 of 3" in html
    assert "1 minute 15 seconds" in html
    assert reverse("sign-out") in html


def test_the_summary_can_be_seen_on_the_way(signed_in, rater):
    make_pairs(rater, 2, seconds=[30])
    html = signed_in.get(DONE).content.decode()
    assert "So far" in html
    assert "1 of 2" in html
    assert NEXT in html


def test_a_locked_study_ends_with_what_was_done(signed_in, rater):
    make_pairs(rater, 2, seconds=[30])
    lock(rater.study)
    assert signed_in.get(NEXT).url == DONE
    html = signed_in.get(DONE).content.decode()
    assert "1 of 2" in html
    assert "no longer change" in html


@pytest.mark.parametrize("address", [NEXT, DONE])
def test_strangers_find_nothing(client, rater, django_user_model, address):
    client.force_login(django_user_model.objects.create_user("stranger"))
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("address", [CLINIC, NEXT, DONE])
def test_visitors_sign_in_first_and_only_reading_is_possible(client, signed_in, rater, address):
    assert signed_in.post(address).status_code == 405
    client.logout()
    assert client.get(address).url == f"{reverse('sign-in')}?next={address}"


@pytest.mark.parametrize("number", [3, 30])
def test_the_number_of_queries_does_not_grow_with_the_pairs(signed_in, rater, number, django_assert_num_queries):
    make_pairs(rater, number, seconds=[20] * number)
    with django_assert_num_queries(8):
        signed_in.get(DONE)
    with django_assert_num_queries(5):
        signed_in.get(NEXT)


def test_times_are_told_in_words():
    assert [in_words(s) for s in (0.2, 1, 59.6, 61, 120)] == [
        "less than a second",
        "1 second",
        "1 minute",
        "1 minute 1 second",
        "2 minutes",
    ]
