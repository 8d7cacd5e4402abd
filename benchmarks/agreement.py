"""Agreement of a full study with 2,000 resamples against krippendorff.alpha in a loop, and of a million ratings.

    OMP_NUM_THREADS=1 python -m benchmarks.agreement

The study has 100 items, 6 raters and a judge, 7 criteria. Seconds are those of the CPU, of one core, the least of
several tries taken by turns; the loop's are those of 200 of its resamples, scaled up. The million ratings are 10,000
items x 20 raters x 5 criteria, in a process of its own, whose peak memory is the operating system's figure.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import krippendorff
import numpy as np
import pandas as pd

from evaluation.agreement import agreement
from evaluation.bootstrap import cluster_weights, one_block, summarise
from evaluation.coefficients import Sums, alpha, features

ITEMS, RATERS, CRITERIA, DRAWS, LOOPED, TRIES = 100, 6, 7, 2000, 200, 9
LABELS = ("B", "tie", "A")
LARGE = (5, 10_000, 20)


def ratings(criteria: int, items: int, raters: int) -> np.ndarray:
    """Codes with some agreement. Shape: (criteria, items, raters)"""
    rng = np.random.default_rng(0)
    shape = (criteria, items, raters)
    truth = rng.choice(3, p=[0.25, 0.15, 0.6], size=shape[:2])[:, :, None]
    return np.where(rng.random(shape) < 0.5, rng.integers(0, 3, shape), truth)


def frame_of(codes: np.ndarray, judge: int) -> pd.DataFrame:
    """In long form; the rater of that number is a judge."""
    criterion, item, rater = (axis.ravel() for axis in np.indices(codes.shape))
    names = [f"R{number}" for number in range(codes.shape[2])]
    kinds = ["judge" if number == judge else "human" for number in range(codes.shape[2])]
    return pd.DataFrame(
        {
            "item": item,
            "rater": pd.Categorical.from_codes(rater, pd.Index(names)),
            "criterion": pd.Categorical.from_codes(criterion, pd.Index([f"c{number}" for number in range(len(codes))])),
            "label": pd.Categorical.from_codes(codes.ravel(), pd.Index(LABELS)),
            "rater_kind": np.array(kinds)[rater],
        }
    )


def loop(codes: np.ndarray, level: Literal["ordinal", "nominal"]) -> None:
    """`LOOPED` resamples of the items: alpha of each criterion and of all pooled, one call after another."""
    rng = np.random.default_rng(1)
    for _ in range(LOOPED):
        drawn = codes[:, rng.integers(0, ITEMS, ITEMS)]
        for data in (*drawn, drawn.reshape(-1, RATERS)):
            krippendorff.alpha(data.T, level_of_measurement=level)


def own_alphas(codes: np.ndarray, level: str) -> None:
    """The same with our function: a value and an interval of each criterion and of all pooled."""
    counts = (codes[:, None] == np.arange(3)[:, None, None]).sum(axis=3).astype(np.float64)
    of_items = [features(own) for own in counts]
    for weights in cluster_weights(ITEMS, DRAWS, 0):
        for own in (*of_items, sum(of_items)):
            values = alpha(Sums.of(own @ weights.T, len(LABELS)), level)
            summarise(values, n=ITEMS, clusters=ITEMS, reason="")


def cpu_seconds(*tasks: Callable[[], Any]) -> list[float]:
    """The least that each took, the tasks taking turns so that a busy machine slows all alike."""
    tries = []
    for _ in range(TRIES):
        marks = [time.process_time()]
        for task in tasks:
            one_block.cache_clear()
            task()
            marks.append(time.process_time())
        tries.append(np.diff(marks))
    return [float(seconds) for seconds in np.min(tries, axis=0)]


def study() -> None:
    codes = ratings(CRITERIA, ITEMS, RATERS + 1)
    frame, people = frame_of(codes, judge=RATERS), codes[:, :, :RATERS]
    everything, alphas, ordinal, nominal = cpu_seconds(
        lambda: agreement(frame, level="ordinal", order=LABELS, bootstrap=DRAWS),
        lambda: own_alphas(people, "ordinal"),
        lambda: loop(people, "ordinal"),
        lambda: loop(people, "nominal"),
    )
    ordinal, nominal = ordinal * DRAWS / LOOPED, nominal * DRAWS / LOOPED
    print(f"{ITEMS} items x {RATERS} raters and a judge, {CRITERIA} criteria, pooled, {DRAWS} resamples; CPU seconds:")
    print(f"  a  krippendorff.alpha in a loop, ordinal      {ordinal:6.3f}")
    print(f"  b  krippendorff.alpha in a loop, nominal      {nominal:6.3f}")
    print(f"  c  our ordinal alpha alone, with intervals    {alphas:6.3f}")
    print(f"  d  everything agreement says, both alphas too {everything:6.3f}  (to stay under 3 s)")
    print(f"  like for like, alpha against alpha:     a / c       {ordinal / alphas:4.0f} x")
    print(f"  one alpha's loop against everything:    a / d       {ordinal / everything:4.0f} x")
    print(f"  both alphas' loops against everything: (a + b) / d  {(ordinal + nominal) / everything:4.0f} x")


def million() -> None:
    frame = frame_of(ratings(*LARGE), judge=-1)
    start, wall = time.process_time(), time.perf_counter()
    agreement(frame, level="ordinal", order=LABELS, bootstrap=DRAWS)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(frame):,} ratings ({LARGE[1]:,} items x {LARGE[2]} raters x {LARGE[0]} criteria), all statistics:")
    print(f"  {seconds:.1f} s of CPU, {wall:.1f} s on the clock (to stay under 60 s), peak {peak:,.0f} MB (under 1 GB)")


if __name__ == "__main__":
    if sys.argv[1:] == ["million"]:
        million()
    else:
        study()
        subprocess.run([sys.executable, "-m", "benchmarks.agreement", "million"], check=True)
