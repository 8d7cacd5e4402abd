"""Responses: what is stored, and how a stopped run goes on."""

import json

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Response, Split, StudyStatus, System
from tests.factories import make_prompt, make_study, make_system
from tests.training.conftest import command_line, text
from training.generation import Generator, Sampling, batch_seed, fill, plan_batches
from training.models import Run, RunKind, RunStatus


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
