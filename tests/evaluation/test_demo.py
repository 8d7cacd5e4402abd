"""The demonstration around its training: what it copies, prints, keeps and lets in."""

import stat

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from annotation.errors import StudyError
from annotation.models import Assignment, Split, Study, StudyStatus
from annotation.study_files import read_study_files
from evaluation.demo import CONTENT_SYSTEM, FOLDER, SYSTEMS, Demo, copy_responses, scoring, steps
from evaluation.management.commands.demo import table
from evaluation.management.commands.serve_demo import addresses, secret
from tests.factories import make_prompt, make_response, make_study, make_system
from training.models import Reward, Run, RunKind

pytestmark = pytest.mark.django_db
WIN = {"value": 0.75, "low": 0.6, "high": 0.9, "n": 20, "reason": None}
NONE = {"value": None, "low": None, "high": None, "n": 0, "reason": "no verdict"}


@pytest.fixture
def demo(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    return Demo(say=lambda line: None)


def test_the_table_shows_value_interval_and_n_or_the_reason():
    summary = {
        "systems": ["base", "modpo"],
        "criteria": ["empathy", "safety"],
        "win_rates": {"base": {"empathy": WIN, "safety": NONE}, "modpo": {"empathy": WIN, "safety": WIN}},
    }
    head, base, modpo = table(summary)
    assert head.split() == ["empathy", "safety"]
    assert "0.75 [0.60, 0.90] n=20" in base
    assert "no verdict" in base
    assert modpo.count("n=20") == 2


def test_responses_are_copied_to_a_study_of_the_same_prompts():
    source, target = make_study(), make_study()
    system = make_system(source, name="modpo")
    prompt = make_prompt(source, key="p1", responses=2, system=system)
    make_prompt(target, key="p1")
    copy_responses(source, target, ("modpo",))
    copied = target.systems.get(name="modpo").responses.values_list("prompt__study__slug", "text")
    assert list(copied) == [(target.slug, text) for text in prompt.responses.values_list("text", flat=True)]


def test_each_role_has_a_login_that_stays_the_same(demo):
    logins = demo.logins()
    assert logins == demo.logins() == demo.kept("logins.json")
    users = {name: get_user_model().objects.get(username=name) for name in logins}
    assert all(users[name].check_password(password) for name, password in logins.items())
    assert users["admin"].is_superuser
    assert not users["clinician"].is_staff
    assert users["researcher"].has_perm("evaluation.view_studyreport")
    assert not users["researcher"].has_perm("annotation.change_study")


def test_a_login_is_mended_when_its_password_was_lost(demo):
    demo.logins()
    (demo.folder / "logins.json").unlink()
    logins = demo.logins()
    assert get_user_model().objects.get(username="clinician").check_password(logins["clinician"])


@pytest.mark.parametrize("status", [StudyStatus.OPEN, StudyStatus.CLOSED, StudyStatus.LOCKED])
def test_the_study_is_locked_and_unblinded_from_wherever_it_was_left(demo, status):
    study = make_study(slug="demo")
    while study.status != status:
        study.advance(list(StudyStatus)[list(StudyStatus).index(study.status) + 1])
    demo.conclude()
    study.refresh_from_db()
    assert study.status == StudyStatus.LOCKED
    assert study.unblinded_at


@pytest.fixture
def two_studies():
    """The demonstration's study with the responses that clinicians compare, and the one to try out."""
    call_command("load_study", "fixtures/demo", "--open")
    call_command("load_study", "fixtures/demo", "--slug", "try-out", "--title", "Try out", "--open")
    finished, open_study = Study.objects.get(slug="demo"), Study.objects.get(slug="try-out")
    for name in SYSTEMS:
        system = make_system(finished, name=name)
        for prompt in finished.prompts.filter(split=Split.TEST):
            make_response(prompt, system)
    return finished, open_study


def test_the_clinician_is_given_practice_pairs_and_second_looks_once(demo, two_studies):
    _, open_study = two_studies
    demo.logins()
    pairs = open_study.prompts.filter(split=Split.TEST).count()
    for _ in range(2):
        demo.give_pairs(open_study)
        given = Assignment.objects.filter(rater__user__username="clinician").visible()
        assert given.filter(comparison__calibration=True).exists()
        real = given.filter(comparison__calibration=False)
        assert real.filter(presentation=1).count() == pairs
        assert real.filter(presentation=2).count() == pairs // 5 > 0


def test_the_clinician_is_given_no_pairs_once_a_superuser(demo):
    demo.logins()
    get_user_model().objects.filter(username="clinician").update(is_superuser=True)
    study = make_study()
    with pytest.raises(StudyError, match="clinician can look up which system wrote what"):
        demo.give_pairs(study)
    assert not study.raters.exists()


def test_simulated_clinicians_judge_a_design_and_go_on_where_they_stopped(demo, two_studies):
    finished, _ = two_studies
    call_command("simulate_participants", "fixtures/demo", "--study", "demo")
    demo.ask_clinicians(finished)
    pairs = finished.prompts.filter(split=Split.TEST).count()
    submitted = Assignment.objects.submitted().filter(comparison__design__study=finished)
    assert submitted.count() == 4 * (pairs + pairs // 5)
    demo.ask_clinicians(finished)
    assert submitted.count() == 4 * (pairs + pairs // 5)


def test_the_responses_that_are_scored_are_those_of_the_folder():
    assert read_study_files(FOLDER).system == CONTENT_SYSTEM


def test_scores_are_done_when_every_ranked_response_has_one():
    study = make_study(slug="demo")
    prompt = make_prompt(study, responses=2, system=make_system(study, name=CONTENT_SYSTEM))
    run = Run.objects.create(name="demo-reward-safety", kind=RunKind.REWARD_MODEL)
    for response in prompt.responses.all():
        assert not scoring(run.name).is_done()
        Reward.objects.create(run=run, criterion="empathy", response=response, raw=0.0, value=0.0)
    make_response(prompt, make_system(study, name="base"))
    assert scoring(run.name).is_done()


def test_the_secret_is_drawn_once_and_read_by_its_owner_alone(tmp_path):
    drawn = secret(tmp_path)
    assert secret(tmp_path) == drawn
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_a_finished_step_is_passed_over(demo):
    call_command("load_study", "fixtures/demo", "--open")
    study = next(step for step in steps() if step.name == "study")
    assert study.is_done()
    assert Study.objects.get(slug="demo").prompts.count() == 72


def test_serving_before_the_demonstration_says_what_to_run(demo):
    with pytest.raises(CommandError, match="run `make demo`"):
        call_command("serve_demo")


def test_the_addresses_name_each_role_and_say_that_all_is_simulated():
    study = make_study(slug="demo")
    text = "\n".join(addresses("http://127.0.0.1:8000", {"admin": "a1", "researcher": "r1", "clinician": "c1"}))
    for part in ("/s/try-out/", "clinician / c1", "researcher / r1", "admin / a1", "simulated", f"/{study.pk}/change/"):
        assert part in text
