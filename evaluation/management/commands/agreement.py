from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from annotation.command import StudyCommand
from annotation.errors import InputError


class Command(StudyCommand):
    help = """How far raters agree with one another, and judges with them.

A CSV holds a label a row: item, rater, criterion, label and, where there are judges, rater_kind (human or judge). Any
other layout is described by the options below; docs/agreement.md has a command line for each."""
    examples = """\
  manage.py agreement --study pilot
  manage.py agreement --study pilot --judge gpt --epsilon 0.2 --stratum --json
  manage.py agreement --csv labels.csv --level ordinal --order B,tie,A --bootstrap 2000 --seed 0 --json

a column a rater, and judges beside them:
  manage.py agreement --csv testset.csv --item idx --raters annotator1,annotator2,annotator3 --judges gpt,pandalm
a column a criterion:
  manage.py agreement --csv ratings.csv --item case,model --rater judge --criteria empathy,safety --judges gpt-4o
votes for one of two systems, and a file of a judge's:
  manage.py agreement --csv human_votes.csv --judge-csv gpt4_votes.csv --item question_id,turn --rater judge \\
      --systems model_a,model_b --label winner --where turn=1 --where judge^=expert --map "tie (inconsistent)=tie\""""

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--study", metavar="S")
        source.add_argument("--csv", type=Path, metavar="FILE")
        parser.add_argument("--level", choices=["nominal", "ordinal"], default="nominal", help="of alpha")
        parser.add_argument("--order", metavar="B,tie,A", help="the labels from lowest to highest")
        parser.add_argument("--judge", metavar="NAME", help="this judge alone")
        parser.add_argument("--epsilon", type=float, default=0.2, help="what replacing a person may cost (0.2)")
        parser.add_argument(
            "--bootstrap", type=int, default=2000, help="resamples of the items; 0: no intervals (2000)"
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument(
            "--stratum",
            nargs="?",
            const="stratum",
            metavar="COL",
            help="report each stratum too; COL of the CSV names it",
        )
        parser.add_argument("--json", action="store_true")
        add_shape_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from evaluation.agreement import Settings
        from evaluation.strata import agreement_with_strata
        from evaluation.tables import agreement_text

        order = tuple(label.strip() for label in options["order"].split(",")) if options["order"] else None
        asked = {key: options[key] for key in ("level", "judge", "epsilon", "bootstrap", "seed")} | {"order": order}
        try:
            Settings(**asked)
            shapes = shapes_of(options)
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        frame, notes = labels_of_files(options, *shapes, order) if shapes else self.labels_of_study(options)
        try:
            result = agreement_with_strata(frame, **asked)
        except ValueError as error:
            raise InputError(f"{options['csv'] or options['study']}: {error}") from error
        result["settings"] |= notes
        if options["json"]:
            self.write_json(result)
        else:
            self.stdout.write("\n\n".join([*notes["notes"], agreement_text(result)]))

    def labels_of_study(self, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The labels, and what a reader must know of who gave them."""
        from evaluation.report import agreement_labels

        frame, notes = agreement_labels(self.study(options["study"]), judge=options["judge"])
        return frame if options["stratum"] else frame.drop(columns="stratum"), notes


def shapes_of(options: dict[str, Any]) -> tuple[Any, Any] | None:
    """The shapes of the file and of the judges' file, if one is given; None for a study.

    Raises:
        ValueError: an option that describes a file is wrong, or given without the file.
    """
    from evaluation.label_shape import OPTIONS, OWN_OF_JUDGES, judges_shape_of, shape_of

    homeless = [] if options["csv"] else [(name, "--csv") for name in (*OPTIONS, "judge_csv") if options[name]]
    if not options["judge_csv"]:
        homeless += [(f"judge_{name}", "--judge-csv") for name in OWN_OF_JUDGES if options[f"judge_{name}"]]
    for name, home in homeless:
        raise ValueError(f"--{name.replace('_', '-')} describes a file: it goes with {home}")
    if not options["csv"]:
        return None
    return shape_of(options), judges_shape_of(options) if options["judge_csv"] else None


def labels_of_files(
    options: dict[str, Any], shape: Any, judges_shape: Any, order: tuple[str, ...] | None
) -> tuple[Any, dict[str, Any]]:
    """The labels, and what was left out of them."""
    from evaluation.label_file import read_labels, with_judges

    labels = read_labels(options["csv"], shape, order=order)
    if judges_shape:
        labels = with_judges(labels, read_labels(options["judge_csv"], judges_shape, order=order))
    repeats = f"{labels.repeated:,} repeated labels left out: of a rater's labels of an item the first stands"
    return labels.frame, {"notes": [repeats] if labels.repeated else []}


def add_shape_arguments(parser: ArgumentParser) -> None:
    shape = parser.add_argument_group("what the file's columns hold (lists are parted by commas)")
    shape.add_argument("--item", metavar="COL[,COL]", help="what was labelled, by several columns together (item)")
    shape.add_argument("--rater", metavar="COL", help="who labelled it (rater)")
    shape.add_argument("--raters", metavar="COL,COL", help="a column a rater: each holds the labels of one")
    shape.add_argument("--judges", metavar="NAME,NAME", help="raters that are judges; beside --raters, their columns")
    shape.add_argument(
        "--criterion", metavar="COL", help="(criterion; where other columns are named and none is, there is one only)"
    )
    shape.add_argument("--criteria", metavar="COL,COL", help="a column a criterion: each holds the labels on one")
    shape.add_argument("--label", metavar="COL", help="the label (label)")
    shape.add_argument(
        "--systems",
        metavar="COL,COL",
        help="the two systems compared. A label is tie or names one: by column, by name, as left / right or A / B. It "
        "is turned to A, the first in the alphabet, or B, and the pair becomes part of the item",
    )
    rows = parser.add_argument_group("which rows and labels count")
    rows.add_argument(
        "--where",
        action="append",
        metavar="COL=VALUE",
        help="these rows alone; also COL!=VALUE, COL^=START (repeatable)",
    )
    rows.add_argument("--map", action="append", metavar="LABEL=LABEL", help="read one label as another (repeatable)")
    rows.add_argument("--drop-label", action="append", metavar="LABEL", help="leave out a label (repeatable)")
    rows.add_argument(
        "--duplicates", choices=["refuse", "first"], default="refuse", help="a rater twice on an item (refuse)"
    )
    judges = parser.add_argument_group("judges in a file of their own")
    judges.add_argument("--judge-csv", type=Path, metavar="FILE", help="of the same layout, but for")
    for name in ("item", "rater", "raters", "criterion", "label"):
        judges.add_argument(f"--judge-{name}", metavar="COL", help=f"(as --{name})")
    judges.add_argument("--judge-where", action="append", metavar="COL=VALUE", help="(all rows, whatever --where says)")
