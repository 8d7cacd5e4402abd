"""What DPO trains, what it leaves alone, and what can be done with the adapter."""

import json
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command

from annotation.errors import InputError, StudyError
from annotation.models import Split
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
from training.models import PreferenceDataset, Reward, Run, RunStatus
from training.modpo import Shift, only
from training.policy import Workplace
from training.preference import PreferenceTask
from training.recipes import POLICY_RECIPES, PolicyRecipe
from training.reference_cache import ReferenceCache, logp_key, model_hash
from training.reward_runs import reward_runs

RECIPE = PolicyRecipe(model="tiny", epochs=2, rank=2, alpha=4, max_length=64, learning_rate=1e-2)


@pytest.fixture
def trainer(tiny_policy, pairs, tmp_path):
    task = PreferenceTask(
        source=str(tiny_policy),
        recipe=RECIPE,
        weights=only("empathy"),
        pairs=pairs[:8],
        shifts=[Shift()] * 8,
        held_out=[],
        held_out_shifts=[],
    )
    return task.build(Workplace(folder=tmp_path, cache=ReferenceCache(tmp_path / "logps")))[0]


def test_every_adapter_weight_moves_and_no_other(trainer):
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if "lora_" in name}
    layers = {name.split(".")[-4] for name in moved}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_only_the_responses_tokens_carry_loss(trainer):
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([row])
    chosen, rejected = batch["completion_mask"].tolist()
    assert chosen[: len(row["prompt_ids"])] == [0] * len(row["prompt_ids"])
    assert sum(chosen) == len(row["chosen_ids"])
    assert sum(rejected) == len(row["rejected_ids"])
    tokenizer = trainer.processing_class
    assert tokenizer.decode(row["prompt_ids"]).rstrip().endswith("assistant")
    # The end of the response is learned, although pad and end are one token.
    assert tokenizer.eos_token_id in row["chosen_ids"]


def test_a_prompt_that_fills_the_window_is_dropped_and_counted(tiny_policy, pairs, tmp_path):
    long = replace(pairs[0], prompt=text(0, 80))
    task = PreferenceTask(
        source=str(tiny_policy),
        recipe=replace(RECIPE, max_length=24),
        weights=only("empathy"),
        pairs=[long, *pairs[1:4]],
        shifts=[Shift(9.0, 9.0), Shift(1.0, 0.0), Shift(2.0, 0.0), Shift(3.0, 0.0)],
        held_out=[],
        held_out_shifts=[],
    )
    trainer, counts = task.build(Workplace(folder=tmp_path, cache=ReferenceCache(tmp_path / "logps")))
    assert (counts["train_pairs"], counts["dropped_pairs"]) == (3, 1)
    # The shifts stay with their own pairs.
    assert {row["chosen_id"]: row["chosen_shift"] for row in trainer.train_dataset} == {
        pair.chosen_id: number for number, pair in enumerate(pairs[1:4], start=1)
    }


def test_the_cache_knows_the_model_and_each_token(tmp_path):
    cache = ReferenceCache(tmp_path / "logps")
    keys = {logp_key(model, prompt, [3]) for model in ("a", "b") for prompt in ([1, 2], [12])}
    assert len(keys | {logp_key("a", [1], [2, 3])}) == 5
    cache.put(dict.fromkeys(keys, -1.5))
    assert ReferenceCache(tmp_path / "logps").get([*keys, "unknown"]) == dict.fromkeys(keys, -1.5)


def test_a_models_settings_are_part_of_what_the_cache_knows_it_by(tiny_policy):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(tiny_policy)
    hashed = model_hash(model)
    model.config.name_or_path = "elsewhere"
    assert model_hash(model) == hashed
    model.config.rope_parameters["rope_theta"] = 500.0
    assert model_hash(model) != hashed


def test_a_ranking_counts_once_however_many_pairs_it_makes(tiny_policy, pairs, tmp_path):
    # Ten pairs of a tenth from one ranking, and ten rankings of one pair.
    ten = [replace(pairs[0], chosen_id=f"c{n}", chosen=f"kind {text(n, 4)}", weight=0.1) for n in range(10)]
    single = [replace(pair, weight=1.0) for pair in pairs[2:12]]
    task = PreferenceTask(
        source=str(tiny_policy),
        recipe=replace(RECIPE, epochs=11),
        weights=only("empathy"),
        pairs=[*ten, *single],
        shifts=[Shift()] * 20,
        held_out=[],
        held_out_shifts=[],
    )
    trainer, _ = task.build(Workplace(folder=tmp_path, cache=ReferenceCache(tmp_path / "logps")))
    drawn = trainer.train_dataset["prompt_id"]
    assert len(drawn) == 220
    # 20 in the mean; 110 if each pair came as often as any other.
    assert 8 <= drawn.count(ten[0].prompt_id) <= 32


def test_held_out_prompts_that_fill_the_window_are_told_before_training(tiny_policy, pairs, tmp_path):
    long = replace(pairs[0], prompt=text(0, 80))
    task = PreferenceTask(
        source=str(tiny_policy),
        recipe=replace(RECIPE, max_length=24),
        weights=only("empathy"),
        pairs=pairs[2:8],
        shifts=[Shift()] * 6,
        held_out=[long],
        held_out_shifts=[Shift()],
    )
    with pytest.raises(InputError, match="every held-out prompt fills --max-length 24 alone: raise it"):
        task.build(Workplace(folder=tmp_path, cache=ReferenceCache(tmp_path / "logps")))


def test_the_papers_constants():
    paper = POLICY_RECIPES["paper"]
    assert (paper.rank, paper.alpha, paper.dropout, paper.learning_rate) == (64, 128, 0.05, 5e-6)
    assert (paper.batch_size, paper.accumulation, paper.epochs, paper.beta) == (4, 4, 3, 0.1)
    assert (paper.max_length, paper.weight_decay, paper.warmup, paper.patience) == (1024, 0.01, 0.1, 3)


@pytest.fixture
def dpo(tiny_policy, pairs_file, tmp_path, settings):
    settings.VAR_DIR = tmp_path / "var"

    def call(command="train_dpo", **changes):
        options = {"model": str(tiny_policy), "epochs": 1.0, "max_length": 64, "rank": 2, **changes}
        call_command(command, *command_line(options))

    return call


@pytest.mark.django_db
def test_the_adapter_loads_with_plain_peft(dpo, pairs_file, tiny_policy, tmp_path, capsys):
    from peft import AutoPeftModelForCausalLM

    dpo(criterion="empathy", pairs=pairs_file, output=tmp_path / "out", name="dpo", learning_rate=1e-2)
    assert capsys.readouterr().out.startswith("dpo: loss 0.69")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_policy)
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), model.disable_adapter():
        base = model(ids).logits
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, base)


@pytest.fixture
def study():
    study = make_study()
    rater = make_participant(study, simulated=True).rater
    system = make_system(study)
    for index in range(4):
        prompt = make_prompt(study, text=text(index, 6))
        for number in range(1, 6):
            make_response(prompt, system, number=number, text=text(7 * number + index, 5))
        task = make_task(rater, prompt)
        for criterion in study.criteria.all():
            make_ranking(task, criterion)
    return study


@pytest.mark.django_db
def test_a_study_gives_one_pair_a_prompt(dpo, study):
    dpo(criterion="empathy", study=study.slug, name="dpo")
    run = Run.objects.get(name="dpo")
    assert run.metrics["train_pairs"] + run.metrics["held_out_preference"]["n"] == 4
    assert run.datasets.get().filters["pairs"] == "best-worst"
    assert run.is_simulated


@pytest.mark.django_db
def test_pairs_of_an_export_are_of_its_split_and_its_criterion(dpo, study, tiny_encoder, tmp_path):
    study.prompts.update(split=Split.SCORER)
    call_command("export_preferences", study=study.slug, criterion="safety", split="scorer", output=tmp_path / "data")
    file = tmp_path / "data" / "pairs.jsonl"
    train = {"command": "train_reward_model", "pairs": [file], "rank": None, "model": str(tiny_encoder)}
    with pytest.raises(CommandError, match="the data set was exported of safety, not of empathy"):
        dpo(**train, criterion="empathy")
    dpo(**train, criterion="safety", name="of-scorer-prompts")
    run = Run.objects.get()
    assert run.config["split"] == "scorer"
    assert reward_runs(study, ["safety"], {}, split=Split.SCORER) == {"safety": run}
    # It evaluates and never teaches.
    with pytest.raises(StudyError, match="no reward model of safety that learned from train prompts"):
        reward_runs(study, ["safety"], {})
    # Another criterion's name on a data set of safety, as older versions let pass.
    Run.objects.update(config=run.config | {"criterion": "kindness"})
    with pytest.raises(StudyError, match="no reward model of safety"):
        reward_runs(study, ["safety"], {}, split=Split.SCORER)


@pytest.mark.django_db
def test_modpo_of_a_study_scores_its_pairs_with_the_latest_reward_model(dpo, study, tiny_encoder):
    weights = {"primary": "empathy", "weight": ["empathy=0.6", "safety=0.4"], "study": study.slug}
    with pytest.raises(CommandError, match=r"no reward model of safety .* run manage.py train_reward_model"):
        dpo("train_modpo", **weights)
    dpo("train_reward_model", criterion="safety", study=study.slug, rank=None, model=str(tiny_encoder), name="rm")
    dpo("train_modpo", **weights, name="modpo")
    run = Run.objects.get(name="modpo")
    assert [parent.name for parent in run.parents.all()] == ["rm"]
    assert Reward.objects.filter(run__name="rm").count() == 8
    with pytest.raises(CommandError, match="learned safety"):
        dpo(
            "train_modpo",
            primary="safety",
            weight=["empathy=0.6", "safety=0.4"],
            study=study.slug,
            reward_run="empathy=rm",
        )
    rater = study.raters.get()
    rater.withdraw()
    with pytest.raises(CommandError, match="no reward model of safety"):
        dpo("train_modpo", **weights)
    with pytest.raises(CommandError, match="withdrawn"):
        dpo("train_modpo", **weights, reward_run="safety=rm")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"criterion": "kindness", "study": "S"}, "no criterion 'kindness'"),
        ({"rank": 0}, "--rank 0"),
        ({"max_length": 3}, "raise it"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(dpo, study, pairs_file, tmp_path, changes, message):
    source = {"study": study.slug} if "study" in changes else {"pairs": pairs_file}
    options = {"criterion": "empathy", **changes, **source} | (
        {"pairs": changes["pairs"]} if "pairs" in changes else {}
    )
    with pytest.raises(CommandError, match=message) as caught:
        dpo(**options, output=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*out*"))
    assert not Run.objects.filter(status=RunStatus.DONE).exists()
    assert not PreferenceDataset.objects.exists()


@pytest.mark.django_db
def test_pairs_across_prompts_teach_a_reward_model_but_no_policy(dpo, tmp_path):
    said = [[{"role": "user", "content": f"i am {x}"}, {"role": "assistant", "content": "tell me"}] for x in "ab"]
    file = write_lines(tmp_path / "across.jsonl", [{"chosen": said[0], "rejected": said[1]}] * 3)
    with pytest.raises(CommandError, match="prompt") as caught:
        dpo(criterion="empathy", pairs=file)
    assert "\n" not in str(caught.value)
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_training_stops_when_the_held_out_loss_no_longer_falls(dpo, pairs_file, tmp_path):
    dpo(
        criterion="empathy",
        pairs=pairs_file,
        name="dpo",
        epochs=3.0,
        eval_steps=1,
        patience=2,
        learning_rate=1e-12,
        dropout=0.1,
        accumulation=2,
        gradient_checkpointing=True,
    )
    metrics = Run.objects.get(name="dpo").metrics
    assert metrics["train_pairs"] == 22
    assert len(metrics["curves"]["eval_loss"]) == 3  # of 9 updates
    assert (tmp_path / "var" / "runs" / "dpo" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "var" / "runs" / "dpo").glob("tmp*"))
