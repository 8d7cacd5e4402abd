"""What each role reaches, in its own study and in no other."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from annotation import api_tokens
from annotation.errors import StudyError
from annotation.models import Choice, JudgingDesign, Membership, Role, StudyStatus
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_prompt,
    make_study,
    make_system,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study(slug="ours")


@pytest.fixture
def other():
    return make_study(slug="theirs")


def member(client, study, role):
    user = User.objects.create_user(role)
    Membership.objects.admit(study, user, role)
    client.force_login(user)
    return user


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.RESEARCHER, {"study": 200, "response": 200, "run": 200, "auditevent": 403, "verdictevent": 403}),
        (Role.MONITOR, {"study": 200, "response": 403, "run": 403, "auditevent": 200, "verdictevent": 200}),
        (Role.ADMIN, {"study": 200, "response": 200, "run": 200, "auditevent": 200, "verdictevent": 200}),
    ],
)
def test_a_role_opens_what_it_needs_and_no_more(client, study, role, may):
    member(client, study, role)
    for model, status in may.items():
        address = reverse(f"admin:{'training' if model == 'run' else 'annotation'}_{model}_changelist")
        assert client.get(address).status_code == status, model


@pytest.mark.parametrize("role", list(Role))
def test_a_role_reaches_its_own_study_alone(client, study, other, role):
    user = member(client, study, role)
    listed = client.get(reverse("admin:annotation_study_changelist")).content.decode()
    assert study.title in listed
    assert other.title not in listed
    for where, status in ((study, 200), (other, 302)):
        assert client.get(reverse("admin:annotation_study_change", args=[where.pk])).status_code == status
        assert user.has_perm("annotation.view_study", where) == (status == 200)


def pages_of(study):
    """What the admin offers of a study: its report and exports, steps, design, records."""
    design = JudgingDesign.objects.create(study=study, name="main", prompts=1)
    prompt, system, rater = make_prompt(study), make_system(study), make_clinician(study)
    comparison = make_comparison(prompt, system, make_system(study))
    design.comparisons.add(comparison)
    make_assignment(comparison, rater).submit(dict.fromkeys(study.criteria.all(), Choice.TIE))
    report, records = "admin:evaluation_studyreport", "admin:annotation"
    yield f"{report}_change", [study.pk]
    yield f"{report}_page", [study.pk, "overview"]
    yield f"{report}_whole", [study.pk]
    for kind in ("figure_svg", "figure_pdf"):
        yield f"{report}_{kind}", [study.pk, "overview", "agreement"]
    for kind in ("table_csv", "table_tex"):
        yield f"{report}_{kind}", [study.pk, "raters", "raters"]
    for page in ("change", "history", "delete", "lock", "unblind"):
        yield f"{records}_study_{page}", [study.pk]
    for page in ("change", "phrases", "open", "discard"):
        yield f"{records}_judgingdesign_{page}", [design.pk]
    for record in (prompt, prompt.responses.first(), system, rater):
        yield f"{records}_{record._meta.model_name}_change", [record.pk]


@pytest.mark.parametrize("role", list(Role))
def test_no_page_of_another_study_opens(client, study, other, role):
    member(client, study, role)
    index = reverse("admin:index")
    for name, arguments in pages_of(other):
        address = reverse(name, args=arguments)
        for answer in (client.get(address), client.post(address, {"slug": "theirs", "post": "yes"})):
            assert answer.status_code in {403, 404, 405} or answer.url == index, address
    adding = f"{reverse('admin:annotation_judgingdesign_add')}?study={other.pk}"
    assert client.get(adding).status_code in {403, 404}
    other.refresh_from_db()
    assert (other.status, other.designs.count()) == (StudyStatus.OPEN, 1)


def test_a_researcher_reads_those_pages_of_the_own_study(client, study):
    member(client, study, Role.RESEARCHER)
    closed = ("_delete", "_lock", "_unblind", "_open", "_discard")
    for name, arguments in pages_of(study):
        assert (client.get(reverse(name, args=arguments)).status_code == 200) != name.endswith(closed), name


def test_a_monitor_reads_protocol_report_and_trail_and_no_more(client, study):
    member(client, study, Role.MONITOR)
    opened = {
        model.__name__
        for model, its_admin in admin.site._registry.items()
        if client.get(reverse(f"admin:{its_admin.opts.app_label}_{its_admin.opts.model_name}_changelist")).status_code
        == 200
    }
    assert opened == {"Study", "StudyReport", "AuditEvent", "VerdictEvent"}
    closed = ("prompt", "response", "system", "rater", "judgingdesign")
    for name, arguments in pages_of(study):
        if any(f"_{record}_" in name for record in closed):
            assert client.get(reverse(name, args=arguments)).status_code in {403, 405}, name
    assert client.get(reverse("api-prompt-list", args=["ours"])).status_code == 403
    assert client.get(reverse("api-ranking-list", args=["ours"])).status_code == 403


def test_a_monitor_is_not_told_of_systems_by_the_trail(client, study):
    member(client, study, Role.MONITOR)
    event = study.auditevent_set.create(action="responses.import", subject="responses", new={"system": "MODPO"})
    page = client.get(reverse("admin:annotation_auditevent_change", args=[event.pk]))
    assert page.status_code == 200
    assert b"MODPO" not in page.content


@pytest.mark.parametrize(("role", "may"), [(Role.RESEARCHER, False), (Role.MONITOR, False), (Role.ADMIN, True)])
def test_an_admin_of_the_study_alone_advances_and_unblinds_it(client, study, other, role, may):
    user = member(client, study, role)
    for permission in ("annotation.advance_study", "annotation.unblind_study", "annotation.change_study"):
        assert user.has_perm(permission, study) == may
        assert not user.has_perm(permission, other)


def test_a_clinician_of_the_study_takes_no_role_in_it(study, other):
    user = User.objects.create_user("kim")
    make_clinician(study, user=user)
    with pytest.raises(StudyError, match="stays blind"):
        Membership.objects.admit(study, user, Role.MONITOR)
    Membership.objects.admit(other, user, Role.MONITOR)


def test_a_clinician_does_not_enter_the_admin(client, study):
    user = User.objects.create_user("kim")
    make_clinician(study, user=user)
    client.force_login(user)
    assert client.get(reverse("admin:index"), follow=True).status_code == 403


@pytest.fixture
def boss(client):
    client.force_login(User.objects.create_superuser("boss"))
    return client


def enter_clinician(client, study, name):
    return client.post(reverse("admin:annotation_rater_add"), {"study": study.pk, "name": "C1", "user_name": name})


@pytest.mark.parametrize("codename", ["view_response", "view_system", "change_response", "change_system"])
@pytest.mark.parametrize("through", ["user", "group"])
def test_who_can_look_up_the_systems_everywhere_is_no_clinician(boss, study, codename, through):
    user, permission = User.objects.create_user("kim"), Permission.objects.get(codename=codename)
    if through == "user":
        user.user_permissions.add(permission)
    else:
        group = Group.objects.create(name="Readers")
        group.permissions.add(permission)
        user.groups.add(group)
    answer = enter_clinician(boss, study, "kim")
    assert answer.context["errors"] == [
        ["kim can look up which system wrote what, in every study: choose someone else."]
    ]
    assert not study.raters.exists()


def test_a_superuser_is_no_clinician(boss, study):
    assert enter_clinician(boss, study, "boss").status_code == 200
    assert not study.raters.exists()


def test_a_member_of_another_study_may_be_a_clinician(boss, study, other):
    Membership.objects.admit(other, User.objects.create_user("kim"), Role.RESEARCHER)
    assert enter_clinician(boss, study, "kim").status_code == 302
    assert study.raters.get().user.username == "kim"


def test_a_study_is_made_together_with_its_members(boss):
    user = User.objects.create_user("kim")
    counts = {
        f"{part}-{count}_FORMS": int(part == "memberships" and count == "TOTAL")
        for part in ("memberships", "criteria", "consent_documents")
        for count in ("TOTAL", "INITIAL")
    }
    sizes = {"seed": 1, "responses_per_task": 5, "tasks_per_participant": 2, "raters_per_task": 6}
    new_member = {"memberships-0-user_name": "kim", "memberships-0-role": Role.RESEARCHER}
    answer = boss.post(
        reverse("admin:annotation_study_add"), {"slug": "new", "title": "New", **sizes, **counts, **new_member}
    )
    assert answer.status_code == 302, answer.context["errors"]
    membership = Membership.objects.get()
    assert (membership.study.slug, membership.user, membership.role) == ("new", user, Role.RESEARCHER)


def test_coming_and_going_stand_in_the_audit_trail(study):
    user = User.objects.create_user("kim")
    membership = Membership.objects.admit(study, user, Role.RESEARCHER)
    Membership.objects.admit(study, user, Role.RESEARCHER)
    Membership.objects.admit(study, user, Role.ADMIN)
    membership.refresh_from_db()
    membership.end()
    kept = study.auditevent_set.filter(action__startswith="membership.").order_by("pk")
    assert list(kept.values_list("action", "old", "new")) == [
        ("membership.admit", None, "researcher"),
        ("membership.admit", "researcher", "admin"),
        ("membership.end", "admin", None),
    ]
    assert not User.objects.get(pk=user.pk).has_perm("annotation.view_study", study)


def test_a_token_opens_the_study_of_its_owners_role_and_is_kept_as_a_hash(client, study, other):
    user = User.objects.create_user("kim")
    Membership.objects.admit(study, user, Role.RESEARCHER)
    key = api_tokens.issue(user)
    assert user.auth_token.key == api_tokens.kept(key) != key
    ask = {"headers": {"Authorization": f"Token {key}"}}
    assert [row["slug"] for row in client.get(reverse("api-study-list"), **ask).json()["results"]] == ["ours"]
    assert client.get(reverse("api-prompt-list", args=["ours"]), **ask).status_code == 200
    assert client.get(reverse("api-prompt-list", args=["theirs"]), **ask).status_code in (403, 404)
    as_stored = {"headers": {"Authorization": f"Token {user.auth_token.key}"}}
    assert client.get(reverse("api-study-list"), **as_stored).status_code in (401, 403)
