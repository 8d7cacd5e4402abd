# ruff: noqa: S608
"""The hash of a study's data, what it depends on, and the command that verifies it."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from annotation import protection, seal
from annotation.errors import StudyError
from annotation.models import (
    Answer,
    Assignment,
    AuditEvent,
    Comparison,
    Criterion,
    JudgingDesign,
    Prompt,
    QuestionnaireItem,
    RankedResponse,
    Ranking,
    RankingTask,
    Rater,
    ReferenceVerdict,
    Response,
    SafetyFlag,
    Study,
    StudyStatus,
    System,
    TaskResponse,
    Verdict,
    VerdictEvent,
)
from annotation.verification import verify
from evaluation.models import Judge
from tests.annotation.whole_study import NOON, lock, whole_study
from tests.factories import make_assignment, make_comparison, make_prompt

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(microseconds=1)
CHANGES = {
    Study: {"slug": "s", "title": "T", "seed": 1, "responses_per_task": 2, "tasks_per_participant": 1}
    | {"raters_per_task": 1},
    Criterion: {"key": "k", "position": 2, "name": "N", "question": "Q?", "better_when": "B", "worse_when": "W"}
    | {"reference": "R", "ranked": False, "judged": False},
    Prompt: {"key": "k", "text": "T", "split": "test", "topic": "t", "risk": True},
    System: {"name": "N", "kind": "human", "description": "D"},
    Response: {"number": 2, "key": "k", "text": "T", "sampling": {"top_p": 0.9000000000000001}},
    Rater: {"name": "N", "kind": "judge", "simulated": True, "withdrawn_at": NOON},
    QuestionnaireItem: {"key": "k", "position": 2, "section": "S", "text": "T", "help": "H", "kind": "likert"}
    | {"options": [], "optional": False},
    Answer: {"value": ["18"]},
    RankingTask: {"position": 2, "skipped_at": NOON},
    TaskResponse: {"position": 4},
    Ranking: {"opened_at": LATER, "submitted_at": LATER},
    RankedResponse: {"rank": 3, "size": 4},
    JudgingDesign: {"name": "n", "prompts": 2, "raters_per_pair": 1, "repeated_pairs": 1, "seed": 1}
    | {"strata": {"risk": [1, 2]}, "opened_at": NOON},
    Comparison: {"calibration": True, "stratum": "s"},
    ReferenceVerdict: {"winner": "B", "explanation": "E"},
    Assignment: {"position": 9, "presentation": 3, "a_on_left": False, "opened_at": LATER, "submitted_at": LATER}
    | {"reason": "R"},
    Verdict: {"choice": "tie"},
    SafetyFlag: {"side": "right", "kind": "false", "note": "N"},
    Judge: {"kind": "reward_model", "model": "M", "config": {"seed": 2}, "is_toy": True},
}


def hash_of(study):
    return seal.hash_of(seal.data_of(study))


def change(rows, **fields):
    """Change a row as one may who takes the triggers off."""
    with protection.lifted():
        rows.filter(pk=rows.earliest("pk").pk).update(**fields)


def test_the_hash_is_the_same_in_every_database_and_whatever_the_ids():
    expected = "033482b5a8fa7622db37b5839b6ef35c6079232a5f51a9ea20a377e180eb6b8e"
    study = whole_study()
    assert hash_of(study) == expected
    Study.objects.filter(pk=study.pk).update(slug="before")
    again = whole_study()
    assert again.pk != study.pk
    assert hash_of(again) == expected


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [(model, field, value) for model, fields in CHANGES.items() for field, value in fields.items()],
    ids=lambda part: getattr(part, "__name__", str(part)[:20]),
)
def test_the_hash_depends_on_each_datum(model, field, value):
    study = whole_study()
    before = hash_of(study)
    change(model.objects, **{field: value})
    assert hash_of(study) != before


def test_every_column_that_is_hashed_is_tried_or_names_a_row_of_another_table():
    for table in seal.DATA.values():
        own = {path for path in (*table.key, *table.columns) if "__" not in path}
        assert own == CHANGES.get(table.model, {}).keys()


@pytest.mark.parametrize("name", [name for name in seal.DATA if name != "study"])
def test_the_hash_depends_on_each_row(name):
    study = whole_study()
    before = seal.data_of(study)
    model = seal.DATA[name].model
    with transaction.atomic():
        protection.remove()
        last = model._default_manager.latest("pk").pk
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE {model._meta.pk.column} = %s", [last])
        after = seal.data_of(study)
        transaction.set_rollback(True)
    assert after[name].rows == before[name].rows - 1
    assert seal.hash_of(after) != seal.hash_of(before)


def test_the_hash_depends_on_which_responses_were_compared_and_ranked():
    study = whole_study()
    third = Response.objects.get(system__name="Ärzte")
    hashes = {hash_of(study)}
    change(Comparison.objects, response_b=third)
    hashes.add(hash_of(study))
    change(JudgingDesign.objects, baseline=third.system)
    hashes.add(hash_of(study))
    change(RankedResponse.objects, response=third)
    hashes.add(hash_of(study))
    assert len(hashes) == 4


def test_the_hash_depends_on_nothing_else():
    study = whole_study()
    before = hash_of(study)
    change(Study.objects, contact="Someone else", completion_code="C", created_at=LATER)
    change(Ranking.objects, draft={"1": 2})
    change(Rater.objects.filter(kind="clinician"), user=User.objects.create_user("clinician"))
    change(Verdict.objects, changed_at=LATER)
    whole_study("another")
    assert hash_of(study) == before


@pytest.mark.parametrize(("value", "settled"), [(1e22, 10**22), (2.0, 2), (0.1, 0.1), ({"a": [1.0]}, {"a": [1]})])
def test_numbers_are_told_as_every_database_keeps_them(value, settled):
    assert json.dumps(seal.settled(value)) == json.dumps(settled)


def test_what_has_no_place_in_the_data_is_refused():
    with pytest.raises(TypeError, match="no set has a place"):
        seal.digest([({1, 2},)])


def test_the_lock_keeps_the_hash_and_that_of_each_table():
    study = lock(whole_study())
    study.refresh_from_db()
    assert study.data_sha256 == hash_of(study)
    event = AuditEvent.objects.get(action=seal.ACTION)
    assert event.new["sha256"] == study.data_sha256
    assert event.new["data"]["verdicts"]["rows"] == 2
    assert event.new["trail"]["verdict events"]["rows"] == 2
    assert event.new["trail"]["audit events"]["rows"] == 2


def test_a_study_is_not_locked_while_the_database_would_not_keep_it():
    study = whole_study()
    study.advance(StudyStatus.CLOSED)
    protection.remove()
    with pytest.raises(StudyError, match=r"triggers are off, such as attune_\w+: run manage.py migrate"):
        study.advance(StudyStatus.LOCKED)
    assert Study.objects.get().status == study.status == StudyStatus.CLOSED
    assert not AuditEvent.objects.filter(action__in=["study.locked", seal.ACTION]).exists()


def verified(capsys, *options):
    """What the command writes, and the line it fails with."""
    failure = None
    try:
        call_command("verify_study", "--study=whole", *options)
    except CommandError as error:
        failure = str(error)
    return capsys.readouterr().out, failure


def test_a_locked_study_is_verified_and_stays_so_when_unblinded(capsys):
    study = lock(whole_study())
    study.unblind()
    out, failure = verified(capsys)
    assert failure is None
    assert out.count(study.data_sha256) == 2
    assert out.count(" same\n") == len(seal.DATA) + len(seal.TRAIL)
    assert "CHANGED" not in out


def test_machines_read_the_same(capsys):
    study = lock(whole_study())
    change(Verdict.objects, choice="right")
    out, failure = verified(capsys, "--json")
    told = json.loads(out)
    assert told["data_sha256"] == {"at_lock": study.data_sha256, "now": hash_of(study)}
    assert told["data"]["verdicts"]["same"] is False
    assert told["data"]["prompts"]["same"] is True
    assert told["contradictions"] == [f"that of assignment {Verdict.objects.earliest('pk').assignment_id} on empathy"]
    assert told["triggers_off"] == []
    assert failure == f"study whole: {'; '.join(told['problems'])}"


TAMPERING = {
    "a verdict": (
        lambda: change(Verdict.objects, choice="right"),
        ["changed since the lock: verdicts", "contradicts 1"],
    ),
    "a response": (lambda: change(Response.objects, text="Rest."), ["changed since the lock: responses"]),
    "the trail": (lambda: change(VerdictEvent._base_manager, new="right"), ["lock: verdict events", "contradicts 1"]),
    "an audit event": (lambda: change(AuditEvent._base_manager, subject="-"), ["lock: audit events"]),
    "the hash": (lambda: change(Study.objects, data_sha256="0" * 64), ["its hash is not that of the seal"]),
    "the seal": (
        lambda: change(AuditEvent._base_manager.filter(action=seal.ACTION), action="-"),
        ["its lock left no seal"],
    ),
    "the triggers": (protection.remove, ["triggers are off, such as attune_"]),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_was_changed_with_the_triggers_off_is_told_in_one_line(capsys, what):
    tamper, told = TAMPERING[what]
    lock(whole_study())
    tamper()
    _, failure = verified(capsys)
    assert failure.startswith("study whole: ")
    assert "\n" not in failure
    for part in told:
        assert part in failure


def test_an_open_study_is_checked_for_its_trail_alone(capsys):
    whole_study()
    out, failure = verified(capsys)
    assert failure is None
    assert "not locked" in out
    assert "sha256 at the lock  none" in out
    change(Verdict.objects, choice="tie")
    assert "the trail contradicts 1 verdicts" in verified(capsys)[1]


def test_a_verdict_that_went_without_a_trail_is_told():
    study = whole_study()
    with transaction.atomic():
        protection.remove()
        Verdict.objects.all().delete()
        assert len(verify(study).contradictions) == 2
        transaction.set_rollback(True)
    assert verify(study).contradictions == []


def test_a_withdrawal_is_no_contradiction():
    study = whole_study()
    Rater.objects.get(name="C1").withdraw()
    assert verify(lock(study)).problems == []


def test_the_number_of_queries_does_not_grow_with_the_study(django_assert_num_queries):
    few = lock(whole_study())
    with CaptureQueriesContext(connection) as captured:
        verify(few)
    many = whole_study("many")
    for _ in range(20):
        comparison = make_comparison(make_prompt(many), *many.systems.all()[:2])
        assignment = make_assignment(comparison, many.raters.get(name="C1"))
        assignment.submit(dict.fromkeys(many.criteria.all(), "left"))
    lock(many)
    with django_assert_num_queries(len(captured)):
        verify(many)
