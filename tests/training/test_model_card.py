"""What a run's README.md tells people."""

import pytest

from training.model_card import model_card


@pytest.fixture
def record():
    return {
        "name": "modpo",
        "kind": "modpo",
        "simulated": False,
        "config": {"model": "owner/base", "weights": {"empathy": 0.5, "safety": 0.5}, "output": None},
        "metrics": {
            "updates": 9,
            "curves": {"loss": [[1, 0.7]]},
            "held_out_preference": {"value": 0.75, "low": 0.5, "high": 0.9, "n": 8, "reason": None},
        },
        "datasets": [{"criterion": "empathy", "sha256": "ab" * 32, "path": "datasets/one"}],
        "files": [],
        "parents": ["reward-safety"],
    }


def test_a_card_tells_settings_results_and_origin(record):
    card = model_card(record)
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert "library_name: peft" in front
    assert "base_model: owner/base" in front
    assert "| weights | empathy 0.5, safety 0.5 |" in body
    assert "| held out preference | 0.750 [0.500, 0.900], n = 8 |" in body
    assert "run `reward-safety`" in body
    assert "curves" not in body
    assert "imulated" not in body


def test_a_card_says_what_is_simulated_and_why_a_number_is_missing(record):
    nothing = {"value": None, "low": None, "high": None, "n": 0, "reason": "no pairs were held out"}
    bare = {"value": 0.5, "low": None, "high": None, "n": 1, "reason": "one prompt"}
    card = model_card({**record, "simulated": True, "metrics": {"accuracy": nothing, "share": bare}})
    assert "**Simulated.**" in card
    assert "| accuracy | no pairs were held out |" in card
    assert "| share | 0.500, n = 1 |" in card


def test_a_generation_offers_no_model_to_load(record):
    assert "from_pretrained" not in model_card({**record, "kind": "generation"})
    assert "AutoModelForSequenceClassification" in model_card({**record, "kind": "reward_model"})
