import io
import json

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Choice, Comparison, Split, StudyStatus
from evaluation.head_to_head import head_to_head
from evaluation.judging import JudgeSpec, Vote, chosen_comparisons, ensure_judge, plan, store
from evaluation.llm_judge import judge_config
from evaluation.models import JudgeKind
from tests.evaluation.endpoint import ScriptedEndpoint, verdicts
from tests.factories import make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db

NAMES = ("Base", "DPO", "MODPO")


@pytest.fixture
def study():
    """Two test prompts answered by three systems."""
    study = make_study()
    systems = [make_system(study, name=name) for name in NAMES]
    for key in ("q1", "q2"):
        prompt = make_prompt(study, split=Split.TEST, key=key)
        for system in systems:
            make_response(prompt, system)
    return study


def make_judge(study, *, is_toy=False, endpoint="http://127.0.0.1:9/v1"):
    spec = JudgeSpec(
        name="J",
        kind=JudgeKind.LLM,
        model="m",
        endpoint=endpoint,
        config=judge_config(list(study.criteria.all()), seed=0),
        is_toy=is_toy,
    )
    return ensure_judge(study, spec)


def vote_for(judge, comparisons, prefer, *, limit=None):
    """Store a vote on every presentation; `prefer(prompt key, system a, system b, presentation)` names the winner."""
    cast = []
    for assignment in plan(judge, comparisons, limit=limit):
        a, b = assignment.comparison.response_a, assignment.comparison.response_b
        winner = prefer(a.prompt.key, a.system.name, b.system.name, assignment.presentation)
        left = assignment.left.system.name
        choice = Choice.TIE if winner is None else Choice.LEFT if winner == left else Choice.RIGHT
        choices = dict.fromkeys(judge.rater.study.criteria.all(), choice)
        cast.append(Vote(assignment=assignment, choices=choices, text="{}", seconds=0))
    store(cast, study=judge.rater.study)


def the_later(key, a, b, presentation):
    return b


def run(study, *options):
    out = io.StringIO()
    call_command("head_to_head", "--study", study.slug, "--judge", "J", *options, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_win_rates_are_those_of_the_votes(study):
    judge = make_judge(study)
    vote_for(judge, chosen_comparisons(study, NAMES), the_later)
    result = json.loads(run(study, "--json"))
    assert result["systems"] == list(NAMES)
    assert result["criteria"] == ["empathy", "safety"]
    assert [result["win_rates"][name]["safety"]["value"] for name in NAMES] == [0, 0.5, 1]
    assert result["win_rates"]["DPO"]["empathy"]["n"] == 2
    assert (result["comparisons"], result["incomplete"], result["toy_judge"]) == (6, 0, False)
    pair = next(pair for pair in result["pairs"] if (pair["system_a"], pair["criterion"]) == ("DPO", "safety"))
    assert (pair["system_b"], pair["losses"]["value"], pair["mcnemar_p"]) == ("MODPO", 1, 0.5)


def test_a_pair_whose_winner_depends_on_the_order_is_a_tie(study):
    judge = make_judge(study)

    def by_place(key, a, b, presentation):
        return (a, b)[presentation - 1] if key == "q1" else b

    comparisons = chosen_comparisons(study, NAMES[:2])
    vote_for(judge, comparisons, by_place)
    pair = head_to_head(judge, comparisons).pairs[0]
    assert (pair.wins.value, pair.ties.value, pair.losses.value) == (0, 0.5, 0.5)


def test_comparisons_judged_in_one_order_only_are_left_out_and_counted(study):
    judge = make_judge(study)
    comparisons = chosen_comparisons(study, NAMES[:2])
    vote_for(judge, comparisons, the_later, limit=3)
    result = head_to_head(judge, comparisons)
    assert (result.comparisons, result.incomplete) == (1, 1)
    assert "1 more are not fully judged" in result.table()


def test_missing_comparisons_are_made_and_missing_votes_asked_for(study):
    with ScriptedEndpoint(lambda number, body: (200, verdicts(empathy="A", safety="tie"))) as endpoint:
        make_judge(study, endpoint=endpoint.url)
        table = run(study, "--systems", "Base", "MODPO")
        assert len(endpoint.requests) == 4
        run(study)
        assert len(endpoint.requests) == 12
    assert Comparison.objects.count() == 6
    assert "Judge: J. 2 comparisons, each in both orders" in table


def test_the_table_says_that_a_judge_is_a_toy(study):
    judge = make_judge(study, is_toy=True)
    vote_for(judge, chosen_comparisons(study, NAMES), the_later)
    assert "Judge: J (toy judge)." in run(study)
    assert json.loads(run(study, "--json"))["toy_judge"] is True


def test_a_locked_study_is_still_counted_but_no_longer_judged(study):
    judge = make_judge(study)
    vote_for(judge, chosen_comparisons(study, NAMES[:2]), the_later)
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    assert json.loads(run(study, "--json"))["systems"] == ["Base", "DPO"]
    assert Comparison.objects.count() == 2


def test_an_unknown_judge_is_named_with_those_there_are(study):
    with pytest.raises(CommandError, match=r"--judge J: there is no such judge \(there are: none yet\)"):
        run(study)


def test_unknown_and_single_systems_are_refused_and_nothing_is_made(study):
    make_judge(study)
    with pytest.raises(CommandError, match="no system 'GPT'"):
        run(study, "--systems", "Base", "GPT")
    with pytest.raises(CommandError, match="at least two systems"):
        run(study, "--systems", "Base", "Base")
    assert not Comparison.objects.exists()
