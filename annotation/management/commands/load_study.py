"""Load a study written down as a folder of TOML files."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.models import Study, StudyStatus
from annotation.options import at_most, slug
from annotation.study_files import count_splits, read_study_files


class Command(StudyCommand):
    help = """Load a study from a folder: study.toml, questionnaire.toml and, if its prompts are written there too,
posts_*.toml. It is a draft until --open."""
    examples = """  manage.py load_study fixtures/demo
  manage.py load_study fixtures/demo --open --if-missing"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="the study's folder")
        parser.add_argument("--slug", type=slug(), help="load it under another slug than study.toml gives")
        parser.add_argument("--title", type=at_most(200), help="load it under another title than study.toml gives")
        parser.add_argument("--open", action="store_true", help="open the study to participants")
        parser.add_argument("--if-missing", action="store_true", help="leave a study of that slug as it is")

    def handle(self, *args: Any, **options: Any) -> None:
        files = read_study_files(options["path"])
        slug = files.study.slug = options["slug"] or files.study.slug
        files.study.title = options["title"] or files.study.title
        if options["if_missing"] and Study.objects.filter(slug=slug).exists():
            self.stdout.write(f"study {slug} is there already: left as it is")
            return
        study = files.create(status=StudyStatus.OPEN if options["open"] else StudyStatus.DRAFT)
        splits = f" ({count_splits(files.splits)})" if files.splits else ""
        self.stdout.write(
            f"study {slug} ({study.status}): {len(files.posts)} prompts{splits}, {len(files.criteria)} criteria, "
            f"{len(files.items)} questions"
        )
        if study.status == StudyStatus.OPEN:
            self.tell_missing(study)
