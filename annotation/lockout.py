"""Who guesses passwords or codes is locked out for a while (django-axes counts; see settings).

A browser in which a user has signed in carries a mark and is counted apart from all others: whoever types a name
wrongly again and again keeps strangers out, not its owner (OWASP's device cookies).

Kept of a failure: a keyed hash of the user name that was typed, the browser's mark if it has one of that user, how
often, and when; for a quarter of an hour. No address, and no name in the clear, since people type passwords where
names belong.
"""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import get_random_string, salted_hmac

from annotation import second_factor

NOWHERE = "0.0.0.0"  # noqa: S104  # Stands for every address: the unique key of a failure wants one.
MARK_SECONDS = 60 * 60 * 24 * 365


class LeanHandler(AxesDatabaseHandler):  # type: ignore[misc]  # It brings no types.
    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        if request is not None:
            request.axes_ip_address = NOWHERE
            request.axes_user_agent = request.axes_http_accept = request.axes_path_info = ""
        super().user_login_failed(sender, credentials, request, **kwargs)


def pseudonym(request: HttpRequest | None, credentials: dict[str, Any] | None) -> str:
    """What stands in what is kept for the user name and for the browser, if the user is known in it."""
    typed = credentials.get("username") if credentials else request and request.POST.get("username")
    name = hashed(typed or "")
    return name + (mark_of(request, name) if request else "")


def hashed(name: str) -> str:
    return salted_hmac("attune.lockout", name).hexdigest()


def cookie_of(name: str) -> str:
    """The cookie's name: one a user, since a clinic may share a browser."""
    return f"known-{name[:16]}"


def mark_of(request: HttpRequest, name: str) -> str:
    """The mark that the browser was given when the user of that hashed name signed in; empty if it was given none."""
    return request.get_signed_cookie(cookie_of(name), "", salt=name, max_age=MARK_SECONDS) or ""


def knows_browser(request: HttpRequest, user: User) -> bool:
    return bool(mark_of(request, hashed(user.get_username())))


def mark_browser(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Know the browser again as one in which the user has signed in by all that this site asks for."""
    name = hashed(user.get_username())
    response.set_signed_cookie(
        cookie_of(name),
        mark_of(request, name) or get_random_string(22),
        salt=name,
        max_age=MARK_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def is_locked_out(request: HttpRequest, user: User) -> bool:
    """Whether the user is, in this browser. The reply to the request is then the page that says so."""
    locked: bool = not AxesProxyHandler.is_allowed(request, {"username": user.get_username()})
    if locked:
        request.axes_locked_out = True  # type: ignore[attr-defined]  # axes' middleware asks for it.
    return locked


def count_failure(request: HttpRequest, user: User) -> None:
    """Count a wrong code as a wrong password is counted."""
    user_login_failed.send(__name__, credentials={"username": user.get_username()}, request=request)


def forget_failures(request: HttpRequest, user: User) -> None:
    """What was counted with this browser's tries. Where the browser is known, strangers stay out."""
    AccessAttempt.objects.filter(username=pseudonym(request, {"username": user.get_username()})).delete()


def let_in_again(user: User) -> bool:
    """Forget the user's failures, in whatever browser. Returns whether there were any."""
    attempts, _ = AccessAttempt.objects.filter(username__startswith=hashed(user.get_username())).delete()
    return second_factor.stop_waiting(user) or bool(attempts)
