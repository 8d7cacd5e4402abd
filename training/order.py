"""The order in which rows are trained on, fixed before training starts.

A fixed order makes a resumed run see what an uninterrupted one would have seen, and two processes what one would.
"""

import random
from collections.abc import Sequence

# Batches that are sorted by length together: enough that rows of a batch are alike, few enough that passes differ.
BLOCK = 50


def training_order(
    lengths: Sequence[int], *, epochs: float, batch_size: int, seed: int, weights: Sequence[float] | None = None
) -> list[int]:
    """Row numbers for all passes: each pass shuffled, rows of like length in the same batch.

    Args:
        lengths: of each row, in tokens. Shape: (rows,)
        epochs: passes over the rows; a part of a pass stops early.
        batch_size: rows an update. What does not fill a batch at the end of a pass goes into the next one.
        weights: a row comes as often as its weight is to the mean; once a pass where they are all alike.
    """
    draw = random.Random(seed)  # noqa: S311 - a reproducible order, no secret
    total = max(1, round(epochs * len(lengths)))
    order: list[int] = []
    waiting: list[int] = []
    while len(order) + len(waiting) < total:
        rows = draw.sample(range(len(lengths)), len(lengths))
        if weights is not None and len(set(weights)) > 1:
            rows = _by_weight(rows, weights, draw.random())
        batches = _batches(waiting + rows, lengths, batch_size)
        waiting = batches.pop() if len(batches[-1]) < batch_size else []
        draw.shuffle(batches)
        order += [row for batch in batches for row in batch]
    return (order + waiting)[:total]


def _by_weight(rows: list[int], weights: Sequence[float], start: float) -> list[int]:
    """As many rows, each by its weight: systematic sampling (Madow & Madow 1944), with no more chance than it needs."""
    unit = sum(weights) / len(rows)
    drawn: list[int] = []
    end = 0.0
    for row in rows:
        end += weights[row] / unit
        while start + len(drawn) < end and len(drawn) < len(rows):
            drawn.append(row)
    return drawn


def _batches(rows: list[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of like length; the rows that fill none make the last."""
    size = BLOCK * batch_size
    full = len(rows) - len(rows) % batch_size
    blocks = [sorted(rows[start : min(start + size, full)], key=lengths.__getitem__) for start in range(0, full, size)]
    ordered = [row for block in blocks for row in block] + rows[full:]
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
