import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from annotation.errors import InputError
from tests.factories import make_prompt, make_response, make_study, make_system
from tests.training.rankings import manifest, rank
from training.datasets import export_preferences
from training.manifest import content_hash, describe_files
from training.sources import pairs_of_file, pairs_of_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study(slug="pilot")


@pytest.fixture
def empathy(study):
    return study.criterion("empathy")


def spoil_data(folder):
    text = (folder / "pairs.jsonl").read_text()
    (folder / "pairs.jsonl").write_text(text.replace('"weight": 1.0', '"weight": 2.0'))


def spoil_manifest(folder):
    told = manifest(folder)
    told["choices"]["exclude"] = ["simulated"]
    (folder / "manifest.json").write_text(json.dumps(told))


def spoil_consistently(folder):
    """Data and manifest changed together: the row's hash alone tells."""
    spoil_data(folder)
    told = manifest(folder)
    told["files"] = {name: file | describe_files(folder)[name] for name, file in told["files"].items()}
    told["content_hash"] = content_hash(told["choices"], told["files"])
    (folder / "manifest.json").write_text(json.dumps(told))


SPOILS = {
    "pairs.jsonl": spoil_data,
    "provenance.jsonl": lambda folder: (folder / "provenance.jsonl").unlink(),
    "manifest.json": spoil_manifest,
}


@pytest.mark.parametrize("name", SPOILS)
def test_nothing_learns_from_a_data_set_that_was_changed(study, empathy, settings, tmp_path, name):
    settings.VAR_DIR = tmp_path
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    folder = export_preferences(study, empathy, output=tmp_path / "out").folder
    assert pairs_of_file(folder / "pairs.jsonl").pairs
    SPOILS[name](folder)
    with pytest.raises(InputError, match=f"out/{name}: it is part of an exported data set and has changed") as caught:
        pairs_of_file(folder / "pairs.jsonl")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"out/{name}: "):
        pairs_of_study(study, "empathy", split="train", pairs="best-worst")
    with pytest.raises(InputError, match=f"out/{name}: "):
        export_preferences(study, empathy, output=folder)
    folder.rename(tmp_path / "moved")
    source = pairs_of_study(study, "empathy", split="train", pairs="best-worst")
    assert source.datasets[0].folder.parent == tmp_path / "datasets"


def test_a_change_that_the_manifest_hides_is_seen_by_the_rows_hash(study, empathy, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    folder = export_preferences(study, empathy, output=tmp_path / "out").folder
    spoil_consistently(folder)
    with pytest.raises(InputError, match=r"out/manifest\.json: it is part of an exported data set and has changed"):
        pairs_of_study(study, "empathy", split="train", pairs="best-worst")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and any(path.iterdir())] == ["out"]


def test_pairs_of_an_exported_file_name_their_data_set(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    assert pairs_of_file(tmp_path / "out" / "pairs.jsonl").datasets == (dataset,)
    (tmp_path / "copy.jsonl").write_text((tmp_path / "out" / "pairs.jsonl").read_text())
    assert pairs_of_file(tmp_path / "copy.jsonl").datasets == ()


def test_a_manifest_cut_short_is_one_clear_line(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    folder = export_preferences(study, empathy, output=tmp_path / "out").folder
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: not JSON"):
        pairs_of_file(folder / "pairs.jsonl")


def test_a_manifest_of_something_else_is_no_hindrance_to_read_and_never_overwritten(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    folder = export_preferences(study, empathy, output=tmp_path / "out").folder
    (folder / "manifest.json").write_text('{"simulated": true}')
    assert pairs_of_file(folder / "pairs.jsonl").pairs
    with pytest.raises(InputError, match="the folder holds other files"):
        export_preferences(study, empathy, output=folder)


def test_the_card_tells_what_the_data_set_is(study, empathy, tmp_path):
    for _ in range(4):
        rank(empathy, make_prompt(study, responses=3), 0, 1, 2, simulated=True)
    dataset = export_preferences(study, empathy, output=tmp_path / "out", aggregation="borda", eval_fraction=0.25)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**4 of 4 rankings are by simulated raters: no person stands behind them.**" in card
    assert "4 rankings by 4 raters of the responses to 4 help-seeking posts" in card
    assert "borda, then into 4 pairs, the best response over the worst" in card
    assert dataset.content_hash in card
    assert "| `eval_pairs.jsonl` | 1 |" in card


@pytest.mark.parametrize("file_format", ["trl", "authors-pairs", "authors-rankings"])
def test_datasets_loads_the_folder_as_its_splits(study, empathy, tmp_path, file_format):
    import datasets as hugging_face

    for _ in range(4):
        rank(empathy, make_prompt(study, responses=2), 0, 1)
    export_preferences(study, empathy, output=tmp_path / "out", file_format=file_format, eval_fraction=0.25)
    loaded = hugging_face.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 3, "test": 1}


def test_trl_trains_on_the_folder_as_it_is(study, empathy, tiny_policy, tmp_path):
    system = make_system(study)
    for _ in range(6):
        prompt = make_prompt(study, text="i feel sad and alone")
        for number, words in enumerate(["i hear you", "that sounds hard", "just stop"]):
            make_response(prompt, system, number=number, text=words)
        rank(empathy, prompt, 0, 1, 2)
    export_preferences(study, empathy, output=tmp_path / "data", pairs="all", eval_fraction=0.2)
    options = {
        "dataset_name": tmp_path / "data",
        "model_name_or_path": tiny_policy,
        "output_dir": tmp_path / "out",
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
    }
    line = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [Path(sys.executable).with_name("trl"), "dpo", *line],
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[1] < losses[0]
    assert any("eval_loss" in entry for entry in state["log_history"])
