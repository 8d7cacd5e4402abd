from typing import Any

from django.core.management.base import CommandParser

from training.alignment import Alignment
from training.command import AlignmentCommand, run_options
from training.models import RunKind
from training.modpo import only
from training.recipes import PolicyRecipe
from training.sources import add_source_arguments


class Command(AlignmentCommand):
    help = "Train a policy on one criterion's preference pairs (DPO). Killed and started again, it goes on."
    examples = """\
  manage.py train_dpo --criterion empathy --study demo
  manage.py train_dpo --criterion empathy --pairs empathy_pairs.json --output dpo-empathy --epochs 2 --json"""

    def add_data_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--criterion", required=True, help="key of the criterion")
        add_source_arguments(parser)

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        key = options["criterion"]
        return Alignment(
            kind=RunKind.DPO,
            weights=only(key),
            recipe=recipe,
            sources={key: self.of_criterion(key, options)},
            **run_options(options),
        )
