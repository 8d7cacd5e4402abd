"""The baselines of the paper: supervised fine-tuning, and DPO on several criteria under one loss."""

import json
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from tests.training.conftest import command_line, write_lines
from training.joint_dpo import JointTask, bundles
from training.losses import joint_dpo_loss
from training.models import Run, RunStatus
from training.modpo import Shift, only
from training.pairs import trl_pair
from training.policy import Workplace, bundles_together, train_policy
from training.preference import PreferenceTask, response_logps
from training.recipes import PolicyRecipe
from training.reference_cache import ReferenceCache
from training.sft import SFTTask

RECIPE = PolicyRecipe(model="tiny", epochs=2, batch_size=2, rank=2, alpha=4, max_length=64, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    from training import policy

    load = policy.load_policy
    monkeypatch.setattr(policy, "load_policy", lambda source, **options: load(source, dtype=torch.float32))


@pytest.fixture
def place(tmp_path):
    return Workplace(folder=tmp_path / "run", cache=ReferenceCache(tmp_path / "logps"))


@pytest.fixture
def two_criteria(pairs):
    """On safety the other response of each pair is the better one."""
    swapped = [
        replace(p, chosen=p.rejected, chosen_id=p.rejected_id, rejected=p.chosen, rejected_id=p.chosen_id)
        for p in pairs
    ]
    return {"empathy": pairs, "safety": swapped}


@pytest.fixture
def joint(tiny_policy, two_criteria):
    def make(weights, **changes):
        bundled = bundles({name: two_criteria[name] for name in weights})
        return JointTask(
            source=str(tiny_policy),
            recipe=replace(RECIPE, **changes),
            weights=weights,
            bundles=bundled[:20],
            held_out=bundled[20:],
        )

    return make


def test_the_joint_trainers_loss_is_the_joint_loss_of_the_same_prompts(joint, place):
    trainer, metrics = joint({"empathy": 0.7, "safety": 0.3}).build(place)
    assert metrics["train_pairs"] == 40
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    trainer.model.eval()
    rows = [trainer.train_dataset[index] for index in range(4)]
    assert [row["prompt_id"] for row in rows[::2]] == [row["prompt_id"] for row in rows[1::2]]
    batch = trainer.data_collator(rows)
    with torch.no_grad():
        policy = response_logps(trainer.model, batch)
        with trainer.model.disable_adapter():
            reference = response_logps(trainer.model, batch)
        logps = [[side[::2], side[1::2]] for side in (*policy, *reference)]
        expected = joint_dpo_loss(*logps, beta=0.1, weights=[0.7, 0.3]).mean()
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "criteria", "together"), [(4, 1, 4), (4, 2, 2), (4, 3, 1), (4, 6, 1), (6, 2, 3)]
)
def test_a_step_of_bundles_holds_no_more_rows_than_one_of_single_pairs(batch_size, criteria, together):
    assert bundles_together(batch_size, criteria) == together


def test_bundles_that_are_accumulated_make_the_update_of_a_whole_batch(joint, place, tmp_path, monkeypatch):
    curves = []
    for number, at_once in enumerate((bundles_together, lambda batch_size, rows_each: batch_size)):
        monkeypatch.setattr("training.policy.bundles_together", at_once)
        task = joint({"empathy": 0.7, "safety": 0.3}, batch_size=4)
        curves.append(train_policy(task, replace(place, folder=tmp_path / str(number)))["curves"]["loss"])
    assert [loss for _, loss in curves[0]] == pytest.approx([loss for _, loss in curves[1]], abs=1e-4)


def test_the_heavier_criterion_wins_where_two_contradict_each_other(joint, place, tmp_path):
    accuracies = []
    for number, weights in enumerate(({"empathy": 0.9, "safety": 0.1}, {"empathy": 0.1, "safety": 0.9})):
        there = replace(place, folder=tmp_path / str(number))
        metrics = train_policy(joint(weights, epochs=4), there)
        accuracies.append(metrics["curves"])
    for curves in accuracies:
        # What is gained on one criterion is lost on the other: their margins cancel, and each pair is won once.
        assert [value for _, value in curves["margin"]] == pytest.approx([0] * len(curves["margin"]), abs=1e-4)
        assert curves["loss"][-1][1] < curves["loss"][0][1]
        assert curves["accuracy"][-1][1] == 0.5


def test_bundles_keep_prompts_that_have_a_pair_on_every_criterion(pairs):
    made = bundles({"empathy": pairs[:6], "safety": list(reversed(pairs[2:]))})
    assert [[pair.prompt_id for pair in bundle] for bundle in made] == [["q1"] * 2] * 2 + [["q2"] * 2] * 2
    with pytest.raises(InputError, match="no prompt has a pair on each of empathy, safety"):
        bundles({"empathy": pairs[:2], "safety": pairs[2:]})


def test_supervised_fine_tuning_imitates_the_chosen_responses_alone(tiny_policy, pairs, place):
    repeated = [*pairs[:16], replace(pairs[0], rejected="stop it now", rejected_id="other")]
    task = SFTTask(source=str(tiny_policy), recipe=replace(RECIPE, epochs=3), pairs=repeated, held_out=pairs[16:])
    trainer, metrics = task.build(place)
    assert metrics["train_responses"] == 16
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([row])
    learned = batch["input_ids"][batch["labels"] != -100]
    text = trainer.processing_class.decode(learned)
    assert "kind" in text
    assert "user" not in text
    assert trainer.processing_class.eos_token_id in learned
    metrics = train_policy(task, replace(place, folder=place.folder / "again"))
    losses = [loss for _, loss in metrics["curves"]["loss"]]
    assert losses[-1] < losses[0]
    assert metrics["held_out_loss"] == pytest.approx(metrics["curves"]["eval_loss"][-1][1], abs=1e-4)


@pytest.mark.parametrize("method", ["SFT", "DPO", "joint-loss DPO"])
def test_only_what_carries_loss_is_projected_on_the_vocabulary(method, tiny_policy, pairs, joint, place, monkeypatch):
    from trl.trainer import utils

    data = {"source": str(tiny_policy), "recipe": RECIPE, "pairs": pairs, "held_out": []}
    shifts = {"weights": only("empathy"), "shifts": [Shift()] * len(pairs), "held_out_shifts": []}
    tasks = {
        "SFT": lambda: SFTTask(**data),
        "DPO": lambda: PreferenceTask(**data, **shifts),
        "joint-loss DPO": lambda: joint({"empathy": 0.7, "safety": 0.3}),
    }
    trainer, _ = tasks[method]().build(place)
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(2)])
    projected = []
    head = utils._ChunkedLogProbFunction.apply
    monkeypatch.setattr(
        utils._ChunkedLogProbFunction,
        "apply",
        lambda hidden, *rest: projected.append(len(hidden)) or head(hidden, *rest),
    )
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    learned = batch["labels"] != -100 if method == "SFT" else batch["completion_mask"] == 1
    assert projected == [learned.sum().item()]
    assert projected[0] < batch["attention_mask"].sum().item()


def test_a_prompt_that_fills_the_window_teaches_sft_nothing(tiny_policy, pairs, place):
    long = replace(pairs[0], prompt=" ".join(["sad"] * 80))
    task = SFTTask(source=str(tiny_policy), recipe=RECIPE, pairs=[long, *pairs[1:3]], held_out=[])
    _, metrics = task.build(place)
    assert metrics["train_responses"] == 2
    with pytest.raises(InputError, match="every prompt fills --max-length 64 alone: raise it"):
        replace(task, pairs=[long]).build(place)
    with pytest.raises(InputError, match="every held-out prompt fills --max-length 64 alone: raise it"):
        replace(task, pairs=pairs[1:3], held_out=[long]).build(place)


@pytest.fixture
def train(tiny_policy, tmp_path, settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.VAR_DIR = tmp_path / "var"

    def call(command, **changes):
        options = {"model": str(tiny_policy), "epochs": 1.0, "max_length": 64, "rank": 2, **changes}
        call_command(command, *command_line(options))

    return call


@pytest.mark.django_db
def test_the_sft_command_leaves_an_adapter_and_a_card(train, pairs_file, tmp_path, capsys):
    from peft import AutoPeftModelForCausalLM

    train("train_sft", criterion="empathy", pairs=pairs_file, output=tmp_path / "out", name="sft")
    assert capsys.readouterr().out.startswith("sft: loss ")
    AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "supervised fine-tuning" in card
    assert "library_name: peft" in card
    assert not list((tmp_path / "out").glob("checkpoint*"))


@pytest.fixture
def files(two_criteria, tmp_path):
    return {
        name: write_lines(tmp_path / f"{name}.jsonl", [trl_pair(pair) for pair in pairs])
        for name, pairs in two_criteria.items()
    }


@pytest.mark.django_db
def test_the_joint_command_records_its_weights_and_files(train, files, tmp_path, capsys):
    weights = ["empathy=0.5", "safety=0.5"]
    train("train_joint_dpo", weight=weights, pairs=[f"{k}={v}" for k, v in files.items()], name="joint", json=True)
    assert json.loads(capsys.readouterr().out)["run"] == "joint"
    run = Run.objects.get(name="joint")
    assert (run.kind, run.config["weights"]) == ("joint_dpo", {"empathy": 0.5, "safety": 0.5})
    record = json.loads((run.folder / "run.json").read_text())
    assert len(record["files"]) == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("weight", "keys", "message"),
    [
        (["empathy=1"], ["empathy"], "needs two criteria"),
        (["empathy=1", "safety=0"], ["empathy", "safety"], "needs two criteria"),
        (["empathy=0.5", "safety=0.6"], ["empathy", "safety"], "sum to 1.1"),
        (["empathy=0.5", "safety=0.5"], ["empathy"], "one file for each of empathy, safety"),
        (["empathy=0.5", "trust=0.5"], ["empathy", "safety"], "one file for each of empathy, trust"),
    ],
)
def test_a_joint_command_that_lacks_something_is_one_line(train, files, weight, keys, message):
    with pytest.raises(CommandError, match=message) as caught:
        train("train_joint_dpo", weight=weight, pairs=[f"{key}={files[key]}" for key in keys])
    assert "\n" not in str(caught.value)
    assert not Run.objects.exists()
    with pytest.raises(CommandError, match="criterion=file"):
        train("train_joint_dpo", weight=["empathy=0.5", "safety=0.5"], pairs=["empathy"])
    assert not Run.objects.filter(status=RunStatus.DONE).exists()


@pytest.mark.django_db
def test_pairs_without_a_partner_are_counted_and_told(train, two_criteria, tmp_path, capsys):
    some = write_lines(tmp_path / "some.jsonl", [trl_pair(pair) for pair in two_criteria["safety"][:14]])
    whole = write_lines(tmp_path / "whole.jsonl", [trl_pair(pair) for pair in two_criteria["empathy"]])
    train(
        "train_joint_dpo", weight=["empathy=0.5", "safety=0.5"], pairs=[f"empathy={whole}", f"safety={some}"], name="j"
    )
    assert "; 10 pairs left out, for which another criterion has none on the same prompt; " in capsys.readouterr().out
    assert Run.objects.get().metrics["dropped_pairs"] == 10
