"""A sweep over five weights against five runs of train_modpo that share nothing.

    OMP_NUM_THREADS=2 python -m benchmarks.sweep

12 prompts of the demonstration, SmolLM2-135M, one pass. Every command is a process of its own on its own copy of the
database, without stored rewards or cached references. The sweep comes first, so that it is the one that finds the disk
cold. Processor time is told too: on a machine that others use it is the fairer of the two.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
PROMPTS, WEIGHTS = 12, (0.9, 0.7, 0.5, 0.3, 0.1)
RECIPE = ("--epochs", "1")


def prepare() -> None:
    """The demonstration study with a few prompts, simulated rankings and a reward model of safety."""
    from django.core.management import call_command

    from annotation.models import Split, Study

    demo = str(ROOT / "fixtures" / "demo")
    call_command("migrate", verbosity=0)
    call_command("load_study", demo, "--open")
    call_command("simulate_participants", demo, "--study", "demo")
    study = Study.objects.get(slug="demo")
    kept = study.prompts.filter(split=Split.TRAIN).values_list("pk", flat=True)[:PROMPTS]
    study.prompts.exclude(pk__in=list(kept)).update(split=Split.TEST)
    call_command("train_reward_model", "--study", "demo", "--criterion", "safety", "--name", "reward-safety")


def seconds(var: Path, *command: str) -> np.ndarray:
    """Of a command from start to end of its process: on the clock, and of the processor. Shape: (2,)"""
    environment = {
        "ATTUNE_MODELS": str(ROOT / "var" / "models"),
        "ATTUNE_SECRET_KEY": "benchmark",
        "HF_HUB_OFFLINE": "1",
        **os.environ,
        "ATTUNE_DEBUG": "0",
        "ATTUNE_VAR": str(var),
    }
    environment.pop("DATABASE_URL", None)
    start = clocks()
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    spent: np.ndarray = clocks() - start
    return spent


def clocks() -> np.ndarray:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        seconds(prepared, "-m", "benchmarks.sweep", "--prepare")

        def measure(name: str, command: str, *options: str) -> np.ndarray:
            var = Path(shutil.copytree(prepared, Path(folder) / name))
            whole = ("--study", "demo", "--primary", "empathy", "--name", name, *options, *RECIPE)
            return seconds(var, "manage.py", command, *whole)

        points = ",".join(map(str, WEIGHTS))
        sweep = measure("sweep", "sweep_modpo", "--criterion", "safety", "--weights", points, "--no-evaluation")
        apart = np.zeros(2)
        for weight in WEIGHTS:
            both = ("--weight", f"empathy={weight}", "--weight", f"safety={round(1 - weight, 10)}")
            apart += measure(f"run-{weight}", "train_modpo", *both)
    for name, one, five in zip(("clock", "processor"), sweep, apart, strict=True):
        print(f"{name:9} five runs {five:6.1f} s, one sweep {one:6.1f} s: ratio {one / five:.2f} (to stay under 0.75)")


if __name__ == "__main__":
    if sys.argv[1:] == ["--prepare"]:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        django.setup()
        prepare()
    else:
        main()
