"""Who may unblind a study, when, and what stays of it."""

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotation.models import AuditEvent, Study, StudyStatus
from tests.factories import make_study

pytestmark = pytest.mark.django_db
LIST = reverse("admin:annotation_study_changelist")


@pytest.fixture
def study():
    study = make_study(slug="care")
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    return study


def make_user(model, *codenames):
    user = model.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_study", "change_study", *codenames]))
    return user


def unblind(client, study):
    return client.post(LIST, {"action": "unblind_study", "_selected_action": [study.pk]}, follow=True)


def test_who_has_the_permission_unblinds_in_the_admin_once(client, study, django_user_model):
    user = make_user(django_user_model, "unblind_study")
    client.force_login(user)
    assert "is unblinded" in unblind(client, study).content.decode()
    study.refresh_from_db()
    assert study.unblinded_at
    assert AuditEvent.objects.filter(action="study.unblind", user=user, study=study).count() == 1
    assert "was unblinded before" in unblind(client, study).content.decode()


@pytest.mark.parametrize("codenames", [(), ("advance_study",)])
def test_who_may_change_or_lock_a_study_may_not_unblind_it(client, study, django_user_model, codenames):
    client.force_login(make_user(django_user_model, *codenames))
    unblind(client, study)
    assert Study.objects.get(pk=study.pk).unblinded_at is None


def test_a_study_that_is_not_locked_stays_blind(admin_client):
    study = make_study()
    assert "is not locked" in unblind(admin_client, study).content.decode()
    assert Study.objects.get(pk=study.pk).unblinded_at is None


def test_the_command_names_who_decided_it(study, admin_user, capsys):
    call_command("unblind_study", study="care", by=admin_user.username)
    assert capsys.readouterr().out == "study care is unblinded\n"
    assert AuditEvent.objects.get(action="study.unblind").user == admin_user


@pytest.mark.parametrize("name", ["vera", "nobody"])
def test_the_command_refuses_who_may_not(study, django_user_model, name):
    make_user(django_user_model, "advance_study")
    with pytest.raises(CommandError, match="may not unblind studies"):
        call_command("unblind_study", study="care", by=name)
    assert Study.objects.get(pk=study.pk).unblinded_at is None
