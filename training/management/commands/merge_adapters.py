from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.options import keyed_numbers
from training.soups import METHODS, Soup, add_merge_arguments, cook, result_line
from training.sources import add_run_arguments


class Command(StudyCommand):
    help = """Merge LoRA adapters of one base model into one adapter (a soup). Combined are the deltas BA that the
adapters add to each module, never A and B apart, whose averages would make another product. No base model is loaded."""
    examples = """\
  manage.py merge_adapters --adapter dpo-empathy=0.5 --adapter dpo-safety=0.5 --name soup
  manage.py merge_adapters --adapter dpo-empathy=0.5 --adapter dpo-safety=0.5 --method svd --rank 16
  manage.py merge_adapters --adapter dpo-empathy=0.7 --adapter ../elsewhere/adapter=0.3 --method slerp --json"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--adapter",
            action="append",
            required=True,
            metavar="RUN=W",
            help="a run or a folder that holds an adapter, and its weight; the weights are 0 or more and sum to 1",
        )
        add_merge_arguments(parser, [*METHODS, "linear"])
        add_run_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        weights = keyed_numbers("--adapter", options["adapter"])
        settings = {key: options[key] for key in ("method", "rank", "name", "output")}
        run = cook(Soup(weights=weights, **settings))
        if options["json"]:
            self.write_json({"run": run.name, "path": str(run.folder), "metrics": run.metrics})
        else:
            self.stdout.write(result_line(run))
