from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from annotation.command import StudyCommand
from annotation.errors import InputError


class Command(StudyCommand):
    help = (
        "Write a study's report as one PDF: methods, tables, figures, the data's hash and software versions. Until the "
        "study is unblinded it is blind. The site's pages are then at hand, too."
    )
    examples = """\
  manage.py report --study pilot --output report.pdf
  manage.py report --study pilot --output progress.pdf --blind"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE")
        parser.add_argument("--blind", action="store_true", help="tell of progress and reliability only")

    def handle(self, *args: Any, **options: Any) -> None:
        from evaluation.report import source_of
        from evaluation.report_pdf import pdf_of

        output: Path = options["output"]
        source = source_of(self.study(options["study"]), blind=options["blind"])
        if not output.parent.is_dir():
            raise InputError(f"--output {output}: the folder {output.parent} is not there; make it first")
        if output.is_dir():
            raise InputError(f"--output {output}: this is a folder; name the PDF file to write")
        pdf = pdf_of(source)
        partial = output.with_name(f"{output.name}.partial")
        partial.write_bytes(pdf)
        partial.replace(output)
        blind = "blind" if source.blind else "unblinded"
        self.stdout.write(f"{output}: report of study {source.study.slug}, {blind}")
