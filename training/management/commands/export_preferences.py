"""Export rankings as preference data."""

import json
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.models import RaterKind, Split
from training.datasets import FORMATS, MANIFEST, PAIRINGS, export_preferences


class Command(StudyCommand):
    help = """Write the submitted rankings on a criterion as preference data: JSONL or JSON, manifest.json with hashes,
counts, exclusions and consent versions, and provenance.jsonl with the rankings behind each prompt's order."""
    examples = """  manage.py export_preferences --study demo --criterion empathy --output var/datasets/empathy
  manage.py export_preferences --study demo --criterion safety --format authors-rankings --output safety"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--criterion", required=True, metavar="C")
        parser.add_argument("--format", choices=FORMATS, default="trl")
        parser.add_argument("--pairs", choices=list(PAIRINGS), default="best-worst")
        parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
        parser.add_argument("--split", choices=Split.values, default=Split.TRAIN, help="whose prompts (train)")
        parser.add_argument(
            "--eval-fraction", type=float, default=0.0, metavar="F", help="share of the prompts to hold out (0)"
        )
        parser.add_argument("--raters", choices=RaterKind.values, help="rankings by raters of one kind; all by default")
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
            rater_kind=options["raters"],
            progress=partial(self.progress, label="prompts, by 200"),
        )
        if options["json"]:
            self.write_json(json.loads((options["output"] / MANIFEST).read_text(encoding="utf-8")))
            return
        note = " (simulated participants among the raters)" if dataset.is_simulated else ""
        self.stdout.write(
            f"{dataset.folder}: {dataset.pairs} pairs of {dataset.rankings} rankings on {dataset.criterion.key}, "
            f"sha256 {dataset.content_hash[:12]}{note}"
        )
