import io
import json

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotation.models import Choice, Rater, RaterKind, StudyStatus
from evaluation.models import Judge, JudgeKind
from tests.factories import make_assignment, make_clinician, make_comparison, make_prompt, make_study, make_system

HEADER = "item,rater,criterion,label,rater_kind"


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    call_command("agreement", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refusal(*arguments):
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def csv(tmp_path):
    def write(*lines, header=HEADER, name="labels.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes("\n".join([header, *lines]).encode(encoding))
        return str(path)

    return write


@pytest.fixture
def labels(csv):
    rng = np.random.default_rng(2)
    rows = []
    for item in range(35):
        truth = rng.choice(["A", "tie", "B"])
        for rater in ("R1", "R2", "R3", "gpt"):
            label = truth if rng.random() < 0.7 else rng.choice(["A", "tie", "B"])
            rows.append(f"i{item},{rater},safety,{label},{'judge' if rater == 'gpt' else 'human'}")
    return csv(*rows)


def test_the_json_has_the_promised_shape(labels):
    out, err = run("--csv", labels, "--json", "--bootstrap", "100", "--level", "ordinal", "--order", "B,tie,A")
    result = json.loads(out)
    assert err == ""
    assert set(result) == {"criteria", "pooled", "settings"}
    part = result["criteria"]["safety"]
    assert (part["items"], part["raters"], part["ratings"]) == (35, 3, 105)
    for name in (
        "percent_agreement",
        "pairwise_agreement",
        "fleiss_kappa",
        "krippendorff_alpha",
        "gwet_ac1",
        "scott_pi",
    ):
        assert set(part[name]) == {"value", "low", "high", "n", "reason"}
    assert set(part["cohen_kappa"]) == {"R1|R2", "R1|R3", "R2|R3"}
    test = part["judges"]["gpt"]["alt_test"]
    assert set(test) == {"winning_rate", "advantage_probability", "epsilon", "passes", "raters", "baseline"}
    assert set(test["raters"]["R1"]) == {"n", "p", "p_adjusted", "rejected", "rho_judge", "rho_rater"}
    assert result["settings"]["level"] == "ordinal"


def test_the_same_seed_prints_the_same_bytes(labels):
    asked = ("--csv", labels, "--json", "--bootstrap", "50")
    assert run(*asked) == run(*asked)
    assert run(*asked, "--seed", "1") != run(*asked)


def test_no_resamples_leave_the_intervals_out(labels):
    result = json.loads(run("--csv", labels, "--json", "--bootstrap", "0")[0])
    statistic = result["pooled"]["gwet_ac1"]
    assert statistic["value"] is not None
    assert statistic["low"] is statistic["high"] is None


def test_the_text_tells_all_within_100_columns(labels):
    out, _ = run("--csv", labels, "--bootstrap", "10", "--level", "ordinal", "--order", "B,tie,A")
    for text in (
        "Raters with one another",
        "pairs without ties",
        "ordinal alpha",
        "Judge gpt with the raters",
        "a rater likewise",
        "Does gpt lean another way",
        "R1|R2",
        "By the alternative annotator test gpt may",
        "epsilon = 0.2",
        "Labels: B, tie, A",
        "10 resamples, seed 0",
        "Benjamini-Yekutieli over the raters",
        "Holm over the criteria",
    ):
        assert text in out
    assert max(map(len, out.splitlines())) <= 100
    assert "nan" not in out
    assert "pooled" not in out


def test_what_is_undefined_is_left_out_of_the_tables_and_told_with_its_reason(csv):
    rows = ["i1,R1,safety,A,human", "i1,R2,safety,A,human", "i1,gpt,safety,A,judge", "i2,R1,empathy,A,human"]
    out, _ = run("--csv", csv(*rows), "--bootstrap", "10")
    tables, reasons = out.split("Undefined, or without interval:")
    assert "Krippendorff alpha" not in tables
    assert "Krippendorff alpha, Gwet AC1, Fleiss kappa" in reasons
    for text in ("one category", "30 items", "no interval", "no item has two ratings", "cannot be tested", "pooled"):
        assert text in " ".join(out.split())
    assert "nan" not in out


def test_many_raters_are_summed_up(csv):
    rows = [f"i{item},R{rater},safety,{'AB'[(item + rater) % 2]},human" for item in range(4) for rater in range(9)]
    out, _ = run("--csv", csv(*rows), "--bootstrap", "0")
    assert "Cohen kappa: defined for 36 of 36 pairs of raters, median" in out
    assert "R1|R2" not in out


def test_many_criteria_are_cut_into_tables_that_fit(csv):
    rows = [
        f"i{item},R{rater},a_criterion_of_a_long_name_{number},{'AB'[(item * rater) % 2]},human"
        for number in range(3)
        for item in range(5)
        for rater in range(3)
    ]
    out, _ = run("--csv", csv(*rows), "--bootstrap", "10")
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("a_criterion_of_a_long_name_2 ") > 1


def test_strata_are_reported_beside_the_whole(csv):
    rows = [
        f"i{item},R{rater},safety,{'A' if item < 5 or rater else 'B'},{'easy' if item < 5 else 'hard'}"
        for item in range(9)
        for rater in range(3)
    ]
    path = csv(*rows, "i9,R1,safety,A,hard", "j,R1,safety,A,hard", header="item,rater,criterion,label,stratum")
    found = json.loads(run("--csv", path, "--stratum", "--bootstrap", "0", "--json")[0])
    strata = {name: part["pooled"]["percent_agreement"]["value"] for name, part in found["strata"].items()}
    assert strata == {"easy": 1.0, "hard": pytest.approx(1 / 3)}
    assert found["criteria"]["safety"]["items"] == 11
    text = run("--csv", path, "--stratum", "stratum", "--bootstrap", "0")[0]
    assert "BY STRATUM" in text
    assert "column difficulty is missing" in str(refusal("--csv", path, "--stratum", "difficulty"))


def test_a_judge_alone_is_told_of_in_the_strata_it_judged(csv):
    rows = [f"i{item},R{rater},s,A,human,{'xy'[item % 2]}" for item in range(4) for rater in range(2)]
    path = csv(*rows, "i0,gpt,s,A,judge,x", header=f"{HEADER},stratum")
    found = json.loads(run("--csv", path, "--stratum", "--judge", "gpt", "--bootstrap", "0", "--json")[0])
    assert list(found["strata"]["x"]["pooled"]["judges"]) == ["gpt"]
    assert found["strata"]["y"]["pooled"]["judges"] == {}


def test_without_a_kind_every_rater_is_human(csv):
    path = csv("i1,R1,safety,A", "i1,R2,safety,B", header="item,rater,criterion,label")
    assert json.loads(run("--csv", path, "--json")[0])["pooled"]["raters"] == 2


def test_other_layouts_are_described_by_options(csv):
    humans = csv(
        "1,x,y,expert_1,model_a",
        "1,y,x,expert_2,model_b",
        "1,y,x,expert_2,model_a",
        "1,y,x,author_1,model_a",
        header="q,model_a,model_b,judge,winner",
    )
    judge = csv("1,y,x,gpt,tie (inconsistent)", header="q,model_a,model_b,judge,winner", name="judge.csv")
    layout = ["--item", "q", "--rater", "judge", "--label", "winner", "--systems", "model_a,model_b"]
    rows = ["--where", "judge^=expert", "--map", "tie (inconsistent)=tie", "--duplicates", "first"]
    asked = ("--csv", humans, "--judge-csv", judge, *layout, *rows)
    result = json.loads(run(*asked, "--json")[0])
    assert result["pooled"]["pairwise_agreement"]["value"] == 1.0
    assert result["pooled"]["judges"]["gpt"]["agreement_with_raters"]["value"] == 0.0
    assert result["settings"]["categories"] == ["A", "tie"]
    assert "1 repeated labels left out" in run(*asked)[0]


def test_options_that_contradict_each_other_are_usage_errors(labels):
    error = refusal("--csv", labels, "--raters", "a,b", "--criteria", "c,d")
    assert error.returncode == 2
    assert "--raters and --criteria" in str(error)


def test_one_judge_and_another_epsilon(labels):
    result = json.loads(run("--csv", labels, "--judge", "gpt", "--epsilon", "0.1", "--json")[0])
    assert result["pooled"]["judges"]["gpt"]["alt_test"]["epsilon"] == 0.1
    assert "there are: gpt" in str(refusal("--csv", labels, "--judge", "claude"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("i2,R1,safety,,human", "row 3, column label"),
        (",R1,safety,A,human", "row 3, column item"),
        ("i1,R1,safety,B,human", "row 3, column rater: R1 labelled item i1 on safety before, in row 2"),
        ("i2,R1,safety,A,robot", "row 3, column rater_kind: 'robot'"),
        ("i2,R1,safety,A,judge", "row 3, column rater_kind: R1 is human in an earlier row"),
        ("i2,R1,safety,C,human", "row 3, column label: 'C' is not in the order"),
        ("i2,R1,safety", "row 3: 3 cells"),
    ],
)
def test_a_bad_row_is_one_line_with_file_row_and_column(csv, line, message):
    path = csv("i1,R1,safety,A,human", line)
    error = refusal("--csv", path, "--order", "B,tie,A")
    assert path in str(error)
    assert message in str(error)
    assert error.returncode == 1


def test_a_file_that_cannot_be_read_is_one_line(csv, tmp_path):
    assert "column label is missing" in str(refusal("--csv", csv("i1,R1,s", header="item,rater,criterion")))
    assert "UTF-8" in str(refusal("--csv", csv("i1,Zoë,safety,A,human", encoding="latin-1")))
    assert "no row" in str(refusal("--csv", csv()))
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "empty" in str(refusal("--csv", str(empty)))
    assert "cannot be read" in str(refusal("--csv", str(tmp_path / "absent.csv")))


@pytest.mark.parametrize(
    "options",
    [("--level", "ordinal"), ("--order", "A,A"), ("--epsilon", "7"), ("--bootstrap", "-1"), ("--seed", "-3")],
)
def test_options_that_make_no_sense_are_usage_errors(labels, options):
    assert refusal("--csv", labels, *options).returncode == 2


@pytest.fixture
def study(db):
    study = make_study(criteria=("safety",), slug="pilot")
    first, second = make_system(study, name="Base"), make_system(study, name="MODPO")
    judge = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name="gpt")
    Judge.objects.create(rater=judge, kind=JudgeKind.LLM, is_toy=True)
    people = [make_clinician(study, simulated=number == 0) for number in range(3)]
    for number in range(4):
        comparison = make_comparison(make_prompt(study), first, second)
        choice = Choice.LEFT if number % 2 else Choice.RIGHT
        looks = [(rater, True, 1) for rater in people] + [(judge, True, 1), (judge, False, 2)]
        for rater, a_on_left, presentation in looks:
            assignment = make_assignment(comparison, rater, a_on_left=a_on_left, presentation=presentation)
            assignment.submit({study.criteria.get(): choice})
    return study


def test_before_the_lock_only_clinicians_are_reported(study):
    out, _ = run("--study", "pilot", "--json", "--bootstrap", "10")
    result = json.loads(out)
    assert result["pooled"]["percent_agreement"]["value"] == 1.0
    assert result["pooled"]["judges"] == {}
    table, _ = run("--study", "pilot", "--bootstrap", "10")
    assert "judges are left out" in table
    assert "Base" not in out + table
    assert "gpt" not in out + table
    assert "once it is locked" in str(refusal("--study", "pilot", "--judge", "gpt"))


def test_after_unblinding_judges_stand_beside_clinicians_and_are_marked(study):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    study.unblind()
    result = json.loads(run("--study", "pilot", "--json", "--bootstrap", "10")[0])
    # The judge chose one side both times: a tie each time, where the clinicians chose a system.
    assert result["pooled"]["judges"]["gpt"]["agreement_with_raters"]["value"] == 0.0
    assert result["settings"]["toy_judges"] == ["gpt"]
    assert len(result["settings"]["simulated_raters"]) == 1
    table, _ = run("--study", "pilot", "--bootstrap", "10")
    assert "toy judges" in table
    assert "simulated raters" in table


def test_a_stratum_of_a_study_is_one_of_its_comparisons(study):
    assert "no label has a stratum" in str(refusal("--study", "pilot", "--stratum"))
    first = study.comparisons.order_by("pk").values_list("pk", flat=True)[:2]
    study.comparisons.filter(pk__in=list(first)).update(stratum="risk, long")
    found = json.loads(run("--study", "pilot", "--stratum", "--bootstrap", "0", "--json")[0])
    assert {name: part["pooled"]["items"] for name, part in found["strata"].items()} == {"risk, long": 2}


def test_options_that_describe_a_file_go_with_a_file(study, labels):
    assert "--judge-label describes a file: it goes with --judge-csv" in str(
        refusal("--csv", labels, "--judge-label", "winner")
    )
    for options in (["--item", "id"], ["--judge-csv", "x.csv"], ["--map", "1=A"], ["--where", "a=b"]):
        error = refusal("--study", "pilot", *options)
        assert f"{options[0]} describes a file" in str(error)
        assert error.returncode == 2


def test_exported_labels_agree_as_the_study_does(study, tmp_path):
    study.comparisons.update(stratum="risk")
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    study.unblind()
    path = tmp_path / "labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        call_command("export_verdicts", "--study", "pilot", stdout=file)
    asked = ("--stratum", "--bootstrap", "50", "--json")
    of_file = json.loads(run("--csv", str(path), *asked)[0])
    of_study = json.loads(run("--study", "pilot", *asked)[0])
    assert of_file["pooled"]["judges"]["gpt"]["agreement_with_raters"]["n"] == 4
    for part in ("criteria", "pooled", "strata"):
        assert of_file[part] == of_study[part]


def test_an_unknown_study_is_one_line_that_lists_those_there_are(study):
    assert "there are: pilot" in str(refusal("--study", "other"))


def test_a_study_without_verdicts_says_so(db):
    make_study(slug="empty")
    assert "no verdict by a clinician" in str(refusal("--study", "empty"))
