from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.errors import InputError
from annotation.options import keyed
from training.alignment import Alignment
from training.command import AlignmentCommand, run_options
from training.models import RunKind
from training.modpo import Weights, parse_weights
from training.recipes import PolicyRecipe
from training.sources import PairSource, pairs_of_file


class Command(AlignmentCommand):
    help = """Train a policy on several criteria's pairs under one loss: the weighted sum of their DPO terms in one
sigmoid, a baseline of the paper. Each update sees --batch-size prompts with a pair a criterion."""
    examples = """\
  manage.py train_joint_dpo --weight empathy=0.5 --weight safety=0.5 --study demo
  manage.py train_joint_dpo --weight empathy=0.5 --weight safety=0.5 \\
      --pairs empathy=empathy_pairs.json --pairs safety=safety_pairs.json --output joint"""

    def add_data_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--weight", action="append", required=True, metavar="CRITERION=W", help="once a criterion; they sum to 1"
        )
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--study", help="slug of the study whose rankings make the pairs")
        source.add_argument(
            "--pairs",
            action="append",
            metavar="CRITERION=FILE",
            help="once a criterion: TRL JSONL or the authors' JSON",
        )

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        weights = parse_weights(None, options["weight"])
        if len(weights.values) < 2 or not all(weights.values.values()):
            raise InputError("--weight: the joint loss needs two criteria at least, each with a weight greater than 0")
        return Alignment(
            kind=RunKind.JOINT_DPO,
            weights=weights,
            recipe=recipe,
            sources=self.of_study(weights, options) if options["study"] else self.of_files(weights, options["pairs"]),
            **run_options(options),
        )

    def of_study(self, weights: Weights, options: dict[str, Any]) -> dict[str, PairSource]:
        study = self.study(options["study"])
        weights.require_known(set(study.criteria.values_list("key", flat=True)), f"study {study.slug}")
        return {key: self.of_criterion(key, options) for key in weights.values}

    def of_files(self, weights: Weights, items: list[str]) -> dict[str, PairSource]:
        files = keyed("--pairs", items, "criterion=file")
        if files.keys() != weights.values.keys():
            raise InputError(f"--pairs: give one file for each of {', '.join(weights.values)}, and no other")
        return {key: pairs_of_file(Path(files[key]), key) for key in weights.values}
