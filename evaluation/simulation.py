"""Made-up clinicians who judge comparisons, to try the software out. Nothing they say is evidence of anything.

Their taste is read off the rankings of scorer prompts, which teach no policy, so they know neither the training
prompts nor the compared ones.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline, make_union

from annotation.comparisons import assign_comparisons
from annotation.designs import assign_design, open_design
from annotation.errors import StudyError
from annotation.models import (
    Assignment,
    Choice,
    Comparison,
    Criterion,
    JudgingDesign,
    RankedResponse,
    Rater,
    RaterKind,
    Split,
    Study,
)

FloatArray = npt.NDArray[np.float64]


# Texts -> their quality on one criterion, in units of its own. Shape: (texts,)
QualityScorer = Callable[[Sequence[str]], FloatArray]


def fit_quality_scorer(texts: Sequence[str], scores: Sequence[float]) -> QualityScorer:
    """A scorer of texts, ridge regression on TF-IDF of words and of character n-grams.

    Raises:
        ValueError: there are fewer than two texts, or not one score a text.
    """
    if len(texts) < 2 or len(texts) != len(scores):
        raise ValueError(f"a scorer needs two texts or more and a score each, not {len(texts)} and {len(scores)}")
    features = make_union(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4)),
    )
    pipeline = make_pipeline(features, Ridge(alpha=1.0))
    pipeline.fit(texts, scores)
    predict: QualityScorer = pipeline.predict
    return predict


@dataclass(frozen=True)
class Temperament:
    """How one simulated clinician differs from the scorer. All in deviations of quality over what is judged.

    Attributes:
        noise: deviation of a reading of a response's quality.
        tie_threshold: differences up to it are a tie.
        left_bias: added to the response shown on the left.
    """

    noise: float
    tie_threshold: float
    left_bias: float


def draw_temperament(seed: int, number: int) -> Temperament:
    """The temperament of clinician `number`: the same for the same seed, whoever else there is."""
    rng = np.random.default_rng([seed, number])
    return Temperament(
        noise=float(rng.uniform(0.3, 0.7)),
        tie_threshold=float(rng.uniform(0.1, 0.35)),
        left_bias=float(rng.normal(0, 0.05)),
    )


def read(difference: FloatArray, noise: float, rng: np.random.Generator) -> FloatArray:
    """Differences in quality as they are read: each of the two responses has its own noise. Shape: as `difference`"""
    first, second = rng.normal(0, noise, (2, *difference.shape))
    return np.asarray(difference + first - second)


def choose(difference: float, tie_threshold: float) -> Choice:
    if abs(difference) <= tie_threshold:
        return Choice.TIE
    return Choice.LEFT if difference > 0 else Choice.RIGHT


def fit_scorers(study: Study) -> dict[Criterion, QualityScorer]:
    """A scorer for each criterion that is judged and ranked, from the rankings of scorer prompts.

    Raises:
        StudyError: such a criterion has no ranking there.
    """
    scorers = {}
    for criterion in study.criteria.filter(judged=True, ranked=True):
        scores = mean_rank_scores(criterion)
        if len(scores) < 2:
            raise StudyError(
                f"nobody has ranked responses to scorer prompts on {criterion.name}, and simulated clinicians learn "
                f"from those alone: collect or simulate rankings of the scorer split of study {study.slug}"
            )
        scorers[criterion] = fit_quality_scorer(list(scores), list(scores.values()))
    if not scorers:
        raise StudyError(f"study {study.slug} has no criterion that is both ranked and judged")
    return scorers


def mean_rank_scores(criterion: Criterion) -> dict[str, float]:
    """{response text: mean score over rankings of scorer prompts}, 1 for a first place and -1 for a last."""
    rows = RankedResponse.objects.filter(
        ranking__criterion=criterion,
        ranking__submitted_at__isnull=False,
        ranking__task__prompt__split=Split.SCORER,
        ranking__task__rater__withdrawn_at__isnull=True,
    ).values_list("response__text", "rank", "size")
    scores: dict[str, list[float]] = defaultdict(list)
    for text, rank, size in rows.order_by("response"):
        scores[text].append(1 - 2 * (rank - 1) / max(1, size - 1))
    return {text: float(np.mean(given)) for text, given in scores.items()}


@transaction.atomic
def assign(study: Study, comparisons: Sequence[Comparison], *, raters: int, seed: int) -> list[Rater]:
    """The simulated clinicians Sim-C1.., made where missing, each with every comparison to judge.

    Raises:
        StudyError: the study is locked, or a rater who is no simulated clinician has such a name.
    """
    clinicians = simulated_clinicians(study, raters)
    assign_comparisons(study, comparisons, clinicians, per_item=None, seed=seed)
    return clinicians


@transaction.atomic
def join(design: JudgingDesign, *, raters: int) -> list[Rater]:
    """The simulated clinicians, made where missing, with what the design gives them. A design that was not open yet is
    opened.

    Raises:
        StudyError: as `assign`, or the design cannot be opened.
    """
    clinicians = simulated_clinicians(design.study, raters)
    if design.opened_at:
        assign_design(design)
    else:
        open_design(design)
    return clinicians


def simulated_clinicians(study: Study, raters: int) -> list[Rater]:
    study.require_unlocked()
    clinicians = []
    for number in range(1, raters + 1):
        clinician, _ = Rater.objects.get_or_create(
            study=study, name=f"Sim-C{number}", defaults={"kind": RaterKind.CLINICIAN, "simulated": True}
        )
        if clinician.kind != RaterKind.CLINICIAN or not clinician.simulated or clinician.withdrawn_at:
            raise StudyError(
                f"{clinician.name} in study {study.slug} is no active simulated clinician: rename that rater"
            )
        clinicians.append(clinician)
    return clinicians


def judge_pending(
    study: Study, clinicians: Sequence[Rater], scorers: Mapping[Criterion, QualityScorer], *, seed: int
) -> Iterator[Assignment]:
    """Each open assignment of the clinicians, once its verdicts are submitted.

    An assignment's noise is drawn from the seed, the clinician and what is compared alone, so a run that was stopped
    gives the same verdicts when it goes on, and the same study in another database.
    """
    unranked = list(study.criteria.filter(judged=True, ranked=False))
    given = list(assignments_of(clinicians))
    # Of all they were given, not of what is left: a run that goes on must read as the one that was stopped.
    quality = score_responses(given, scorers)
    pending = [assignment for assignment in given if not assignment.submitted_at]
    for assignment in pending:
        number = clinicians.index(assignment.rater) + 1
        temperament = draw_temperament(seed, number)
        # A second look at a pair is a reading of its own.
        look = [assignment.presentation] if assignment.presentation > 1 else []
        rng = np.random.default_rng([seed, number, name_of(assignment.comparison), *look])
        difference = quality[assignment.left.pk] - quality[assignment.right.pk] + temperament.left_bias
        difference = read(difference, temperament.noise, rng)
        overall = read(np.full(len(unranked), difference.mean()), temperament.noise, rng)
        seen = zip([*scorers, *unranked], [*difference, *overall], strict=True)
        assignment.submit({criterion: choose(float(d), temperament.tie_threshold) for criterion, d in seen})
        yield assignment


def name_of(comparison: Comparison) -> int:
    """A number for the prompt and the two systems by their names, for ids differ from database to database."""
    first, second = comparison.response_a, comparison.response_b
    return zlib.crc32("\0".join((first.prompt.key, first.system.name, second.system.name)).encode())


def assignments_of(clinicians: Sequence[Rater]) -> Any:
    return Assignment.objects.filter(rater__in=clinicians).select_related(
        "rater",
        "comparison__study",
        "comparison__response_a__prompt",
        "comparison__response_a__system",
        "comparison__response_b__system",
    )


def score_responses(
    assignments: Sequence[Assignment], scorers: Mapping[Criterion, QualityScorer]
) -> dict[int, FloatArray]:
    """{response id: its quality on each criterion of `scorers`}. Shape of each: (criteria,)

    Mean 0 and deviation 1 over these responses: whoever judges, judges by the differences there are to see.
    """
    texts = {response.pk: response.text for a in assignments for response in (a.left, a.right)}
    if not texts:
        return {}
    qualities = np.column_stack([scorer(list(texts.values())) for scorer in scorers.values()])
    deviations = qualities.std(axis=0)
    qualities = (qualities - qualities.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    return dict(zip(texts, qualities, strict=True))
