from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import StudyError
from annotation.models import Participant, ParticipantStatus, Ranking, Rater
from tests.factories import make_clinician, make_prompt, make_ranking, make_study, make_task
from tests.training.rankings import manifest, rank, rank_as_judge
from training.datasets import export_preferences

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study(slug="pilot")


@pytest.fixture
def empathy(study):
    return study.criterion("empathy")


@pytest.mark.parametrize(
    ("source", "kinds", "left_out"),
    [
        ("human", {"participant": 1, "clinician": 1}, 1),
        ("persona", {"judge": 1}, 2),
        ("both", {"participant": 1, "clinician": 1, "judge": 1}, 0),
    ],
)
def test_rankings_of_people_of_personas_or_of_both(study, empathy, tmp_path, source, kinds, left_out):
    prompt = make_prompt(study, responses=2)
    rank(empathy, prompt, 0, 1)
    make_ranking(make_task(make_clinician(study), prompt), empathy)
    rank_as_judge(empathy, prompt, 1, 0)
    export_preferences(study, empathy, output=tmp_path / "out", source=source)
    told = manifest(tmp_path / "out")
    assert told["counts"]["rankings_by"] == kinds
    assert told["choices"]["source"] == source
    assert told["exclusions"]["rankings_of_another_source"] == left_out
    assert ("1 of" in told["label"] and "by judges: models" in told["label"]) == ("judge" in kinds)


def seconds_spent(ranking, seconds):
    Ranking.objects.filter(pk=ranking.pk).update(opened_at=ranking.submitted_at - timedelta(seconds=seconds))
    return ranking


@pytest.fixture
def careless(study, empathy):
    """Five rankings: a quick one, two slow ones by someone who completed the study, a simulated one, a judge's."""
    first, second = make_prompt(study, responses=2), make_prompt(study, responses=2)
    seconds_spent(rank(empathy, first, 0, 1), 2.5)
    slow = seconds_spent(rank(empathy, first, 0, 1), 60)
    Participant.objects.filter(rater=slow.task.rater).update(status=ParticipantStatus.COMPLETE)
    responses = list(second.responses.order_by("pk"))
    seconds_spent(make_ranking(make_task(slow.task.rater, second), empathy, responses), 60)
    simulated = rank(empathy, first, 0, 1, simulated=True)
    Rater.objects.filter(pk=simulated.task.rater_id).update(name="Sim 1")
    judged = rank_as_judge(empathy, first, 0, 1)
    for unseen in (simulated, judged):
        seconds_spent(unseen, 0)


@pytest.mark.parametrize(
    ("rules", "counts", "kept"),
    [
        (["faster-than=3"], {"faster-than=3": 1}, 4),
        (["faster-than=2"], {"faster-than=2": 0}, 5),
        (["faster-than=100"], {"faster-than=100": 3}, 2),
        (["fewer-than=2"], {"fewer-than=2": 3}, 2),
        (["rater=Sim 1"], {"rater=Sim 1": 1}, 4),
        (["simulated"], {"simulated": 1}, 4),
        (["unfinished"], {"unfinished": 2}, 3),
        (
            ["unfinished", "faster-than=3", "simulated", "simulated"],
            {"faster-than=3": 1, "simulated": 1, "unfinished": 2},
            3,
        ),
    ],
)
def test_declared_rules_leave_rankings_out_and_count_them(study, empathy, careless, tmp_path, rules, counts, kept):
    dataset = export_preferences(study, empathy, output=tmp_path / "out", exclude=rules)
    told = manifest(tmp_path / "out")
    assert told["exclusions"]["rankings_by_rule"] == counts
    assert told["exclusions"]["rankings_by_any_rule"] == 5 - kept
    assert dataset.rankings == kept
    assert told["choices"]["exclude"] == list(dataset.filters["exclude"]) == sorted(set(rules))


def test_rules_count_what_the_source_left(study, empathy, careless, tmp_path):
    export_preferences(study, empathy, output=tmp_path / "out", source="persona", exclude=["simulated"])
    exclusions = manifest(tmp_path / "out")["exclusions"]
    assert (exclusions["rankings_of_another_source"], exclusions["rankings_by_any_rule"]) == (4, 0)


def test_a_rule_makes_another_data_set_even_where_it_leaves_nothing_out(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    plain = export_preferences(study, empathy, output=tmp_path / "plain")
    ruled = export_preferences(study, empathy, output=tmp_path / "ruled", exclude=["simulated"])
    assert plain.content_hash != ruled.content_hash


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("careless", "no such rule .there are: faster-than=SECONDS, fewer-than=N, rater=NAME, simulated, unfinished."),
        ("", "no such rule"),
        ("faster-than", "this rule is written faster-than=SECONDS"),
        ("faster-than=", "a whole number above 0"),
        ("faster-than=soon", "a whole number above 0"),
        ("faster-than=0", "a whole number above 0"),
        ("faster-than=1e3", "a whole number above 0"),
        ("fewer-than=-1", "a whole number above 0"),
        ("fewer-than=99999999999999999999", "a whole number above 0"),
        ("simulated=yes", "this rule is written simulated"),
        ("rater=Nobody", "study pilot has no rater of that name"),
    ],
)
def test_a_wrong_rule_is_one_clear_line(study, empathy, tmp_path, rule, message):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    options = ["--study=pilot", "--criterion=empathy", f"--output={tmp_path / 'out'}", f"--exclude={rule}"]
    with pytest.raises(CommandError, match=message) as caught:
        call_command("export_preferences", *options)
    assert str(caught.value).startswith(f"--exclude {rule}:")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_rules_that_leave_nothing_are_named(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1, simulated=True)
    with pytest.raises(StudyError, match=r"no submitted ranking .* .source human, exclude simulated."):
        export_preferences(study, empathy, output=tmp_path / "out", source="human", exclude=["simulated"])
    assert not list(tmp_path.iterdir())
