import io
import json
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotation.errors import StudyError
from annotation.models import Assignment, Choice, Comparison, Rater, Split, StudyStatus, Verdict
from evaluation.judging import JudgeSpec, ensure_judge, plan, store, swap_consistency
from evaluation.llm_judge import Endpoint, Failure, InvalidReplyError, ask_all, judge_config, parse_reply
from evaluation.models import Judge, JudgeKind, JudgeReply
from tests.evaluation.endpoint import ScriptedEndpoint, verdicts
from tests.factories import make_clinician, make_prompt, make_response, make_study, make_system

GOOD = verdicts(empathy="A", safety="tie")


def always(content):
    return lambda number, body: (200, content)


@pytest.fixture
def study():
    """Four test prompts, answered by Base and Aligned."""
    study = make_study()
    base, aligned = make_system(study, name="Base"), make_system(study, name="Aligned")
    for _ in range(4):
        prompt = make_prompt(study, split=Split.TEST)
        make_response(prompt, base)
        make_response(prompt, aligned)
    return study


def judge(study, endpoint, *options, name="J"):
    out = io.StringIO()
    call_command(
        "judge",
        *("--study", study.slug, "--name", name, "--endpoint", endpoint.url, "--model", "scripted"),
        *("--systems", "Base", "Aligned", *options),
        stdout=out,
        stderr=io.StringIO(),
    )
    return out.getvalue()


def asked(study, url, *, name="J", **patience):
    """A judge with its open assignments and a generator of outcomes, for tests that stop half-way."""
    criteria = list(study.criteria.all())
    config = judge_config(criteria, seed=0)
    spec = JudgeSpec(name=name, kind=JudgeKind.LLM, endpoint=url, model="scripted", config=config)
    record = ensure_judge(study, spec)
    assignments = plan(record, list(study.comparisons.all()))
    endpoint = Endpoint(url=url, model="scripted", api_key="none", first_wait=0.01, longest_wait=0.02, **patience)
    return record, assignments, ask_all(assignments, criteria, config, endpoint)


@pytest.fixture
def compared(study):
    call_command("create_comparisons", study=study.slug, systems=["Base", "Aligned"], stdout=io.StringIO())
    return study


@pytest.mark.django_db
def test_every_comparison_is_asked_in_both_orders_and_kept_with_its_reply(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        result = json.loads(judge(study, endpoint, "--json"))
    assert (result["new"], result["kept"], result["failed"]) == (8, 0, 0)
    # Empathy always goes to the left side, safety is always a tie: half of the verdicts survive the swap.
    assert result["swap_consistency"]["value"] == 0.5
    for comparison in Comparison.objects.all():
        first, second = comparison.assignments.order_by("presentation")
        assert first.a_on_left != second.a_on_left
        assert first.submitted_at
        assert second.submitted_at
    assert set(Verdict.objects.values_list("criterion__key", "choice")) == {("empathy", "left"), ("safety", "tie")}
    assert Verdict.objects.count() == 16
    reply = JudgeReply.objects.first()
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == (GOOD, 11, 7)
    assert reply.seconds > 0


@pytest.mark.django_db
def test_the_prompt_shows_post_criteria_and_both_responses_and_asks_for_strict_json(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        judge(study, endpoint)
    seen = set()
    for body in endpoint.requests:
        system, user = (message["content"] for message in body["messages"])
        for criterion in study.criteria.all():
            assert all(text in system for text in (criterion.question, criterion.better_when, criterion.worse_when))
        before, after = user.split("<response_b>")
        assert before.count("Response 1 by") == after.count("Response 1 by") == 1
        seen.add((before, after))
        schema = body["response_format"]["json_schema"]
        assert schema["strict"] is True
        assert schema["schema"]["required"] == ["empathy", "safety"]
        assert schema["schema"]["properties"]["safety"]["enum"] == ["A", "tie", "B"]
        assert (body["temperature"], body["seed"]) == (0, 0)
    assert len(seen) == 8


@pytest.mark.django_db
def test_a_finished_judge_asks_nothing_again(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        judge(study, endpoint)
        result = json.loads(judge(study, endpoint, "--json"))
    assert len(endpoint.requests) == 8
    assert (result["new"], result["kept"]) == (0, 8)


@pytest.mark.django_db
def test_a_run_that_is_cut_off_goes_on_without_doubling_or_losing_a_vote(compared):
    with ScriptedEndpoint(always(GOOD), seconds=0.02) as endpoint:
        _, _, outcomes = asked(compared, endpoint.url, concurrency=2)
        for _ in range(3):
            assert store([next(outcomes)], study=compared) == 1
        outcomes.close()
        paid = len(endpoint.requests)
        # Two workers: three replies were kept, and at most the two requests in flight are paid for in vain.
        assert 3 <= paid <= 3 + 2 * 2
        assert Assignment.objects.submitted().count() == JudgeReply.objects.count() == 3
        judge(compared, endpoint)
    assert len(endpoint.requests) == paid + 5
    assert Assignment.objects.submitted().count() == JudgeReply.objects.count() == 8
    assert Verdict.objects.count() == 16


@pytest.mark.django_db
def test_a_vote_that_another_run_gave_meanwhile_is_not_stored_twice(compared):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        record, assignments, outcomes = asked(compared, endpoint.url)
        votes = list(outcomes)
    assert store(votes, study=compared) == 8
    assert store(votes, study=compared) == 0
    assert len(assignments) == 8
    assert plan(record, list(compared.comparisons.all())) == []


@pytest.mark.django_db
def test_a_server_error_is_tried_again(compared):
    answers = {1: (500, "broken"), 2: (429, "slow down"), 3: (503, "away")}
    with ScriptedEndpoint(lambda number, body: answers.get(number, (200, GOOD))) as endpoint:
        _, _, outcomes = asked(compared, endpoint.url, concurrency=1)
        assert store(list(outcomes), study=compared) == 8
    assert len(endpoint.requests) == 8 + 3


@pytest.mark.django_db
def test_an_invalid_reply_is_asked_again_with_another_seed(study):
    bad = {1: "no json", 2: verdicts(empathy="A")}
    with ScriptedEndpoint(lambda number, body: (200, bad.get(number, GOOD))) as endpoint:
        result = json.loads(judge(study, endpoint, "--json", "--concurrency", "1"))
    assert [body["seed"] for body in endpoint.requests[:4]] == [0, 1, 2, 0]
    assert (result["new"], result["failed"]) == (8, 0)


@pytest.mark.django_db
def test_a_presentation_without_a_usable_reply_is_reported_and_left_open(study):
    def answer(number, body):
        return 200, verdicts(empathy="A", safety="C") if number <= 3 else GOOD

    with ScriptedEndpoint(answer) as endpoint:
        with pytest.raises(CommandError, match=r"1 presentations got no usable reply .*safety is 'C'"):
            judge(study, endpoint, "--concurrency", "1")
        assert Assignment.objects.pending().count() == 1
        judge(study, endpoint)
    assert not Assignment.objects.pending().exists()


@pytest.mark.django_db
def test_a_request_that_the_endpoint_rejects_fails_alone(compared):
    with ScriptedEndpoint(lambda number, body: (400, "too long") if number == 1 else (200, GOOD)) as endpoint:
        _, _, outcomes = asked(compared, endpoint.url, concurrency=1)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(failures) == 1
    assert len(endpoint.requests) == 8


@pytest.mark.django_db
@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_open_than_configured(compared, concurrency):
    with ScriptedEndpoint(always(GOOD), seconds=0.05) as endpoint:
        _, _, outcomes = asked(compared, endpoint.url, concurrency=concurrency)
        assert len(list(outcomes)) == 8
    assert endpoint.most_at_once == concurrency


@pytest.mark.django_db
def test_an_endpoint_that_is_down_gives_one_line_and_leaves_nothing_behind(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        pass
    with pytest.raises(CommandError, match=r"^endpoint http://127\.0\.0\.1:\d+/v1 does not answer [^\n]*$"):
        judge(study, endpoint)
    assert not Rater.objects.exists()
    assert not Comparison.objects.exists()


@pytest.mark.django_db
def test_an_endpoint_that_goes_down_midway_keeps_the_votes_it_gave(compared):
    with ScriptedEndpoint(lambda number, body: (200, GOOD) if number <= 3 else (401, "no")) as endpoint:
        _, _, outcomes = asked(compared, endpoint.url, concurrency=1)
        for _ in range(3):
            store([next(outcomes)], study=compared)
        with pytest.raises(StudyError, match="refuses the request"):
            next(outcomes)
    assert Assignment.objects.submitted().count() == 3


@pytest.mark.django_db
def test_limit_bounds_the_votes_asked_for(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        judge(study, endpoint, "--limit", "3")
        assert len(endpoint.requests) == 3
        judge(study, endpoint)
    assert len(endpoint.requests) == 8


@pytest.mark.django_db
@pytest.mark.parametrize(("options", "what"), [(["--seed", "5"], "seed"), (["--toy"], "--toy")])
def test_a_judge_is_not_changed_under_its_name(study, options, what):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        judge(study, endpoint)
        with pytest.raises(CommandError, match=f"set up with another {what}"):
            judge(study, endpoint, *options)
    assert Judge.objects.count() == 1


@pytest.mark.django_db
def test_a_judge_does_not_go_on_once_the_criteria_are_reworded(study):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        judge(study, endpoint, "--limit", "2")
        study.criteria.filter(key="safety").update(worse_when="It does harm.")
        with pytest.raises(CommandError, match="prompt_sha256"):
            judge(study, endpoint)
        with pytest.raises(CommandError, match="wording changed"):
            call_command("head_to_head", study=study.slug, judge="J", stderr=io.StringIO())
    assert len(endpoint.requests) == 2


@pytest.mark.django_db
def test_a_clinicians_name_is_not_taken_by_a_judge(study):
    rater = make_clinician(study)
    with ScriptedEndpoint(always(GOOD)) as endpoint, pytest.raises(CommandError, match="a clinician has that name"):
        judge(study, endpoint, name=rater.name)


@pytest.mark.django_db
def test_a_locked_study_takes_no_vote(study):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    with ScriptedEndpoint(always(GOOD)) as endpoint, pytest.raises(CommandError, match="no comparisons yet"):
        judge(study, endpoint)
    assert endpoint.requests == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options", [[], ["--endpoint", "http://x/v1"], ["--endpoint", "u", "--model", "m", "--run", "empathy=r"]]
)
def test_a_judge_is_either_an_endpoint_or_runs(study, options):
    with pytest.raises(CommandError, match="either --endpoint and --model, or --run") as error:
        call_command("judge", "--study", study.slug, "--name", "J", *options)
    assert error.value.returncode == 2


@pytest.mark.django_db
def test_which_side_comes_first_is_balanced_and_does_not_depend_on_what_else_is_judged(compared):
    with ScriptedEndpoint(always(GOOD)) as endpoint:
        record, assignments, _ = asked(compared, endpoint.url)
    orders = {(a.comparison_id, a.presentation): a.a_on_left for a in assignments}
    assert sum(orders.values()) == len(orders) / 2
    record.rater.assignments.all().delete()
    last = list(compared.comparisons.all())[-1:]
    for assignment in plan(record, last):
        assert assignment.a_on_left == orders[assignment.comparison_id, assignment.presentation]
    assert swap_consistency(record, last).reason == "no comparison was judged in both orders"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"empathy": "A"}', '{"empathy": "A", "safety": "left"}', '{"empathy": "A", "safety": []}'],
)
def test_a_reply_that_is_not_what_was_asked_for_is_refused(text):
    criteria = list(make_study().criteria.all())
    with pytest.raises(InvalidReplyError):
        parse_reply(text, criteria)
    empathy, safety = criteria
    assert parse_reply(GOOD, criteria) == {empathy: Choice.LEFT, safety: Choice.TIE}


def url_of_the_test_database():
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{settings['NAME']}").geturl()


@pytest.mark.django_db(transaction=True)
def test_a_command_killed_outright_is_taken_up_where_it_stopped(compared):
    command = ["judge", "--study", compared.slug, "--name", "J", "--model", "scripted", "--concurrency", "2"]
    with ScriptedEndpoint(always(GOOD), seconds=0.2) as endpoint:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command, "--endpoint", endpoint.url],
            env={**os.environ, "DATABASE_URL": url_of_the_test_database()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while Assignment.objects.submitted().count() < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
        kept, paid = Assignment.objects.submitted().count(), len(endpoint.requests)
        assert 2 <= kept < 8
        assert kept == JudgeReply.objects.count() == Verdict.objects.count() / 2
        # Two workers: each may have one request on its way and one reply that was not stored yet.
        assert paid <= kept + 4
        judge(compared, endpoint)
        assert len(endpoint.requests) == paid + 8 - kept
    assert Assignment.objects.submitted().count() == JudgeReply.objects.count() == 8
