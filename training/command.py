"""What the commands that align a policy share: options of the run and the recipe, many processes, the result line."""

from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.models import Split
from training.alignment import Alignment, align, result_line
from training.distributed import follow, is_follower, leading
from training.modpo import only
from training.recipes import POLICY_RECIPES, PolicyRecipe, add_recipe_arguments, chosen_recipe
from training.sources import PairSource, add_run_arguments, add_source_arguments, pairs_of_file, pairs_of_study


class AlignmentCommand(StudyCommand):
    """A command that trains an adapter. Killed, it goes on from its last checkpoint when it is started again."""

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_data_arguments(parser)
        add_run_arguments(parser)
        parser.add_argument(
            "--report-to",
            action="append",
            default=[],
            metavar="TOOL",
            help="also log to tensorboard, wandb, mlflow ...",
        )
        add_recipe_arguments(parser, POLICY_RECIPES)

    def handle(self, *args: Any, **options: Any) -> None:
        if is_follower():
            follow()
            return
        with leading():
            run = align(self.job(options, chosen_recipe(POLICY_RECIPES, options)))
        if options["json"]:
            self.write_json({"run": run.name, "path": str(run.folder), "metrics": run.metrics})
        else:
            self.stdout.write(result_line(run))

    def add_data_arguments(self, parser: CommandParser) -> None:
        raise NotImplementedError

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        raise NotImplementedError

    def of_criterion(self, key: str, options: dict[str, Any]) -> PairSource:
        """Best-worst pairs of the study's training prompts, or those of the file."""
        if options["study"]:
            return pairs_of_study(self.study(options["study"]), key, split=Split.TRAIN, pairs="best-worst")
        return pairs_of_file(options["pairs"], key)


class OneCriterionCommand(AlignmentCommand):
    """A command that learns from one criterion's pairs; `kind` is that of its runs."""

    kind: str

    def add_data_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--criterion", required=True, help="key of the criterion")
        add_source_arguments(parser)

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        key = options["criterion"]
        sources = {key: self.of_criterion(key, options)}
        return Alignment(kind=self.kind, weights=only(key), recipe=recipe, sources=sources, **run_options(options))


def run_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of an Alignment that every command has."""
    return {
        "name": options["name"],
        "output": options["output"],
        "report_to": tuple(options["report_to"]),
    }
