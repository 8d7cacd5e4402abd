"""Signing in: a password, then a code; locked out, timed out."""

import re
import time

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.admindocs.views import extract_views_from_urlpatterns, simplify_regex
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from annotation import lockout, second_factor
from annotation.sessions import SEEN, SIGNED_IN
from tests.factories import make_clinician, make_study

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-and-quiet-password"
WARNING = b'id="session"'


@pytest.fixture(autouse=True)
def two_factors(settings):
    settings.SECOND_FACTOR = True


@pytest.fixture
def person():
    return User.objects.create_user("kim", password=PASSWORD)


@pytest.fixture
def phone(person):
    return TOTPDevice.objects.create(user=person, name="App")


def give_password(client, password=PASSWORD):
    return client.post(reverse("sign-in"), {"username": "kim", "password": password})


def code_of(phone):
    return f"{TOTP(phone.bin_key).token():06d}"


def give_code(client, code):
    return client.post(reverse("sign-in-code"), {"code": code})


def is_in(client):
    return client.get(reverse("annotation:clinic")).status_code == 200


def sign_in(client, phone):
    give_password(client)
    give_code(client, code_of(phone))
    # The next code would come half a minute later.
    TOTPDevice.objects.filter(pk=phone.pk).update(last_t=-1)


def set_up(client, **codes):
    """Take up the offer of the page, with these codes beside that of the new phone."""
    offer = client.get(reverse("set-up-code")).context["offer"]
    return client.post(reverse("set-up-code"), {"offer": offer.seal, "code": code_of(offer.device), **codes})


def wrong_code(phone):
    return f"{(int(code_of(phone)) + 1) % 10**6:06d}"


def test_a_password_alone_leads_to_the_code_whatever_page_is_asked_for(client, phone):
    give_password(client)
    for page in (reverse("annotation:clinic"), reverse("admin:index")):
        assert client.get(page).url == f"{reverse('sign-in-code')}?next={page.replace('/', '%2F')}"


# Participants' pages need no login, and these are on the way in and out.
OPEN = {"/", "/help/", "/sign-out/", "/admin/logout/"} | {
    f"/sign-in/{page}" for page in ("", "code/", "set-up/", "again/", "time/")
}


def closed_addresses():
    """One of every view that needs a login."""
    views = extract_views_from_urlpatterns(get_resolver().url_patterns)
    every = {re.sub(r"<[^>]+>", "1", simplify_regex(pattern)) for _, pattern, *_ in views}
    assert every > {*OPEN, "/clinic/1/1/verdict/", "/admin/annotation/response/1/change/", "/api/studies/1/prompts/"}
    return sorted(address for address in every - OPEN if not address.startswith("/s/"))


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_page_opens_to_a_password_alone(client, person, phone, method):
    person.is_staff = person.is_superuser = True
    person.save()
    give_password(client)
    for address in closed_addresses():
        answer = getattr(client, method)(address)
        assert (answer.status_code, answer.url.split("?")[0]) == (302, reverse("sign-in-code")), address


def test_no_page_opens_to_a_stranger(client):
    for address in closed_addresses():
        answer = client.get(address)
        if answer.status_code == 405:
            answer = client.post(address)
        if address.startswith("/api/"):
            assert answer.status_code == 403, address
        else:
            assert answer.status_code == 302, address
            assert answer.url.startswith((reverse("sign-in"), "/admin/login/")), address


def test_the_session_changes_its_key_with_each_step(client, phone):
    give_password(client)
    before = client.session.session_key
    give_code(client, code_of(phone))
    assert client.session.session_key != before
    before = client.session.session_key
    TOTPDevice.objects.update(last_t=-1)
    assert set_up(client, old_code=code_of(phone)).status_code == 200
    assert client.session.session_key != before


def test_who_has_no_second_factor_sets_one_up_before_anything_else(client, person):
    give_password(client)
    assert client.get(reverse("annotation:clinic")).url.startswith(reverse("set-up-code"))
    offer = client.get(reverse("set-up-code")).context["offer"]
    page = client.post(reverse("set-up-code"), {"offer": offer.seal, "code": code_of(offer.device)})
    assert len(page.context["codes"]) == second_factor.RECOVERY_CODES
    assert is_in(client)


def test_an_offer_made_to_someone_else_is_not_taken_up(client, person):
    other = second_factor.Offer.new(User.objects.create_user("lee"))
    give_password(client)
    client.post(reverse("set-up-code"), {"offer": other.seal, "code": code_of(other.device)})
    assert not second_factor.is_set_up(person)
    assert not is_in(client)


def test_the_right_code_lets_in_once(client, phone):
    give_password(client)
    code = code_of(phone)
    assert give_code(client, code).status_code == 302
    assert is_in(client)
    client.post(reverse("sign-out"))
    give_password(client)
    assert give_code(client, code).status_code == 422
    assert not is_in(client)


def test_a_wrong_code_does_not(client, phone):
    give_password(client)
    assert give_code(client, wrong_code(phone)).status_code == 422
    assert not is_in(client)


def test_a_recovery_code_lets_in_once_and_is_not_kept_as_it_is(client, person, phone):
    code, *_ = second_factor.new_recovery_codes(person)
    assert not person.staticdevice_set.get().token_set.filter(token=second_factor.bare(code)).exists()
    for works in (True, False):
        give_password(client)
        give_code(client, code)
        assert is_in(client) == works
        client.post(reverse("sign-out"))


def test_a_new_phone_needs_the_old_one(client, phone):
    give_password(client)
    assert client.get(reverse("set-up-code")).url == reverse("sign-in-code")


def test_who_is_in_sets_up_another_phone_with_a_code_of_the_one_before(client, person, phone):
    rater = make_clinician(make_study(), user=person)
    sign_in(client, phone)
    for codes in ({}, {"old_code": wrong_code(phone)}):
        assert set_up(client, **codes).status_code == 422
        assert TOTPDevice.objects.get() == phone
    assert set_up(client, old_code=code_of(phone)).status_code == 200
    assert TOTPDevice.objects.get() != phone
    assert is_in(client)
    kept = rater.study.auditevent_set.get()
    assert (kept.action, kept.subject, kept.user) == ("second_factor.replace", "user kim", person)


def test_a_first_phone_replaces_nothing(client, person):
    rater = make_clinician(make_study(), user=person)
    give_password(client)
    set_up(client)
    assert second_factor.is_set_up(person)
    assert not rater.study.auditevent_set.exists()


def test_a_wrong_code_of_the_new_phone_does_not_use_up_that_of_the_old(client, person, phone):
    paper, *_ = second_factor.new_recovery_codes(person)
    sign_in(client, phone)
    assert set_up(client, code="000", old_code=paper).status_code == 422
    assert second_factor.recovery_codes_left(person) == second_factor.RECOVERY_CODES
    assert set_up(client, old_code=paper).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(0, 200), (15 * 60, 422)])
def test_a_recovery_code_speaks_for_another_phone_for_a_while(client, person, phone, seconds, status):
    paper, *_ = second_factor.new_recovery_codes(person)
    give_password(client)
    give_code(client, paper)
    session = client.session
    session[SIGNED_IN] -= seconds
    session.save()
    assert set_up(client).status_code == status
    assert TOTPDevice.objects.filter(pk=phone.pk).exists() == (status == 422)


def test_wrong_codes_of_the_old_phone_count_too(client, phone):
    sign_in(client, phone)
    for _ in range(5):
        last = set_up(client, old_code=wrong_code(phone))
    assert last.status_code == 429
    assert set_up(client, old_code=code_of(phone)).status_code == 429
    assert TOTPDevice.objects.get() == phone
    kept = str(AccessAttempt.objects.values().get())
    assert not any(secret in kept for secret in ("kim", wrong_code(phone), last.wsgi_request.POST["offer"]))


def test_the_end_of_a_session_is_told_to_those_alone_who_are_in(client, phone):
    give_password(client)
    assert WARNING not in client.get(reverse("sign-in-code")).content
    assert client.get(reverse("session-time")).json() == {"seconds": 0, "can_extend": False}
    give_code(client, code_of(phone))
    assert WARNING in client.get(reverse("annotation:clinic")).content
    assert client.get(reverse("session-time")).json()["seconds"] > 0


@pytest.mark.parametrize(("since", "setting"), [(SEEN, "IDLE_SECONDS"), (SIGNED_IN, "SIGNED_IN_SECONDS")])
def test_a_session_ends_after_a_while_and_after_a_day(client, settings, person, since, setting):
    settings.SECOND_FACTOR = False
    give_password(client)
    assert is_in(client)
    session = client.session
    session[since] = int(time.time()) - getattr(settings, setting) - 1
    session.save()
    answer = client.get(reverse("annotation:clinic"))
    assert answer.url.startswith(reverse("sign-in"))
    assert "ended=1" in answer.url
    assert not is_in(client)


def test_asking_for_the_time_left_does_not_make_it_more_and_posting_does(client, settings, person):
    settings.SECOND_FACTOR = False
    give_password(client)
    session = client.session
    session[SEEN] = int(time.time()) - settings.IDLE_SECONDS + 30
    session.save()
    for _ in range(2):
        assert client.get(reverse("session-time")).json()["seconds"] <= 30
    assert client.post(reverse("session-time")).json()["seconds"] > 30


def test_five_wrong_passwords_lock_out_even_the_right_one(client, person):
    for _ in range(5):
        give_password(client, "wrong")
    assert give_password(client).status_code == 429
    assert not is_in(client)


def test_wrong_codes_count_as_wrong_passwords_do(client, phone):
    give_password(client)
    for _ in range(5):
        # Each has to wait for the one before; an attacker would.
        TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
        give_code(client, wrong_code(phone))
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    give_code(client, code_of(phone))
    assert not is_in(client)


@pytest.fixture
def stranger():
    """Another browser, at which somebody knows the user's name."""
    return Client()


def keep_out(client):
    for _ in range(5):
        give_password(client, "wrong")


def test_a_stranger_keeps_other_strangers_out_and_not_the_browser_that_is_known(client, stranger, phone):
    sign_in(client, phone)
    client.post(reverse("sign-out"))
    keep_out(stranger)
    assert give_password(stranger).status_code == give_password(Client()).status_code == 429
    give_password(client)
    give_code(client, code_of(phone))
    assert is_in(client)
    # Whom a known browser lets in does not let strangers guess on.
    assert give_password(stranger).status_code == 429


def test_wrong_codes_of_a_stranger_neither_lock_the_known_browser_nor_make_it_wait(client, stranger, phone):
    sign_in(client, phone)
    client.post(reverse("sign-out"))
    give_password(stranger)
    for _ in range(5):
        TOTPDevice.objects.update(throttling_failure_timestamp=None)
        last = give_code(stranger, wrong_code(phone))
    assert last.status_code == 429
    assert second_factor.wait(TOTPDevice.objects.get()) > 5
    give_password(client)
    give_code(client, code_of(phone))
    assert is_in(client)


def test_a_known_browser_that_guesses_is_locked_by_itself(client, stranger, phone):
    sign_in(client, phone)
    client.post(reverse("sign-out"))
    keep_out(client)
    assert give_password(client).status_code == 429
    assert give_password(stranger).status_code == 302


def test_a_browser_is_known_for_those_who_signed_in_with_it_alone(client, stranger, settings, phone):
    settings.SESSION_COOKIE_SECURE = True
    sign_in(client, phone)
    (mark,) = [cookie for name, cookie in client.cookies.items() if name.startswith("known-")]
    assert mark["httponly"]
    assert mark["secure"]
    assert (mark["samesite"], "kim" in mark.OutputString()) == ("Lax", False)
    # Taken over for another name, or made up, it is nothing.
    lee = lockout.cookie_of(lockout.hashed("lee"))
    stranger.cookies[lee] = mark.value
    stranger.cookies[mark.key] = "made-up"
    for name in ("kim", "lee"):
        told = lockout.pseudonym(stranger.get("/").wsgi_request, {"username": name})
        assert told == lockout.hashed(name)
    assert lockout.pseudonym(client.get("/").wsgi_request, {"username": "kim"}) != lockout.hashed("kim")


def test_a_password_alone_makes_no_browser_known(client, phone):
    give_password(client)
    assert not any(name.startswith("known-") for name in client.cookies)


def test_a_command_lets_in_again_whatever_the_browser_and_is_kept(client, stranger, person, phone, capsys):
    rater = make_clinician(make_study(), user=person)
    sign_in(client, phone)
    client.post(reverse("sign-out"))
    keep_out(client)
    keep_out(stranger)
    TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now(), throttling_failure_count=20)
    call_command("let_in_again", "kim")
    assert give_password(client).status_code == give_password(stranger).status_code == 302
    give_code(stranger, code_of(phone))
    assert is_in(stranger)
    kept = rater.study.auditevent_set.get()
    assert (kept.action, kept.subject, kept.user) == ("lock_out.lift", "user kim", None)
    assert LogEntry.objects.get().change_message == "lock_out.lift"
    call_command("let_in_again", "kim")
    assert rater.study.auditevent_set.count() == 1
    assert capsys.readouterr().out == "user kim can sign in again\nuser kim is not locked out\n"


def test_a_command_does_not_let_in_whom_it_does_not_know():
    with pytest.raises(CommandError, match="user 'kin' is unknown"):
        call_command("let_in_again", "kin")


def test_a_page_of_another_site_is_not_where_one_is_sent(client, settings, person):
    settings.SECOND_FACTOR = False
    answer = client.post(
        reverse("sign-in"), {"username": "kim", "password": PASSWORD, "next": "https://evil.example.org/"}
    )
    assert answer.url == reverse("home")
