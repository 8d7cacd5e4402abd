"""The files and lines of docs/scale.md, as far as they can be tried without a GPU."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from accelerate.utils.launch import prepare_multi_gpu_env
from django.core.management import load_command_class

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "scale"
FILES = {"ddp.yaml": "MULTI_GPU", "two-nodes.yaml": "MULTI_GPU", "fsdp.yaml": "FSDP", "zero2.yaml": "DEEPSPEED"}
COMMANDS = {
    "generate_responses": "training",
    "train_modpo": "training",
    "judge": "evaluation",
}


def lines_of_the_document():
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def launch_arguments(name):
    parser = launch_command_parser()
    return parser.parse_args(["--config_file", str(FOLDER / name), "manage.py", "train_dpo"])


def test_every_configuration_is_known_here():
    assert {path.name for path in FOLDER.glob("*.yaml")} == set(FILES)


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_accelerate_reads_a_configuration_and_knows_its_keys(name, kind):
    config = load_config_from_file(str(FOLDER / name))
    assert config.distributed_type.value == kind
    known = vars(launch_arguments(name))
    for section in (config.fsdp_config, config.deepspeed_config):
        assert set(section or {}) <= set(known)


def test_the_sharding_that_accelerate_starts_is_one_that_training_goes_along_with(tiny_mistral):
    from transformers import AutoModelForCausalLM

    arguments, _, _ = _validate_launch_command(launch_arguments("fsdp.yaml"))
    environment = prepare_multi_gpu_env(arguments)
    expected = {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "ACCELERATE_MIXED_PRECISION": "bf16",
    }
    assert expected.items() <= environment.items()
    layers = AutoModelForCausalLM.from_pretrained(tiny_mistral).model.layers
    assert {type(layer).__name__ for layer in layers} == {environment["FSDP_TRANSFORMER_CLS_TO_WRAP"]}


def test_deepspeed_is_told_to_shard_no_weights():
    file = load_config_from_file(str(FOLDER / "zero2.yaml")).deepspeed_config["deepspeed_config_file"]
    config = HfDeepSpeedConfig(str(ROOT / file))
    assert config.is_zero2()
    assert not config.is_offload()


def test_the_batch_script_is_valid_shell():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)


def test_the_commands_of_the_document_are_accepted_by_their_parsers():
    lines = [line for line in lines_of_the_document() if "vllm serve" not in line]
    assert len(lines) == 9
    for line in lines:
        words = shlex.split(line)
        start = next(place for place, word in enumerate(words) if word in {"manage.py", "docs/scale/slurm.sh"})
        name = words[start + 1]
        command = load_command_class(COMMANDS[name], name)
        assert command.create_parser("manage.py", name).parse_args(words[start + 2 :])
        if words[0] == "accelerate":
            launch = launch_command_parser().parse_args(words[2:])
            assert (ROOT / launch.config_file).is_file()
