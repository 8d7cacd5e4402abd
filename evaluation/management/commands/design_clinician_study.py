from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from annotation.blinding_check import check_blinding
from annotation.calibration import read_calibration
from annotation.command import StudyCommand
from annotation.comparisons import system_named
from annotation.design_summary import summarise_design
from annotation.designs import RANGES, DesignPlan, discard_design, draw_design
from annotation.models import Study
from annotation.options import slug


class Command(StudyCommand):
    help = "Draw the design of a blinded clinician study. Clinicians see nothing of it until open_clinician_study."
    examples = """\
  manage.py design_clinician_study --study pilot --name main --system Base --system MODPO --prompts 100 --dry-run
  manage.py design_clinician_study --study pilot --name main --system Base --system MODPO --prompts 100 \\
      --repeated-pairs 10 --calibration fixtures/demo/calibration.toml
  manage.py design_clinician_study --study pilot --name three --system Base --system DPO --system MODPO \\
      --against Base --prompts 60 --raters-per-pair 3"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--study", required=True, help="slug of the study")
        add("--name", required=True, type=slug(60), help="of the design, once a study")
        add("--system", required=True, action="append", metavar="NAME", help="a system to compare: two or more")
        add("--against", metavar="NAME", help="compare each other system with this one (default: all pairs of systems)")
        add("--prompts", required=True, type=int, metavar="N", help="prompts drawn from the test split")
        add("--raters-per-pair", type=int, metavar="K", help="clinicians who judge each pair (default: all)")
        add("--repeated-pairs", type=int, default=0, metavar="N", help="pairs each clinician sees twice (default: 0)")
        add("--calibration", type=Path, metavar="FILE", help="TOML file of pairs to practise on, with your verdicts")
        add("--seed", type=int, default=42, help="of all that is drawn (default: %(default)s)")
        add("--replace", action="store_true", help="discard a design of that name first, if it was never opened")
        add("--dry-run", action="store_true", help="tell what would be drawn, and store nothing")
        add("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        # Late: scipy takes a moment to load.
        from evaluation.design_precision import expectations, raters_assumed
        from evaluation.design_text import design_json, design_text

        study = self.study(options["study"])
        plan = plan_of(study, options)
        with transaction.atomic():
            if options["replace"]:
                for design in study.designs.filter(name=plan.name):
                    discard_design(design)
            design = draw_design(study, plan)
            summary = summarise_design(design)
            expected = expectations(design, raters=raters_assumed(design, summary.clinicians))
            found = design, summary, expected, check_blinding(study, design)
            text, as_json = design_text(*found), design_json(*found) | {"stored": not options["dry_run"]}
            transaction.set_rollback(options["dry_run"])
        if options["json"]:
            self.write_json(as_json)
            return
        next_step = f"Hidden until: manage.py open_clinician_study --study {study.slug} --name {design}"
        self.stdout.write(text + "\n\n" + ("A dry run: nothing was stored." if options["dry_run"] else next_step))


def plan_of(study: Study, options: dict[str, Any]) -> DesignPlan:
    """The plan that the options ask for.

    Raises:
        CommandError: a number is out of range (exit 2).
        InputError: a system is unknown, or the calibration file is wrong.
    """
    for name, (least, most) in RANGES.items():
        if options[name] is not None and not least <= options[name] <= most:
            raise CommandError(f"--{name.replace('_', '-')} must be from {least} to {most}", returncode=2)
    return DesignPlan(
        name=options["name"],
        systems=[system_named(study, name) for name in dict.fromkeys(options["system"])],
        baseline=system_named(study, options["against"]) if options["against"] else None,
        calibration=read_calibration(options["calibration"]) if options["calibration"] else (),
        **{name: options[name] for name in RANGES},
    )
