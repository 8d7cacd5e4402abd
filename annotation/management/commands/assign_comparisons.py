import random
from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.comparisons import assign_comparisons, system_named
from annotation.designs import assign_design, design_named
from annotation.errors import InputError
from annotation.models import Comparison, Rater, RaterKind, Study


class Command(StudyCommand):
    help = "Give a study's comparisons to its clinicians, in orders drawn once from the study's seed."
    examples = """
  manage.py assign_comparisons --study demo
  manage.py assign_comparisons --study demo --per-comparison 3
  manage.py assign_comparisons --study demo --systems base modpo --sample 100
  manage.py assign_comparisons --study demo --design main      # for clinicians who joined after it was drawn
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--study", required=True, help="slug of the study")
        parser.add_argument(
            "--per-comparison", type=int, metavar="K", help="clinicians a comparison; all of them by default"
        )
        parser.add_argument("--systems", nargs=2, metavar="NAME", help="only the comparisons of these two systems")
        parser.add_argument("--sample", type=int, metavar="N", help="only N comparisons, drawn by the study's seed")
        parser.add_argument("--design", metavar="NAME", help="the pairs of this design, as it was drawn")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        clinicians = list(Rater.objects.active().filter(study=study, kind=RaterKind.CLINICIAN))
        if not clinicians:
            raise InputError(f"study {study.slug} has no clinician: add one in the admin first")
        if options["design"]:
            made = assign_design(design_named(study, options["design"]))
            self.stdout.write(f"{made} assignments made for design {options['design']}")
            return
        comparisons = comparisons_of(study, options["systems"], options["sample"])
        made = assign_comparisons(study, comparisons, clinicians, per_item=options["per_comparison"], seed=study.seed)
        self.stdout.write(f"{made} assignments made: {len(comparisons)} comparisons, {len(clinicians)} clinicians")


def comparisons_of(study: Study, systems: list[str] | None, sample: int | None) -> list[Comparison]:
    # A design's pairs are given out by the design's own rules.
    comparisons = study.comparisons.filter(design=None)
    if systems:
        pair = [system_named(study, name) for name in systems]
        comparisons = comparisons.filter(response_a__system__in=pair, response_b__system__in=pair)
    found = list(comparisons)
    if not found:
        raise InputError(f"study {study.slug} has no such comparison: run create_comparisons first")
    if sample is None:
        return found
    if not 1 <= sample <= len(found):
        raise InputError(f"--sample {sample}: choose 1 to {len(found)}, the number of comparisons there are")
    return random.Random(study.seed).sample(found, sample)  # noqa: S311 (a draw to repeat, not a secret)
