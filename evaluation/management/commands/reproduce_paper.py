"""`manage.py reproduce_paper`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.options import slug
from evaluation.paper_systems import PHASES, SCALES, parse_seeds
from evaluation.reproduction import Job, Reproduction

# The names of systems begin with it, which have 80.
LONGEST_NAME = 50


class Command(StudyCommand):
    help = """Train the paper's systems, compare them before held-out scorers, and print its table beside ours.
Phase 1 compares methods, phase 2 sets of criteria. Without --study it takes the demonstration's content and simulated
participants. Stopped anywhere, the same command goes on; finished, it prints the table again."""
    examples = """\
  manage.py reproduce_paper --phase 1
  manage.py reproduce_paper --phase 1 --seeds 0,1,2 --json
  manage.py reproduce_paper --phase 1 --study mine --recipe paper --output results/phase-1"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--phase", type=int, required=True, choices=list(PHASES))
        parser.add_argument("--study", metavar="S", help="a study with rankings (default: the demonstration's content)")
        seeds = parser.add_mutually_exclusive_group()
        seeds.add_argument("--seed", type=int, metavar="N", help="of weights, order of training and sampling (0)")
        seeds.add_argument("--seeds", metavar="N,N", help="several: each is a reproduction of its own")
        parser.add_argument("--recipe", choices=list(SCALES), default="cpu", help="set of constants (cpu)")
        parser.add_argument("--model", help="base model of the systems, in place of the recipe's")
        parser.add_argument("--encoder", help="base model of reward models and scorers, in place of the recipe's")
        parser.add_argument("--scorer-encoder", metavar="ENCODER", help="base model of the scorers, if another")
        parser.add_argument("--name", type=slug(), help="what names of runs begin with (paper, or STUDY-paper)")
        parser.add_argument("--output", type=Path, metavar="DIR", help="folder of summary and figure")
        parser.add_argument("--json", action="store_true", help="print the summary instead of the tables")

    def handle(self, *args: Any, **options: Any) -> None:
        job = self.job(options)
        if job.study:
            self.study(job.study)
        else:
            call_command("migrate", verbosity=0)
        reproduction = Reproduction(say=self.say, folder=options["output"] or job.folder, job=job)
        comparison, summary = reproduction.run()
        if options["json"]:
            self.write_json(summary)
            return
        self.stdout.write(f"\nPhase {job.phase} on study {job.slug}: {prompts(summary)}\n")
        self.stdout.write(comparison.text())
        self.stdout.write(f"\n{scorers(summary)}\n\nKept in {reproduction.folder}")

    def job(self, options: dict[str, Any]) -> Job:
        seeds = parse_seeds(options["seeds"]) if options["seeds"] is not None else (options["seed"] or 0,)
        if min(seeds) < 0:
            raise InputError(f"--seed {min(seeds)}: it must be 0 or more")
        name = options["name"] or ""
        if len(name) > LONGEST_NAME:
            raise InputError(f"--name {name}: it has {LONGEST_NAME} characters at most")
        models = {"policy": options["model"], "reward": options["encoder"], "scorer": options["scorer_encoder"]}
        return Job(
            phase=options["phase"],
            seeds=seeds,
            scale=SCALES[options["recipe"]].with_models(**models),
            study=options["study"],
            name=name,
        )


def prompts(summary: dict[str, Any]) -> str:
    return ", ".join(f"{count} {split}" for split, count in summary["prompts"].items()) + " prompts"


def scorers(summary: dict[str, Any]) -> str:
    """How far the judges can be trusted."""
    lines = ["Pairs of held-out scorer prompts that the scorers order as the raters do"]
    for seed, found in summary["scorers"].items():
        for criterion, accuracy in found.items():
            known = accuracy["value"] is not None
            share = "{value:.0%} [{low:.0%}, {high:.0%}] of {n}" if known else "undefined: {reason}"
            lines.append(f"  seed {seed}, {criterion}: {share.format(**accuracy)}")
    return "\n".join(lines)
