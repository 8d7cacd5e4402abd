"""Which prompts teach and which test: the authors' filter and split, and splits by shares."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from annotation.errors import InputError
from annotation.sampling import largest_remainder

SHORTEST, LONGEST, FEWEST_WORDS = 10, 2000, 3


def passes_filter(text: str) -> bool:
    """Whether a post is of usable length: 10 to 2,000 characters and at least 3 words, as in the paper."""
    return SHORTEST <= len(text) <= LONGEST and len(text.split()) >= FEWEST_WORDS


def split_by_length(
    texts: Sequence[str], test_size: int | float, seed: int, *, option: str = "--test-size"
) -> tuple[list[int], list[int]]:
    """Indices of the train and of the test prompts in the order drawn, stratified by quartiles of length.

    The draw is that of `train_test_split(df, test_size=..., random_state=seed, stratify=qcut(length, 4))`,
    so the published split comes out row for row.

    Args:
        test_size: a number of prompts, or a share of them below 1; 0 keeps every prompt, in order, for training.
        option: what gave the size, for the message.

    Raises:
        InputError: there are too few prompts, or too many of one length, to draw so many.
    """
    if test_size == 0:
        return list(range(len(texts))), []
    try:
        quartiles = pd.qcut(np.array([len(text) for text in texts]), 4, labels=False)
        train, test = train_test_split(
            np.arange(len(texts)), test_size=test_size, random_state=seed, stratify=quartiles
        )
    except ValueError as error:
        raise InputError(
            f"{option} {test_size}: cannot be drawn from {len(texts)} prompts in quartiles of length: "
            "give a smaller size, or 0 to keep all for training"
        ) from error
    return train.tolist(), test.tolist()


def split_by_shares(strata: Sequence[object], shares: Mapping[str, float], seed: int) -> list[str]:
    """The split of each item: sizes in proportion to the shares, and likewise within each stratum.

    Items are shuffled within their stratum and the strata laid end to end; along that line each split's
    places are spread evenly, so any stretch of it holds the splits in proportion.

    Args:
        strata: the stratum of each item.
        shares: name of a split -> its share; they need not sum to 1.

    Raises:
        InputError: a share is negative or all are 0.
    """
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise InputError("splits: the shares must be 0 or more, and not all 0")
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    line = sorted(shuffled.tolist(), key=lambda item: str(strata[item]))
    sizes = largest_remainder(len(strata), {name: share / total for name, share in shares.items()})
    places = sorted(((place + 0.5) / size, name) for name, size in sizes.items() for place in range(size))
    splits = dict(zip(line, (name for _, name in places), strict=True))
    return [splits[item] for item in range(len(strata))]
