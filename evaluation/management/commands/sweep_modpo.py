from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.models import Split, Study
from annotation.options import keyed, keyed_numbers, run_name
from evaluation.sweep import (
    WEIGHTS,
    Evaluation,
    Sweep,
    even_weights,
    lattice,
    listed_points,
    record_sweep,
    train_points,
)
from evaluation.sweep_report import text
from training.distributed import follow, is_follower, leading
from training.modpo import Weights
from training.recipes import POLICY_RECIPES, PolicyRecipe, add_recipe_arguments, chosen_recipe
from training.reward_runs import reward_runs


class Command(StudyCommand):
    help = """Train a MODPO policy a vector of weights, compare each with the base model on held-out prompts, and draw
the Pareto front. Stopped and started again, it goes on."""
    examples = """\
  manage.py sweep_modpo --study demo --primary empathy --criterion safety --name steer --floor safety=0.55
  manage.py sweep_modpo --study demo --primary empathy --criterion safety --weights 1,0.75,0.5 --name three \\
      --reward-run safety=reward-safety --scorer empathy=scorer-empathy --scorer safety=scorer-safety --json
  manage.py sweep_modpo --study mine --primary empathy --criterion safety --criterion trust_rapport --grid 4 \\
      --name grid --epochs 1
  manage.py sweep_modpo --study mine --primary empathy --criterion safety --name two --no-evaluation \\
      --point empathy=0.6,safety=0.4 --point empathy=0.5,safety=0.5"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--primary", required=True, metavar="CRITERION", help="criterion whose pairs are learned")
        parser.add_argument(
            "--criterion", action="append", required=True, metavar="CRITERION", help="one of the margin; repeat it"
        )
        parser.add_argument(
            "--name", required=True, type=run_name, help="name of the sweep, with which the policies' names begin"
        )
        points = parser.add_mutually_exclusive_group()
        points.add_argument(
            "--weights",
            default=WEIGHTS,
            metavar="W,W,...",
            help=f"weights of the primary criterion; the others share the rest evenly (default: {WEIGHTS})",
        )
        points.add_argument("--grid", type=int, metavar="N", help="all weights that are multiples of 1/N")
        points.add_argument("--point", action="append", metavar="CRITERION=W,...", help="one vector; repeat it")
        parser.add_argument(
            "--reward-run",
            action="append",
            default=[],
            metavar="CRITERION=RUN",
            help="reward model of the margin (default: the latest on train prompts)",
        )
        self.add_evaluation_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        add_recipe_arguments(parser, POLICY_RECIPES)

    def add_evaluation_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--scorer",
            action="append",
            default=[],
            metavar="CRITERION=RUN",
            help="evaluating reward model, trained on other prompts (default: the latest on scorer prompts)",
        )
        parser.add_argument(
            "--floor",
            action="append",
            default=[],
            metavar="CRITERION=RATE",
            help="name the policy with the most of the primary criterion whose lower bound keeps this win rate",
        )
        parser.add_argument(
            "--split", choices=[Split.TEST, Split.SCORER], default=Split.TEST, help="prompts to compare on"
        )
        parser.add_argument("--no-evaluation", action="store_true", help="train the policies and no more")
        parser.add_argument("--temperature", type=float, default=0.8)
        parser.add_argument("--top-p", type=float, default=0.95)
        parser.add_argument("--max-new-tokens", type=int, default=512)
        parser.add_argument("--generation-batch", type=int, default=32, metavar="N", help="responses written at a time")

    def handle(self, *args: Any, **options: Any) -> None:
        if is_follower():
            follow()
            return
        with leading():
            job = self.job(options, chosen_recipe(POLICY_RECIPES, options))
            runs = train_points(job, say=self.say)
        run = record_sweep(job, runs, say=self.say, track=lambda items: self.progress(items, label="batches"))
        if options["json"]:
            self.write_json({"run": run.name, "path": str(run.folder), "metrics": run.metrics})
        else:
            self.stdout.write(f"{text(run.name, run.metrics)}\n\n{run.folder}")

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Sweep:
        study = self.study(options["study"])
        points = self.points(options)
        criteria = list(points[0].values)
        for key in criteria:
            study.criterion(key)
        # No reward model is asked for whose criterion has no weight in any point.
        margin = [key for key in criteria[1:] if any(point.values[key] for point in points)]
        return Sweep(
            name=options["name"],
            study=study,
            points=points,
            recipe=recipe,
            reward_runs=reward_runs(study, margin, keyed("--reward-run", options["reward_run"], "criterion=run")),
            evaluation=None if options["no_evaluation"] else self.evaluation(study, criteria, options, recipe),
        )

    def points(self, options: dict[str, Any]) -> list[Weights]:
        primary, others = options["primary"], list(dict.fromkeys(options["criterion"]))
        if primary in others:
            raise InputError(f"--criterion {primary}: it is the primary criterion already, name the others")
        if options["point"]:
            return listed_points(primary, others, options["point"])
        if options["grid"] is not None:
            return lattice(primary, others, options["grid"])
        return even_weights(primary, others, options["weights"])

    def evaluation(
        self, study: Study, criteria: list[str], options: dict[str, Any], recipe: PolicyRecipe
    ) -> Evaluation:
        from evaluation.scorers import Writing
        from training.generation import Sampling

        floors = parse_floors(options["floor"], criteria)
        sampling = {name: options[name] for name in ("temperature", "top_p", "max_new_tokens")}
        return Evaluation(
            scorers=reward_runs(
                study,
                criteria,
                keyed("--scorer", options["scorer"], "criterion=run"),
                option="--scorer",
                split=Split.SCORER,
                otherwise=", give another with --scorer, or add --no-evaluation",
            ),
            floors=floors,
            writing=Writing(
                study=study,
                model=recipe.model,
                split=options["split"],
                sampling=Sampling(**sampling, seed=recipe.seed),
                batch_size=options["generation_batch"],
            ),
        )


def parse_floors(items: list[str], criteria: list[str]) -> dict[str, float]:
    """{criterion: win rate} from `criterion=rate` items."""
    floors = keyed_numbers("--floor", items, "criterion=rate")
    for key, rate in floors.items():
        if key not in criteria:
            raise InputError(f"--floor {key}={rate:g}: the sweep is over {', '.join(criteria)}")
        if not 0 <= rate <= 1:
            raise InputError(f"--floor {key}={rate:g}: a win rate lies between 0 and 1")
    return floors
