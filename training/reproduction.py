"""The command line that repeats a run, from its record and the options that its command knows."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management import get_commands, load_command_class

from training.models import Run, RunKind

COMMANDS: Mapping[str, str] = {
    RunKind.REWARD_MODEL: "train_reward_model",
    RunKind.SFT: "train_sft",
    RunKind.DPO: "train_dpo",
    RunKind.MODPO: "train_modpo",
    RunKind.JOINT_DPO: "train_joint_dpo",
    RunKind.MERGE: "merge_adapters",
    RunKind.SWEEP: "sweep_modpo",
    RunKind.GENERATION: "generate_responses",
}


def options_of(kind: str) -> dict[str, argparse.Action]:
    """The options of the command that makes such runs, by the name they have in a run's config."""
    name = COMMANDS[kind]
    app = get_commands().get(name)
    if not isinstance(app, str):
        return {}
    parser = load_command_class(app, name).create_parser("manage.py", name)
    # argparse has no public list of its options; Django's own call_command reads this one.
    return {action.dest: action for action in parser._actions if action.dest != "help"}


def command_of(run: Run, record: Mapping[str, Any]) -> list[str]:
    """The command and each of its options, quoted for a shell; none if no command makes such runs.

    It names no run: one made anew gets a name of its own. `record` is its run.json, if there is one, which knows the
    files it learned from and the order of its weights.
    """
    options = options_of(run.kind)
    if not options:
        return []
    files = [file["path"] for file in record.get("files", [])]
    config = record.get("config") or run.config
    values = {**_config_values(config, options), **_origin(run, config, files)}
    given = [words for name, value in values.items() if name in options for words in _words(options[name], value)]
    return [shlex.join(words) for words in (["python", "manage.py", COMMANDS[run.kind]], *given)]


def _config_values(config: Mapping[str, Any], options: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """Settings that are options; `weights` or `points`, which hold several, as items of --weight or --point."""
    values = {}
    for name in options:
        several = config.get(f"{name}s")
        if isinstance(several, dict):
            # The primary criterion first: the joint loss knows it by its place.
            first = sorted(several, key=lambda key: key != config.get("criterion"))
            values[name] = [f"{key}={several[key]}" for key in first]
        elif isinstance(several, list):
            values[name] = several
        elif name in config:
            values[name] = config[name]
    return values


def _origin(run: Run, config: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Options that tell what is learned, and from what: the rankings of a study, files, other runs."""
    if run.kind == RunKind.MERGE:
        return {}
    if run.kind == RunKind.GENERATION:
        system = {"system": run.system.name if run.system else None}
        return {**system, "model": None} if config.get("run") else system
    values: dict[str, Any] = {"primary": config.get("criterion")}
    if "criteria" in config:
        values["criterion"] = config["criteria"]
    if run.kind == RunKind.SWEEP:
        # The only command that cannot do without a name.
        values |= {"criterion": config.get("criteria", [])[1:], "name": f"{run.name}-again"}
        return {**values, "no_evaluation": "scorers" not in config}
    return values | (_file_options(run.kind, config, files) if files else _study_options(run))


def _study_options(run: Run) -> dict[str, Any]:
    dataset = run.datasets.select_related("study").first()
    margin = run.config.get("weights", {}).keys() - {run.config.get("criterion")}
    rewards = [
        f"{key}={reward.name}"
        for reward in run.parents.filter(kind=RunKind.REWARD_MODEL).order_by("pk")
        for key in reward.learned_criteria
        if key in margin
    ]
    return {"study": dataset.study.slug if dataset else run.config.get("study"), "reward_run": rewards}


def _file_options(kind: str, config: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    if kind == RunKind.JOINT_DPO:
        return {"pairs": [f"{key}={file}" for key, file in zip(config.get("weights", {}), files, strict=False)]}
    if kind == RunKind.REWARD_MODEL and "criteria" in config:
        items = [f"{key}={file}" for key, file in zip(2 * config["criteria"], files, strict=False)]
        return {"pairs": items[: len(config["criteria"])], "eval_pairs": items[len(config["criteria"]) :]}
    if kind == RunKind.MODPO:
        return dict(zip(("pairs", "margins"), files, strict=False))
    return {"pairs": files[0]}


def _words(option: argparse.Action, value: Any) -> list[list[str]]:
    """The words that set an option, once or several times; none for what was left out."""
    if value is None or value == "" or value == []:
        return []
    if isinstance(option, argparse.BooleanOptionalAction):
        return [[option.option_strings[0 if value else -1]]]
    flag = option.option_strings[-1]
    if isinstance(value, bool):
        return [[flag]] if value else []
    if not isinstance(value, list):
        return [[flag, str(value)]]
    if option.nargs in {"+", "*"}:
        return [[flag, *map(str, value)]]
    return [[flag, str(item)] for item in value]
