from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError, StudyError
from annotation.models import Prompt, Split, Study, System, SystemKind
from annotation.options import at_most, run_name
from training.models import ADAPTER_KINDS, Run, RunKind
from training.runs import RunPlan, finished_run, recorded_run

if TYPE_CHECKING:
    from training.generation import Sampling, Slot

BASE_MODEL = "smollm2-135m-instruct"
# What was stored, and a line on each response that is missing.
Write = Callable[[], tuple[int, list[str]]]
SAMPLING = ("temperature", "top_p", "max_new_tokens", "seed")


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What is to be written, and by whom: a model here or behind an endpoint, with the adapter of a run or without."""

    system: System
    batches: "list[list[Slot]]"
    sampling: "Sampling"
    model: str
    run: Run | None
    served_model: str | None

    @property
    def origin(self) -> dict[str, Any]:
        """What each response records of its author."""
        here = {"model": self.model, "run": self.run.name if self.run else None}
        return {**here, "served_model": self.served_model} if self.served_model else here


class Command(StudyCommand):
    help = """Let a base model, or the adapter of a run, respond to a study's prompts. Goes on where it was stopped.
With --endpoint the model is asked there, at a server such as vLLM, each response with a seed of its own."""
    examples = """\
  manage.py generate_responses --study demo --system base --split test --per-prompt 1
  manage.py generate_responses --study demo --system modpo --run demo-modpo --split test --per-prompt 1
  manage.py generate_responses --study mine --system base --split train --per-prompt 5 --limit 20
  manage.py generate_responses --study mine --system base --split train --per-prompt 5 \\
      --endpoint http://gpu1:8000/v1 --model mistralai/Mistral-7B-Instruct-v0.2 --concurrency 64
  manage.py generate_responses --study mine --system modpo --run modpo-1 --split test --per-prompt 1 \\
      --endpoint http://gpu1:8000/v1 --model modpo-1
  manage.py generate_responses --study mine --system gpt-4o --split test --per-prompt 1 \\
      --endpoint https://api.openai.com/v1 --model gpt-4o --standard-fields"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument(
            "--system", required=True, type=at_most(80), help="name of the system that the responses are by"
        )
        parser.add_argument("--run", help="run whose adapter writes (default: the base model)")
        parser.add_argument(
            "--model",
            help=f"base model, without --run (default: {BASE_MODEL}); with --endpoint the name under which it, or "
            "the run's adapter, is served there",
        )
        parser.add_argument("--split", required=True, choices=Split.values, help="prompts to respond to")
        parser.add_argument("--per-prompt", type=int, required=True, metavar="N")
        parser.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
        parser.add_argument("--temperature", type=float, default=0.8)
        parser.add_argument("--top-p", type=float, default=0.95)
        parser.add_argument("--max-new-tokens", type=int, default=512)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument(
            "--batch-size", type=int, default=32, help="responses written at a time, without --endpoint"
        )
        parser.add_argument("--name", type=run_name, default="", help="name of the run")
        parser.add_argument("--json", action="store_true")
        self.add_endpoint_arguments(parser)

    def add_endpoint_arguments(self, parser: CommandParser) -> None:
        endpoint = parser.add_argument_group("with an endpoint")
        endpoint.add_argument(
            "--endpoint", metavar="URL", help="of an OpenAI-compatible server; key in ATTUNE_GENERATION_API_KEY"
        )
        endpoint.add_argument("--concurrency", type=int, default=8, metavar="N", help="requests at a time")
        endpoint.add_argument("--timeout", type=float, default=300, metavar="S", help="seconds to wait for a response")
        endpoint.add_argument(
            "--standard-fields",
            action="store_true",
            help="send no top_k and min_p (both off), for servers such as OpenAI's that refuse them",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["endpoint"] and not options["model"]:
            raise CommandError("--endpoint goes with --model, the name of the model there", returncode=2)
        study = self.study(options["study"])
        study.require_unlocked()
        prompts = self.prompts(study, options)
        writing = self.writing(study, prompts, options)
        write = self.there(writing, options) if options["endpoint"] else self.here(writing)
        with recorded_run(self.plan(options, writing)) as run:
            stored, missing = write()
            there_before = sum(map(len, writing.batches)) - stored - len(missing)
            run.metrics.update(stored=stored, there_before=there_before, missing=len(missing))
        for line in missing:
            self.say(f"{line}: not stored")
        self.report(run.row, writing.system, f"{len(prompts)} {options['split']} prompts", as_json=options["json"])
        if missing and options["endpoint"]:
            raise StudyError(f"{len(missing)} responses are missing: run the command again to ask for those alone")

    def here(self, writing: Writing) -> Write:
        from training.base_models import resolve_model
        from training.generation import Generator, fill

        source = resolve_model(writing.model)

        def write() -> tuple[int, list[str]]:
            stored, empty = fill(
                Generator(source, writing.run.folder if writing.run else None),
                writing.system,
                writing.batches,
                writing.sampling,
                writing.origin,
                track=lambda batches: self.progress(batches, label="batches"),
            )
            return stored, [f"{slot} stayed empty" for slot in empty]

        return write

    def there(self, writing: Writing, options: dict[str, Any]) -> Write:
        from training.endpoint import Endpoint
        from training.generation import open_slots
        from training.remote_generation import Author, fill_remotely, require_served

        endpoint = Endpoint(
            url=options["endpoint"],
            model=options["model"],
            api_key=settings.GENERATION_API_KEY,
            concurrency=options["concurrency"],
            timeout=options["timeout"],
        )
        author = Author(
            endpoint=endpoint,
            sampling=writing.sampling,
            origin=writing.origin,
            standard_fields=options["standard_fields"],
        )
        require_served(endpoint)

        def write() -> tuple[int, list[str]]:
            slots = open_slots(writing.system, writing.batches)
            stored, failures = fill_remotely(
                author,
                writing.system,
                slots,
                track=lambda outcomes: self.progress(outcomes, total=len(slots), label="responses"),
            )
            return stored, [f"{failure.item}: {failure.reason}" for failure in failures]

        return write

    def report(self, run: Run, system: System, asked: str, *, as_json: bool) -> None:
        if as_json:
            self.write_json({"run": run.name, "system": system.name, **run.metrics})
            return
        self.stdout.write(
            f"{system}: {run.metrics['stored']} responses to {asked}, {run.metrics['there_before']} had been there, "
            f"{run.metrics['missing']} are missing"
        )

    def prompts(self, study: Study, options: dict[str, Any]) -> list[Prompt]:
        for name in ("per_prompt", "batch_size", "limit", "concurrency"):
            if options[name] is not None and options[name] < 1:
                raise InputError(f"--{name.replace('_', '-')} {options[name]}: it must be 1 or more")
        if not options["timeout"] > 0:
            raise InputError(f"--timeout {options['timeout']}: it must be greater than 0")
        prompts = list(study.prompts.filter(split=options["split"]).order_by("pk")[: options["limit"]])
        if not prompts:
            raise InputError(f"study {study.slug} has no {options['split']} prompts: import some first")
        return prompts

    def writing(self, study: Study, prompts: list[Prompt], options: dict[str, Any]) -> Writing:
        from training.generation import Sampling, plan_batches, system_of

        sampling = Sampling(**{key: options[key] for key in SAMPLING})
        run, model = self.author(options)
        kind = SystemKind.API if options["endpoint"] else SystemKind.BASE
        return Writing(
            system=system_of(study, options["system"], run, model, without_run=kind),
            batches=plan_batches(prompts, options["per_prompt"], options["batch_size"]),
            sampling=sampling,
            model=model,
            run=run,
            served_model=options["model"] if options["endpoint"] else None,
        )

    def author(self, options: dict[str, Any]) -> tuple[Run | None, str]:
        """The run whose adapter writes, if any, and the base model."""
        if not options["run"]:
            return None, options["model"] or BASE_MODEL
        if options["model"] and not options["endpoint"]:
            raise InputError("--model goes without --run: an adapter brings its base model")
        run = finished_run(options["run"], *ADAPTER_KINDS)
        if run.is_tainted:
            raise InputError(f"run {run} learned from someone who has withdrawn since: train it anew")
        if options["model"] == run.config["model"]:
            raise InputError(
                f"--model {options['model']} is the base model of {run}: name what its adapter is served as"
            )
        return run, run.config["model"]

    def plan(self, options: dict[str, Any], writing: Writing) -> RunPlan:
        names = ["study", "split", "per_prompt", "limit", *SAMPLING]
        names += ["endpoint", "concurrency", "standard_fields"] if options["endpoint"] else ["batch_size"]
        return RunPlan(
            kind=RunKind.GENERATION,
            config={**writing.origin, **{name: options[name] for name in names}},
            name=options["name"],
            stem=f"generate-{options['system']}",
            parents=[writing.run] if writing.run else [],
            system=writing.system,
        )
