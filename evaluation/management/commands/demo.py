"""`manage.py demo`."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from evaluation.demo import Demo


class Command(StudyCommand):
    help = "Carry the demonstration study from consent to conclusion and print its table of win rates."
    examples = "  manage.py demo\n  manage.py demo --json"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print summary.json instead of the table")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        demo = Demo(say=self.say)
        summary = demo.run()
        if options["json"]:
            self.write_json(summary)
            return
        self.stdout.write("\nWin rates, judged by scorers trained on held-out prompts (simulated participants)\n")
        for line in table(summary):
            self.stdout.write(line)
        self.stdout.write(f"\nKept in {demo.folder / 'summary.json'}. `make serve` shows the site and its logins.")


def table(summary: dict[str, Any]) -> list[str]:
    """The table of win rates: a line a system, a column a criterion."""
    criteria = summary["criteria"]
    lines = [f"{'':<24}" + "".join(f"{key:>26}" for key in criteria)]
    for system in summary["systems"]:
        cells = (cell(summary["win_rates"][system][key]) for key in criteria)
        lines.append(f"{system:<24}" + "".join(f"{text:>26}" for text in cells))
    return lines


def cell(statistic: dict[str, Any]) -> str:
    if statistic["value"] is None:
        return str(statistic["reason"])
    return "{value:.2f} [{low:.2f}, {high:.2f}] n={n}".format(**statistic)
