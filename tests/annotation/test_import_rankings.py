import json

import pytest
from django.core.management import CommandError, call_command

from annotation.models import RankedResponse, Ranking, RankingTask, Rater, RaterKind, Response, StudyStatus
from tests.factories import make_prompt, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    study = make_study(slug="pilot")
    for key in ("q1", "q2"):
        prompt = make_prompt(study, key=key, text=f"Post {key}.", responses=3)
        for response in prompt.responses.all():
            Response.objects.filter(pk=response.pk).update(key=f"r{response.number}")
    return study


def entry(key="q1", order=("r2", "r3", "r1"), **changes):
    ranking = [{"rank": rank, "response_id": r, "response_text": "..."} for rank, r in enumerate(order, start=1)]
    return {"question_id": key, "question_text": f"Post {key}.", "ranking": ranking, **changes}


def load(tmp_path, entries, *, criterion="empathy", name="empathy_rankings.json"):
    path = tmp_path / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries, indent=1), encoding="utf-8")
    call_command("import_rankings", str(path), "--study", "pilot", "--criterion", criterion)


def test_rankings_are_kept_as_those_of_a_judge_named_after_the_file(study, tmp_path, capsys):
    load(tmp_path, [entry(), entry("q2", ("r3", "r1"))])
    rater = Rater.objects.get()
    assert (rater.kind, rater.name) == (RaterKind.JUDGE, "imported-empathy_rankings")
    ranking = Ranking.objects.submitted().get(task__prompt__key="q1")
    assert [row.response.key for row in ranking.ranked_responses.all()] == ["r2", "r3", "r1"]
    assert RankedResponse.objects.filter(ranking__task__prompt__key="q2", size=2).count() == 2
    assert not RankingTask.objects.filter(slot__isnull=False).exists()
    assert "2 rankings by imported-empathy_rankings" in capsys.readouterr().out


def test_the_order_of_the_ranks_counts_not_of_the_list(study, tmp_path):
    shuffled = entry()
    shuffled["ranking"].reverse()
    load(tmp_path, [shuffled])
    assert [row.response.key for row in Ranking.objects.get().ranked_responses.all()] == ["r2", "r3", "r1"]


def test_a_closed_study_takes_imported_rankings_a_locked_one_does_not(study, tmp_path):
    study.advance(StudyStatus.CLOSED)
    load(tmp_path, [entry()])
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="is locked"):
        load(tmp_path, [entry()], name="other.json")


def test_the_same_file_twice_is_refused(study, tmp_path):
    load(tmp_path, [entry()])
    with pytest.raises(CommandError, match="has rankings by imported-empathy_rankings already"):
        load(tmp_path, [entry("q2")])
    assert Ranking.objects.count() == 1


def test_an_unknown_criterion_is_refused(study, tmp_path):
    with pytest.raises(CommandError, match="no criterion 'humour': it has empathy, safety"):
        load(tmp_path, [entry()], criterion="humour")


def wrong_rank(rank):
    changed = entry("q2")
    changed["ranking"][1]["rank"] = rank
    return [entry(), changed]


PERMUTATION = "column ranking: no permutation"
WRONG = [
    ("", "the file is empty"),
    ("{}", "row 1: a JSON list of objects is required"),
    ("[ ]", "row 1: the list is empty"),
    ("[\n{},\n3]", "row 3: an object is required"),
    ('[\n{"question_id": "q1",\n"ranking" [] }]', "row 3: not JSON: Expecting ':' delimiter"),
    ('[{"question_id": NaN}]', "row 1: not JSON: NaN is no JSON number"),
    ("[{}", "row 1: not JSON: a list ends with"),
    ("[{}]\n]", "row 1: not JSON: a list ends with"),
    ([entry(), entry("q9")], "row 23, column question_id: the study has no prompt 'q9'"),
    ([entry(), entry()], "row 23, column question_id: 'q1' was given before, in row 2"),
    ([entry(question_text="Another")], "row 2, column question_text: not the text"),
    ([entry(ranking=None)], "row 2, column ranking: a list of objects"),
    ([entry(order=("r1", "r2", "r9"))], "row 2, column ranking: prompt q1 has no response 'r9'"),
    ([entry(order=("r1", "r2", "r1"))], PERMUTATION),
    ([entry(order=("r1",))], PERMUTATION),
    (wrong_rank(1), f"row 23, {PERMUTATION}"),
    (wrong_rank(4), PERMUTATION),
    (wrong_rank(0), PERMUTATION),
    (wrong_rank("2"), "row 23, column ranking: the rank of 'r3' must be a whole number"),
    (wrong_rank(True), "must be a whole number"),
]


@pytest.mark.parametrize(("entries", "message"), WRONG)
def test_a_wrong_file_is_refused_in_one_line_and_stores_nothing(study, tmp_path, entries, message):
    with pytest.raises(CommandError, match=message) as caught:
        load(tmp_path, entries)
    assert "\n" not in str(caught.value)
    assert not Rater.objects.exists()
    assert not RankingTask.objects.exists()


def test_another_encoding_is_refused(study, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes('[\n{"question_id": "é"}]'.encode("latin-1"))
    with pytest.raises(CommandError, match=r"x.json, row 2: not UTF-8"):
        call_command("import_rankings", str(path), "--study", "pilot", "--criterion", "empathy")
