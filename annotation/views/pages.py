"""The pages that belong to no study: the door, and help."""

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from annotation import crisis
from annotation.models import Rater, RaterKind
from annotation.roles import sees_systems


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Everyone to where their work is; a visitor learns that a study has its own address."""
    user = request.user
    if isinstance(user, User):
        judges = Rater.objects.active().filter(user=user, kind=RaterKind.CLINICIAN).exists()
        if judges and not sees_systems(user):
            return redirect("annotation:clinic")
        if user.is_staff:
            return redirect("admin:index")
    return render(request, "annotation/home.html")


@require_safe
def get_help(request: HttpRequest) -> HttpResponse:
    """Crisis resources, one country's first when ?country= names it."""
    chosen = crisis.country(request.GET.get("country", ""))
    return render(
        request,
        "annotation/get_help.html",
        {"countries": crisis.countries(), "chosen": chosen, "anywhere": crisis.anywhere()},
    )
