"""Soups: the adapters of runs or folders merged into one, and the run that records it. Imports torch only to merge."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.errors import InputError
from annotation.models import Rater
from training.models import ADAPTER_KINDS, Run, RunKind, RunStatus
from training.runs import RunPlan, finished_run, recorded_run

METHODS = {
    "cat": "the weighted sum of the deltas BA, exact: ranks add up",
    "svd": "of all deltas of a rank the closest to the weighted sum of the deltas BA",
    "slerp": "a point on the arc between the deltas BA of two adapters, module by module",
}


@dataclass(frozen=True, kw_only=True)
class Soup:
    """What is merged, and how. `weights` are by name of a run or path of a folder; `config` tells why these."""

    weights: Mapping[str, float]
    method: str = "cat"
    rank: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    rater: Rater | None = None
    name: str = ""
    output: Path | None = None

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if weight < 0:
                raise InputError(f"--adapter {name}={weight:g}: a weight must be 0 or greater")
        if not math.isclose(total := sum(self.weights.values()), 1, abs_tol=1e-6):
            raise InputError(f"--adapter: the weights sum to {total:g}: they must sum to 1, as a soup is a mean")


@dataclass(frozen=True)
class Ingredient:
    """An adapter, and the run that made it where this site knows one."""

    name: str
    folder: Path
    run: Run | None


def cook(soup: Soup) -> Run:
    """The finished run whose folder holds the merged adapter.

    Raises:
        InputError: an adapter is not there, damaged or tainted, they do not go together, or the name is taken.
    """
    from training.adapters import WEIGHTS, merge, read_adapter, write_adapter

    ingredients = [ingredient(name) for name in soup.weights]
    if len({one.folder.resolve() for one in ingredients}) < len(ingredients):
        raise InputError("--adapter: the same adapter comes twice, give it once with the sum of its weights")
    adapters = [read_adapter(one.folder, one.name) for one in ingredients]
    merged = merge(adapters, list(soup.weights.values()), method=soup.method, rank=soup.rank)
    first = ingredients[0].run
    plan = RunPlan(
        kind=RunKind.MERGE,
        config={
            "model": first.config["model"] if first else adapters[0].base,
            "adapters": dict(soup.weights),
            "method": soup.method,
            "rank": soup.rank,
            "combines": METHODS[soup.method],
            **soup.config,
        },
        name=soup.name,
        output=soup.output,
        files=[one.folder / WEIGHTS for one in ingredients if one.run is None],
        parents=[one.run for one in ingredients if one.run],
        rater=soup.rater,
    )
    with recorded_run(plan) as run:
        write_adapter(merged, run.folder, tokenizer_of=ingredients[0].folder)
        run.metrics.update(merged.metrics)
    return run.row


def ingredient(name: str) -> Ingredient:
    """The adapter of the run of that name, or in that folder. A run's folder stands for the run.

    Raises:
        InputError: there is neither, or the run goes back to someone who has withdrawn since.
    """
    folder = Path(name)
    if Run.objects.filter(name=name).exists() or not folder.is_dir():
        run: Run | None = finished_run(name, *ADAPTER_KINDS)
    else:
        run = _run_at(folder.resolve())
    if run and run.is_tainted:
        raise InputError(f"run {run} goes back to someone who has withdrawn since: train it anew")
    return Ingredient(name, run.folder if run else folder, run)


def _run_at(folder: Path) -> Run | None:
    var = Path(settings.VAR_DIR).resolve()
    path = folder.relative_to(var) if folder.is_relative_to(var) else folder
    return Run.objects.filter(path=str(path), kind__in=ADAPTER_KINDS, status=RunStatus.DONE).first()


def add_merge_arguments(parser: argparse.ArgumentParser, methods: Sequence[str]) -> None:
    described = "; ".join(f"{name}: {METHODS[name]}" for name in methods if name in METHODS)
    parser.add_argument("--method", choices=methods, default="cat", help=f"{described} (default: cat)")
    parser.add_argument(
        "--rank", type=int, metavar="R", help="cut to this rank (default: svd keeps the largest, the others the sum)"
    )


def result_line(run: Run) -> str:
    shares = " + ".join(f"{weight:.3g} x {name}" for name, weight in run.config["adapters"].items())
    line = f"{run.name}: {shares} by {run.config['method']}, rank {run.metrics['rank']}"
    if "relative_error" in run.metrics:
        worst = f"at worst {run.metrics['worst_relative_error']:.2g}, in {run.metrics['worst_module']}"
        line += f", off by {run.metrics['relative_error']:.2g} of the sum's norm ({worst})"
    return f"{line}; {run.folder}"
