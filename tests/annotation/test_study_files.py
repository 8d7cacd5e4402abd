import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from annotation.models import AuditEvent, Prompt, Response, Study, StudyStatus, SystemKind
from annotation.study_files import STUDY_KEYS, read_criteria, read_study_files
from tests.annotation.study_folder import QUESTIONNAIRE, STUDY, post, replace, write_study

pytestmark = pytest.mark.django_db
DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
DOCUMENT = Path(__file__).parents[2] / "docs" / "study-files.md"


def test_the_demonstration_study_loads_whole(capsys):
    call_command("load_study", str(DEMO), "--open")
    study = Study.objects.get(slug="demo")
    assert study.status == StudyStatus.OPEN
    assert Counter(study.prompts.values_list("split", flat=True)) == {"train": 36, "scorer": 16, "test": 20}
    assert Response.objects.filter(prompt__study=study).count() == 72 * 5
    assert study.systems.get().kind == SystemKind.HUMAN
    assert list(study.criteria.filter(ranked=False).values_list("key", flat=True)) == ["overall_preference"]
    assert study.criteria.filter(judged=True).count() == 7
    assert study.current_consent().statements
    assert study.questionnaire_items.count() == 20
    assert "36 train, 16 scorer, 20 test" in capsys.readouterr().out


def test_a_study_is_a_draft_until_it_is_opened(tmp_path):
    call_command("load_study", str(write_study(tmp_path)))
    study = Study.objects.get(slug="small")
    assert study.status == StudyStatus.DRAFT
    assert list(AuditEvent.objects.filter(study=study).values_list("action", flat=True)) == ["study.load"]
    assert Response.objects.get(key="p1-warm").text == "A warm answer to p1."


def test_the_same_folder_is_split_alike_each_time(tmp_path):
    folder = write_study(tmp_path, posts=12)
    assert read_study_files(folder).splits == read_study_files(folder).splits
    first = read_study_files(folder).splits
    replace(folder / "study.toml", 'slug = "small"', 'slug = "small"\nseed = 7')
    assert read_study_files(folder).splits != first


def test_loading_again_is_refused_unless_asked_to_leave_it(tmp_path, capsys):
    folder = write_study(tmp_path)
    call_command("load_study", str(folder))
    with pytest.raises(CommandError, match="small exists already"):
        call_command("load_study", str(folder))
    call_command("load_study", str(folder), "--if-missing", "--open")
    assert "left as it is" in capsys.readouterr().out
    assert Study.objects.get().status == StudyStatus.DRAFT


def test_a_study_may_choose_and_bring_its_criteria(tmp_path):
    folder = write_study(tmp_path)
    (folder / "criteria").mkdir()
    shutil.copy(DEMO.parent / "criteria" / "evaluation.toml", folder / "criteria" / "own.toml")
    replace(folder / "criteria" / "own.toml", "overall_preference", "own_preference")
    replace(folder / "study.toml", 'slug = "small"', 'slug = "small"\ncriteria = ["gricean", "own"]')
    keys = [criterion.key for criterion in read_study_files(folder).criteria]
    assert keys == ["quantity", "quality", "relation", "manner", "own_preference"]


def test_the_responses_belong_to_the_system_that_the_study_names(tmp_path):
    folder = write_study(tmp_path)
    call_command("load_study", str(folder))
    replace(folder / "study.toml", 'slug = "small"', 'slug = "named"\nsystem = "peer supporters"')
    call_command("load_study", str(folder))
    assert list(Study.objects.get(slug="small").systems.values_list("name", "kind")) == [("written", "human")]
    assert Study.objects.get(slug="named").systems.get().name == "peer supporters"


def test_a_study_may_be_written_without_posts(tmp_path, capsys):
    folder = write_study(tmp_path)
    (folder / "posts_a.toml").unlink()
    call_command("load_study", str(folder))
    study = Study.objects.get(slug="small")
    assert study.current_consent().statements == ["I agree."]
    assert (study.criteria.count(), study.questionnaire_items.count()) == (7, 1)
    assert not study.prompts.exists()
    assert not study.systems.exists()
    assert "study small (draft): 0 prompts, 7 criteria, 1 questions" in capsys.readouterr().out


def test_a_post_may_be_a_prompt_without_responses(tmp_path):
    folder = write_study(tmp_path)
    (folder / "posts_b.toml").write_text('[[posts]]\nkey = "bare"\ntext = "Nobody has answered this one yet."')
    call_command("load_study", str(folder))
    assert not Prompt.objects.get(key="bare").responses.exists()
    assert Response.objects.count() == 6 * 3
    with (folder / "posts_b.toml").open("a") as file:
        file.write("\nresponses = []")
    with pytest.raises(InputError, match="post bare: responses must be tables, at least one"):
        read_study_files(folder)


def test_a_study_whose_posts_have_no_responses_has_no_system_yet(tmp_path):
    folder = write_study(tmp_path)
    (folder / "posts_a.toml").write_text('[[posts]]\nkey = "bare"\ntext = "Nobody has answered this one yet."')
    call_command("load_study", str(folder))
    study = Study.objects.get()
    assert study.prompts.get().split == "train"
    assert not study.systems.exists()


def test_a_set_of_criteria_takes_no_unknown_key(tmp_path):
    (tmp_path / "own.toml").write_text('title = "Mine"')
    with pytest.raises(InputError, match=r"own\.toml: unknown key 'title'"):
        read_criteria(["own"], tmp_path)


def test_two_sets_may_not_hold_the_same_criterion():
    with pytest.raises(InputError, match="criteria empathy: the key was given before"):
        read_criteria(["therapeutic", "therapeutic"])
    with pytest.raises(InputError, match="no set 'none': there are evaluation, gricean, therapeutic"):
        read_criteria(["none"])


WRONG = [
    ("study.toml", 'slug = "small"', 'slug = "not a slug"', "study.toml: slug 'not a slug' may hold only"),
    ("study.toml", 'title = "A small study"', "", "study.toml: title is missing"),
    ("study.toml", "raters_per_task = 3", "raters_per_task = true", "raters_per_task must be of type int"),
    ("study.toml", "raters_per_task = 3", "raters_per_task = 0", "study_sizes_positive"),
    ("study.toml", "raters_per_task = 3", "rater_per_task = 3", "unknown key 'rater_per_task'"),
    ("study.toml", "responses_per_task = 3", "responses_per_task = 4", "post p1: 3 responses, a task shows 4"),
    ("study.toml", 'slug = "small"', 'slug = "small"\nsystem = " "', "study.toml: system is empty"),
    ("study.toml", 'slug = "small"', f'slug = "small"\nsystem = "{"n" * 81}"', "system has 81 characters, at most 80"),
    ("study.toml", "train = 2", "training = 2", r"\[splits\]: unknown key 'training'"),
    ("study.toml", "train = 2", "train = -2", r"\[splits\]: the shares must be 0 or more"),
    ("study.toml", 'statements = ["I agree."]', "statements = []", r"\[consent\]: Statements must be a list of texts"),
    ("study.toml", "I agree.", " ", r"\[consent\]: Statement 1 must be a text, and not blank"),
    ("study.toml", "I agree.", "I agree" * 100, r"\[consent\]: Statement 1 has 700 characters, at most 500 fit"),
    ("study.toml", "[consent]", "[consent", "study.toml: not TOML: .*line 12"),
    ("questionnaire.toml", 'kind = "single"', 'kind = "slider"', "item age_group: kind 'slider' is unknown"),
    (
        "questionnaire.toml",
        'value = "old"',
        'value = " young"',
        "age_group: Option 2: the value young was given before",
    ),
    ("questionnaire.toml", ', label = "Old"', "", "item age_group: Option 2 must be a value and a label"),
    ("questionnaire.toml", 'value = "old"', 'value = "a=b"', "Option 2 must be .* without = in the value"),
    ("posts_a.toml", 'key = "p2"', 'key = "p1"', "posts_a.toml, post p1: the key was given before"),
    ("posts_a.toml", "empathy = 5", "empathy = 6", "post p1, response warm, .*empathy must be 1, 2, 3, 4 or 5"),
    ("posts_a.toml", 'style = "cold"', 'style = "warm"', "post p1, response warm: the key was given before"),
    ("posts_a.toml", 'text = "A cold answer to p1."', 'text = " "', "post p1, response cold: text is empty"),
    ("posts_a.toml", "risk = false", 'risk = "no"', "post p1: risk must be of type bool"),
    ("study.toml", 'text = "Thank you."', 'txt = "Thank you."', r"\[debrief\]: unknown key 'txt'"),
    ("study.toml", 'version = "1"', 'version = "1"\ndate = 1', r"\[information\]: unknown key 'date'"),
    ("study.toml", "[consent]", "[consent]\nstatement = 1", r"\[consent\]: unknown key 'statement'"),
    ("questionnaire.toml", "[[items]]", "items_ = 1\n[[items]]", "questionnaire.toml: unknown key 'items_'"),
    ("questionnaire.toml", 'label = "Old"', 'label = "Old", help = ""', "Option 2 must be a value and a label"),
    ("posts_a.toml", "[[posts.responses]]", "[[responses]]", "posts_a.toml: unknown key 'responses'"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), WRONG)
def test_what_is_wrong_is_named_with_file_and_entry_and_nothing_is_written(tmp_path, name, old, new, message):
    folder = write_study(tmp_path)
    replace(folder / name, old, new)
    with pytest.raises(CommandError, match=message) as caught:
        call_command("load_study", str(folder))
    assert "\n" not in str(caught.value)
    assert not Study.objects.exists()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CommandError, match=r"study.toml: cannot be read"):
        call_command("load_study", str(tmp_path))
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "posts_x.toml").write_text(post("p1"))
    with pytest.raises(CommandError, match=r"questionnaire.toml: cannot be read"):
        call_command("load_study", str(tmp_path))
    (tmp_path / "questionnaire.toml").write_bytes(QUESTIONNAIRE.encode().replace(b"old", b"\xff"))
    with pytest.raises(CommandError, match=r"questionnaire.toml, row 5: not UTF-8"):
        call_command("load_study", str(tmp_path))
    assert not Prompt.objects.exists()


def test_the_documented_study_loads_and_every_key_is_documented(tmp_path):
    text = DOCUMENT.read_text()
    for name, example in re.findall(r"```toml\n# (\S+)\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / name).write_text(example)
    call_command("load_study", str(tmp_path))
    study = Study.objects.get(slug="night-shift")
    assert list(study.systems.values_list("name", flat=True)) == ["peer supporters"]
    assert [prompt.responses.count() for prompt in study.prompts.all()] == [2, 0]
    assert study.questionnaire_items.get().optional is False
    assert {key for key in STUDY_KEYS if f"`{key}`" not in text and f"`[{key}]`" not in text} == set()


def test_the_same_folder_may_be_loaded_under_another_slug_and_title():
    call_command("load_study", "fixtures/demo", "--slug", "try-out", "--title", "Try it")
    assert Study.objects.filter(slug="try-out", title="Try it").exists()
