"""Fill a study with simulated participants, to try out what follows."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.simulated_participants import SimulationPlan, simulate_participants


class Command(StudyCommand):
    help = """Make simulated participants who rank the responses of a study's folder by the qualities stated in it.
They are marked as simulated wherever they show, agree to no consent text, and take no participant's place."""
    examples = """  manage.py simulate_participants fixtures/demo --study demo
  manage.py simulate_participants fixtures/demo --study demo --raters 40 --per-prompt 5 --seed 1"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="the folder the study was loaded from")
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--raters", type=int, metavar="N", help="as many as the study's tasks need by default")
        parser.add_argument("--per-prompt", type=int, metavar="K", help="raters a prompt; the study's by default")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        plan = SimulationPlan(per_prompt=options["per_prompt"], raters=options["raters"], seed=options["seed"])
        done = simulate_participants(study, options["path"], plan)
        if done is None:
            self.stdout.write(f"study {study.slug}: simulated participants are there already, nothing was done")
            return
        self.stdout.write(f"study {study.slug}: {done.raters} simulated participants gave {done.rankings} rankings")
