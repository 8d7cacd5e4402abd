"""119,000 rankings to preference data, against bare reading of the same rows.

    OMP_NUM_THREADS=1 python -m benchmarks.export

The paper's size and one prompt more: 2,380 prompts of about 500 characters with 5 responses of about 1,000, ranked by
50 raters. Each export is a process of its own, whose peak memory is the operating system's figure.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS, RESPONSES, RATERS, BATCH = 2380, 5, 50, 20_000
EXPORTS: dict[str, dict[str, Any]] = {
    "weighted_voting": {},
    "borda": {"aggregation": "borda"},
    "plackett_luce": {"aggregation": "plackett_luce"},
    "excluding": {"exclude": ["faster-than=60", "fewer-than=10"]},
}


def build() -> None:
    """A study whose raters share a taste and differ by noise, in the database that ATTUNE_VAR names."""
    from django.core.management import call_command

    from annotation.models import Criterion, Prompt, Rater, RaterKind, Response, Study, System, SystemKind

    call_command("migrate", verbosity=0)
    study = Study.objects.create(slug="full-size", title="Full size")
    Criterion.objects.create(study=study, key="empathy", name="Empathy", question="?", position=1)
    system = System.objects.create(study=study, name="base", kind=SystemKind.BASE)
    post, answer = "I cannot sleep and nobody hears me. " * 14, "That sounds hard; what would help you now? " * 23
    prompts = Prompt.objects.bulk_create(
        [Prompt(study=study, key=f"q{number}", text=f"{number}. {post}") for number in range(PROMPTS)]
    )
    Response.objects.bulk_create(
        Response(prompt=prompt, system=system, number=number, key=f"{prompt.key}-{number}", text=f"{number}. {answer}")
        for prompt in prompts
        for number in range(RESPONSES)
    )
    Rater.objects.bulk_create(
        Rater(study=study, kind=RaterKind.PARTICIPANT, simulated=True, name=f"R{number}") for number in range(RATERS)
    )
    rank()


def rank() -> None:
    """Each rater's ranking of each prompt, stored as rows as `RankingQuerySet.record` does, a batch at a time."""
    from django.utils import timezone

    from annotation.models import Criterion, RankedResponse, Ranking, RankingTask, Rater, Response

    rng = np.random.default_rng(0)
    now, criterion = timezone.now(), Criterion.objects.get()
    opened = now - timedelta(seconds=60)
    raters = list(Rater.objects.order_by("pk").values_list("pk", flat=True))
    responses = Response.objects.order_by("prompt_id", "pk").values_list("prompt_id", "pk")
    of_prompt = np.array(responses).reshape(PROMPTS, RESPONSES, 2)
    taste = rng.normal(size=(PROMPTS, 1, RESPONSES)) + rng.normal(size=(PROMPTS, RATERS, RESPONSES))
    orders = np.take_along_axis(of_prompt[:, None, :, 1], np.argsort(-taste, axis=2), axis=2)
    for start in range(0, PROMPTS, step := BATCH // RATERS):
        chunk = range(start, min(PROMPTS, start + step))
        tasks = RankingTask.objects.bulk_create(
            RankingTask(rater_id=rater, prompt_id=int(of_prompt[index, 0, 0]), position=index + 1)
            for index in chunk
            for rater in raters
        )
        rankings = Ranking.objects.bulk_create(
            Ranking(task=task, criterion=criterion, opened_at=opened, submitted_at=now) for task in tasks
        )
        RankedResponse.objects.bulk_create(
            RankedResponse(ranking=ranking, response_id=int(pk), rank=rank, size=RESPONSES)
            for ranking, order in zip(rankings, orders[chunk.start : chunk.stop].reshape(-1, RESPONSES), strict=True)
            for rank, pk in enumerate(order, start=1)
        )


def measure(name: str, output: Path) -> None:
    from annotation.models import RankedResponse, Study
    from training.datasets import export_preferences

    study = Study.objects.get()
    rows = RankedResponse.objects.order_by("ranking_id", "rank").values_list(
        "ranking_id", "response_id", "rank", "size"
    )
    start = time.perf_counter()
    count = sum(1 for _ in rows.iterator(chunk_size=5000))
    bare = time.perf_counter() - start
    start = time.perf_counter()
    dataset = export_preferences(study, study.criterion("empathy"), output=output, **EXPORTS[name])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(
        f"{name:16} {dataset.rankings:,} rankings: {seconds:5.2f} s (to stay under 10 s), "
        f"{peak:.0f} MB (to stay under 300 MB), {seconds / bare:.1f} x the {bare:.2f} s of reading {count:,} rows"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ATTUNE_VAR": folder, "ATTUNE_DEBUG": "0", "ATTUNE_SECRET_KEY": "benchmark"}
        environment.pop("DATABASE_URL", None)
        for step in ("build", *EXPORTS):
            command = [sys.executable, "-m", "benchmarks.export", "--step", step, folder]
            subprocess.run(command, env=environment, check=True)


def run_step(name: str, folder: Path) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    if name == "build":
        build()
    else:
        measure(name, folder / name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        run_step(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
