"""A clinician's path: studies, one pair after the other, done.

Pages are addressed by the clinician's own positions, never by ids, and hold nothing that could tell the systems apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url, reswap, retarget

from annotation.comparisons import displayed
from annotation.forms.clinician import CompleteVerdictsForm, FlagForm, VerdictsForm
from annotation.models import Assignment, Choice, Rater, RaterKind, SafetyFlag, StudyStatus, Verdict
from annotation.models.rater import RaterQuerySet
from config.pages import HtmxHttpRequest, render_page


class SignedInRequest(HtmxHttpRequest):
    user: User


@dataclass(frozen=True)
class Progress:
    """How many pairs a rater has and has submitted. Practice pairs are not counted."""

    rater: Rater
    total: int
    done: int


@dataclass(frozen=True)
class Feedback:
    """A practice pair on one criterion: the clinician's verdict beside the study team's, as sides of the page."""

    criterion: str
    given: str
    expected: str
    explanation: str


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
    assignments = rater.assignments.visible()
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
        return lead_on(request, assignment)
    status = 422 if form.is_bound else 200
    context = page_of(assignment, form)
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
@require_POST
def flag(request: SignedInRequest, slug: str, position: int) -> HttpResponse:
    """Keep a safety flag, or take one back."""
    assignment = get_object_or_404(Assignment.objects.of_clinician(request.user, slug), position=position)
    if "remove" in request.POST:
        form = FlagForm(assignment=assignment)
        kept = form.remove(request.POST["remove"])
    else:
        form = FlagForm(request.POST, assignment=assignment)
        kept = form.is_valid() and form.save()
    if kept and not request.htmx:
        return redirect("annotation:judge", slug, position)
    context = page_of(
        assignment, VerdictsForm(assignment=assignment), FlagForm(assignment=assignment) if kept else form
    )
    status = 200 if kept else 422
    return render_page(request, "annotation/clinician/judge.html", context, partial="flags", status=status)


@never_cache
@login_required
@require_safe
def done(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the clinician has done so far, at any time."""
    rater = get_object_or_404(clinicians(request.user), study__slug=slug)
    (part,) = progress([rater])
    pairs = list(rater.assignments.visible().submitted().filter(comparison__calibration=False))
    times = [pair.seconds for pair in pairs if pair.seconds is not None]
    given = Verdict.objects.filter(assignment__in=pairs)
    context = {
        "part": part,
        "study": rater.study,
        "pairs": pairs,
        "median": in_words(median(times)) if times else None,
        "ties": given.filter(choice=Choice.TIE).count(),
        "cannot": given.filter(choice=Choice.CANNOT).count(),
        "flags": SafetyFlag.objects.filter(assignment__in=pairs).count(),
    }
    return render(request, "annotation/clinician/done.html", context)


def clinicians(user: User) -> RaterQuerySet:
    """The user's raters, one a study."""
    return Rater.objects.active().filter(user=user, kind=RaterKind.CLINICIAN).select_related("study")


def progress(raters: Iterable[Rater]) -> list[Progress]:
    given = Assignment.objects.visible().filter(rater__in=raters, comparison__calibration=False)
    rows = given.values("rater").order_by("rater").annotate(total=Count("pk"), done=Count("submitted_at"))
    counts = {row["rater"]: row for row in rows}
    none = {"total": 0, "done": 0}
    return [
        Progress(rater, total=counts.get(rater.pk, none)["total"], done=counts.get(rater.pk, none)["done"])
        for rater in raters
    ]


def page_of(assignment: Assignment, form: VerdictsForm, flag_form: FlagForm | None = None) -> dict[str, Any]:
    """All that the page of a pair shows."""
    calibration = assignment.comparison.calibration
    alike = assignment.rater.assignments.visible().filter(comparison__calibration=calibration)
    (part,) = progress([assignment.rater])
    return {
        "study": assignment.comparison.study,
        "part": part,
        "assignment": assignment,
        "number": alike.filter(position__lte=assignment.position).count(),
        "practice": alike.count() if calibration else 0,
        "feedback": feedback(assignment),
        "form": form,
        "flag_form": flag_form or FlagForm(assignment=assignment),
        "flags": assignment.flags.order_by("pk"),
        "prompt": displayed(assignment.comparison.response_a.prompt.text),
        "left": displayed(assignment.left.text),
        "right": displayed(assignment.right.text),
    }


def feedback(assignment: Assignment) -> list[Feedback]:
    """Of a practice pair that was submitted; empty of any other."""
    if not assignment.comparison.calibration or not assignment.submitted_at:
        return []
    seen = {Choice.LEFT: "A", Choice.TIE: "Tie", Choice.RIGHT: "B", Choice.CANNOT: "Cannot judge"}
    given = {verdict.criterion_id: seen[Choice(verdict.choice)] for verdict in assignment.verdicts.all()}
    sides = {"tie": "Tie", "A": "A" if assignment.a_on_left else "B", "B": "B" if assignment.a_on_left else "A"}
    return [
        Feedback(row.criterion.name, given.get(row.criterion_id, "None"), sides[row.winner], row.explanation)
        for row in assignment.comparison.reference_verdicts.select_related("criterion")
    ]


def lead_on(request: SignedInRequest, assignment: Assignment) -> HttpResponse:
    """To what comes after a submitted pair: after practice its feedback, else the next pair.

    To htmx the next pair itself is the reply, so that it stands on the page after one round trip.
    """
    slug = assignment.comparison.study.slug
    waiting = Assignment.objects.of_clinician(request.user, slug).pending().order_by("position")
    following = assignment if assignment.comparison.calibration else waiting.first()
    if not request.htmx or following is None:
        url = reverse("annotation:judge", args=[slug, following.position]) if following else ""
        return go_to(request, url or reverse("annotation:clinic-done", args=[slug]))
    context = {**page_of(following, VerdictsForm(assignment=following)), "arrives": True}
    response = render_page(request, "annotation/clinician/judge.html", context, partial="pair")
    retarget(reswap(response, "outerHTML"), ".judge")
    return push_url(response, reverse("annotation:judge", args=[slug, following.position]))


def go_to(request: SignedInRequest, url: str) -> HttpResponse:
    """A redirect that moves the whole page, also where htmx asked for a part of it."""
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    words = [f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in ((minutes, "minute"), (rest, "second")) if n]
    return " ".join(words) or "less than a second"
