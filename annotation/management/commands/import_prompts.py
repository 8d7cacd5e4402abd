"""Import help-seeking posts, filtered and split as in the paper."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.imports import import_prompts
from annotation.study_files import count_splits


def size(value: str) -> int | float:
    number = float(value)
    if not number >= 0 or (number >= 1 and not number.is_integer()):
        raise ArgumentTypeError(f"{value} is neither a whole number nor a share below 1")
    return int(number) if number >= 1 or number == 0 else number


class Command(StudyCommand):
    help = """Import prompts from EPITOME (sp_id, seeker_post) or from question_id, question_text.
Posts of 10 to 2,000 characters and at least 3 words are kept and split, stratified by quartiles of length.
Scorer prompts teach the reward models that evaluate policies, so set them aside before any policy is trained.
A study of that slug is made, as a draft, where there is none."""
    examples = """  manage.py import_prompts emotional-reactions-reddit.csv --study empathy
  manage.py import_prompts questions.csv --study pilot --test-size 0.2 --seed 7
  manage.py import_prompts questions.csv --study pilot --test-size 0.2 --scorer-size 0.25"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("csv", type=Path)
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument(
            "--test-size", type=size, default=600, help="test prompts: a number, or a share below 1 (600)"
        )
        parser.add_argument(
            "--scorer-size",
            type=size,
            default=0,
            help="of the other prompts, those kept for evaluating scorers: a number, or a share below 1 (0)",
        )
        parser.add_argument("--seed", type=int, default=42, help="of the split (42)")

    def handle(self, *args: Any, **options: Any) -> None:
        sizes = {name: options[name] for name in ("test_size", "scorer_size")}
        done = import_prompts(options["csv"], options["study"], **sizes, seed=options["seed"])
        self.stdout.write(
            f"study {options['study']}: {len(done.splits)} prompts ({count_splits(done.splits)}); "
            f"left out: {done.missing} without text, {done.repeated} repeats of an id, {done.filtered} by length"
        )
