"""How a person goes through a study: what it needs, joining, claiming posts, and what comes next."""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from django.db import IntegrityError, transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from annotation.models import (
    Answer,
    ConsentDocument,
    ConsentRecord,
    Criterion,
    PanelLink,
    Participant,
    ParticipantStatus,
    Prompt,
    QuestionnaireItem,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    Response,
    Split,
    Study,
    TaskResponse,
)

ABANDONED_AFTER = timedelta(hours=24)
CANDIDATES = 20
ROUNDS = 10


# Joining


def panel_hash(panel_id: str) -> str:
    """HMAC-SHA256 keyed by SECRET_KEY, in hex: the only trace of a panel id."""
    return salted_hmac("annotation.panel-id", panel_id, algorithm="sha256").hexdigest()


def find_by_panel_id(study: Study, panel_id: str) -> Participant | None:
    links = PanelLink.objects.filter(study=study, hash=panel_hash(panel_id)).select_related("participant__rater__study")
    link = links.first()
    return link.participant if link else None


def join(study: Study, document: ConsentDocument, *, agreed: bool, panel_id: str = "") -> Participant:
    """Whoever decided on the document: a new participant, or the one this panel id has been before.

    Someone who agrees holds a post from now on, so that nobody fills in a questionnaire in vain.
    """
    try:
        participant = _create_participant(study, document, agreed=agreed, panel_id=panel_id)
    except IntegrityError:
        known = find_by_panel_id(study, panel_id) if panel_id else None
        if known is None:
            raise
        return known
    if agreed and claim_task(participant) is None:
        _finish(participant, ParticipantStatus.FULL)
    return participant


@transaction.atomic
def _create_participant(study: Study, document: ConsentDocument, *, agreed: bool, panel_id: str) -> Participant:
    name = f"P-{secrets.token_hex(3)}"
    while study.raters.filter(name=name).exists():
        name = f"P-{secrets.token_hex(3)}"
    rater = Rater.objects.create(study=study, kind=RaterKind.PARTICIPANT, name=name)
    participant = Participant.objects.create(rater=rater)
    ConsentRecord.objects.create(
        participant=participant, document=document, document_sha256=document.sha256, agreed=agreed
    )
    if panel_id:
        PanelLink.objects.create(study=study, participant=participant, hash=panel_hash(panel_id))
    if not agreed:
        _finish(participant, ParticipantStatus.DECLINED)
    return participant


def _finish(participant: Participant, status: ParticipantStatus) -> None:
    participant.status, participant.finished_at = status, timezone.now()
    participant.save(update_fields=["status", "finished_at"])


# What a study needs


def missing_for_participants(study: Study) -> list[str]:
    """What keeps every participant out of the study, and what to do about it, a line each.

    A study may be open all the same: its rankings may be imported, or clinicians alone take part.
    """
    lines = []
    if study.current_consent() is None:
        lines.append("it has no consent document. Add one to the study in the admin.")
    if not study.criteria.filter(ranked=True).exists():
        lines.append("it has no criterion to rank on. Add one, or mark one as ranked, in the admin.")
    if not rankable_prompts(study).exists():
        lines.append(
            f"no train or scorer prompt has the {study.responses_per_task} responses that a task shows. Import prompts "
            "(import_prompts), then generate or import responses (generate_responses, import_responses)."
        )
    lines += [
        f"question {item} needs an answer and has no options. Give it some, or make it optional, in the admin."
        for item in study.questionnaire_items.filter(optional=False, options=[])
    ]
    return [f"Participants cannot take part in study {study.slug} yet: {line}" for line in lines]


def rankable_prompts(study: Study) -> QuerySet[Prompt]:
    """Prompts with enough responses to rank. Test prompts are kept for comparing systems, calibration prompts for
    practice: what people rank is trained on."""
    responses = Response.objects.filter(prompt=OuterRef("pk")).values("prompt")
    return (
        Prompt.objects.filter(study=study)
        .exclude(split__in=[Split.TEST, Split.CALIBRATION])
        .annotate(written=Coalesce(Subquery(responses.annotate(n=Count("pk")).values("n")), 0))
        .filter(written__gte=study.responses_per_task)
    )


# Claiming posts


def claimable_prompts(study: Study) -> QuerySet[Prompt]:
    """Rankable prompts with a free slot, fewest claims first."""
    claims = RankingTask.objects.filter(prompt=OuterRef("pk"), slot__isnull=False).values("prompt")
    return (
        rankable_prompts(study)
        .annotate(claims=Coalesce(Subquery(claims.annotate(n=Count("pk")).values("n")), 0))
        .filter(claims__lt=study.raters_per_task)
        .order_by("claims", "pk")
    )


def abandoned_tasks(study: Study) -> QuerySet[RankingTask]:
    """Tasks that hold a slot for more than a day, unfinished."""
    unfinished = (
        RankingTask.objects.filter(
            prompt__study=study,
            slot__isnull=False,
            claimed_at__lt=timezone.now() - ABANDONED_AFTER,
            rater__participant__status=ParticipantStatus.ACTIVE,
        )
        .annotate(done=Count("rankings", filter=Q(rankings__submitted_at__isnull=False)))
        .filter(done__lt=study.criteria.filter(ranked=True).count())
    )
    return RankingTask.objects.filter(pk__in=unfinished.values("pk"))


def has_room(study: Study) -> bool:
    return claimable_prompts(study).exists() or abandoned_tasks(study).exists()


def claim_task(participant: Participant) -> RankingTask | None:
    """A new task for the participant, or null when no post is free.

    Races are settled by the unique constraints on (prompt, slot) and (rater, position): whoever loses one tries the
    next post.
    """
    rater, study = participant.rater, participant.rater.study
    abandoned_tasks(study).update(slot=None)
    position = rater.ranking_tasks.count() + 1
    for _ in range(ROUNDS):
        candidates = list(claimable_prompts(study).exclude(ranking_tasks__rater=rater)[:CANDIDATES])
        if not candidates:
            return None
        for prompt in candidates:
            task = _insert_task(rater, study, prompt, position) or rater.ranking_tasks.filter(position=position).first()
            if task:
                return task
    return None


def _insert_task(rater: Rater, study: Study, prompt: Prompt, position: int) -> RankingTask | None:
    slot = next(free_slots(study, prompt), None)
    if slot is None:
        return None
    draw = random.Random(f"{study.seed}/{rater.name}/{prompt.key}")  # noqa: S311 - to be repeated, not a secret
    shown = draw.sample(list(prompt.responses.order_by("pk")), study.responses_per_task)
    try:
        with transaction.atomic():
            task = RankingTask.objects.create(rater=rater, prompt=prompt, slot=slot, position=position)
            TaskResponse.objects.bulk_create(
                TaskResponse(task=task, response=response, position=place)
                for place, response in enumerate(shown, start=1)
            )
    except IntegrityError:
        return None
    return task


def free_slots(study: Study, prompt: Prompt) -> Iterator[int]:
    taken = set(prompt.ranking_tasks.filter(slot__isnull=False).values_list("slot", flat=True))
    return (slot for slot in range(study.raters_per_task) if slot not in taken)


def reclaim(task: RankingTask, study: Study) -> bool:
    """Whether the task holds a slot, after taking a free one for a task that lost its own meanwhile."""
    if task.slot is not None:
        return True
    for slot in free_slots(study, task.prompt):
        try:
            with transaction.atomic():
                RankingTask.objects.filter(pk=task.pk).update(slot=slot, claimed_at=timezone.now())
        except IntegrityError:
            continue
        task.slot = slot
        return True
    return False


@transaction.atomic
def skip(task: RankingTask) -> None:
    """Leave a post: nothing about it is kept, and another person may have it. It counts as done."""
    task.rankings.all().delete()
    RankingTask.objects.filter(pk=task.pk).update(slot=None, skipped_at=timezone.now())


# What comes next


@dataclass(frozen=True, kw_only=True)
class Section:
    number: int
    name: str
    items: list[QuestionnaireItem]


def sections(study: Study) -> list[Section]:
    items = study.questionnaire_items.order_by("position")
    return [
        Section(number=number, name=name, items=list(group))
        for number, (name, group) in enumerate(groupby(items, key=lambda item: item.section), start=1)
    ]


def answered_items(participant: Participant) -> set[int]:
    return set(Answer.objects.filter(rater=participant.rater).values_list("item_id", flat=True))


def required_section(participant: Participant) -> Section | None:
    """The first section where an answer is missing that is not optional."""
    answered = answered_items(participant)
    required = (
        s for s in sections(participant.rater.study) if any(not i.optional and i.pk not in answered for i in s.items)
    )
    return next(required, None)


def open_section(participant: Participant) -> Section | None:
    """The section after the last that has an answer, or an earlier one that lacks a required answer."""
    parts, answered = sections(participant.rater.study), answered_items(participant)
    reached = max((s.number for s in parts if any(item.pk in answered for item in s.items)), default=0)
    required = required_section(participant)
    if required and required.number <= reached:
        return required
    return parts[reached] if reached < len(parts) else None


def ranked_criteria(study: Study) -> list[Criterion]:
    return list(study.criteria.filter(ranked=True).order_by("position"))


def open_task(participant: Participant) -> RankingTask | None:
    """The first task that is neither skipped nor ranked on every criterion."""
    criteria = participant.rater.study.criteria.filter(ranked=True).count()
    return (
        participant.rater.ranking_tasks.filter(skipped_at__isnull=True)
        .annotate(done=Count("rankings", filter=Q(rankings__submitted_at__isnull=False)))
        .filter(done__lt=criteria)
        .order_by("position")
        .first()
    )


def begin_criterion(task: RankingTask, criterion: Criterion) -> Ranking:
    """The ranking to fill in; its clock starts when it is first made."""
    return Ranking.objects.get_or_create(task=task, criterion=criterion)[0]


def begin_task(task: RankingTask, study: Study) -> Ranking | None:
    """The task's first ranking that is still open."""
    done = set(task.rankings.submitted().values_list("criterion_id", flat=True))
    criterion = next((c for c in ranked_criteria(study) if c.pk not in done), None)
    return begin_criterion(task, criterion) if criterion else None


def ranking_url(study: Study, task: RankingTask, criterion: Criterion) -> str:
    return reverse("annotation:rank", args=[study.slug, task.position, criterion.key])


def task_url(study: Study, task: RankingTask) -> str:
    """The note before a task not yet begun, else its open criterion."""
    ranking = task.rankings.filter(submitted_at__isnull=True).select_related("criterion").first()
    if ranking is None:
        return reverse("annotation:note", args=[study.slug, task.position])
    return ranking_url(study, task, ranking.criterion)


def next_url(participant: Participant) -> str:
    """The address of the participant's next open step. Changes nothing."""
    study = participant.rater.study
    ends = {
        ParticipantStatus.DECLINED: "annotation:declined",
        ParticipantStatus.FULL: "annotation:full",
        ParticipantStatus.COMPLETE: "annotation:debrief",
    }
    if participant.status in ends:
        return reverse(ends[ParticipantStatus(participant.status)], args=[study.slug])
    section = None if _has_begun_ranking(participant) else open_section(participant)
    if section:
        return reverse("annotation:questions", args=[study.slug, section.number])
    task = open_task(participant)
    return task_url(study, task) if task else reverse("annotation:ready", args=[study.slug])


def _has_begun_ranking(participant: Participant) -> bool:
    tasks = participant.rater.ranking_tasks
    return tasks.filter(Q(rankings__isnull=False) | Q(skipped_at__isnull=False)).exists()


def advance(participant: Participant) -> str:
    """The address of the next post, claimed now if it was not yet, or of the end."""
    study = participant.rater.study
    task = open_task(participant)
    if task is None and participant.rater.ranking_tasks.count() < study.tasks_per_participant:
        task = claim_task(participant)
    if task:
        return task_url(study, task)
    _finish(participant, ParticipantStatus.COMPLETE)
    return reverse("annotation:debrief", args=[study.slug])


def step_after(ranking: Ranking, participant: Participant) -> str:
    """The address of the criterion after a submitted ranking, or of whatever follows the task's last."""
    study = participant.rater.study
    later = study.criteria.filter(ranked=True, position__gt=ranking.criterion.position).order_by("position").first()
    if later is None:
        remaining = begin_task(ranking.task, study)
        return ranking_url(study, ranking.task, remaining.criterion) if remaining else advance(participant)
    begin_criterion(ranking.task, later)
    return ranking_url(study, ranking.task, later)
