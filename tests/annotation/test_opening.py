"""What is said when a study is opened that participants cannot take part in."""

import pytest
from django.core.management import call_command
from django.urls import reverse

from annotation.models import ConsentDocument, ItemKind, QuestionnaireItem, Split, StudyStatus
from annotation.participation import missing_for_participants
from tests.annotation.study_folder import replace, write_study
from tests.factories import make_prompt, make_study

pytestmark = pytest.mark.django_db
NO_CONSENT = "Participants cannot take part in study care yet: it has no consent document. Add one"


@pytest.fixture
def study():
    """A draft with all that participants need."""
    study = make_study(slug="care", status=StudyStatus.DRAFT)
    make_prompt(study, responses=5)
    return study


def make_question(study, **fields):
    return QuestionnaireItem.objects.create(
        study=study,
        **{"key": "sleep", "position": 1, "section": "You", "text": "Do you sleep?", "kind": ItemKind.LIKERT, **fields},
    )


def open_in_admin(client, study):
    chosen = {"action": "open_study", "_selected_action": [study.pk]}
    response = client.post(reverse("admin:annotation_study_changelist"), chosen, follow=True)
    return [(message.level_tag, str(message)) for message in response.context["messages"]]


def test_a_study_with_consent_criteria_and_a_prompt_to_rank_lacks_nothing(study):
    make_question(study)
    make_question(study, key="age", position=2, optional=False, options=[{"value": "old", "label": "Old"}])
    assert missing_for_participants(study) == []


def test_each_thing_that_is_missing_is_a_line(study):
    ConsentDocument.objects.all().delete()
    study.criteria.update(ranked=False)
    study.prompts.update(split=Split.TEST)
    make_question(study, optional=False)
    consent, criterion, prompts, question = missing_for_participants(study)
    assert consent.startswith(NO_CONSENT)
    assert "no criterion to rank on" in criterion
    assert "no train or scorer prompt has the 5 responses that a task shows" in prompts
    assert "question sleep needs an answer and has no options" in question
    assert not any("\n" in line for line in (consent, criterion, prompts, question))


def test_a_prompt_must_have_as_many_responses_as_a_task_shows(study):
    study.responses_per_task = 6
    (line,) = missing_for_participants(study)
    assert "the 6 responses" in line
    make_prompt(study, responses=6, split=Split.SCORER)
    assert missing_for_participants(study) == []


def test_the_command_opens_the_study_and_tells_what_is_missing(study, admin_user, capsys):
    ConsentDocument.objects.all().delete()
    call_command("advance_study", study="care", to="open", by=admin_user.username)
    said = capsys.readouterr()
    assert said.out == "study care is open\n"
    assert said.err.startswith(NO_CONSENT)
    assert said.err.count("\n") == 1
    call_command("advance_study", study="care", to="closed", by=admin_user.username)
    assert capsys.readouterr().err == ""


def test_a_folder_loaded_open_tells_what_is_missing(tmp_path, capsys):
    folder = write_study(tmp_path)
    call_command("load_study", str(folder), "--open")
    assert capsys.readouterr().err == ""
    replace(folder / "study.toml", "train = 2", "train = 0")
    call_command("load_study", str(folder), "--slug", "draft")
    assert capsys.readouterr().err == ""
    call_command("load_study", str(folder), "--slug", "tested", "--open")
    assert "study tested yet: no train or scorer prompt" in capsys.readouterr().err


def test_the_admin_opens_the_study_and_warns(study, admin_client):
    ConsentDocument.objects.all().delete()
    opened, missing = open_in_admin(admin_client, study)
    assert opened == ("success", "Care is now open.")
    assert missing[0] == "warning"
    assert missing[1].startswith(NO_CONSENT)


def test_the_admin_has_nothing_to_warn_of_when_nothing_is_missing(study, admin_client):
    assert open_in_admin(admin_client, study) == [("success", "Care is now open.")]
