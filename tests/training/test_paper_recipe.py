"""The recipe `paper` on a Mistral and a RoBERTa of two layers: all of it but the size."""

import json
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoTokenizer, EarlyStoppingCallback

from annotation.models import Response, Split
from tests.factories import make_prompt, make_study
from tests.training.conftest import command_line, text, write_lines
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.generation import Generator, Sampling
from training.language_models import load_tokenizer
from training.modpo import Shift, only
from training.pairs import trl_pair
from training.policy import Workplace, load_base
from training.preference import PreferenceTask, response_logps
from training.recipes import POLICY_RECIPES, REWARD_RECIPES
from training.reference_cache import ReferenceCache
from training.runs import finished_run, read_record
from training.scoring import raw_scores
from training.sft import IGNORED, SFTTask

PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LAYERS = 2
BOS, EOS = 1, 2
# The window is 12 tokens, so that two layers see 22 tokens back.
REACH = 22


@pytest.fixture
def place(tmp_path):
    return Workplace(folder=tmp_path / "run", cache=ReferenceCache(tmp_path / "logps"))


@pytest.fixture
def recipe(tiny_mistral):
    return replace(POLICY_RECIPES["paper"], model=str(tiny_mistral), four_bit=False, rank=4, alpha=8)


@pytest.fixture
def preference(recipe, pairs):
    def make(pairs=pairs, held_out=pairs[20:]):
        return PreferenceTask(
            source=recipe.model,
            recipe=recipe,
            weights=only("empathy"),
            pairs=pairs,
            shifts=[Shift()] * len(pairs),
            held_out=held_out,
            held_out_shifts=[Shift()] * len(held_out),
        )

    return make


@pytest.fixture
def train(tiny_mistral, tmp_path, settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.VAR_DIR = tmp_path / "var"

    def call(command, **changes):
        options = {"recipe": "paper", "model": str(tiny_mistral), "rank": 4, "alpha": 8, **changes}
        call_command(command, *command_line(options))

    return call


@pytest.fixture
def data(pairs, pairs_file, tmp_path):
    """What each command learns from."""
    swapped = write_lines(tmp_path / "safety.jsonl", [trl_pair(pair) for pair in pairs])
    rewards = [
        {"prompt_id": pair.prompt_id, "response_id": response, "criterion": "safety", "reward": reward}
        for pair in pairs
        for response, reward in ((pair.chosen_id, -0.5), (pair.rejected_id, 0.5))
    ]
    weight = ["empathy=0.5", "safety=0.5"]
    margins = write_lines(tmp_path / "margins.jsonl", rewards)
    return {
        "train_sft": {"criterion": "empathy", "pairs": pairs_file},
        "train_dpo": {"criterion": "empathy", "pairs": pairs_file},
        "train_modpo": {"primary": "empathy", "weight": weight, "pairs": pairs_file, "margins": margins},
        "train_joint_dpo": {"weight": weight, "pairs": [f"empathy={pairs_file}", f"safety={swapped}"]},
    }


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["train_sft", "train_dpo", "train_modpo", "train_joint_dpo"])
def test_each_method_leaves_an_adapter_on_the_seven_projections_that_plain_peft_loads(train, data, tmp_path, command):
    train(command, **data[command], no_four_bit=True, output=tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == PROJECTIONS
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.05)
    adapter = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert len(adapter) == LAYERS * len(PROJECTIONS) * 2
    # B starts at 0: whatever is not has learned.
    assert all(tensor.count_nonzero() for name, tensor in adapter.items() if "lora_B" in name)
    recorded = read_record(tmp_path / "out")["config"]
    paper = {"learning_rate": 5e-6, "batch_size": 4, "accumulation": 4, "epochs": 3.0, "beta": 0.1, "max_length": 1024}
    assert paper.items() <= recorded.items()
    assert (recorded["weight_decay"], recorded["warmup"], recorded["patience"]) == (0.01, 0.1, 3)
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16).eval()
    written = model.generate(torch.tensor([[BOS, 3, 8, 9, 4]]), max_new_tokens=5, do_sample=False, pad_token_id=EOS)
    assert written.shape[1] > 5


@pytest.mark.django_db
def test_what_the_adapter_writes_is_stored_without_bos_and_eos(train, data):
    study = make_study()
    make_prompt(study, split=Split.TEST, text=text(3, 30))
    train("train_dpo", **data["train_dpo"], no_four_bit=True, name="dpo")
    call_command("generate_responses", study=study.slug, system="dpo", run="dpo", split="test", per_prompt=2)
    for response in Response.objects.all():
        assert "<s>" not in response.text
        assert "</s>" not in response.text
    assert Response.objects.count() == 2


def test_the_trainer_is_the_papers_in_bf16_with_gradient_checkpointing_and_early_stopping(preference, place):
    trainer, _ = preference().build(place)
    assert trainer.args.gradient_checkpointing
    base = [p for name, p in trainer.model.named_parameters() if "lora_" not in name]
    assert {p.dtype for p in base} == {torch.bfloat16}
    assert not any(p.requires_grad for p in base)
    assert all(p.requires_grad for name, p in trainer.model.named_parameters() if "lora_" in name)
    dropouts = {module.p for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert dropouts == {0.05}
    assert (trainer.args.lr_scheduler_type, trainer.args.warmup_steps) == ("cosine", 0.1)
    stopping = next(c for c in trainer.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback))
    assert stopping.early_stopping_patience == 3
    assert trainer.args.metric_for_best_model == "eval_loss"


def test_a_conversation_has_one_bos_and_its_loss_ends_with_the_eos_that_also_pads(preference, pairs, place):
    long = replace(pairs[0], prompt_id="long", prompt=text(3, 20))
    trainer, _ = preference(pairs=[pairs[0], long]).build(place)
    assert trainer.processing_class.pad_token_id == trainer.processing_class.eos_token_id == EOS
    rows = {row["prompt_id"]: row for row in trainer.train_dataset}
    row, longest = rows["q0"], rows["long"]
    for side in ("chosen", "rejected"):
        ids = row["prompt_ids"] + row[f"{side}_ids"]
        assert ids.count(BOS) == 1
        assert ids[0] == BOS
        assert row[f"{side}_ids"][-1] == EOS
        assert EOS not in ids[:-1]
    # The shorter row is padded, with the same token as its last.
    batch = trainer.data_collator([row, longest])
    learned = batch["input_ids"][0][batch["completion_mask"][0] == 1].tolist()
    assert learned == row["chosen_ids"]
    assert (batch["input_ids"][0] == EOS).sum() > 1
    trainer.model.eval()
    with torch.no_grad():
        chosen, _ = response_logps(trainer.model, batch)
        ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
        logps = trainer.model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    alone = logps.gather(1, ids[0, 1:, None])[len(row["prompt_ids"]) - 1 :].sum()
    assert chosen[0].item() == pytest.approx(alone.item(), abs=0.05)


def test_supervised_fine_tuning_reads_one_bos_and_learns_to_stop(recipe, pairs, place):
    task = SFTTask(source=recipe.model, recipe=recipe, pairs=pairs[:8], held_out=[])
    trainer, _ = task.build(place)
    rows = sorted(trainer.train_dataset, key=lambda row: len(row["input_ids"]))
    batch = trainer.data_collator([rows[0], rows[-1]])
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    assert (ids == BOS).sum() == 1
    learned = labels[labels != IGNORED].tolist()
    assert learned[-1] == EOS
    assert learned.count(EOS) == 1
    assert trainer.processing_class.decode(learned[:2]) == "kind kind"


def test_words_beyond_the_sliding_window_do_not_reach_a_response(preference, pairs, place):
    filler = ["hear"] * 40
    prompts = {"one": ["sad", *filler], "far": ["calm", *filler], "near": ["sad", *filler[1:], "calm"]}
    asked = [replace(pairs[0], prompt=" ".join(words), prompt_id=name) for name, words in prompts.items()]
    trainer, _ = preference(pairs=asked, held_out=[]).build(place)
    rows = {row["prompt_id"]: row for row in trainer.train_dataset}
    assert min(len(row["prompt_ids"]) for row in rows.values()) > REACH
    batch = trainer.data_collator([rows[name] for name in prompts])
    trainer.model.eval()
    with torch.no_grad():
        one, far, near = response_logps(trainer.model, batch)[0].tolist()
        assert far == one
        assert near != one
        # The same weights without a window see the first word as well.
        for config in {id(m.config): m.config for m in trainer.model.modules() if hasattr(m, "config")}.values():
            config.sliding_window = None
        one, far, _ = response_logps(trainer.model, batch)[0].tolist()
        assert far != one


def test_generation_gives_each_prompt_one_bos_and_padding_on_the_left(tiny_mistral, monkeypatch):
    generator = Generator(str(tiny_mistral))
    seen = {}
    generate = generator.model.generate

    def record(**inputs):
        seen.update(inputs)
        return generate(**inputs)

    monkeypatch.setattr(generator.model, "generate", record)
    generator.write([text(0, 5), text(1, 30)], Sampling(max_new_tokens=4), seed=0)
    for ids, mask in zip(seen["input_ids"], seen["attention_mask"], strict=True):
        real = ids[mask == 1]
        assert (real == BOS).sum() == 1
        assert real[0] == BOS
        assert real[-1] == load_tokenizer(tiny_mistral).convert_tokens_to_ids("[/INST]")
        assert mask[-1] == 1


@pytest.mark.django_db
def test_four_bits_train_where_there_is_no_gpu(train, data, tmp_path, tiny_mistral, monkeypatch):
    from bitsandbytes.nn import Linear4bit
    from transformers import Trainer

    seen = []
    run = Trainer.train

    def record(self, *args, **kwargs):
        seen.append(self.model)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "train", record)
    # 22 pairs in updates of 16 are two steps a pass.
    train("train_modpo", **data["train_modpo"], epochs=1.0, learning_rate=1e-3, output=tmp_path / "four")
    quantised = [module for module in seen[0].modules() if isinstance(module, Linear4bit)]
    assert len(quantised) == LAYERS * len(PROJECTIONS)
    assert {module.weight.dtype for module in quantised} == {torch.uint8}
    assert {module.weight.quant_type for module in quantised} == {"nf4"}
    assert all(module.weight.quant_state.nested for module in quantised)
    assert {module.compute_dtype for module in quantised} == {torch.bfloat16}
    metrics = read_record(tmp_path / "four")["metrics"]
    assert metrics["updates"] == 2
    assert all(loss > 0 for _, loss in metrics["curves"]["loss"])
    adapter = load_file(tmp_path / "four" / "adapter_model.safetensors")
    assert len(adapter) == LAYERS * len(PROJECTIONS) * 2
    assert all(tensor.count_nonzero() for name, tensor in adapter.items() if "lora_B" in name)
    # It goes on the base model in bf16 as well, where it is served.
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "four", dtype=torch.bfloat16)
    assert model.base_model.model.config.sliding_window == 12


def test_the_gradient_of_four_bits_is_that_of_the_same_weights_in_full_even_after_an_evaluation(recipe, tmp_path):
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    four = load_base(recipe.model, replace(recipe, four_bit=True))
    full = load_base(recipe.model, recipe)
    quantised = {name: module for name, module in four.named_modules() if isinstance(module, Linear4bit)}
    for name, module in quantised.items():
        full.get_submodule(name).weight.data = dequantize_4bit(module.weight.data, module.weight.quant_state)
    ids = torch.tensor([[BOS, 3, 8, 9, 13, 4, 18, 10, 30, 21, EOS]])
    gradients = []
    for model in (four, full):
        adapted = with_random_adapter(model)
        # bitsandbytes packs weights here for a kernel without a backward, where the processor has one.
        with torch.no_grad():
            adapted.eval()(input_ids=ids)
        adapted.train()(input_ids=ids, labels=ids).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in adapted.parameters() if p.requires_grad]).float())
    difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    # What rounding to bf16 leaves; without a true gradient it is around 1.
    assert difference < 0.05


def with_random_adapter(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


@pytest.mark.django_db
def test_reference_log_probabilities_of_four_bits_are_not_those_of_the_full_model(train, data):
    pairs = data["train_dpo"]
    for name, options in (("full", {"no_four_bit": True}), ("four", {}), ("again", {})):
        train("train_dpo", **pairs, epochs=1.0, name=name, **options)
    computed = [finished_run(name, "dpo").metrics["reference_logps_computed"] for name in ("full", "four", "again")]
    assert computed == [48, 48, 0]


@pytest.mark.django_db
def test_four_bits_without_bitsandbytes_are_refused_in_one_line(train, data, monkeypatch, tmp_path):
    monkeypatch.setattr("training.policy.is_bitsandbytes_available", lambda: False)
    with pytest.raises(CommandError, match=r"needs bitsandbytes.*--no-four-bit") as caught:
        train("train_dpo", **data["train_dpo"], output=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "early", "message"),
    [({}, "false", "FSDP cannot shard weights of 4 bits"), ({"no_four_bit": True}, "true", "ram_efficient_loading")],
)
def test_a_launch_that_would_train_on_missing_weights_is_refused(
    train, data, monkeypatch, tmp_path, options, early, message
):
    # What `accelerate launch` sets from a configuration for FSDP.
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", early)
    with pytest.raises(CommandError, match=message):
        train("train_dpo", **data["train_dpo"], **options, output=tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.django_db
def test_the_papers_reward_model_trains_on_a_roberta_with_its_own_separators(
    tiny_roberta, pairs, tmp_path, settings, capsys
):
    settings.VAR_DIR = tmp_path / "var"
    # Longer than the 512 positions that RoBERTa has.
    long = replace(pairs[0], chosen=f"{pairs[0].chosen} {text(5, 700)}", chosen_id="long")
    file = write_lines(tmp_path / "pairs.jsonl", [trl_pair(pair) for pair in [*pairs, long]])
    options = {"criterion": "empathy", "pairs": file, "recipe": "paper", "model": str(tiny_roberta), "name": "reward"}
    call_command("train_reward_model", *command_line(options))
    assert "held-out pairs" in capsys.readouterr().out
    run = finished_run("reward", "reward_model")
    paper = REWARD_RECIPES["paper"]
    constants = ("epochs", "learning_rate", "batch_size", "max_length", "weight_decay", "warmup", "dropout")
    assert {name: run.config[name] for name in constants} == {name: getattr(paper, name) for name in constants}
    config = json.loads((run.folder / "config.json").read_text())
    assert config["architectures"] == ["RobertaForSequenceClassification"]
    assert config["classifier_dropout"] == config["hidden_dropout_prob"] == 0.1
    tokenizer = load_reward_tokenizer(run.folder)
    ids = encode_for_reward(tokenizer, "i am sad", "kind you", 512).ids
    assert AutoTokenizer.from_pretrained(run.folder).convert_ids_to_tokens(ids) == [
        *("<s>", "i", "am", "sad", "</s>", "</s>", "kind", "you", "</s>")
    ]
    assert len(encode_for_reward(tokenizer, long.prompt, long.chosen, 512).ids) == 512
    assert len(raw_scores(run.folder, [(long.prompt, long.chosen)], max_length=512)) == 1
