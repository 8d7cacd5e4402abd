from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.errors import InputError
from annotation.options import keyed
from training.alignment import Alignment
from training.command import AlignmentCommand, run_options
from training.models import Run, RunKind
from training.modpo import RewardKey, Weights, only, parse_weights, read_rewards
from training.recipes import PolicyRecipe
from training.reward_runs import reward_runs
from training.sources import PairSource, add_source_arguments


class Command(AlignmentCommand):
    help = """Train a policy on the primary criterion's pairs with the other criteria's rewards as a margin (MODPO).
Killed and started again, it goes on."""
    examples = """\
  manage.py train_modpo --primary empathy --weight empathy=0.5 --weight safety=0.5 --study demo
  manage.py train_modpo --primary empathy --weight empathy=0.7 --weight safety=0.3 --study demo \\
      --reward-run safety=reward-safety --epochs 2
  manage.py train_modpo --primary empathy --weight empathy=0.5 --weight safety=0.5 \\
      --pairs empathy_pairs.json --margins rewards.jsonl --output modpo --json"""

    def add_data_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--primary", required=True, metavar="CRITERION", help="criterion whose pairs are learned")
        parser.add_argument(
            "--weight", action="append", required=True, metavar="CRITERION=W", help="once a criterion; they sum to 1"
        )
        add_source_arguments(parser)
        parser.add_argument(
            "--margins",
            type=Path,
            metavar="FILE",
            help="with --pairs: JSONL of prompt_id, response_id, criterion, reward",
        )
        parser.add_argument(
            "--reward-run",
            action="append",
            default=[],
            metavar="CRITERION=RUN",
            help="with --study: reward model of a criterion (default: its latest on train prompts)",
        )

    def job(self, options: dict[str, Any], recipe: PolicyRecipe) -> Alignment:
        weights = parse_weights(options["primary"], options["weight"])
        source, rewards, runs = (self.of_study if options["study"] else self.of_files)(weights, options)
        # Without a margin it is DPO, and shall not be called otherwise.
        return Alignment(
            kind=RunKind.MODPO if weights.others else RunKind.DPO,
            weights=weights if weights.others else only(weights.primary),
            recipe=recipe,
            sources={weights.primary: source},
            rewards=rewards,
            parents=runs,
            **run_options(options),
        )

    def of_study(
        self, weights: Weights, options: dict[str, Any]
    ) -> tuple[PairSource, dict[RewardKey, float], list[Run]]:
        from training.rewards import rewards_of_pairs

        if options["margins"]:
            raise InputError("--margins goes with --pairs: a study's margins come from its reward models")
        study = self.study(options["study"])
        weights.require_known(set(study.criteria.values_list("key", flat=True)), f"study {study.slug}")
        runs = reward_runs(study, list(weights.others), keyed("--reward-run", options["reward_run"], "criterion=run"))
        source = self.of_criterion(weights.primary, options)
        return source, rewards_of_pairs(study, source.pairs, runs), list(runs.values())

    def of_files(
        self, weights: Weights, options: dict[str, Any]
    ) -> tuple[PairSource, dict[RewardKey, float], list[Run]]:
        if options["reward_run"] or not options["margins"]:
            raise InputError("--pairs goes with --margins FILE: JSONL of prompt_id, response_id, criterion, reward")
        rewards = read_rewards(options["margins"])
        weights.require_known({key[2] for key in rewards} | {weights.primary}, str(options["margins"]))
        source = self.of_criterion(weights.primary, options)
        return replace(source, files=(*source.files, options["margins"])), rewards, []
