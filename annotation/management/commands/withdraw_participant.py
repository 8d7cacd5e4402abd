from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.withdrawal import find_participant, foresee


class Command(StudyCommand):
    help = """Withdraw a participant who has left and asks the team for it: delete their answers and rankings.
Tells what would be deleted and what would be marked as tainted; does it only with --yes. It cannot be undone, and is
kept in the audit trail."""
    examples = """\
  manage.py withdraw_participant --study pilot --id 0a1b2c3d-4e5f-4678-9abc-def012345678 --by admin
  manage.py withdraw_participant --study pilot --id 0a1b2c3d-4e5f-4678-9abc-def012345678 --by admin --yes"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--id", required=True, help="the random id that the participant was shown at the end")
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who was asked, and may withdraw raters")
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        user = self.user_who_may("withdraw", options["by"], study, to="rater")
        rater = find_participant(study, options["id"].strip())
        foreseen = foresee(rater)
        if options["yes"]:
            rater.withdraw(by=user)
        self.stdout.write(f"participant {rater.name} {'has withdrawn' if options['yes'] else 'would be withdrawn'}")
        self.stdout.write(f"  rankings deleted   {foreseen.rankings}")
        self.stdout.write(f"  answers deleted    {foreseen.answers}")
        self.stdout.write(f"  marked as tainted  {', '.join(foreseen.learners) or 'nothing'}")
        if not options["yes"]:
            self.say("nothing was done: --yes does it, and cannot be undone")
