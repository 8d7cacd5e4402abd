"""How long a signed-in session lasts: until nobody has asked for anything for a while, and a day's work at most.

Participants never sign in; their sessions end with the cookie.
"""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

SIGNED_IN, SEEN = "signed_in_at", "seen_at"
# The time of the last request is written once in so many seconds, not with every request.
PRECISION = 60


@dataclass(frozen=True)
class Remaining:
    """Seconds until the session ends, 0 when it has; and whether going on makes them more."""

    seconds: int
    can_extend: bool


def begin(sender: Any, request: Any, **kwargs: Any) -> None:
    """Receives `user_logged_in`: the one place that every way of signing in passes."""
    request.session[SIGNED_IN] = request.session[SEEN] = int(time.time())


def age(session: SessionBase) -> int:
    """Seconds since the sign-in."""
    return int(time.time()) - int(session.get(SIGNED_IN, 0))


def remaining(session: SessionBase) -> Remaining:
    """Of a session that never began, nothing."""
    now = int(time.time())
    idle = session.get(SEEN, 0) + settings.IDLE_SECONDS - now
    whole = settings.SIGNED_IN_SECONDS - age(session)
    return Remaining(max(0, min(idle, whole)), can_extend=idle < whole)


def touch(session: SessionBase, *, precision: int = PRECISION) -> None:
    """Someone is there."""
    now = int(time.time())
    if now - session.get(SEEN, 0) >= precision:
        session[SEEN] = now
