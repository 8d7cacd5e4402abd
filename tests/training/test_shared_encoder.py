"""One encoder with a head a criterion: the loss of each is the ordinary one, and all are trained in one pass."""

import csv
import json
import random
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command
from transformers import AutoModelForSequenceClassification

from annotation.errors import InputError
from annotation.models import Response, Split, Verdict
from tests.factories import (
    make_participant,
    make_prompt,
    make_ranking,
    make_response,
    make_study,
    make_system,
    make_task,
)
from tests.training.conftest import command_line, text, write_lines
from training.models import Reward, Run
from training.pairs import trl_pair
from training.recipes import RewardRecipe
from training.reproduction import command_of
from training.reward_model import load_classifier, train_reward_model
from training.reward_runs import reward_runs
from training.rewards import rewards_of_pairs
from training.scoring import Scorer, score_texts
from training.shared_encoder import (
    NO_PREFERENCE,
    shared_pairs,
    shared_reward_loss,
    train_shared_encoder,
)
from training.shared_sources import hold_out_shared
from training.sources import pairs_of_study

RECIPE = RewardRecipe(model="tiny", epochs=2, learning_rate=1e-2, max_length=64)


def flipped(pair):
    return replace(
        pair, chosen_id=pair.rejected_id, chosen=pair.rejected, rejected_id=pair.chosen_id, rejected=pair.chosen
    )


@pytest.fixture
def by_criterion(pairs):
    """Kindness is wanted on the one criterion and unwanted on the other; a third has pairs of its own."""
    return {
        "kindness": pairs,
        "severity": [flipped(pair) for pair in pairs],
        "calm": [replace(pair, chosen=f"calm {pair.chosen}") for pair in pairs[:8]],
    }


def test_two_responses_stand_in_one_row_however_many_criteria_pair_them(pairs):
    rows = shared_pairs({"b": [flipped(pairs[0]), pairs[1]], "a": [pairs[0]], "c": [pairs[1]]})
    assert [(row.pair, row.labels) for row in rows] == [
        (pairs[0], [1, -1, NO_PREFERENCE]),
        (pairs[1], [NO_PREFERENCE, 1, 1]),
    ]


def test_what_a_criterion_says_twice_counts_twice_and_what_it_takes_back_stays(pairs):
    rows = shared_pairs({"a": [pairs[0], pairs[0], flipped(pairs[0])], "b": [pairs[0]]})
    assert [(row.pair, row.labels) for row in rows] == [
        (pairs[0], [1, 1]),
        (pairs[0], [1, NO_PREFERENCE]),
        (flipped(pairs[0]), [1, NO_PREFERENCE]),
    ]


def test_a_row_counts_as_much_as_the_pairs_it_stands_for(pairs):
    rows = shared_pairs({"a": [replace(pairs[0], weight=0.1)], "b": [replace(pairs[0], weight=0.3), pairs[1]]})
    assert [row.weights for row in rows] == [[0.1, 0.3], [1.0]]


def test_the_loss_of_one_head_is_that_of_trls_reward_trainer(tiny_encoder, pairs, tmp_path):
    from trl.trainer.reward_trainer import RewardTrainer

    from training.encoding import load_reward_tokenizer
    from training.reward_model import encoded_pairs, reward_arguments

    tokenizer = load_reward_tokenizer(tiny_encoder)
    dataset, _ = encoded_pairs(tokenizer, pairs, 64, tmp_path / "pairs")
    trainer = RewardTrainer(
        model=load_classifier(str(tiny_encoder), RECIPE),
        args=reward_arguments(RECIPE, str(tmp_path)),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    torch.nn.init.normal_(trainer.model.classifier.weight)
    batch = next(iter(trainer.get_train_dataloader()))
    theirs, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    ours = shared_reward_loss(outputs.logits, torch.ones(len(outputs.logits) // 2, 1, dtype=torch.long))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    swapped = torch.cat(outputs.logits.chunk(2)[::-1])
    assert shared_reward_loss(swapped, -torch.ones(len(swapped) // 2, 1)).item() == pytest.approx(ours.item())


def test_a_shared_encoder_of_one_criterion_is_the_ordinary_reward_model(tiny_encoder, pairs, tmp_path):
    ordinary, shared = tmp_path / "ordinary", tmp_path / "shared"
    ordinary.mkdir()
    shared.mkdir()
    pairs = [replace(pair, weight=1 + number % 3) for number, pair in enumerate(pairs)]
    train_reward_model(str(tiny_encoder), pairs[:20], pairs[20:], RECIPE, ordinary)
    train_shared_encoder(str(tiny_encoder), {"a": pairs[:20]}, {"a": pairs[20:]}, RECIPE, shared)
    texts = [(pair.prompt, pair.chosen) for pair in pairs]
    [one], [other] = (Scorer(folder, max_length=64).heads(texts) for folder in (ordinary, shared))
    assert other == pytest.approx(one, abs=1e-5)


def test_a_head_learns_nothing_from_rows_without_its_preference():
    scores = torch.randn(6, 2, requires_grad=True)
    labels = torch.tensor([[1, NO_PREFERENCE], [NO_PREFERENCE, -1], [1, 1]])
    shared_reward_loss(scores, labels).backward()
    moved = scores.grad.reshape(2, 3, 2).abs() > 0
    assert moved.tolist() == [[[True, False], [False, True], [True, True]]] * 2


def test_the_loss_is_the_mean_over_preferences_of_any_number_of_batches():
    scores, labels = torch.randn(8, 3), torch.tensor([[1, -1, -100], [1, 1, 1], [-100, -100, -1], [-1, 1, -100]])
    permutation = [2, 0, 1]
    whole = shared_reward_loss(scores, labels)
    assert shared_reward_loss(scores[:, permutation], labels[:, permutation]).item() == pytest.approx(whole.item())
    first, second = scores.chunk(2)
    parts = [
        shared_reward_loss(torch.cat([first[rows], second[rows]]), labels[rows], (labels != NO_PREFERENCE).sum())
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert sum(parts).item() == pytest.approx(whole.item())


@pytest.fixture
def trained(tiny_encoder, by_criterion, tmp_path):
    def train(criteria, **changes):
        folder = tmp_path / "-".join(criteria)
        folder.mkdir()
        chosen = {criterion: by_criterion[criterion] for criterion in criteria}
        parts = hold_out_shared(chosen, share=0.2, seed=0)
        return folder, train_shared_encoder(str(tiny_encoder), *parts, replace(RECIPE, **changes), folder)

    return train


def test_every_head_learns_its_own_criterion(trained):
    folder, metrics = trained(["kindness", "severity", "calm"], epochs=6)
    assert {name: head["accuracy"]["value"] for name, head in metrics["criteria"].items()} == {
        "calm": 1.0,
        "kindness": 1.0,
        "severity": 1.0,
    }
    assert (metrics["criteria"]["kindness"]["train_pairs"], metrics["criteria"]["kindness"]["accuracy"]["n"]) == (20, 4)
    assert metrics["encoded_pairs"] < metrics["train_pairs"]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "calm", 1: "kindness", 2: "severity"}


def test_the_order_of_the_criteria_changes_nothing(trained):
    _, one = trained(["kindness", "severity", "calm"])
    _, other = trained(["severity", "calm", "kindness"])
    del one["train_seconds"], other["train_seconds"]
    assert one == other


def test_held_out_prompts_are_held_out_of_all_criteria(pairs):
    order = random.Random(0)
    by_criterion = {key: order.sample(pairs, 16) for key in "abc"}
    train, held_out = hold_out_shared(by_criterion, share=0.25, seed=1)
    prompts = [{pair.prompt_id for part in side.values() for pair in part} for side in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert {key: len(train[key]) + len(held_out[key]) for key in "abc"} == {"a": 16, "b": 16, "c": 16}


def test_a_criterion_without_pairs_is_one_line(tiny_encoder, pairs, tmp_path):
    with pytest.raises(InputError, match="criterion safety has no pairs"):
        train_shared_encoder(str(tiny_encoder), {"empathy": pairs, "safety": []}, {}, RECIPE, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def train(tiny_encoder, by_criterion, tmp_path, settings):
    """The command on a file a criterion."""
    settings.VAR_DIR = tmp_path / "var"
    files = {
        key: write_lines(tmp_path / f"{key}.jsonl", [trl_pair(pair) for pair in pairs])
        for key, pairs in by_criterion.items()
    }

    def call(**changes):
        options = {
            "shared_encoder": True,
            "criterion": ["severity", "kindness"],
            "pairs": [f"{key}={files[key]}" for key in ("kindness", "severity")],
            "model": str(tiny_encoder),
            "epochs": 4.0,
            "learning_rate": 1e-2,
            "max_length": 64,
            "name": "shared",
            **changes,
        }
        call_command("train_reward_model", *command_line(options))

    return call


@pytest.mark.django_db
def test_the_command_trains_all_criteria_and_a_file_is_scored_on_each(train, pairs, tmp_path, capsys):
    train(json=True)
    printed = json.loads(capsys.readouterr().out)
    run = Run.objects.get()
    record = json.loads((run.folder / "run.json").read_text())
    assert (run.criterion, run.learned_criteria, record["config"]["criteria"]) == (
        None,
        *[["kindness", "severity"]] * 2,
    )
    assert printed["n"] == sum(head["accuracy"]["n"] for head in record["metrics"]["criteria"].values())
    repeated = " ".join(command_of(run, record))
    assert "--criterion kindness --criterion severity" in repeated
    assert "--shared-encoder" in repeated
    assert f"--pairs kindness={tmp_path}/kindness.jsonl --pairs severity={tmp_path}/severity.jsonl" in repeated

    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        rows = [(pair.prompt, pair.chosen) for pair in pairs]
        csv.writer(file).writerows([("question_text", "response_text"), *rows])
    call_command("score_responses", "--run=shared", f"--input={source}", f"--output={target}")
    with target.open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert list(scored[0]) == ["question_text", "response_text", "reward_kindness", "reward_severity"]
    for criterion in ("kindness", "severity"):
        rewards = [float(row[f"reward_{criterion}"]) for row in scored]
        assert rewards == pytest.approx(score_texts(run.folder, rows, criterion), abs=1e-4)
    with pytest.raises(InputError, match="reward model of kindness, severity: name one of them"):
        score_texts(run.folder, rows)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criterion": ["kindness"]}, "two criteria or more"),
        ({"criterion": ["kindness", "kindness"]}, "two criteria or more"),
        ({"criterion": ["kindness", "severity", "calm"]}, "one file for each of calm, kindness, severity"),
        ({"search": 3}, "--search and --learning-curve are of one criterion"),
        ({"shared_encoder": None}, "--criterion is given several times: that goes with --shared-encoder"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(train, changes, message):
    with pytest.raises(CommandError, match=message) as caught:
        train(**changes)
    assert "\n" not in str(caught.value)
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_pairs_to_test_on_may_share_no_prompt_with_those_of_any_criterion(train, pairs, tmp_path):
    fresh = replace(pairs[0], prompt_id="new", prompt="hear me")
    files = {
        "kindness": write_lines(tmp_path / "one.jsonl", [trl_pair(fresh)]),
        "severity": write_lines(tmp_path / "two.jsonl", [trl_pair(replace(pairs[0], prompt_id="other"))]),
    }
    items = [f"{key}={file}" for key, file in files.items()]
    with pytest.raises(CommandError, match="prompt other is trained on too"):
        train(eval_pairs=items)
    write_lines(files["severity"], [trl_pair(fresh)])
    train(eval_pairs=items)
    assert Run.objects.get().metrics["accuracy"]["n"] == 2


@pytest.fixture
def study():
    """Five prompts ranked on both criteria, the second the other way round."""
    study = make_study()
    rater = make_participant(study, simulated=True).rater
    for _ in range(5):
        task = make_task(rater, make_prompt(study, responses=3))
        order = list(task.responses.order_by("pk"))
        make_ranking(task, study.criterion("empathy"), order)
        make_ranking(task, study.criterion("safety"), order[::-1])
    return study


@pytest.mark.django_db
def test_a_study_gives_every_criterion_its_rewards_and_the_margin_of_each(train, study):
    train(study=study.slug, pairs=None, criterion=["empathy", "safety"])
    run = Run.objects.get()
    assert {dataset.criterion.key for dataset in run.datasets.all()} == {"empathy", "safety"}
    assert (run.metrics["train_pairs"], run.metrics["encoded_pairs"]) == (24, 12)
    call_command("score_responses", f"--study={study.slug}", "--run=shared")
    assert Reward.objects.filter(criterion="empathy").count() == Reward.objects.filter(criterion="safety").count() == 15

    assert reward_runs(study, ["safety"], {}) == reward_runs(study, ["safety"], {"safety": "shared"}) == {"safety": run}
    pairs = pairs_of_study(study, "empathy", split="train", pairs="all").pairs
    rewards = rewards_of_pairs(study, pairs, {"safety": run, "empathy": run})
    response = Response.objects.first()
    for criterion in ("empathy", "safety"):
        stored = Reward.objects.get(response=response, criterion=criterion).value
        assert rewards[response.prompt.key, response.key, criterion] == stored
    with pytest.raises(InputError, match="--reward-run manner=shared: that reward model learned empathy, safety"):
        reward_runs(study, ["manner"], {"manner": "shared"})


@pytest.mark.django_db
def test_a_shared_encoder_is_a_judge_of_each_of_its_criteria(train, study):
    train(study=study.slug, pairs=None, criterion=["empathy", "safety"])
    systems = [make_system(study, name=name) for name in ("Base", "Aligned")]
    for number in range(3):
        prompt = make_prompt(study, split=Split.TEST)
        for system in systems:
            make_response(prompt, system, text=text(7 * number + len(system.name), 6))
    runs = ("--run", "empathy=shared", "--run", "safety=shared")
    call_command("judge", "--study", study.slug, "--name", "Scorers", *runs, "--systems", "Base", "Aligned")
    assert Verdict.objects.values_list("criterion__key", flat=True).distinct().count() == 2
    assert Verdict.objects.count() == 12
