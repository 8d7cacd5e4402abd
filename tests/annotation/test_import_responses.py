import pytest
from django.core.management import CommandError, call_command

from annotation.models import Response, StudyStatus, System, SystemKind
from tests.factories import make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db
HEADER = "question_id,question_text,response_id,response_text\n"


@pytest.fixture
def study():
    study = make_study(slug="pilot")
    for key in ("q1", "q2"):
        make_prompt(study, key=key, text=f"I cannot sleep, {key}.")
    return study


def load(tmp_path, content, *options, name="Base_responses.csv"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    call_command("import_responses", str(path), "--study", "pilot", *options)


def test_candidates_are_numbered_within_their_prompt(study, tmp_path):
    rows = '"q1","I cannot sleep, q1.",a,"First,\nin two lines"\n"q1","I cannot sleep, q1.",b,Second\n'
    load(tmp_path, HEADER + rows + '"q2","I cannot  sleep, q2.",a,Third\n', "--system", "Base", "--kind", "base")
    assert System.objects.get().kind == SystemKind.BASE
    stored = list(Response.objects.order_by("pk").values_list("prompt__key", "number", "key", "text"))
    assert stored == [("q1", 1, "a", "First,\nin two lines"), ("q1", 2, "b", "Second"), ("q2", 1, "a", "Third")]


def test_numbers_go_on_after_those_that_are_there(study, tmp_path):
    make_response(study.prompts.get(key="q1"), make_system(study, name="Base"), number=4)
    load(tmp_path, HEADER + '"q1","I cannot sleep, q1.",a,More\n')
    assert Response.objects.get(key="a").number == 5


def test_evaluation_files_name_the_system_themselves(study, tmp_path):
    content = "question_id,question_text,response_text,model_name\n"
    for key in ("q1", "q2"):
        content += f'"{key}","I cannot sleep, {key}.",Hello,GPT-4o\n"{key}","I cannot sleep, {key}.",Hi,MODPO\n'
    load(tmp_path, content)
    assert sorted(System.objects.values_list("name", "kind")) == [("GPT-4o", "api"), ("MODPO", "api")]
    assert Response.objects.get(prompt__key="q2", system__name="MODPO").text == "Hi"


def test_without_a_name_the_file_gives_it(study, tmp_path):
    load(tmp_path, HEADER + '"q1","I cannot sleep, q1.",a,Text\n', name="SFT-empathy_responses.csv")
    assert System.objects.get().name == "SFT-empathy"


GOOD = '"q1","I cannot sleep, q1.",a,Text\n'
WRONG = [
    ("question_id,question_text,response_id\nq1,x,a\n", "row 1: column response_text is missing"),
    ("question_id,question_text,response_text\nq1,x,a\n", "row 1: column response_id is missing, or model_name"),
    ("", "the file is empty"),
    (HEADER, "there is a header but no row"),
    (HEADER + GOOD + '"q9","I cannot sleep, q1.",a,Text\n', "row 3, column question_id: the study has no prompt 'q9'"),
    (
        HEADER + '"q1","Some other post",a,Text\n',
        "row 2, column question_text: not the text of the study's prompt 'q1'",
    ),
    (HEADER + GOOD + GOOD, "row 3, column response_id: 'a' was given before, in row 2"),
    (
        HEADER + '"q1","I cannot sleep, q1.",old,Text\n',
        "row 2, column response_id: prompt q1 has a response 'old' already",
    ),
    (HEADER + GOOD + '"q2","I cannot sleep, q2.",a," "\n', "row 3, column response_text: a text is required"),
    (HEADER + '"q1","I cannot sleep, q1.",,Text\n', "row 2, column response_id: a text is required"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_file_is_refused_in_one_line_and_stores_nothing(study, tmp_path, content, message):
    old = make_response(study.prompts.get(key="q1"), make_system(study, name="Old"))
    Response.objects.filter(pk=old.pk).update(key="old")
    with pytest.raises(CommandError, match=message) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert Response.objects.count() == System.objects.count() == 1


def test_another_encoding_is_refused(study, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes((HEADER + GOOD).encode() + '"q2","I cannot sleep, q2.",a,café\n'.encode("latin-1"))
    with pytest.raises(CommandError, match=r"x.csv, row 3: not UTF-8"):
        call_command("import_responses", str(path), "--study", "pilot")


def test_a_byte_order_mark_does_no_harm(study, tmp_path):
    load(tmp_path, "\ufeff" + HEADER + GOOD)
    assert Response.objects.count() == 1


def test_a_locked_study_takes_no_response(study, tmp_path):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="is locked"):
        load(tmp_path, HEADER + GOOD)
