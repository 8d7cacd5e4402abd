import dataclasses
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from training.models import RunKind
from training.recipes import REWARD_RECIPES, add_recipe_arguments, chosen_recipe
from training.runs import RunPlan, plain, recorded_run
from training.sources import (
    PairSource,
    add_run_arguments,
    add_source_arguments,
    hold_out,
    pairs_of_file,
    pairs_of_study,
    split_argument,
)

HELD_OUT = 0.2


class Command(StudyCommand):
    help = "Train a reward model of one criterion, and say how well it orders pairs of prompts it has not seen."
    examples = """\
  manage.py train_reward_model --criterion empathy --study demo
  manage.py train_reward_model --criterion safety --study demo --split scorer --name scorer-safety
  manage.py train_reward_model --criterion empathy --pairs empathy_pairs.json --output reward-empathy --json"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--criterion", required=True, help="key of the criterion")
        add_source_arguments(parser)
        parser.add_argument(
            "--eval-pairs", type=Path, metavar="FILE", help="pairs to test on (default: a fifth of the prompts)"
        )
        split_argument(parser)
        add_run_arguments(parser)
        add_recipe_arguments(parser, REWARD_RECIPES)

    def handle(self, *args: Any, **options: Any) -> None:
        from training.base_models import resolve_model
        from training.reward_model import train_reward_model

        recipe = chosen_recipe(REWARD_RECIPES, options)
        model = resolve_model(recipe.model)
        source = self.source(options)
        pairs, held_out = self.split(source, options, recipe.seed)
        plan = RunPlan(
            kind=RunKind.REWARD_MODEL,
            config={"criterion": options["criterion"], "split": options["split"], **plain(recipe)},
            name=options["name"],
            stem=f"reward-{options['criterion']}",
            output=options["output"],
            criterion=source.criterion,
            datasets=source.datasets,
            files=source.files,
        )
        with recorded_run(plan) as run:
            metrics = train_reward_model(model, pairs, held_out, recipe, run.folder)
            run.metrics.update(dataclasses.asdict(metrics))
        self.report(run.row.name, str(run.row.folder), run.metrics, as_json=options["json"])

    def source(self, options: dict[str, Any]) -> PairSource:
        if options["study"]:
            study = self.study(options["study"])
            return pairs_of_study(study, options["criterion"], split=options["split"], pairs="all")
        return pairs_of_file(options["pairs"])

    def split(self, source: PairSource, options: dict[str, Any], seed: int) -> tuple[list[Any], list[Any]]:
        if not options["eval_pairs"]:
            return hold_out(source.pairs, share=HELD_OUT, seed=seed)
        held_out = pairs_of_file(options["eval_pairs"]).pairs
        known = {pair.prompt_id for pair in source.pairs} | {pair.prompt for pair in source.pairs}
        if shared := next((p for p in held_out if p.prompt_id in known or p.prompt in known), None):
            raise InputError(
                f"--eval-pairs {options['eval_pairs']}: prompt {shared.prompt_id} is trained on too, "
                "which would flatter the accuracy: part the files by prompt"
            )
        return source.pairs, held_out

    def report(self, name: str, folder: str, metrics: dict[str, Any], *, as_json: bool) -> None:
        accuracy = metrics["accuracy"]
        if as_json:
            self.write_json({"run": name, "path": folder, **accuracy, "metrics": metrics})
            return
        self.stdout.write(
            f"{name}: accuracy {accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%}) on "
            f"{accuracy['n']} held-out pairs of {accuracy['prompts']} prompts; "
            f"{metrics['truncated_responses']} of {2 * metrics['train_pairs']} texts truncated; {folder}"
        )
