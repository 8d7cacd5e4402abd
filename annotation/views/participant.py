"""A participant's way through a study, below /s/<slug>/."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from annotation import crisis, participation
from annotation.errors import StudyError
from annotation.forms.participant import DecisionForm, QuestionnaireForm, RankingForm
from annotation.models import Participant, ParticipantStatus, Ranking, RankingTask, Rater, Study, StudyStatus
from config.pages import HtmxHttpRequest, render_page

View = Callable[..., HttpResponse]

TAKEN = "While you were away, this post was given to someone else, so we left it out. You lose nothing by it."


def study_page(view: View) -> View:
    """Fetch the study. No page of it is ever kept by the browser: others may use the same device."""

    @wraps(view)
    @cache_control(no_store=True)
    def inner(request: HtmxHttpRequest, slug: str, **kwargs: Any) -> HttpResponse:
        return view(request, get_object_or_404(Study, slug=slug), **kwargs)

    return inner


def participant_page(view: View) -> View:
    """Fetch the participant of this browser; anyone else begins at the information page."""

    @wraps(view)
    @study_page
    def inner(request: HtmxHttpRequest, study: Study, **kwargs: Any) -> HttpResponse:
        participant = find_participant(request, study)
        if participant is None:
            return go(request, reverse("annotation:information", args=[study.slug]))
        return view(request, participant, **kwargs)

    return inner


def step(view: View) -> View:
    """A page of the work itself: only while the study is open and the participant is not done."""

    @wraps(view)
    @participant_page
    def inner(request: HtmxHttpRequest, participant: Participant, **kwargs: Any) -> HttpResponse:
        study = participant.rater.study
        if study.status != StudyStatus.OPEN:
            return go(request, reverse("annotation:closed", args=[study.slug]))
        if participant.status != ParticipantStatus.ACTIVE:
            return go(request, participation.next_url(participant))
        return view(request, participant, **kwargs)

    return inner


def find_participant(request: HttpRequest, study: Study) -> Participant | None:
    public_id = request.session.get("participants", {}).get(str(study.pk))
    if public_id is None:
        return None
    people = Participant.objects.filter(public_id=public_id, rater__study=study)
    return people.filter(rater__in=Rater.objects.active()).select_related("rater__study").first()


def remember(request: HttpRequest, participant: Participant) -> None:
    request.session.cycle_key()
    known = request.session.get("participants", {})
    request.session["participants"] = {**known, str(participant.rater.study_id): str(participant.public_id)}


def forget(request: HttpRequest, study: Study) -> None:
    known = request.session.get("participants", {})
    request.session["participants"] = {key: value for key, value in known.items() if key != str(study.pk)}


def go(request: HtmxHttpRequest, url: str) -> HttpResponse:
    """A redirect of the page, also when htmx asked."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


@require_http_methods(["GET", "HEAD", "POST"])
@study_page
def information(request: HtmxHttpRequest, study: Study) -> HttpResponse:
    """What the study is, and the decision. Whoever decided before goes on where they were."""
    panel_id = (request.GET.get("PROLIFIC_PID") or request.GET.get("pid") or "").strip()
    known = participation.find_by_panel_id(study, panel_id) if panel_id else find_participant(request, study)
    document = study.current_consent()
    if study.status != StudyStatus.OPEN or document is None:
        return redirect("annotation:closed", slug=study.slug)
    if known:
        remember(request, known)
        return redirect(participation.next_url(known))
    if participation.missing_for_participants(study):
        return redirect("annotation:closed", slug=study.slug)
    if not participation.has_room(study):
        return redirect("annotation:full", slug=study.slug)
    form = DecisionForm(request.POST if request.method == "POST" else None, document=document)
    if form.is_valid():
        participant = participation.join(study, document, agreed=form.agreed, panel_id=panel_id)
        remember(request, participant)
        return go(request, participation.next_url(participant))
    context = {"study": study, "document": document, "form": form}
    return render_page(
        request, "annotation/information.html", context, partial="decision", status=422 if form.is_bound else 200
    )


@require_safe
@study_page
def closed(request: HtmxHttpRequest, study: Study) -> HttpResponse:
    """Not begun, ended, or open before there is all that participants need."""
    if study.status == StudyStatus.OPEN and not participation.missing_for_participants(study):
        return redirect("annotation:information", slug=study.slug)
    participant = find_participant(request, study)
    return render(request, "annotation/closed.html", {"study": study, "participant": participant})


@require_safe
@study_page
def full(request: HtmxHttpRequest, study: Study) -> HttpResponse:
    """The code is for someone who came in vain, not for a passer-by while there is room, or nothing to rank yet."""
    participant = find_participant(request, study)
    turned_away = participant is not None and participant.status == ParticipantStatus.FULL
    if not turned_away and (participation.has_room(study) or participation.missing_for_participants(study)):
        return redirect("annotation:information", slug=study.slug)
    return render(request, "annotation/full.html", {"study": study})


@require_safe
@participant_page
def declined(request: HtmxHttpRequest, participant: Participant) -> HttpResponse:
    if participant.status != ParticipantStatus.DECLINED:
        return redirect(participation.next_url(participant))
    return render(request, "annotation/declined.html", {"study": participant.rater.study})


@require_http_methods(["GET", "HEAD", "POST"])
@step
def questions(request: HtmxHttpRequest, participant: Participant, number: int) -> HttpResponse:
    study = participant.rater.study
    parts = participation.sections(study)
    if not 1 <= number <= len(parts):
        return redirect(participation.next_url(participant))
    section = parts[number - 1]
    form = QuestionnaireForm(
        request.POST if request.method == "POST" else None, items=section.items, rater=participant.rater
    )
    if form.is_valid():
        form.save()
        if number < len(parts):
            return go(request, reverse("annotation:questions", args=[study.slug, number + 1]))
        unanswered = participation.required_section(participant)
        return go(request, participation.next_url(participant) if unanswered else participation.advance(participant))
    context = {"study": study, "participant": participant, "section": section, "sections": len(parts), "form": form}
    return render_page(
        request, "annotation/questions.html", context, partial="questions", status=422 if form.is_bound else 200
    )


@require_http_methods(["GET", "HEAD", "POST"])
@step
def ready(request: HtmxHttpRequest, participant: Participant) -> HttpResponse:
    """A stop for whoever comes back and holds no post: a post is claimed by a button, not by looking."""
    if participation.open_task(participant):
        return redirect(participation.next_url(participant))
    if request.method == "POST":
        return redirect(participation.advance(participant))
    return render(request, "annotation/ready.html", {"study": participant.rater.study, "participant": participant})


@require_http_methods(["GET", "HEAD", "POST"])
@step
def note(request: HtmxHttpRequest, participant: Participant, position: int) -> HttpResponse:
    """What the next post is about, before it is shown."""
    study = participant.rater.study
    task = get_object_or_404(participant.rater.ranking_tasks.select_related("prompt"), position=position)
    if task.skipped_at or participation.required_section(participant):
        return redirect(participation.next_url(participant))
    if request.method == "POST":
        return redirect(leave_note(request, participant, task))
    context = {"study": study, "participant": participant, "task": task, "topic": task.prompt.topic.replace("_", " ")}
    return render(request, "annotation/note.html", context)


def leave_note(request: HttpRequest, participant: Participant, task: RankingTask) -> str:
    study = participant.rater.study
    if request.POST.get("action") == "skip":
        participation.skip(task)
        return participation.advance(participant)
    if not participation.reclaim(task, study):
        participation.skip(task)
        messages.info(request, TAKEN)
        return participation.advance(participant)
    ranking = participation.begin_task(task, study)
    return participation.ranking_url(study, task, ranking.criterion) if ranking else participation.advance(participant)


def find_ranking(participant: Participant, position: int, key: str) -> Ranking | None:
    """The participant's ranking at that place, once they have come to it."""
    rankings = Ranking.objects.filter(task__rater=participant.rater, task__position=position, criterion__key=key)
    return rankings.select_related("task__prompt", "criterion__study").first()


def ranking_form(request: HttpRequest, ranking: Ranking) -> RankingForm:
    stored = {str(row.response_id): row.rank for row in ranking.ranked_responses.all()}
    return RankingForm(
        request.POST if request.method == "POST" else None,
        shown=list(ranking.task.task_responses.select_related("response").order_by("position")),
        ranks=ranking.draft or stored,
    )


@require_http_methods(["GET", "HEAD", "POST"])
@step
def rank(request: HtmxHttpRequest, participant: Participant, position: int, key: str) -> HttpResponse:
    ranking = find_ranking(participant, position, key)
    if ranking is None:
        return go(request, participation.next_url(participant))
    form = ranking_form(request, ranking)
    if form.is_valid():
        return go(request, submit(request, participant, ranking, form))
    return render_page(
        request,
        "annotation/rank.html",
        {"participant": participant, "form": form, **place_in_study(participant, ranking)},
        partial="ranking-form",
        status=422 if form.is_bound else 200,
    )


def submit(request: HttpRequest, participant: Participant, ranking: Ranking, form: RankingForm) -> str:
    study = participant.rater.study
    if not participation.reclaim(ranking.task, study):
        participation.skip(ranking.task)
        messages.info(request, TAKEN)
        return participation.advance(participant)
    ranking.submit(form.order)
    return participation.step_after(ranking, participant)


def place_in_study(participant: Participant, ranking: Ranking) -> dict[str, object]:
    """Where a ranking stands among all of the participant's, and what lies before it."""
    study = participant.rater.study
    criteria = participation.ranked_criteria(study)
    index = criteria.index(ranking.criterion)
    return {
        "study": study,
        "ranking": ranking,
        "task": ranking.task,
        "criterion": ranking.criterion,
        "number": (ranking.task.position - 1) * len(criteria) + index + 1,
        "total": study.tasks_per_participant * len(criteria),
        "previous": participation.ranking_url(study, ranking.task, criteria[index - 1]) if index else None,
        "last": index == len(criteria) - 1,
    }


@require_POST
@step
def draft(request: HtmxHttpRequest, participant: Participant, position: int, key: str) -> HttpResponse:
    """Keep an unfinished ranking."""
    ranking = find_ranking(participant, position, key)
    if ranking is None:
        return go(request, participation.next_url(participant))
    Ranking.objects.filter(pk=ranking.pk).update(draft=ranking_form(request, ranking).draft())
    return HttpResponse("Saved")


@require_safe
@participant_page
def debrief(request: HtmxHttpRequest, participant: Participant) -> HttpResponse:
    if participant.status != ParticipantStatus.COMPLETE:
        return redirect(participation.next_url(participant))
    context = {"study": participant.rater.study, "participant": participant, "anywhere": crisis.anywhere()}
    return render(request, "annotation/debrief.html", context)


@require_safe
@study_page
def get_help(request: HtmxHttpRequest, study: Study) -> HttpResponse:
    context = {
        "study": study,
        "participant": find_participant(request, study),
        "countries": crisis.countries(),
        "chosen": crisis.country(request.GET.get("country", "")),
        "anywhere": crisis.anywhere(),
    }
    return render(request, "annotation/study_help.html", context)


@require_safe
@participant_page
def pause(request: HtmxHttpRequest, participant: Participant) -> HttpResponse:
    address = request.build_absolute_uri(reverse("annotation:information", args=[participant.rater.study.slug]))
    context = {"study": participant.rater.study, "participant": participant, "address": address}
    return render(request, "annotation/pause.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@participant_page
def withdraw(request: HtmxHttpRequest, participant: Participant) -> HttpResponse:
    study, refused = participant.rater.study, None
    if request.method == "POST":
        try:
            participant.rater.withdraw()
        except StudyError:
            refused = "The study is finished and its data can no longer change."
        else:
            forget(request, study)
            return redirect("annotation:goodbye", slug=study.slug)
    context = {"study": study, "participant": participant, "refused": refused}
    return render(request, "annotation/withdraw.html", context, status=409 if refused else 200)


@require_safe
@study_page
def goodbye(request: HtmxHttpRequest, study: Study) -> HttpResponse:
    return render(request, "annotation/goodbye.html", {"study": study, "anywhere": crisis.anywhere()})
