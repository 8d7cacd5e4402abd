"""Who may lock and unblind a study, when, and what stays of it."""

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotation.models import AuditEvent, Study, StudyStatus
from tests.factories import make_study

pytestmark = pytest.mark.django_db
LIST = reverse("admin:annotation_study_changelist")
PAGES = {"unblind_study": "admin:annotation_study_unblind", "lock_study": "admin:annotation_study_lock"}


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
    return act(client, study, "unblind_study", study.slug)


def act(client, study, action, typed):
    """Choose the action, then type what its page asks for."""
    client.post(LIST, {"action": action, "_selected_action": [study.pk]})
    return client.post(reverse(PAGES[action], args=[study.pk]), {"slug": typed}, follow=True)


def test_who_has_the_permission_unblinds_in_the_admin_once(client, study, django_user_model):
    user = make_user(django_user_model, "unblind_study")
    client.force_login(user)
    assert "is now unblinded" in unblind(client, study).content.decode()
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


def test_the_action_leads_to_a_page_that_says_what_it_means(admin_client, study):
    chosen = {"action": "unblind_study", "_selected_action": [study.pk]}
    response = admin_client.post(LIST, chosen, follow=True)
    assert response.redirect_chain == [(reverse(PAGES["unblind_study"], args=[study.pk]), 302)]
    assert "cannot be undone" in response.content.decode()
    chosen["_selected_action"].append(make_study().pk)
    assert "Select one study" in admin_client.post(LIST, chosen, follow=True).content.decode()
    assert not AuditEvent.objects.filter(action="study.unblind").exists()


@pytest.mark.parametrize("typed", ["", "Care", "another"])
def test_without_the_right_short_name_nothing_happens(admin_client, study, typed):
    assert act(admin_client, study, "unblind_study", typed).status_code == 422
    assert Study.objects.get(pk=study.pk).unblinded_at is None


def test_a_lock_in_the_admin_asks_too_and_keeps_the_hash(admin_client, admin_user):
    study = make_study(status=StudyStatus.CLOSED)
    assert act(admin_client, study, "lock_study", "no").status_code == 422
    assert "is now locked" in act(admin_client, study, "lock_study", study.slug).content.decode()
    study.refresh_from_db()
    assert study.status == StudyStatus.LOCKED
    assert study.data_sha256
    assert AuditEvent.objects.get(action="study.locked").user == admin_user
    assert "is locked: it stays so" in act(admin_client, study, "lock_study", study.slug).content.decode()


def test_the_pages_know_no_study_that_is_not_there_and_no_other_method(admin_client):
    for name in PAGES.values():
        assert admin_client.get(reverse(name, args=[99])).status_code == 404
        assert admin_client.put(reverse(name, args=[make_study().pk])).status_code == 405


def test_a_command_takes_a_study_on_step_by_step(admin_user, capsys):
    study = make_study(slug="care", status=StudyStatus.DRAFT)
    for status in ("open", "closed", "locked"):
        call_command("advance_study", study="care", to=status, by="admin")
    study.refresh_from_db()
    assert capsys.readouterr().out.splitlines() == [
        *(f"study care is {status}" for status in ("open", "closed", "locked")),
        f"sha256 of its data  {study.data_sha256}",
    ]
    assert AuditEvent.objects.filter(action__startswith="study.", user=admin_user).count() == 3
    with pytest.raises(CommandError, match="study care is locked: it stays so"):
        call_command("advance_study", study="care", to="open", by="admin")


def test_the_command_asks_who_decided(study, django_user_model):
    make_user(django_user_model, "unblind_study")
    with pytest.raises(CommandError, match="may not advance this study"):
        call_command("advance_study", study="care", to="closed", by="vera")


@pytest.mark.parametrize("name", ["vera", "nobody"])
def test_the_command_refuses_who_may_not(study, django_user_model, name):
    make_user(django_user_model, "advance_study")
    with pytest.raises(CommandError, match="may not unblind this study"):
        call_command("unblind_study", study="care", by=name)
    assert Study.objects.get(pk=study.pk).unblinded_at is None
