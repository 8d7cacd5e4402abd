"""A clinician's path: studies, one pair after the other, done.

Pages are addressed by the clinician's own positions, never by ids, and hold nothing that could tell the systems apart.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import get_text_list
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url, retarget

from annotation.clinic import courses, feedback, spans, tally
from annotation.display import displayed, rendered
from annotation.forms.clinician import NOTE_ALONE, CompleteVerdictsForm, VerdictsForm
from annotation.models import Assignment, Criterion, Rater, RaterKind, StudyStatus
from annotation.models.rater import RaterQuerySet
from annotation.roles import sees_systems
from annotation.working_time import REST_PAIRS, REST_TIME, current_session, rest_is_due, work
from config.pages import HtmxHttpRequest, render_page

JUDGE = "annotation/clinician/judge.html"


class SignedInRequest(HtmxHttpRequest):
    user: User


def change_of_pair(view: Callable[[HtmxHttpRequest, Assignment], HttpResponse]) -> Callable[..., HttpResponse]:
    """Fetch the clinician's pair for what is done on its page. Whoever was signed out comes back to that page."""

    @wraps(view)
    @never_cache
    @require_POST
    def inner(request: HtmxHttpRequest, slug: str, position: int) -> HttpResponse:
        if not isinstance(request.user, User):
            return redirect_to_login(reverse("annotation:judge", args=[slug, position]))
        return view(request, pair_of(request.user, slug, position))

    return inner


@never_cache
@login_required
@require_safe
def clinic(request: SignedInRequest) -> HttpResponse:
    """The clinician's studies; straight to the pairs where there is just one."""
    parts = courses(clinicians(request.user))
    if len(parts) == 1 and parts[0].pairs:
        return redirect("annotation:next-comparison", parts[0].rater.study.slug)
    return render(request, "annotation/clinician/clinic.html", {"parts": parts})


@never_cache
@login_required
@require_safe
def next_comparison(request: SignedInRequest, slug: str) -> HttpResponse:
    rater = get_object_or_404(clinicians(request.user), study__slug=slug)
    (course,) = courses([rater])
    if not course.pairs:
        return render(request, "annotation/clinician/clinic.html", {"parts": [course]})
    if course.next is None or rater.study.status == StudyStatus.LOCKED:
        return redirect("annotation:clinic-summary", slug)
    return redirect("annotation:judge", slug, course.next.position)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: SignedInRequest, slug: str, position: int) -> HttpResponse:
    assignment = pair_of(request.user, slug, position)
    study = assignment.comparison.study
    if study.status == StudyStatus.LOCKED:
        locked = render(request, "annotation/clinician/locked.html", {"study": study})
        return HttpResponseClientRedirect(request.path) if request.htmx else locked
    form = CompleteVerdictsForm(request.POST if request.method == "POST" else None, assignment=assignment)
    if form.is_valid() and form.record():
        return lead_on(request, assignment)
    status = 422 if form.is_bound else 200
    response = render_page(request, JUDGE, page_of(assignment, form), partial="verdicts-form", status=status)
    return retarget(response, "#verdicts") if form.is_bound else response


@change_of_pair
def verdict(request: HtmxHttpRequest, assignment: Assignment) -> HttpResponse:
    """Keep what was chosen so far, as it is chosen."""
    form = VerdictsForm(request.POST, assignment=assignment)
    kept = form.is_valid() and form.record()
    given = f"Saved, {assignment.verdicts.count()} of {len(form.criteria)}"
    if request.htmx.target != "saved":
        return form_again(request, form, said=given)
    why = " ".join(str(error) for error in form.non_field_errors()) or "Reload the page and choose again."
    said = given if kept else f"Not saved. {why}"
    if kept and form.note_is_alone:
        said = f"{given}, but not the note. {NOTE_ALONE}"
    return render(request, f"{JUDGE}#saved", {"said": said}, status=200 if kept else 422)


@change_of_pair
def undo(request: HtmxHttpRequest, assignment: Assignment) -> HttpResponse:
    """Take the last change of a verdict back."""
    form = VerdictsForm(request.POST, assignment=assignment)
    taken_back = assignment.undo() if form.is_valid() and form.record() else []
    names = get_text_list([criterion.name for criterion in taken_back], "and")
    said = f"Taken back: {names}" if taken_back else "Nothing to take back"
    return form_again(request, form, said=said, focus=taken_back[:1])


@never_cache
@login_required
@require_safe
def summary(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the clinician has done so far, at any time."""
    rater = get_object_or_404(clinicians(request.user), study__slug=slug)
    (course,) = courses([rater])
    session = course.session(timezone.now())
    tallies = {"This session": tally(rater, session)} if len(session) < course.done else {}
    context = {
        "study": rater.study,
        "course": course,
        "tallies": {**tallies, "In all": tally(rater, course.judged)},
        "finished": course.next is None,
        "rest_pairs": REST_PAIRS,
        "rest_minutes": REST_TIME.seconds // 60,
    }
    return render(request, "annotation/clinician/summary.html", context)


def clinicians(user: User) -> RaterQuerySet:
    """The user's raters, one a study; refused to who was given a sight of the systems since."""
    stay_blind(user)
    return Rater.objects.active().filter(user=user, kind=RaterKind.CLINICIAN).select_related("study")


def pair_of(user: User, slug: str, position: int) -> Assignment:
    stay_blind(user)
    return get_object_or_404(Assignment.objects.of_clinician(user, slug), position=position)


def stay_blind(user: User) -> None:
    if sees_systems(user):
        raise PermissionDenied("You can look up which system wrote what, so you cannot judge. Ask the study team.")


def page_of(assignment: Assignment, form: VerdictsForm) -> dict[str, Any]:
    """All that the page of a pair shows."""
    (course,) = courses([assignment.rater])
    before, pair, after = course.around(assignment.position)
    session = [] if assignment.submitted_at else current_session(spans(course.judged), now=timezone.now())
    return {
        "study": assignment.comparison.study,
        "course": course,
        "assignment": assignment,
        "pair": pair,
        "before": before,
        "after": after,
        "rest": work(session) if rest_is_due(session) else None,
        "feedback": feedback(assignment),
        "form": form,
        "prompt": displayed(assignment.comparison.response_a.prompt.text),
        "left": rendered(assignment.left.text),
        "right": rendered(assignment.right.text),
    }


def form_again(
    request: HtmxHttpRequest, form: VerdictsForm, *, said: str, focus: Sequence[Criterion] = ()
) -> HttpResponse:
    """The pair as it is kept now, or why it could not be."""
    assignment = form.assignment
    if form.errors:
        return render_page(request, JUDGE, page_of(assignment, form), partial="verdicts-form", status=422)
    if not request.htmx:
        return redirect("annotation:judge", assignment.comparison.study.slug, assignment.position)
    stored = VerdictsForm(assignment=assignment)
    context = {**page_of(assignment, stored), "said": said, "focus": [criterion.name for criterion in focus]}
    return render_page(request, JUDGE, context, partial="verdicts-form")


def lead_on(request: SignedInRequest, assignment: Assignment) -> HttpResponse:
    """To what comes after a submitted pair: after practice its feedback, else the next pair.

    To htmx the next pair itself is the reply, so that it stands on the page after one round trip. It is made at that
    moment, not before, so `shown` is the time of its first sight.
    """
    study = assignment.comparison.study
    (course,) = courses([assignment.rater])
    if not assignment.comparison.calibration:
        if course.next is None:
            return go_to(request, reverse("annotation:clinic-summary", args=[study.slug]))
        following = Assignment.objects.of_clinician(request.user, study.slug)
        assignment = following.get(position=course.next.position)
    url = reverse("annotation:judge", args=[study.slug, assignment.position])
    if not request.htmx:
        return redirect(url)
    context = {**page_of(assignment, VerdictsForm(assignment=assignment)), "arrives": True}
    response = render_page(request, JUDGE, context, partial="pair")
    return response if url == request.path else push_url(response, url)


def go_to(request: SignedInRequest, url: str) -> HttpResponse:
    """A redirect that moves the whole page, also where htmx asked for a part of it."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
