from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import transaction

from annotation.command import StudyCommand
from annotation.models import Assignment, Comparison, Study
from annotation.options import at_most
from evaluation import llm_judge, reward_judge
from evaluation.judging import JudgeSpec, chosen_comparisons, ensure_judge, plan
from evaluation.local_server import TOY_PREFIX
from evaluation.models import Judge, JudgeKind
from evaluation.voting import VotingSummary, cast_votes, learned_from_simulation, summarise
from training.endpoint import Endpoint, served_models


class Command(StudyCommand):
    help = "Let a judge vote on comparisons, each in both orders. Killed or failed, it goes on where it stopped."
    examples = """\
  manage.py judge --study pilot --name gpt --endpoint https://api.openai.com/v1 --model gpt-4o
  manage.py judge --study pilot --name scorers --run empathy=rm-empathy-scorer --run safety=rm-safety-scorer
  manage.py judge --study pilot --name scorers --run empathy=rm-shared-scorer --run safety=rm-shared-scorer
  manage.py judge --study pilot --name toy --endpoint http://127.0.0.1:8081/v1 --model toy --systems Base MODPO"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--name", required=True, type=at_most(80), help="the judge's name in reports")
        parser.add_argument(
            "--endpoint", type=at_most(300), help="URL of an OpenAI-compatible server; key in ATTUNE_JUDGE_API_KEY"
        )
        parser.add_argument("--model", type=at_most(200), help="name of the model at the endpoint")
        parser.add_argument(
            "--toy", action="store_true", help="label the judge as one whose opinions are worth nothing"
        )
        parser.add_argument("--run", action="append", metavar="CRITERION=RUN", help="reward model as the judge of it")
        parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="compare all pairs of these on test prompts")
        parser.add_argument("--concurrency", type=int, default=8, help="requests at a time")
        parser.add_argument("--limit", type=int, help="ask for at most so many votes")
        parser.add_argument("--seed", type=int, default=0, help="draws which side is shown first")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self.study(options["study"])
        if bool(options["endpoint"]) != bool(options["model"]) or bool(options["endpoint"]) == bool(options["run"]):
            raise CommandError("give either --endpoint and --model, or --run", returncode=2)
        if options["concurrency"] < 1 or (options["limit"] or 1) < 1:
            raise CommandError("--concurrency and --limit must be at least 1", returncode=2)
        spec = llm_spec(study, options) if options["endpoint"] else reward_spec(study, options)
        judge, comparisons, assignments = prepare(study, spec, options)
        votes = cast_votes(judge, assignments, concurrency=options["concurrency"])
        outcomes = list(self.progress(votes, total=len(assignments), label=spec.name))
        summary = summarise(judge, comparisons, outcomes)
        self.report(summary, as_json=options["json"])
        summary.require_complete()

    def report(self, summary: VotingSummary, *, as_json: bool) -> None:
        if as_json:
            self.write_json(
                {
                    "judge": str(summary.judge),
                    "toy_judge": summary.judge.is_toy,
                    "learned_from_simulation": learned_from_simulation(summary.judge),
                    "new": summary.new,
                    "kept": summary.kept,
                    "failed": len(summary.failures),
                    "swap_consistency": summary.consistency.as_dict(),
                }
            )
            return
        self.stdout.write(
            f"{summary.label}: {summary.new} new votes, {summary.kept} kept, {len(summary.failures)} failed; "
            f"same winner in both orders {summary.consistency} (n = {summary.consistency.n})"
        )


def llm_spec(study: Study, options: dict[str, Any]) -> JudgeSpec:
    endpoint = Endpoint(url=options["endpoint"], model=options["model"], api_key=settings.JUDGE_API_KEY)
    served = served_models(endpoint)
    return JudgeSpec(
        name=options["name"],
        kind=JudgeKind.LLM,
        endpoint=endpoint.url,
        model=endpoint.model,
        config=llm_judge.judge_config(list(study.criteria.filter(judged=True)), seed=options["seed"]),
        is_toy=options["toy"] or any(model.startswith(TOY_PREFIX) for model in served),
    )


def reward_spec(study: Study, options: dict[str, Any]) -> JudgeSpec:
    runs = reward_judge.parse_runs(study, options["run"])
    return JudgeSpec(
        name=options["name"],
        kind=JudgeKind.REWARD_MODEL,
        config=reward_judge.judge_config(runs, seed=options["seed"]),
        is_toy=options["toy"],
        runs=list(dict.fromkeys(runs.values())),
    )


@transaction.atomic
def prepare(study: Study, spec: JudgeSpec, options: dict[str, Any]) -> tuple[Judge, list[Comparison], list[Assignment]]:
    comparisons = chosen_comparisons(study, options["systems"])
    reward_judge.require_stranger(spec.runs, comparisons)
    judge = ensure_judge(study, spec)
    return judge, comparisons, plan(judge, comparisons, limit=options["limit"])
