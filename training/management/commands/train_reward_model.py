import dataclasses
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from training.models import Run, RunKind
from training.pairs import PreferencePair
from training.recipes import REWARD_RECIPES, RewardRecipe, add_recipe_arguments, chosen_recipe
from training.runs import RunInProgress, RunPlan, plain, recorded_run
from training.shared_sources import SharedSources, shared_sources
from training.sources import (
    PairSource,
    add_run_arguments,
    hold_out,
    pairs_of_file,
    pairs_of_study,
    require_apart,
    split_argument,
    split_of,
)

HELD_OUT = 0.2

Pairs = list[PreferencePair]


class Command(StudyCommand):
    help = """Train a reward model of one criterion, and say how well it orders pairs of prompts it has not seen.
With --shared-encoder, of several criteria as heads of one encoder, which takes about as long as one of them."""
    examples = """\
  manage.py train_reward_model --criterion empathy --study demo
  manage.py train_reward_model --criterion safety --study demo --split scorer --name scorer-safety
  manage.py train_reward_model --criterion empathy --pairs train.jsonl --eval-pairs test.jsonl --learning-curve
  manage.py train_reward_model --criterion empathy --study mine --recipe paper --search 20 --json
  manage.py train_reward_model --shared-encoder --criterion empathy --criterion safety --study demo
  manage.py train_reward_model --shared-encoder --criterion empathy --criterion safety \\
      --pairs empathy=empathy_pairs.json --pairs safety=safety_pairs.json"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--criterion",
            action="append",
            required=True,
            help="key of the criterion; once a criterion with --shared-encoder",
        )
        parser.add_argument(
            "--shared-encoder", action="store_true", help="train several criteria as heads of one encoder, in one pass"
        )
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--study", help="slug of the study whose rankings make the pairs")
        source.add_argument(
            "--pairs",
            action="append",
            metavar="FILE",
            help="TRL JSONL or the authors' {criterion}_pairs.json; CRITERION=FILE of each for a shared encoder",
        )
        parser.add_argument(
            "--eval-pairs",
            action="append",
            metavar="FILE",
            help="pairs to test on, given as --pairs are (default: a fifth of the prompts)",
        )
        split_argument(parser)
        parser.add_argument(
            "--search",
            type=int,
            default=0,
            metavar="TRIALS",
            help="search the settings that are not given, by accuracy on prompts held out from training; stopped and "
            "started again, it goes on",
        )
        parser.add_argument(
            "--learning-curve",
            action="store_true",
            help="also train on 1/8, 1/4 and 1/2 of the prompts, which takes nearly as long again",
        )
        add_run_arguments(parser)
        add_recipe_arguments(parser, REWARD_RECIPES)

    def handle(self, *args: Any, **options: Any) -> None:
        from training.base_models import resolve_model

        if options["search"] < 0:
            raise CommandError(f"--search {options['search']}: a number of trials is required", returncode=2)
        recipe = chosen_recipe(REWARD_RECIPES, options)
        if options["shared_encoder"]:
            self.train_several(resolve_model(recipe.model), recipe, options)
        else:
            self.train_one(resolve_model(recipe.model), recipe, of_one_criterion(options))

    def train_one(self, model: str, recipe: RewardRecipe, options: dict[str, Any]) -> None:
        source = self.source(options)
        pairs, held_out = self.split(source, options, recipe.seed)
        with recorded_run(self.plan(source, recipe, options)) as run:
            run.metrics["dropped_pairs"] = self.dropped(source, pairs, held_out, options)
            if options["search"]:
                recipe = self.search(run, model, pairs, recipe, options)
            self.train(run, model, pairs, held_out, recipe, learning_curve=options["learning_curve"])
        self.report(run.row, as_json=options["json"])

    def train_several(self, model: str, recipe: RewardRecipe, options: dict[str, Any]) -> None:
        from training.shared_encoder import train_shared_encoder

        if options["search"] or options["learning_curve"]:
            raise InputError("--search and --learning-curve are of one criterion: leave them out for a shared encoder")
        sources = shared_sources(
            options["criterion"],
            options["pairs"],
            options["eval_pairs"] or [],
            lambda key: self.source({**options, "criterion": key}),
        )
        pairs, held_out = sources.split(share=HELD_OUT, seed=recipe.seed)
        with recorded_run(self.shared_plan(sources, recipe, options)) as run:
            run.metrics.update(train_shared_encoder(model, pairs, held_out, recipe, run.folder))
        self.report_several(run.row, as_json=options["json"])

    def shared_plan(self, sources: SharedSources, recipe: RewardRecipe, options: dict[str, Any]) -> RunPlan:
        split = split_of(sources.train.values(), options["split"])
        config = {"shared_encoder": True, "criteria": list(sources.train), "split": split, **plain(recipe)}
        return RunPlan(
            kind=RunKind.REWARD_MODEL,
            config=config,
            name=options["name"],
            stem="reward-shared",
            output=options["output"],
            datasets=sources.datasets,
            files=sources.files,
        )

    def source(self, options: dict[str, Any]) -> PairSource:
        if options["study"]:
            study = self.study(options["study"])
            return pairs_of_study(study, options["criterion"], split=options["split"], pairs="all")
        return pairs_of_file(options["pairs"], options["criterion"])

    def split(self, source: PairSource, options: dict[str, Any], seed: int) -> tuple[Pairs, Pairs]:
        if not options["eval_pairs"]:
            return hold_out(source.pairs, share=HELD_OUT, seed=seed)
        held_out = pairs_of_file(options["eval_pairs"], options["criterion"]).pairs
        require_apart(source.pairs, held_out, f"--eval-pairs {options['eval_pairs']}")
        return source.pairs, held_out

    def dropped(self, source: PairSource, pairs: Pairs, held_out: Pairs, options: dict[str, Any]) -> int:
        """Pairs across prompts of which one is held out and one is not."""
        return 0 if options["eval_pairs"] else len(source.pairs) - len(pairs) - len(held_out)

    def plan(self, source: PairSource, recipe: RewardRecipe, options: dict[str, Any]) -> RunPlan:
        return RunPlan(
            kind=RunKind.REWARD_MODEL,
            config={
                "criterion": options["criterion"],
                "split": split_of([source], options["split"]),
                "search": options["search"],
                **plain(recipe),
            },
            name=options["name"],
            stem=f"reward-{options['criterion']}",
            output=options["output"],
            criterion=source.criterion,
            datasets=source.datasets,
            files=(*source.files, *filter(None, [options["eval_pairs"]])),
        )

    def search(
        self, run: RunInProgress, model: str, pairs: Pairs, recipe: RewardRecipe, options: dict[str, Any]
    ) -> RewardRecipe:
        """The best recipe, which becomes the run's."""
        from training.reward_search import Search, search_recipe, search_space

        given = {name for name in plain(recipe) if options[name] is not None}
        search = Search(source=model, pairs=pairs, recipe=recipe, space=search_space(options["recipe"], given))
        best, run.metrics["search"] = search_recipe(
            search,
            trials=options["search"],
            storage=Path(settings.VAR_DIR) / "searches",
            scratch=run.folder,
            say=self.say,
        )
        run.row.config |= plain(best)
        run.row.save(update_fields=["config"])
        return best

    def train(
        self,
        run: RunInProgress,
        model: str,
        pairs: Pairs,
        held_out: Pairs,
        recipe: RewardRecipe,
        *,
        learning_curve: bool,
    ) -> None:
        from training import reward_model

        metrics = reward_model.train_reward_model(model, pairs, held_out, recipe, run.folder)
        run.metrics.update(dataclasses.asdict(metrics))
        if learning_curve:
            parts = reward_model.learning_curve(model, pairs, held_out, recipe, run.folder)
            run.metrics["learning_curve"] = [*parts, reward_model.curve_point(1.0, metrics)]

    def report(self, run: Run, *, as_json: bool) -> None:
        metrics = run.metrics
        accuracy = metrics["accuracy"]
        if as_json:
            self.write_json({"run": run.name, "path": str(run.folder), **accuracy, "metrics": metrics})
            return
        self.stdout.write(
            f"{run.name}: accuracy {told(accuracy)} on held-out pairs of {accuracy['prompts']} prompts; "
            f"{metrics['truncated_responses']} of {2 * metrics['train_pairs']} texts truncated; {run.folder}"
        )
        for line in details(metrics):
            self.stdout.write(f"  {line}")

    def report_several(self, run: Run, *, as_json: bool) -> None:
        metrics = run.metrics
        if as_json:
            self.write_json({"run": run.name, "path": str(run.folder), **metrics["accuracy"], "metrics": metrics})
            return
        texts = 2 * metrics["encoded_pairs"]
        self.stdout.write(
            f"{run.name}: accuracy {told(metrics['accuracy'])} over all criteria; "
            f"{metrics['truncated_responses']} of {texts} texts truncated; {run.folder}"
        )
        for criterion, head in metrics["criteria"].items():
            self.stdout.write(f"  {criterion}: accuracy {told(head['accuracy'])}")


def of_one_criterion(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the one criterion and the one file of each kind that an ordinary reward model takes."""
    for name in ("criterion", "pairs", "eval_pairs"):
        if len(options[name] or ()) > 1:
            raise InputError(f"--{name.replace('_', '-')} is given several times: that goes with --shared-encoder")
    files = {name: Path(options[name][0]) if options[name] else None for name in ("pairs", "eval_pairs")}
    return {**options, **files, "criterion": options["criterion"][0]}


def details(metrics: dict[str, Any]) -> list[str]:
    calibration = metrics["calibration"]
    bias = {name: told(statistic) for name, statistic in metrics["length_bias"].items()}
    lines = [
        f"where the shorter response was preferred {bias['shorter_preferred']}",
        f"where the longer was preferred {bias['longer_preferred']}; by length alone {bias['longer_wins']}",
        f"calibration error {calibration['ece']:.3f}, Brier {calibration['brier']:.3f} (a coin: 0.25)",
    ]
    if metrics["dropped_pairs"]:
        lines.append(f"{metrics['dropped_pairs']} pairs left out: one of their prompts is held out, one is trained on")
    lines += [
        f"trained on {point['prompts']} prompts, {point['pairs']} pairs, {point['updates']} updates: "
        f"accuracy {told(point['accuracy'])}"
        for point in metrics.get("learning_curve", [])
    ]
    if search := metrics.get("search"):
        best = search["trials"][search["best"]]
        chosen = ", ".join(f"{name} {value:.3g}" for name, value in best["settings"].items())
        failed = sum(trial["error"] is not None for trial in search["trials"])
        lines.append(
            f"settings of trial {best['number'] + 1} of {len(search['trials'])} ({failed} failed): {chosen}; "
            f"accuracy there {told(best['accuracy'])}"
        )
    return lines


def told(statistic: dict[str, Any]) -> str:
    if statistic["value"] is None:
        return f"unknown ({statistic['reason']})"
    return f"{statistic['value']:.1%} ({statistic['low']:.1%} to {statistic['high']:.1%}, n {statistic['n']})"
