from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.models import Split
from training.alignment import Alignment, align, result_line
from training.models import RunKind
from training.modpo import Weights
from training.recipes import POLICY_RECIPES, add_recipe_arguments, chosen_recipe
from training.sources import add_run_arguments, add_source_arguments, pairs_of_file, pairs_of_study


class Command(StudyCommand):
    help = "Train a policy on one criterion's preference pairs (DPO)."
    examples = """\
  manage.py train_dpo --criterion empathy --study demo
  manage.py train_dpo --criterion empathy --pairs empathy_pairs.json --output dpo-empathy --epochs 2 --json"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--criterion", required=True, help="key of the criterion")
        add_source_arguments(parser)
        add_run_arguments(parser)
        add_recipe_arguments(parser, POLICY_RECIPES)

    def handle(self, *args: Any, **options: Any) -> None:
        recipe, key = chosen_recipe(POLICY_RECIPES, options), options["criterion"]
        if options["study"]:
            source = pairs_of_study(self.study(options["study"]), key, split=Split.TRAIN, pairs="best-worst")
        else:
            source = pairs_of_file(options["pairs"])
        job = Alignment(
            kind=RunKind.DPO,
            weights=Weights(primary=key, values={key: 1.0}),
            recipe=recipe,
            source=source,
            name=options["name"],
            output=options["output"],
        )
        run = align(job)
        if options["json"]:
            self.write_json({"run": run.name, "path": str(run.folder), "metrics": run.metrics})
        else:
            self.stdout.write(result_line(run))
