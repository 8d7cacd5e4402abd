"""Responses: what is stored, and how a stopped run goes on."""

import json
import shutil
import time

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import StudyError
from annotation.models import Response, Split, StudyStatus, System
from evaluation.local_server import local_model_server
from tests.evaluation.endpoint import ScriptedEndpoint
from tests.factories import make_prompt, make_study, make_system
from tests.training.conftest import command_line, text
from training.endpoint import Endpoint
from training.generation import Generator, Sampling, batch_seed, fill, open_slots, plan_batches
from training.models import Run, RunKind, RunStatus
from training.remote_generation import Author, fill_remotely


@pytest.fixture
def study(settings, tmp_path, db):
    settings.VAR_DIR = tmp_path / "var"
    study = make_study()
    for number in range(5):
        make_prompt(study, split=Split.TEST, text=text(number, 4 + 2 * number), key=f"t{number}")
    make_prompt(study, split=Split.TRAIN)
    return study


@pytest.fixture
def generate(study, tiny_policy):
    def call(**changes):
        options = {
            "study": study.slug,
            "system": "base",
            "split": "test",
            "per_prompt": 2,
            "model": str(tiny_policy),
            "max_new_tokens": 6,
            "batch_size": 4,
            **changes,
        }
        call_command("generate_responses", *command_line(options))

    return call


def texts(system="base"):
    return dict(Response.objects.filter(system__name=system).values_list("key", "text"))


def test_each_prompt_of_the_split_gets_its_responses_with_how_they_were_drawn(generate, study, tiny_policy, capsys):
    generate(json=True)
    assert set(texts()) == {f"t{prompt}-base-{number}" for prompt in range(5) for number in (1, 2)}
    response = Response.objects.get(key="t3-base-2")
    assert (response.prompt.key, response.number) == ("t3", 2)
    expected = {
        "model": str(tiny_policy),
        "run": None,
        "temperature": 0.8,
        "top_p": 0.95,
        "max_new_tokens": 6,
        "seed": 0,
    }
    assert expected.items() <= response.sampling.items()
    assert "<|im" not in response.text
    run = Run.objects.get(kind=RunKind.GENERATION)
    assert (run.status, run.system) == (RunStatus.DONE, System.objects.get(name="base"))
    assert json.loads(capsys.readouterr().out)["stored"] == 10


def test_the_same_seed_writes_the_same_and_another_seed_does_not(generate):
    generate(name="one")
    first = texts()
    Response.objects.all().delete()
    generate(name="two")
    assert texts() == first
    Response.objects.all().delete()
    generate(name="three", seed=1)
    assert texts() != first


def test_a_run_that_was_stopped_goes_on_and_ends_as_an_unbroken_one(generate, monkeypatch):
    generate(name="whole")
    whole = texts()
    Response.objects.all().delete()
    write = Generator.write
    calls = []

    def stop_at_the_second_batch(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "write", stop_at_the_second_batch)
        with pytest.raises(KeyboardInterrupt):
            generate(name="again")
    assert len(texts()) == 4
    generate(name="again")
    assert texts() == whole
    assert Run.objects.get(name="again").metrics["there_before"] == 4


def test_nothing_is_left_to_do_when_all_is_there(generate, capsys):
    generate(name="one")
    generate(name="two")
    assert capsys.readouterr().out.splitlines()[-1].startswith("base: 0 responses to 5 test prompts, 10 had been there")


class Forgetful:
    """Writes nothing to one prompt, and to another only at the second try."""

    def __init__(self, never, later):
        self.never, self.later, self.seeds = never, later, []

    def write(self, prompts, sampling, *, seed):
        self.seeds.append(seed)
        silent = {self.never} | ({self.later} if len(self.seeds) == 1 else set())
        return ["" if prompt in silent else f"to {prompt}" for prompt in prompts]


def test_an_empty_response_is_tried_again_with_another_seed_then_reported_and_never_stored(study):
    prompts = list(study.prompts.filter(split=Split.TEST))
    generator = Forgetful(prompts[1].text, prompts[2].text)
    system = make_system(study, name="base")
    stored, empty = fill(generator, system, plan_batches(prompts, 1, 8), Sampling(), {})
    assert stored == 4
    assert [(slot.prompt, slot.number) for slot in empty] == [(prompts[1], 1)]
    assert len(set(generator.seeds)) == 3
    assert Response.objects.filter(prompt=prompts[2]).exists()
    assert not Response.objects.filter(prompt=prompts[1]).exists()


def test_batches_are_of_like_length_and_their_seeds_their_own(study):
    batches = plan_batches(list(study.prompts.filter(split=Split.TEST)), 3, 4)
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    lengths = [len(slot.prompt.text) for batch in batches for slot in batch]
    assert lengths == sorted(lengths)
    assert len({batch_seed(0, batch, attempt) for batch in batches for attempt in (0, 1)}) == 8


def test_a_limit_takes_the_first_prompts(generate):
    generate(limit=2, per_prompt=1)
    assert set(texts()) == {"t0-base-1", "t1-base-1"}


def test_an_adapter_writes_as_a_system_of_its_own(generate, tiny_policy, pairs_file):
    train = {"criterion": "empathy", "pairs": pairs_file, "name": "dpo", "model": str(tiny_policy), "epochs": 8.0}
    call_command("train_dpo", *command_line({**train, "max_length": 64, "learning_rate": 5e-2}))
    generate()
    generate(system="dpo-empathy", run="dpo", model=None)
    system = System.objects.get(name="dpo-empathy")
    assert system.kind == "adapter"
    assert [parent.name for parent in system.runs.get().parents.all()] == ["dpo"]
    assert Response.objects.filter(system=system).first().sampling["run"] == "dpo"
    assert list(texts().values()) != list(texts("dpo-empathy").values())
    with pytest.raises(CommandError, match="choose another name"):
        generate(run="dpo", model=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"top_p": 1.5}, "--top-p 1.5"),
        ({"per_prompt": 0}, "--per-prompt 0"),
        ({"split": "scorer"}, "no scorer prompts"),
        ({"run": "unknown", "model": None}, "no such run"),
        ({"model": "smollm3"}, "smollm3"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(generate, study, changes, message):
    with pytest.raises(CommandError, match=message):
        generate(**changes)
    assert not study.systems.exists()
    assert not Run.objects.exists()


def test_a_locked_study_takes_no_response(generate, study):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    with pytest.raises(CommandError, match="locked"):
        generate()


def answer_to(body):
    return f"seed {body['seed']} to {body['messages'][0]['content']}"


def reply(number, body):
    return 200, answer_to(body)


@pytest.fixture
def generate_there(generate):
    def call(server, **changes):
        remote = {"endpoint": server.url, "model": "scripted", "batch_size": None, "concurrency": 2}
        generate(**{**remote, **changes})

    return call


@pytest.fixture
def ask(study):
    """Ask for one response to each prompt with little patience; what was stored, and what failed."""
    system = make_system(study, name="remote", kind="api")
    slots = open_slots(system, plan_batches(list(study.prompts.filter(split=Split.TEST)), 1, 8))

    def call(url, **patience):
        endpoint = Endpoint(
            url=url,
            model="scripted",
            api_key="none",
            **{"attempts": 3, "first_wait": 0.01, "longest_wait": 0.02, "concurrency": 1, **patience},
        )
        author = Author(endpoint=endpoint, sampling=Sampling(), origin={"model": "scripted", "run": None})
        return fill_remotely(author, system, slots)

    return call


def test_an_endpoint_is_asked_for_the_users_turn_alone_with_the_same_sampling_and_a_seed_a_response(
    generate_there, study, capsys
):
    with ScriptedEndpoint(reply) as endpoint:
        generate_there(endpoint, json=True)
    assert json.loads(capsys.readouterr().out)["stored"] == 10
    by_seed = {body["seed"]: body for body in endpoint.requests}
    assert len(by_seed) == 10
    for body in by_seed.values():
        assert [message["role"] for message in body["messages"]] == ["user"]
        drawn = {"temperature": 0.8, "top_p": 0.95, "max_completion_tokens": 6, "top_k": -1, "min_p": 0.0}
        assert drawn.items() <= body.items()
    for response in Response.objects.select_related("prompt"):
        body = by_seed[response.sampling["request_seed"]]
        assert response.text == answer_to(body)
        assert body["messages"][0]["content"] == response.prompt.text
        recorded = {"model": "scripted", "served_model": "scripted", "run": None, "temperature": 0.8, "top_p": 0.95}
        assert recorded.items() <= response.sampling.items()
        assert (response.sampling["finish_reason"], response.sampling["answered_by"]) == ("stop", "scripted")
    assert System.objects.get().kind == "api"
    assert Run.objects.get().config["endpoint"] == endpoint.url


def test_a_vendors_endpoint_gets_the_fields_of_its_own_api_alone(generate_there):
    with ScriptedEndpoint(reply) as endpoint:
        generate_there(endpoint, standard_fields=True)
    assert not {"top_k", "min_p"} & set().union(*endpoint.requests)


def test_an_endpoint_that_goes_away_midway_keeps_what_came_and_the_rest_is_as_it_would_have_been(generate_there):
    with ScriptedEndpoint(reply) as endpoint:
        generate_there(endpoint, system="whole")
    whole = {key.replace("whole", "base"): response for key, response in texts("whole").items()}
    message = r"^endpoint .* refuses the request [^\n]* what came so far is kept$"
    refusing = ScriptedEndpoint(lambda n, body: (401, "no") if n > 4 else reply(n, body))
    with refusing as endpoint, pytest.raises(CommandError, match=message):
        generate_there(endpoint, concurrency=1)
    assert len(texts()) == 4
    assert Run.objects.filter(status=RunStatus.FAILED).count() == 1
    with ScriptedEndpoint(reply) as endpoint:
        generate_there(endpoint, name="again")
    assert len(endpoint.requests) == 6
    assert texts() == whole


def test_a_busy_or_broken_endpoint_is_asked_again(ask):
    broken = {1: 429, 2: 500, 4: 503}
    with ScriptedEndpoint(lambda n, body: (broken[n], "later") if n in broken else reply(n, body)) as endpoint:
        stored, failures = ask(endpoint.url)
    assert (stored, failures) == (5, [])
    assert len(endpoint.requests) == 8


def test_a_request_that_keeps_failing_fails_alone_and_leaves_no_response(ask, study):
    bad = study.prompts.filter(split=Split.TEST)[2].text
    with ScriptedEndpoint(
        lambda n, b: (500, "broken") if bad in b["messages"][0]["content"] else reply(n, b)
    ) as server:
        stored, failures = ask(server.url)
    assert stored == 4
    assert [failure.item.prompt.text for failure in failures] == [bad]
    assert "500" in failures[0].reason
    assert not Response.objects.filter(prompt__text=bad).exists()
    assert not any("broken" in response for response in texts("remote").values())


def test_an_empty_reply_is_asked_for_again_with_another_seed_and_never_stored(ask, study):
    silent, shy = (prompt.text for prompt in study.prompts.filter(split=Split.TEST)[:2])
    seeds = []

    def answer(number, body):
        asked = body["messages"][0]["content"]
        seeds.append(body["seed"])
        return 200, "  " if asked == silent or (asked == shy and number == 4) else "I hear you"

    with ScriptedEndpoint(answer) as endpoint:
        stored, failures = ask(endpoint.url)
    assert stored == 4
    assert [(failure.item.prompt.text, failure.reason) for failure in failures] == [(silent, "the reply is empty")]
    # Three tries for the silent one, two for the shy one.
    assert len(set(seeds)) == len(seeds) == 3 + 2 + 3


def test_a_reply_that_takes_too_long_ends_in_one_line(ask):
    def slow(number, body):
        time.sleep(0.5)
        return reply(number, body)

    with ScriptedEndpoint(slow) as endpoint, pytest.raises(StudyError, match=r"does not answer .*timed out") as caught:
        ask(endpoint.url, timeout=0.1, attempts=2)
    assert "\n" not in str(caught.value)
    assert not Response.objects.exists()


def test_requests_that_all_fail_are_given_up_early(generate_there):
    with ScriptedEndpoint(lambda n, body: (400, "top_k is not permitted")) as endpoint:
        with pytest.raises(CommandError, match="first 10 requests all failed"):
            generate_there(endpoint, per_prompt=8, concurrency=1)
        assert len(endpoint.requests) <= 11
    assert not Response.objects.exists()


def test_missing_responses_are_named_and_make_the_command_fail(generate_there, study, capsys):
    with ScriptedEndpoint(lambda n, body: (400, "too long") if n == 1 else reply(n, body)) as endpoint:
        with pytest.raises(CommandError, match="1 responses are missing: run the command again"):
            generate_there(endpoint, concurrency=1)
        captured = capsys.readouterr()
        assert "prompt t0, response 1: Error code: 400" in captured.err
        assert "9 responses to 5 test prompts" in captured.out
        generate_there(endpoint, name="again")
    assert len(texts()) == 10


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3)])
def test_no_more_requests_are_open_than_the_concurrency(generate_there, concurrency, most):
    with ScriptedEndpoint(reply, seconds=0.05) as endpoint:
        generate_there(endpoint, concurrency=concurrency)
    assert endpoint.most_at_once == most


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "another"}, "--model another: .* serves scripted"),
        ({"concurrency": 0}, "--concurrency 0"),
        ({"timeout": 0.0}, "--timeout 0.0"),
        ({"model": None}, "--endpoint goes with --model"),
        ({"endpoint": "http://127.0.0.1:9/v1"}, "does not answer"),
    ],
)
def test_a_wrong_endpoint_is_one_line_and_leaves_nothing(generate_there, study, changes, message):
    with ScriptedEndpoint(reply) as endpoint, pytest.raises(CommandError, match=message) as caught:
        generate_there(endpoint, **changes)
    assert "\n" not in str(caught.value)
    assert endpoint.requests == []
    assert not study.systems.exists()
    assert not Run.objects.exists()


def test_an_adapter_that_is_served_is_recorded_as_its_runs_and_never_mistaken_for_its_base(generate_there, study):
    config = {"model": "owner/base"}
    folder = study._meta.app_label
    run = Run.objects.create(name="dpo", kind=RunKind.DPO, status=RunStatus.DONE, config=config, path=folder)
    run.folder.mkdir(parents=True)
    with ScriptedEndpoint(reply) as endpoint:
        generate_there(endpoint, system="aligned", run="dpo")
        system = System.objects.get()
        assert (system.kind, list(system.runs.get().parents.all())) == ("adapter", [run])
        recorded = {"model": "owner/base", "run": "dpo", "served_model": "scripted"}
        assert recorded.items() <= Response.objects.first().sampling.items()
        with pytest.raises(CommandError, match="is the base model of dpo"):
            generate_there(endpoint, system="aligned", run="dpo", model="owner/base")
        with pytest.raises(CommandError, match="choose another name"):
            generate_there(endpoint, system="aligned")


@pytest.mark.model
def test_a_real_server_writes_the_same_for_the_same_seed(generate, study):
    prompt = study.prompts.filter(split=Split.TEST).first()
    prompt.text = "I cannot sleep, and I am tired all day. What can I do?"
    prompt.save()
    with local_model_server(parallel=1) as url:
        there = {"endpoint": url, "model": "toy-smollm2-135m-instruct", "concurrency": 1, "batch_size": None}
        for system in ("one", "two"):
            generate(**there, system=system, limit=1, max_new_tokens=12)
    first, second = (sorted(texts(name).items()) for name in ("one", "two"))
    assert [text for _, text in first] == [text for _, text in second]
    assert first[0][1] != first[1][1]
    assert all(response for _, response in first)


def test_a_turn_ends_by_the_models_own_token_too(tiny_policy):
    generator = Generator(str(tiny_policy))
    assert generator.ends == {generator.tokenizer.eos_token_id}
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=12, seed=0)
    [long] = generator.write(["a b c"], sampling, seed=0)
    second = generator.tokenizer(long, add_special_tokens=False)["input_ids"][1]
    generator.ends.add(second)
    [short] = generator.write(["a b c"], sampling, seed=0)
    assert len(short.split()) == 2 < len(long.split())


def test_the_models_own_tokens_of_end_are_read_from_its_settings(tiny_policy, tmp_path):
    folder = tmp_path / "two-ends"
    shutil.copytree(tiny_policy, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [7, 9]}))
    generator = Generator(str(folder))
    assert generator.ends == {7, 9, generator.tokenizer.eos_token_id}
