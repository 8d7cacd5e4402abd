from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from annotation.command import StudyCommand
from annotation.designs import design_named
from annotation.models import Assignment
from evaluation.judging import chosen_comparisons
from evaluation.simulation import assign, fit_scorers, join, judge_pending


class Command(StudyCommand):
    help = "Let made-up clinicians judge comparisons, to try the software out. What they say is labelled as simulated."
    examples = """\
  manage.py simulate_clinicians --study pilot --raters 4
  manage.py simulate_clinicians --study pilot --raters 6 --systems Base MODPO --seed 1
  manage.py simulate_clinicians --study pilot --raters 6 --design main"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--raters", type=int, default=4)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--systems", nargs="+", metavar="SYSTEM", help="compare all pairs of these on test prompts")
        what.add_argument("--design", metavar="NAME", help="judge what this design gives them, and open it for all")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["raters"] < 1 or options["seed"] < 0:
            raise CommandError("--raters must be at least 1 and --seed at least 0", returncode=2)
        study = self.study(options["study"])
        scorers = fit_scorers(study)
        if options["design"]:
            clinicians = join(design_named(study, options["design"]), raters=options["raters"])
        else:
            with transaction.atomic():
                comparisons = chosen_comparisons(study, options["systems"])
                clinicians = assign(study, comparisons, raters=options["raters"], seed=options["seed"])
        given = Assignment.objects.filter(rater__in=clinicians)
        compared = given.values("comparison").distinct().count()
        pending = given.pending().count()
        verdicts = judge_pending(study, clinicians, scorers, seed=options["seed"])
        judged = sum(1 for _ in self.progress(verdicts, total=pending, label="simulated clinicians"))
        self.stdout.write(
            f"{len(clinicians)} simulated clinicians judged {judged} presentations of {compared} comparisons"
        )
