import io
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotation.models import (
    Assignment,
    AuditEvent,
    Choice,
    Comparison,
    Rater,
    RaterKind,
    Response,
    StudyStatus,
    Verdict,
)
from evaluation.labels import judge_checks, labels_of, verdicts_of
from evaluation.report import agreement_labels
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_participant,
    make_prompt,
    make_response,
    make_study,
    make_system,
)

pytestmark = pytest.mark.django_db
HEADER = "question_id,system_left,system_right,rater,criterion,verdict"
WHOLE = f"{HEADER},rater_kind,simulated,presentation,reason,submitted_at,seconds"


@pytest.fixture
def study():
    study = make_study(slug="pilot")
    base, modpo = make_system(study, name="Base"), make_system(study, name="MODPO")
    for key in ("q1", "q2"):
        prompt = make_prompt(study, key=key, split="test")
        make_response(prompt, base)
        make_response(prompt, modpo)
    make_prompt(study, key="unanswered", split="test")
    return study


def pair(left="Base", right="MODPO", *, key="q1", rater="C1", empathy="left", safety="tie", more=""):
    """The two rows of one rater on one pair."""
    return "".join(
        f"{key},{left},{right},{rater},{criterion},{verdict}{more}\n"
        for criterion, verdict in (("empathy", empathy), ("safety", safety))
    )


def load(tmp_path, *rows, header=HEADER, options=(), name="verdicts.csv"):
    path = tmp_path / name
    path.write_text(header + "\n" + "".join(rows), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    call_command("import_verdicts", str(path), "--study", "pilot", *options, stdout=out, stderr=err)
    return out.getvalue() + err.getvalue()


def winners(study="pilot"):
    return {
        (v.assignment.rater.name, v.assignment.comparison.response_a.prompt.key, v.criterion.key): v.winner
        for v in Verdict.objects.filter(criterion__study__slug=study)
    }


def test_verdicts_are_kept_as_seen_and_mean_systems(study, tmp_path):
    said = load(
        tmp_path,
        pair("Base", "MODPO", empathy="left", safety="cannot"),
        pair("MODPO", "Base", rater="C2", empathy="MODPO", safety="right"),
    )
    assert "4 verdicts new, on 2 presentations (1 new comparisons, 2 new raters); 0 were there before" in said
    assert winners() == {
        ("C1", "q1", "empathy"): "A",
        ("C1", "q1", "safety"): None,
        ("C2", "q1", "empathy"): "B",
        ("C2", "q1", "safety"): "A",
    }
    assert list(Assignment.objects.order_by("rater__name").values_list("a_on_left", "position")) == [
        (True, 1),
        (False, 1),
    ]
    assert Comparison.objects.get().response_a.system.name == "Base"
    event = AuditEvent.objects.get(action="verdicts.import")
    assert event.new == {"file": "verdicts.csv", "verdicts": 4, "raters": ["C1", "C2"]}


def test_systems_a_and_b_with_their_order_say_the_same(study, tmp_path):
    header = "question_id,system_a,system_b,order,rater,criterion,verdict"
    load(
        tmp_path,
        "q1,MODPO,Base,BA,C1,empathy,A\nq1,MODPO,Base,BA,C1,safety,tie\n",
        "q2,MODPO,Base,AB,C1,empathy,B\nq2,MODPO,Base,AB,C1,safety,MODPO\n",
        header=header,
    )
    stored = Verdict.objects.order_by("assignment__position", "criterion__position")
    assert list(stored.values_list("assignment__a_on_left", "choice")) == [
        (True, "right"),
        (True, "tie"),
        (False, "right"),
        (False, "left"),
    ]
    assert winners()["C1", "q1", "empathy"] == "B"
    assert winners()["C1", "q2", "empathy"] == "A"


def test_what_else_a_file_tells_is_kept(study, tmp_path):
    told = ",clinician,true,1,Kinder,2026-03-01T09:30:00+01:00,41.5"
    load(tmp_path, pair(more=told), header=WHOLE)
    assignment = Assignment.objects.get()
    assert assignment.reason == "Kinder"
    assert assignment.submitted_at == datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    assert assignment.seconds == 41.5
    assert assignment.rater.simulated


def test_criteria_of_other_names_are_mapped(study, tmp_path):
    rows = pair().replace("empathy", "warmth")
    load(tmp_path, rows, options=["--criterion-map", "warmth=empathy"])
    assert winners()["C1", "q1", "empathy"] == "A"
    with pytest.raises(CommandError, match="no criterion 'kindness'"):
        load(tmp_path, rows, options=["--criterion-map", "warmth=kindness"])


def test_the_same_file_again_changes_nothing_and_a_longer_one_adds(study, tmp_path):
    told = ",,,,Kinder,2026-03-01T09:30:00Z,41.123456"
    load(tmp_path, pair(more=told), header=WHOLE)
    assert "nothing new, it has all 2 verdicts" in load(tmp_path, pair(more=told), header=WHOLE)
    assert AuditEvent.objects.filter(action="verdicts.import").count() == 1
    said = load(tmp_path, pair(more=told), pair(key="q2", more=told), header=WHOLE)
    assert "2 verdicts new, on 1 presentations (1 new comparisons, 0 new raters); 2 were there before" in said
    assert list(Assignment.objects.order_by("pk").values_list("position", flat=True)) == [1, 2]


def test_a_dry_run_stores_nothing(study, tmp_path):
    assert "2 verdicts would be new" in load(tmp_path, pair(), options=["--dry-run"])
    assert not Rater.objects.exists()
    assert not Comparison.objects.exists()
    assert not AuditEvent.objects.filter(action="verdicts.import").exists()


def test_verdicts_join_those_given_here(study, tmp_path):
    rater = make_clinician(study)
    third = make_prompt(study, key="q3")
    comparison = make_comparison(third, *study.systems.order_by("pk"))
    make_assignment(comparison, rater).submit(dict.fromkeys(study.criteria.all(), Choice.TIE))
    load(tmp_path, pair(rater=rater.name))
    assert rater.assignments.count() == 2
    assert "nothing new" in load(tmp_path, pair(key="q3", rater=rater.name, empathy="tie"))


def test_a_judge_counts_once_it_saw_both_orders(study, tmp_path):
    first, second = (f",judge,,{look},,," for look in (1, 2))
    said = load(tmp_path, pair(rater="gpt", more=first), header=WHOLE)
    assert "1 pairs were judged in one order only" in said
    assert labels_of(verdicts_of(study)).empty
    swapped = pair("MODPO", "Base", rater="gpt", empathy="Base", more=second)
    assert "in one order only" not in load(tmp_path, pair(rater="gpt", more=first), swapped, header=WHOLE)
    labels = labels_of(verdicts_of(study)).set_index("criterion")["label"]
    assert dict(labels) == {"empathy": "A", "safety": "tie"}
    assert judge_checks(verdicts_of(study), draws=0)["gpt"].swap_consistency.value == 1.0
    assert Rater.objects.get().kind == RaterKind.JUDGE


def test_an_imported_judge_stands_in_the_report(study, tmp_path):
    judge = pair(rater="gpt", more=",judge,,1,,,") + pair("MODPO", "Base", rater="gpt", more=",judge,,2,,,")
    load(tmp_path, pair(more=",,,,,,"), judge, header=WHOLE)
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    study.unblind()
    labels, notes = agreement_labels(study)
    assert set(labels["rater"]) == {"C1", "gpt"}
    assert notes["toy_judges"] == []


WRONG = [
    (HEADER.replace("verdict", "vote"), pair(), "row 1: column verdict is missing"),
    (HEADER.replace("system_left", "left"), pair(), "row 1: column system_left is missing"),
    (HEADER.replace("left", "a").replace("right", "b"), pair(), "row 1: column order is missing"),
    (HEADER, pair(key="q9"), "row 2, column question_id: the study has no prompt 'q9'"),
    (HEADER, pair("Other"), "row 2, column system_left: the study has no system 'Other': it has Base, MODPO"),
    (HEADER, pair(key="unanswered"), "row 2, column system_left: Base has no response to prompt unanswered"),
    (HEADER, pair("Base", "Base"), "row 2, column system_right: 'Base' is compared with itself"),
    (
        HEADER,
        pair(empathy="A"),
        "row 2, column verdict: 'A' is not known here: write left, right, tie, cannot, Base or",
    ),
    (HEADER, pair(empathy=""), "row 2, column verdict: a text is required"),
    (HEADER, pair().replace("safety", "humour"), "row 3, column criterion: the study judges no 'humour'"),
    (HEADER, pair() + pair(), "row 4, column criterion: C1 judged empathy before, in row 2"),
    (HEADER, pair().splitlines()[0] + "\n", "row 2, column criterion: C1 has no verdict on safety of this pair"),
    (
        HEADER,
        pair().splitlines()[0] + "\nq1,MODPO,Base,C1,safety,tie\n",
        "row 3, column system_left: the sides are not",
    ),
    (HEADER, pair(rater=" "), "row 2, column rater: a text is required"),
    (HEADER, pair(rater="P-x"), "row 2, column rater: P-x is a participant"),
    (HEADER, pair(rater="gone"), "row 2, column rater: gone has withdrawn"),
    (HEADER, pair(rater="busy", key="q2"), "row 2, column rater: busy was given this pair in this study and has not"),
    (
        HEADER,
        pair(key="q2", rater="done", empathy="right"),
        "row 2, column verdict: the study has another verdict of done",
    ),
    (
        HEADER,
        pair("MODPO", "Base", key="q2", rater="done"),
        "row 2, column system_left: the study has this presentation",
    ),
    (WHOLE, pair(key="q2", rater="done", more=",,,,Why,,"), "row 2, column reason: the study has another reason"),
    (
        WHOLE,
        pair(rater="done", more=",,true,,,,"),
        "row 2, column simulated: study pilot has done with simulated false",
    ),
    (WHOLE, pair(more=",robot,,,,,"), "row 2, column rater_kind: 'robot' is not known"),
    (WHOLE, pair(more=",,yes,,,,"), "row 2, column simulated: 'yes' is not known here: write true or false"),
    (WHOLE, pair(more=",,,3,,,"), "row 2, column presentation: '3'"),
    (WHOLE, pair(more=",,,2,,,"), "row 2, column presentation: C1 never saw this pair a first time"),
    (
        WHOLE,
        pair(more=",,,,,2026-03-01T09:30:00,"),
        "row 2, column submitted_at: '2026-03-01T09:30:00' is no time with",
    ),
    (WHOLE, pair(more=",,,,,2026-13-01T09:30:00Z,"), "row 2, column submitted_at"),
    (WHOLE, pair(more=",,,,,2999-03-01T09:30:00Z,"), "is still to come"),
    (WHOLE, pair(more=",,,,,,-1"), "row 2, column seconds: '-1' is no number of seconds"),
    (WHOLE, pair(more=",,,,,,nan"), "row 2, column seconds: 'nan'"),
    (
        WHOLE,
        pair(more=",judge,,,,,") + pair(key="q2", more=",clinician,,,,,"),
        "row 4, column rater_kind: 'clinician' contradicts row 2",
    ),
    (
        WHOLE,
        pair(rater="gpt", more=",judge,,1,,,") + pair(rater="gpt", more=",judge,,2,,,"),
        "row 4, column system_left: a judge sees a pair again with the sides swapped",
    ),
]


@pytest.mark.parametrize(("header", "rows", "message"), WRONG)
def test_a_wrong_file_is_refused_in_one_line_and_stores_nothing(study, tmp_path, header, rows, message):
    comparison = Comparison.objects.create(
        study=study,
        response_a=study.prompts.get(key="q2").responses.get(system__name="Base"),
        response_b=study.prompts.get(key="q2").responses.get(system__name="MODPO"),
    )
    busy, done, gone = (make_clinician(study) for _ in range(3))
    for rater, name in ((busy, "busy"), (done, "done"), (gone, "gone"), (make_participant(study).rater, "P-x")):
        Rater.objects.filter(pk=rater.pk).update(name=name)
    gone.withdraw()
    make_assignment(comparison, busy)
    assignment = make_assignment(comparison, done)
    keys = {criterion.key: criterion for criterion in study.criteria.all()}
    assignment.submit({keys["empathy"]: Choice.LEFT, keys["safety"]: Choice.TIE})
    before = Verdict.objects.count(), Rater.objects.count(), Assignment.objects.count(), Comparison.objects.count()
    with pytest.raises(CommandError) as caught:
        load(tmp_path, rows, header=header)
    assert message in str(caught.value)
    assert str(tmp_path / "verdicts.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before == (
        Verdict.objects.count(),
        Rater.objects.count(),
        Assignment.objects.count(),
        Comparison.objects.count(),
    )


def test_a_pair_for_practice_takes_no_verdict(study, tmp_path):
    first, second = Response.objects.filter(prompt__key="q1")
    Comparison.objects.create(study=study, response_a=first, response_b=second, calibration=True)
    with pytest.raises(CommandError, match="row 2, column question_id: this pair is for practice"):
        load(tmp_path, pair())


def test_a_locked_study_takes_no_verdict(study, tmp_path):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="is locked"):
        load(tmp_path, pair())


def test_queries_do_not_grow_with_the_file(study, tmp_path, django_assert_num_queries):
    with CaptureQueriesContext(connection) as few:
        load(tmp_path, pair())
    rows = [pair(key=key, rater=f"C{number}") for number in range(2, 8) for key in ("q1", "q2")]
    with django_assert_num_queries(len(few)):
        load(tmp_path, *rows)


def export(*options):
    out = io.StringIO()
    call_command("export_verdicts", "--study", "pilot", *options, stdout=out)
    return out.getvalue()


def unblinded(study):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    study.unblind()


def test_nothing_is_exported_before_unblinding(study, tmp_path):
    load(tmp_path, pair())
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        with pytest.raises(CommandError, match="study pilot is not unblinded"):
            export()
        study.advance(status)
    with pytest.raises(CommandError, match="study pilot is not unblinded"):
        export("--format", "verdicts")
    study.unblind()
    assert export().startswith("item,rater,criterion,label,rater_kind,prompt,system_a,system_b")


def test_exported_verdicts_come_into_another_study_unchanged(study, tmp_path):
    told = ',,true,1,"Kinder, and\nsafer",2026-03-01T09:30:00Z,41.5'
    load(tmp_path, pair("MODPO", "Base", safety="cannot", more=told), header=WHOLE)
    unblinded(study)
    other = make_study(slug="other")
    prompt = make_prompt(other, key="q1")
    for name in ("MODPO", "Base"):
        make_response(prompt, make_system(other, name=name))
    path = tmp_path / "exported.csv"
    path.write_text(export("--format", "verdicts"), encoding="utf-8", newline="")
    call_command("import_verdicts", str(path), "--study", "other")
    # There MODPO is the first system, here the second.
    assert winners()["C1", "q1", "empathy"] == "B"
    assert winners("other") == {("C1", "q1", "empathy"): "A", ("C1", "q1", "safety"): None}
    copy = Assignment.objects.get(rater__study=other)
    assert (copy.reason, copy.seconds, copy.rater.simulated) == ("Kinder, and\nsafer", 41.5, True)
