"""How far raters agree with themselves, from items that they saw twice."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from evaluation.among_raters import coefficients, without_ties
from evaluation.bootstrap import Path, resampled
from evaluation.pair_tables import kappas
from evaluation.ratings import TIE, Ratings, coded
from evaluation.statistics import Statistic

STATISTICS: Mapping[Path, str] = {
    ("percent_agreement",): "percent_agreement",
    ("percent_agreement_without_ties",): "percent_agreement_without_ties",
    ("gwet_ac1",): "gwet_ac1",
    ("cohen_kappa", "first|second"): "cohen_kappa",
}
COLUMNS = ("item", "rater", "criterion", "presentation", "label")
Reliability = dict[str, Statistic]


def intra_rater(
    frame: pd.DataFrame, *, draws: int = 2000, seed: int = 0
) -> dict[str, Reliability | dict[str, Reliability]]:
    """Percent agreement (also without ties), Gwet's AC1 and Cohen's kappa of first and second looks: `pooled`, and
    {name: statistics} under `raters` and `criteria`. A name stands there though nothing of it was seen twice.

    The interval is a bootstrap over clusters, n the number of pairs of looks.

    Args:
        frame: columns item, rater, criterion, presentation (1 or 2) and label in system order; cluster and pair as of
            `agreement`. What was seen once is passed over.

    Raises:
        ValueError: a column is missing, a cell is empty, or a rater has a look at an item and criterion twice.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    units = ["item", "rater", "criterion"]
    if frame.duplicated([*units, "presentation"]).any():
        raise ValueError("a rater has the same look at an item and criterion twice")
    categories = coded(frame["label"])[1]
    looks = frame.pivot(index=units, columns="presentation", values="label").reindex(columns=[1, 2])
    frame = frame if "cluster" in frame else frame.assign(cluster=frame["item"])
    frame = frame if "pair" in frame else frame.assign(pair="")
    of_items = frame.drop_duplicates("item").set_index("item")[["cluster", "pair"]]
    twice = looks.dropna().reset_index().join(of_items, on="item").sort_values(["cluster", *units])
    by = {
        plural: {
            str(name): reliability(twice[twice[column] == name], categories, draws=draws, seed=seed)
            for name in pd.unique(frame[column])
        }
        for plural, column in (("raters", "rater"), ("criteria", "criterion"))
    }
    return {"pooled": reliability(twice, categories, draws=draws, seed=seed), **by}


def reliability(twice: pd.DataFrame, categories: tuple[str, ...], *, draws: int, seed: int) -> Reliability:
    """Of units sorted by cluster, with their labels in columns 1 and 2."""
    place = pd.Index(categories)
    codes = np.array([place.get_indexer(pd.Index(twice[look].astype(str))) for look in (1, 2)])
    clusters = pd.factorize(twice["cluster"])[0]
    group = pd.factorize(twice["criterion"].astype(str) + "|" + twice["pair"])[0]
    ratings = Ratings(codes, {}, clusters, group, ("first", "second"), categories)
    parts = [coefficients(ratings, ordinal=False), *kappas(ratings)]
    parts += [without_ties(ratings)] if TIE in categories else []
    found = dict(resampled(parts, items=ratings.items, draws=draws, seed=seed))
    return {name: found[path] for path, name in STATISTICS.items() if path in found}
