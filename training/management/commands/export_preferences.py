"""Export rankings as preference data."""

import json
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.models import Split
from training.aggregation import AGGREGATIONS
from training.datasets import FORMATS, PAIRINGS, export_preferences
from training.manifest import MANIFEST, WEIGHTS
from training.selection import RULES, SOURCES


class Command(StudyCommand):
    help = """Write the submitted rankings on a criterion as preference data: JSONL or JSON, manifest.json with hashes,
counts, exclusions and consent versions, README.md that tells of it all, and provenance.jsonl with the rankings behind
each prompt's order. The folder of format trl is a data set to `trl dpo --dataset_name DIR` as it stands."""
    examples = """  manage.py export_preferences --study demo --criterion empathy --output var/datasets/empathy
  manage.py export_preferences --study demo --criterion safety --format authors-rankings --output safety
  manage.py export_preferences --study demo --criterion empathy --pairs all --aggregation plackett_luce \\
      --source human --exclude faster-than=10 --exclude simulated --eval-fraction 0.1 --output careful"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--criterion", required=True, metavar="C")
        parser.add_argument("--format", choices=FORMATS, default="trl")
        parser.add_argument(
            "--pairs", choices=list(PAIRINGS), default="best-worst", help=f"best-worst by default. {WEIGHTS}"
        )
        parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
        parser.add_argument("--split", choices=Split.values, default=Split.TRAIN, help="whose prompts (train)")
        parser.add_argument(
            "--eval-fraction", type=float, default=0.0, metavar="F", help="share of the prompts to hold out (0)"
        )
        parser.add_argument(
            "--aggregation", choices=list(AGGREGATIONS), default="weighted_voting", help="the paper's weighted_voting"
        )
        parser.add_argument(
            "--source", choices=list(SOURCES), default="both", help="rankings by people, by judges, or by both (both)"
        )
        parser.add_argument(
            "--exclude",
            action="append",
            default=[],
            metavar="RULE",
            help="leave rankings out, any number of times: "
            + "; ".join(f"{rule.form(name)}, {rule.about}" for name, rule in RULES.items()),
        )
        parser.add_argument("--json", action="store_true", help="write the manifest to stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        dataset = export_preferences(
            study,
            study.criterion(options["criterion"]),
            output=options["output"],
            split=options["split"],
            pairs=options["pairs"],
            file_format=options["format"],
            eval_fraction=options["eval_fraction"],
            aggregation=options["aggregation"],
            source=options["source"],
            exclude=options["exclude"],
            progress=partial(self.progress, label="prompts, by 200"),
        )
        if options["json"]:
            self.write_json(json.loads((options["output"] / MANIFEST).read_text(encoding="utf-8")))
            return
        note = " (simulated raters among them)" if dataset.is_simulated else ""
        self.stdout.write(
            f"{options['output'].resolve()}: {dataset.pairs} pairs of {dataset.rankings} rankings on "
            f"{dataset.criterion.key}, sha256 {dataset.content_hash[:12]}{note}"
        )
