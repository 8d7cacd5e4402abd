"""Trainings as processes: one that is killed and started again, and two that train together."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file

from tests.training.conftest import command_line, write_lines
from training.models import Run

ROOT = Path(__file__).parents[2]
# Dropout draws random numbers at each step: a run that goes on must draw what it would have drawn.
OPTIONS = {
    "primary": "empathy",
    "weight": ["empathy=0.5", "safety=0.5"],
    "batch_size": 2,
    "rank": 2,
    "max_length": 64,
    "dropout": 0.1,
    "learning_rate": 1e-2,
}


@pytest.fixture
def data(tiny_policy, pairs_file, pairs, tmp_path):
    rewards = [
        {"prompt_id": pair.prompt_id, "response_id": response, "criterion": "safety", "reward": reward}
        for pair in pairs
        for response, reward in ((pair.chosen_id, -0.3), (pair.rejected_id, 0.3))
    ]
    margins = write_lines(tmp_path / "margins.jsonl", rewards)
    return {"model": str(tiny_policy), "pairs": pairs_file, "margins": margins}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """The environment of a site with an empty database."""
    environment = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "PYTEST_ADDOPTS"}}
    environment |= {"ATTUNE_VAR": str(tmp_path_factory.mktemp("site")), "ATTUNE_DEBUG": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, env=environment, check=True)
    return environment


@pytest.fixture
def site(migrated, tmp_path):
    """The same with a database of its own."""
    return {**migrated, "ATTUNE_VAR": str(shutil.copytree(migrated["ATTUNE_VAR"], tmp_path / "site"))}


def run_modpo(site, *launcher, **options):
    command = [*(launcher or [sys.executable]), "manage.py", "train_modpo", *command_line({**OPTIONS, **options})]
    return subprocess.run(command, cwd=ROOT, env=site, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def alone(data, settings, tmp_path, monkeypatch):
    """Train in this process, uninterrupted; the record and the adapter."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.VAR_DIR = tmp_path / "var"

    def train(**options):
        call_command("train_modpo", *command_line({**OPTIONS, **data, "output": tmp_path / "alone", **options}))
        return result(tmp_path / "alone")

    return train


def result(folder):
    return json.loads((folder / "run.json").read_text()), load_file(folder / "adapter_model.safetensors")


@pytest.mark.django_db
def test_a_killed_run_goes_on_to_the_same_curve_and_the_same_adapter(site, data, alone, tmp_path):
    options = {**data, "epochs": 12.0, "save_steps": 20, "output": tmp_path / "killed"}
    command = [sys.executable, "manage.py", "train_modpo", *command_line({**OPTIONS, **options})]
    process = subprocess.Popen(command, cwd=ROOT, env=site, stderr=subprocess.DEVNULL)
    partial = tmp_path / ".killed.partial"
    deadline = time.monotonic() + 200
    while not any(partial.glob("checkpoints/*/trainer_state.json")):
        assert process.poll() is None, "it ended before it had a checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()

    # What it has learned is not lost by a slip in an option.
    slip = run_modpo(site, **{**options, "learning_rate": 2e-2})
    assert slip.returncode == 1
    assert "has checkpoints, but of other settings" in slip.stderr
    assert len(slip.stderr.strip().splitlines()) == 1

    again = run_modpo(site, **options)
    assert again.returncode == 0, again.stderr
    record, adapter = result(tmp_path / "killed")
    assert record["environment"]["resumed"] == 1
    assert not list(tmp_path.glob(".killed*"))
    expected, expected_adapter = alone(epochs=12.0, save_steps=20)
    assert record["metrics"]["updates"] == 132
    assert record["metrics"]["curves"] == expected["metrics"]["curves"]
    assert all(torch.equal(adapter[name], expected_adapter[name]) for name in expected_adapter)


@pytest.mark.django_db
def test_two_processes_train_what_one_does(site, data, alone, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # 22 pairs twice over are 11 updates of 4. An update that is not full has its rows repeated for the second process.
    together = run_modpo(site, *launcher, **data, output=tmp_path / "together", epochs=2.0, dropout=0.0)
    assert together.returncode == 0, together.stderr
    # The first process alone speaks and records.
    assert together.stdout.count("held-out pairs") == 1
    record, adapter = result(tmp_path / "together")
    assert record["config"]["processes"] == 2
    expected, expected_adapter = alone(epochs=2.0, accumulation=2, dropout=0.0)
    for name in ("loss", "margin", "accuracy"):
        curve, single = record["metrics"]["curves"][name], expected["metrics"]["curves"][name]
        assert [value for _, value in curve] == pytest.approx([value for _, value in single], abs=2e-5)
    assert record["metrics"]["held_out_preference"] == expected["metrics"]["held_out_preference"]
    for name, tensor in expected_adapter.items():
        assert torch.allclose(adapter[name], tensor, atol=1e-4)


@pytest.mark.django_db
def test_a_mistake_ends_all_processes_with_one_line(site, data, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_modpo(site, *launcher, **{**data, "weight": ["empathy=0.5", "safety=0.6"]}, output=tmp_path / "o")
    assert done.returncode == 1
    assert done.stderr.count("the weights sum to 1.1") == 1
    assert not list(tmp_path.glob(".o*"))


@pytest.mark.django_db
def test_a_failure_of_the_first_process_amid_training_ends_all(site, data, tmp_path):
    # It alone writes to the cache of references, which takes none here, while the others go on to train.
    cache = tmp_path / "site" / "cache" / "reference_logps.sqlite3"
    cache.parent.mkdir(exist_ok=True)
    with sqlite3.connect(cache) as connection:
        connection.execute("CREATE TABLE logps (key TEXT PRIMARY KEY, logp REAL NOT NULL CHECK (logp > 0))")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_modpo(site, *launcher, **data, output=tmp_path / "o")
    assert done.returncode == 1
    assert done.stderr.count("CHECK constraint failed: logp > 0 (--traceback") == 1
    # At most what the second process wrote after the first had cleared up, which is in nobody's way.
    assert {path.name for path in tmp_path.glob(".o.partial/*")} <= {"scratch-1"}
    assert not (tmp_path / "o").exists()


@pytest.mark.django_db
def test_a_full_disk_leaves_nothing_and_says_so(alone, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("peft.PeftModel.save_pretrained", full)
    with pytest.raises(CommandError, match="No space left on device") as caught:
        alone()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*alone*"))
    assert Run.objects.get().status == "failed"
