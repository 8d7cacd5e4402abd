"""How long someone worked on pairs, in sessions with breaks between them, and when a rest would do good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

# From the first sight of a pair to its submission.
Span = tuple[datetime, datetime]

# Whoever submitted nothing for so long has rested.
BREAK = timedelta(minutes=15)
# A rest is suggested after so many pairs or so long, and again after as much more.
REST_PAIRS, REST_TIME = 25, timedelta(minutes=40)


@dataclass(frozen=True)
class Work:
    """`seconds` without the breaks; `median` of a pair, in seconds, None without a pair."""

    pairs: int
    seconds: float
    median: float | None

    @property
    def time(self) -> str:
        return in_words(self.seconds)

    @property
    def pace(self) -> str:
        return "" if self.median is None else in_words(self.median)


def sessions(spans: Iterable[Span]) -> list[list[Span]]:
    """The spans parted where a break lies between one's end and the next one's start."""
    parts: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: span[1]):
        if parts and span[0] - parts[-1][-1][1] < BREAK:
            parts[-1].append(span)
        else:
            parts.append([span])
    return parts


def work(spans: Sequence[Span]) -> Work:
    worked = sum(_length(session).total_seconds() for session in sessions(spans))
    return Work(len(spans), worked, median((end - start).total_seconds() for start, end in spans) if spans else None)


def current_session(spans: Iterable[Span], *, now: datetime) -> list[Span]:
    """The session that is under way; empty after a break."""
    last = sessions(spans)[-1:]
    return last[0] if last and now - last[0][-1][1] < BREAK else []


def rest_is_due(session: Sequence[Span]) -> bool:
    """Whether the last pair of the session was one after which a rest is suggested."""
    if not session:
        return False
    before = session[:-1]
    return len(session) % REST_PAIRS == 0 or _length(session) // REST_TIME > (_length(before) // REST_TIME)


def _length(session: Sequence[Span]) -> timedelta:
    return session[-1][1] - session[0][0] if session else timedelta(0)


def in_words(seconds: float) -> str:
    """In the two largest units there are, such as 1 hour 20 minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "hour"), (minutes, "minute"), (rest, "second")]
    words = [f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in parts if n]
    return " ".join(words[:2]) or "less than a second"
