"""Letting a judge vote, whatever kind it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings

from annotation.errors import StudyError
from annotation.models import Assignment, Comparison
from evaluation import llm_judge, reward_judge
from evaluation.judging import Vote, judged_criteria, store, swap_consistency, votes_on
from evaluation.models import Judge, JudgeKind
from evaluation.statistics import Statistic
from training.endpoint import Endpoint, Failure


@dataclass(frozen=True)
class VotingSummary:
    """What a run of voting came to. Votes count presentations, of which each comparison has two."""

    judge: Judge
    new: int
    kept: int
    failures: Sequence[Failure[Assignment]]
    consistency: Statistic

    @property
    def label(self) -> str:
        return label(self.judge)

    def require_complete(self) -> None:
        """Raise StudyError if a presentation was asked about and got no vote."""
        if self.failures:
            first = self.failures[0]
            raise StudyError(
                f"{len(self.failures)} presentations got no usable reply (the first, of comparison "
                f"{first.item.comparison_id}: {first.reason}): run the command again to ask for them once more"
            )


def label(judge: Judge) -> str:
    """The judge's name, never without the words that its opinions are worth nothing or come from simulated raters."""
    if judge.is_toy:
        return f"{judge} (toy judge)"
    return f"{judge} (learned from simulated raters)" if learned_from_simulation(judge) else str(judge)


def learned_from_simulation(judge: Judge) -> bool:
    return any(run.is_simulated for run in judge.runs.all())


def cast_votes(
    judge: Judge, assignments: Sequence[Assignment], *, concurrency: int = 8
) -> Iterator[Vote | Failure[Assignment]]:
    """The judge's vote on each assignment, stored before it is given.

    Raises:
        StudyError: the endpoint fails, the criteria were reworded since the judge's first vote, the study is locked,
            or a reward model would mark its own homework.
    """
    if not assignments:
        return
    if judge.kind == JudgeKind.LLM:
        yield from _ask(judge, assignments, concurrency)
    else:
        yield from _score(judge, assignments)


def _ask(judge: Judge, assignments: Sequence[Assignment], concurrency: int) -> Iterator[Vote | Failure[Assignment]]:
    criteria = judged_criteria(judge)
    if llm_judge.judge_config(criteria, seed=judge.config["seed"]) != judge.config:
        raise StudyError(f"the criteria's wording changed since {judge} first voted: set up a judge of another name")
    endpoint = Endpoint(url=judge.endpoint, model=judge.model, api_key=settings.JUDGE_API_KEY, concurrency=concurrency)
    for outcome in llm_judge.ask_all(assignments, criteria, judge.config, endpoint):
        if isinstance(outcome, Vote):
            store([outcome], study=judge.rater.study)
        yield outcome


def _score(judge: Judge, assignments: Sequence[Assignment]) -> Iterator[Vote]:
    from training.scoring import score_columns

    names = [f"{key}={name}" for key, name in judge.config["runs"].items()]
    runs = reward_judge.parse_runs(judge.rater.study, names)
    reward_judge.require_stranger(runs.values(), [assignment.comparison for assignment in assignments])
    votes = reward_judge.votes(assignments, runs, score_columns, tie_threshold=judge.config["tie_threshold"])
    store(votes, study=judge.rater.study)
    yield from votes


def summarise(
    judge: Judge, comparisons: Sequence[Comparison], outcomes: Sequence[Vote | Failure[Assignment]]
) -> VotingSummary:
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    new = len(outcomes) - len(failures)
    return VotingSummary(
        judge=judge,
        new=new,
        kept=votes_on(judge, comparisons) - new,
        failures=failures,
        consistency=swap_consistency(judge, comparisons),
    )
