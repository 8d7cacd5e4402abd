"""Which submitted rankings an export takes, by source and by declared rules, and how many it leaves out and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db.models import Count, F, Q

from annotation.errors import InputError
from annotation.models import Criterion, ParticipantStatus, Ranking, Rater, RaterKind
from annotation.models.ranking import RankingQuerySet

SOURCES: dict[str, Q] = {
    "human": ~Q(task__rater__kind=RaterKind.JUDGE),
    "persona": Q(task__rater__kind=RaterKind.JUDGE),
    "both": Q(),
}


@dataclass(frozen=True)
class Rule:
    """What an exclusion takes after its name, what it leaves out, and which rankings those are."""

    takes: str
    about: str
    rankings: Callable[[Criterion, str], Q]

    def form(self, name: str) -> str:
        return f"{name}={self.takes}" if self.takes else name


def _faster_than(criterion: Criterion, value: str) -> Q:
    least = F("opened_at") + timedelta(seconds=float(value))
    # Imported and simulated rankings are opened and submitted at one moment: nobody's time was taken.
    return Q(submitted_at__gt=F("opened_at"), submitted_at__lt=least)


def _fewer_than(criterion: Criterion, value: str) -> Q:
    given = Count(
        "ranking_tasks__rankings",
        filter=Q(ranking_tasks__rankings__criterion=criterion, ranking_tasks__rankings__submitted_at__isnull=False),
    )
    raters = Rater.objects.filter(study=criterion.study).annotate(given=given)
    return Q(task__rater__in=raters.filter(given__lt=int(value)).values("pk"))


def _by_rater(criterion: Criterion, value: str) -> Q:
    if not criterion.study.raters.filter(name=value).exists():
        raise InputError(f"--exclude rater={value}: study {criterion.study.slug} has no rater of that name")
    return Q(task__rater__name=value)


def _simulated(criterion: Criterion, value: str) -> Q:
    return Q(task__rater__simulated=True)


def _unfinished(criterion: Criterion, value: str) -> Q:
    participants = criterion.study.raters.filter(kind=RaterKind.PARTICIPANT)
    return Q(task__rater__in=participants.exclude(participant__status=ParticipantStatus.COMPLETE).values("pk"))


RULES = {
    "faster-than": Rule("SECONDS", "made on the study's pages in less time", _faster_than),
    "fewer-than": Rule("N", "by raters with fewer submitted rankings on the criterion", _fewer_than),
    "rater": Rule("NAME", "by this rater", _by_rater),
    "simulated": Rule("", "by raters no person stands behind", _simulated),
    "unfinished": Rule("", "by participants who did not complete the study", _unfinished),
}


@dataclass(frozen=True)
class Selection:
    """The submitted rankings of a source on a criterion, among the prompts of a split. `excluded` holds, by the text
    that declared each rule, the ids of the rankings that it leaves out."""

    criterion: Criterion
    split: str
    source: str
    rankings: RankingQuerySet
    excluded: dict[str, frozenset[int]]

    @cached_property
    def left_out(self) -> frozenset[int]:
        return frozenset().union(*self.excluded.values())

    def prompts(self) -> list[tuple[int, str]]:
        """Id and key of the prompts that have a ranking left."""
        ranked = {
            prompt
            for ranking, prompt in self.rankings.values_list("pk", "task__prompt_id").iterator()
            if ranking not in self.left_out
        }
        prompts = self.criterion.study.prompts.filter(split=self.split).order_by("pk").values_list("pk", "key")
        return [prompt for prompt in prompts.iterator() if prompt[0] in ranked]

    def exclusions(self) -> dict[str, Any]:
        """What was left out. A ranking counts under every rule that matches it, and once in `rankings_by_any_rule`."""
        drafts = self.criterion.rankings.filter(submitted_at__isnull=True, task__prompt__split=self.split)
        others = _candidates(self.criterion, self.split).count() - self.rankings.count()
        return {
            "raters_withdrawn": self.criterion.study.raters.filter(withdrawn_at__isnull=False).count(),
            "rankings_not_submitted": drafts.count(),
            "rankings_of_another_source": others,
            "rankings_by_rule": {text: len(rankings) for text, rankings in self.excluded.items()},
            "rankings_by_any_rule": len(self.left_out),
        }


def select(criterion: Criterion, *, split: str, source: str, exclude: Sequence[str]) -> Selection:
    """The rankings of a source, and those of them that rules exclude.

    Raises:
        InputError: the source or a rule is unknown, or a rule's value is wrong.
    """
    if source not in SOURCES:
        raise InputError(f"source {source!r} is unknown: it is one of {', '.join(SOURCES)}")
    rankings = _candidates(criterion, split).filter(SOURCES[source])
    matched = {text: rankings.filter(_matches(criterion, text)) for text in exclude}
    # Asked once each: as conditions of every later query they would cost more than all the rest.
    excluded = {text: frozenset(found.values_list("pk", flat=True)) for text, found in matched.items()}
    return Selection(criterion, split, source, rankings, excluded)


def _candidates(criterion: Criterion, split: str) -> RankingQuerySet:
    return Ranking.objects.submitted().filter(
        criterion=criterion, task__prompt__split=split, task__rater__withdrawn_at__isnull=True
    )


def _matches(criterion: Criterion, text: str) -> Q:
    name, _, value = text.partition("=")
    rule = RULES.get(name)
    if rule is None:
        known = ", ".join(rule.form(name) for name, rule in RULES.items())
        raise InputError(f"--exclude {text}: there is no such rule (there are: {known})")
    if (text != name) != bool(rule.takes):
        raise InputError(f"--exclude {text}: this rule is written {rule.form(name)}")
    if rule.takes in ("SECONDS", "N") and not _is_amount(value):
        raise InputError(f"--exclude {text}: a whole number above 0 is required after the =")
    return rule.rankings(criterion, value)


def _is_amount(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value) < 10**9
