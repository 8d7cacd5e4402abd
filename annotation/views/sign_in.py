"""Signing in: name and password, then a code; and how long it lasts."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django_otp import login as remember_device
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice

from annotation import lockout, second_factor, sessions
from annotation.forms.sign_in import CodeForm, SetUpForm
from annotation.second_factor import Offer
from annotation.sign_in import next_page

# So long after signing in, a recovery code speaks for who sets up another phone.
PAPER_SECONDS = 15 * 60


class SigningInRequest(HttpRequest):
    user: User
    let_in: bool


class SignInView(LoginView):
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: object) -> dict[str, object]:
        context = super().get_context_data(**kwargs)
        return {**context, "ended": "ended" in self.request.GET, "idle_minutes": settings.IDLE_SECONDS // 60}


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def enter_code(request: SigningInRequest) -> HttpResponse:
    """The second step of signing in."""
    if second_factor.is_verified(request):
        return redirect(next_page(request))
    form = CodeForm(request.POST if request.method == "POST" else None, user=request.user)
    if form.is_bound and is_kept_out(request):
        form = CodeForm(user=request.user)
    elif form.is_valid() and form.device:
        if isinstance(form.device, StaticDevice):
            warn_of_paper(request)
        return let_in(request, form.device, redirect(next_page(request)))
    elif form.has_error("code", "wrong"):
        lockout.count_failure(request, request.user)
    context = {"form": form, "next": next_page(request)}
    return render(request, "registration/enter_code.html", context, status=422 if form.is_bound else 200)


def is_kept_out(request: SigningInRequest) -> bool:
    """Whether no code is looked at now. In a browser that is known, nobody waits for codes that others got wrong."""
    if lockout.is_locked_out(request, request.user):
        return True
    if lockout.knows_browser(request, request.user):
        second_factor.stop_waiting(request.user)
    return False


def warn_of_paper(request: SigningInRequest) -> None:
    text = "You used a recovery code: {} left. If your phone is gone, <a href='{}'>set up another one</a>."
    left = second_factor.recovery_codes_left(request.user)
    messages.warning(request, format_html(text, left, reverse("set-up-code")))


def let_in(request: SigningInRequest, device: Device, response: HttpResponse) -> HttpResponse:
    """The response, to a session that the device opens, in a browser that is known from now on."""
    request.session.cycle_key()
    remember_device(request, device)
    lockout.forget_failures(request, request.user)
    lockout.mark_browser(request, response, request.user)
    return response


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def set_up_code(request: SigningInRequest) -> HttpResponse:
    """A second factor for who has none, or another one for who proves the one in use."""
    if second_factor.is_set_up(request.user) and not second_factor.is_verified(request):
        return redirect("sign-in-code")
    offered = Offer.of(request.user, request.POST["offer"]) if "offer" in request.POST else None
    offer = offered or Offer.new(request.user)
    asks_old_code = second_factor.is_verified(request) and not comes_by_paper(request)
    form = SetUpForm(request.POST if offered else None, offer=offer, asks_old_code=asks_old_code)
    if form.is_bound and is_kept_out(request):
        form = SetUpForm(offer=offer, asks_old_code=asks_old_code)
    elif form.is_valid():
        # Not a redirect: the codes are shown this once, and stand nowhere.
        shown = {"codes": offer.take_up(), "next": next_page(request)}
        return let_in(request, offer.device, render(request, "registration/recovery_codes.html", shown))
    elif form.has_error("old_code", "wrong"):
        lockout.count_failure(request, request.user)
    context = {"form": form, "offer": offer, "next": next_page(request)}
    return render(request, "registration/set_up_code.html", context, status=422 if form.is_bound else 200)


def comes_by_paper(request: SigningInRequest) -> bool:
    """Whether a recovery code has just opened this session: that was the proof, and the phone may be gone."""
    device = getattr(request.user, "otp_device", None)
    return isinstance(device, StaticDevice) and sessions.age(request.session) < PAPER_SECONDS


@never_cache
@require_safe
def signed_in_again(request: HttpRequest) -> HttpResponse:
    """For who signed in once more beside a page that waits."""
    return render(request, "registration/signed_in_again.html")


@never_cache
@require_http_methods(["GET", "POST"])
def session_time(request: SigningInRequest) -> HttpResponse:
    """Seconds that the session lasts, as JSON. Asking does not make them more, posting does."""
    if not request.let_in:
        return JsonResponse({"seconds": 0, "can_extend": False})
    if request.method == "POST":
        sessions.touch(request.session, precision=0)
    left = sessions.remaining(request.session)
    return JsonResponse({"seconds": left.seconds, "can_extend": left.can_extend})


@never_cache
@require_safe
def admin_login(request: HttpRequest) -> HttpResponse:
    """The admin has no door of its own."""
    if request.user.is_authenticated:
        raise PermissionDenied("The admin site is for the study team.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
