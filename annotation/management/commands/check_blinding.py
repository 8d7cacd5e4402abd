from argparse import ArgumentParser
from typing import Any

from annotation.blinding_check import BlindingCheck, check_blinding
from annotation.command import StudyCommand
from annotation.designs import design_named


class Command(StudyCommand):
    help = """Search responses for what would tell clinicians who wrote them: phrases such as "as an AI", names of
models and of the study's systems and runs, debris of templates; and habits that one system has more than another.
No system is named. Looks at the pairs of a design, or else at all responses to test and calibration prompts."""
    examples = """\
  manage.py check_blinding --study pilot
  manage.py check_blinding --study pilot --design main --json > blinding.json"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--design", metavar="NAME", help="check the pairs of this design alone")
        parser.add_argument("--json", action="store_true", help="the same for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        check = check_blinding(study, design_named(study, options["design"]) if options["design"] else None)
        if options["json"]:
            self.write_json(check.as_dict())
        else:
            self.stdout.write(as_text(check))


def as_text(check: BlindingCheck) -> str:
    lines = [
        f"{response.question_id}: {finding.kind}: {' '.join(finding.phrase.split())!r}"
        for response in check.telling
        for finding in response.findings
    ]
    lines.append(f"{len(check.telling)} of {check.responses} responses give their writer away")
    if check.habits:
        lines.append("Habits, and how often they alone tell two systems apart (50 % is chance):")
        lines += [f"  {guesses:4.0%}  {habit}" for guesses, habit in check.habits]
    return "\n".join(lines)
