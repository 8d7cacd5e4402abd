"""Every statistic of a full study with 2,000 resamples, against one statistic in a plain loop over krippendorff.alpha.

    OMP_NUM_THREADS=1 python -m benchmarks.agreement

100 items, 6 raters and a judge, 7 criteria. The loop's time is taken from 100 of its resamples.
"""

import time

import krippendorff
import numpy as np
import pandas as pd

from evaluation.agreement import agreement

ITEMS, RATERS, CRITERIA, DRAWS, LOOPED = 100, 6, 7, 2000, 100
LABELS = ("B", "tie", "A")


def ratings() -> np.ndarray:
    """Codes with some agreement. Shape: (criteria, items, raters and the judge)"""
    rng = np.random.default_rng(0)
    shape = (CRITERIA, ITEMS, RATERS + 1)
    truth = rng.choice(3, p=[0.25, 0.15, 0.6], size=shape[:2])[:, :, None]
    return np.where(rng.random(shape) < 0.5, rng.integers(0, 3, shape), truth)


def frame_of(codes: np.ndarray) -> pd.DataFrame:
    rows = [
        (item, f"R{rater}", f"c{criterion}", LABELS[code], "judge" if rater == RATERS else "human")
        for (criterion, item, rater), code in np.ndenumerate(codes)
    ]
    return pd.DataFrame(rows, columns=["item", "rater", "criterion", "label", "rater_kind"])


def main() -> None:
    codes = ratings()
    frame = frame_of(codes)
    start = time.perf_counter()
    agreement(frame, level="ordinal", order=LABELS, bootstrap=DRAWS)
    ours = time.perf_counter() - start
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    for _ in range(LOOPED):
        drawn = codes[0][rng.integers(0, ITEMS, ITEMS), :RATERS]
        krippendorff.alpha(drawn.T, level_of_measurement="ordinal", value_domain=[0, 1, 2])
    loop = (time.perf_counter() - start) * DRAWS / LOOPED * CRITERIA
    print(f"all statistics, {CRITERIA} criteria and pooled, {DRAWS} resamples: {ours:.2f} s (to stay under 3 s)")
    print(f"krippendorff.alpha alone in a loop, {CRITERIA} criteria:            {loop:.2f} s ({loop / ours:.0f} x)")


if __name__ == "__main__":
    main()
