"""Who judges what, in which order, and which response stands on the left: drawn by seed, balanced, stored once."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
# A tuple draws apart from its first number alone, such as (study's seed, batch).
Seed = int | tuple[int, ...]
# Tries an item at evening out what raters share.
EXCHANGES = 30


def draw_orders(
    n_items: int, n_raters: int, seed: Seed, *, overlap: BoolArray | None = None, groups: IntArray | None = None
) -> BoolArray:
    """Whether the item's first response stands on the left for the rater. Shape: (n_items, n_raters)

    Left and right differ by at most 1 within each rater, within each rater's items of one group, within each item and
    within each group, counted over the cells that `overlap` holds (all of them by default; the others stay False).
    `groups` numbers the pair of systems of each item from 0; all are of one by default.

    The design is a bipartite graph of items and raters, a rater being one node a group. With every degree made even by
    dummy items and a dummy rater, random closed trails use up its edges; left on the way to a rater, right on the way
    back, splits every degree in half (Euler). Raters thus get patterns of their own instead of one pattern and its
    mirror.
    """
    rng = np.random.default_rng(seed)
    design = np.ones((n_items, n_raters), dtype=bool) if overlap is None else overlap
    groups = np.zeros(n_items, dtype=np.int64) if groups is None else groups
    in_group = groups[:, None] == np.arange(groups.max(initial=0) + 1)
    # The dummy rater is given the items that have an odd number of raters.
    parts = np.column_stack([design, design.sum(axis=1) % 2 == 1])[:, :, None] & in_group[:, None]
    odd = parts.sum(axis=0) % 2 == 1
    # A dummy item of each rater's own evens out, two and two, the groups of which the rater has an odd number of items;
    # one that is left over goes to the last dummy item.
    paired = odd & (odd.cumsum(axis=1) > odd.sum(axis=1, keepdims=True) % 2)
    own = np.where(np.eye(n_raters + 1, dtype=bool)[:, :, None], paired, False)[paired.any(axis=1)]
    unused = np.concatenate([parts, own, (odd & ~paired)[None]]).reshape(-1, odd.size)
    left = np.zeros_like(unused)
    for start in rng.permutation(len(unused)):
        item = start
        while (open_raters := np.flatnonzero(unused[item])).size:
            rater = rng.choice(open_raters)
            unused[item, rater], left[item, rater] = False, True
            item = rng.choice(np.flatnonzero(unused[:, rater]))
            unused[item, rater] = False
    # Trails begin with left, so where a count is odd a coin decides which side has one more.
    drawn: BoolArray = left[:n_items].reshape(parts.shape)[np.arange(n_items), :-1, groups]
    return (drawn ^ (rng.random() < 0.5)) & design


def draw_sequences(n_items: int, n_raters: int, seed: Seed) -> IntArray:
    """Each rater's own random order of the items, as item numbers from 0. Shape: (n_raters, n_items)"""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n_items), (n_raters, 1)), axis=1)


def draw_session(items: Sequence[int], prompts: IntArray, groups: IntArray, seed: Seed) -> list[int]:
    """A rater's items, which come in an order drawn for the rater, in rounds of one item of each prompt that has any
    left.

    The prompts keep one order, those of most items first, so that each returns after a whole round and never sooner.
    Which group comes in which round is drawn by Latin squares: where a rater has all items of the prompts, any two
    groups are as frequent in a round, give or take one.

    Args:
        prompts, groups: numbers from 0, of every item that there is. Shape: (n_items,)
    """
    rng = np.random.default_rng(seed)
    size = int(groups.max(initial=0)) + 1
    number = {prompt: n for n, prompt in enumerate(dict.fromkeys(prompts[item] for item in items))}
    squares = np.tile(np.arange(size), (2, len(number) // size + 1, 1))
    rows, turns = rng.permuted(squares, axis=2)

    def turn(item: int) -> int:
        square, row = divmod(number[prompts[item]], size)
        return int(turns[square, (rows[square, groups[item]] + row) % size])

    of_prompt: dict[int, list[int]] = {}
    for item in sorted(items, key=turn):
        of_prompt.setdefault(prompts[item], []).append(item)
    rounds = zip_longest(*sorted(of_prompt.values(), key=len, reverse=True))
    return [item for of_round in rounds for item in of_round if item is not None]


def draw_overlap(
    n_items: int,
    n_raters: int,
    per_item: int,
    seed: Seed,
    *,
    taken: BoolArray | None = None,
    groups: IntArray | None = None,
    prompts: IntArray | None = None,
) -> BoolArray:
    """Which raters judge which item: exactly `per_item` an item, loads differing by at most 1, and every two raters
    sharing nearly as many items as any other two: a balanced incomplete block design as far as the numbers allow.

    Loads and shares are balanced so within each of the `groups`, which number the pair of systems of each item from 0.
    Beyond that a rater is given as few items of one prompt as may be; `prompts` numbers them likewise.

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
    groups = np.zeros(n_items, dtype=np.int64) if groups is None else groups
    prompts = np.arange(n_items) if prompts is None else prompts
    chosen = taken.copy()
    load, in_group, met = chosen.sum(axis=0), counts(chosen, groups), counts(chosen, prompts)
    drawn = rng.permutation(n_items)
    # A group after the other, so that those with fewer items in all take what a group has over.
    for item in drawn[np.argsort(groups[drawn], kind="stable")]:
        group, prompt = groups[item], prompts[item]
        # The least loaded first, ties by lot; whoever has the item already comes last.
        order = np.lexsort((rng.random(n_raters), met[prompt], load, in_group[group], chosen[item]))
        new = order[: max(0, per_item - int(chosen[item].sum()))]
        chosen[item, new] = True
        for count in (load, in_group[group], met[prompt]):
            count[new] += 1
    if n_raters > 1:
        even_out(chosen, taken, groups, prompts, rng)
    return chosen


def counts(overlap: BoolArray, kinds: IntArray) -> IntArray:
    """How many items of each kind a rater has. Shape: (kinds, n_raters)"""
    return np.stack([overlap[kinds == kind].sum(axis=0) for kind in range(kinds.max(initial=0) + 1)])


def even_out(
    chosen: BoolArray, fixed: BoolArray, groups: IntArray, prompts: IntArray, rng: np.random.Generator
) -> None:
    """Let raters of two items of a group change places, in place, until any two raters share as many items of the group
    as any other two, give or take one, and nobody has a prompt twice, or until many tries have brought them as near as
    they get. Loads stay as they are, and `fixed` cells.

    Shape of the first two: (items, raters)
    """
    met = counts(chosen, prompts)
    members = [np.flatnonzero(groups == group) for group in range(groups.max(initial=0) + 1)]
    shared = np.stack([shared_items(chosen[of_group]) for of_group in members])
    others = ~np.eye(chosen.shape[1], dtype=bool)
    for one, drawn in rng.integers(len(chosen), size=(EXCHANGES * len(chosen), 2)):
        if met.max() <= 1 and np.ptp(shared[:, others], axis=1).max() <= 1:
            return
        alike = members[groups[one]]
        other = alike[drawn % len(alike)]
        going = np.flatnonzero(chosen[one] & ~chosen[other] & ~fixed[one])
        coming = np.flatnonzero(chosen[other] & ~chosen[one] & ~fixed[other])
        if not (going.size and coming.size):
            continue
        a, b = rng.choice(going), rng.choice(coming)
        # What a gains on every other rater, and b loses.
        gain = chosen[other].astype(np.int64) - chosen[one]
        gain[[a, b]] = 0
        share, here, there = shared[groups[one]], met[prompts[one]], met[prompts[other]]
        # The sum of squares of the shared numbers must not grow; where it stays, nor must that of prompts met again.
        growth = (gain * (share[a] - share[b] + gain)).sum(), there[a] - here[a] + here[b] - there[b] + 2
        if growth <= (0, 0):
            chosen[one, [a, b]], chosen[other, [a, b]] = (False, True), (True, False)
            share[a] += gain
            share[b] -= gain
            share[:, a], share[:, b] = share[a], share[b]
            here[[a, b]] += -1, 1
            there[[a, b]] += 1, -1


def shared_items(overlap: BoolArray) -> IntArray:
    """How many items each two raters share; the diagonal is 0. Shape: (n_raters, n_raters)"""
    given = overlap.astype(np.int64)
    return np.asarray(given.T @ given * ~np.eye(given.shape[1], dtype=bool))


def place_repeats(
    items: Sequence[int],
    repeats: int,
    seed: Seed,
    *,
    prompts: IntArray | None = None,
    groups: IntArray | None = None,
) -> list[tuple[int, int]]:
    """A rater's session as (item, presentation): the items in their order, and `repeats` of them a second time.

    A repeated item comes first in the first third of the session and again in the last one, so that more than a
    third of the session lies between; which ones, and in which order they return, is drawn. As many are of one group as
    of another, as far as the first third has them, and they return away from other items of their prompt.

    Args:
        prompts, groups: numbers from 0 of the items in their order; each is a prompt of its own and all are of one
            group by default. Shape of both: (n_items,)

    Raises:
        InputError: more than half of the items would be repeated.
    """
    third = (len(items) + repeats) // 3
    if repeats > third:
        raise InputError(f"{repeats} repeated pairs do not fit a session of {len(items)}: choose at most half of it")
    rng = np.random.default_rng(seed)
    length = len(items) + repeats
    prompts = np.arange(len(items)) if prompts is None else prompts
    groups = np.zeros(len(items), dtype=np.int64) if groups is None else groups
    # As no second sight is in the first third, the first items stand there.
    places = (length - 1 - rng.permutation(third)[:repeats]).tolist()
    candidates = rng.permutation(third).tolist()
    prompt_at = np.full(length, -1)
    prompt_at[np.setdiff1d(np.arange(length), places)] = prompts
    returned = np.zeros(groups.max(initial=0) + 1, dtype=np.int64)
    again: dict[int, int] = {}
    for place in places:
        # Of the group least returned, the next one whose prompt is far enough away, or else the farthest.
        away = {item: np.abs(np.flatnonzero(prompt_at == prompts[item]) - place).min() for item in candidates}
        item = min(candidates, key=lambda item: (returned[groups[item]], -min(away[item], third // 4)))
        candidates.remove(item)
        again[place], prompt_at[place] = item, prompts[item]
        returned[groups[item]] += 1
    firsts = iter(items)
    return [(items[again[place]], 2) if place in again else (next(firsts), 1) for place in range(length)]


def redraw_orders(first: BoolArray, seed: Seed, *, groups: IntArray | None = None) -> BoolArray:
    """Whether the item's first response stands on the left at a rater's second sight. Shape: as `first`, (n_items,)

    Left and right differ by at most 1, in each group too, and half of a group's items, give or take one, have changed
    sides.
    """
    rng = np.random.default_rng(seed)
    groups = np.zeros(first.size, dtype=np.int64) if groups is None else groups
    # Alternating along those of a group that were left and then those that were right halves both.
    order = np.lexsort((rng.random(first.size), first, groups))
    second = np.empty_like(first)
    second[order] = (np.arange(first.size) + rng.integers(2)) % 2 == 0
    return second
