"""Agreement of a judge with the raters, and beside it what a rater reaches against the same yardstick."""

from collections.abc import Iterator

import numpy as np

from evaluation.alternative_annotator import advantage_part
from evaluation.among_raters import NO_MAJORITY, others_winners, unique_winners
from evaluation.bootstrap import FloatArray, IntArray, Part, Path, ratio
from evaluation.pair_tables import ONE_CATEGORY, kappa_part, pair_features
from evaluation.ratings import TIE, BoolArray, Ratings
from evaluation.symmetry import tables_of

NOT_RATED = "it judged no item that was rated"
NO_SIDES = "on no item did it and a rater both choose a side"
OTHER_SYSTEMS = "A and B are other systems from pair to pair"
UNDECIDED = "no item that it judged has a majority"


def judge_parts(ratings: Ratings, name: str) -> Iterator[Part]:
    """Everything that needs an interval, under judges, NAME."""
    judged = ratings.judged[name]
    parts = [with_raters(ratings, judged), with_majority(ratings, judged), beside_raters(ratings, judged)]
    each = pair_features(ratings, np.broadcast_to(judged, ratings.codes.shape), ratings.codes)
    parts.append(kappa_part(each, [("cohen_kappa", rater) for rater in ratings.raters]))
    parts += [advantage_part(ratings, judged), lean(ratings, judged)]
    for part in parts:
        yield part.under("judges", name)


def with_raters(ratings: Ratings, judged: IntArray) -> Part:
    """Mean over items of the share of raters who agree with the judge, and the share of all pairs of judge and rater:
    in the second, which ends in pairwise, each rating has the same weight. Each again without ties on either side."""
    sides = [(judged, ratings.counts, NOT_RATED, "")]
    if TIE in ratings.categories:
        tie = ratings.categories.index(TIE)
        chosen = ratings.counts * (np.arange(len(ratings.counts)) != tie)[:, None]
        sides.append((np.where(judged == tie, -1, judged), chosen, NO_SIDES, "_without_ties"))
    rows = [match_features(codes, counts) for codes, counts, _, _ in sides]

    def compute(sums: FloatArray) -> list[FloatArray]:
        held, shares, matches, pairs = sums.reshape(len(sides), 4, -1).swapaxes(0, 1)
        return [ratio(shares, held), ratio(matches, pairs)]

    paths = [(f"agreement_with_raters{how}{end}",) for how in ("", "_pairwise") for *_, end in sides]
    n = [int(own[0].sum()) for own in rows] * 2
    reasons = [reason for *_, reason, _ in sides] * 2
    return Part(ratings.by_item(np.vstack(rows)), compute, paths, n, reasons, [True] * len(paths))


def match_features(judged: IntArray, counts: FloatArray) -> FloatArray:
    """Of each unit: whether judge and raters can be held against each other, share of matches, matches, raters."""
    raters = counts.sum(axis=0)
    held = (judged >= 0) & (raters > 0)
    matches = np.where(held, counts[judged, np.arange(len(judged))], 0.0)
    return np.vstack([held, matches / np.maximum(raters, 1), matches, raters * held])


def lean(ratings: Ratings, judged: IntArray) -> Part:
    """How much more often than a rater of the same unit the judge names each category, mean over units. A rater taken
    at random would have 0; held against the majority, which ties less than its members, one would seem to lean."""
    raters = ratings.counts.sum(axis=0)
    held = (judged >= 0) & (raters > 0)
    named = judged == np.arange(len(ratings.counts))[:, None]
    gaps = np.where(held, named - ratings.counts / np.maximum(raters, 1), 0.0)
    sides = np.array([ratings.pairs > 1 and name != TIE for name in ratings.categories])[:, None]

    def compute(sums: FloatArray) -> list[FloatArray]:
        return [np.where(sides, np.nan, ratio(sums[1:], sums[0]))]

    paths = [("lean", name) for name in ratings.categories]
    n = [int(held.sum())] * len(paths)
    reasons = [OTHER_SYSTEMS if side else NOT_RATED for side in sides[:, 0]]
    return Part(ratings.by_item(np.vstack([held, gaps])), compute, paths, n, reasons)


def with_majority(ratings: Ratings, judged: IntArray) -> Part:
    """Share and Cohen's kappa against the majority of all raters, where there is one; the share again without ties."""
    winners = unique_winners(ratings.counts)
    tie = ratings.categories.index(TIE) if TIE in ratings.categories else -1
    pairs = np.stack([judged, winners]), np.stack([np.where(codes == tie, -1, codes) for codes in (judged, winners)])
    found = pair_features(ratings, np.stack([own[0] for own in pairs]), np.stack([own[1] for own in pairs]))

    def compute(sums: FloatArray) -> list[FloatArray]:
        shares, kappa = found.agreement(sums)
        return [shares, kappa[:1]]

    n, without = found.shared.tolist()
    names = "agreement_with_majority", "agreement_with_majority_without_ties", "kappa_with_majority"
    reasons = UNDECIDED, "on no item did it and a majority both choose a side", ONE_CATEGORY if n else UNDECIDED
    return Part(found.features, compute, [(name,) for name in names], [n, without, n], reasons, [True, True, False])


def beside_raters(ratings: Ratings, judged: IntArray) -> Part:
    """Each rater, and the judge on the same items, against the majority of the other raters."""
    others = others_winners(ratings)
    held = (judged >= 0) & (others >= 0)
    hits: list[BoolArray] = [held & (others == codes) for codes in (ratings.codes, judged)]

    def compute(sums: FloatArray) -> list[FloatArray]:
        held, *hits = sums.reshape(3, -1, sums.shape[1])
        whole = [ratio(own.sum(axis=0), held.sum(axis=0)) for own in hits]
        return [*whole, *(ratio(own, held) for own in hits)]

    paths: list[Path] = [("leave_one_out", "raters"), ("leave_one_out", "judge")]
    paths += [("leave_one_out_by_rater", name, who) for who in ("rater", "judge") for name in ratings.raters]
    n = [int(held.any(axis=0).sum())] * 2 + held.sum(axis=1).tolist() * 2
    reasons = [UNDECIDED] * 2 + [NO_MAJORITY] * (len(paths) - 2)
    return Part(ratings.counted(np.vstack([held, *hits])), compute, paths, n, reasons, [True] * len(paths))


def confusion_with_majority(ratings: Ratings, judged: IntArray) -> IntArray:
    """What the judge said, in rows, where the raters' majority said the column. Shape: (categories, categories)"""
    winners = unique_winners(ratings.counts)
    table: IntArray = tables_of(judged[None], winners[None], len(ratings.categories))[0]
    return table
