from typing import Any

from django.core.management.base import CommandParser

from training.alignment import Alignment
from training.command import AlignmentCommand, run_options
from training.models import RunKind
from training.modpo import only
from training.recipes import PolicyRecipe
from training.sources import add_source_arguments


class Command(AlignmentCommand):
    help = "Train a policy to imitate the responses that rank best on a criterion (SFT), a baseline of the paper."
    examples = """\
  manage.py train_sft --criterion empathy --study demo
  manage.py train_sft --criterion empathy --pairs empathy_pairs.json --output sft-empathy --json"""

    def add_data_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--criterion", required=True, help="key of the criterion")
        add_source_arguments(parser)

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        key = options["criterion"]
        return Alignment(
            kind=RunKind.SFT,
            weights=only(key),
            recipe=recipe,
            sources={key: self.of_criterion(key, options)},
            **run_options(options),
        )
