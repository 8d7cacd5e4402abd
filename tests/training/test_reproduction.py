"""The command line on a run's page makes the same run again."""

import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from django.core.management import get_commands, load_command_class

from tests.factories import make_participant, make_study, make_system
from training.models import PreferenceDataset, Run, RunKind
from training.recipes import POLICY_RECIPES, REWARD_RECIPES, PolicyRecipe, RewardRecipe, chosen_recipe
from training.reproduction import COMMANDS, command_of
from training.runs import plain

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def dataset(study):
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="ab" * 32, path="sets/a", pairs=4, rankings=4
    )
    dataset.raters.add(make_participant(study).rater)
    return dataset


def parsed(run, files=()):
    """The options as the command itself reads them from its command line."""
    record = {"config": run.config, "files": [{"path": file, "sha256": "ab"} for file in files]}
    python, script, name, *rest = shlex.split(" ".join(command_of(run, record if files else {})))
    assert (python, script, name) == ("python", "manage.py", COMMANDS[run.kind])
    return vars(load_command_class(get_commands()[name], name).create_parser(script, name).parse_args(rest))


def policy_run(kind, recipe, *, datasets=(), **config):
    run = Run.objects.create(name=f"a-{kind}", kind=kind, config={**config, **plain(recipe), "processes": 1})
    run.datasets.set(datasets)
    return run


RECIPE = replace(
    PolicyRecipe(), model="../a model", learning_rate=3e-5, four_bit=True, gradient_checkpointing=False, patience=2
)


@pytest.mark.parametrize("kind", [RunKind.SFT, RunKind.DPO])
def test_training_on_one_criterion_of_a_study(kind, study, dataset):
    run = policy_run(kind, RECIPE, datasets=[dataset], criterion="empathy", weights={"empathy": 1.0})
    options = parsed(run)
    assert (options["criterion"], options["study"], options["pairs"]) == ("empathy", study.slug, None)
    assert chosen_recipe(POLICY_RECIPES, options) == RECIPE
    assert options["name"] == ""


def test_training_on_a_file():
    run = policy_run(RunKind.DPO, RECIPE, criterion="empathy", weights={"empathy": 1.0})
    options = parsed(run, ["a folder/pairs.jsonl"])
    assert (str(options["pairs"]), options["study"]) == ("a folder/pairs.jsonl", None)


def test_modpo_names_its_weights_and_the_reward_models_of_the_margin(study, dataset):
    weights = {"empathy": 0.6, "safety": 0.4}
    run = policy_run(RunKind.MODPO, RECIPE, datasets=[dataset], criterion="empathy", weights=weights)
    run.parents.add(Run.objects.create(name="rm", kind=RunKind.REWARD_MODEL, config={"criterion": "safety"}))
    options = parsed(run)
    assert options["primary"] == "empathy"
    assert options["weight"] == ["empathy=0.6", "safety=0.4"]
    assert options["reward_run"] == ["safety=rm"]
    assert options["study"] == study.slug


def test_a_shared_encoder_is_named_for_the_criteria_of_the_margin_alone(dataset):
    weights = {"empathy": 0.6, "safety": 0.4}
    run = policy_run(RunKind.MODPO, RECIPE, datasets=[dataset], criterion="empathy", weights=weights)
    shared = {"criteria": ["empathy", "safety", "relevance"]}
    run.parents.add(Run.objects.create(name="rm", kind=RunKind.REWARD_MODEL, config=shared))
    assert parsed(run)["reward_run"] == ["safety=rm"]


def test_modpo_from_files_takes_pairs_and_margins():
    run = policy_run(RunKind.MODPO, RECIPE, criterion="empathy", weights={"empathy": 0.5, "safety": 0.5})
    options = parsed(run, ["pairs.json", "margins.jsonl"])
    assert [str(options[name]) for name in ("pairs", "margins")] == ["pairs.json", "margins.jsonl"]


def test_the_joint_loss_takes_a_file_a_criterion():
    run = policy_run(RunKind.JOINT_DPO, RECIPE, criterion="empathy", weights={"empathy": 0.5, "safety": 0.5})
    assert parsed(run, ["one.json", "two.json"])["pairs"] == ["empathy=one.json", "safety=two.json"]


def test_a_reward_model(study, dataset):
    recipe = replace(RewardRecipe(), epochs=3.0, seed=4)
    run = Run.objects.create(
        name="rm", kind=RunKind.REWARD_MODEL, config={"criterion": "empathy", "split": "scorer", **plain(recipe)}
    )
    run.datasets.add(dataset)
    options = parsed(run)
    assert (options["study"], options["split"]) == (study.slug, "scorer")
    assert options["criterion"] in ("empathy", ["empathy"])
    assert chosen_recipe(REWARD_RECIPES, options) == recipe


def test_merged_adapters():
    config = {"model": "m", "adapters": {"one": 0.25, "two": 0.75}, "method": "svd", "rank": 8, "combines": "x"}
    options = parsed(Run.objects.create(name="soup", kind=RunKind.MERGE, config=config))
    assert options["adapter"] == ["one=0.25", "two=0.75"]
    assert (options["method"], options["rank"]) == ("svd", 8)


@pytest.mark.parametrize(("adapter", "model"), [("modpo-1", None), (None, "smollm2")])
def test_generation_by_an_adapter_or_a_base_model(study, adapter, model):
    config = {"model": "smollm2", "run": adapter, "study": study.slug, "split": "test", "per_prompt": 2, "limit": None}
    system = make_system(study, name="MODPO")
    options = parsed(Run.objects.create(name="g", kind=RunKind.GENERATION, config=config, system=system))
    assert (options["run"], options["model"], options["system"]) == (adapter, model, "MODPO")
    assert (options["per_prompt"], options["limit"]) == (2, None)


def test_looking_a_command_up_brings_no_training_library_into_the_web_process():
    code = (
        "import sys, os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; django.setup();"
        "from training.reproduction import COMMANDS, options_of; [options_of(kind) for kind in COMMANDS];"
        "print(sorted(set(sys.modules) & {'torch', 'transformers', 'trl', 'peft', 'datasets'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_sweep_takes_a_new_name_and_lists_its_points(study):
    config = {
        "study": study.slug,
        "criterion": "empathy",
        "criteria": ["empathy", "safety"],
        "points": ["empathy=0.7,safety=0.3", "empathy=0.3,safety=0.7"],
        "reward_runs": {"safety": "rm"},
        **plain(RECIPE),
    }
    run = Run.objects.create(name="steer", kind=RunKind.SWEEP, config=config)
    options = parsed(run)
    assert (options["name"], options["primary"], options["criterion"]) == ("steer-again", "empathy", ["safety"])
    assert options["point"] == config["points"]
    assert options["reward_run"] == ["safety=rm"]
    assert options["no_evaluation"]
    run.config |= {"scorers": {"empathy": "e", "safety": "s"}, "floors": {"safety": 0.55}, "split": "test"}
    options = parsed(run)
    assert (options["scorer"], options["floor"], options["no_evaluation"]) == (
        ["empathy=e", "safety=s"],
        ["safety=0.55"],
        False,
    )
