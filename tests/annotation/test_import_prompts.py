import csv

import pytest
from django.core.management import CommandError, call_command

from annotation.models import ConsentDocument, Prompt, Study, StudyStatus
from annotation.splits import split_by_length
from tests.factories import make_prompt, make_study

pytestmark = pytest.mark.django_db


def text(number: int) -> str:
    return f"Post {number} says " + "so " * number


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def questions(tmp_path):
    rows = [(f"q{n}", text(n)) for n in range(40)]
    return write(tmp_path / "questions.csv", ["question_id", "question_text"], rows)


def test_epitome_is_filtered_and_split_as_the_authors_do(tmp_path, capsys):
    rows = [(f"s{n}", "r", text(n)) for n in range(40)]
    odd = [
        ("s3", "r2", "Another answer to the same post"),
        ("", "r", text(50)),
        ("s60", "r", ""),
        ("s61", "r", "too short"),
    ]
    path = write(tmp_path / "epitome.csv", ["sp_id", "rp_id", "seeker_post"], [*rows, *odd])
    call_command("import_prompts", path, "--study", "new", "--test-size", "8")
    train, test = split_by_length([text(n) for n in range(40)], 8, 42)
    stored = list(Prompt.objects.order_by("pk").values_list("key", "text", "split"))
    assert stored == [(f"s{n}", text(n), "train") for n in train] + [(f"s{n}", text(n), "test") for n in test]
    assert "40 prompts (32 train, 8 test); left out: 2 without text, 1 repeats of an id, 1 by length" in (
        capsys.readouterr().out
    )


def splits(slug):
    return dict(Prompt.objects.filter(study__slug=slug).order_by("pk").values_list("key", "split"))


@pytest.mark.parametrize("size", ["6", "0.25"])
def test_scorer_prompts_come_of_the_train_prompts_and_leave_the_test_prompts_alone(tmp_path, capsys, size):
    rows = [(f"q{n}", text(n)) for n in range(30)]
    path = write(tmp_path / "questions.csv", ["question_id", "question_text"], rows)
    call_command("import_prompts", path, "--study", "plain", "--test-size", "6")
    call_command("import_prompts", path, "--study", "apart", "--test-size", "6", "--scorer-size", size)
    assert "30 prompts (18 train, 6 scorer, 6 test)" in capsys.readouterr().out
    plain, apart = splits("plain"), splits("apart")
    assert list(plain) == list(apart)
    assert {key: split.replace("scorer", "train") for key, split in apart.items()} == plain
    # Of each quartile of length some.
    scorers = sorted(int(key[1:]) for key, split in apart.items() if split == "scorer")
    assert scorers[0] < 12 < scorers[-1]


def test_scorer_prompts_are_drawn_by_the_seed(questions):
    for slug, seed in (("one", "42"), ("same", "42"), ("other", "43")):
        options = ("--test-size", "0", "--scorer-size", "10", "--seed", seed)
        call_command("import_prompts", questions, "--study", slug, *options)
    assert splits("one") == splits("same") != splits("other")


def test_a_post_that_the_study_has_twice_becomes_no_scorer_prompt(tmp_path):
    rows = [(f"q{n}", text(n)) for n in range(20)] + [(f"again{n}", text(n)) for n in range(6)]
    path = write(tmp_path / "questions.csv", ["question_id", "question_text"], rows)
    study = make_study(slug="there")
    for n in (6, 7):
        make_prompt(study, key=f"before{n}", text=text(n))
    call_command("import_prompts", path, "--study", "there", "--test-size", "0", "--scorer-size", "8")
    scorers = {key for key, split in splits("there").items() if split == "scorer"}
    assert len(scorers) == 8
    assert scorers < {f"q{n}" for n in range(8, 20)}


def test_more_scorer_prompts_than_there_are_is_refused_and_nothing_is_stored(questions):
    with pytest.raises(CommandError, match="--scorer-size 32: cannot be drawn from 32 prompts"):
        call_command("import_prompts", questions, "--study", "new", "--test-size", "8", "--scorer-size", "32")
    assert not Study.objects.exists()


def test_where_every_post_comes_twice_no_scorer_prompt_can_be_drawn(tmp_path):
    rows = [(f"q{n}", "The same words from two people") for n in range(4)]
    path = write(tmp_path / "questions.csv", ["question_id", "question_text"], rows)
    with pytest.raises(CommandError, match="--scorer-size 1: cannot be drawn from 0 prompts"):
        call_command("import_prompts", path, "--study", "new", "--test-size", "0", "--scorer-size", "1")


def test_a_draft_study_is_made_where_there_is_none(questions):
    call_command("import_prompts", questions, "--study", "new", "--test-size", "0.2")
    study = Study.objects.get(slug="new")
    assert study.status == StudyStatus.DRAFT
    assert study.criteria.filter(ranked=True).count() == 6
    assert study.criteria.get(ranked=False).key == "overall_preference"
    assert not ConsentDocument.objects.exists()
    assert study.prompts.filter(split="test").count() == 8


def test_a_study_that_is_there_gains_the_prompts(questions):
    study = make_study(slug="there")
    make_prompt(study, key="old")
    call_command("import_prompts", questions, "--study", "there", "--test-size", "0")
    assert study.prompts.filter(split="train").count() == 41


def test_the_seed_draws_another_split(questions):
    for seed in ("42", "43"):
        call_command("import_prompts", questions, "--study", f"s{seed}", "--test-size", "8", "--seed", seed)
    keys = [
        set(Prompt.objects.filter(study__slug=s, split="test").values_list("key", flat=True)) for s in ("s42", "s43")
    ]
    assert keys[0] != keys[1]


WRONG = [
    ("question_id,text\nq1,A long enough post\n", r"row 1: column question_text is missing: it has question_id, text"),
    ("sp_id,text\nq1,A long enough post\n", r"row 1: column seeker_post is missing"),
    ("question_id,question_id,question_text\na,b,A long enough post\n", "row 1: column question_id is named twice"),
    ("", "the file is empty"),
    ("question_id,question_text\n", "there is a header but no row"),
    ("question_id,question_text\nq1,short\n", "no post of 10 to 2,000 characters"),
    ("question_id,question_text\nq1,A long enough post,more\n", "row 2: 3 cells where the header names 2 columns"),
    (
        'question_id,question_text\nq1,"A post\nof two lines"\nq1,"A post of one line"\n',
        "row 4, column question_id: 'q1' was given before, in row 2",
    ),
    ('question_id,question_text\nq1,"A post without end\n', "row 2: not CSV: unexpected end of data"),
    (f"question_id,question_text\n{'q' * 65},A long enough post\n", "row 2, column question_id: 65 characters"),
    ("question_id,question_text\nq1,A long \0 enough post\n", "row 2, column question_text: .* not Unicode text"),
    ("question_id,question_text\nq1,A long enough post\n", "--test-size 600: cannot be drawn from 1 prompts"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_file_is_refused_in_one_line_and_no_study_is_made(tmp_path, content, message):
    path = tmp_path / "questions.csv"
    path.write_text(content)
    with pytest.raises(CommandError, match=message) as caught:
        call_command("import_prompts", str(path), "--study", "new")
    assert "\n" not in str(caught.value)
    assert not Study.objects.exists()


def test_another_encoding_is_named_with_its_row(tmp_path):
    path = tmp_path / "questions.csv"
    path.write_bytes("question_id,question_text\nq1,A good enough post\nq2,Un café s'il vous plaît\n".encode("latin-1"))
    with pytest.raises(CommandError, match=r"row 3: not UTF-8"):
        call_command("import_prompts", str(path), "--study", "new")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"none.csv: cannot be read: No such file"):
        call_command("import_prompts", str(tmp_path / "none.csv"), "--study", "new")


def test_a_prompt_that_the_study_has_is_refused(questions):
    study = make_study(slug="there")
    make_prompt(study, key="q7")
    with pytest.raises(CommandError, match=r"row 9, column question_id: study there has a prompt 'q7' already"):
        call_command("import_prompts", questions, "--study", "there", "--test-size", "8")
    assert study.prompts.count() == 1


def test_a_locked_study_takes_no_prompt(questions):
    study = make_study(slug="there", status=StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="is locked"):
        call_command("import_prompts", questions, "--study", "there")


@pytest.mark.parametrize("name", ["not a slug", "x" * 51])
def test_a_new_study_needs_a_name_that_addresses_can_hold(questions, name):
    with pytest.raises(CommandError, match="a new study's name"):
        call_command("import_prompts", questions, "--study", name, "--test-size", "8")
    assert not Study.objects.exists()


@pytest.mark.parametrize("option", ["--test-size", "--scorer-size"])
@pytest.mark.parametrize("value", ["-1", "1.5", "some", "nan"])
def test_a_size_that_is_none_is_a_usage_error(questions, option, value):
    with pytest.raises(CommandError, match=option):
        call_command("import_prompts", questions, "--study", "new", f"{option}={value}")
