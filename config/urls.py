from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from annotation.api import router
from annotation.views import pages, sign_in

urlpatterns = [
    path("admin/login/", sign_in.admin_login),
    path("admin/", admin.site.urls),
    path("", pages.home, name="home"),
    path("help/", pages.get_help, name="get-help"),
    path("sign-in/", sign_in.SignInView.as_view(), name="sign-in"),
    path("sign-in/code/", sign_in.enter_code, name="sign-in-code"),
    path("sign-in/set-up/", sign_in.set_up_code, name="set-up-code"),
    path("sign-in/again/", sign_in.signed_in_again, name="signed-in-again"),
    path("sign-in/time/", sign_in.session_time, name="session-time"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("api/", include(router.urls)),
    path("", include("annotation.urls")),
]
