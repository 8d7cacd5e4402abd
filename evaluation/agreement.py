"""How far raters agree with one another, and judges with them: pure, with intervals from a bootstrap over items.

Items carry all their raters and, pooled, all their criteria into a resample: ratings of one item are not independent.
Chance is reckoned within each criterion and pair of systems: labels of different frequencies, or of different meaning,
would else pass for agreement.
All statistics follow from sums over items (`Part`), so that a resample costs a product of matrices.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluation.alternative_annotator import alternative_annotator_test
from evaluation.among_raters import among_raters, confusion
from evaluation.bootstrap import IntArray, Part, Path, resampled
from evaluation.coefficients import (
    brennan_prediger,
    cohen_kappa,
    conger_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    pairwise_agreement,
    percent_agreement,
    scott_pi,
)
from evaluation.corrections import BENJAMINI_YEKUTIELI, HOLM, benjamini_yekutieli, holm
from evaluation.judge_agreement import confusion_with_majority, judge_parts
from evaluation.ratings import JUDGE, TIE, Ratings, labels_in
from evaluation.statistics import Statistic, undefined
from evaluation.symmetry import correct, symmetry, tables_of_pairs

__all__ = [
    "TIE",
    "Settings",
    "agreement",
    "brennan_prediger",
    "cohen_kappa",
    "conger_kappa",
    "fleiss_kappa",
    "gwet_ac1",
    "krippendorff_alpha",
    "only_judge",
    "pairwise_agreement",
    "percent_agreement",
    "scott_pi",
]

# More give no other interval, and memory is not endless.
MOST_RESAMPLES = 100_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    level: str = "nominal"
    order: tuple[str, ...] | None = None
    bootstrap: int = 2000
    seed: int = 0
    judge: str | None = None
    epsilon: float = 0.2

    def __post_init__(self) -> None:
        if self.level not in ("nominal", "ordinal"):
            raise ValueError(f"level is nominal or ordinal, not {self.level!r}")
        if self.level == "ordinal" and not self.order:
            raise ValueError("level ordinal needs the order of the labels, such as B,tie,A")
        if self.order and (len(set(self.order)) < len(self.order) or "" in self.order):
            raise ValueError(f"order {','.join(self.order)} names a label twice or an empty one")
        if not 0 <= self.bootstrap <= MOST_RESAMPLES:
            raise ValueError(f"bootstrap is from 0 to {MOST_RESAMPLES:,}, not {self.bootstrap}")
        if self.seed < 0:
            raise ValueError("seed is 0 or more")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon lies between 0 and 1, not at {self.epsilon}")


def agreement(
    frame: pd.DataFrame,
    *,
    level: str = "nominal",
    order: Sequence[str] | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    judge: str | None = None,
    epsilon: float = 0.2,
) -> dict[str, Any]:
    """All statistics of agreement by criterion and pooled, in the JSON shape of `agreement --json`.

    Args:
        frame: columns item, rater, criterion, label and, where there are judges, rater_kind (human or judge). Where
            items belong together, as comparisons of several systems on one prompt do, a column cluster says so, and
            clusters are resampled; where labels mean the same within a pair of systems alone, a column pair.
        order: the labels from lowest to highest; the level ordinal needs it.
        bootstrap: number of resamples of the items; 0 leaves the intervals out.
        judge: leaves out all judges but this one.
        epsilon: of the alternative annotator test.

    Raises:
        ValueError: the frame or a setting is wrong; the message says which and where.
    """
    settings = Settings(
        level=level,
        order=tuple(order) if order else None,
        bootstrap=bootstrap,
        seed=seed,
        judge=judge,
        epsilon=epsilon,
    )
    labels = labels_in(only_judge(frame, judge), settings.order)
    sections: dict[Path, Ratings] = {("criteria", name): labels.of(name) for name in labels.criteria}
    if len(sections) != 1:
        sections["pooled",] = labels.of()
    result: dict[str, Any] = {"criteria": {}, "pooled": {}, "settings": described(settings, labels.categories)}
    for path, ratings in sections.items():
        place(result, path, section(ratings, settings))
    for path, tests in symmetry_tests(sections, labels.categories).items():
        place(result, path, tests)
    for path, statistic in intervals(sections, settings):
        place(result, path, statistic.as_dict())
    # Of one criterion alone, pooled is the same again.
    result["pooled"] = result["pooled"] or deepcopy(*result["criteria"].values())
    for found in (*result["criteria"].values(), result["pooled"]):
        found["krippendorff_alpha"] = found[f"krippendorff_alpha_{settings.level}"]
    return result


def only_judge(frame: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """The frame without the other judges.

    Raises:
        ValueError: there is no judge of that name.
    """
    if judge is None:
        return frame
    is_judge = frame["rater_kind"] == JUDGE if "rater_kind" in frame else pd.Series(False, index=frame.index)
    judges = sorted(set(frame.loc[is_judge, "rater"].astype(str)))
    if judge not in judges:
        raise ValueError(f"there is no judge {judge!r} (there are: {', '.join(judges) or 'none'})")
    return frame[~is_judge | (frame["rater"].astype(str) == judge)]


def described(settings: Settings, categories: tuple[str, ...]) -> dict[str, Any]:
    return {
        **settings.__dict__,
        "order": list(settings.order) if settings.order else None,
        "categories": list(categories),
        "interval": "95 %, percentiles of a bootstrap over items, or their clusters; of these raters, not of others",
        "chance": "within each criterion and pair of systems",
        "corrections": {
            "alt_test": f"{BENJAMINI_YEKUTIELI} over the raters",
            "symmetry": f"{BENJAMINI_YEKUTIELI} over the pairs of raters, each test apart",
            "symmetry_with_majority": f"{HOLM} over the criteria, each test apart",
        },
        "tests": "McNemar (exact), Bowker and Stuart-Maxwell by criterion only: pooled, the rows of an item depend; "
        "not where several pairs of systems were compared: A and B are others from pair to pair",
    }


def section(ratings: Ratings, settings: Settings) -> dict[str, Any]:
    """One criterion's counts and tables, or the pooled ones, to which tests and statistics are added."""
    raters = len(ratings.raters)
    ratings_given = int((ratings.codes >= 0).sum())
    found: dict[str, Any] = {"items": ratings.codes.shape[1], "raters": raters, "ratings": ratings_given}
    pairable = int((ratings.counts.sum(axis=0) >= 2).sum())
    if raters != 2:
        found["scott_pi"] = undefined(f"it is defined for two raters, and there are {raters}", pairable).as_dict()
    if not settings.order:
        found["krippendorff_alpha_ordinal"] = undefined("it needs the order of the labels", pairable).as_dict()
    judges = {name: judge_section(ratings, name, settings) for name in ratings.judged}
    return {**found, "cohen_kappa": {}, "confusion": confusion(ratings), "judges": judges}


def judge_section(ratings: Ratings, name: str, settings: Settings) -> dict[str, Any]:
    judged = ratings.judged[name]
    table = confusion_with_majority(ratings, judged)
    return {
        "majority_ties_excluded": int((judged >= 0).sum() - table.sum()),
        "confusion_with_majority": table.tolist(),
        "alt_test": alternative_annotator_test(ratings, judged, epsilon=settings.epsilon),
    }


def symmetry_tests(sections: Mapping[Path, Ratings], categories: tuple[str, ...]) -> dict[Path, dict[str, Any]]:
    """Of each criterion: of each pair of raters, corrected over the pairs, and of each judge against the majority,
    corrected over the criteria."""
    tables: dict[Path, IntArray] = {}
    families: dict[Path, list[Path]] = {}
    for path, ratings in sections.items():
        if path == ("pooled",) or ratings.pairs > 1:
            continue
        pairs = {(*path, "symmetry", pair): table for pair, table in tables_of_pairs(ratings).items()}
        families[*path, "symmetry"] = list(pairs)
        tables |= pairs
        for name, judged in ratings.judged.items():
            tables[*path, "judges", name, "symmetry_with_majority"] = confusion_with_majority(ratings, judged)
            families.setdefault((name,), []).append((*path, "judges", name, "symmetry_with_majority"))
    found = dict(zip(tables, symmetry(np.array(list(tables.values())), categories), strict=True)) if tables else {}
    for family, members in families.items():
        correct([found[path] for path in members], benjamini_yekutieli if len(family) > 1 else holm)
    return found


def intervals(sections: Mapping[Path, Ratings], settings: Settings) -> Iterator[tuple[Path, Statistic]]:
    """All statistics of the sections. Those with as many items share the resamples."""
    for items in sorted({ratings.items for ratings in sections.values()}):
        parts = (
            part.under(*path)
            for path, ratings in sections.items()
            if ratings.items == items
            for part in parts_of(ratings, ordinal=bool(settings.order))
        )
        yield from resampled(parts, items=items, draws=settings.bootstrap, seed=settings.seed)


def parts_of(ratings: Ratings, *, ordinal: bool) -> Iterator[Part]:
    yield from among_raters(ratings, ordinal=ordinal)
    for name in ratings.judged:
        yield from judge_parts(ratings, name)


def place(tree: dict[str, Any], path: Path, value: dict[str, Any]) -> None:
    *parents, name = path
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = value
