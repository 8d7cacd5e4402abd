"""A training step of MODPO against TRL's DPO: with reference log-probabilities computed before, and at every step.

    python -m benchmarks.modpo_step

Four pairs of the demonstration's posts a step, SmolLM2-135M in bfloat16 with LoRA. The three trainers take turns on the
same batches in one process; the memory of a step is taken in a process of its own each. On a CPU most of what MODPO
gains over precomputed references is that the head reads responses alone (`training.policy.score_responses_alone`).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import django

ROUNDS = 6
TRAINERS = ("MODPO", "DPO, references before", "DPO, references each step")


def pairs() -> list[Any]:
    from django.conf import settings

    from training.pairs import PreferencePair

    folder = Path(settings.BASE_DIR) / "fixtures" / "demo"
    posts = [
        post
        for name in ("posts_a", "posts_b")
        for post in tomllib.loads((folder / f"{name}.toml").read_text())["posts"]
    ]
    return [
        PreferencePair(
            prompt_id=str(number),
            prompt=post["text"],
            chosen_id=f"{number}-1",
            chosen=post["responses"][0]["text"],
            rejected_id=f"{number}-2",
            rejected=post["responses"][1]["text"],
        )
        for number, post in enumerate(posts[: 4 * ROUNDS])
    ]


def build(name: str, folder: Path) -> Any:
    """The trainer of that name."""
    from trl.trainer.dpo_trainer import DPOTrainer

    from training.base_models import resolve_model
    from training.language_models import load_tokenizer
    from training.modpo import Shift, Weights
    from training.policy import Workplace, load_base, lora
    from training.preference import PreferenceTask
    from training.recipes import PolicyRecipe
    from training.reference_cache import ReferenceCache

    recipe = PolicyRecipe(epochs=1)
    source = resolve_model(recipe.model)
    task = PreferenceTask(
        source=source,
        recipe=recipe,
        weights=Weights(primary="empathy", values={"empathy": 0.5, "safety": 0.5}),
        pairs=pairs(),
        shifts=[Shift(1.0, -1.0)] * len(pairs()),
        held_out=[],
        held_out_shifts=[],
    )
    trainer, _ = task.build(Workplace(folder=folder, cache=ReferenceCache(folder / "logps")))
    if name == "MODPO":
        return trainer
    rows = trainer.train_dataset.select_columns(["prompt", "chosen", "rejected"])
    return DPOTrainer(
        model=load_base(source, recipe),
        args=replace(trainer.args, precompute_ref_log_probs=name.endswith("before"), output_dir=str(folder / "stock")),
        train_dataset=rows,
        processing_class=load_tokenizer(source),
        peft_config=lora(recipe),
    )


def batches(trainer: Any) -> list[dict[str, Any]]:
    rows = list(trainer.train_dataset)
    return [trainer.data_collator(rows[start : start + 4]) for start in range(0, len(rows), 4)]


def step(trainer: Any, batch: dict[str, Any]) -> float:
    """Seconds of a forward and backward pass."""
    trainer.model.train()
    start = time.perf_counter()
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    seconds = time.perf_counter() - start
    trainer.model.zero_grad()
    return seconds


def peak_memory(name: str) -> None:
    """Print the GiB that a step of this trainer adds to the process at most."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(name, Path(folder))
        longest = max(batches(trainer), key=lambda batch: batch["input_ids"].numel())
        # Building takes memory too: the peak starts again from here. (On Linux alone; the figure of getrusage would be
        # the parent's where that is greater.)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        step(trainer, longest)
        print((memory("VmHWM") - before) / 2**20)


def memory(name: str) -> int:
    """KiB of this process: in memory now (VmRSS), or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def compare() -> None:
    from training.progress import quiet_libraries

    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        trainers = [build(name, Path(folder) / str(index)) for index, name in enumerate(TRAINERS)]
        data = [batches(trainer) for trainer in trainers]
        for trainer, own in zip(trainers, data, strict=True):
            step(trainer, own[0])
        times: list[list[float]] = [[] for _ in trainers]
        for number in range(ROUNDS):
            # Whoever comes first changes, so that a slow moment of the machine is nobody's.
            for index in (0, 1, 2)[number % 3 :] + (0, 1, 2)[: number % 3]:
                times[index].append(step(trainers[index], data[index][number]))
    for name, seconds in zip(TRAINERS, times, strict=True):
        print(f"{name:<28} {statistics.median(seconds):6.2f} s a step")
    ratios = [
        statistics.median(ours / theirs for ours, theirs in zip(times[0], other, strict=True)) for other in times[1:]
    ]
    print(f"MODPO / DPO, references before:    {ratios[0]:.2f} (to stay at 1.02 or below)")
    print(f"MODPO / DPO, references each step: {ratios[1]:.2f} (to stay at 0.75 or below)")
    for name in TRAINERS:
        command = [sys.executable, "-m", "benchmarks.modpo_step", "--memory", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{name:<28} {float(done.stdout.split()[-1]):6.2f} GiB more at the peak of a step")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", choices=TRAINERS)
    chosen = parser.parse_args().memory
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("ATTUNE_DEBUG", "1")
    django.setup()
    peak_memory(chosen) if chosen else compare()
