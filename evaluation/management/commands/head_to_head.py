from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from annotation.command import StudyCommand
from annotation.models import Split, StudyStatus
from evaluation.head_to_head import answering_systems, head_to_head, judge_named
from evaluation.judging import chosen_comparisons, plan
from evaluation.voting import cast_votes, summarise


class Command(StudyCommand):
    help = "Compare all pairs of systems by a judge set up with `judge`: missing votes are asked for, then counted."
    examples = """\
  manage.py head_to_head --study pilot --judge scorers
  manage.py head_to_head --study pilot --judge gpt --systems Base DPO-empathy MODPO --json"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--judge", required=True, metavar="NAME")
        parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="all that answered the split by default")
        parser.add_argument("--split", choices=Split.values, default=Split.TEST)
        parser.add_argument("--concurrency", type=int, default=8, help="requests at a time")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["concurrency"] < 1:
            raise CommandError("--concurrency must be at least 1", returncode=2)
        study = self.study(options["study"])
        judge = judge_named(study, options["judge"])
        names = options["systems"] or answering_systems(study, options["split"])
        with transaction.atomic():
            comparisons = chosen_comparisons(study, names, split=options["split"])
            # What is locked takes no more votes, but those it has can be counted for ever.
            assignments = [] if study.status == StudyStatus.LOCKED else plan(judge, comparisons)
        votes = cast_votes(judge, assignments, concurrency=options["concurrency"])
        outcomes = list(self.progress(votes, total=len(assignments), label=str(judge)))
        result = head_to_head(judge, comparisons)
        if options["json"]:
            self.write_json(result.as_dict())
        else:
            self.stdout.write(result.table())
        summarise(judge, comparisons, outcomes).require_complete()
