"""One encoder with a head a criterion: the loss of each is the ordinary one, and all are trained in one pass."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from annotation.errors import InputError
from training.recipes import RewardRecipe
from training.reward_model import load_classifier, train_reward_model
from training.scoring import Scorer
from training.shared_encoder import (
    NO_PREFERENCE,
    hold_out_shared,
    shared_pairs,
    shared_reward_loss,
    train_shared_encoder,
)

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
