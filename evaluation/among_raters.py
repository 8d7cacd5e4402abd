"""Agreement of raters with one another: coefficients over all of them, and each against the majority of the others."""

from collections.abc import Iterator

import numpy as np

from evaluation.bootstrap import FloatArray, IntArray, Part, ratio
from evaluation.coefficients import Sums, ac1, alpha, features, fleiss, pair_features, pairwise, percent, scott
from evaluation.pair_tables import ONE_CATEGORY, kappas
from evaluation.ratings import TIE, BoolArray, Ratings

NO_PAIR = "no item has two ratings"
NO_SIDES = "no item has two ratings that chose a side"
NO_MAJORITY = "on no item that it rated do the others have a majority"


def among_raters(ratings: Ratings, *, ordinal: bool) -> Iterator[Part]:
    """Everything that is said of the raters together. `ordinal`: the categories stand in their order."""
    yield coefficients(ratings, ordinal=ordinal)
    if TIE in ratings.categories:
        yield without_ties(ratings)
    yield leave_one_out(ratings)
    yield from kappas(ratings)


def coefficients(ratings: Ratings, *, ordinal: bool) -> Part:
    counts = ratings.counts
    # An order names all that raters may choose from; without one it is what they chose.
    used = len(counts) if ordinal else int(counts.any(axis=1).sum())
    levels = ["nominal", "ordinal"] if ordinal else ["nominal"]
    names = ["percent_agreement", "pairwise_agreement", "fleiss_kappa", "gwet_ac1"]
    names += [f"krippendorff_alpha_{level}" for level in levels]
    two = len(ratings.raters) == 2

    def compute(rows: FloatArray) -> list[FloatArray]:
        sums = Sums.of(rows, len(counts), ratings.groups)
        found = [percent(sums), pairwise(sums), fleiss(sums), ac1(sums, used)]
        found += [alpha(sums, level) for level in levels]
        return [*found, scott(sums)] if two else found

    names += ["scott_pi"] if two else []
    pairable = int((counts.sum(axis=0) >= 2).sum())
    reason = ONE_CATEGORY if pairable else NO_PAIR
    return Part(
        ratings.by_group(features(counts)),
        compute,
        [(name,) for name in names],
        [pairable] * len(names),
        [reason] * len(names),
        [name.endswith("_agreement") for name in names],
    )


def without_ties(ratings: Ratings) -> Part:
    """Agreement of the ratings that chose a side: pairs in which either is a tie are left out."""
    chosen = np.delete(ratings.counts, ratings.categories.index(TIE), axis=0)

    def compute(sums: FloatArray) -> list[FloatArray]:
        pairable, shares, agreeing, pairs = sums
        return [ratio(shares, pairable), ratio(agreeing, pairs)]

    names = "percent_agreement_without_ties", "pairwise_agreement_without_ties"
    pairable = int((chosen.sum(axis=0) >= 2).sum())
    of_items = ratings.by_item(pair_features(chosen))
    return Part(of_items, compute, [(name,) for name in names], [pairable] * 2, [NO_SIDES] * 2, [True] * 2)


def leave_one_out(ratings: Ratings) -> Part:
    """Each rater against the majority of the others, and all of them together."""
    others = others_winners(ratings)
    held = others >= 0
    hits = held & (others == ratings.codes)

    def compute(sums: FloatArray) -> list[FloatArray]:
        held, hits = sums.reshape(2, -1, sums.shape[1])
        return [ratio(hits.sum(axis=0), held.sum(axis=0)), ratio(hits, held)]

    paths = [("leave_one_out", "all"), *(("leave_one_out", "raters", name) for name in ratings.raters)]
    n = [int(held.any(axis=0).sum()), *held.sum(axis=1).tolist()]
    of_items, every = ratings.counted(np.vstack([held, hits])), len(paths)
    return Part(of_items, compute, paths, n, [NO_MAJORITY] * every, [True] * every)


def others_winners(ratings: Ratings) -> IntArray:
    """The winner among the other raters of the unit, for each rater of it, else -1. Shape: (raters, units)"""
    rater, unit = np.nonzero(ratings.codes >= 0)
    others = ratings.counts[:, unit]
    others[ratings.codes[rater, unit], np.arange(len(unit))] -= 1
    winners = np.full_like(ratings.codes, -1)
    winners[rater, unit] = unique_winners(others)
    return winners


def unique_winners(counts: FloatArray) -> IntArray:
    """The category with the most ratings, -1 where two are level or there is none. Shape: (..., categories, units) ->
    (..., units)"""
    top = counts.max(axis=-2, initial=0.0, keepdims=True)
    best: BoolArray = (counts == top) & (top > 0)
    return np.where(best.sum(axis=-2) == 1, best.argmax(axis=-2) if best.shape[-2] else -1, -1)


def confusion(ratings: Ratings) -> list[list[int]]:
    """How often one rater gave the row's category and another the column's, over all ordered pairs of raters of a unit:
    symmetric, and each disagreement counts on both sides."""
    counts = ratings.counts
    pairs: list[list[int]] = (counts @ counts.T - np.diag(counts.sum(axis=1))).astype(int).tolist()
    return pairs
