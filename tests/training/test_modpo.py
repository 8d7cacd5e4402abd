"""MODPO on TRL's trainer against the formula, against DPO, and against what must be refused."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from annotation.errors import InputError
from tests.training.conftest import command_line, write_lines
from training.losses import modpo_loss
from training.models import Run, RunStatus
from training.modpo import Shift, Weights, parse_weights, read_rewards, shifts
from training.policy import Workplace, train_policy
from training.preference import PreferenceTask, response_logps
from training.recipes import PolicyRecipe
from training.reference_cache import ReferenceCache

RECIPE = PolicyRecipe(model="tiny", epochs=1, batch_size=4, rank=2, alpha=4, max_length=64, learning_rate=1e-2)
EVEN = Weights(primary="empathy", values={"empathy": 0.5, "safety": 0.5})
DPO = Weights(primary="empathy", values={"empathy": 1.0, "safety": 0.0})


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Compare numbers in fp32: bfloat16 would blur them."""
    from training import policy

    load = policy.load_policy
    monkeypatch.setattr(policy, "load_policy", lambda source, **options: load(source, dtype=torch.float32))


@pytest.fixture
def rewards(pairs):
    """Safety likes what empathy rejects, by 0.6 a pair and more."""
    return {
        (pair.prompt_id, response_id, "safety"): reward + index / 10
        for index, pair in enumerate(pairs)
        for response_id, reward in ((pair.chosen_id, -0.3), (pair.rejected_id, 0.3 + index / 20))
    }


@pytest.fixture
def make_task(tiny_policy, pairs, rewards):
    def make(weights=EVEN, **changes):
        made = shifts(pairs, weights, rewards, beta=RECIPE.beta)
        return PreferenceTask(
            source=str(tiny_policy),
            recipe=replace(RECIPE, **changes),
            weights=weights,
            pairs=pairs[:20],
            shifts=made[:20],
            held_out=pairs[20:],
            held_out_shifts=made[20:],
        )

    return make


@pytest.fixture
def place(tmp_path):
    """A workplace of its own each time it is called; the cache is shared."""
    cache = ReferenceCache(tmp_path / "cache" / "logps.sqlite3")
    numbers = itertools.count()
    return lambda: Workplace(folder=tmp_path / f"run-{next(numbers)}", cache=cache)


def losses(metrics):
    return [loss for _, loss in metrics["curves"]["loss"]]


def first_batch(trainer):
    return trainer.data_collator([trainer.train_dataset[index] for index in range(4)])


def test_the_trainers_loss_is_the_modpo_loss_of_the_same_batch(make_task, place):
    task = make_task()
    trainer, _ = task.build(place())
    with torch.no_grad():  # away from the reference, so that the policy's part counts too
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    trainer.model.eval()
    batch = first_batch(trainer)
    policy = response_logps(trainer.model, batch)
    with trainer.model.disable_adapter():
        reference = response_logps(trainer.model, batch)
    assert not torch.allclose(policy[0], reference[0])
    rows = [trainer.train_dataset[index] for index in range(4)]
    margin = torch.tensor([RECIPE.beta * (row["chosen_shift"] - row["rejected_shift"]) for row in rows])
    expected = modpo_loss(*policy, *reference, margin, beta=RECIPE.beta, primary_weight=0.5).mean()
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_margin_changes_what_is_learned(make_task, place):
    curves = []
    for factor in (1, 0):
        task = make_task()
        task = replace(task, shifts=[Shift(factor * s.chosen, factor * s.rejected) for s in task.shifts])
        curves.append(losses(train_policy(task, place())))
    # Safety prefers the rejected responses here, so m is negative and the first loss below ln 2.
    assert curves[0][0] < curves[1][0] == pytest.approx(math.log(2), abs=1e-4)
    assert curves[0][4] != pytest.approx(curves[1][4], abs=1e-3)


def even(pairs):
    """The pairs with all texts of one length, so that padding is the same however they are batched."""
    return [
        replace(pair, chosen=" ".join(pair.chosen.split()[:6]), rejected=" ".join(pair.rejected.split()[:6]))
        for pair in pairs
    ]


def stock_dpo(task, trainer, tmp_path, **changes):
    """TRL's own DPOTrainer, trained on the same rows in the same order, with its own reference log-probabilities."""
    from datasets import Dataset, load_from_disk
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, set_seed
    from trl import DPOTrainer

    from training.language_models import load_tokenizer
    from training.progress import report_steps

    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in trainer.train_dataset]
    Dataset.from_list(rows).save_to_disk(tmp_path / "stock")
    stock = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(task.source, dtype=torch.float32),
        args=replace(trainer.args, eval_strategy="no", save_strategy="no", output_dir=str(tmp_path / "o"), **changes),
        train_dataset=load_from_disk(tmp_path / "stock"),
        processing_class=load_tokenizer(task.source),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules="all-linear"),
    )
    report_steps(stock, "stock")
    set_seed(RECIPE.seed)
    stock.train()
    return stock


@pytest.mark.parametrize("precomputed", [True, False])
def test_all_weight_on_one_criterion_is_trls_own_dpo_bit_for_bit(make_task, place, tmp_path, precomputed):
    task = make_task(DPO)
    task = replace(task, pairs=even(task.pairs), held_out=even(task.held_out))
    trainer, _ = task.build(place())
    stock = stock_dpo(task, trainer, tmp_path, precompute_ref_log_probs=precomputed)
    ours = place()
    curve = losses(train_policy(task, ours))
    assert len(curve) == 5
    assert curve[-1] < curve[0]
    assert curve == [round(entry["loss"], 6) for entry in stock.state.log_history if "loss" in entry]
    adapter = load_file(ours.folder / "adapter_model.safetensors")
    expected = get_peft_model_state_dict(stock.model)
    assert adapter.keys() == expected.keys()
    assert all(torch.equal(adapter[name], expected[name]) for name in adapter)


def test_the_order_of_the_margin_criteria_changes_nothing(make_task, place, pairs, rewards):
    weights = {"empathy": 0.5, "safety": 0.3, "trust": 0.2}
    rewards |= {(prompt, response, "trust"): -2 * reward for (prompt, response, _), reward in rewards.items()}
    curves = []
    for order in (["empathy", "safety", "trust"], ["trust", "safety", "empathy"]):
        chosen = Weights(primary="empathy", values={name: weights[name] for name in order})
        made = shifts(pairs, chosen, rewards, beta=RECIPE.beta)
        task = replace(make_task(chosen), shifts=made[:20], held_out_shifts=made[20:])
        curves.append(losses(train_policy(task, place())))
    assert curves[0] == curves[1]


def test_the_logged_margin_is_the_policys_own_without_the_shift(make_task, place):
    metrics = train_policy(make_task(learning_rate=1e-12), place())
    # A policy that has not moved has h = 0, whatever the shift.
    assert metrics["mean_margin"] < -0.2
    for name in ("margin", "eval_margin"):
        assert [value for _, value in metrics["curves"][name]] == pytest.approx(
            [0] * len(metrics["curves"][name]), abs=1e-4
        )
    assert metrics["held_out_implicit_margin"] == pytest.approx(0, abs=1e-4)


def test_prompt_and_padding_carry_no_loss_though_pad_is_eos(make_task, place):
    trainer, _ = make_task().build(place())
    tokenizer = trainer.processing_class
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([row, max(trainer.train_dataset, key=lambda row: row["length"])])
    chosen = batch["input_ids"][0][batch["completion_mask"][0] == 1].tolist()
    assert chosen == row["chosen_ids"]
    assert chosen[-1] == tokenizer.eos_token_id or tokenizer.eos_token_id in chosen
    logps, _ = response_logps(trainer.model, batch)
    alone, _ = response_logps(trainer.model, trainer.data_collator([row]))
    assert logps[0].item() == pytest.approx(alone[0].item(), abs=1e-5)


def test_reference_log_probabilities_are_computed_once_and_stay_pure(make_task, place):
    first, counts = make_task().build(place())
    assert counts["reference_logps_computed"] == 48
    again, counts = make_task(DPO, rank=4).build(place())
    assert counts["reference_logps_computed"] == 0
    assert any(first.train_dataset["chosen_shift"])
    for shifted, pure in zip(first.train_dataset, again.train_dataset, strict=True):
        assert shifted["ref_chosen_logps"] - shifted["chosen_shift"] == pytest.approx(pure["ref_chosen_logps"])


def test_shifts_are_the_weighted_rewards_over_beta(pairs, rewards):
    shift = shifts(pairs, EVEN, rewards, beta=0.1)[2]
    assert shift.chosen == pytest.approx(0.5 * -0.1 / 0.1)
    assert shift.margin(0.1) == pytest.approx(0.5 * (-0.3 - 0.4))


def test_a_criterion_without_weight_needs_no_reward(pairs):
    assert shifts(pairs, DPO, {}, beta=0.1) == [Shift()] * len(pairs)


def test_missing_rewards_and_rewards_without_a_margin_are_refused(pairs, rewards):
    with pytest.raises(InputError, match="response q0-good-0 of prompt q0 has no safety reward"):
        shifts(pairs, EVEN, {}, beta=0.1)
    with pytest.raises(InputError, match="no pair has a margin"):
        shifts(pairs, EVEN, dict.fromkeys(rewards, 1.0), beta=0.1)
    with pytest.raises(InputError, match="is nan"):
        shifts(pairs, EVEN, dict.fromkeys(rewards, math.nan), beta=0.1)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["empathy=0.5", "safety=0.6"], "sum to 1.1"),
        (["empathy=0.5"], "sum to 0.5"),
        (["empathy=-0.5", "safety=1.5"], "0 or greater"),
        (["empathy=nan", "safety=1"], "criterion=number"),
        (["empathy=0", "safety=1"], "--primary empathy"),
        (["safety=1"], "--primary empathy"),
        (["empathy=half"], "criterion=number"),
        (["empathy"], "criterion=number"),
        (["empathy=0.5", "empathy=0.5"], "already"),
    ],
)
def test_wrong_weights_are_refused(items, message):
    with pytest.raises(InputError, match=message):
        parse_weights("empathy", items)


def reward_rows(rewards):
    return [
        {"prompt_id": key[0], "response_id": key[1], "criterion": key[2], "reward": reward}
        for key, reward in rewards.items()
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt_id": "q", "response_id": "r", "criterion": "safety", "reward": NaN}', "row 2: not JSON: NaN"),
        ('{"prompt_id": "q", "response_id": "r", "criterion": "safety"}', "row 2, column reward"),
        ('{"response_id": "r", "criterion": "safety", "reward": 1}', "row 2, column prompt_id"),
        ("[]", "row 2: an object is required"),
        ("no json", "row 2: not JSON"),
        ('{"prompt_id": "q", "response_id": "a", "criterion": "safety", "reward": 2}', "another safety reward"),
    ],
)
def test_a_wrong_reward_file_names_row_and_column(tmp_path, line, message):
    good = '{"prompt_id": "q", "response_id": "a", "criterion": "safety", "reward": 1}'
    file = tmp_path / "margins.jsonl"
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_rewards(file)


def test_an_empty_or_wrongly_encoded_reward_file_is_refused(tmp_path):
    file = tmp_path / "margins.jsonl"
    for content, message in ((b"", "the file is empty"), ("caf\u00e9".encode("latin-1"), "row 1: not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_rewards(file)


@pytest.fixture
def modpo(tiny_policy, pairs_file, tmp_path, rewards, settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.VAR_DIR = tmp_path / "var"

    def call(**changes):
        options = {
            "primary": "empathy",
            "weight": ["empathy=0.5", "safety=0.5"],
            "pairs": pairs_file,
            "margins": write_lines(tmp_path / "margins.jsonl", reward_rows(rewards)),
            "model": str(tiny_policy),
            "output": tmp_path / "out",
            "epochs": 1.0,
            "max_length": 64,
            "rank": 2,
            **changes,
        }
        call_command("train_modpo", *command_line(options))

    return call


@pytest.mark.django_db
def test_the_command_prints_the_run_and_records_it(modpo, tmp_path, capsys):
    modpo(json=True, name="mine")
    printed = json.loads(capsys.readouterr().out)
    run = Run.objects.get(name="mine", status=RunStatus.DONE)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert printed["path"] == str(run.folder) == str(tmp_path / "out")
    assert record["config"]["weights"] == {"empathy": 0.5, "safety": 0.5}
    assert record["metrics"] == run.metrics == printed["metrics"]
    assert run.metrics["mean_margin"] < 0
    assert run.metrics["held_out_preference"]["n"] == 2
    assert not list((tmp_path / "out").glob("*tmp*"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": ["empathy=0.5", "kindness=0.5"]}, "criterion kindness"),
        ({"weight": ["empathy=0.7", "safety=0.5"]}, "sum to 1.2"),
        ({"margins": None}, "--margins"),
        ({"beta": 0.0}, "--beta 0.0"),
        ({"model": "./nothing-here"}, "no such folder"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(modpo, tmp_path, changes, message):
    with pytest.raises(CommandError, match=message) as caught:
        modpo(**changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    assert not Run.objects.filter(status=RunStatus.DONE).exists()


@pytest.mark.django_db
def test_an_output_that_exists_is_never_overwritten(modpo, tmp_path):
    kept = tmp_path / "out" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(CommandError, match="exists"):
        modpo()
    assert kept.read_text() == "mine"
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_file_that_is_missing_is_named(modpo, tmp_path):
    with pytest.raises(CommandError, match=r"nowhere.jsonl"):
        modpo(margins=tmp_path / "nowhere.jsonl")
    with pytest.raises(CommandError, match=r"gone.jsonl"):
        modpo(pairs=tmp_path / "gone.jsonl")


@pytest.mark.django_db
def test_without_a_margin_it_is_recorded_as_the_dpo_it_is(modpo, tmp_path):
    modpo(weight=["empathy=1", "safety=0"], output=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["kind"], record["config"]["weights"]) == ("dpo", {"empathy": 1.0})
