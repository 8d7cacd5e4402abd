"""Withdrawal of a participant who has left and asks the team for it, by the random id that the last page showed."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from annotation.errors import InputError, StudyError
from annotation.models import Ranking, Rater, RaterKind, Study

# What learned from a rater, by name. Apps that come after add what is theirs.
LEARNERS: list[Callable[[Rater], list[str]]] = []


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """What is deleted if the participant withdraws, and what is marked as tainted, since it learned from them."""

    rankings: int
    answers: int
    learners: list[str]


def foresee(rater: Rater) -> Withdrawal:
    """What a withdrawal would do, without doing it.

    Raises:
        StudyError: the rater never had a random id or has withdrawn already, or the study is locked.
    """
    if not hasattr(rater, "participant"):
        kind = RaterKind(rater.kind).label.lower()
        raise StudyError(f"{rater.name} is a {kind} without a random id: only who took part on this site has one")
    if rater.withdrawn_at:
        raise StudyError(f"{rater.name} withdrew on {rater.withdrawn_at:%Y-%m-%d}: there is nothing left to delete")
    rater.study.require_unlocked()
    return Withdrawal(
        rankings=Ranking.objects.submitted().filter(task__rater=rater).count(),
        answers=rater.answers.count(),
        learners=[name for names_of in LEARNERS for name in names_of(rater)],
    )


def find_participant(study: Study, random_id: str) -> Rater:
    """The participant who was shown that random id.

    Raises:
        InputError: the study has none; the message tells if it is the name of a rater instead.
    """
    named = study.raters.filter(name=random_id).first()
    if named:
        kind = RaterKind(named.kind).label.lower()
        raise InputError(f"--id {random_id}: that names a {kind}: give the random id that a participant was shown")
    try:
        return study.raters.get(participant__public_id=uuid.UUID(random_id))
    except (ValueError, Rater.DoesNotExist) as error:
        raise InputError(f"--id {random_id}: study {study.slug} has no participant of that random id") from error
