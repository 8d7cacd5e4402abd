"""Reward models: what they read, how they are split and judged, and what the command leaves."""

import json
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from tests.factories import make_participant, make_prompt, make_ranking, make_study, make_task
from tests.training.conftest import command_line, text, write_lines
from training.accuracy import pair_accuracy, wilson_interval
from training.encoding import encode_for_reward, load_reward_tokenizer
from training.models import PreferenceDataset, Reward, Run, RunStatus
from training.pairs import trl_pair
from training.sources import hold_out


@pytest.fixture
def encode(tiny_encoder):
    tokenizer = load_reward_tokenizer(tiny_encoder)

    def encode(prompt, response, max_length):
        encoded = encode_for_reward(tokenizer, prompt, response, max_length)
        return tokenizer.convert_ids_to_tokens(encoded.ids), encoded.truncated

    return encode


def test_prompt_and_response_stand_between_the_models_separators(encode):
    assert encode("i feel sad", "tell me more", 32) == (
        ["[CLS]", "i", "feel", "sad", "[SEP]", "tell", "me", "more", "[SEP]"],
        False,
    )


def test_a_long_prompt_loses_its_start_and_the_response_nothing(encode):
    tokens, truncated = encode(f"angry {text(0, 40)} sad tired", text(3, 8), 31)
    first, second = " ".join(tokens).split("[SEP]")[:2]
    assert truncated
    assert len(tokens) == 31
    assert second.split() == text(3, 8).split()
    assert first.split()[-2:] == ["sad", "tired"]
    assert "angry" not in first.split()


def test_a_response_longer_than_the_window_keeps_its_start_beside_the_end_of_the_prompt(encode):
    tokens, truncated = encode(f"{text(0, 20)} sad tired", f"kind {text(3, 60)}", 43)
    first, second = " ".join(tokens).split("[SEP]")[:2]
    assert (len(tokens), truncated) == (43, True)
    assert second.split()[0] == "kind"
    assert first.split()[-2:] == ["sad", "tired"]
    assert len(first.split()) == 1 + 16


@pytest.mark.parametrize("length", [4, 5, 8])
def test_the_window_holds_however_small_it_is(encode, length):
    tokens, truncated = encode(text(0, 20), text(3, 20), length)
    assert (len(tokens), truncated) == (length, True)


def test_held_out_prompts_are_never_trained_on(pairs):
    train, held_out = hold_out(pairs, share=0.2, seed=1)
    prompts = [{pair.prompt_id for pair in side} for side in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert len(prompts[1]) == 2
    assert sorted(train + held_out, key=str) == sorted(pairs, key=str)
    assert hold_out(list(reversed(pairs)), share=0.2, seed=1)[1] == list(reversed(held_out))
    with pytest.raises(InputError, match="two are needed"):
        hold_out(pairs[:2], share=0.2, seed=1)


def test_the_interval_is_wilsons_when_prompts_tell_nothing_of_each_other():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, score interval 0.2553 to 0.3662.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    alone = pair_accuracy([1.0] * 81 + [0.0] * 182, [f"q{n}" for n in range(263)])
    assert (alone["low"], alone["high"]) == pytest.approx((0.2553, 0.3662), abs=3e-4)


def test_pairs_of_one_prompt_count_for_less_when_they_go_together():
    correct = [1.0] * 10 + [0.0] * 10 + [1.0] * 10 + [1.0] * 10
    together = pair_accuracy(correct, [f"q{n // 10}" for n in range(40)])
    mixed = pair_accuracy(correct, [f"q{n % 10}" for n in range(40)])
    assert together["value"] == mixed["value"] == 0.75
    assert together["high"] - together["low"] > mixed["high"] - mixed["low"]
    assert (together["n"], together["prompts"]) == (40, 4)


def test_an_accuracy_without_spread_counts_prompts():
    perfect = pair_accuracy([1.0] * 40, [f"q{n // 10}" for n in range(40)])
    assert perfect["low"] == pytest.approx(wilson_interval(1.0, 4)[0])
    assert pair_accuracy([], [])["reason"]


@pytest.fixture
def train(tiny_encoder, pairs_file, tmp_path, settings):
    settings.VAR_DIR = tmp_path / "var"

    def call(**changes):
        options = {
            "criterion": "empathy",
            "pairs": pairs_file,
            "model": str(tiny_encoder),
            "epochs": 6.0,
            "learning_rate": 1e-2,
            "max_length": 64,
            "output": tmp_path / "out",
            **changes,
        }
        call_command("train_reward_model", *command_line(options))

    return call


@pytest.mark.django_db
def test_the_command_learns_and_says_how_well_on_prompts_it_has_not_seen(train, tmp_path, capsys):
    train(json=True, name="rm")
    printed = json.loads(capsys.readouterr().out)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"value", "low", "high", "n", "reason"} <= set(printed)
    assert printed["value"] == 1.0
    assert (printed["n"], printed["prompts"]) == (4, 2)
    assert record["metrics"]["train_pairs"] == 20
    assert record["metrics"]["reward_sd"] > 0
    assert record["config"]["criterion"] == "empathy"
    assert Run.objects.get(name="rm").status == RunStatus.DONE
    assert {"README.md", "run.json", "config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.django_db
def test_a_truncated_response_is_counted_and_its_pair_kept(train, tmp_path):
    train(max_length=14)
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]
    assert 0 < metrics["truncated_responses"] <= 40
    assert metrics["train_pairs"] == 20


@pytest.mark.django_db
def test_pairs_to_test_on_may_not_share_a_prompt_with_those_to_train_on(train, pairs, tmp_path):
    shared = write_lines(tmp_path / "eval.jsonl", [trl_pair(replace(pairs[0], prompt_id="other"))])
    with pytest.raises(CommandError, match=r"prompt other is trained on too"):
        train(eval_pairs=shared)
    assert not (tmp_path / "out").exists()
    fresh = write_lines(tmp_path / "fresh.jsonl", [trl_pair(replace(pairs[0], prompt_id="new", prompt="hear me"))])
    train(eval_pairs=fresh)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]["accuracy"]["n"] == 1


@pytest.mark.django_db
def test_a_study_makes_all_pairs_of_its_rankings_and_the_run_names_the_data_set(train, tmp_path):
    study = make_study()
    rater = make_participant(study, simulated=True).rater
    for _ in range(5):
        make_ranking(make_task(rater, make_prompt(study, responses=3)), study.criterion("empathy"))
    train(pairs=None, study=study.slug, name="one", epochs=1.0)
    train(pairs=None, study=study.slug, name="two", epochs=1.0, output=None)
    dataset = PreferenceDataset.objects.get()
    one, two = Run.objects.order_by("pk")
    assert (dataset.filters["pairs"], dataset.pairs) == ("all", 15)
    assert list(one.datasets.all()) == list(two.datasets.all()) == [dataset]
    assert (one.criterion, one.config["split"], one.environment["simulated"]) == (
        study.criterion("empathy"),
        "train",
        True,
    )
    assert two.folder == tmp_path / "var" / "runs" / "two"
    call_command("score_responses", f"--study={study.slug}", "--run=two")
    assert Reward.objects.filter(run=two).count() == 15


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"model": "minilm-l7"}, "minilm-l7"),
        ({"epochs": 0.0}, "--epochs 0.0"),
        ({"dropout": 1.5}, "--dropout 1.5"),
        ({"pairs": None, "study": "none"}, "no such study"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(train, tmp_path, changes, message):
    with pytest.raises(CommandError, match=message) as caught:
        train(**changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_an_unknown_criterion_is_named_with_those_there_are(train):
    study = make_study()
    with pytest.raises(CommandError, match="no criterion 'kindness': it has empathy, safety"):
        train(pairs=None, study=study.slug, criterion="kindness")
    with pytest.raises(CommandError, match="no submitted ranking"):
        train(pairs=None, study=study.slug)
    assert not PreferenceDataset.objects.exists()


def across(pairs):
    """The same responses, each chosen one over the rejected one of another prompt."""
    return [
        replace(
            pair,
            rejected=other.rejected,
            rejected_id=other.rejected_id,
            rejected_prompt=other.prompt,
            rejected_prompt_id=other.prompt_id,
        )
        for pair in pairs
        for other in pairs
        if pair.prompt_id != other.prompt_id
    ]


def implicit(pair):
    """TRL's form of a pair in which each response brings its prompt."""
    sides = zip(("chosen", "rejected"), pair.texts, strict=True)
    ids = dict(zip(("prompt_id", "rejected_prompt_id"), pair.prompt_ids, strict=True))
    return ids | {
        side: [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        for side, (prompt, response) in sides
    }


@pytest.mark.django_db
def test_pairs_across_prompts_teach_and_test_without_sharing_a_prompt(train, pairs, tmp_path, capsys):
    file = write_lines(tmp_path / "across.jsonl", [implicit(pair) for pair in across(pairs)])
    train(pairs=file, epochs=1.0)
    metrics = Run.objects.get().metrics
    assert metrics["accuracy"]["value"] == 1.0
    # 12 prompts, 2 of them held out: 4 * 2 * 1 pairs among the two, 4 * 10 * 9 among the others.
    assert (metrics["accuracy"]["n"], metrics["accuracy"]["prompts"]) == (8, 2)
    assert (metrics["train_pairs"], metrics["dropped_pairs"]) == (360, len(across(pairs)) - 368)
    assert "160 pairs left out" in capsys.readouterr().out


@pytest.mark.django_db
def test_the_prompt_of_a_rejected_response_may_not_be_trained_on_either(train, pairs, tmp_path):
    fresh = replace(pairs[0], prompt_id="new", prompt="hear me")
    [one] = across([fresh, pairs[1]])[:1]
    shared = write_lines(tmp_path / "eval.jsonl", [implicit(replace(one, rejected_prompt_id="renamed"))])
    with pytest.raises(CommandError, match="is trained on too"):
        train(eval_pairs=shared)


@pytest.mark.django_db
def test_the_learning_curve_is_of_growing_parts_on_the_same_held_out_pairs(train, capsys):
    train(learning_curve=True, epochs=2.0)
    curve = Run.objects.get().metrics["learning_curve"]
    assert [(point["share"], point["prompts"]) for point in curve] == [(1 / 8, 1), (1 / 4, 2), (1 / 2, 5), (1.0, 10)]
    assert [point["pairs"] for point in curve] == [2, 4, 10, 20]
    assert {point["accuracy"]["n"] for point in curve} == {4}
    assert curve[-1]["accuracy"] == Run.objects.get().metrics["accuracy"]
    assert capsys.readouterr().out.count("trained on") == 4


@pytest.mark.django_db
def test_a_run_keeps_its_curves_and_its_report(train):
    train(epochs=2.0)
    run = Run.objects.get()
    curves = run.metrics["curves"]
    assert set(curves) == {"loss", "margin", "accuracy", "learning_rate"}
    assert [step for step, _ in curves["loss"]] == list(range(1, run.metrics["updates"] + 1)) == [1, 2, 3]
    assert run.metrics["calibration"]["n"] == run.metrics["accuracy"]["n"]
    assert run.metrics["length_bias"]["longer_wins"]["n"] > 0


def test_a_pair_counts_by_its_weight(tiny_encoder, pairs, tmp_path):
    from training.recipes import RewardRecipe
    from training.reward_model import train_reward_model

    recipe = RewardRecipe(model="tiny", epochs=2, learning_rate=1e-2, max_length=64)
    # Three pairs say the one thing where one says the other, and weigh less together.
    turned = [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen, chosen_id=pair.rejected_id, weight=0.1)
        for pair in pairs[:20]
    ]
    metrics = train_reward_model(str(tiny_encoder), [*turned * 3, *pairs[:20]], pairs[20:], recipe, tmp_path)
    assert metrics.accuracy["value"] == 1.0


@pytest.mark.django_db
def test_training_that_goes_astray_is_one_line_and_a_failed_run(train, tmp_path):
    with pytest.raises(CommandError, match="lower --learning-rate") as caught:
        train(learning_rate=1e38)
    assert "\n" not in str(caught.value)
    assert Run.objects.get().status == RunStatus.FAILED
    assert not (tmp_path / "out").exists()


def test_the_head_reads_the_mean_of_the_tokens(tiny_encoder):
    import torch
    from transformers import AutoModel

    from training.recipes import RewardRecipe
    from training.reward_model import MEAN_TO_FIRST, load_classifier

    ids, mask = torch.tensor([[2, 9, 12, 3, 20, 3], [2, 8, 7, 3, 1, 1]]), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    model = load_classifier(str(tiny_encoder), RewardRecipe(model="tiny"))
    tokens = AutoModel.from_pretrained(tiny_encoder).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = torch.nn.functional.layer_norm(tokens[:, 0] + MEAN_TO_FIRST * mean, mean.shape[-1:])
    got = model.bert.eval()(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    assert torch.allclose(got, expected, atol=0.1)
    assert model.config.num_hidden_layers == 3


def test_another_architecture_is_told_to_read_the_first_token(tiny_policy):
    from training.recipes import RewardRecipe
    from training.reward_model import load_classifier

    with pytest.raises(InputError, match="needs a BERT, this is a llama: add --pooling first"):
        load_classifier(str(tiny_policy), RewardRecipe(model="tiny"))
    with pytest.raises(InputError, match="--pooling last: it must be one of mean, first"):
        RewardRecipe(pooling="last")


@pytest.mark.parametrize(("noise", "deviation"), [(0.0, 1.0), (1e-7, 1.0), (1e-3, 1e-3)])
def test_a_head_that_gives_all_one_score_has_no_noise_blown_up(pairs, noise, deviation):
    from training.reward_model import normalisation

    texts = sorted({text for pair in pairs for text in pair.texts})
    scores = {text: 2 + noise * (-1) ** n for n, text in enumerate(texts)}
    assert normalisation(pairs, scores) == pytest.approx((2, deviation), rel=1e-3)
