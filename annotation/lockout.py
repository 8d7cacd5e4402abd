"""Who guesses passwords or codes is locked out for a while (django-axes counts; see settings).

Kept of a failure: a keyed hash of the user name that was typed, how often, and when; for a quarter of an hour. No
address, no browser, and no name in the clear, since people type passwords where names belong.
"""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.utils import reset
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

NOWHERE = "0.0.0.0"  # noqa: S104  # Stands for every address: the unique key of a failure wants one.


class LeanHandler(AxesDatabaseHandler):  # type: ignore[misc]  # It brings no types.
    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        if request is not None:
            request.axes_ip_address = NOWHERE
            request.axes_user_agent = request.axes_http_accept = request.axes_path_info = ""
        super().user_login_failed(sender, credentials, request, **kwargs)


def pseudonym(request: HttpRequest | None, credentials: dict[str, Any] | None) -> str:
    """What stands for the user name in what is kept."""
    name = credentials.get("username") if credentials else request and request.POST.get("username")
    return salted_hmac("attune.lockout", name or "").hexdigest()


def is_locked_out(request: HttpRequest, user: User) -> bool:
    """Whether the user is. The reply to the request is then the page that says so."""
    locked: bool = not AxesProxyHandler.is_allowed(request, {"username": user.get_username()})
    if locked:
        request.axes_locked_out = True  # type: ignore[attr-defined]  # axes' middleware asks for it.
    return locked


def count_failure(request: HttpRequest, user: User) -> None:
    """Count a wrong code as a wrong password is counted."""
    user_login_failed.send(__name__, credentials={"username": user.get_username()}, request=request)


def let_in_again(user: User) -> bool:
    """Forget the user's failures. Returns whether there were any."""
    return bool(reset(username=pseudonym(None, {"username": user.get_username()})))
