"""The search of a reward model's settings: what it selects, what it keeps, what it does when it is stopped."""

import json

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError, StudyError
from tests.training.conftest import command_line
from training.models import Run, RunStatus
from training.recipes import RewardRecipe

RECIPE = RewardRecipe(model="tiny", epochs=2, max_length=64, batch_size=4, bf16=False, seed=1)


@pytest.fixture
def search(tiny_encoder, pairs, tmp_path):
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    from training import reward_search

    def call(trials, *, rates=None, storage="searches"):
        space = {
            "learning_rate": CategoricalDistribution(rates) if rates else FloatDistribution(1e-4, 1e-1, log=True),
            "batch_size": CategoricalDistribution((4, 8)),
        }
        one = reward_search.Search(source=str(tiny_encoder), pairs=pairs, recipe=RECIPE, space=space)
        return reward_search.search_recipe(
            one, trials=trials, storage=tmp_path / storage, scratch=tmp_path, say=lambda line: None
        )

    return call


def outcomes(found):
    return [(trial["settings"], trial["accuracy"], trial["error"]) for trial in found["trials"]]


def test_the_trial_with_the_best_accuracy_on_held_out_prompts_is_chosen(search):
    recipe, found = search(4, rates=(1e-9, 1e-2))
    values = [trial["accuracy"]["value"] for trial in found["trials"]]
    best = found["trials"][found["best"]]
    assert best["accuracy"]["value"] == max(values) > min(values)
    assert (recipe.learning_rate, recipe.batch_size) == (
        best["settings"]["learning_rate"],
        best["settings"]["batch_size"],
    )
    assert recipe.max_length == RECIPE.max_length
    assert found["selection_pairs"] == 4
    assert found["trials"][0]["accuracy"]["prompts"] == 2


def test_a_search_that_was_stopped_goes_on_to_what_it_would_have_been(search, monkeypatch):
    from training import reward_search

    _, whole = search(4, storage="whole")
    train, calls = reward_search.train_reward_model, []

    def stopped_in_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(reward_search, "train_reward_model", stopped_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        search(4)
    _, resumed = search(4)
    assert len(calls) == 3 + 2
    assert outcomes(resumed) == outcomes(whole)
    assert search(4)[1]["trials"] == resumed["trials"]
    assert len(calls) == 5


def test_a_trial_that_fails_is_kept_with_its_error_and_never_chosen(search):
    recipe, found = search(4, rates=(1e-2, 1e38))
    failed = [trial for trial in found["trials"] if trial["settings"]["learning_rate"] == 1e38]
    assert 0 < len(failed) < 4
    assert all("nan" in trial["error"] and trial["accuracy"] is None for trial in failed)
    assert recipe.learning_rate == 1e-2


def test_a_search_of_which_every_trial_fails_says_so_in_one_line(search):
    with pytest.raises(StudyError, match=r"all 2 trials of the search failed, the last: .*nan") as caught:
        search(2, rates=(1e38,))
    assert "\n" not in str(caught.value)


def test_the_same_search_in_two_processes_is_refused(search, tmp_path, monkeypatch):
    import fcntl

    search(1)
    [lock] = (tmp_path / "searches").glob("*.lock")
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is at the same search"):
            search(1)


@pytest.fixture
def command(tiny_encoder, pairs_file, tmp_path, settings, db):
    settings.VAR_DIR = tmp_path / "var"

    def call(**changes):
        options = {
            "criterion": "empathy",
            "pairs": pairs_file,
            "model": str(tiny_encoder),
            "max_length": 64,
            "search": 2,
            **changes,
        }
        call_command("train_reward_model", *command_line(options))

    return call


def test_the_command_trains_by_the_best_trial_and_leaves_given_settings_alone(command, capsys):
    command(name="found", learning_rate=1e-2, epochs=3.0, json=True)
    printed = json.loads(capsys.readouterr().out)
    run = Run.objects.get()
    search = run.metrics["search"]
    best = search["trials"][search["best"]]["settings"]
    assert set(search["space"]) == {"weight_decay", "dropout", "batch_size"}
    assert {name: run.config[name] for name in best} == best
    assert run.config == json.loads((run.folder / "run.json").read_text())["config"]
    assert (run.config["learning_rate"], run.config["epochs"], run.config["search"]) == (1e-2, 3.0, 2)
    # Held out to test: 2 prompts of 12; held out to select: 2 of the other 10; trained in the end: those 10.
    assert search["selection_pairs"] == 4
    assert (run.metrics["train_pairs"], printed["n"]) == (20, 4)


def test_a_search_that_cannot_begin_leaves_nothing_but_its_failure(command, tmp_path):
    given = {"learning_rate": 1e-2, "epochs": 1.0, "batch_size": 8, "dropout": 0.0, "weight_decay": 0.0}
    with pytest.raises(CommandError, match="every setting that could be searched is given"):
        command(name="none", **given)
    with pytest.raises(CommandError, match="--search -1") as caught:
        command(search=-1)
    assert caught.value.returncode == 2
    run = Run.objects.get()
    assert run.status == RunStatus.FAILED
    assert not any((tmp_path / "var").rglob("*.safetensors"))


def test_the_papers_space_is_that_of_the_paper():
    from training.reward_search import SPACES, search_space

    bounds = {name: vars(distribution) for name, distribution in SPACES["paper"].items()}
    assert (bounds["learning_rate"]["low"], bounds["learning_rate"]["high"]) == (5e-7, 2e-5)
    assert (bounds["weight_decay"]["low"], bounds["weight_decay"]["high"]) == (0.01, 0.15)
    assert (bounds["dropout"]["low"], bounds["dropout"]["high"]) == (0.1, 0.4)
    assert (bounds["epochs"]["low"], bounds["epochs"]["high"]) == (3, 7)
    assert (bounds["batch_size"]["choices"], bounds["max_length"]["choices"]) == ((8, 16), (256, 512))
    assert set(search_space("paper", {"epochs", "model"})) == set(SPACES["paper"]) - {"epochs"}
