"""Signing in with a phone: the authenticator app is the library's own TOTP, fed with the secret that the page shows."""

import re
from base64 import b32decode

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.urls import reverse
from django_otp.oath import TOTP
from playwright.sync_api import expect

from annotation import second_factor
from tests.factories import make_clinician, make_study

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
NAME, PASSWORD = "clinician", "a long password"


@pytest.fixture(autouse=True)
def two_factors(settings):
    settings.SECOND_FACTOR = True


@pytest.fixture
def user(django_user_model):
    user = django_user_model.objects.create_user(NAME, password=PASSWORD)
    make_clinician(make_study(slug="care"), user=user)
    return user


def give_password(page, live_server):
    page.goto(live_server.url + reverse("annotation:clinic"))
    page.get_by_label("User name").focus()
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def code_from(secret):
    """What an app shows that was given the secret as the page writes it."""
    return f"{TOTP(b32decode(secret.replace(' ', ''))).token():06d}"


def test_a_phone_is_set_up_at_the_first_sign_in_by_the_keyboard_alone(page, live_server, user):
    give_password(page, live_server)
    expect(page.get_by_role("heading", name="Set up your phone")).to_be_visible()
    picture = page.get_by_role("img", name="QR code")
    assert picture.evaluate("image => image.naturalWidth") > 100
    secret = page.locator("code.secret").inner_text()

    page.get_by_label("Type the six digits").focus()
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Type the six digits")).to_be_focused()
    expect(page.locator("code.secret")).to_have_text(secret)
    page.keyboard.press("Control+A")
    page.keyboard.type(code_from(secret))
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    codes = page.locator(".recovery-codes code").all_inner_texts()
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    page.get_by_role("link", name="I have kept them").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(reverse("annotation:clinic")))

    # The phone is not at hand the next time.
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    give_password(page, live_server)
    expect(page.get_by_label("Code")).to_be_focused()
    page.keyboard.type(codes[0].upper())
    page.keyboard.press("Enter")
    expect(page.get_by_text("You used a recovery code: 9 left.")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_no_page_of_signing_in_breaks_a_rule_of_accessibility(new_context, live_server, user, scheme, width):
    page = new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()

    def check(heading):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        results = Axe().run(page)
        assert results.violations_count == 0, f"{heading}: {results.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, heading

    page.goto(live_server.url + reverse("sign-in"))
    check("Sign in")
    give_password(page, live_server)
    check("Set up your phone")
    secret = page.locator("code.secret").inner_text()
    page.get_by_label("Type the six digits").fill("000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    check("Set up your phone")
    page.get_by_label("Type the six digits").fill(code_from(secret))
    page.keyboard.press("Enter")
    check("Your recovery codes")
    page.goto(live_server.url + reverse("set-up-code"))
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_have_count(2)
    check("Set up your phone")
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    give_password(page, live_server)
    check("Enter your code")


def test_a_warning_that_cannot_be_put_off_is_given_once(page, live_server, user, settings):
    settings.SECOND_FACTOR = False
    settings.SIGNED_IN_SECONDS = 100
    give_password(page, live_server)
    warning = page.get_by_role("alertdialog", name="Your session ends in two minutes")
    warning.get_by_role("button", name="Go on").click()
    expect(warning).to_be_hidden()
    page.evaluate("""() => {
        const title = document.getElementById("session-title");
        window.told = [];
        new MutationObserver(() => told.push(title.textContent)).observe(title, { childList: true });
    }""")
    for seconds in (90, 1):
        settings.SIGNED_IN_SECONDS = seconds
        with page.expect_response(lambda reply: reply.url.endswith(reverse("session-time"))):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("alertdialog", name="Your session ended")).to_be_visible()
    assert page.evaluate("told") == ["Your session ended"]
