"""What people see when a page is not there, not theirs, or broken: a plain sentence, a way on, and a way to help."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from annotation.models import RaterKind
from tests.factories import make_clinician, make_study

pytestmark = pytest.mark.django_db


def told(response, status):
    html = response.content.decode()
    assert response.status_code == status
    assert "Get help now" in html
    assert f'href="{reverse("home")}"' in html
    return html


@pytest.mark.parametrize("address", ["/nowhere/", "/s/nowhere/"])
def test_a_page_that_is_not_there(client, address):
    assert "There is nothing here" in told(client.get(address), 404)


def test_a_page_for_the_team(client):
    client.force_login(User.objects.create_user("clinician"))
    assert "The admin site is for the study team." in told(client.get("/admin/login/"), 403)


def test_a_clinician_who_was_given_a_sight_of_the_systems(client):
    user = User.objects.create_user("clinician")
    make_clinician(make_study(slug="care"), user=user)
    client.force_login(user)
    assert client.get(reverse("annotation:clinic")).status_code == 200
    user.is_superuser = user.is_staff = True
    user.save()
    assert client.get(reverse("home")).url == reverse("admin:index")
    for name in ("clinic", "next-comparison", "clinic-summary", "judge", "verdict", "undo"):
        args = {"clinic": [], "next-comparison": ["care"], "clinic-summary": ["care"]}.get(name, ["care", 1])
        send = client.post if name in ("verdict", "undo") else client.get
        assert "so you cannot judge" in told(send(reverse(f"annotation:{name}", args=args)), 403)
    assert user.raters.filter(kind=RaterKind.CLINICIAN).exists()


def test_a_form_without_its_token():
    page = Client(enforce_csrf_checks=True).post(reverse("sign-in"), {"username": "kim"})
    assert "allow cookies for this site" in told(page, 403)


def test_a_fault_of_ours(client, monkeypatch):
    monkeypatch.setattr("annotation.crisis.countries", None)
    client.raise_request_exception = False
    told(client.get(reverse("get-help")), 500)
