"""At the door: sessions that have ended, and the second factor, before any page that needs a login."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import ResolverMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from annotation import second_factor, sessions

# Pages for everyone, or on the way in and out. Every other page needs a login, but for the participants'.
OPEN = {
    *("home", "get-help", "sign-out", "admin:logout"),
    *("sign-in", "sign-in-code", "set-up-code", "signed-in-again", "session-time"),
}


class SignInMiddleware:
    """Comes after those that know the user and the verified device. A request of htmx is redirected as any other:
    the page that sent it sees where the reply came from, keeps what it holds and says so (static/session.js).

    `request.let_in` says whether someone is signed in by all that this site asks for.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: Any, *view: Any) -> HttpResponse | None:
        request.let_in = False
        if not request.user.is_authenticated:
            return None
        needs_login = not is_open(request.resolver_match)
        if not sessions.remaining(request.session).seconds:
            logout(request)
            return to("sign-in", next=page_of(request), ended="1") if needs_login else None
        if needs_login:
            sessions.touch(request.session)
        request.let_in = second_factor.is_verified(request) or not settings.SECOND_FACTOR
        if needs_login and not request.let_in:
            step = "sign-in-code" if second_factor.is_set_up(request.user) else "set-up-code"
            return to(step, next=page_of(request))
        return None


def is_open(match: ResolverMatch | None) -> bool:
    return match is None or match.route.startswith("s/") or match.view_name in OPEN


def to(name: str, **query: str) -> HttpResponse:
    return redirect(f"{reverse(name)}?{urlencode(query)}")


def page_of(request: HttpRequest) -> str:
    """The page to come back to: of a form or a fragment, the page that it stands on."""
    if request.method == "GET" and "HX-Request" not in request.headers:
        return request.get_full_path()
    before = urlsplit(request.headers.get("Referer", ""))
    known = before.path and before.netloc == request.get_host()
    return f"{before.path}?{before.query}".rstrip("?") if known else reverse("home")


def next_page(request: HttpRequest) -> str:
    """Where `next` leads, if it is a page of this site; else home."""
    url = request.POST.get("next", request.GET.get("next", ""))
    safe = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if safe else reverse("home")
