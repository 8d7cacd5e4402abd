from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.models import ItemKind, Rater, RaterKind
from annotation.options import keyed_numbers
from training.models import Run, RunKind
from training.personal_weights import Mix, personal_mix
from training.runs import finished_run
from training.soups import Soup, add_merge_arguments, cook, result_line
from training.sources import add_run_arguments

KINDS = (RunKind.MODPO, RunKind.DPO)
# Keys of the questionnaire's items, before the criterion's, and what they can be answered with.
ITEM = "importance_"
SCALE = {"1", "2", "3", "4", "5"}


class Command(StudyCommand):
    help = """Merge the adapters of a sweep into the one for a person: what matters to them makes weights (rank-order
centroid of their importance ratings), and the adapters trained nearest to those weights are combined to match them."""
    examples = """\
  manage.py personalise_adapter --sweep sweep-empathy --participant P-7f3a91 --study demo --at-least safety=0.2
  manage.py personalise_adapter --run modpo-30 --run modpo-70 --importance empathy=5 --importance safety=4 --json"""

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--sweep", metavar="RUN", help="a sweep, whose adapters are combined")
        source.add_argument("--run", action="append", metavar="RUN", help="MODPO or DPO runs, instead of a sweep")
        parser.add_argument("--participant", metavar="NAME", help="whose questionnaire tells what matters to them")
        parser.add_argument("--study", help="slug of the participant's study")
        parser.add_argument(
            "--importance",
            action="append",
            default=[],
            metavar="CRITERION=N",
            help="a rating from 1 to 5, instead of a participant's or in addition",
        )
        parser.add_argument(
            "--at-least",
            action="append",
            default=[],
            metavar="CRITERION=W",
            help="a weight that no rating may fall below (default: none)",
        )
        add_merge_arguments(parser, ["cat", "svd"])
        add_run_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        points = {run.name: run.config["weights"] for run in self.runs(options)}
        rater = self.rater(options)
        typed = keyed_numbers("--importance", options["importance"])
        floors = keyed_numbers("--at-least", options["at_least"])
        found = personal_mix(points, stated_importance(rater) if rater else {}, typed, floors)
        config = {
            "weights": found.weights,
            "wanted_weights": found.wanted,
            "distance": found.distance,
            "at_least": floors,
            "importance": typed,
            "participant": rater.name if rater else None,
            "sweep": options["sweep"],
        }
        settings = {key: options[key] for key in ("method", "rank", "name", "output")}
        run = cook(Soup(weights=found.shares, config=config, rater=rater, **settings))
        self.tell(run, found, as_json=options["json"])

    def tell(self, run: Run, found: Mix, *, as_json: bool) -> None:
        if as_json:
            values = {"weights": found.weights, "wanted_weights": found.wanted, "distance": found.distance}
            shares = {"coefficients": found.shares, "metrics": run.metrics}
            self.write_json({"run": run.name, "path": str(run.folder), **values, **shares})
            return
        if found.distance:
            self.say(
                f"no combination of these adapters comes to {_text(found.wanted)}: taken is the nearest, "
                f"at a distance of {found.distance:.3f}"
            )
        self.stdout.write(f"weights {_text(found.weights)}")
        self.stdout.write(result_line(run))

    def runs(self, options: dict[str, Any]) -> list[Run]:
        if not options["sweep"]:
            return [finished_run(name, *KINDS) for name in dict.fromkeys(options["run"])]
        sweep = finished_run(options["sweep"], RunKind.SWEEP)
        runs = sweep.parents.filter(kind__in=KINDS).order_by("name")
        if not runs:
            raise InputError(f"--sweep {sweep}: it has no MODPO runs")
        return [finished_run(run.name, *KINDS) for run in runs]

    def rater(self, options: dict[str, Any]) -> Rater | None:
        if bool(options["participant"]) != bool(options["study"]):
            raise InputError("--participant and --study go together: a participant is one of a study")
        if not options["participant"]:
            return None
        study = self.study(options["study"])
        rater = study.raters.filter(kind=RaterKind.PARTICIPANT, name=options["participant"]).first()
        if rater is None:
            raise InputError(f"--participant {options['participant']}: study {study.slug} has no such participant")
        if rater.withdrawn_at:
            raise InputError(f"--participant {rater.name}: this participant has withdrawn")
        return rater


def stated_importance(rater: Rater) -> dict[str, float]:
    """A participant's importance ratings by criterion, without those left blank."""
    answers = rater.answers.filter(item__kind=ItemKind.RATING, item__key__startswith=ITEM)
    stated = answers.values_list("item__key", "value")
    return {key.removeprefix(ITEM): float(value) for key, value in stated if str(value) in SCALE}


def _text(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {weight:.3g}" for key, weight in weights.items())
