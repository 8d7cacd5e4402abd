# ruff: noqa: S608
"""Attempts to change what stands, by the ORM, the admin, the API and SQL, also from outside Django."""

import importlib
import sqlite3
import threading
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from annotation import protection
from annotation.errors import StudyError
from annotation.models import (
    Assignment,
    AuditEvent,
    Choice,
    Comparison,
    Criterion,
    FlagKind,
    Membership,
    Prompt,
    Rater,
    Response,
    Role,
    SafetyFlag,
    Side,
    Study,
    StudyStatus,
    System,
    Verdict,
    VerdictEvent,
)
from annotation.verification import contradictions, verify
from tests.annotation.whole_study import lock, whole_study
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
def assignment():
    study = make_study()
    comparison = make_comparison(make_prompt(study), make_system(study), make_system(study))
    return make_assignment(comparison, make_clinician(study))


@pytest.fixture
def submitted(assignment):
    assignment.submit(dict.fromkeys(assignment.comparison.study.criteria.all(), Choice.LEFT))
    return assignment


@contextmanager
def refused(reason):
    with pytest.raises(IntegrityError, match=reason), transaction.atomic():
        yield


def execute(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def trail():
    return list(VerdictEvent.objects.values_list("old", "new"))


def test_each_verdict_given_changed_and_taken_away_is_in_the_trail(assignment):
    empathy, safety = assignment.comparison.study.criteria.all()
    assignment.record(empathy, Choice.LEFT)
    assignment.record(empathy, Choice.TIE)
    assignment.record(empathy, Choice.TIE)
    Verdict.objects.update(changed_at=timezone.now())
    assignment.verdicts.get().delete()
    Verdict.objects.bulk_create([Verdict(assignment=assignment, criterion=safety, choice=Choice.RIGHT)])
    assert trail() == [("", "left"), ("left", "tie"), ("tie", ""), ("", "right")]
    event = VerdictEvent.objects.last()
    assert (event.study, event.rater, event.criterion) == (assignment.comparison.study, assignment.rater, safety)
    assert event.assignment == assignment.pk
    assert abs((timezone.now() - event.at).total_seconds()) < 60


def test_sql_leaves_the_same_trail(assignment):
    criterion = assignment.comparison.study.criteria.first()
    values = (assignment.pk, criterion.pk, timezone.now())
    execute(
        "INSERT INTO annotation_verdict (assignment_id, criterion_id, choice, changed_at) VALUES (%s, %s, 'left', %s)",
        *values,
    )
    execute("UPDATE annotation_verdict SET choice = 'right'")
    execute("DELETE FROM annotation_verdict")
    assert trail() == [("", "left"), ("left", "right"), ("right", "")]


def test_a_temporary_table_does_not_take_the_trails_rows(assignment):
    execute("CREATE TEMPORARY TABLE annotation_verdictevent AS SELECT * FROM annotation_verdictevent")
    assignment.record(assignment.comparison.study.criteria.first(), Choice.LEFT)
    schema = {"sqlite": "temp", "postgresql": "pg_temp"}[connection.vendor]
    execute(f"DROP TABLE {schema}.annotation_verdictevent")
    assert trail() == [("", "left")]


def test_a_verdict_stays_with_its_assignment(assignment):
    other = make_assignment(
        make_comparison(make_prompt(assignment.comparison.study), *System.objects.all()), assignment.rater
    )
    assignment.record(assignment.comparison.study.criteria.first(), Choice.LEFT)
    with refused(protection.BOUND):
        Verdict.objects.update(assignment=other)


def bulk_update():
    verdicts = list(Verdict.objects.all())
    for verdict in verdicts:
        verdict.choice = Choice.RIGHT
    Verdict.objects.bulk_update(verdicts, ["choice"])


def save():
    verdict = Verdict.objects.first()
    verdict.choice = Choice.RIGHT
    verdict.save()


CHANGES = {
    "save": save,
    "update": lambda: Verdict.objects.update(choice=Choice.RIGHT),
    "bulk_update": bulk_update,
    "update_or_create": lambda: Verdict.objects.update_or_create(
        assignment=Assignment.objects.get(),
        criterion=Verdict.objects.first().criterion,
        defaults={"choice": Choice.RIGHT},
    ),
    "sql": lambda: execute("UPDATE annotation_verdict SET choice = 'right'"),
}
DELETIONS = {
    "delete": lambda: Verdict.objects.first().delete(),
    "delete of all": lambda: Verdict.objects.all().delete(),
    "delete of the assignment": lambda: Assignment.objects.all().delete(),
    "sql": lambda: execute("DELETE FROM annotation_verdict"),
    "sql on the assignment": lambda: execute("DELETE FROM annotation_assignment"),
}


@pytest.mark.parametrize("way", CHANGES)
def test_a_submitted_verdict_does_not_change(submitted, way):
    before = trail()
    with refused(protection.SUBMITTED):
        CHANGES[way]()
    assert set(Verdict.objects.values_list("choice", flat=True)) == {Choice.LEFT}
    assert trail() == before


@pytest.mark.parametrize("way", DELETIONS)
def test_a_submitted_verdict_is_not_deleted(submitted, way):
    before = trail()
    with refused(protection.KEPT):
        DELETIONS[way]()
    assert submitted.verdicts.count() == 2
    assert trail() == before


@pytest.mark.parametrize(
    "change", [{"submitted_at": None}, {"a_on_left": False}, {"reason": "Another"}, {"opened_at": timezone.now()}]
)
def test_a_submitted_assignment_does_not_change(submitted, change):
    with refused(f"{protection.SUBMITTED}|{protection.JUDGED}"):
        Assignment.objects.update(**change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda flag: SafetyFlag.objects.update(note=""), protection.SUBMITTED),
        (lambda flag: flag.delete(), protection.KEPT),
        (lambda flag: execute("DELETE FROM annotation_safetyflag"), protection.KEPT),
        (lambda flag: SafetyFlag.objects.create(assignment=flag.assignment, side="right"), protection.SUBMITTED),
    ],
)
def test_the_flags_of_a_submitted_pair_stand_until_its_rater_withdraws(assignment, change, reason):
    assignment.flag({FlagKind.HARMFUL: Side.LEFT}, "It advises to stop a medicine.")
    assignment.submit(dict.fromkeys(assignment.comparison.study.criteria.all(), Choice.LEFT))
    with refused(reason):
        change(SafetyFlag.objects.get())
    assert SafetyFlag.objects.get().note == "It advises to stop a medicine."
    assignment.rater.withdraw()
    assert not SafetyFlag.objects.exists()


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Prompt, {"text": "Another post"}),
        (System, {"name": "Another"}),
        (Response, {"text": "Another answer"}),
        (Response, {"number": 2}),
        (Comparison, {"response_a": F("response_b"), "response_b": F("response_a")}),
        (Comparison, {"calibration": True}),
        (Assignment, {"a_on_left": False}),
        (Assignment, {"position": 9}),
    ],
)
def test_what_was_judged_stays_as_it_was_shown(assignment, model, change):
    last = model.objects.order_by("pk")[:1].values("pk")
    kept = list(model.objects.values())
    assignment.record(assignment.comparison.study.criteria.first(), Choice.LEFT)
    with refused(protection.JUDGED):
        model.objects.filter(pk__in=last).update(**change)
    assert list(model.objects.values()) == kept
    Verdict.objects.all().delete()
    model.objects.filter(pk__in=last).update(**change)
    assert list(model.objects.values()) != kept


def test_a_submitted_pair_takes_no_more_verdicts(submitted):
    later = Criterion.objects.create(
        study=submitted.comparison.study, key="later", name="Later", question="Which?", position=3
    )
    with refused(protection.SUBMITTED):
        Verdict.objects.create(assignment=submitted, criterion=later, choice=Choice.LEFT)


def test_no_row_is_slipped_in_for_another(submitted):
    statements = {
        "sqlite": [
            """INSERT OR REPLACE INTO annotation_verdict (id, choice, changed_at, assignment_id, criterion_id)
            SELECT id, 'right', changed_at, assignment_id, criterion_id FROM annotation_verdict""",
            """INSERT OR REPLACE INTO annotation_verdict (choice, changed_at, assignment_id, criterion_id)
            SELECT 'right', changed_at, assignment_id, criterion_id FROM annotation_verdict""",
            "INSERT OR REPLACE INTO annotation_verdictevent SELECT * FROM annotation_verdictevent",
            "INSERT OR REPLACE INTO annotation_assignment SELECT * FROM annotation_assignment",
            "INSERT OR REPLACE INTO annotation_study SELECT * FROM annotation_study",
            "UPDATE OR REPLACE annotation_assignment SET presentation = 1, position = 1 WHERE submitted_at IS NULL",
        ],
        "postgresql": [
            """INSERT INTO annotation_verdict (choice, changed_at, assignment_id, criterion_id)
            SELECT 'right', changed_at, assignment_id, criterion_id FROM annotation_verdict
            ON CONFLICT (assignment_id, criterion_id) DO UPDATE SET choice = 'right'"""
        ],
    }
    make_assignment(submitted.comparison, submitted.rater, presentation=2)
    for statement in statements[connection.vendor]:
        with refused(f"{protection.REPLACED}|{protection.SUBMITTED}"):
            execute(statement)
    assert set(Verdict.objects.values_list("choice", flat=True)) == {Choice.LEFT}


def test_a_withdrawal_takes_the_verdicts_and_leaves_the_trail(submitted):
    submitted.rater.withdraw()
    assert not Verdict.objects.exists()
    assert trail() == [("", "left"), ("", "left"), ("left", ""), ("left", "")]
    with refused(protection.WITHDRAWN):
        Rater.objects.update(withdrawn_at=None)


@pytest.mark.parametrize("table", ["annotation_verdictevent", "annotation_auditevent"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET study_id = study_id", "DELETE FROM {}"])
def test_trail_and_audit_events_are_only_added_to(submitted, table, statement):
    submitted.comparison.study.advance(StudyStatus.CLOSED)
    with refused(protection.APPENDED):
        execute(statement.format(table))


@pytest.mark.parametrize("model", [VerdictEvent, AuditEvent])
def test_the_orm_does_not_change_an_event_either(submitted, model):
    submitted.comparison.study.advance(StudyStatus.CLOSED)
    event = model.objects.first()
    for attempt in (event.save, event.delete):
        with refused(protection.APPENDED):
            attempt()


@pytest.mark.parametrize("model", protection.protected(), ids=lambda model: model.__name__)
def test_no_protected_table_is_emptied_at_once(model):
    lock(whole_study())
    connection.check_constraints()
    table = model._meta.db_table
    statement = {"sqlite": "DELETE FROM {}", "postgresql": "TRUNCATE {} CASCADE"}[connection.vendor]
    with refused("|".join((protection.LOCKED, protection.KEPT, protection.APPENDED, protection.TRUNCATED))):
        execute(statement.format(table))


@pytest.mark.parametrize("model", protection.OF_STUDY, ids=lambda model: model.__name__)
def test_a_locked_study_stays_as_it_is_and_another_does_not(model):
    table = model._meta.db_table
    key = model._meta.pk.column
    columns = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields if field.column != "id")
    locked = lock(whole_study())
    last = f"WHERE {key} = (SELECT max({key}) FROM {table})"
    with refused(f"{protection.LOCKED}|{protection.REPLACED}"):
        execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}")
    for statement in (f"UPDATE {table} SET {key} = {key} {last}", f"DELETE FROM {table} {last}"):
        with refused(protection.LOCKED):
            execute(statement)
    assert not verify(locked).problems
    whole_study("another")
    execute(f"UPDATE {table} SET {key} = {key} {last}")


def test_a_locked_study_takes_no_new_verdict_nor_assignment():
    study = whole_study()
    safety = Criterion.objects.create(study=study, key="safety", name="Safety", question="Which?", position=2)
    begun = Assignment.objects.pending().get()
    lock(study)
    with refused(protection.LOCKED):
        Verdict.objects.create(assignment=begun, criterion=safety, choice=Choice.LEFT)
    with refused(protection.LOCKED):
        make_assignment(begun.comparison, begun.rater, presentation=3)


def test_nothing_moves_into_a_locked_study():
    locked = lock(whole_study())
    make_prompt(make_study())
    with refused(protection.LOCKED):
        Prompt.objects.exclude(study=locked).update(study=locked)


@pytest.mark.parametrize(
    "change",
    [{"status": "closed", "locked_at": None}, {"locked_at": timezone.now()}, {"data_sha256": "0" * 64}, {"title": "T"}],
)
def test_a_lock_is_not_undone(change):
    lock(whole_study())
    with refused(protection.LOCKED):
        Study.objects.update(**change)
    with refused(protection.LOCKED):
        execute("DELETE FROM annotation_study")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "closed"},
        {"status": "draft"},
        {"status": "locked", "locked_at": timezone.now()},
        {"status": "locked", "locked_at": timezone.now(), "unblinded_at": timezone.now()},
    ],
)
def test_a_study_takes_no_step_that_the_trail_does_not_tell(change):
    whole_study()
    with refused(protection.UNTOLD):
        Study.objects.update(**change)


def test_an_event_told_once_does_not_open_a_way_back():
    study = make_study(status="draft")
    study.advance(StudyStatus.OPEN)
    study.advance(StudyStatus.CLOSED)
    with refused(protection.UNTOLD):
        Study.objects.update(status="open")


def test_a_locked_study_is_not_unblinded_in_silence():
    lock(whole_study())
    with refused(protection.UNTOLD):
        execute("UPDATE annotation_study SET unblinded_at = locked_at")


def test_a_locked_study_is_unblinded_once():
    study = lock(whole_study())
    study.unblind()
    for at in (None, timezone.now()):
        with refused(protection.LOCKED):
            Study.objects.update(unblinded_at=at)


@contextmanager
def outsider():
    """A connection of another program's, without any of Django's settings."""
    if connection.vendor == "sqlite":
        other = sqlite3.connect(connection.settings_dict["NAME"], timeout=20)
    else:
        connection.ensure_connection()
        password = connection.settings_dict["PASSWORD"] or None
        other = psycopg.connect(connection.connection.info.dsn, password=password, application_name="psql")
    with closing(other), other:
        yield other


@pytest.mark.django_db(transaction=True)
def test_another_program_is_refused_and_leaves_a_trail_too(assignment):
    empathy, safety = assignment.comparison.study.criteria.all()
    assignment.record(empathy, Choice.LEFT)
    with outsider() as other:
        other.execute("UPDATE annotation_verdict SET choice = 'tie'")
    assert trail() == [("", "left"), ("left", "tie")]
    by = [event.by for event in VerdictEvent.objects.all()]
    if connection.vendor == "postgresql":
        assert [name.split(", ")[1] for name in by] == ["attune", "psql"]
    else:
        assert by == ["sqlite", "sqlite"]
    assignment.submit({empathy: Choice.TIE, safety: Choice.TIE})
    for statement in ("UPDATE annotation_verdict SET choice = 'left'", "DELETE FROM annotation_verdictevent"):
        with pytest.raises(Exception, match=f"{protection.SUBMITTED}|{protection.APPENDED}"), outsider() as other:
            other.execute(statement)
    assert set(Verdict.objects.values_list("choice", flat=True)) == {Choice.TIE}


@pytest.mark.django_db(transaction=True)
def test_a_lock_waits_for_whoever_is_writing(assignment):
    study = assignment.comparison.study
    study.advance(StudyStatus.CLOSED)
    writing, outcome = threading.Event(), []

    def lock_meanwhile():
        writing.wait(20)
        try:
            Study.objects.get(pk=study.pk).advance(StudyStatus.LOCKED)
            outcome.append("locked")
        finally:
            connection.close()

    thread = threading.Thread(target=lock_meanwhile)
    thread.start()
    with transaction.atomic():
        assignment.record(study.criteria.first(), Choice.LEFT)
        writing.set()
        thread.join(0.5)
        assert outcome == []
    thread.join(30)
    assert outcome == ["locked"]
    verification = verify(Study.objects.get(pk=study.pk))
    assert verification.now.data["verdicts"].rows == 1
    assert not verification.problems


def test_a_verdict_that_meets_the_lock_is_told_so(assignment, monkeypatch):
    study = assignment.comparison.study
    criterion = study.criteria.first()
    asked = iter([None])
    honest = Study.require_unlocked
    # As if the lock came right after the question.
    monkeypatch.setattr(Study, "require_unlocked", lambda self: next(asked, self) and honest(self))
    lock(study)
    with pytest.raises(StudyError, match="is locked"):
        assignment.record(criterion, Choice.LEFT)


@pytest.mark.django_db(transaction=True)
def test_a_flush_empties_everything_and_leaves_the_protection():
    lock(whole_study())
    call_command("flush", interactive=False, verbosity=0)
    assert not Study.objects.exists()
    assert not VerdictEvent.objects.exists()
    assert protection.absent() == []


def test_triggers_stand_on_or_come_back_after_a_migration():
    protection.before_migration([], "default")
    assert protection.absent() == []
    protection.before_migration([("a migration", False)], "default")
    # PostgreSQL alters a table in place.
    assert bool(protection.absent()) == (connection.vendor == "sqlite")
    protection.after_migration("default")
    assert protection.absent() == []


def test_a_check_of_the_database_tells_of_triggers_that_are_off():
    assert protection.check(["default"]) == []
    protection.remove()
    (warning,) = protection.check(["default"])
    assert "triggers are off, such as attune_" in warning.msg
    assert protection.check() == []
    protection.after_migration("default")
    assert protection.check(["default"]) == []


def test_a_trigger_that_was_weakened_or_dropped_is_told():
    name = "attune_final_annotation_verdict_update"
    if connection.vendor == "sqlite":
        execute(f"DROP TRIGGER {name}")
        execute(f"CREATE TRIGGER {name} BEFORE UPDATE ON annotation_verdict BEGIN SELECT 1; END")
    else:
        execute(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    assert protection.absent() == [name]
    protection.install()
    assert protection.absent() == []
    off = "attune_append_annotation_auditevent_delete"
    statements = {"sqlite": "DROP TRIGGER {}", "postgresql": "ALTER TABLE annotation_auditevent DISABLE TRIGGER {}"}
    execute(statements[connection.vendor].format(off))
    assert protection.absent() == [off]


def test_verdicts_from_before_the_trail_begin_it(assignment):
    migration = importlib.import_module("annotation.migrations.0004_trail_of_earlier_verdicts")
    with protection.lifted():
        assignment.record(assignment.comparison.study.criteria.first(), Choice.LEFT)
    assert list(contradictions(assignment.comparison.study))
    for _ in range(2):
        execute(migration.BEGIN_TRAIL)
    assert trail() == [("", "left")]
    assert not list(contradictions(assignment.comparison.study))


@pytest.fixture
def superuser(client):
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_the_admin_offers_no_way_to_a_verdict(superuser, submitted):
    for path in ("", "add/", f"{submitted.verdicts.first().pk}/change/", f"{submitted.verdicts.first().pk}/delete/"):
        for model in ("verdict", "assignment"):
            assert superuser.post(f"/admin/annotation/{model}/{path}").status_code == 404


@pytest.mark.parametrize("model", ["verdictevent", "auditevent"])
def test_the_admin_shows_the_trail_and_changes_nothing(superuser, submitted, model):
    submitted.comparison.study.advance(StudyStatus.CLOSED)
    event = (VerdictEvent if model == "verdictevent" else AuditEvent).objects.first()
    assert superuser.get(f"/admin/annotation/{model}/").status_code == 200
    assert superuser.get(f"/admin/annotation/{model}/{event.pk}/change/").status_code == 200
    for path in ("add/", f"{event.pk}/change/", f"{event.pk}/delete/"):
        assert superuser.post(f"/admin/annotation/{model}/{path}", {"new": "tie"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
    superuser.post(f"/admin/annotation/{model}/", action)
    assert type(event).objects.filter(pk=event.pk).exists()


def test_the_trail_in_the_admin_tells_no_side_until_the_study_is_unblinded(superuser, submitted):
    study = submitted.comparison.study
    event = VerdictEvent.objects.first()
    pages = ["/admin/annotation/verdictevent/", f"/admin/annotation/verdictevent/{event.pk}/change/"]

    def told():
        return [superuser.get(page).content.decode() for page in pages]

    for html in told():
        assert "given" in html
        assert ">left" not in html
        assert "to left" not in html
    for lookup in ("new=left", "new__exact=left", "old=", "criterion__verdicts__choice=left"):
        assert superuser.get(f"{pages[0]}?{lookup}").status_code in {302, 400}
    assert superuser.get(f"{pages[0]}?study__id__exact={study.pk}").status_code == 200
    lock(study)
    study.unblind()
    for html in told():
        assert "none to left" in html


def test_what_a_change_was_is_for_those_who_see_systems_until_unblinding(client, submitted):
    study = submitted.comparison.study
    monitor, researcher = (User.objects.create_user(name, is_staff=True) for name in ("monitor", "admin"))
    Membership.objects.admit(study, monitor, Role.MONITOR)
    Membership.objects.admit(study, researcher, Role.ADMIN)
    event = study.auditevent_set.create(action="design.draw", subject="design main", new={"systems": ["Zephyrine"]})

    def page(user):
        client.force_login(user)
        return client.get(f"/admin/annotation/auditevent/{event.pk}/change/").content.decode()

    assert "design main" in page(monitor)
    assert "Zephyrine" not in page(monitor)
    assert "Zephyrine" in page(researcher)
    client.force_login(monitor)
    assert client.get("/admin/annotation/auditevent/?new__icontains=Zephyrine").status_code in {302, 400}
    lock(study)
    study.unblind()
    assert "Zephyrine" in page(monitor)


def test_the_api_has_no_verdicts_and_writes_nothing(superuser, submitted):
    study = submitted.comparison.study
    root = f"/api/studies/{study.slug}/"
    for path in ("verdicts/", "assignments/", "comparisons/"):
        assert superuser.get(root + path).status_code == 404
    for path in ("", f"prompts/{Prompt.objects.get().key}/", "prompts/", "rankings/"):
        assert superuser.get(root + path).status_code == 200
        for method in (superuser.post, superuser.put, superuser.patch, superuser.delete):
            assert method(root + path).status_code == 405


def test_a_command_that_the_database_refuses_says_so_in_one_line(monkeypatch, tmp_path):
    study = lock(whole_study())
    (tmp_path / "new.csv").write_text(
        f"question_id,question_text,response_text,model_name\npost,{Prompt.objects.get().text},Tea.,MODPO\n"
    )
    monkeypatch.setattr(Study, "require_unlocked", lambda self: None)
    with pytest.raises(CommandError, match=f"^the database refused: {protection.LOCKED}$"):
        call_command("import_responses", str(tmp_path / "new.csv"), f"--study={study.slug}")
