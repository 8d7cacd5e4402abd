"""Withdrawal of a participant who has left, by the team: the command, and the page in the admin."""

import uuid

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotation.models import (
    Answer,
    AuditEvent,
    ItemKind,
    Membership,
    PanelLink,
    Participant,
    ParticipantStatus,
    QuestionnaireItem,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    Role,
    StudyStatus,
)
from tests.factories import make_clinician, make_participant, make_prompt, make_ranking, make_study, make_task
from training.models import PreferenceDataset, Run, RunKind

pytestmark = pytest.mark.django_db
LIST = reverse("admin:annotation_rater_changelist")


@pytest.fixture
def study():
    return make_study(slug="care")


@pytest.fixture
def participant(study):
    """Someone who came from a panel, answered a question, ranked on two criteria, and whose rankings were learned."""
    participant = make_participant(study)
    PanelLink.objects.create(study=study, participant=participant, hash="0" * 64)
    item = QuestionnaireItem.objects.create(
        study=study, key="age", position=1, section="You", text="How old?", kind=ItemKind.SINGLE
    )
    Answer.objects.create(rater=participant.rater, item=item, value="18")
    task = make_task(participant.rater, make_prompt(study, responses=3))
    for criterion in study.criteria.all():
        make_ranking(task, criterion)
    return participant


@pytest.fixture
def another(study):
    """Someone who stays, with a ranking and a run of their own."""
    another = make_participant(study)
    make_ranking(make_task(another.rater, make_prompt(study, responses=3)), study.criteria.first())
    learn(study, another, "of-another")
    return another


def learn(study, participant, name):
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash=f"{name:.8}-rest", path=name, pairs=1, rankings=1
    )
    dataset.raters.add(participant.rater)
    run = Run.objects.create(name=name, kind=RunKind.DPO)
    run.datasets.add(dataset)
    return run


@pytest.fixture
def learned(study, participant):
    """A run that learned from the participant, one made from it, and one made for that person."""
    run = learn(study, participant, "direct")
    heir = Run.objects.create(name="heir", kind=RunKind.MERGE)
    heir.parents.add(run)
    return [run, heir, Run.objects.create(name="personal", kind=RunKind.MERGE, rater=participant.rater)]


def withdraw(participant, **options):
    random_id = participant if isinstance(participant, str) else str(participant.public_id)
    call_command("withdraw_participant", **{"study": "care", "id": random_id, "by": "admin", **options})


def address(rater):
    return reverse("admin:annotation_rater_withdraw", args=[rater.pk])


def assert_nothing_happened(rater):
    assert not Rater.objects.get(pk=rater.pk).withdrawn_at
    assert not AuditEvent.objects.filter(action="rater.withdraw").exists()


def assert_withdrawn(participant, by):
    """As by the participant's own button, with the user in the trail."""
    rater = Rater.objects.get(pk=participant.pk)
    assert rater.withdrawn_at
    assert rater.participant.status == ParticipantStatus.WITHDRAWN
    given = (RankingTask.objects.filter(rater=rater), Answer.objects.filter(rater=rater))
    assert not any(rows.exists() for rows in given)
    assert not PanelLink.objects.filter(participant=participant).exists()
    event = AuditEvent.objects.get(action="rater.withdraw")
    assert (event.rater, event.user, event.study) == (rater, by, rater.study)


def test_without_yes_the_command_only_tells_what_would_be_done(admin_user, participant, another, learned, capsys):
    withdraw(participant)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"participant {participant} would be withdrawn",
        "  rankings deleted   2",
        "  answers deleted    1",
        "  marked as tainted  data set Empathy direct-r, run direct, run heir, run personal",
    ]
    assert told.err == "nothing was done: --yes does it, and cannot be undone\n"
    assert_nothing_happened(participant.rater)
    assert Ranking.objects.filter(task__rater=participant.rater).count() == 2


def test_with_yes_it_does_what_the_participants_own_button_does(admin_user, participant, another, learned, capsys):
    withdraw(participant, yes=True)
    told = capsys.readouterr()
    assert told.out.startswith(f"participant {participant} has withdrawn\n  rankings deleted   2\n")
    assert told.err == ""
    assert_withdrawn(participant, admin_user)
    assert {run.name for run in Run.objects.all() if run.is_tainted} == {run.name for run in learned}
    assert not another.rater.withdrawn_at
    assert Ranking.objects.get().task.rater == another.rater


def test_what_would_be_tainted_is_what_is_tainted(admin_user, participant, another, learned, capsys):
    withdraw(participant)
    foreseen = capsys.readouterr().out.splitlines()[-1]
    withdraw(participant, yes=True)
    tainted = [str(run) for run in Run.objects.order_by("pk") if run.is_tainted]
    assert [name.removeprefix("run ") for name in foreseen.split(", ")[1:]] == tainted


def test_a_participant_from_whom_nothing_learned_taints_nothing(admin_user, participant, another, capsys):
    withdraw(participant, yes=True)
    assert capsys.readouterr().out.endswith("marked as tainted  nothing\n")
    assert not any(run.is_tainted for run in Run.objects.all())


def test_a_random_id_is_read_however_it_was_copied(admin_user, participant):
    withdraw(f" {participant.public_id.hex.upper()} ", yes=True)
    assert_withdrawn(participant, admin_user)


@pytest.mark.parametrize("random_id", [str(uuid.UUID(int=1)), "1234", ""])
def test_an_unknown_id_is_named(admin_user, participant, random_id):
    with pytest.raises(CommandError, match=f"--id {random_id}: study care has no participant of that random id"):
        withdraw(random_id, yes=True)
    assert_nothing_happened(participant.rater)


def test_an_id_of_another_study_is_unknown_here(admin_user, study):
    elsewhere = make_participant(make_study())
    with pytest.raises(CommandError, match="study care has no participant of that random id"):
        withdraw(elsewhere, yes=True)
    assert_nothing_happened(elsewhere.rater)


@pytest.mark.parametrize(("make", "kind"), [(make_clinician, "clinician"), (make_participant, "participant")])
def test_a_name_is_no_random_id(admin_user, study, make, kind):
    made = make(study)
    with pytest.raises(CommandError, match=f"--id {made}: that names a {kind}: give the random id"):
        withdraw(str(made), yes=True)
    assert not AuditEvent.objects.exists()


def test_who_has_withdrawn_cannot_do_so_again(admin_user, participant):
    participant.rater.withdraw()
    with pytest.raises(CommandError, match=r"withdrew on \d{4}-\d\d-\d\d: there is nothing left to delete"):
        withdraw(participant, yes=True)
    assert AuditEvent.objects.filter(action="rater.withdraw").count() == 1


@pytest.mark.parametrize("yes", [True, False])
def test_a_closed_study_lets_go_and_a_locked_one_does_not(admin_user, study, participant, another, yes):
    study.advance(StudyStatus.CLOSED)
    withdraw(another, yes=True)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="study care is locked: its data can no longer change"):
        withdraw(participant, yes=yes)
    assert not Rater.objects.get(pk=participant.pk).withdrawn_at


@pytest.mark.parametrize("name", ["vera", "nobody"])
def test_the_command_asks_for_a_user_who_may(study, participant, name):
    Membership.objects.admit(study, User.objects.create_user("vera"), Role.RESEARCHER)
    with pytest.raises(CommandError, match=f"user '{name}' is unknown or may not withdraw a rater of this study"):
        withdraw(participant, by=name, yes=True)
    assert_nothing_happened(participant.rater)


def enter(client, user):
    client.force_login(user)
    return client


@pytest.fixture
def manager(client, study):
    """An admin of the study, not of the site."""
    user = User.objects.create_user("manager")
    Membership.objects.admit(study, user, Role.ADMIN)
    return enter(client, user)


def choose(client, *raters):
    chosen = {"action": "withdraw_participant", "_selected_action": [rater.pk for rater in raters]}
    return client.post(LIST, chosen, follow=True)


def test_the_team_finds_a_participant_by_the_random_id(manager, participant, another):
    listed = manager.get(LIST, {"q": str(participant.public_id)}).context["cl"].result_list
    assert list(listed) == [participant.rater]


def test_the_action_leads_to_a_page_that_says_what_it_means(manager, participant, another, learned):
    response = choose(manager, participant.rater)
    assert response.redirect_chain == [(address(participant.rater), 302)]
    page = response.content.decode()
    assert "2 rankings and 1 answer are deleted now" in page
    assert "marked as tainted: data set Empathy direct-r, run direct, run heir, run personal." in page
    assert str(participant.public_id) not in page
    assert (
        "No data set and no run learned from them."
        in manager.get(address(make_participant(another.rater.study).rater)).content.decode()
    )
    assert "Select one rater: you selected 2." in choose(manager, participant.rater, another.rater).content.decode()
    assert_nothing_happened(participant.rater)


def test_with_the_random_id_the_participant_is_withdrawn(manager, participant, another):
    page = manager.post(address(participant.rater), {"random_id": str(participant.public_id)}, follow=True)
    assert page.redirect_chain == [(LIST, 302)]
    assert f"{participant} has withdrawn." in page.content.decode()
    assert_withdrawn(participant, User.objects.get(username="manager"))
    assert Ranking.objects.get().task.rater == another.rater


@pytest.mark.parametrize("wrong", ["", "1234", "another"])
def test_without_the_participants_random_id_nothing_happens(manager, participant, another, wrong):
    typed = str(another.public_id) if wrong == "another" else wrong
    response = manager.post(address(participant.rater), {"random_id": typed})
    assert response.status_code == 422
    assert 'aria-describedby="random_id-error"' in response.content.decode()
    assert_nothing_happened(participant.rater)


def imported(study):
    return Rater.objects.create(study=study, kind=RaterKind.PARTICIPANT, name="Imported")


@pytest.mark.parametrize(("make", "kind"), [(make_clinician, "clinician"), (imported, "participant")])
def test_a_rater_without_a_random_id_is_not_withdrawn_in_this_way(manager, study, make, kind):
    rater = make(study)
    assert f"{rater} is a {kind} without a random id" in choose(manager, rater).content.decode()
    assert_nothing_happened(rater)


def test_the_page_says_in_one_line_why_it_cannot_be_done(manager, study, participant, another):
    another.rater.withdraw()
    typed = {"random_id": str(another.public_id)}
    assert (
        "there is nothing left to delete" in manager.post(address(another.rater), typed, follow=True).content.decode()
    )
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    typed = {"random_id": str(participant.public_id)}
    page = manager.post(address(participant.rater), typed, follow=True).content.decode()
    assert "Study care is locked: its data can no longer change" in page
    assert not Rater.objects.get(pk=participant.pk).withdrawn_at


@pytest.mark.parametrize(
    ("role", "status"), [(Role.RESEARCHER, 403), (Role.MONITOR, 404), (Role.ADMIN, 302), (None, 302)]
)
def test_only_who_manages_the_study_reaches_the_page(client, study, participant, role, status):
    user = User.objects.create_user("vera")
    if role:
        Membership.objects.admit(study, user, role)
    enter(client, user)
    answer = client.post(address(participant.rater), {"random_id": str(participant.public_id)})
    assert answer.status_code == status
    assert bool(Rater.objects.get(pk=participant.pk).withdrawn_at) == (role == Role.ADMIN)


@pytest.mark.parametrize(("codenames", "may"), [(["view_rater"], False), (["view_rater", "withdraw_rater"], True)])
def test_the_permission_offers_the_action(client, participant, codenames, may):
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    enter(client, user)
    assert ("withdraw_participant" in client.get(LIST).content.decode()) == may
    assert client.get(address(participant.rater)).status_code == (200 if may else 403)


def test_the_page_knows_no_rater_of_another_study_and_no_other_method(manager, participant):
    elsewhere = make_participant(make_study())
    assert manager.get(address(elsewhere.rater)).status_code == 404
    assert manager.put(address(participant.rater)).status_code == 405
    assert Participant.objects.exclude(status=ParticipantStatus.ACTIVE).count() == 0
