from typing import Any

from django.core.management.base import CommandParser

from annotation.command import StudyCommand
from annotation.errors import InputError
from annotation.models import Prompt, Split, Study, System
from training.models import ADAPTER_KINDS, Run, RunKind
from training.runs import RunPlan, finished_run, recorded_run

BASE_MODEL = "smollm2-135m-instruct"


class Command(StudyCommand):
    help = "Let a base model, or the adapter of a run, respond to a study's prompts. Goes on where it was stopped."
    examples = """\
  manage.py generate_responses --study demo --system base --split test --per-prompt 1
  manage.py generate_responses --study demo --system modpo --run demo-modpo --split test --per-prompt 1
  manage.py generate_responses --study mine --system base --split train --per-prompt 5 --limit 20"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--study", required=True)
        parser.add_argument("--system", required=True, help="name of the system that the responses are by")
        parser.add_argument("--run", help="run whose adapter writes (default: the base model)")
        parser.add_argument("--model", help=f"base model, without --run (default: {BASE_MODEL})")
        parser.add_argument("--split", required=True, choices=Split.values, help="prompts to respond to")
        parser.add_argument("--per-prompt", type=int, required=True, metavar="N")
        parser.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
        parser.add_argument("--temperature", type=float, default=0.8)
        parser.add_argument("--top-p", type=float, default=0.95)
        parser.add_argument("--max-new-tokens", type=int, default=512)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--batch-size", type=int, default=32)
        parser.add_argument("--name", default="", help="name of the run")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from training.base_models import resolve_model
        from training.generation import Generator, Sampling, fill, plan_batches, system_of

        sampling = Sampling(**{key: options[key] for key in ("temperature", "top_p", "max_new_tokens", "seed")})
        study = self.study(options["study"])
        study.require_unlocked()
        prompts = self.prompts(study, options)
        parent, model = self.origin(options)
        source = resolve_model(model)
        system = system_of(study, options["system"], parent, model)
        batches = plan_batches(prompts, options["per_prompt"], options["batch_size"])
        origin = {"model": model, "run": parent.name if parent else None}
        with recorded_run(self.plan(options, origin, parent, system)) as run:
            generator = Generator(source, parent.folder if parent else None)
            stored, empty = fill(
                generator,
                system,
                batches,
                sampling,
                origin,
                track=lambda batches: self.progress(batches, label="batches"),
            )
            wanted = sum(map(len, batches))
            run.metrics.update(stored=stored, there_before=wanted - stored - len(empty), empty=len(empty))
        for slot in empty:
            self.say(f"prompt {slot.prompt.key}: response {slot.number} stayed empty and was not stored")
        if options["json"]:
            self.write_json({"run": run.row.name, "system": system.name, **run.metrics})
            return
        self.stdout.write(
            f"{system.name}: {stored} responses to {len(prompts)} {options['split']} prompts, "
            f"{run.metrics['there_before']} had been there, {len(empty)} stayed empty"
        )

    def prompts(self, study: Study, options: dict[str, Any]) -> list[Prompt]:
        for name in ("per_prompt", "batch_size", "limit"):
            if options[name] is not None and options[name] < 1:
                raise InputError(f"--{name.replace('_', '-')} {options[name]}: it must be 1 or more")
        prompts = list(study.prompts.filter(split=options["split"]).order_by("pk")[: options["limit"]])
        if not prompts:
            raise InputError(f"study {study.slug} has no {options['split']} prompts: import some first")
        return prompts

    def origin(self, options: dict[str, Any]) -> tuple[Run | None, str]:
        """The run whose adapter writes, if any, and the base model."""
        if not options["run"]:
            return None, options["model"] or BASE_MODEL
        if options["model"]:
            raise InputError("--model goes without --run: an adapter brings its base model")
        run = finished_run(options["run"], *ADAPTER_KINDS)
        if run.is_tainted:
            raise InputError(f"run {run} learned from someone who has withdrawn since: train it anew")
        return run, run.config["model"]

    def plan(self, options: dict[str, Any], origin: dict[str, Any], parent: Run | None, system: System) -> RunPlan:
        names = ("split", "per_prompt", "limit", "temperature", "top_p", "max_new_tokens", "seed", "batch_size")
        return RunPlan(
            kind=RunKind.GENERATION,
            config={**origin, "study": options["study"], **{name: options[name] for name in names}},
            name=options["name"],
            stem=f"generate-{options['system']}",
            parents=[parent] if parent else [],
            system=system,
        )
