from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from annotation.api import router
from annotation.views import pages

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", pages.home, name="home"),
    path("help/", pages.get_help, name="get-help"),
    path("sign-in/", LoginView.as_view(redirect_authenticated_user=True), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("api/", include(router.urls)),
    path("", include("annotation.urls")),
]
