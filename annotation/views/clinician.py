"""A clinician's path: studies, one pair after the other, done.

Pages are addressed by the clinician's own positions, never by ids, and hold nothing that could tell the systems apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from annotation.comparisons import displayed
from annotation.forms.clinician import CompleteVerdictsForm, VerdictsForm
from annotation.models import Assignment, Rater, RaterKind, StudyStatus
from annotation.models.rater import RaterQuerySet
from config.pages import HtmxHttpRequest, render_page


class SignedInRequest(HtmxHttpRequest):
    user: User


@dataclass(frozen=True)
class Progress:
    rater: Rater
    total: int
    done: int


@never_cache
@login_required
@require_safe
def clinic(request: SignedInRequest) -> HttpResponse:
    """The clinician's studies; straight to the pairs where there is just one."""
    parts = progress(clinicians(request.user))
    if len(parts) == 1 and parts[0].total:
        return redirect("annotation:next-comparison", parts[0].rater.study.slug)
    return render(request, "annotation/clinician/clinic.html", {"parts": parts})


@never_cache
@login_required
@require_safe
def next_comparison(request: SignedInRequest, slug: str) -> HttpResponse:
    rater = get_object_or_404(clinicians(request.user), study__slug=slug)
    assignments = rater.assignments.filter(presentation=1)
    if not assignments.exists():
        return render(request, "annotation/clinician/clinic.html", {"parts": progress([rater])})
    position = assignments.pending().values_list("position", flat=True).first()
    if position is None or rater.study.status == StudyStatus.LOCKED:
        return redirect("annotation:clinic-done", slug)
    return redirect("annotation:judge", slug, position)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: SignedInRequest, slug: str, position: int) -> HttpResponse:
    assignment = get_object_or_404(Assignment.objects.of_clinician(request.user, slug), position=position)
    study = assignment.comparison.study
    if study.status == StudyStatus.LOCKED:
        return render(request, "annotation/clinician/locked.html", {"study": study})
    form = CompleteVerdictsForm(request.POST if request.method == "POST" else None, assignment=assignment)
    if form.is_valid() and form.submit():
        return go_to(request, reverse("annotation:next-comparison", args=[slug]))
    (part,) = progress([assignment.rater])
    context = {"study": study, "part": part, "assignment": assignment, "form": form, **shown(assignment)}
    status = 422 if form.is_bound else 200
    return render_page(request, "annotation/clinician/judge.html", context, partial="verdicts-form", status=status)


@never_cache
@login_required
@require_POST
def verdict(request: SignedInRequest, slug: str, position: int) -> HttpResponse:
    """Keep what was chosen so far, as it is chosen."""
    assignment = get_object_or_404(Assignment.objects.of_clinician(request.user, slug), position=position)
    form = VerdictsForm(request.POST, assignment=assignment)
    kept = form.is_valid() and form.record()
    why = " ".join(str(error) for error in form.non_field_errors()) or "Reload the page and choose again."
    saved = f"Saved, {assignment.verdicts.count()} of {len(form.criteria)}" if kept else f"Not saved. {why}"
    return render(request, "annotation/clinician/judge.html#saved", {"saved": saved}, status=200 if kept else 422)


@never_cache
@login_required
@require_safe
def done(request: SignedInRequest, slug: str) -> HttpResponse:
    rater = get_object_or_404(clinicians(request.user), study__slug=slug)
    (part,) = progress([rater])
    if part.done < part.total and rater.study.status != StudyStatus.LOCKED:
        return redirect("annotation:next-comparison", slug)
    times = [a.seconds for a in rater.assignments.submitted() if a.seconds is not None]
    context = {"part": part, "study": rater.study, "median": in_words(median(times)) if times else None}
    return render(request, "annotation/clinician/done.html", context)


def clinicians(user: User) -> RaterQuerySet:
    """The user's raters, one a study."""
    return Rater.objects.active().filter(user=user, kind=RaterKind.CLINICIAN).select_related("study")


def progress(raters: Iterable[Rater]) -> list[Progress]:
    """How many pairs each rater has and has submitted."""
    given = Assignment.objects.filter(rater__in=raters, presentation=1).values("rater").order_by("rater")
    counts = {row["rater"]: row for row in given.annotate(total=Count("pk"), done=Count("submitted_at"))}
    none = {"total": 0, "done": 0}
    return [
        Progress(rater, total=counts.get(rater.pk, none)["total"], done=counts.get(rater.pk, none)["done"])
        for rater in raters
    ]


def shown(assignment: Assignment) -> dict[str, str]:
    return {
        "prompt": displayed(assignment.comparison.response_a.prompt.text),
        "left": displayed(assignment.left.text),
        "right": displayed(assignment.right.text),
    }


def go_to(request: SignedInRequest, url: str) -> HttpResponse:
    """A redirect that moves the whole page, also where htmx asked for a part of it."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    words = [f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in ((minutes, "minute"), (rest, "second")) if n]
    return " ".join(words) or "less than a second"
