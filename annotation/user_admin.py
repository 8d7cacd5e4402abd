"""Users in Django's admin: who lost a phone, who is locked out, who needs a token for scripts. For superusers alone."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.authtoken.models import Token, TokenProxy

from annotation import api_tokens, lockout, second_factor, user_trail

# They would show secrets.
for secret in (TOTPDevice, StaticDevice, TokenProxy):
    admin.site.unregister(secret)
admin.site.unregister(User)


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    list_display = ["username", "is_active", "is_staff", "is_superuser", "phone", "token", "last_login"]
    actions = ["reset_second_factor", "let_in_again", "issue_token", "revoke_token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = super().get_queryset(request)
        of_it = {"user": OuterRef("pk")}
        return users.annotate(
            has_phone=Exists(TOTPDevice.objects.filter(**of_it)), has_token=Exists(Token.objects.filter(**of_it))
        )

    @admin.display(boolean=True, description="second factor")
    def phone(self, user: Any) -> bool:
        return bool(user.has_phone)

    @admin.display(boolean=True, description="API token")
    def token(self, user: Any) -> bool:
        return bool(user.has_token)

    def has_rescue_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    @admin.action(description="Reset the second factor (lost phone)", permissions=["rescue"])
    def reset_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users:
            if second_factor.reset(user):
                self.keep(request, user, "second_factor.reset")
        self.message_user(request, "Whoever was selected sets up a phone at the next sign-in.", messages.SUCCESS)

    @admin.action(description="Let in again after wrong passwords or codes", permissions=["rescue"])
    def let_in_again(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users:
            if lockout.let_in_again(user):
                self.keep(request, user, "lock_out.lift")
        self.message_user(request, "Whoever was selected can sign in again.", messages.SUCCESS)

    @admin.action(description="Make an API token, in place of any before", permissions=["rescue"])
    def issue_token(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        user = users.get() if len(users) == 1 else None
        if user is None or not user.is_staff:
            self.message_user(request, "Select one user who may enter the admin site.", messages.WARNING)
            return None
        with transaction.atomic():
            key = api_tokens.issue(user)
            self.keep(request, user, "api_token.issue")
        context = {**self.admin_site.each_context(request), "title": f"API token of {user}", "key": key}
        response = TemplateResponse(request, "admin/auth/user/token.html", {**context, "opts": self.opts})
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke the API token", permissions=["rescue"])
    def revoke_token(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users:
            if Token.objects.filter(user=user).delete()[0]:
                self.keep(request, user, "api_token.revoke")
        self.message_user(request, "Tokens of whoever was selected open nothing any more.", messages.SUCCESS)

    def keep(self, request: HttpRequest, user: User, action: str) -> None:
        user_trail.keep(user, action, by=cast("User", request.user))
