"""Who judges what, in which order, and which response stands on the left: drawn by seed, balanced, stored once."""

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
# A tuple draws apart from its first number alone, such as (study's seed, batch).
Seed = int | tuple[int, ...]


def draw_orders(n_items: int, n_raters: int, seed: Seed, *, overlap: BoolArray | None = None) -> BoolArray:
    """Whether the item's first response stands on the left for the rater. Shape: (n_items, n_raters)

    Left and right differ by at most 1 within each rater and within each item, counted over the cells that `overlap`
    holds (all of them by default; the others stay False).

    The design is a bipartite graph of items and raters. With every degree made even by one dummy item and one dummy
    rater, random closed trails use up its edges; left on the way to a rater, right on the way back, splits every
    degree in half (Euler). Raters thus get patterns of their own instead of one pattern and its mirror.
    """
    rng = np.random.default_rng(seed)
    unused = np.zeros((n_items + 1, n_raters + 1), dtype=bool)
    unused[:-1, :-1] = True if overlap is None else overlap
    design = unused[:-1, :-1].copy()
    unused[:-1, -1] = design.sum(axis=1) % 2 == 1
    unused[-1] = unused.sum(axis=0) % 2 == 1
    left = np.zeros_like(unused)
    for start in rng.permutation(n_items + 1):
        item = start
        while (open_raters := np.flatnonzero(unused[item])).size:
            rater = rng.choice(open_raters)
            unused[item, rater], left[item, rater] = False, True
            item = rng.choice(np.flatnonzero(unused[:, rater]))
            unused[item, rater] = False
    # Trails begin with left, so where a count is odd a coin decides which side has one more.
    drawn: BoolArray = (left[:-1, :-1] ^ (rng.random() < 0.5)) & design
    return drawn


def draw_sequences(n_items: int, n_raters: int, seed: Seed) -> IntArray:
    """Each rater's own random order of the items, as item numbers from 0. Shape: (n_raters, n_items)"""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n_items), (n_raters, 1)), axis=1)


def draw_overlap(
    n_items: int, n_raters: int, per_item: int, seed: Seed, *, taken: BoolArray | None = None
) -> BoolArray:
    """Which raters judge which item: exactly `per_item` an item, loads differing by at most 1.

    Shape: (n_items, n_raters). Cells of `taken` were given out earlier: they stay, count towards `per_item` and the
    load, and an item that has more keeps them.

    Raises:
        InputError: `per_item` is not between 1 and the number of raters.
    """
    if not 1 <= per_item <= n_raters:
        raise InputError(
            f"{per_item} raters a comparison is not possible: choose 1 to {n_raters}, the raters there are"
        )
    rng = np.random.default_rng(seed)
    chosen = np.zeros((n_items, n_raters), dtype=bool) if taken is None else taken.copy()
    load = chosen.sum(axis=0)
    for item in rng.permutation(n_items):
        # The least loaded first, ties by lot; whoever has the item already comes last.
        order = np.lexsort((rng.random(n_raters), load, chosen[item]))
        new = order[: max(0, per_item - int(chosen[item].sum()))]
        chosen[item, new] = True
        load[new] += 1
    return chosen
