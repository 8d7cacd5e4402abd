"""Who judges what, in which order, and which response stands on the left: drawn by seed, balanced, stored once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
# A tuple draws apart from its first number alone, such as (study's seed, batch).
Seed = int | tuple[int, ...]
# Tries an item at evening out what raters share.
EXCHANGES = 30


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
    """Which raters judge which item: exactly `per_item` an item, loads differing by at most 1, and every two raters
    sharing nearly as many items as any other two: a balanced incomplete block design as far as the numbers allow.

    Shape: (n_items, n_raters). Cells of `taken` were given out earlier: they stay, count towards `per_item`, the load
    and what raters share, and an item that has more keeps them.

    Raises:
        InputError: `per_item` is not between 1 and the number of raters.
    """
    if not 1 <= per_item <= n_raters:
        raise InputError(
            f"{per_item} raters a comparison is not possible: choose 1 to {n_raters}, the raters there are"
        )
    rng = np.random.default_rng(seed)
    taken = np.zeros((n_items, n_raters), dtype=bool) if taken is None else taken
    chosen = taken.copy()
    load = chosen.sum(axis=0)
    for item in rng.permutation(n_items):
        # The least loaded first, ties by lot; whoever has the item already comes last.
        order = np.lexsort((rng.random(n_raters), load, chosen[item]))
        new = order[: max(0, per_item - int(chosen[item].sum()))]
        chosen[item, new] = True
        load[new] += 1
    if n_raters > 1:
        even_out(chosen, taken, rng)
    return chosen


def even_out(chosen: BoolArray, fixed: BoolArray, rng: np.random.Generator) -> None:
    """Let raters of two items change places, in place, until any two raters share as many items as any other two, give
    or take one, or until many tries have brought them as near as they get. Loads stay as they are, and `fixed` cells.

    Shape of both: (items, raters)
    """
    shared = shared_items(chosen)
    others = ~np.eye(len(shared), dtype=bool)
    for one, other in rng.integers(len(chosen), size=(EXCHANGES * len(chosen), 2)):
        if np.ptp(shared[others]) <= 1:
            return
        going = np.flatnonzero(chosen[one] & ~chosen[other] & ~fixed[one])
        coming = np.flatnonzero(chosen[other] & ~chosen[one] & ~fixed[other])
        if not (going.size and coming.size):
            continue
        a, b = rng.choice(going), rng.choice(coming)
        # What a gains on every other rater, and b loses.
        gain = chosen[other].astype(np.int64) - chosen[one]
        gain[[a, b]] = 0
        # The sum of squares of the shared numbers must not grow.
        if (gain * (shared[a] - shared[b] + gain)).sum() <= 0:
            chosen[one, [a, b]], chosen[other, [a, b]] = (False, True), (True, False)
            shared[a] += gain
            shared[b] -= gain
            shared[:, a], shared[:, b] = shared[a], shared[b]


def shared_items(overlap: BoolArray) -> IntArray:
    """How many items each two raters share; the diagonal is 0. Shape: (n_raters, n_raters)"""
    given = overlap.astype(np.int64)
    return np.asarray(given.T @ given * ~np.eye(given.shape[1], dtype=bool))


def place_repeats(items: Sequence[int], repeats: int, seed: Seed) -> list[tuple[int, int]]:
    """A rater's session as (item, presentation): the items in their order, and `repeats` of them a second time.

    A repeated item comes first in the first third of the session and again in the last one, so that more than a
    third of the session lies between; which ones, and in which order they return, is drawn.

    Raises:
        InputError: more than half of the items would be repeated.
    """
    third = (len(items) + repeats) // 3
    if repeats > third:
        raise InputError(f"{repeats} repeated pairs do not fit a session of {len(items)}: choose at most half of it")
    rng = np.random.default_rng(seed)
    length = len(items) + repeats
    # As no second sight is in the first third, the first items stand there.
    places = length - 1 - rng.permutation(third)[:repeats]
    again = dict(zip(places.tolist(), rng.permutation(third)[:repeats].tolist(), strict=True))
    firsts = iter(items)
    return [(items[again[place]], 2) if place in again else (next(firsts), 1) for place in range(length)]


def redraw_orders(first: BoolArray, seed: Seed) -> BoolArray:
    """Whether the item's first response stands on the left at a rater's second sight. Shape: as `first`, (n_items,)

    Left and right differ by at most 1, and half of the items, give or take one, have changed sides.
    """
    rng = np.random.default_rng(seed)
    # Alternating along those that were left and then those that were right halves both.
    order = np.lexsort((rng.random(first.size), first))
    second = np.empty_like(first)
    second[order] = (np.arange(first.size) + rng.integers(2)) % 2 == 0
    return second
